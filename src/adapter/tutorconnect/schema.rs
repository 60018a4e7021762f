//! What TutorConnect's requests and answers look like.

use serde_json::Value;

use crate::adapter::answer;
use crate::adapter::schema::{
    Schemas, all, anything, attachment, flag, id, list, maybe, message_type, new_attachment, number, object,
    one_of, some_of, text, time, with,
};

/// All of them, by their names.
pub(super) fn schemas() -> Schemas {
    all([
        ("TutorConnectInterest", interest()),
        ("TutorConnectJoining", answer::done_schema(joining())),
        ("TutorConnectTypingChange", typing_change()),
        ("TutorConnectTyping", answer::done_schema(typing())),
        ("TutorConnectChat", answer::done_schema(chat())),
        ("TutorConnectNewMessage", new_message()),
        ("TutorConnectEdit", object([("content", text())])),
        ("TutorConnectMessage", answer::done_schema(message())),
        ("TutorConnectReading", reading()),
        (
            "TutorConnectRead",
            answer::done_schema(some_of([], [("receipt", receipt()), ("readCount", number())])),
        ),
        ("TutorConnectRefusal", answer::refused_schema()),
    ])
}

fn interest() -> Value {
    some_of(
        [("chatId", id())],
        [
            ("action", one_of(&["subscribe", "unsubscribe"])),
            ("enablePresence", flag()),
            ("enableTyping", flag()),
            ("enableReadReceipts", flag()),
        ],
    )
}

fn joining() -> Value {
    let binding = some_of([("event", text()), ("schema", text()), ("table", text())], [("filter", text())]);
    let config = some_of([("private", flag())], [("presence", object([("key", id())]))]);
    let channel =
        object([("name", text()), ("topic", text()), ("config", config), ("postgresChanges", list(binding))]);
    let features = object([
        ("messages", flag()),
        ("reactions", flag()),
        ("deliveryStatus", flag()),
        ("participants", flag()),
        ("typing", flag()),
        ("readReceipts", flag()),
        ("presence", flag()),
    ]);
    object([
        ("chatId", id()),
        ("action", one_of(&["subscribe", "unsubscribe"])),
        ("userId", maybe(id())),
        ("customerId", maybe(id())),
        ("channels", list(channel)),
        ("topics", list(text())),
        ("features", features),
    ])
}

fn typing_change() -> Value {
    some_of([("chatId", id()), ("isTyping", flag())], [("expiresInSeconds", number())])
}

fn typing() -> Value {
    object([
        ("chatId", id()),
        ("userId", maybe(id())),
        ("customerId", maybe(id())),
        ("isTyping", flag()),
        ("startedAt", maybe(time())),
        ("expiresAt", maybe(time())),
    ])
}

fn chat() -> Value {
    let participant = object([
        ("userId", maybe(id())),
        ("customerId", maybe(id())),
        ("name", maybe(text())),
        ("role", maybe(text())),
        ("joinedAt", maybe(time())),
        ("lastReadAt", maybe(time())),
        ("status", one_of(&["online", "away", "busy", "offline"])),
        ("lastSeenAt", maybe(time())),
        ("isOnline", flag()),
        ("isTyping", flag()),
    ]);
    let reader = [("userId", maybe(id())), ("customerId", maybe(id()))];
    let reaction = with(object(reader.clone()), [("emoji", text()), ("createdAt", time())]);
    let read_by = with(object(reader), [("readAt", time())]);
    let last_message = with(
        message(),
        [("status", maybe(text())), ("reactions", list(reaction)), ("readBy", list(read_by))],
    );
    object([
        ("chatId", id()),
        ("kind", text()),
        ("title", maybe(text())),
        ("participants", list(participant)),
        ("onlineUsers", list(id())),
        ("typingUsers", list(typing())),
        ("unreadCount", number()),
        ("lastMessage", maybe(last_message)),
        ("lastMessageAt", maybe(time())),
        ("isArchived", flag()),
        ("metadata", anything()),
    ])
}

fn new_message() -> Value {
    some_of(
        [("chatId", id())],
        [
            ("content", text()),
            ("type", message_type()),
            ("replyToId", id()),
            ("receiverId", id()),
            ("clientMessageId", text()),
            ("attachments", list(new_attachment())),
        ],
    )
}

fn message() -> Value {
    object([
        ("id", id()),
        ("chatId", id()),
        ("senderId", maybe(id())),
        ("senderCustomerId", maybe(id())),
        ("senderType", text()),
        ("senderName", maybe(text())),
        ("senderRole", maybe(text())),
        ("receiverId", maybe(id())),
        ("content", text()),
        ("type", message_type()),
        ("replyToId", maybe(id())),
        ("attachments", list(attachment("mimeType"))),
        ("clientMessageId", maybe(text())),
        ("editedAt", maybe(time())),
        ("deletedAt", maybe(time())),
        ("createdAt", time()),
        ("updatedAt", maybe(time())),
    ])
}

fn reading() -> Value {
    some_of([], [("messageId", id()), ("messageIds", list(id())), ("chatId", id())])
}

fn receipt() -> Value {
    object([
        ("id", id()),
        ("messageId", id()),
        ("chatId", id()),
        ("userId", maybe(id())),
        ("customerId", maybe(id())),
        ("readAt", time()),
    ])
}

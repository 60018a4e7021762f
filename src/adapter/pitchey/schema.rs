//! What Pitchey's requests and answers look like.

use serde_json::Value;

use crate::adapter::schema::{
    Schemas, all, anything, attachment, flag, id, list, maybe, message_type, new_attachment, number, object,
    one_of, some_of, text, time, with,
};

/// All of them, by their names.
pub(super) fn schemas() -> Schemas {
    all([
        (
            "PitcheyConversations",
            page([("conversations", list(conversation())), ("nextBefore", maybe(time()))]),
        ),
        ("PitcheyMessages", messages()),
        ("PitcheySending", sending()),
        ("PitcheySent", object([("success", flag()), ("message", message())])),
        ("PitcheyPreferenceChanges", changes()),
        ("PitcheyPreferences", object([("success", flag()), ("preferences", preferences())])),
        ("PitcheyRefusal", some_of([("success", flag()), ("error", text())], [("retryAfter", number())])),
    ])
}

fn page<const N: usize>(fields: [(&str, Value); N]) -> Value {
    with(object([("success", flag()), ("hasMore", flag())]), fields)
}

fn messages() -> Value {
    page([("conversationId", id()), ("messages", list(listed())), ("nextBefore", maybe(id()))])
}

fn conversation() -> Value {
    let participant = object([
        ("userId", maybe(id())),
        ("name", maybe(text())),
        ("role", maybe(text())),
        ("joinedAt", maybe(time())),
        ("lastReadAt", maybe(time())),
        ("isOnline", flag()),
        ("lastSeenAt", maybe(time())),
    ]);
    object([
        ("id", id()),
        ("kind", one_of(&["direct", "group", "support"])),
        ("title", maybe(text())),
        ("participants", list(participant)),
        ("lastMessage", maybe(listed())),
        ("lastMessageAt", maybe(time())),
        ("unreadCount", number()),
        ("isArchived", flag()),
        ("metadata", anything()),
        ("createdAt", time()),
    ])
}

fn message() -> Value {
    object([
        ("messageId", id()),
        ("conversationId", id()),
        ("senderId", maybe(id())),
        ("senderType", maybe(text())),
        ("senderName", maybe(text())),
        ("recipientId", maybe(id())),
        ("content", text()),
        ("messageType", message_type()),
        ("replyToId", maybe(id())),
        ("attachments", list(attachment("mimeType"))),
        ("clientMessageId", maybe(text())),
        ("createdAt", time()),
        ("editedAt", maybe(time())),
        ("deletedAt", maybe(time())),
    ])
}

fn listed() -> Value {
    let reaction = object([("userId", maybe(id())), ("emoji", text())]);
    let reader = object([("userId", maybe(id())), ("readAt", time())]);
    with(message(), [("status", maybe(text())), ("reactions", list(reaction)), ("readBy", list(reader))])
}

fn sending() -> Value {
    some_of(
        [],
        [
            ("conversationId", id()),
            ("recipientId", id()),
            ("content", text()),
            ("messageType", message_type()),
            ("replyToId", id()),
            ("attachments", list(new_attachment())),
            ("clientMessageId", text()),
        ],
    )
}

fn changes() -> Value {
    let mut changes = preferences();
    if let Some(changes) = changes.as_object_mut() {
        changes.remove("required");
    }
    changes
}

fn preferences() -> Value {
    object([
        ("email", flag()),
        ("push", flag()),
        ("inApp", flag()),
        ("newMessage", flag()),
        ("mentions", flag()),
        ("quietHoursStart", maybe(text())),
        ("quietHoursEnd", maybe(text())),
        ("timeZone", text()),
    ])
}

//! Pitchey's requests: what each answers, and whom it refuses.

use serde_json::{Value, json};

use crate::requests::{CHAT, EVE, KARI, OLA, user};
use crate::table::Cell::{Beyond, Is, Never, To};
use crate::table::{About, Ask, Cell, Row, Table};

const SOCKET: &str = "/api/messages/ws";
const CONVERSATIONS: &str = "/api/messages/conversations";
const SEND: &str = "/api/messages/send";
const PREFERENCES: &str = "/api/notifications/preferences";

/// Before anything is asked: Kari was here first, and is busy.
const BEFORE: &str = "
    update public.conversation_participants set joined_at = now() - interval '1 hour'
    where user_id = 'a0000000-0000-4000-8000-000000000001';
    insert into public.user_presence (user_id, status, expires_at)
    values ('a0000000-0000-4000-8000-000000000001', 'busy', now() + interval '1 hour')";

fn table() -> Table {
    Table {
        app: "pitchey",
        rows: [reading_rows(), writing_rows()].into_iter().flatten().collect(),
        stranger: || user(EVE),
        other: || user(KARI),
        before: BEFORE,
        words: "/error",
        refusal,
    }
}

fn refusal(_status: u16, words: &str, wait: Option<u64>) -> Value {
    let mut refusal = json!({ "success": false, "error": words });
    if let Some(seconds) = wait {
        refusal["retryAfter"] = json!(seconds);
    }
    refusal
}

/// A message of Ola's that was just sent.
pub(super) fn message(content: &str) -> Value {
    json!({
        "messageId": "<message>", "conversationId": CHAT, "senderId": OLA, "senderType": "staff",
        "senderName": "Ola Nordmann", "recipientId": null, "content": content, "messageType": "text",
        "replyToId": null, "attachments": [], "clientMessageId": null, "createdAt": "<time>", "editedAt": null,
        "deletedAt": null,
    })
}

/// The same in a list, for Ola.
pub(super) fn listed(content: &str, status: &Value) -> Value {
    let mut message = message(content);
    for (name, value) in [("status", status.clone()), ("reactions", json!([])), ("readBy", json!([]))] {
        message[name] = value;
    }
    message
}

fn preferences(in_app: bool) -> Value {
    json!({ "success": true, "preferences": { "email": true, "push": true, "inApp": in_app, "newMessage": true,
        "mentions": true, "quietHoursStart": null, "quietHoursEnd": null, "timeZone": "UTC" } })
}

/// A row without a body and without what is anybody else's, to change.
fn reading(
    route: (&'static str, &'static str),
    ask: fn(&About) -> Ask,
    answer: (u16, Value),
    (stranger, unknown, wrong_field): (Cell, Cell, Cell),
) -> Row {
    Row {
        route,
        who: || user(OLA),
        ask,
        answer,
        stranger,
        unknown,
        not_own: Never("nothing is changed"),
        wrong_field,
        not_json: Never("no body is read"),
        wrong_media: Never("no body is read"),
        too_large: Never("no body is read"),
        too_long: Never("it has no text"),
        too_often: Never("nothing is written"),
    }
}

fn reading_rows() -> Vec<Row> {
    let person = |id: &str, name: &str, is_online: bool| {
        json!({ "userId": id, "name": name, "role": "member", "joinedAt": "<time>", "lastReadAt": null,
            "isOnline": is_online, "lastSeenAt": if is_online { json!("<time>") } else { Value::Null } })
    };
    let conversation = json!({
        "id": CHAT, "kind": "direct", "title": null,
        "participants": [person(KARI, "Kari Nordmann", true), person(OLA, "Ola Nordmann", false)],
        "lastMessage": listed("Hei", &json!("sent")), "lastMessageAt": "<time>", "unreadCount": 0,
        "isArchived": false, "metadata": {}, "createdAt": "<time>",
    });
    let everybody = "everybody has their own";
    vec![
        reading(
            ("GET", SOCKET),
            // What a socket answers stands in the table of frames.
            |_| (SOCKET.into(), Value::Null),
            (426, json!({ "success": false, "error": "This path is for WebSockets" })),
            (Never(everybody), Never("it names nothing"), Never("it has no fields")),
        ),
        reading(
            ("GET", CONVERSATIONS),
            |_| (CONVERSATIONS.into(), Value::Null),
            (
                200,
                json!({ "success": true, "conversations": [conversation], "hasMore": false, "nextBefore": null }),
            ),
            (
                Never(everybody),
                Never("it names nothing"),
                To(400, |_| (format!("{CONVERSATIONS}?limit=101"), Value::Null), "limit"),
            ),
        ),
        reading(
            ("GET", "/api/messages/{conversation_id}/messages"),
            |about| (format!("/api/messages/{}/messages", about.chat), Value::Null),
            (
                200,
                json!({ "success": true, "conversationId": CHAT, "messages": [listed("Hei", &json!("sent"))],
                    "hasMore": false, "nextBefore": null }),
            ),
            (
                Is(404),
                Is(404),
                To(
                    400,
                    |about| (format!("/api/messages/{}/messages?before=7", about.chat), Value::Null),
                    "before",
                ),
            ),
        ),
        reading(
            ("GET", PREFERENCES),
            |_| (PREFERENCES.into(), Value::Null),
            (200, preferences(true)),
            (Never(everybody), Never("it names nothing"), Never("it has no fields")),
        ),
    ]
}

fn writing_rows() -> Vec<Row> {
    let file =
        json!({ "url": "https://files.example/a.png", "name": "a.png", "size": 7, "mimeType": "image/png" });
    let mut sent = message("Se");
    for (name, value) in [
        ("messageId", json!("<id>")),
        ("recipientId", json!(KARI)),
        ("messageType", json!("image")),
        ("replyToId", json!("<message>")),
        ("attachments", json!([file])),
        ("clientMessageId", json!("c1")),
    ] {
        sent[name] = value;
    }
    vec![
        Row {
            route: ("POST", SEND),
            who: || user(OLA),
            ask: |about| {
                let file = json!({ "url": "https://files.example/a.png", "name": "a.png", "size": 7,
                    "mimeType": "image/png" });
                let body = json!({ "conversationId": about.chat, "content": "Se", "recipientId": KARI,
                    "messageType": "image", "replyToId": about.message, "attachments": [file],
                    "clientMessageId": "c1" });
                (SEND.into(), body)
            },
            answer: (200, json!({ "success": true, "message": sent })),
            stranger: Is(404),
            unknown: Is(404),
            not_own: Never("everybody sends what is their own"),
            wrong_field: To(
                400,
                |about| (SEND.into(), json!({ "conversationId": about.chat, "content": 7 })),
                "content",
            ),
            not_json: Is(400),
            wrong_media: Is(415),
            too_large: Is(413),
            too_long: To(
                413,
                |about| (SEND.into(), json!({ "conversationId": about.chat, "content": "x".repeat(65_537) })),
                "A value is too long",
            ),
            too_often: Beyond("messages_per_minute"),
        },
        Row {
            route: ("PUT", PREFERENCES),
            who: || user(OLA),
            ask: |_| (PREFERENCES.into(), json!({ "inApp": false })),
            answer: (200, preferences(false)),
            stranger: Never("everybody has their own"),
            unknown: Never("it names nothing"),
            not_own: Never("everybody has their own"),
            wrong_field: To(
                400,
                |_| (PREFERENCES.into(), json!({ "fax": true })),
                "This preference is not known",
            ),
            not_json: Is(400),
            wrong_media: Is(415),
            too_large: Is(413),
            too_long: Never("it has no text of that length: a time zone has a name that is known"),
            too_often: Never("one row is written, and it has no limit"),
        },
    ]
}

#[test]
fn every_route_has_a_row() {
    table().is_complete();
}

#[test]
fn every_route_is_documented() {
    table().is_documented();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_who_takes_part() {
    table().is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_as_its_row_says() {
    table().is_refused().await;
}

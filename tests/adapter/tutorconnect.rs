//! TutorConnect's routes: what each answers, and whom it refuses.

use serde_json::{Value, json};

use crate::requests::{App, CHAT, EVE, KARI, OLA, OTHER_CHAT, on_each_major, staff, user};
use crate::table::Cell::{Beyond, Is, Never, To};
use crate::table::{About, Ask, Row, Table};

const REALTIME: &str = "/api/chat/realtime";
const MESSAGES: &str = "/api/messages";
const TYPING: &str = "/api/messages/typing";
const RECEIPTS: &str = "/api/messages/read-receipts";

/// Before anything is asked: Kari was here first and types, and Ola is busy.
const BEFORE: &str = "
    update public.conversation_participants set joined_at = now() - interval '1 hour'
    where user_id = 'a0000000-0000-4000-8000-000000000001';
    insert into public.user_presence (user_id, status, expires_at)
    values ('b0000000-0000-4000-8000-000000000001', 'busy', now() + interval '1 hour');
    insert into public.message_typing_indicators (conversation_id, user_id, expires_at)
    values ('d0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001', now() + interval '1 hour')";

fn kari() -> String {
    user(KARI)
}

fn ola() -> String {
    user(OLA)
}

fn eve() -> String {
    user(EVE)
}

fn table() -> Table {
    Table {
        app: "tutorconnect",
        rows: [chat_rows(), message_rows(), receipt_rows()].into_iter().flatten().collect(),
        stranger: eve,
        other: kari,
        before: BEFORE,
        words: "/error/message",
        refusal,
    }
}

/// What every refusal has.
pub(crate) fn refusal(status: u16, words: &str, wait: Option<u64>) -> Value {
    let code = match status {
        400 => "INVALID_REQUEST",
        401 => "UNAUTHORIZED",
        403 => "FORBIDDEN",
        404 => "NOT_FOUND",
        405 => "METHOD_NOT_ALLOWED",
        413 => "PAYLOAD_TOO_LARGE",
        415 => "UNSUPPORTED_MEDIA_TYPE",
        429 => "RATE_LIMITED",
        other => panic!("{other} is no status of a refusal"),
    };
    let mut error = json!({ "code": code, "message": words });
    if let Some(seconds) = wait {
        error["retryAfter"] = json!(seconds);
    }
    json!({ "success": false, "error": error })
}

fn done(data: &Value) -> Value {
    json!({ "success": true, "data": data })
}

fn typing_row(route: (&'static str, &'static str), ask: fn(&About) -> Ask, wrong: fn(&About) -> Ask) -> Row {
    Row {
        route,
        who: ola,
        ask,
        answer: (
            200,
            done(&json!({ "chatId": CHAT, "userId": OLA, "customerId": null, "isTyping": true,
                "startedAt": "<time>", "expiresAt": "<time>" })),
        ),
        stranger: Is(404),
        unknown: Is(404),
        not_own: Never("everybody types for themselves"),
        wrong_field: To(400, wrong, "isTyping"),
        not_json: Is(400),
        wrong_media: Is(415),
        too_large: Is(413),
        too_long: Never("it has no text"),
        too_often: Beyond("typing_per_minute"),
    }
}

fn chat_rows() -> Vec<Row> {
    let channel = format!("chat:{CHAT}");
    let binding = |table: &str| json!({ "event": "*", "schema": "public", "table": table, "filter": format!("conversation_id=eq.{CHAT}") });
    let tables = ["messages", "message_reactions", "message_delivery_status", "conversation_participants"];
    let tables = tables.into_iter().chain(["message_read_receipts", "message_typing_indicators"]);
    let person = |id: &str, name: &str, status: &str| {
        json!({ "userId": id, "customerId": null, "name": name, "role": "member", "joinedAt": "<time>",
            "lastReadAt": null, "status": status, "lastSeenAt": null, "isOnline": status != "offline",
            "isTyping": id == KARI })
    };
    let mut ola_is_busy = person(OLA, "Ola Nordmann", "busy");
    ola_is_busy["lastSeenAt"] = json!("<time>");
    let mut last = message("Hei");
    for (name, value) in [
        ("id", json!("<message>")),
        ("status", Value::Null),
        ("reactions", json!([])),
        ("readBy", json!([])),
        ("clientMessageId", Value::Null),
    ] {
        last[name] = value;
    }
    vec![
        Row {
            route: ("GET", REALTIME),
            who: kari,
            ask: |about| (format!("{REALTIME}?chatId={}", about.chat), Value::Null),
            answer: (
                200,
                done(&json!({
                    "chatId": CHAT, "kind": "direct", "title": null,
                    "participants": [person(KARI, "Kari Nordmann", "offline"), ola_is_busy],
                    "onlineUsers": [OLA],
                    "typingUsers": [{ "chatId": CHAT, "userId": KARI, "customerId": null, "isTyping": true,
                        "startedAt": "<time>", "expiresAt": "<time>" }],
                    "unreadCount": 1, "lastMessage": last, "lastMessageAt": "<time>", "isArchived": false,
                    "metadata": {},
                })),
            ),
            stranger: Is(404),
            unknown: Is(404),
            not_own: Never("it is everybody's who takes part"),
            wrong_field: To(400, |_| (format!("{REALTIME}?chatId=7"), Value::Null), "chatId"),
            not_json: Never("no body is read"),
            wrong_media: Never("no body is read"),
            too_large: Never("no body is read"),
            too_long: Never("it has no text"),
            too_often: Never("nothing is written"),
        },
        Row {
            route: ("POST", REALTIME),
            who: ola,
            ask: |about| (REALTIME.into(), json!({ "chatId": about.chat })),
            answer: (
                200,
                done(&json!({
                    "chatId": CHAT, "action": "subscribe", "userId": OLA, "customerId": null,
                    "channels": [
                        { "name": channel, "topic": format!("realtime:{channel}"), "config": { "private": true },
                            "postgresChanges": tables.map(binding).collect::<Vec<_>>() },
                        { "name": format!("{channel}:presence"), "topic": format!("realtime:{channel}:presence"),
                            "config": { "private": true, "presence": { "key": OLA } },
                            "postgresChanges": [{ "event": "*", "schema": "public", "table": "user_presence" }] },
                    ],
                    "topics": [format!("realtime:{channel}"), format!("realtime:{channel}:presence")],
                    "features": { "messages": true, "reactions": true, "deliveryStatus": true, "participants": true,
                        "typing": true, "readReceipts": true, "presence": true },
                })),
            ),
            stranger: Is(404),
            unknown: Is(404),
            not_own: Never("it is everybody's who takes part"),
            wrong_field: To(
                400,
                |about| (REALTIME.into(), json!({ "chatId": about.chat, "action": "listen" })),
                "action",
            ),
            not_json: Is(400),
            wrong_media: Is(415),
            too_large: Is(413),
            too_long: Never("it has no text"),
            too_often: Never("nothing is written"),
        },
        typing_row(
            ("PUT", REALTIME),
            |about| {
                (REALTIME.into(), json!({ "chatId": about.chat, "isTyping": true, "expiresInSeconds": 60 }))
            },
            |about| (REALTIME.into(), json!({ "chatId": about.chat })),
        ),
        typing_row(
            ("POST", TYPING),
            |about| (TYPING.into(), json!({ "chatId": about.chat, "isTyping": true })),
            |about| (TYPING.into(), json!({ "chatId": about.chat, "isTyping": "yes" })),
        ),
    ]
}

/// A message of Ola's that was just sent by the app.
fn message(content: &str) -> Value {
    json!({
        "id": "<id>", "chatId": CHAT, "senderId": OLA, "senderCustomerId": null, "senderType": "staff",
        "senderName": "Ola Nordmann", "senderRole": "pupil", "receiverId": null, "content": content, "type": "text",
        "replyToId": null, "attachments": [], "clientMessageId": null, "editedAt": null, "deletedAt": null,
        "createdAt": "<time>", "updatedAt": "<time>",
    })
}

fn message_rows() -> Vec<Row> {
    let file = json!({ "url": "https://files.example/a.pdf", "name": "a.pdf", "size": 9, "mimeType": "application/pdf" });
    let mut sent = message("Se her");
    for (name, value) in [
        ("type", json!("file")),
        ("attachments", json!([file])),
        ("replyToId", json!("<message>")),
        ("receiverId", json!(KARI)),
        ("clientMessageId", json!("temp-17")),
    ] {
        sent[name] = value;
    }
    let mut edited = message("Hei du");
    (edited["id"], edited["editedAt"]) = (json!("<message>"), json!("<time>"));
    let mut deleted = message("");
    (deleted["id"], deleted["deletedAt"]) = (json!("<message>"), json!("<time>"));
    vec![
        Row {
            route: ("POST", MESSAGES),
            who: ola,
            ask: |about| {
                let file = json!({ "url": "https://files.example/a.pdf", "name": "a.pdf", "size": 9,
                    "mimeType": "application/pdf" });
                (
                    MESSAGES.into(),
                    json!({ "chatId": about.chat, "content": "Se her", "type": "file",
                    "replyToId": about.message, "receiverId": KARI, "clientMessageId": "temp-17",
                    "attachments": [file] }),
                )
            },
            answer: (201, done(&sent)),
            stranger: Is(404),
            unknown: Is(404),
            not_own: Never("everybody sends what is their own"),
            wrong_field: To(
                400,
                |about| (MESSAGES.into(), json!({ "chatId": about.chat, "content": 7 })),
                "content",
            ),
            not_json: Is(400),
            wrong_media: Is(415),
            too_large: Is(413),
            too_long: To(
                413,
                |about| (MESSAGES.into(), json!({ "chatId": about.chat, "content": "x".repeat(65_537) })),
                "A value is too long",
            ),
            too_often: Beyond("messages_per_minute"),
        },
        Row {
            route: ("PUT", "/api/messages/{id}"),
            who: ola,
            ask: |about| (format!("{MESSAGES}/{}", about.message), json!({ "content": "Hei du" })),
            answer: (200, done(&edited)),
            stranger: Is(404),
            unknown: Is(404),
            not_own: Is(403),
            wrong_field: To(400, |about| (format!("{MESSAGES}/{}", about.message), json!({})), "content"),
            not_json: Is(400),
            wrong_media: Is(415),
            too_large: Is(413),
            too_long: To(
                413,
                |about| (format!("{MESSAGES}/{}", about.message), json!({ "content": "x".repeat(65_537) })),
                "A value is too long",
            ),
            too_often: Beyond("changes_per_minute"),
        },
        Row {
            route: ("DELETE", "/api/messages/{id}"),
            who: ola,
            ask: |about| (format!("{MESSAGES}/{}", about.message), Value::Null),
            answer: (200, done(&deleted)),
            stranger: Is(404),
            unknown: Is(404),
            not_own: Is(403),
            wrong_field: To(400, |_| (format!("{MESSAGES}/7"), Value::Null), "id"),
            not_json: Never("no body is read"),
            wrong_media: Never("no body is read"),
            too_large: Never("no body is read"),
            too_long: Never("it has no text"),
            too_often: Never("messages are sent no faster than their rate, and deleted once"),
        },
    ]
}

fn receipt_rows() -> Vec<Row> {
    let row = |ask, answer: Value, stranger, unknown, not_own, wrong_field| Row {
        route: ("POST", RECEIPTS),
        who: kari,
        ask,
        answer: (200, done(&answer)),
        stranger,
        unknown,
        not_own,
        wrong_field,
        not_json: Is(400),
        wrong_media: Is(415),
        too_large: Is(413),
        too_long: Never("it has no text"),
        too_often: Beyond("receipts_per_minute"),
    };
    let receipt = json!({ "id": "<id>", "messageId": "<message>", "chatId": CHAT, "userId": KARI, "customerId": null,
        "readAt": "<time>" });
    vec![
        row(
            |about| (RECEIPTS.into(), json!({ "messageId": about.message })),
            json!({ "receipt": receipt }),
            Is(404),
            Is(404),
            To(
                400,
                |about| (RECEIPTS.into(), json!({ "messageId": about.message, "chatId": about.chat })),
                "messageId excludes",
            ),
            To(400, |_| (RECEIPTS.into(), json!({ "messageId": 7 })), "messageId"),
        ),
        row(
            |about| (RECEIPTS.into(), json!({ "messageIds": [about.message] })),
            json!({ "readCount": 1 }),
            Never("what one may not see is passed over"),
            Never("what does not exist is passed over"),
            Never("one's own is passed over"),
            To(400, |_| (RECEIPTS.into(), json!({ "messageIds": [] })), "messageIds"),
        ),
        row(
            |about| (RECEIPTS.into(), json!({ "chatId": about.chat })),
            json!({ "readCount": 1 }),
            Is(404),
            Is(404),
            Never("one's own are passed over"),
            To(400, |_| (RECEIPTS.into(), json!({})), "messageId, messageIds or chatId"),
        ),
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

/// Sends a message as Ola, and says which it is.
async fn sent(app: &App, content: &str) -> String {
    let body = json!({ "chatId": CHAT, "content": content });
    let answer = app.ask("POST", MESSAGES, Some(&user(OLA)), &body).await;
    answer.data()["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_named() {
    on_each_major(async |app| {
        for (method, path, body, field) in [
            ("POST", REALTIME, json!({}), "chatId"),
            ("POST", REALTIME, json!({ "chatId": "7" }), "chatId"),
            ("POST", REALTIME, json!({ "chatId": CHAT, "enableTyping": 1 }), "enableTyping"),
            (
                "PUT",
                REALTIME,
                json!({ "chatId": CHAT, "isTyping": true, "expiresInSeconds": "5" }),
                "expiresInSeconds",
            ),
            ("GET", REALTIME, Value::Null, "chatId"),
            ("POST", MESSAGES, json!({ "chatId": CHAT, "content": "a", "attachments": [{}] }), "url"),
            ("POST", MESSAGES, json!({ "chatId": CHAT, "content": "a", "receiverId": "7" }), "receiverId"),
            ("PUT", "/api/messages/7", json!({ "content": "a" }), "id"),
            // What only the database knows to be wrong.
            ("POST", MESSAGES, json!({ "chatId": CHAT, "content": "" }), ""),
            ("POST", MESSAGES, json!({ "chatId": CHAT, "content": "a", "type": "song" }), ""),
            (
                "POST",
                MESSAGES,
                json!({ "chatId": CHAT, "content": "a", "clientMessageId": "x".repeat(129) }),
                "",
            ),
        ] {
            let answer = app.ask(method, path, Some(&ola()), &body).await;
            answer.refused(400, "INVALID_REQUEST");
            let words = answer.0.body["error"]["message"].as_str().unwrap();
            assert!(words.starts_with(field), "{method} {path} {body}: {words}");
        }
        assert_eq!(app.value("select count(*)::text from public.messages").await, "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_may_be_as_long_as_it_says() {
    on_each_major(async |app| {
        let body = json!({ "chatId": CHAT, "content": "x".repeat(65_536) });
        assert_eq!(app.ask("POST", MESSAGES, Some(&ola()), &body).await.status(), 201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_typing_is_never_too_fast() {
    on_each_major(async |app| {
        app.limit("typing_per_minute", 1).await;
        for is_typing in [true, false, false] {
            let body = json!({ "chatId": CHAT, "isTyping": is_typing });
            app.ask("POST", TYPING, Some(&ola()), &body).await.data();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_sent_again_is_the_same_message() {
    on_each_major(async |app| {
        let send = async |content: &str| {
            let body = json!({ "chatId": CHAT, "content": content, "clientMessageId": "temp-1" });
            app.ask("POST", MESSAGES, Some(&user(OLA)), &body).await.data().clone()
        };
        let first = send("Hei").await;
        assert_eq!(send("Hei").await, first);
        assert_eq!(send("something else").await["content"], "Hei");
        assert_eq!(first["clientMessageId"], "temp-1");
        assert_eq!(app.value("select count(*)::text from public.messages").await, "1");
        // The same word of somebody else is another message.
        let body = json!({ "chatId": CHAT, "content": "Ja", "clientMessageId": "temp-1" });
        assert_ne!(app.ask("POST", MESSAGES, Some(&user(KARI)), &body).await.data()["id"], first["id"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_chat_follows_what_happens_in_it() {
    on_each_major(async |app| {
        let status = async |who: &str| {
            let path = format!("{REALTIME}?chatId={CHAT}");
            app.ask("GET", &path, Some(&user(who)), &Value::Null).await.data().clone()
        };
        let before = status(KARI).await;
        assert_eq!((&before["chatId"], &before["kind"]), (&json!(CHAT), &json!("direct")));
        assert_eq!(before["participants"].as_array().unwrap().len(), 2);
        assert_eq!((&before["unreadCount"], &before["lastMessage"]), (&json!(0), &Value::Null));
        assert_eq!((&before["onlineUsers"], &before["typingUsers"]), (&json!([]), &json!([])));

        let attachment = json!({ "url": "https://files.example/a.pdf", "name": "a.pdf", "size": 9,
        "mimeType": "application/pdf" });
        let body = json!({ "chatId": CHAT, "content": "Hei", "type": "file", "attachments": [attachment] });
        let message = app.ask("POST", MESSAGES, Some(&user(OLA)), &body).await.data().clone();
        assert_eq!((&message["senderId"], &message["senderName"]), (&json!(OLA), &json!("Ola Nordmann")));
        assert_eq!(message["attachments"], json!([attachment]));
        let typing = json!({ "chatId": CHAT, "isTyping": true, "expiresInSeconds": 60 });
        let typed = app.ask("PUT", REALTIME, Some(&user(OLA)), &typing).await.data().clone();
        assert_eq!((&typed["userId"], &typed["isTyping"]), (&json!(OLA), &json!(true)));
        let status_of_ola = "insert into public.user_presence (user_id, status, expires_at)
        values ('b0000000-0000-4000-8000-000000000001', 'busy', now() + interval '1 hour')";
        app.stage.database.execute(status_of_ola).await;
        let during = status(KARI).await;
        assert_eq!((&during["unreadCount"], &during["lastMessage"]["id"]), (&json!(1), &message["id"]));
        assert_eq!(
            (&during["onlineUsers"], &during["typingUsers"][0]["userId"]),
            (&json!([OLA]), &json!(OLA))
        );
        assert_eq!(status(OLA).await["lastMessage"]["status"], "sent");

        let read = json!({ "messageId": message["id"] });
        let receipt = app.ask("POST", RECEIPTS, Some(&user(KARI)), &read).await.data()["receipt"].clone();
        assert_eq!((&receipt["userId"], &receipt["messageId"]), (&json!(KARI), &message["id"]));
        let stop = json!({ "chatId": CHAT, "isTyping": false });
        let stopped = app.ask("POST", TYPING, Some(&user(OLA)), &stop).await.data().clone();
        assert_eq!((&stopped["isTyping"], &stopped["expiresAt"]), (&json!(false), &Value::Null));
        let after = status(KARI).await;
        assert_eq!((&after["unreadCount"], &after["typingUsers"]), (&json!(0), &json!([])));
        assert_eq!(after["lastMessage"]["readBy"][0]["userId"], KARI);
        assert_eq!(status(OLA).await["lastMessage"]["status"], "read");

        let path = format!("{MESSAGES}/{}", message["id"].as_str().unwrap());
        let edited =
            app.ask("PUT", &path, Some(&user(OLA)), &json!({ "content": "Hei du" })).await.data().clone();
        assert_eq!(edited["content"], "Hei du");
        assert!(edited["editedAt"].is_string());
        let deleted = app.ask("DELETE", &path, Some(&user(OLA)), &Value::Null).await.data().clone();
        assert_eq!((&deleted["content"], &deleted["attachments"]), (&json!(""), &json!([])));
        let again = app.ask("DELETE", &path, Some(&user(OLA)), &Value::Null).await.data().clone();
        assert_eq!(again["deletedAt"], deleted["deletedAt"], "deleting twice is harmless");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_are_read_at_once_and_whole_chats_too() {
    on_each_major(async |app| {
        let messages = [sent(&app, "a").await, sent(&app, "b").await, sent(&app, "c").await];
        let count = async |who: &str, body: Value| {
            app.ask("POST", RECEIPTS, Some(&user(who)), &body).await.data()["readCount"].clone()
        };
        assert_eq!(count(KARI, json!({ "messageIds": messages[..2] })).await, 2);
        assert_eq!(count(KARI, json!({ "messageIds": messages[..2] })).await, 0);
        assert_eq!(count(KARI, json!({ "chatId": CHAT })).await, 1);
        assert_eq!(count(OLA, json!({ "chatId": CHAT })).await, 0, "one's own are passed over");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_their_interest_types_no_more() {
    on_each_major(async |app| {
        let typing = json!({ "chatId": CHAT, "isTyping": true, "expiresInSeconds": 60 });
        app.ask("PUT", REALTIME, Some(&user(OLA)), &typing).await.data();
        let body = json!({ "chatId": CHAT, "action": "unsubscribe" });
        let answer = app.ask("POST", REALTIME, Some(&user(OLA)), &body).await;
        assert_eq!(
            (&answer.data()["action"], &answer.data()["channels"]),
            (&json!("unsubscribe"), &json!([]))
        );
        assert_eq!(app.value("select count(*)::text from public.message_typing_indicators").await, "0");
        // Staff see what they cannot write in, and so never typed in.
        let staff = app.ask("POST", REALTIME, Some(&staff(EVE)), &body).await;
        assert_eq!(staff.data()["action"], "unsubscribe");
        let other = json!({ "chatId": OTHER_CHAT, "action": "unsubscribe" });
        app.ask("POST", REALTIME, Some(&user(OLA)), &other).await.refused(404, "NOT_FOUND");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_ask() {
    on_each_major(async |app| {
        for (method, path) in [("PUT", REALTIME), ("POST", MESSAGES), ("DELETE", "/api/messages/7")] {
            let head = format!("origin: https://app.example\r\naccess-control-request-method: {method}\r\n");
            let answer = app.stage.ask_raw("OPTIONS", path, &head, b"").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let allowed = answer.header("access-control-allow-methods").unwrap();
            assert!(allowed.contains(&method.to_ascii_lowercase()), "{allowed}");
        }
    })
    .await;
}

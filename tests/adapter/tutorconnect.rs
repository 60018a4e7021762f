//! TutorConnect's routes: what each answers, and whom it refuses.

use serde_json::{Value, json};

use crate::app::{App, CHAT, EVE, KARI, NOTHING, OLA, OTHER_CHAT, signed, user};

const REALTIME: &str = "/api/chat/realtime";
const MESSAGES: &str = "/api/messages";
const TYPING: &str = "/api/messages/typing";
const RECEIPTS: &str = "/api/messages/read-receipts";

async fn app() -> App {
    App::start("tutorconnect", &[]).await
}

/// Sends a message as Ola, and says which it is.
fn sent(app: &App, content: &str) -> String {
    let answer = app.ask("POST", MESSAGES, Some(&user(OLA)), &json!({ "chatId": CHAT, "content": content }));
    answer.data()["id"].as_str().unwrap().to_owned()
}

/// Every route, with a request that is good for Ola and about this chat and message.
fn requests(chat: &str, message: &str) -> Vec<(&'static str, String, Value)> {
    vec![
        ("POST", REALTIME.to_owned(), json!({ "chatId": chat })),
        ("PUT", REALTIME.to_owned(), json!({ "chatId": chat, "isTyping": true })),
        ("GET", format!("{REALTIME}?chatId={chat}"), Value::Null),
        ("POST", MESSAGES.to_owned(), json!({ "chatId": chat, "content": "Hei" })),
        ("PUT", format!("{MESSAGES}/{message}"), json!({ "content": "Hei du" })),
        ("POST", TYPING.to_owned(), json!({ "chatId": chat, "isTyping": true })),
        ("POST", RECEIPTS.to_owned(), json!({ "chatId": chat })),
        ("DELETE", format!("{MESSAGES}/{message}"), Value::Null),
    ]
}

#[tokio::test]
async fn each_route_answers_one_who_takes_part() {
    let app = app().await;
    let message = sent(&app, "Hei");
    for (method, path, body) in requests(CHAT, &message) {
        let answer = app.ask(method, &path, Some(&user(OLA)), &body);
        let expected = if (method, &*path) == ("POST", MESSAGES) { 201 } else { 200 };
        assert_eq!(answer.status, expected, "{method} {path} {answer:?}");
        assert!(answer.data().is_object(), "{method} {path} {answer:?}");
    }
}

#[tokio::test]
async fn who_brings_no_good_token_is_refused_by_each_route() {
    let app = app().await;
    let message = sent(&app, "Hei");
    for (method, path, body) in requests(CHAT, &message) {
        app.ask(method, &path, None, &body).refused(401, "UNAUTHORIZED");
        app.ask(method, &path, Some("no.good.token"), &body).refused(401, "UNAUTHORIZED");
        let nobody = signed(json!({ "role": "authenticated", "sub": "not an id" }));
        app.ask(method, &path, Some(&nobody), &body).refused(403, "FORBIDDEN");
    }
    assert_eq!(app.value("select count(*)::text from public.messages").await, "1");
}

#[tokio::test]
async fn what_a_stranger_asks_about_does_not_exist_for_them() {
    let app = app().await;
    let message = sent(&app, "Hei");
    for (method, path, body) in requests(CHAT, &message) {
        app.ask(method, &path, Some(&user(EVE)), &body).refused(404, "NOT_FOUND");
    }
    for (method, path, body) in requests(NOTHING, NOTHING) {
        app.ask(method, &path, Some(&user(OLA)), &body).refused(404, "NOT_FOUND");
    }
    // A message of somebody else's is seen, but not theirs to change.
    let path = format!("{MESSAGES}/{message}");
    app.ask("PUT", &path, Some(&user(KARI)), &json!({ "content": "Hva?" })).refused(403, "FORBIDDEN");
    app.ask("DELETE", &path, Some(&user(KARI)), &Value::Null).refused(403, "FORBIDDEN");
    assert_eq!(app.value("select string_agg(content, ',') from public.messages").await, "Hei");
    assert_eq!(app.value("select count(*)::text from public.message_typing_indicators").await, "0");
}

#[tokio::test]
async fn wrong_requests_are_refused_with_the_field_that_is_wrong() {
    let app = app().await;
    let message = sent(&app, "Hei");
    let ola = user(OLA);
    let edit = format!("{MESSAGES}/{message}");
    for (method, path, body, field) in [
        ("POST", REALTIME, json!({}), "chatId"),
        ("POST", REALTIME, json!({ "chatId": "7" }), "chatId"),
        ("POST", REALTIME, json!({ "chatId": CHAT, "action": "listen" }), "action"),
        ("PUT", REALTIME, json!({ "chatId": CHAT }), "isTyping"),
        ("POST", TYPING, json!({ "chatId": CHAT, "isTyping": "yes" }), "isTyping"),
        ("GET", REALTIME, Value::Null, "chatId"),
        ("GET", "/api/chat/realtime?chatId=7", Value::Null, "chatId"),
        ("POST", MESSAGES, json!({ "chatId": CHAT, "content": 7 }), "content"),
        ("POST", MESSAGES, json!({ "chatId": CHAT, "content": "a", "attachments": [{}] }), "url"),
        ("PUT", &edit, json!({}), "content"),
        ("PUT", "/api/messages/7", json!({ "content": "a" }), "id"),
        ("DELETE", "/api/messages/7", Value::Null, "id"),
        ("POST", RECEIPTS, json!({}), "messageId"),
        ("POST", RECEIPTS, json!({ "messageIds": [] }), "messageIds"),
    ] {
        let answer = app.ask(method, path, Some(&ola), &body);
        answer.refused(400, "INVALID_REQUEST");
        let words = answer.body["error"]["message"].as_str().unwrap();
        assert!(words.starts_with(field), "{method} {path} {body}: {words}");
    }
    // What only the database knows to be wrong.
    for body in [
        json!({ "chatId": CHAT, "content": "" }),
        json!({ "chatId": CHAT, "content": "a", "type": "song" }),
        json!({ "chatId": CHAT, "content": "a", "clientMessageId": "x".repeat(129) }),
    ] {
        app.ask("POST", MESSAGES, Some(&ola), &body).refused(400, "INVALID_REQUEST");
    }
    for (method, path) in [("POST", REALTIME), ("PUT", REALTIME), ("POST", MESSAGES), ("PUT", &edit)] {
        app.send(method, path, Some(&ola), "application/json", b"{").refused(400, "INVALID_REQUEST");
        app.send(method, path, Some(&ola), "application/json", b"[]").refused(400, "INVALID_REQUEST");
        let answer = app.send(method, path, Some(&ola), "text/plain", b"{}");
        answer.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    app.ask("PATCH", &edit, Some(&ola), &json!({ "content": "a" })).refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(app.value("select count(*)::text from public.messages").await, "1");
}

#[tokio::test]
async fn what_is_too_large_is_refused_as_such() {
    let app = app().await;
    let ola = user(OLA);
    let message = |bytes: usize| json!({ "chatId": CHAT, "content": "x".repeat(bytes) });
    assert_eq!(app.ask("POST", MESSAGES, Some(&ola), &message(65_536)).status, 201);
    app.ask("POST", MESSAGES, Some(&ola), &message(65_537)).refused(413, "PAYLOAD_TOO_LARGE");
    let path = format!("{MESSAGES}/{}", sent(&app, "Hei"));
    let body = json!({ "content": "x".repeat(65_537) });
    app.ask("PUT", &path, Some(&ola), &body).refused(413, "PAYLOAD_TOO_LARGE");
    app.ask("POST", MESSAGES, Some(&ola), &message(9_000_000)).refused(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn who_is_too_fast_is_told_how_long_to_wait() {
    let app = app().await;
    let ola = user(OLA);
    let message = sent(&app, "Hei");
    let refused = |method: &str, path: &str, token: &str, body: &Value| {
        let answer = app.ask(method, path, Some(token), body);
        answer.refused(429, "RATE_LIMITED");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{answer:?}");
        assert_eq!(answer.body["error"]["retryAfter"], seconds);
    };
    app.limit("typing_per_minute", 1).await;
    let typing = json!({ "chatId": CHAT, "isTyping": true });
    assert_eq!(app.ask("PUT", REALTIME, Some(&ola), &typing).status, 200);
    refused("PUT", REALTIME, &ola, &typing);
    refused("POST", TYPING, &ola, &typing);
    let stop = json!({ "chatId": CHAT, "isTyping": false });
    assert_eq!(app.ask("POST", TYPING, Some(&ola), &stop).status, 200, "only starts count");

    app.limit("receipts_per_minute", 1).await;
    let read = json!({ "messageIds": [message] });
    assert_eq!(app.ask("POST", RECEIPTS, Some(&user(KARI)), &read).status, 200);
    refused("POST", RECEIPTS, &user(KARI), &read);

    app.limit("messages_per_minute", 1).await;
    refused("POST", MESSAGES, &ola, &json!({ "chatId": CHAT, "content": "Hei igjen" }));
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_the_same_message() {
    let app = app().await;
    let send = |content: &str| {
        let body = json!({ "chatId": CHAT, "content": content, "clientMessageId": "temp-1" });
        app.ask("POST", MESSAGES, Some(&user(OLA)), &body).data().clone()
    };
    let first = send("Hei");
    assert_eq!(send("Hei"), first);
    assert_eq!(send("something else")["content"], "Hei");
    assert_eq!(first["clientMessageId"], "temp-1");
    assert_eq!(app.value("select count(*)::text from public.messages").await, "1");
    // The same word of somebody else is another message.
    let body = json!({ "chatId": CHAT, "content": "Ja", "clientMessageId": "temp-1" });
    assert_ne!(app.ask("POST", MESSAGES, Some(&user(KARI)), &body).data()["id"], first["id"]);
}

#[tokio::test]
async fn the_status_of_a_chat_follows_what_happens_in_it() {
    let app = app().await;
    let status = |who: &str| {
        let path = format!("{REALTIME}?chatId={CHAT}");
        app.ask("GET", &path, Some(&user(who)), &Value::Null).data().clone()
    };
    let before = status(KARI);
    assert_eq!((&before["chatId"], &before["kind"]), (&json!(CHAT), &json!("direct")));
    assert_eq!(before["participants"].as_array().unwrap().len(), 2);
    assert_eq!((&before["unreadCount"], &before["lastMessage"]), (&json!(0), &Value::Null));
    assert_eq!((&before["onlineUsers"], &before["typingUsers"]), (&json!([]), &json!([])));

    let attachment = json!({ "url": "https://files.example/a.pdf", "name": "a.pdf", "size": 9,
        "mimeType": "application/pdf" });
    let body = json!({ "chatId": CHAT, "content": "Hei", "type": "file", "attachments": [attachment] });
    let message = app.ask("POST", MESSAGES, Some(&user(OLA)), &body).data().clone();
    assert_eq!((&message["senderId"], &message["senderName"]), (&json!(OLA), &json!("Ola Nordmann")));
    assert_eq!(message["attachments"], json!([attachment]));
    let typing = json!({ "chatId": CHAT, "isTyping": true, "expiresInSeconds": 60 });
    let typed = app.ask("PUT", REALTIME, Some(&user(OLA)), &typing).data().clone();
    assert_eq!((&typed["userId"], &typed["isTyping"]), (&json!(OLA), &json!(true)));
    let status_of_ola = "insert into public.user_presence (user_id, status, expires_at)
        values ('b0000000-0000-4000-8000-000000000001', 'busy', now() + interval '1 hour')";
    app.database.execute(status_of_ola).await;
    let during = status(KARI);
    assert_eq!((&during["unreadCount"], &during["lastMessage"]["id"]), (&json!(1), &message["id"]));
    assert_eq!((&during["onlineUsers"], &during["typingUsers"][0]["userId"]), (&json!([OLA]), &json!(OLA)));
    assert_eq!(status(OLA)["lastMessage"]["status"], "sent");

    let read = json!({ "messageId": message["id"] });
    let receipt = app.ask("POST", RECEIPTS, Some(&user(KARI)), &read).data()["receipt"].clone();
    assert_eq!((&receipt["userId"], &receipt["messageId"]), (&json!(KARI), &message["id"]));
    let stop = json!({ "chatId": CHAT, "isTyping": false });
    let stopped = app.ask("POST", TYPING, Some(&user(OLA)), &stop).data().clone();
    assert_eq!((&stopped["isTyping"], &stopped["expiresAt"]), (&json!(false), &Value::Null));
    let after = status(KARI);
    assert_eq!((&after["unreadCount"], &after["typingUsers"]), (&json!(0), &json!([])));
    assert_eq!(after["lastMessage"]["readBy"][0]["userId"], KARI);
    assert_eq!(status(OLA)["lastMessage"]["status"], "read");

    let path = format!("{MESSAGES}/{}", message["id"].as_str().unwrap());
    let edited = app.ask("PUT", &path, Some(&user(OLA)), &json!({ "content": "Hei du" })).data().clone();
    assert_eq!(edited["content"], "Hei du");
    assert!(edited["editedAt"].is_string());
    let deleted = app.ask("DELETE", &path, Some(&user(OLA)), &Value::Null).data().clone();
    assert_eq!((&deleted["content"], &deleted["attachments"]), (&json!(""), &json!([])));
    let again = app.ask("DELETE", &path, Some(&user(OLA)), &Value::Null).data().clone();
    assert_eq!(again["deletedAt"], deleted["deletedAt"], "deleting twice is harmless");
}

#[tokio::test]
async fn many_messages_are_read_at_once_and_whole_chats_too() {
    let app = app().await;
    let messages: Vec<String> = ["a", "b", "c"].iter().map(|content| sent(&app, content)).collect();
    let count = |who: &str, body: Value| {
        app.ask("POST", RECEIPTS, Some(&user(who)), &body).data()["readCount"].clone()
    };
    assert_eq!(count(KARI, json!({ "messageIds": messages[..2] })), 2);
    assert_eq!(count(KARI, json!({ "messageIds": messages[..2] })), 0);
    assert_eq!(count(KARI, json!({ "chatId": CHAT })), 1);
    assert_eq!(count(OLA, json!({ "chatId": CHAT })), 0, "one's own are passed over");
}

#[tokio::test]
async fn who_ends_their_interest_types_no_more() {
    let app = app().await;
    let typing = json!({ "chatId": CHAT, "isTyping": true, "expiresInSeconds": 60 });
    app.ask("PUT", REALTIME, Some(&user(OLA)), &typing).data();
    let body = json!({ "chatId": CHAT, "action": "unsubscribe" });
    let answer = app.ask("POST", REALTIME, Some(&user(OLA)), &body);
    assert_eq!((&answer.data()["action"], &answer.data()["channels"]), (&json!("unsubscribe"), &json!([])));
    assert_eq!(app.value("select count(*)::text from public.message_typing_indicators").await, "0");
    let other = json!({ "chatId": OTHER_CHAT, "action": "unsubscribe" });
    app.ask("POST", REALTIME, Some(&user(OLA)), &other).refused(404, "NOT_FOUND");
}

//! TutorConnect's routes: what each answers, and whom it refuses.

use serde_json::{Value, json};

use crate::requests::{App, CHAT, EVE, KARI, NOTHING, OLA, OTHER_CHAT, on_each_major, signed, staff, user};

const REALTIME: &str = "/api/chat/realtime";
const MESSAGES: &str = "/api/messages";
const TYPING: &str = "/api/messages/typing";
const RECEIPTS: &str = "/api/messages/read-receipts";

/// Sends a message as Ola, and says which it is.
async fn sent(app: &App, content: &str) -> String {
    let body = json!({ "chatId": CHAT, "content": content });
    let answer = app.ask("POST", MESSAGES, Some(&user(OLA)), &body).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn each_route_answers_one_who_takes_part() {
    on_each_major(async |app| {
        let message = sent(&app, "Hei").await;
        for (method, path, body) in requests(CHAT, &message) {
            let answer = app.ask(method, &path, Some(&user(OLA)), &body).await;
            let expected = if (method, &*path) == ("POST", MESSAGES) { 201 } else { 200 };
            assert_eq!(answer.status(), expected, "{method} {path} {answer:?}");
            assert!(answer.data().is_object(), "{method} {path} {answer:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_brings_no_good_token_is_refused_by_each_route() {
    on_each_major(async |app| {
        let message = sent(&app, "Hei").await;
        for (method, path, body) in requests(CHAT, &message) {
            app.ask(method, &path, None, &body).await.refused(401, "UNAUTHORIZED");
            app.ask(method, &path, Some("no.good.token"), &body).await.refused(401, "UNAUTHORIZED");
            let nobody = signed(json!({ "role": "authenticated", "sub": "not an id" }));
            app.ask(method, &path, Some(&nobody), &body).await.refused(403, "FORBIDDEN");
        }
        assert_eq!(app.value("select count(*)::text from public.messages").await, "1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_asks_about_does_not_exist_for_them() {
    on_each_major(async |app| {
        let message = sent(&app, "Hei").await;
        for (method, path, body) in requests(CHAT, &message) {
            app.ask(method, &path, Some(&user(EVE)), &body).await.refused(404, "NOT_FOUND");
        }
        for (method, path, body) in requests(NOTHING, NOTHING) {
            app.ask(method, &path, Some(&user(OLA)), &body).await.refused(404, "NOT_FOUND");
        }
        // A message of somebody else's is seen, but not theirs to change.
        let path = format!("{MESSAGES}/{message}");
        app.ask("PUT", &path, Some(&user(KARI)), &json!({ "content": "Hva?" }))
            .await
            .refused(403, "FORBIDDEN");
        app.ask("DELETE", &path, Some(&user(KARI)), &Value::Null).await.refused(403, "FORBIDDEN");
        assert_eq!(app.value("select string_agg(content, ',') from public.messages").await, "Hei");
        assert_eq!(app.value("select count(*)::text from public.message_typing_indicators").await, "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_with_the_field_that_is_wrong() {
    on_each_major(async |app| {
        let message = sent(&app, "Hei").await;
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
            let answer = app.ask(method, path, Some(&ola), &body).await;
            answer.refused(400, "INVALID_REQUEST");
            let words = answer.0.body["error"]["message"].as_str().unwrap();
            assert!(words.starts_with(field), "{method} {path} {body}: {words}");
        }
        // What only the database knows to be wrong.
        for body in [
            json!({ "chatId": CHAT, "content": "" }),
            json!({ "chatId": CHAT, "content": "a", "type": "song" }),
            json!({ "chatId": CHAT, "content": "a", "clientMessageId": "x".repeat(129) }),
        ] {
            app.ask("POST", MESSAGES, Some(&ola), &body).await.refused(400, "INVALID_REQUEST");
        }
        for (method, path) in [("POST", REALTIME), ("PUT", REALTIME), ("POST", MESSAGES), ("PUT", &edit)] {
            app.send(method, path, &ola, "application/json", b"{").await.refused(400, "INVALID_REQUEST");
            app.send(method, path, &ola, "application/json", b"[]").await.refused(400, "INVALID_REQUEST");
            let answer = app.send(method, path, &ola, "text/plain", b"{}").await;
            answer.refused(415, "UNSUPPORTED_MEDIA_TYPE");
        }
        app.ask("PATCH", &edit, Some(&ola), &json!({ "content": "a" }))
            .await
            .refused(405, "METHOD_NOT_ALLOWED");
        assert_eq!(app.value("select count(*)::text from public.messages").await, "1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_as_such() {
    on_each_major(async |app| {
        let ola = user(OLA);
        let message = |bytes: usize| json!({ "chatId": CHAT, "content": "x".repeat(bytes) });
        assert_eq!(app.ask("POST", MESSAGES, Some(&ola), &message(65_536)).await.status(), 201);
        app.ask("POST", MESSAGES, Some(&ola), &message(65_537)).await.refused(413, "PAYLOAD_TOO_LARGE");
        let path = format!("{MESSAGES}/{}", sent(&app, "Hei").await);
        let body = json!({ "content": "x".repeat(65_537) });
        app.ask("PUT", &path, Some(&ola), &body).await.refused(413, "PAYLOAD_TOO_LARGE");
        app.ask("POST", MESSAGES, Some(&ola), &message(600_000)).await.refused(413, "PAYLOAD_TOO_LARGE");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_fast_is_told_how_long_to_wait() {
    on_each_major(async |app| {
        let ola = user(OLA);
        let message = sent(&app, "Hei").await;
        let refused = async |method: &str, path: &str, token: &str, body: &Value| {
            let answer = app.ask(method, path, Some(token), body).await;
            answer.refused(429, "RATE_LIMITED");
            let seconds: u64 = answer.0.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{answer:?}");
            assert_eq!(answer.0.body["error"]["retryAfter"], seconds);
        };
        app.limit("typing_per_minute", 1).await;
        let typing = json!({ "chatId": CHAT, "isTyping": true });
        assert_eq!(app.ask("PUT", REALTIME, Some(&ola), &typing).await.status(), 200);
        refused("PUT", REALTIME, &ola, &typing).await;
        refused("POST", TYPING, &ola, &typing).await;
        let stop = json!({ "chatId": CHAT, "isTyping": false });
        assert_eq!(app.ask("POST", TYPING, Some(&ola), &stop).await.status(), 200, "only starts count");

        app.limit("receipts_per_minute", 1).await;
        let read = json!({ "messageIds": [message] });
        assert_eq!(app.ask("POST", RECEIPTS, Some(&user(KARI)), &read).await.status(), 200);
        refused("POST", RECEIPTS, &user(KARI), &read).await;

        app.limit("messages_per_minute", 1).await;
        refused("POST", MESSAGES, &ola, &json!({ "chatId": CHAT, "content": "Hei igjen" })).await;
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

//! Pitchey, whole.

use super::*;
use crate::writers::send;

async fn open(flags: &[&str]) -> App {
    App::open("pitchey", flags).await
}

/// Somebody's socket, which has been greeted.
pub(super) async fn connect(app: &App, sub: &str) -> Socket {
    let mut socket = app.socket(&format!("/api/messages/ws?token={}", device(sub))).await;
    assert_eq!(socket.next().await, json!({ "type": "connected", "userId": sub }));
    socket
}

/// How many messages of a room somebody has not read.
async fn unread(app: &App, sub: &str, room: &str) -> Value {
    let listed = app.get("/api/messages/conversations", &device(sub)).await;
    let mut conversations = listed["conversations"].as_array().unwrap().iter();
    conversations.find(|conversation| conversation["id"] == room).unwrap()["unreadCount"].clone()
}

#[tokio::test]
async fn two_people_talk_and_a_stranger_hears_nothing() {
    let app = open(&[]).await;
    let room = ROOMS[0];
    let (mut eve, mut bob, mut ann) =
        (connect(&app, EVE).await, connect(&app, BOB).await, connect(&app, ANN).await);

    for (kind, is_typing) in [("typing_start", true), ("typing_stop", false)] {
        ann.send(json!({ "type": kind, "conversationId": room })).await;
        let typing =
            json!({ "type": "user_typing", "userId": ANN, "conversationId": room, "isTyping": is_typing });
        assert_eq!(bob.next_of("user_typing").await, typing);
    }

    assert_eq!(unread(&app, BOB, room).await, 0);
    let hello =
        json!({ "type": "send_message", "conversationId": room, "content": "hello", "clientMessageId": "c" });
    ann.send(hello.clone()).await;
    let new = bob.next_of("new_message").await;
    assert_eq!(json!([new["conversationId"], new["senderId"], new["content"]]), json!([room, ANN, "hello"]));
    let id = new["messageId"].clone();
    let told = ann.all_until(|frame| frame["type"] == "message_delivered").await;
    assert_eq!(told.iter().filter(|frame| frame["type"] == "new_message").count(), 1, "{told:?}");
    assert!(told.iter().any(|frame| frame["type"] == "message_sent" && frame["messageId"] == id), "{told:?}");
    let delivered =
        json!({ "type": "message_delivered", "messageId": id, "conversationId": room, "deliveredTo": BOB });
    assert_eq!(told.last(), Some(&delivered));
    assert_eq!(unread(&app, BOB, room).await, 1);

    bob.send(json!({ "type": "message_read", "messageId": id })).await;
    let read = ann.next_of("message_read").await;
    assert_eq!(json!([read["messageId"], read["readBy"]]), json!([id, BOB]));
    assert_eq!(unread(&app, BOB, room).await, 0);
    let page = app.get(&format!("/api/messages/{room}/messages"), &device(ANN)).await;
    let listed = &page["messages"][0];
    assert_eq!(json!([listed["status"], listed["readBy"][0]["userId"]]), json!(["read", BOB]));

    for (kind, told) in [("add_reaction", "reaction_added"), ("remove_reaction", "reaction_removed")] {
        bob.send(json!({ "type": kind, "messageId": id, "emoji": "👍" })).await;
        let expected =
            json!({ "type": told, "messageId": id, "conversationId": room, "userId": BOB, "emoji": "👍" });
        assert_eq!(ann.next_of(told).await, expected);
    }
    stranger_is_refused(&app, &mut eve, room, &id).await;
    ann.send(json!({ "type": "edit_message", "messageId": id, "content": "hello!" })).await;
    assert_eq!(bob.next_of("message_edited").await["content"], "hello!");
    ann.send(json!({ "type": "delete_message", "messageId": id })).await;
    assert_eq!(bob.next_of("message_deleted").await["messageId"], id);
    let body = json!({ "conversationId": room, "content": "by request" });
    assert_eq!(app.ask("POST", "/api/messages/send", &device(ANN), body).await.status, 200);
    assert_eq!(bob.next_of("new_message").await["content"], "by request");
    send(&app.writer(ANN).await, room, "by SQL").await;
    assert_eq!(bob.next_of("new_message").await["content"], "by SQL");

    // All that was committed before this would have come before it.
    send(&app.writer(BOB).await, OTHER, "for Eve").await;
    let heard = eve.all_until(|frame| frame["content"] == "for Eve").await;
    assert!(!heard.iter().any(is_of_ann), "{heard:?}");
}

/// Everything that Eve could ask for is refused, or empty.
async fn stranger_is_refused(app: &App, eve: &mut Socket, room: &str, id: &Value) {
    for frame in [
        json!({ "type": "join_conversation", "conversationId": room }),
        json!({ "type": "send_message", "conversationId": room, "content": "x" }),
        json!({ "type": "typing_start", "conversationId": room }),
        json!({ "type": "typing_stop", "conversationId": room }),
        json!({ "type": "message_read", "messageId": id }),
        json!({ "type": "edit_message", "messageId": id, "content": "x" }),
        json!({ "type": "delete_message", "messageId": id }),
        json!({ "type": "add_reaction", "messageId": id, "emoji": "x" }),
        json!({ "type": "remove_reaction", "messageId": id, "emoji": "x" }),
    ] {
        eve.send(frame.clone()).await;
        let refused = json!({ "type": "error", "message": "Not found", "request": frame["type"] });
        assert_eq!(eve.next_of("error").await, refused);
    }
    let token = device(EVE);
    let history = app.ask("GET", &format!("/api/messages/{room}/messages"), &token, Value::Null).await;
    assert_eq!(history.status, 404, "{history:?}");
    let body = json!({ "conversationId": room, "content": "x" });
    let sent = app.ask("POST", "/api/messages/send", &token, body).await;
    assert_eq!(sent.status, 404, "{sent:?}");
    let listed = app.get("/api/messages/conversations", &token).await;
    assert!(!is_of_ann(&listed), "{listed}");
}

#[tokio::test]
async fn a_reconnect_within_the_grace_tells_nothing_and_typing_ends_by_itself() {
    let app = open(&GRACE).await;
    let mut ann = connect(&app, ANN).await;
    let bob = connect(&app, BOB).await;
    let online = json!({ "type": "user_online", "userId": BOB, "username": "bob" });
    assert_eq!(ann.next_of("user_online").await, online);
    bob.cut().await;
    app.gone_for_a_second(BOB).await;
    let mut heard = ann.all_until(|frame| frame["isTyping"] == false).await;
    let bob = connect(&app, BOB).await;
    bob.send(json!({ "type": "typing_start", "conversationId": ROOMS[0] })).await;
    // It lasts for longer than the grace, and nobody says that it is over.
    heard.extend(ann.all_until(|frame| frame["isTyping"] == false).await);
    let kinds: Vec<_> = heard.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["user_typing"; 4]);
    bob.close().await;
    let offline = ann.next_of("user_offline").await;
    assert_eq!(json!([offline["userId"], offline["username"]]), json!([BOB, "bob"]));
    assert!(offline["lastSeenAt"].is_string(), "{offline}");
}

#[tokio::test]
async fn who_is_away_is_there_all_the_same() {
    let app = open(&AWAY_SOON).await;
    let mut ann = connect(&app, ANN).await;
    let mut eve = connect(&app, EVE).await;
    let bob = connect(&app, BOB).await;
    assert_eq!(ann.next_of("user_online").await["userId"], BOB);
    app.until_status(BOB, "away").await;
    bob.send(json!({ "type": "typing_stop", "conversationId": ROOMS[0] })).await;
    app.until_status(BOB, "online").await;
    bob.cut().await;
    let heard = ann.all_until(|frame| frame["type"] == "user_offline").await;
    assert!(heard.iter().all(|frame| frame["type"] != "user_online"), "{heard:?}");
    assert_eq!(heard.last().unwrap()["userId"], BOB);
    // Eve knows Bob, and nobody else.
    let heard = eve.all_until(|frame| frame["type"] == "user_offline").await;
    assert!(!heard.iter().any(is_of_ann), "{heard:?}");
}

//! The school app, whole. It sends, edits, deletes and reacts by calls of the schema's functions.

use super::*;
use crate::writers::send;

async fn open(flags: &[&str]) -> App {
    App::open("school", flags).await
}

/// A socket with this token, which has been greeted.
pub(super) async fn connect(app: &App, token: &str) -> Socket {
    let mut socket = app.socket(&format!("/?token={token}")).await;
    let first = socket.next().await;
    assert_eq!(first["type"], "connection_established", "{first}");
    socket
}

/// How many messages this person has not read.
async fn unread(app: &App, token: &str) -> Value {
    app.get("/api/chat/unread-count", token).await["data"]["unread_count"].clone()
}

/// Calls a function that must be granted.
async fn call(app: &App, token: &str, name: &str, arguments: Value) -> Value {
    let answer = app.rpc(token, name, arguments).await;
    assert_eq!(answer.status, 200, "{name} {answer:?}");
    answer.body
}

/// Waits until a message has come so far.
async fn until_delivered(app: &App, token: &str, id: &Value) {
    let started = Instant::now();
    while call(app, token, "get_message", json!({ "message_id": id })).await["status"] != "delivered" {
        assert!(started.elapsed() < PATIENCE, "it was never delivered");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn two_people_talk_and_a_stranger_hears_nothing() {
    let app = open(&[]).await;
    let room = ROOMS[0];
    let [anns, bobs, eves] = [ANN, BOB, EVE].map(device);
    let (mut eve, mut bob, mut ann) =
        (connect(&app, &eves).await, connect(&app, &bobs).await, connect(&app, &anns).await);

    for (kind, is_typing) in [("typing_start", true), ("typing_stop", false)] {
        ann.send(json!({ "type": kind, "thread_id": room })).await;
        let typing =
            json!({ "type": "user_typing", "thread_id": room, "user_id": ANN, "is_typing": is_typing });
        assert_eq!(bob.expect("user_typing").await, typing);
    }

    assert_eq!(unread(&app, &bobs).await, 0);
    let arguments = json!({ "conversation_id": room, "content": "hello" });
    let id = call(&app, &anns, "send_message", arguments).await["id"].clone();
    for socket in [&mut bob, &mut ann] {
        let new = socket.expect("new_message").await;
        let data = &new["data"];
        let found =
            json!([data["id"], data["thread_id"], data["sender_id"], data["content"], data["sender"]]);
        let sender = json!({ "full_name": "Ann", "role": "teacher" });
        assert_eq!(found, json!([id, room, ANN, "hello", sender]));
    }
    until_delivered(&app, &anns, &id).await;
    assert_eq!(unread(&app, &bobs).await, 1);

    bob.send(json!({ "type": "mark_read", "message_id": id })).await;
    for socket in [&mut ann, &mut bob] {
        let read = socket.expect("message_read").await;
        let found = json!([read["message_id"], read["thread_id"], read["user_id"]]);
        assert_eq!(found, json!([id, room, BOB]));
    }
    assert_eq!(unread(&app, &bobs).await, 0);

    for (name, told) in
        [("add_message_reaction", "reaction_added"), ("remove_message_reaction", "reaction_removed")]
    {
        call(&app, &bobs, name, json!({ "message_id": id, "emoji": "👍" })).await;
        let expected =
            json!({ "type": told, "message_id": id, "thread_id": room, "user_id": BOB, "emoji": "👍" });
        assert_eq!(ann.expect(told).await, expected);
        bob.expect(told).await;
    }
    stranger_is_refused(&app, &mut eve, &eves, &id).await;
    call(&app, &anns, "edit_message", json!({ "message_id": id, "content": "hello!" })).await;
    assert_eq!(bob.expect("message_updated").await["data"]["content"], "hello!");
    call(&app, &anns, "delete_message", json!({ "message_id": id })).await;
    let deleted = bob.expect("message_deleted").await;
    assert_eq!(json!([deleted["data"]["id"], deleted["data"]["content"]]), json!([id, ""]));

    send(&app.writer(ANN).await, room, "by SQL").await;
    assert_eq!(bob.expect("new_message").await["data"]["content"], "by SQL");
    assert_eq!(unread(&app, &bobs).await, 1);
    let read = app.ask("POST", &format!("/api/chat/mark-read/{room}"), &bobs, Value::Null).await;
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(unread(&app, &bobs).await, 0);

    // All that was committed before this would have come before it.
    send(&app.writer(BOB).await, OTHER, "for Eve").await;
    let heard = eve.all_until(|frame| frame["data"]["content"] == "for Eve").await;
    assert!(!heard.iter().any(is_of_ann), "{heard:?}");
}

/// Everything that Eve could ask for is refused, or empty.
async fn stranger_is_refused(app: &App, eve: &mut Socket, token: &str, id: &Value) {
    let room = ROOMS[0];
    for frame in [
        json!({ "type": "subscribe_thread", "thread_id": room }),
        json!({ "type": "typing_start", "thread_id": room }),
        json!({ "type": "typing_stop", "thread_id": room }),
        json!({ "type": "mark_read", "message_id": id }),
    ] {
        eve.send(frame.clone()).await;
        assert_eq!(eve.expect("error").await, json!({ "type": "error", "message": "Not found" }), "{frame}");
    }
    for (name, arguments) in [
        ("send_message", json!({ "conversation_id": room, "content": "x" })),
        ("list_messages", json!({ "conversation_id": room })),
        ("get_message", json!({ "message_id": id })),
        ("edit_message", json!({ "message_id": id, "content": "x" })),
        ("delete_message", json!({ "message_id": id })),
        ("add_message_reaction", json!({ "message_id": id, "emoji": "x" })),
        ("remove_message_reaction", json!({ "message_id": id, "emoji": "x" })),
    ] {
        let refused = app.rpc(token, name, arguments).await;
        assert_eq!(refused.body["code"], "PT404", "{name} {refused:?}");
    }
    let read = app.ask("POST", &format!("/api/chat/mark-read/{room}"), token, Value::Null).await;
    assert_eq!(read.status, 404, "{read:?}");
    assert_eq!(unread(app, token).await, 0);
    let target = "/api/chat/offline-messages?last_check_time=2024-01-01T00:00:00Z";
    assert_eq!(app.get(target, token).await["data"]["messages"], json!([]));
}

#[tokio::test]
async fn a_reconnect_within_the_grace_tells_nothing_and_typing_ends_by_itself() {
    let app = open(&GRACE).await;
    let (anns, bobs) = (device(ANN), device(BOB));
    let mut ann = connect(&app, &anns).await;
    let bob = connect(&app, &bobs).await;
    let is_bobs = |frame: &Value| frame["type"] == "presence" && frame["user_id"] == BOB;
    assert_eq!(ann.next_where(is_bobs).await["status"], "online");
    bob.cut().await;
    app.gone_for_a_second(BOB).await;
    let mut heard = ann.all_until(|frame| frame["is_typing"] == false).await;
    let bob = connect(&app, &bobs).await;
    bob.send(json!({ "type": "typing_start", "thread_id": ROOMS[0] })).await;
    // It lasts for longer than the grace, and nobody says that it is over.
    heard.extend(ann.all_until(|frame| frame["is_typing"] == false).await);
    // What Ann is herself, she may hear at any time.
    heard.retain(|frame| frame["user_id"] == BOB);
    let kinds: Vec<_> = heard.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["user_typing"; 4]);
    bob.close().await;
    assert_eq!(ann.next_where(is_bobs).await["status"], "offline");
}

#[tokio::test]
async fn who_does_nothing_is_away_until_they_do_something() {
    let app = open(&AWAY_SOON).await;
    let [anns, bobs, eves] = [ANN, BOB, EVE].map(device);
    let mut ann = connect(&app, &anns).await;
    let mut eve = connect(&app, &eves).await;
    let bob = connect(&app, &bobs).await;
    let is_bobs = |frame: &Value| frame["type"] == "presence" && frame["user_id"] == BOB;
    assert_eq!(ann.next_where(is_bobs).await["status"], "online");
    assert_eq!(ann.next_where(is_bobs).await["status"], "away");
    bob.send(json!({ "type": "typing_stop", "thread_id": ROOMS[0] })).await;
    assert_eq!(ann.next_where(is_bobs).await["status"], "online");
    bob.cut().await;
    ann.next_where(|frame| is_bobs(frame) && frame["status"] == "offline").await;
    // Eve knows Bob, and nobody else.
    let heard = eve.all_until(|frame| is_bobs(frame) && frame["status"] == "offline").await;
    assert!(!heard.iter().any(is_of_ann), "{heard:?}");
}

//! Apps with sockets of their own, on the real program.

use serde_json::{Value, json};

use crate::app_socket::Socket;
use crate::stage::server::{TestServer, program, stderr, token};
use crate::stage::{ANN, BOB, major};
use crate::support::TestDatabase;

const EVE: &str = "e0000000-0000-4000-8000-000000000001";
const ROOM: &str = "d0000000-0000-4000-8000-000000000001";
const OTHER_ROOM: &str = "d0000000-0000-4000-8000-000000000002";

/// Three people, what two of them talk in, and what the first and the last do.
const PEOPLE: &str = "
    insert into public.users (id, username) values
        ('a0000000-0000-4000-8000-000000000001', 'ann'), ('b0000000-0000-4000-8000-000000000001', 'bob'),
        ('e0000000-0000-4000-8000-000000000001', 'eve');
    insert into public.conversations (id, kind) values
        ('d0000000-0000-4000-8000-000000000001', 'direct'), ('d0000000-0000-4000-8000-000000000002', 'direct');
    insert into public.conversation_participants (conversation_id, user_id) values
        ('d0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000002', 'a0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000002', 'e0000000-0000-4000-8000-000000000001');";

async fn pitchey() -> (TestDatabase, TestServer) {
    let database = TestDatabase::create(major()).await;
    let migrate = ["migrate", "--with", "messaging", "--database-url", &database.url];
    let output = program(&migrate).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    database.execute(PEOPLE).await;
    let server = TestServer::start_with(&database.url, &["--adapters", "pitchey"]).await;
    (database, server)
}

async fn connect(server: &TestServer, sub: &str) -> Socket {
    let target = format!("/api/messages/ws?token={}", token("authenticated", Some(sub)));
    let mut socket = Socket::connect(server.address, &target).await;
    assert_eq!(socket.next().await, json!({ "type": "connected", "userId": sub }));
    socket
}

fn mentions(frame: &Value, words: &str) -> bool {
    frame.to_string().contains(words)
}

#[tokio::test]
async fn pitcheys_people_talk_and_a_stranger_hears_nothing() {
    let (database, server) = pitchey().await;
    let mut eve = connect(&server, EVE).await;
    let mut bob = connect(&server, BOB).await;
    let mut ann = connect(&server, ANN).await;

    ann.send(json!({ "type": "typing_start", "conversationId": ROOM })).await;
    assert_eq!(bob.next_of("user_typing").await["isTyping"], true);
    ann.send(json!({ "type": "send_message", "conversationId": ROOM, "content": "hello" })).await;
    let new = bob.next_of("new_message").await;
    assert_eq!(json!([new["senderId"], new["content"]]), json!([ANN, "hello"]));
    let id = new["messageId"].clone();
    bob.send(json!({ "type": "message_read", "messageId": id })).await;
    assert_eq!(ann.next_of("message_read").await["readBy"], BOB);
    bob.send(json!({ "type": "add_reaction", "messageId": id, "emoji": "👍" })).await;
    assert_eq!(ann.next_of("reaction_added").await["emoji"], "👍");
    ann.send(json!({ "type": "edit_message", "messageId": id, "content": "hello!" })).await;
    assert_eq!(bob.next_of("message_edited").await["content"], "hello!");
    ann.send(json!({ "type": "delete_message", "messageId": id })).await;
    assert_eq!(bob.next_of("message_deleted").await["messageId"], id);
    let insert = |room: &str, content: &str| {
        format!(
            "insert into public.messages (conversation_id, sender_id, content) values ('{room}', '{ANN}', '{content}')"
        )
    };
    database.execute(&insert(ROOM, "by SQL")).await;
    assert_eq!(bob.next_of("new_message").await["content"], "by SQL");

    // All that was committed before this would have come before it.
    database.execute(&insert(OTHER_ROOM, "for Eve")).await;
    let heard = eve.all_until(|frame| frame["content"] == "for Eve").await;
    let strange: Vec<_> = heard.iter().filter(|frame| mentions(frame, ROOM)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    bob.send(json!({ "type": "join_conversation", "conversationId": OTHER_ROOM })).await;
    assert_eq!(bob.next_of("error").await["message"], "Not found");
}

#[tokio::test]
async fn typing_that_nobody_ends_ends_by_itself() {
    let (_database, server) = pitchey().await;
    let mut bob = connect(&server, BOB).await;
    let mut ann = connect(&server, ANN).await;
    ann.send(json!({ "type": "typing_start", "conversationId": ROOM })).await;
    assert_eq!(bob.next_of("user_typing").await["isTyping"], true);
    assert_eq!(bob.next_of("user_typing").await["isTyping"], false);
}

#[tokio::test]
async fn who_connects_is_online_and_what_they_are_sent_is_delivered() {
    let (_database, server) = pitchey().await;
    let mut ann = connect(&server, ANN).await;
    let _bob = connect(&server, BOB).await;
    let online = ann.next_of("user_online").await;
    assert_eq!(json!([online["userId"], online["username"]]), json!([BOB, "bob"]));
    ann.send(json!({ "type": "send_message", "conversationId": ROOM, "content": "there?" })).await;
    let delivered = ann.next_of("message_delivered").await;
    assert_eq!(delivered["deliveredTo"], BOB);
}

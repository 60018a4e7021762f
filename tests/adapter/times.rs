//! Times are in UTC wherever an app reads them, whatever the time zone of its database is.

use serde_json::json;

use crate::support::majors;
use crate::whole::{ANN, BOB, Stage, token};

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_sockets_tell_the_same_time() {
    let stage = Stage::set(*majors().last().unwrap()).await;
    stage
        .database
        .execute(
            "do $$ begin execute format('alter database %I set timezone = ''Asia/Tokyo''', current_database()); end $$",
        )
        .await;
    stage.enrol(&[ANN, BOB]).await;
    let conversation = stage.conversation(ANN, BOB).await;
    let mut ann = stage.socket(&format!("/api/messages/ws?token={}", token(ANN))).await;
    let mut bob = stage.socket(&format!("/api/messages/ws?token={}", token(BOB))).await;
    for socket in [&mut ann, &mut bob] {
        socket.next_of("connected").await;
    }
    ann.send(json!({ "type": "send_message", "conversationId": conversation, "content": "hello" })).await;
    let live = bob.next_of("new_message").await["createdAt"].as_str().unwrap().to_owned();
    assert!(live.ends_with("+00:00"), "{live}");
    let read = stage.get(&format!("/api/messages/{conversation}/messages"), Some(&token(BOB))).await;
    assert!(read.body.to_string().contains(&live), "{live} {read:?}");
    // A call without an adapter has the database's own.
    let called = stage
        .post("/rest/v1/rpc/get_conversation", &token(BOB), &json!({ "conversation_id": conversation }))
        .await;
    assert!(called.body.to_string().contains("+09:00"), "{called:?}");
}

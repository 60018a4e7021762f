//! An operator has every socket closed: those of apps, too.

use serde_json::json;

use crate::whole::{ANN, BOB, on_each_major, token, token_of};

const RELOAD: &str = "/api/tenants/realtime-dev/reload";

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_closes_the_sockets_of_apps_and_lets_them_come_back() {
    on_each_major(async |stage| {
        stage.enrol(&[ANN, BOB]).await;
        let conversation = stage.conversation(ANN, BOB).await;
        let socket = async |sub| {
            let mut socket = stage.socket(&format!("/api/messages/ws?token={}", token(sub))).await;
            assert_eq!(socket.next().await["type"], "connected");
            socket
        };
        let mut ann = socket(ANN).await;
        assert_eq!(stage.post(RELOAD, &token(ANN), &json!({})).await.status, 403);
        let hello = json!({ "type": "send_message", "conversationId": conversation, "content": "hello" });
        ann.send(hello.clone()).await;
        ann.next_of("message_sent").await;

        let operator = token_of(&json!({ "role": "service_role" }), 600);
        assert_eq!(stage.post(RELOAD, &operator, &json!({})).await.status, 204);
        assert_eq!(ann.all_until(|frame| frame.get("closed").is_some()).await.pop().unwrap()["closed"], 1012);
        let (mut ann, mut bob) = (socket(ANN).await, socket(BOB).await);
        ann.send(hello).await;
        ann.next_of("message_sent").await;
        bob.next_of("new_message").await;
    })
    .await;
}

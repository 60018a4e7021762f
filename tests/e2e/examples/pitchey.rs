//! `examples/pitchey`: the app's own protocol, and its REST interface.

use super::{EVE, Stage, expect_nothing, listen_to_app, token};

const NAME: &str = "pitchey";

#[tokio::test]
async fn founder_and_investor_see_all_that_the_other_does() {
    let stage = Stage::with_messaging(Some(NAME)).await;
    let eve = listen_to_app(&stage, "/api/messages/ws", &token(EVE), "connected").await;

    stage.run(NAME, &[]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages").await, 3);
    // Ann and bob had got all of it before the program ended.
    expect_nothing(eve).await;
}

#[tokio::test]
async fn stranger_is_not_told_that_a_conversation_exists() {
    let stage = Stage::with_messaging(Some(NAME)).await;
    let id = stage.conversation().await;
    for somebody in ["ANN_TOKEN", "BOB_TOKEN"] {
        let settings = [(somebody, &*token(EVE)), ("CONVERSATION", &id)];
        let words = format!("GET /api/messages/{id}/messages: 404 ");
        stage.run(NAME, &settings).await.expect_refusal(&words);
    }
    assert_eq!(stage.count("public.messages").await, 0);
}

//! `examples/ipec-own-tables`: policies over an array of participants.

use super::{EVE, Stage, listen_to_rows, token};

const NAME: &str = "ipec-own-tables";

const TOPIC: &str = "conversation:c0000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn coach_and_client_see_messages_typing_and_presence() {
    let stage = Stage::with_schema_of(NAME).await;
    stage.expect_compiled_policies();
    // Whoever asks for the rows on a channel that is open to all gets none that are not theirs.
    let mut eve = listen_to_rows(&stage, &token(EVE)).await;

    stage.run(NAME, &[]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages").await, 2);
    // Ann and bob had got all of it before the program ended.
    eve.expect_nothing().await;
}

#[tokio::test]
async fn stranger_may_neither_join_nor_write() {
    let stage = Stage::with_schema_of(NAME).await;
    let words = format!("Unauthorized: You do not have permissions to read from this Channel topic: {TOPIC}");
    for somebody in ["ANN_TOKEN", "BOB_TOKEN"] {
        stage.run(NAME, &[(somebody, &token(EVE))]).await.expect_refusal(&words);
    }
    assert_eq!(stage.count("public.messages").await, 0);
}

//! `examples/tutorconnect-own-tables`: policies over a join table.

use super::{EVE, Stage, listen_to_rows, token};

const NAME: &str = "tutorconnect-own-tables";

const TOPIC: &str = "chat:c0000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn tutor_and_student_see_messages_edits_reading_typing_and_presence() {
    let stage = Stage::with_schema_of(NAME).await;
    stage.expect_compiled_policies();
    let mut eve = listen_to_rows(&stage, &token(EVE)).await;

    stage.run(NAME, &[]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages where content = 'Hva er 7 * 9?'").await, 1);
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

//! `examples/tutorconnect`: the app's REST interface, and the channels that it names.

use super::{EVE, Stage, listen_to_rows, token};

const NAME: &str = "tutorconnect";

#[tokio::test]
async fn tutor_and_student_see_all_that_the_other_does() {
    let stage = Stage::with_messaging(Some(NAME)).await;
    let mut eve = listen_to_rows(&stage, &token(EVE)).await;

    stage.run(NAME, &[]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages where content = '' and deleted_at is not null").await, 1);
    // Ann and bob had got all of it before the program ended.
    eve.expect_nothing().await;
}

#[tokio::test]
async fn stranger_is_not_told_that_a_chat_exists() {
    let stage = Stage::with_messaging(Some(NAME)).await;
    let id = stage.conversation().await;
    for somebody in ["ANN_TOKEN", "BOB_TOKEN"] {
        let settings = [(somebody, &*token(EVE)), ("CHAT", &id)];
        stage.run(NAME, &settings).await.expect_refusal("POST /api/chat/realtime: 404 ");
    }
    assert_eq!(stage.count("public.messages").await, 0);
}

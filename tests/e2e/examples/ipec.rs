//! `examples/ipec`: the stock client on the messaging tables.

use super::{EVE, Stage, listen_to_rows, token};

const NAME: &str = "ipec";

#[tokio::test]
async fn coach_and_client_see_all_that_the_other_does() {
    let stage = Stage::with_messaging(None).await;
    let mut eve = listen_to_rows(&stage, &token(EVE)).await;

    stage.run(NAME, &[]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages").await, 3);
    // Ann and bob had got all of it before the program ended.
    eve.expect_nothing().await;
}

#[tokio::test]
async fn stranger_may_not_go_on_with_a_conversation() {
    let stage = Stage::with_messaging(None).await;
    let id = stage.conversation().await;
    let words = format!(
        "Unauthorized: You do not have permissions to read from this Channel topic: conversation:{id}"
    );
    for somebody in ["ANN_TOKEN", "BOB_TOKEN"] {
        let settings = [(somebody, &*token(EVE)), ("CONVERSATION", &id)];
        stage.run(NAME, &settings).await.expect_refusal(&words);
    }
    assert_eq!(stage.count("public.messages").await, 0);
}

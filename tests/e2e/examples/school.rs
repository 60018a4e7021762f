//! `examples/school`: the app's own protocol, and what it missed while it was closed.

use super::{EVE, Stage, expect_nothing, listen_to_app, token};

const NAME: &str = "school";

#[tokio::test]
async fn pupil_gets_each_message_once_whether_the_app_is_open_or_not() {
    let stage = Stage::with_messaging(Some(NAME)).await;
    let eve = listen_to_app(&stage, "/", &token(EVE), "connection_established").await;

    stage.run(NAME, &[]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages").await, 3);
    // Bob had got all of it before the program ended.
    expect_nothing(eve).await;
}

#[tokio::test]
async fn stranger_may_not_write_into_a_thread() {
    let stage = Stage::with_messaging(Some(NAME)).await;
    let id = stage.conversation().await;
    let settings = [("STAFF_TOKEN", &*token(EVE)), ("THREAD", &id)];
    stage.run(NAME, &settings).await.expect_refusal("");
    assert_eq!(stage.count("public.messages").await, 0);
}

//! `examples/messaging-infrastructure`: a customer without an account, and the staff.

use super::{EVE, Stage, customer, listen_to_rows, token};

const NAME: &str = "messaging-infrastructure";

/// Another customer.
const STRANGER: &str = "d0000000-0000-4000-8000-000000000002";

#[tokio::test]
async fn customer_and_staff_see_all_that_the_other_does() {
    let stage = Stage::with_messaging(Some("infrastructure")).await;
    let mut eve = listen_to_rows(&stage, &token(EVE)).await;
    let mut stranger = listen_to_rows(&stage, &customer(STRANGER)).await;

    stage.run(NAME, &[]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages").await, 2);
    // Customer and staff had got all of it before the program ended.
    eve.expect_nothing().await;
    stranger.expect_nothing().await;
}

#[tokio::test]
async fn customer_is_not_told_that_the_conversation_of_another_exists() {
    let stage = Stage::with_messaging(Some("infrastructure")).await;
    let id = stage.conversation().await;
    let settings = [("CUSTOMER_TOKEN", &*customer(STRANGER)), ("CONVERSATION", &id)];
    stage.run(NAME, &settings).await.expect_refusal("POST /api/messages/realtime/subscribe: 404 ");
    assert_eq!(stage.count("public.messages").await, 0);
}

#[tokio::test]
async fn who_is_no_staff_may_not_listen_as_staff() {
    let stage = Stage::with_messaging(Some("infrastructure")).await;
    stage.run(NAME, &[("STAFF_TOKEN", &token(EVE))]).await.expect_refusal("Unauthorized: ");
    assert_eq!(stage.count("public.messages").await, 0);
}

//! `examples/tutorconnect-own-tables`: policies over a join table.

use serde_json::json;

use crate::stage::{RawClient, Vsn};

use super::{ANN, BOB, EVE, Stage, token};

const NAME: &str = "tutorconnect-own-tables";

const TOPIC: &str = "chat:c0000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn tutor_and_student_see_messages_edits_reading_typing_and_presence() {
    let stage = Stage::with_schema_of(NAME).await;
    stage.expect_compiled_policies();
    let mut eve = RawClient::connect(&stage.server, Vsn::V2, &token(EVE)).await;
    let changes = json!([{ "event": "*", "schema": "public", "table": "*" }]);
    eve.subscribed("1", "realtime:anything", changes).await;

    let (ann, bob) = (token(ANN), token(BOB));
    stage.run(NAME, &[("ANN_TOKEN", &ann), ("BOB_TOKEN", &bob)]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages where content = 'Hva er 7 * 9?'").await, 1);
    // Ann and bob had got all of it before the program ended.
    eve.expect_nothing().await;
}

#[tokio::test]
async fn stranger_may_neither_join_nor_write() {
    let stage = Stage::with_schema_of(NAME).await;
    let refusal = format!(
        "refused: Unauthorized: You do not have permissions to read from this Channel topic: {TOPIC}\n"
    );
    let (ann, bob, eve) = (token(ANN), token(BOB), token(EVE));
    let pairs = [[("ANN_TOKEN", &*eve), ("BOB_TOKEN", &*bob)], [("ANN_TOKEN", &*ann), ("BOB_TOKEN", &*eve)]];
    for pair in pairs {
        stage.run(NAME, &pair).await.expect_refusal(&refusal);
    }
    assert_eq!(stage.count("public.messages").await, 0);
}

//! `examples/ipec-own-tables`: policies over an array of participants.

use serde_json::json;

use crate::stage::{RawClient, Vsn};

use super::{ANN, BOB, EVE, Stage, token};

const NAME: &str = "ipec-own-tables";

const TOPIC: &str = "conversation:c0000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn coach_and_client_see_messages_typing_and_presence() {
    let stage = Stage::with_schema_of(NAME).await;
    stage.expect_compiled_policies();
    // Whoever asks for the rows on a channel that is open to all gets none that are not theirs.
    let mut eve = RawClient::connect(&stage.server, Vsn::V2, &token(EVE)).await;
    let changes = json!([{ "event": "*", "schema": "public", "table": "*" }]);
    eve.subscribed("1", "realtime:anything", changes).await;

    let (ann, bob) = (token(ANN), token(BOB));
    stage.run(NAME, &[("ANN_TOKEN", &ann), ("BOB_TOKEN", &bob)]).await.expect_page(NAME);

    assert_eq!(stage.count("public.messages").await, 2);
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

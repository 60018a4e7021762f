//! Tables that enter and leave the publication while clients are there.

use serde_json::json;

use crate::stage::{ANN, Stage, Stock};

#[tokio::test]
async fn table_added_and_dropped_at_run_time_starts_and_ends_its_changes() {
    let stage = Stage::set(
        "create table late (id int primary key);
         create table always (id int primary key);
         grant select on late, always to authenticated;
         alter publication supabase_realtime add table always",
    )
    .await;
    stage.connect("ann", ANN).await;
    let everything = json!([{ "event": "*", "schema": "public" }]);
    stage.subscribe("ann", "all", everything).await;
    // Bound to a table that is not there yet: refused until it is.
    let late = json!([{ "event": "*", "schema": "public", "table": "late" }]);
    for client in &stage.clients {
        client.subscribe("ann", "late", late.clone()).await;
        if client.stock == Stock::Python {
            client.expect(json!({ "topic": "late", "kind": "status", "status": "CHANNEL_ERROR" })).await;
        } else {
            client.expect(json!({ "topic": "late", "kind": "system", "status": "error" })).await;
        }
    }
    stage
        .database
        .execute("insert into late values (1); alter publication supabase_realtime add table late")
        .await;
    for client in &stage.clients {
        client.expect(json!({ "topic": "late", "kind": "system", "status": "ok" })).await;
    }
    stage.database.execute("insert into late values (2); insert into always values (3)").await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "late", 2).await, [2], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("ann", "all", 3).await, [2, 3], "{:?}", client.stock);
    }
    stage
        .database
        .execute("alter publication supabase_realtime drop table late; insert into late values (4); insert into always values (5)")
        .await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "all", 5).await, [2, 3, 5], "{:?}", client.stock);
        assert_eq!(client.changes("ann", "late").len(), 1, "{:?}", client.stock);
    }
}

//! Presence: who is seen, by whom, and until when.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::stage::{ANN, BOB, Stage, Stock, StockClient};

async fn join(client: &StockClient, who: &str, topic: &str) {
    // Whether to ask for presence is left to the client: newer ones do when somebody listens, older ones cannot.
    let config = json!({ "presence": { "key": who } });
    let order = json!({ "do": "subscribe", "as": who, "topic": topic, "config": config, "presence": true });
    client.order(order).await;
    client.expect(json!({ "as": who, "topic": topic, "kind": "status", "status": "SUBSCRIBED" })).await;
}

async fn track(client: &StockClient, who: &str, topic: &str, payload: Value) {
    let order = json!({ "do": "track", "as": who, "topic": topic, "payload": payload });
    assert_eq!(client.order(order).await, "ok", "{:?}", client.stock);
}

/// Waits until the last thing `who` was told is that nobody is there.
async fn expect_nobody(client: &StockClient, who: &str, topic: &str) {
    let sync = json!({ "as": who, "topic": topic, "kind": "presence", "event": "sync" });
    while client.seen(&sync).last().is_none_or(|last| last["state"] != json!({})) {
        client.expect(sync.clone()).await;
    }
}

#[tokio::test]
async fn tracked_user_is_seen_until_it_disconnects() {
    let stage = Stage::set("").await;
    stage.connect("ann", ANN).await;
    stage.connect("bob", BOB).await;
    join_all(stage.clients.iter().map(async |client| {
        let topic = format!("{:?}", client.stock);
        let presence =
            |event: &str| json!({ "as": "bob", "topic": topic, "kind": "presence", "event": event });
        join(client, "ann", &topic).await;
        track(client, "ann", &topic, json!({ "mood": "calm" })).await;
        // The one who comes later finds the other in the state.
        join(client, "bob", &topic).await;
        let joined = client.expect(presence("join")).await;
        assert_eq!(joined["key"], "ann");
        assert_eq!(joined["metas"][0]["mood"], "calm");

        client.order(json!({ "do": "disconnect", "as": "ann" })).await;
        let left = client.expect(presence("leave")).await;
        assert_eq!(left["key"], "ann");
        expect_nobody(client, "bob", &topic).await;
    }))
    .await;
}

#[tokio::test]
async fn update_and_untrack_are_seen_by_every_version() {
    let stage = Stage::set("").await;
    stage.connect("ann", ANN).await;
    stage.connect("bob", BOB).await;
    // One topic for all: each version's bob watches each version's ann.
    let key = |client: &StockClient| format!("{:?}", client.stock);
    for client in &stage.clients {
        let config = json!({ "presence": { "key": key(client) } });
        for who in ["ann", "bob"] {
            let order =
                json!({ "do": "subscribe", "as": who, "topic": "room", "config": config, "presence": true });
            client.order(order).await;
            client.expect(json!({ "as": who, "kind": "status", "status": "SUBSCRIBED" })).await;
        }
    }
    for client in &stage.clients {
        track(client, "ann", "room", json!({ "mood": "calm" })).await;
        track(client, "ann", "room", json!({ "mood": "glad" })).await;
        client.order(json!({ "do": "untrack", "as": "ann", "topic": "room" })).await;
    }
    for watcher in &stage.clients {
        for tracked in &stage.clients {
            let moods = |event: &str| -> Vec<Value> {
                let seen = watcher.seen(&json!({ "as": "bob", "event": event, "key": key(tracked) }));
                seen.iter()
                    .flat_map(|seen| seen["metas"].as_array().unwrap().clone())
                    .map(|meta| meta["mood"].clone())
                    .collect()
            };
            while moods("leave").last() != Some(&json!("glad")) {
                watcher.expect(json!({ "as": "bob", "event": "leave", "key": key(tracked) })).await;
            }
            assert_eq!(moods("join"), ["calm", "glad"], "{:?} by {:?}", tracked.stock, watcher.stock);
            assert_eq!(moods("leave"), ["calm", "glad"], "{:?} by {:?}", tracked.stock, watcher.stock);
        }
        // This pre-release of 3.0 strips the references off the metas it keeps when an update arrives, and so can
        // remove none of them from its state any more; 2.119 does the same with a copy.
        if watcher.stock != Stock::Js3 {
            expect_nobody(watcher, "bob", "room").await;
        }
    }
}

//! Broadcasts between clients of all versions.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::stage::{ANN, BOB, Stage, Stock, StockClient};

async fn join(client: &StockClient, who: &str, topic: &str, config: Value) {
    client.order(json!({ "do": "subscribe", "as": who, "topic": topic, "config": config })).await;
    client.expect(json!({ "as": who, "topic": topic, "kind": "status", "status": "SUBSCRIBED" })).await;
}

async fn send(client: &StockClient, who: &str, topic: &str, event: &str, payload: Value) -> Value {
    client.order(json!({ "do": "send", "as": who, "topic": topic, "event": event, "payload": payload })).await
}

#[tokio::test]
async fn broadcast_reaches_every_version_but_not_its_sender() {
    let stage = Stage::set("").await;
    stage.connect("ann", ANN).await;
    stage.connect("bob", BOB).await;
    for client in &stage.clients {
        join(client, "ann", "room", json!({})).await;
        join(client, "bob", "room", json!({})).await;
    }
    let payload = |sender: Stock, text: &str| json!({ "from": format!("{sender:?}"), "text": text });
    for client in &stage.clients {
        // Two in a row, as a sender's order is kept; names beyond ASCII go through every dialect.
        send(client, "ann", "room", "said", payload(client.stock, "Grüße 👋")).await;
        send(client, "ann", "room", "said", payload(client.stock, "")).await;
    }
    for client in &stage.clients {
        send(client, "bob", "room", "last", payload(client.stock, "bye")).await;
    }
    for receiver in &stage.clients {
        for who in ["ann", "bob"] {
            for sender in &stage.clients {
                let of =
                    |text| json!({ "as": who, "kind": "broadcast", "payload": payload(sender.stock, text) });
                let own = receiver.stock == sender.stock;
                if !(own && who == "bob") {
                    receiver.expect(of("bye")).await;
                }
                let texts: Vec<Value> = receiver
                    .seen(&json!({ "as": who, "event": "said", "payload": { "from": format!("{:?}", sender.stock) } }))
                    .iter()
                    .map(|seen| seen["payload"]["text"].clone())
                    .collect();
                let expected: &[&str] = if own && who == "ann" { &[] } else { &["Grüße 👋", ""] };
                if !(own && who == "bob") {
                    assert_eq!(texts, expected, "{:?} to {who} of {:?}", sender.stock, receiver.stock);
                } else {
                    // Its own "bye" does not come back, so the second line is awaited instead.
                    receiver.expect(of("")).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn sender_gets_its_own_and_an_acknowledgement_when_it_asks() {
    let stage = Stage::set("").await;
    stage.connect("ann", ANN).await;
    join_all(stage.clients.iter().map(async |client| {
        let topic = format!("{:?}", client.stock);
        let config = json!({ "broadcast": { "self": true, "ack": true } });
        join(client, "ann", &topic, config).await;
        assert_eq!(send(client, "ann", &topic, "said", json!({ "n": 1 })).await, "ok");
        let seen = client.expect(json!({ "topic": topic, "kind": "broadcast", "event": "said" })).await;
        assert_eq!(seen["payload"], json!({ "n": 1 }), "{topic}");
    }))
    .await;
}

#[tokio::test]
async fn broadcast_stays_in_its_topic() {
    let stage = Stage::set("").await;
    stage.connect("ann", ANN).await;
    stage.connect("bob", BOB).await;
    for client in &stage.clients {
        join(client, "ann", "here", json!({})).await;
        join(client, "bob", "here", json!({})).await;
        join(client, "bob", "there", json!({})).await;
        send(client, "ann", "here", "said", json!({ "n": 1 })).await;
        client.expect(json!({ "as": "bob", "topic": "here", "kind": "broadcast" })).await;
        assert_eq!(client.seen(&json!({ "topic": "there", "kind": "broadcast" })), [] as [Value; 0]);
    }
}

//! Broadcasts between clients of all versions.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::stage::{ANN, BOB, Stage, StockClient};

fn name(client: &StockClient) -> String {
    format!("{:?}", client.stock)
}

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
    for client in &stage.clients {
        // Two in a row, as a sender's order is kept; text beyond ASCII goes through every dialect.
        for text in ["Grüße 👋", ""] {
            send(client, "ann", "room", "said", json!({ "from": name(client), "text": text })).await;
        }
    }
    let texts = |receiver: &StockClient, who: &str, sender: &StockClient| -> Vec<Value> {
        let said =
            json!({ "as": who, "kind": "broadcast", "event": "said", "payload": { "from": name(sender) } });
        receiver.seen(&said).iter().map(|seen| seen["payload"]["text"].clone()).collect()
    };
    for receiver in &stage.clients {
        for sender in &stage.clients {
            receiver.expect(json!({ "as": "bob", "payload": { "from": name(sender), "text": "" } })).await;
            assert_eq!(
                texts(receiver, "bob", sender),
                ["Grüße 👋", ""],
                "{} to {}",
                name(sender),
                name(receiver)
            );
        }
    }
    // Whatever ann was to get has passed the server before bob's answer to it.
    for client in &stage.clients {
        send(client, "bob", "room", "answered", json!({ "from": name(client) })).await;
    }
    for receiver in &stage.clients {
        for sender in &stage.clients {
            receiver
                .expect(json!({ "as": "ann", "event": "answered", "payload": { "from": name(sender) } }))
                .await;
        }
        for sender in &stage.clients {
            let expected: &[&str] = if receiver.stock == sender.stock { &[] } else { &["Grüße 👋", ""] };
            assert_eq!(texts(receiver, "ann", sender), expected, "{} to {}", name(sender), name(receiver));
        }
    }
}

#[tokio::test]
async fn sender_gets_its_own_and_an_acknowledgement_when_it_asks() {
    let stage = Stage::set("").await;
    stage.connect("ann", ANN).await;
    join_all(stage.clients.iter().map(async |client| {
        let topic = name(client);
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
        for topic in ["here", "there"] {
            join(client, "ann", topic, json!({})).await;
            join(client, "bob", topic, json!({})).await;
        }
        send(client, "ann", "here", "said", json!({ "n": 1 })).await;
        client.expect(json!({ "as": "bob", "topic": "here", "kind": "broadcast" })).await;
        send(client, "ann", "there", "said", json!({ "n": 2 })).await;
        let there = json!({ "as": "bob", "topic": "there", "kind": "broadcast" });
        assert_eq!(client.expect(there.clone()).await["payload"], json!({ "n": 2 }), "{}", name(client));
        assert_eq!(client.seen(&there).len(), 1, "{}", name(client));
    }
}

//! HTTP as stock clients, operators and their tools use it.

use serde_json::{Value, json};

use crate::stage::{ANN, BOB, Stage, Stock, StockClient, server};

fn name(client: &StockClient) -> String {
    format!("{:?}", client.stock)
}

/// A stage with a joined receiver in every client, and a sender who has joined nothing.
async fn set(topic: &str) -> Stage {
    let stage = Stage::set("").await;
    stage.connect("ann", ANN).await;
    stage.connect("bob", BOB).await;
    for client in &stage.clients {
        client.order(json!({ "do": "subscribe", "as": "bob", "topic": topic, "config": {} })).await;
        client.order(json!({ "do": "open", "as": "ann", "topic": topic, "config": {} })).await;
    }
    for client in &stage.clients {
        let joined = json!({ "as": "bob", "topic": topic, "kind": "status", "status": "SUBSCRIBED" });
        client.expect(joined).await;
    }
    stage
}

#[tokio::test]
async fn what_is_sent_on_a_channel_that_is_not_joined_reaches_every_version() {
    let stage = set("room").await;
    // The Python client has no such fallback.
    let senders = || stage.clients.iter().filter(|client| client.stock != Stock::Python);
    for sender in senders() {
        let payload = json!({ "from": name(sender), "text": "Grüße 👋" });
        let order =
            json!({ "do": "send", "as": "ann", "topic": "room", "event": "said", "payload": payload });
        assert_eq!(sender.order(order).await, "ok", "{}", name(sender));
    }
    for receiver in &stage.clients {
        for sender in senders() {
            let payload = json!({ "from": name(sender), "text": "Grüße 👋" });
            receiver.expect(json!({ "as": "bob", "event": "said", "payload": payload })).await;
        }
    }
}

#[tokio::test]
async fn http_send_carries_json_to_every_version_and_bytes_to_those_that_can_read_them() {
    let topic = "room:1/ä";
    let stage = set(topic).await;
    let can = |client: &&StockClient| [Stock::Js119, Stock::Js3, Stock::Python].contains(&client.stock);
    let send = async |client: &StockClient, what: Value| {
        let mut order = json!({ "do": "http_send", "as": "ann", "topic": topic, "event": "sa/id ä" });
        order.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        assert_eq!(client.order(order).await["success"], true, "{}", name(client));
    };
    for sender in stage.clients.iter().filter(can) {
        // 3.0 sends what it sends over HTTP as a batch, which has no bytes.
        if sender.stock != Stock::Js3 {
            send(sender, json!({ "bytes": [0, 255, 7] })).await;
        }
        send(sender, json!({ "payload": { "from": name(sender) } })).await;
    }
    for receiver in &stage.clients {
        for sender in stage.clients.iter().filter(can) {
            let seen = json!({ "as": "bob", "event": "sa/id ä", "payload": { "from": name(sender) } });
            receiver.expect(seen).await;
        }
        let bytes = receiver.seen(&json!({ "as": "bob", "payload": { "bytes": [0, 255, 7] } }));
        let reads_bytes = [Stock::Js119, Stock::Js3].contains(&receiver.stock);
        assert_eq!(bytes.len(), if reads_bytes { 2 } else { 0 }, "{}", name(receiver));
        // Nothing came that was not sent.
        let all = receiver.seen(&json!({ "as": "bob", "kind": "broadcast" }));
        assert_eq!(all.len(), bytes.len() + 3, "{}: {all:?}", name(receiver));
    }
}

#[tokio::test]
async fn the_stock_containers_health_check_passes() {
    let stage = set("room").await;
    let address = stage.server.address;
    let anon = format!("Bearer {}", server::token("anon", None));
    let headers = [("authorization", anon.as_str())];
    let path = "/api/tenants/realtime-dev/health";
    let (status, _, body) = server::http(address, "HEAD", path, &headers, b"").unwrap();
    assert_eq!((status, body.as_str()), (200, ""));
    let (status, _, body) = server::http(address, "GET", path, &headers, b"").unwrap();
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    for key in ["healthy", "db_connected", "replication_connected"] {
        assert_eq!(health["data"][key], true, "{health}");
    }
    assert_eq!(health["data"]["connected_cluster"], stage.clients.len(), "{health}");
    let (status, ..) = server::http(address, "HEAD", path, &[], b"").unwrap();
    assert_eq!(status, 403);
    // The same key opens nothing else.
    let (status, ..) = server::http(address, "GET", "/api/tenants", &headers, b"").unwrap();
    assert_eq!(status, 403);
    let (status, ..) =
        server::http(address, "POST", "/api/tenants/realtime-dev/reload", &headers, b"").unwrap();
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_tool_that_makes_sure_of_the_tenant_is_content() {
    let stage = Stage::set("").await;
    let url = stage.database.url.strip_prefix("postgres://postgres@127.0.0.1:").unwrap();
    let (port, name) = url.split_once('/').unwrap();
    let operator = format!("Bearer {}", server::token("service_role", None));
    let headers = [("authorization", operator.as_str()), ("content-type", "application/json")];
    let mut settings = json!({
        "region": "us-east-1",
        "poll_interval_ms": 100,
        "poll_max_record_bytes": 1_048_576,
        "db_host": "127.0.0.1",
        "db_port": port,
        "db_name": name,
        "db_user": "postgres",
        "ssl_enforced": false,
    });
    let tenant = |settings: &Value| {
        json!({ "tenant": {
            "name": "realtime-dev",
            "external_id": "realtime-dev",
            "jwt_secret": server::SECRET,
            "max_payload_size_in_kb": 3000,
            "extensions": [{ "type": "postgres_cdc_rls", "settings": settings }],
        } })
        .to_string()
    };
    let post = |body: &str| {
        server::http(stage.server.address, "POST", "/api/tenants", &headers, body.as_bytes()).unwrap()
    };
    let (status, _, body) = post(&tenant(&settings));
    assert_eq!(status, 200, "{body}");
    assert!(!body.contains(server::SECRET) && !body.contains("db_"), "{body}");
    settings["db_name"] = "elsewhere".into();
    let (status, _, body) = post(&tenant(&settings));
    assert_eq!((status, body.contains("database_url")), (422, true), "{body}");
}

#[tokio::test]
async fn neither_payloads_nor_tokens_nor_topics_of_requests_reach_the_log() {
    let stage = Stage::set("").await;
    let token = server::token("anon", None);
    let foreign = server::token_signed("another-secret-of-32-bytes-and-more", "anon", None, 60);
    let ask = |path: &str, token: &str, body: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("x-planted", "planted-header")];
        server::http(stage.server.address, "POST", path, &headers, body.as_bytes()).unwrap().0
    };
    let message =
        json!({ "topic": "planted-topic", "event": "planted-event", "payload": { "planted-key": 1 } });
    let mut private = message.clone();
    private["private"] = true.into();
    let batch = json!({ "messages": [message, private] }).to_string();
    assert_eq!(ask("/api/broadcast", &token, &batch), 202);
    assert_eq!(ask("/api/broadcast", &foreign, &batch), 401);
    assert_eq!(ask("/api/broadcast", &token, &batch.replace('}', "")), 400);
    assert_eq!(ask("/api/broadcast", &token, &batch.replace("planted-event", "")), 422);
    let single = "/api/broadcast/planted-topic/events/planted-event";
    assert_eq!(ask(single, &token, r#"{"planted-key":1}"#), 202);
    assert_ne!(ask(&format!("{single}?private=true"), &token, r#"{"planted-key":1}"#), 202);
    assert_eq!(ask(&format!("{single}/planted-part"), &token, "{}"), 422);
    assert_eq!(ask("/planted-path", &token, "{}"), 404);
    let log = stage.server.log();
    for word in ["planted", token.as_str(), foreign.as_str()] {
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
    }
    for code in ["JwtSignatureError", "HttpClientError", "UnprocessableEntity"] {
        assert!(log.contains(code), "{code} is not in the log:\n{log}");
    }
}

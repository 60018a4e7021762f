//! Broadcasts over HTTP reach the sockets of both versions, and only those.

use std::sync::Arc;

use rowcast::hub::ServerLimits;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::server::{Ask, Options, PAYLOAD_BYTES_MAX, RestServer, next, next_json};

const BATCH: &str = "/api/broadcast";

fn message(topic: &str, payload: &Value) -> Value {
    json!({ "topic": topic, "event": "said", "payload": payload })
}

fn batch(messages: &[Value]) -> Ask {
    Ask::post(BATCH).json(&json!({ "messages": messages }))
}

fn single(topic: &str) -> Ask {
    Ask::post(format!("/realtime/v1/api/broadcast/{topic}/events/said"))
}

#[tokio::test]
async fn a_batch_reaches_both_versions_as_text_and_in_order() {
    let server = RestServer::start(Options::default()).await;
    let (mut one, mut two) = (server.join(1, "a:b").await, server.join(2, "a:b").await);
    let mut named = message("a:b", &json!({ "n": 2 }));
    named["id"] = "seven".into();
    let answer = server.ask(&batch(&[message("a:b", &json!({ "n": 1 })), named])).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    let first = json!({ "event": "said", "payload": { "n": 1 }, "type": "broadcast" });
    let second =
        json!({ "event": "said", "meta": { "id": "seven" }, "payload": { "n": 2 }, "type": "broadcast" });
    for payload in [first, second] {
        let text = json!({ "topic": "realtime:a:b", "event": "broadcast", "payload": payload, "ref": null });
        assert_eq!(next_json(&mut one).await, text);
        assert_eq!(next_json(&mut two).await, json!([null, null, "realtime:a:b", "broadcast", payload]));
    }
    assert_eq!(server.services.counters.broadcasts.get(), 2);
    server.stop().await;
}

#[tokio::test]
async fn one_json_message_is_text_to_version_1_and_binary_to_version_2() {
    let server = RestServer::start(Options::default()).await;
    let (mut one, mut two) = (server.join(1, "ä/b").await, server.join(2, "ä/b").await);
    for (body, payload) in [(r#"{"n":1}"#, r#"{"n":1}"#), ("[1]", r#"{"_json":[1]}"#), ("", "{}")] {
        let answer = server.ask(&single("%C3%A4%2Fb").body("application/json", body)).await;
        assert_eq!((answer.status, answer.body.as_str()), (202, ""));
        let seen = next_json(&mut one).await;
        let expected: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(seen["payload"], json!({ "event": "said", "payload": expected, "type": "broadcast" }));
        let frame = [&[4, 13, 4, 0, 1][..], "realtime:ä/bsaid".as_bytes(), payload.as_bytes()].concat();
        assert_eq!(next(&mut two).await, Message::binary(frame));
    }
    server.stop().await;
}

#[tokio::test]
async fn bytes_reach_version_2_alone() {
    let server = RestServer::start(Options::default()).await;
    let (mut one, mut two) = (server.join(1, "room").await, server.join(2, "room").await);
    let bytes = server.ask(&single("room").body("application/octet-stream", [0, 255, 1])).await;
    let after = server.ask(&batch(&[message("room", &json!({}))])).await;
    assert_eq!((bytes.status, after.status), (202, 202));
    let frame = [&[4, 13, 4, 0, 0][..], b"realtime:roomsaid", &[0, 255, 1]].concat();
    assert_eq!(next(&mut two).await, Message::binary(frame));
    // The next that version 1 sees is what came after.
    assert_eq!(next_json(&mut one).await["payload"]["payload"], json!({}));
    server.stop().await;
}

#[tokio::test]
async fn other_rooms_and_private_rooms_of_the_name_get_nothing() {
    let server = RestServer::start(Options::default()).await;
    let (mut room, mut other) = (server.join(2, "granted").await, server.join(2, "other").await);
    let mut private = message("granted", &json!({ "private": true }));
    private["private"] = true.into();
    let sent = [private, message("granted", &json!({ "last": 1 })), message("other", &json!({ "last": 2 }))];
    assert_eq!(server.ask(&batch(&sent)).await.status, 202);
    assert_eq!(server.ask(&single("granted?private=true")).await.status, 422, "the path ends before");
    let path = "/api/broadcast/granted/events/said?private=true";
    assert_eq!(server.ask(&Ask::post(path)).await.status, 202);
    let last = server.ask(&batch(&[message("granted", &json!({ "last": 3 }))])).await;
    assert_eq!(last.status, 202);
    assert_eq!(next_json(&mut room).await[4]["payload"], json!({ "last": 1 }));
    assert_eq!(next_json(&mut room).await[4]["payload"], json!({ "last": 3 }));
    assert_eq!(next_json(&mut other).await[4]["payload"], json!({ "last": 2 }));
    server.stop().await;
}

#[tokio::test]
async fn private_messages_of_a_batch_are_asked_about_once_a_topic_and_dropped_in_silence() {
    let server = RestServer::start(Options::default()).await;
    let private = |topic: &str| {
        let mut message = message(topic, &json!({}));
        message["private"] = true.into();
        message
    };
    let topics = ["granted", "denied", "granted", "raises", "granted-too", "denied"];
    let request = batch(&topics.map(private)).header("x-client-info", "test/1");
    let answer = server.ask(&request).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    let asked = server.asked.lock().unwrap().clone();
    let seen: Vec<_> = asked.iter().map(|subject| &*subject.topic).collect();
    assert_eq!(seen, ["granted", "denied", "raises", "granted-too"]);
    assert_eq!(&*asked[0].claims.role, "anon");
    let headers: Value = serde_json::from_str(&asked[0].headers).unwrap();
    assert_eq!(headers["x-client-info"], "test/1");
    assert_eq!(headers["host"], "realtime-dev.localhost");
    assert_eq!(server.services.counters.broadcasts.get(), 3);
    assert_eq!(server.services.counters.dropped_broadcasts.get(), 3);
    server.stop().await;
}

#[tokio::test]
async fn one_private_message_is_refused_with_a_reason() {
    let server = RestServer::start(Options::default()).await;
    for (topic, status, words) in [
        ("granted", 202, ""),
        ("denied", 403, "Unauthorized"),
        ("raises", 422, "RLS policy error"),
        ("slow", 422, "Query canceled"),
        ("no-partition", 422, "Missing messages partition"),
        ("no-connections", 422, "Tenant database has too many connections"),
        ("unavailable", 422, "Tenant database unavailable"),
        ("busy", 429, "Connection pool exhausted"),
    ] {
        let path = format!("/api/broadcast/{topic}/events/said?private=true");
        let answer = server.ask(&Ask::post(path).json(&json!({}))).await;
        let body = if words.is_empty() { String::new() } else { json!({ "message": words }).to_string() };
        assert_eq!((answer.status, answer.body), (status, body), "{topic}");
    }
    // Of a public message nobody asks.
    let asked = server.asked.lock().unwrap().len();
    assert_eq!(server.ask(&single("denied")).await.status, 202);
    assert_eq!(server.asked.lock().unwrap().len(), asked);
    server.stop().await;
}

#[tokio::test]
async fn nothing_of_an_invalid_batch_is_sent() {
    let server = RestServer::start(Options::default()).await;
    let mut room = server.join(2, "room").await;
    let large = json!({ "x": "y".repeat(PAYLOAD_BYTES_MAX) });
    let sent = [message("room", &json!({})), message("room", &large), json!({ "topic": "room" })];
    let answer = server.ask(&batch(&sent)).await;
    assert_eq!(answer.status, 422);
    let blank = json!(["can't be blank"]);
    let expected = json!({ "errors": { "messages": [
        {},
        { "payload": ["Payload size exceeds tenant limit"] },
        { "event": blank, "payload": blank },
    ] } });
    assert_eq!(answer.json(), expected);
    assert_eq!(server.ask(&batch(&[message("room", &json!({ "last": 1 }))])).await.status, 202);
    assert_eq!(next_json(&mut room).await[4]["payload"], json!({ "last": 1 }));
    server.stop().await;
}

#[tokio::test]
async fn broadcasts_are_held_to_the_rate_of_events() {
    let limits = ServerLimits { events_per_second_max: 2, ..ServerLimits::NONE };
    let server = RestServer::start(Options { limits, ..Options::default() }).await;
    let meters = Arc::clone(&server.services.meters);
    let refused = |words: &str| (429, json!({ "message": words }).to_string());
    let ask = async |request: Ask| {
        let answer = server.ask(&request).await;
        (answer.status, answer.body)
    };
    let some = |count| vec![message("room", &json!({})); count];
    let (too_many, too_fast) =
        ("Too many messages to broadcast, please reduce the batch size", "You have exceeded your rate limit");
    assert_eq!(ask(batch(&some(3))).await, refused(too_many));
    assert_eq!(ask(batch(&some(2))).await.0, 202);
    assert_eq!(meters.events.total(), 2);
    meters.events.add(8);
    meters.events.tick();
    // The average is at the limit: a batch of one would pass it, and a single message may not even reach it.
    assert_eq!(ask(batch(&some(1))).await, refused(too_many));
    assert_eq!(ask(single("room")).await, refused(too_fast));
    meters.events.add(11);
    meters.events.tick();
    assert_eq!(ask(batch(&some(1))).await, refused(too_fast));
    server.stop().await;
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_however_it_is_sent() {
    let server = RestServer::start(Options::default()).await;
    let body = vec![b' '; 8_000_001];
    let words = json!({ "message": "The body must not exceed 8000000 bytes" }).to_string();
    let announced = server.ask(&Ask::post(BATCH).body("application/json", body.clone())).await;
    assert_eq!((announced.status, announced.body.as_str()), (413, words.as_str()));
    let chunk = [b"7a1201\r\n".to_vec(), body, b"\r\n0\r\n\r\n".to_vec()].concat();
    let chunked = Ask::post(BATCH).header("transfer-encoding", "chunked").body("application/json", chunk);
    let chunked = server.ask(&chunked).await;
    assert_eq!((chunked.status, chunked.body.as_str()), (413, words.as_str()));
    let whole = server.ask(&Ask::post(BATCH).body("application/json", vec![b' '; 8_000_000])).await;
    assert_eq!(whole.status, 400, "it is read, and is no JSON");
    server.stop().await;
}

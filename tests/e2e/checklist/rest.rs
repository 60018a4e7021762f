//! Broadcasts over HTTP, byte by byte.

use serde_json::{Value, json};

use super::Wire;
use crate::stage::{Vsn, server};

const ROOM: &str = "realtime:room";
const BATCH: &str = "/api/broadcast";

/// The status and body of a request with a body.
fn post(wire: &Wire, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let (status, _, body) = server::http(wire.server.address, "POST", path, headers, body).unwrap();
    (status, body)
}

fn message(number: u32) -> Value {
    json!({ "topic": "room", "event": "said", "payload": { "n": number } })
}

#[tokio::test]
async fn checklist_17_a_batch_is_taken_and_told_what_is_wrong_by_position() {
    let wire = Wire::set("").await;
    let key = server::token("anon", None);
    let headers = [("apikey", key.as_str()), ("content-type", "application/json")];
    let (mut first, mut second) = (wire.connect(Vsn::V1).await, wire.connect(Vsn::V2).await);
    for client in [&mut first, &mut second] {
        client.joined("1", ROOM, json!({})).await;
    }
    for path in [BATCH, "/realtime/v1/api/broadcast"] {
        let batch = json!({ "messages": [message(1), message(2)] }).to_string();
        assert_eq!(post(&wire, path, &headers, batch.as_bytes()), (202, String::new()));
        for client in [&mut first, &mut second] {
            for number in 1..=2 {
                let payload = json!({ "type": "broadcast", "event": "said", "payload": { "n": number } });
                client.expect(json!([null, null, ROOM, "broadcast", payload])).await;
            }
        }
        let wrong = json!({ "messages": [message(1), { "topic": "room" }] }).to_string();
        let blank = json!(["can't be blank"]);
        let errors = json!({ "errors": { "messages": [{}, { "event": blank, "payload": blank }] } });
        let (status, body) = post(&wire, path, &headers, wrong.as_bytes());
        assert_eq!((status, serde_json::from_str(&body).unwrap()), (422, errors));
    }
    for client in [&mut first, &mut second] {
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn checklist_17_one_message_is_taken_as_json_or_bytes_and_as_nothing_else() {
    let wire = Wire::set("").await;
    let token = format!("bearer {}", server::token("anon", None));
    let (mut first, mut second) = (wire.connect(Vsn::V1).await, wire.connect(Vsn::V2).await);
    for client in [&mut first, &mut second] {
        client.joined("1", ROOM, json!({})).await;
    }
    let kind_4 = |encoding: u8, body: &str| json!({ "kind": 4, "topic": ROOM, "event": "sa/id", "meta": "", "encoding": encoding, "body": body });
    let post = |media: &str, body: &[u8]| {
        let headers = [("authorization", token.as_str()), ("content-type", media)];
        post(&wire, "/realtime/v1/api/broadcast/room/events/sa%2Fid", &headers, body)
    };
    assert_eq!(post("application/octet-stream", b"\x01bytes"), (202, String::new()));
    assert_eq!(post("application/json; charset=utf-8", br#"{"n": 1}"#), (202, String::new()));
    second.expect(kind_4(0, "\u{1}bytes")).await;
    second.expect(kind_4(1, r#"{"n": 1}"#)).await;
    // The one who cannot read bytes gets the next message first.
    let payload = json!({ "type": "broadcast", "event": "sa/id", "payload": { "n": 1 } });
    first.expect(json!([null, null, ROOM, "broadcast", payload])).await;
    let words = "Unsupported Media Type. Use application/json or application/octet-stream";
    assert_eq!(post("text/plain", b"{}"), (415, json!({ "error": words }).to_string()));
    for client in [&mut first, &mut second] {
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn checklist_17_authorization_comes_before_apikey_and_every_origin_may_ask() {
    let wire = Wire::set("").await;
    let good = server::token("anon", None);
    let bad = server::token_signed("another-secret-of-32-bytes-and-more", "anon", None, 60);
    let (good_bearer, bad_bearer) = (format!("Bearer {good}"), format!("Bearer {bad}"));
    let unauthorized = (401, json!({ "message": "Unauthorized" }).to_string());
    let origin = ("origin", "https://app.example");
    for path in [BATCH, "/api/broadcast/room/events/said"] {
        let body = json!({ "messages": [message(1)] }).to_string();
        let post = |headers: &[(&str, &str)]| post(&wire, path, headers, body.as_bytes());
        let media = ("content-type", "application/json");
        assert_eq!(post(&[media, ("authorization", &good_bearer), ("apikey", &bad)]).0, 202);
        assert_eq!(post(&[media, ("authorization", &bad_bearer), ("apikey", &good)]), unauthorized);
        assert_eq!(post(&[media, ("authorization", ""), ("apikey", &good)]).0, 202);
        assert_eq!(post(&[media]), unauthorized);
        assert_eq!(post(&[media, ("authorization", &good)]), unauthorized);
        let (status, head, _) =
            server::http(wire.server.address, "POST", path, &[media, origin], b"{}").unwrap();
        assert_eq!((status, head.contains("access-control-allow-origin: *")), (401, true));
        let asked = ("access-control-request-headers", "apikey,authorization,content-type,x-client-info");
        let preflight = [origin, ("access-control-request-method", "POST"), asked];
        let (status, head, _) = server::http(wire.server.address, "OPTIONS", path, &preflight, b"").unwrap();
        assert_eq!(
            (status, head.contains(&format!("access-control-allow-headers: {}", asked.1))),
            (200, true)
        );
    }
}

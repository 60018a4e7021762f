//! Sockets: address, keys, heartbeats, malformed frames, coming back.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use super::{NOTES, Wire, notes};
use crate::stage::raw::user_broadcast;
use crate::stage::{ANN, BOTH, RawClient, TestServer, Vsn, server};

/// The status of a refused upgrade.
async fn refusal(server: &TestServer, target: &str, headers: &[(&'static str, &str)]) -> u16 {
    match RawClient::open(server, Vsn::V1, target, headers).await {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Ok(_) => panic!("{target}: a socket"),
        Err(error) => panic!("{target}: {error}"),
    }
}

#[tokio::test]
async fn checklist_01_key_and_version_stand_in_the_query_and_no_version_is_the_first() {
    let wire = Wire::set("").await;
    let token = server::token("anon", None);
    for path in ["/socket/websocket", "/realtime/v1/websocket"] {
        for (version, vsn) in [("", Vsn::V1), ("&vsn=1.0.0", Vsn::V1), ("&vsn=2.0.0", Vsn::V2)] {
            // Clients add parameters of their own.
            let target = format!("{path}?log_level=info&apikey={token}&eventsPerSecond=10{version}");
            let mut client = RawClient::open(&wire.server, vsn, &target, &[]).await.unwrap();
            client.expect_nothing().await;
        }
        assert_eq!(refusal(&wire.server, &format!("{path}?apikey={token}&vsn=3.0.0"), &[]).await, 403);
    }
}

#[tokio::test]
async fn checklist_02_bad_key_is_refused_at_the_upgrade() {
    let wire = Wire::set("").await;
    let valid = server::token("anon", None);
    let forged = server::token_signed("another-secret-that-is-long-enough-for-hs256", "anon", None, 60);
    let expired = server::token_signed(server::SECRET, "anon", None, -60);
    let sign = |claims: Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(server::SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let roleless = sign(json!({ "exp": 4_000_000_000_i64 }));
    let eternal = sign(json!({ "role": "anon" }));
    for path in ["/socket/websocket", "/realtime/v1/websocket"] {
        for key in [&*forged, &expired, &roleless, &eternal, "garbage", ""] {
            let target = format!("{path}?apikey={key}&vsn=1.0.0");
            assert_eq!(refusal(&wire.server, &target, &[]).await, 401, "{target}");
            // A gateway's header wins over what the client has sent.
            let target = format!("{path}?apikey={valid}&vsn=1.0.0");
            assert_eq!(refusal(&wire.server, &target, &[("x-api-key", key)]).await, 401, "{key}");
        }
        assert_eq!(refusal(&wire.server, path, &[]).await, 401, "no key at all");
        let target = format!("{path}?apikey=garbage&vsn=1.0.0");
        let mut client =
            RawClient::open(&wire.server, Vsn::V1, &target, &[("x-api-key", &valid)]).await.unwrap();
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn checklist_05_heartbeat_is_answered_with_its_ref() {
    let wire = Wire::set("").await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        for joined in [false, true] {
            if joined {
                client.joined("1", "realtime:room", json!({})).await;
            }
            for reference in [json!("7"), json!(null)] {
                for payload in [json!({}), json!({ "msg": "ping" })] {
                    client.push(Value::Null, reference.clone(), "phoenix", "heartbeat", payload).await;
                    let ok = json!({ "status": "ok", "response": {} });
                    client.expect(json!([null, reference, "phoenix", "phx_reply", ok])).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn checklist_13_malformed_frames_are_survived_and_too_large_ones_close() {
    let wire = Wire::set("").await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        client.joined("1", "realtime:room", json!({ "broadcast": { "self": true } })).await;
        for text in ["", "not json", "{", "[]", "{}", "null", "7", r#"["1","2","phoenix","heartbeat"]"#] {
            client.text(text).await;
        }
        for bytes in [&[][..], &[0], &[3, 255], &[4, 0, 0, 0, 0], &[9; 40], &[0xff, 0xfe]] {
            client.bytes(bytes).await;
        }
        // Whatever it was, the channel works and nothing was answered.
        client.expect_nothing().await;
        let payload = json!({ "type": "broadcast", "event": "still", "payload": {} });
        client.push(json!("1"), json!("2"), "realtime:room", "broadcast", payload.clone()).await;
        client.expect(json!([null, null, "realtime:room", "broadcast", payload])).await;

        client.text(&"x".repeat(5_000_001)).await;
        client.expect(json!({ "closed": 1009 })).await;
    }
}

#[tokio::test]
async fn checklist_31_client_that_was_cut_off_comes_back_at_once() {
    let wire = Wire::set(NOTES).await;
    for (id, vsn) in [(1, Vsn::V1), (2, Vsn::V2)] {
        let topic = format!("realtime:{vsn:?}");
        let config = json!({ "presence": { "key": "ann", "enabled": true }, "postgres_changes": notes() });
        let mut dead = wire.connect(vsn).await;
        dead.joined("1", &topic, config.clone()).await;
        dead.push(
            json!("1"),
            json!("2"),
            &topic,
            "presence",
            json!({ "type": "presence", "event": "track", "payload": { "n": 1 } }),
        )
        .await;
        // The first one's socket stays open: to the server it is as if its wire had been cut.
        let mut client = wire.connect(vsn).await;
        client.joined("1", &topic, config).await;
        let state = client.until("presence_state").await;
        assert!(state[4].get("ann").is_none_or(|ann| ann["metas"].as_array().unwrap().len() == 1), "{state}");
        client
            .push(
                json!("1"),
                json!("2"),
                &topic,
                "presence",
                json!({ "type": "presence", "event": "track", "payload": { "n": 2 } }),
            )
            .await;
        while client.until("presence_diff").await[4]["joins"]["ann"]["metas"][0]["n"] != 2 {}
        wire.database.execute(&format!("insert into notes values ({id}, 'x')")).await;
        let change = client.until("postgres_changes").await;
        assert_eq!(change[4]["data"]["record"]["id"], id, "{vsn:?}");
        // The dead one's end takes away what was its own, and no more.
        drop(dead);
        let left = client.until("presence_diff").await;
        assert_eq!((&left[4]["joins"], &left[4]["leaves"]["ann"]["metas"][0]["n"]), (&json!({}), &json!(1)));
        let message = json!({ "type": "broadcast", "event": "said", "payload": {} });
        let token = server::token("authenticated", Some(ANN));
        let mut other = RawClient::connect(&wire.server, Vsn::V2, &token).await;
        other.joined("1", &topic, json!({})).await;
        other.bytes(&user_broadcast(["1", "2", &topic, "said"], 1, b"{}")).await;
        match vsn {
            Vsn::V1 => client.expect(json!([null, null, topic, "broadcast", message])).await,
            Vsn::V2 => assert_eq!(client.next().await["event"], "said"),
        }
    }
}

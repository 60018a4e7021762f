//! Channels: frames, joining, leaving, refs, leniency.

use serde_json::{Value, json};

use super::{NOTES, Wire, notes};
use crate::stage::{ANN, BOTH, RawClient, Vsn, server};

const ROOM: &str = "realtime:room";

fn message(number: u32) -> Value {
    json!({ "type": "broadcast", "event": "said", "payload": { "n": number } })
}

fn track(number: u32) -> Value {
    json!({ "type": "presence", "event": "track", "payload": { "n": number } })
}

/// Has a channel get one of every kind of frame; `[join_ref, ref, event]` of each, the event first seen first.
async fn kinds_of_frames(wire: &Wire, vsn: Vsn, id: u32) -> Vec<(String, Value, Value)> {
    let mut client = wire.connect(vsn).await;
    let mut frames = Vec::new();
    let config = json!({ "broadcast": { "self": true }, "presence": { "key": "ann", "enabled": true },
        "postgres_changes": notes() });
    client.push(json!("1"), json!("1"), ROOM, "phx_join", json!({ "config": config })).await;
    for _ in 0..3 {
        frames.push(client.next().await);
    }
    client.push(json!("1"), json!("2"), ROOM, "presence", track(1)).await;
    for _ in 0..2 {
        frames.push(client.next().await);
    }
    client.push(json!("1"), json!("3"), ROOM, "broadcast", message(1)).await;
    frames.push(client.next().await);
    wire.database.execute(&format!("insert into notes values ({id}, 'x')")).await;
    frames.push(client.next().await);
    client.push(json!("1"), json!("4"), ROOM, "phx_leave", json!({})).await;
    for _ in 0..2 {
        frames.push(client.next().await);
    }
    let mut kinds: Vec<_> = frames
        .into_iter()
        .map(|frame| {
            assert_eq!(frame[2], ROOM);
            (frame[3].as_str().unwrap().to_owned(), frame[0].clone(), frame[1].clone())
        })
        .collect();
    kinds.sort_by_key(|(event, _, reference)| format!("{event} {reference}"));
    kinds
}

fn kind(event: &str, join_ref: Option<&str>, reference: Option<&str>) -> (String, Value, Value) {
    (event.to_owned(), json!(join_ref), json!(reference))
}

#[tokio::test]
async fn checklist_03_version_1_frames_have_four_keys_and_pushes_no_ref() {
    let wire = Wire::set(NOTES).await;
    // That there are exactly four keys is asserted wherever a frame is read.
    let kinds = kinds_of_frames(&wire, Vsn::V1, 1).await;
    let expected = [
        kind("broadcast", None, None),
        kind("phx_close", None, Some("1")),
        kind("phx_reply", None, Some("1")),
        kind("phx_reply", None, Some("2")),
        kind("phx_reply", None, Some("4")),
        kind("postgres_changes", None, None),
        kind("presence_diff", None, None),
        kind("presence_state", None, None),
        kind("system", None, None),
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn checklist_04_version_2_frames_have_five_elements_and_fan_out_no_join_ref() {
    let wire = Wire::set(NOTES).await;
    // That there are five elements, and refs are strings or null, is asserted wherever a frame is read.
    let kinds = kinds_of_frames(&wire, Vsn::V2, 1).await;
    let expected = [
        kind("broadcast", None, None),
        kind("phx_close", Some("1"), Some("1")),
        kind("phx_reply", Some("1"), Some("1")),
        kind("phx_reply", Some("1"), Some("2")),
        kind("phx_reply", Some("1"), Some("4")),
        kind("postgres_changes", None, None),
        kind("presence_diff", None, None),
        kind("presence_state", Some("1"), None),
        kind("system", Some("1"), None),
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn checklist_06_every_join_is_answered_with_status_and_response() {
    let wire = Wire::set("").await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        let ok = json!({ "status": "ok", "response": { "postgres_changes": [] } });
        for payload in [
            json!({ "config": {} }),
            json!({ "config": { "postgres_changes": [] } }),
            json!({ "config": { "postgres_changes": null } }),
        ] {
            let topic = format!("realtime:{payload}");
            assert_eq!(client.join("1", &topic, payload).await, ok, "{vsn:?}");
        }
        let refused = client.join("2", "realtime:", json!({ "config": {} })).await;
        assert_eq!(refused["status"], "error");
        assert_eq!(refused.as_object().unwrap().len(), 2, "{refused}");
    }
}

#[tokio::test]
async fn checklist_07_bindings_are_echoed_in_place_with_an_id() {
    let wire = Wire::set(NOTES).await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        let bindings = json!([
            { "event": "INSERT", "schema": "public", "table": "notes", "filter": "id=eq.1" },
            null,
            { "event": "*", "schema": "public" },
            { "event": "UPDATE", "schema": "public", "table": "notes", "filter": null, "own": [1] },
            { "event": "*", "schema": "public" },
        ]);
        let mut expected = bindings.as_array().unwrap().clone();
        expected.retain(Value::is_object);
        let answer = client.join("1", ROOM, json!({ "config": { "postgres_changes": bindings } })).await;
        let mut echoed = answer["response"]["postgres_changes"].as_array().unwrap().clone();
        for binding in &mut echoed {
            let id = binding.as_object_mut().unwrap().remove("id").unwrap();
            assert!(id.as_i64().is_some_and(|id| (0..1 << 31).contains(&id)), "{id}");
        }
        assert_eq!(echoed, expected, "{vsn:?}");
    }
}

#[tokio::test]
async fn checklist_08_refused_join_has_a_reason_with_its_code_and_harms_no_other() {
    let wire = Wire::set("").await;
    let expired = server::token_signed(server::SECRET, "anon", None, -60);
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        client.joined("1", ROOM, json!({ "broadcast": { "self": true } })).await;
        for (token, code) in [(&*expired, "InvalidJWTToken: "), ("garbage", "MalformedJWT: ")] {
            let payload = json!({ "config": {}, "access_token": token });
            let refused = client.join("2", "realtime:other", payload).await;
            assert_eq!(refused["status"], "error", "{vsn:?}");
            let reason = refused["response"]["reason"].as_str().unwrap();
            assert!(reason.starts_with(code), "{reason}");
        }
        client.push(json!("1"), json!("3"), ROOM, "broadcast", message(1)).await;
        client.expect(json!([null, null, ROOM, "broadcast", message(1)])).await;
    }
}

#[tokio::test]
async fn checklist_09_leave_is_answered_and_then_closed() {
    let wire = Wire::set("").await;
    let ok = json!({ "status": "ok", "response": {} });
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        client.joined("1", ROOM, json!({})).await;
        client.push(json!("1"), json!("2"), ROOM, "phx_leave", json!({})).await;
        let (reply, join_ref) = (client.reply("1", "2", ROOM, ok.clone()), client.join_ref("1"));
        client.expect(reply).await;
        client.expect(json!([join_ref, "1", ROOM, "phx_close", {}])).await;
        // It is left now, and leaving once more does no harm.
        client.push(json!("1"), json!("3"), ROOM, "phx_leave", json!({})).await;
        let reply = client.reply("1", "3", ROOM, ok.clone());
        client.expect(reply).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn checklist_10_second_join_of_a_topic_closes_the_first_and_all_comes_once() {
    let wire = Wire::set(NOTES).await;
    for (round, vsn) in [(0, Vsn::V1), (2, Vsn::V2)] {
        let mut client = wire.connect(vsn).await;
        client.subscribed("1", ROOM, notes()).await;
        let answer = client.join("2", ROOM, json!({ "config": { "postgres_changes": notes() } })).await;
        assert_eq!(answer["status"], "ok");
        // The system message may overtake the close; the reply is first.
        let mut frames = [client.next().await, client.next().await];
        frames.sort_by_key(|frame| frame[3].to_string());
        let join_ref = client.join_ref("1");
        assert_eq!(frames[0], json!([join_ref, "1", ROOM, "phx_close", {}]), "{vsn:?}");
        assert_eq!(frames[1][4]["message"], "Subscribed to PostgreSQL");
        for id in [round + 1, round + 2] {
            wire.database.execute(&format!("insert into notes values ({id}, 'x')")).await;
        }
        for id in [round + 1, round + 2] {
            assert_eq!(client.next().await[4]["data"]["record"]["id"], id, "{vsn:?}");
        }
        let mut other = wire.connect(vsn).await;
        other.joined("1", ROOM, json!({})).await;
        for number in [1, 2] {
            other.push(json!("1"), json!("2"), ROOM, "broadcast", message(number)).await;
            client.expect(json!([null, null, ROOM, "broadcast", message(number)])).await;
        }
    }
}

#[tokio::test]
async fn checklist_11_missing_and_old_join_refs_are_answered() {
    let wire = Wire::set("").await;
    let ok = json!({ "status": "ok", "response": {} });
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        client.joined("5", ROOM, json!({ "broadcast": { "ack": true } })).await;
        for (reference, join_ref) in [("6", json!(null)), ("7", json!("1")), ("8", json!("5"))] {
            client.push(join_ref, json!(reference), ROOM, "broadcast", message(1)).await;
            let reply = client.reply("5", reference, ROOM, ok.clone());
            client.expect(reply).await;
        }
        client
            .text(&match vsn {
                // As a client that knows no join_ref at all.
                Vsn::V1 => {
                    json!({ "topic": ROOM, "event": "phx_leave", "payload": {}, "ref": "9" }).to_string()
                }
                Vsn::V2 => json!([null, "9", ROOM, "phx_leave", {}]).to_string(),
            })
            .await;
        let (reply, join_ref) = (client.reply("5", "9", ROOM, ok.clone()), client.join_ref("5"));
        client.expect(reply).await;
        client.expect(json!([join_ref, "5", ROOM, "phx_close", {}])).await;
    }
}

#[tokio::test]
async fn checklist_12_topics_that_are_not_there_are_unmatched() {
    let wire = Wire::set("").await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        for (topic, event) in [
            ("realtime:never", "broadcast"),
            ("realtime:never", "presence"),
            ("realtime:never", "access_token"),
            ("other:room", "phx_join"),
            ("", "phx_join"),
            ("phoenix", "broadcast"),
        ] {
            client.push(json!("1"), json!("2"), topic, event, json!({})).await;
            let answer = json!({ "status": "error", "response": { "reason": "unmatched topic" } });
            client.expect(json!([null, "2", topic, "phx_reply", answer])).await;
        }
    }
}

#[tokio::test]
async fn checklist_14_what_is_unknown_or_ill_typed_does_not_matter() {
    let wire = Wire::set("").await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        let config = json!({
            "broadcast": { "self": "true", "ack": "FALSE", "later": { "a": 1 } },
            "presence": { "key": 7, "enabled": "false" },
            "private": "false",
            "postgres_changes": "none",
            "postgres_changes_options": { "wait": true, "timeout": 5000 },
        });
        client.joined("1", ROOM, config).await;
        client.push(json!("1"), json!("2"), ROOM, "no_such_event", json!({ "a": 1 })).await;
        client.push(json!("1"), json!("3"), ROOM, "broadcast", message(1)).await;
        // "true" was meant, "FALSE" too, and the unknown event is not answered.
        client.expect(json!([null, null, ROOM, "broadcast", message(1)])).await;
        client.expect_nothing().await;
        for (topic, config) in [
            ("realtime:a", json!({ "broadcast": [], "presence": "x", "private": 1 })),
            ("realtime:b", json!({ "broadcast": { "self": 1, "ack": null }, "presence": { "key": null } })),
            ("realtime:c", json!({ "broadcast": null, "private": null })),
        ] {
            let answer = client.join("4", topic, json!({ "config": config, "version": 3 })).await;
            assert_eq!(answer["status"], "ok", "{vsn:?} {topic}");
            // A presence key asks for the state.
            if topic == "realtime:b" {
                assert_eq!(client.next().await[3], "presence_state");
            }
        }
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn checklist_30_join_without_config_takes_its_table_from_the_topic() {
    let wire = Wire::set(NOTES).await;
    let token = server::token("authenticated", Some(ANN));
    // With and without a gateway in front, and as the first clients spell it.
    for (id, path) in [(1, "/socket/websocket"), (2, "/realtime/v1/websocket")] {
        let target = format!("{path}?apikey={token}");
        let mut client = RawClient::open(&wire.server, Vsn::V1, &target, &[]).await.unwrap();
        let topic = "realtime:public:notes";
        let join =
            json!({ "topic": topic, "event": "phx_join", "payload": { "user_token": token }, "ref": "1" });
        client.text(&join.to_string()).await;
        assert_eq!(client.next().await[4]["status"], "ok");
        assert_eq!(client.next().await[4]["message"], "Subscribed to PostgreSQL");

        wire.database.execute(&format!("insert into notes values ({id}, 'x')")).await;
        let change = client.next().await;
        assert_eq!((&change[1], &change[3]), (&Value::Null, &json!("INSERT")));
        assert_eq!(change[4]["record"], json!({ "id": id, "body": "x" }), "{change}");
        assert_eq!(change[4].get("ids"), None);
    }
}

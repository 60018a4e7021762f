//! Rooms: broadcasts and presence.

use serde_json::{Value, json};

use super::Wire;
use crate::stage::raw::user_broadcast;
use crate::stage::{BOTH, RawClient, Vsn};

const ROOM: &str = "realtime:room";

fn message(number: u32) -> Value {
    json!({ "type": "broadcast", "event": "said", "payload": { "n": number } })
}

/// A fan-out frame of text.
fn fan_out(event: &str, payload: Value) -> Value {
    json!([null, null, ROOM, event, payload])
}

#[tokio::test]
async fn checklist_15_text_is_relayed_as_it_came_and_bytes_only_to_version_2() {
    let wire = Wire::set("").await;
    let mut sender = wire.connect(Vsn::V2).await;
    let (mut first, mut second) = (wire.connect(Vsn::V1).await, wire.connect(Vsn::V2).await);
    for client in [&mut sender, &mut first, &mut second] {
        client.joined("1", ROOM, json!({})).await;
    }
    // Keys more and keys less, and numbers that no double holds.
    for payload in [r#"{"event":"e","extra":[1,{"a":12345678901234567890}]}"#, r#"{"payload":null}"#, "{}"] {
        sender.text(&format!(r#"["1","2","{ROOM}","broadcast",{payload}]"#)).await;
        let payload: Value = serde_json::from_str(payload).unwrap();
        for client in [&mut first, &mut second] {
            client.expect(fan_out("broadcast", payload.clone())).await;
        }
    }
    let kind_4 = |encoding: u8, body: &str| json!({ "kind": 4, "topic": ROOM, "event": "said", "meta": "", "encoding": encoding, "body": body });
    sender.bytes(&user_broadcast(["1", "3", ROOM, "said"], 1, br#"{"n": 1}"#)).await;
    first.expect(fan_out("broadcast", message(1))).await;
    second.expect(kind_4(1, r#"{"n": 1}"#)).await;
    sender.bytes(&user_broadcast(["1", "4", ROOM, "said"], 0, b"\x01bytes")).await;
    second.expect(kind_4(0, "\u{1}bytes")).await;
    // The one who cannot read bytes gets the next message next.
    sender.bytes(&user_broadcast(["1", "5", ROOM, "said"], 1, br#"{"n":2}"#)).await;
    first.expect(fan_out("broadcast", message(2))).await;
}

#[tokio::test]
async fn checklist_16_sender_hears_itself_and_is_answered_only_if_it_asked() {
    let wire = Wire::set("").await;
    for vsn in BOTH {
        for (own, ack) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut client = wire.connect(vsn).await;
            let mut other = wire.connect(vsn).await;
            client.joined("1", ROOM, json!({ "broadcast": { "self": own, "ack": ack } })).await;
            other.joined("1", ROOM, json!({})).await;
            for number in 1..=20 {
                client.push(json!("1"), json!("2"), ROOM, "broadcast", message(number)).await;
            }
            for number in 1..=20 {
                other.expect(fan_out("broadcast", message(number))).await;
                if own {
                    client.expect(fan_out("broadcast", message(number))).await;
                }
                if ack {
                    let reply = client.reply("1", "2", ROOM, json!({ "status": "ok", "response": {} }));
                    client.expect(reply).await;
                }
            }
            client.expect_nothing().await;
        }
    }
}

async fn presence(client: &mut RawClient, reference: &str, event: &str, payload: Value) {
    let payload = json!({ "type": "presence", "event": event, "payload": payload });
    client.push(json!("1"), json!(reference), ROOM, "presence", payload).await;
}

/// The next diff: joins and leaves of `key`, each as the values of `n`, and the refs of the joins.
async fn diff(client: &mut RawClient, key: &str) -> (Vec<Value>, Vec<Value>, Vec<String>) {
    let frame = client.until("presence_diff").await;
    let sides = frame[4].as_object().unwrap();
    assert_eq!(sides.keys().collect::<Vec<_>>(), ["joins", "leaves"], "both keys, always");
    let metas = |side: &str| sides[side][key]["metas"].as_array().cloned().unwrap_or_default();
    let numbers = |side: &str| metas(side).iter().map(|meta| meta["n"].clone()).collect();
    let refs = metas("joins").iter().map(|meta| meta["phx_ref"].as_str().unwrap().to_owned()).collect();
    (numbers("joins"), numbers("leaves"), refs)
}

#[tokio::test]
async fn checklist_18_presence_state_follows_the_join_and_every_meta_leaves_once() {
    let wire = Wire::set("").await;
    for vsn in BOTH {
        let config = |key: &str| json!({ "presence": { "key": key, "enabled": true } });
        let mut watcher = wire.connect(vsn).await;
        watcher.joined("1", ROOM, config("bob")).await;
        let state = watcher.next().await;
        assert_eq!(
            (&state[3], &state[4]),
            (&json!("presence_state"), &json!({})),
            "also when nobody is there"
        );

        let mut refs = Vec::new();
        for end in ["untrack", "leave", "disconnect"] {
            let mut client = wire.connect(vsn).await;
            client.joined("1", ROOM, config("ann")).await;
            client.until("presence_state").await;
            for number in [1, 2] {
                presence(&mut client, "2", "track", json!({ "n": number })).await;
            }
            let (joins, leaves, seen) = diff(&mut watcher, "ann").await;
            assert_eq!((joins, leaves), (vec![json!(1)], vec![]), "{vsn:?} {end}");
            refs.extend(seen);
            let (joins, leaves, seen) = diff(&mut watcher, "ann").await;
            assert_eq!((joins, leaves), (vec![json!(2)], vec![json!(1)]), "{vsn:?} {end}");
            refs.extend(seen);
            let mut late = wire.connect(vsn).await;
            late.joined("1", ROOM, config("cleo")).await;
            assert_eq!(late.until("presence_state").await[4]["ann"]["metas"][0]["n"], 2);
            match end {
                "untrack" => presence(&mut client, "3", "untrack", json!({})).await,
                "leave" => client.push(json!("1"), json!("3"), ROOM, "phx_leave", json!({})).await,
                _ => drop(client),
            }
            assert_eq!(diff(&mut watcher, "ann").await, (vec![], vec![json!(2)], vec![]), "{vsn:?} {end}");
        }
        let all = refs.len();
        refs.sort();
        refs.dedup();
        assert_eq!((refs.len(), all), (6, 6), "every meta has a ref of its own");
    }
}

#[tokio::test]
async fn checklist_19_presence_begins_with_the_first_track() {
    let wire = Wire::set("").await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        client.joined("1", ROOM, json!({ "presence": { "key": "ann", "enabled": false } })).await;
        client.expect_nothing().await;
        presence(&mut client, "2", "TRACK", json!({ "n": 1 })).await;
        let reply = client.reply("1", "2", ROOM, json!({ "status": "ok", "response": {} }));
        client.expect(reply).await;
        assert_eq!(diff(&mut client, "ann").await.0, [json!(1)], "{vsn:?}");
    }
}

//! Messages between right and wrong: recorded ones with something changed, and ones made of odd parts.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rowcast::protocol::Dialect;
use serde_json::Value;

#[path = "../support/envelope.rs"]
mod receiver;
#[path = "../support/recording.rs"]
mod recording;

use receiver::{Arrival, receive};

/// What clients said to the reference server, each once.
fn recorded() -> Vec<Vec<u8>> {
    recording::inputs().into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn recorded_messages_are_understood() {
    let inputs = recorded();
    let understood = inputs.iter().filter(|input| receive(input)).count();
    // A few were said to see what a server makes of nonsense.
    assert!(inputs.len() > 80 && understood * 10 > inputs.len() * 8, "{understood} of {}", inputs.len());
}

#[test]
fn recorded_messages_may_end_anywhere() {
    for input in recorded() {
        for end in 0..input.len() {
            receive(&input[..end]);
        }
    }
}

/// JSON of all kinds, not too large.
fn json() -> impl Strategy<Value = Value> {
    let names = "(config|event|payload|access_token|user_token|broadcast|presence|postgres_changes|enabled|key|self|ack|phx_ref|private|table|id|[a-z\u{FC}\"\\\\]{0,4})";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(track|untrack|true|sb_x|INSERT|\\*|[\\x00-\u{FFFF}]{0,8})".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(names, inner, 0..5)
                .prop_map(|object| object.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn recorded_messages_may_be_garbled(
        pick in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let inputs = recorded();
        let mut input = inputs[pick.index(inputs.len())].clone();
        for (at, byte) in changes {
            let at = at.index(input.len());
            input[at] = byte;
        }
        receive(&input);
    }

    #[test]
    fn messages_may_be_made_of_odd_parts(
        second in any::<bool>(), parts in prop::collection::vec(json(), 5),
        topic in "(realtime:[a-z:\\*]{0,8}|phoenix|[\\x00-\u{FFFF}]{0,8})",
        event in "(phx_join|phx_leave|broadcast|presence|access_token|heartbeat|[a-z]{0,4})",
        ordinary in any::<bool>(),
    ) {
        let [join_ref, reference, odd_topic, odd_event, payload] = parts.try_into().expect("five");
        let (topic, event) =
            if ordinary { (Value::from(topic), Value::from(event)) } else { (odd_topic, odd_event) };
        let (dialect, message) = if second {
            (Dialect::V2, serde_json::json!([join_ref, reference, topic, event, payload]))
        } else {
            let message = serde_json::json!({ "topic": topic, "event": event, "payload": payload,
                "ref": reference, "join_ref": join_ref });
            (Dialect::V1, message)
        };
        let mut input = vec![Arrival { dialect, binary: false }.byte()];
        input.extend_from_slice(message.to_string().as_bytes());
        let refs = [&message[0], &message[1], &message["ref"], &message["join_ref"]];
        let is_short = refs.iter().all(|name| name.to_string().len() <= 255);
        prop_assert!(receive(&input) || !ordinary || !is_short, "{}", message);
    }

    #[test]
    fn binary_messages_may_lie_about_their_sizes(
        kind in prop_oneof![8 => Just(3_u8), 4 => Just(0_u8), 1 => any::<u8>()],
        sizes in prop::collection::vec(0_u8..24, 4..7), fields in "[a-z:{}\"\u{FC}]{0,80}", body in json(),
    ) {
        let mut input = vec![Arrival { dialect: Dialect::V2, binary: true }.byte(), kind];
        input.extend(sizes);
        input.extend_from_slice(fields.as_bytes());
        input.extend_from_slice(body.to_string().as_bytes());
        receive(&input);
    }
}

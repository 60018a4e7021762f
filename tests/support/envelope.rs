//! What any bytes of a client may do to the code that reads them: nothing but what is meant. Used by a test and by
//! a fuzz target.
//!
//! An input is one byte that says how it arrives, and the message: see [`Arrival`]. The message is decoded, read as a
//! join and given to a channel as every event there is; what comes of it is encoded in both dialects, and must be
//! frames that can be read.

use std::sync::Arc;
use std::time::Instant;

use rowcast::channel::join::JoinLimits;
use rowcast::channel::{
    Channel, Effect, Grant, JoinRequest, Limits, MessageRef, Payload, PhxRef, Presence, Reply, Topic,
};
use rowcast::policy::Claims;
use rowcast::protocol::{Dialect, Incoming, Message};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The server's default for nesting; what it writes around a body may go two deeper.
const DEPTH_MAX: usize = 100;

/// How a message arrives: the lowest bit of the first byte says in which dialect, the next whether in a binary frame.
pub(crate) struct Arrival {
    pub(crate) dialect: Dialect,
    pub(crate) binary: bool,
}

impl Arrival {
    fn of(byte: u8) -> Self {
        let dialect = if byte & 1 == 0 { Dialect::V1 } else { Dialect::V2 };
        Self { dialect, binary: byte & 2 != 0 }
    }

    /// The first byte of such an input.
    #[allow(dead_code, reason = "those who make inputs need it, the fuzz target does not")]
    pub(crate) fn byte(&self) -> u8 {
        u8::from(self.dialect == Dialect::V2) | u8::from(self.binary) << 1
    }
}

/// Takes an input; whether it was a message at all.
pub(crate) fn receive(input: &[u8]) -> bool {
    let Some((first, bytes)) = input.split_first() else { return false };
    let arrival = Arrival::of(*first);
    let message = match std::str::from_utf8(bytes) {
        Ok(text) if !arrival.binary => Message::Text(text),
        _ => Message::Binary(bytes),
    };
    let Ok(incoming) = arrival.dialect.decode(message, DEPTH_MAX) else { return false };
    // What a client can name comes back to it.
    check(arrival.dialect, &incoming.topic, &replies(arrival.dialect, &incoming, &Reply::Ok));
    if let Ok(topic) = Topic::parse(&incoming.topic, 4096) {
        join(arrival.dialect, &topic, &incoming);
    }
    // A message may say what no topic it names could: here it says it in a room that is there.
    let room = Topic::parse("realtime:room", 4096).expect("a topic");
    join(arrival.dialect, &room, &incoming);
    for event in [&*incoming.event, "broadcast", "presence", "access_token"] {
        hear(&room, event, &incoming);
    }
    true
}

fn replies(dialect: Dialect, incoming: &Incoming<'_>, reply: &Reply) -> Vec<u8> {
    dialect.reply(&incoming.topic, &incoming.join_ref, &incoming.reference, reply).to_vec()
}

fn join(dialect: Dialect, topic: &Topic, incoming: &Incoming<'_>) {
    let limits = JoinLimits::default();
    let Ok(request) = JoinRequest::parse(topic, incoming.payload, &limits) else { return };
    assert!(request.bindings.len() <= limits.bindings_max);
    assert!(request.presence_key.as_ref().is_none_or(|key| key.len() <= limits.presence_key_bytes_max));
    let echoed = request.bindings_with_ids();
    assert!(echoed.iter().all(|binding| binding["id"].as_u64().is_some_and(|id| id > 0 && id < 1 << 31)));
    check(dialect, &incoming.topic, &replies(dialect, incoming, &Reply::Joined(echoed)));
}

/// Has a channel hear the payload twice, as a channel may have a state.
fn hear(topic: &Topic, event: &str, incoming: &Incoming<'_>) {
    let request = JoinRequest { broadcast_ack: true, ..JoinRequest::default() };
    let grant = Grant {
        topic: topic.clone(),
        join_ref: &incoming.join_ref,
        reference: &incoming.reference,
        token: "token".into(),
        claims: Arc::new(Claims { role: "anon".into(), json: "{}".into(), expires_at: 0 }),
        presence_key: "key".into(),
        read: None,
        takes_presence: true,
    };
    let mut channel = Channel::new(grant, &request);
    let now = Instant::now();
    for _ in 0..2 {
        match channel.receive(event, incoming.payload, now, &Limits::default()) {
            Effect::Broadcast { message, .. } => {
                for dialect in [Dialect::V1, Dialect::V2] {
                    if let Some(frame) = dialect.broadcast(topic.as_str(), &message) {
                        check(dialect, topic.as_str(), &frame);
                    }
                }
            }
            Effect::Presence => tell(&channel),
            Effect::Reply(reply) => {
                for dialect in [Dialect::V1, Dialect::V2] {
                    check(dialect, &incoming.topic, &replies(dialect, incoming, &reply));
                }
            }
            Effect::Ignore
            | Effect::Unknown
            | Effect::Deny
            | Effect::Hold
            | Effect::Verify(_)
            | Effect::Close(_) => {}
        }
    }
}

/// What is tracked reads as one meta with the server's ref.
fn tell(channel: &Channel) {
    let mut presence = Presence::default();
    let tracked = channel.presence_payload().cloned();
    presence.set(channel.presence_key(), 0, tracked, PhxRef::new([0; 12]));
    let state = presence.state();
    let _: &RawValue = serde_json::from_str(&state).expect("a state of valid JSON");
    assert!(
        &*state == "{}" || state.starts_with(r#"{"key":{"metas":[{"phx_ref":"AAAAAAAAAAAAAAAA""#),
        "{state}"
    );
}

/// A frame of ours is whole; as text it is a message of its dialect on that topic, as bytes it fits its length bytes.
fn check(dialect: Dialect, topic: &str, frame: &[u8]) {
    let (kind, size, rest) = match frame {
        [kind, 127, a, b, c, d, e, f, g, h, rest @ ..] => {
            (*kind, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
        }
        [kind, 126, a, b, rest @ ..] => (*kind, u64::from(u16::from_be_bytes([*a, *b])), rest),
        [kind, size, rest @ ..] => (*kind, u64::from(*size), rest),
        _ => panic!("no frame"),
    };
    assert_eq!(u64::try_from(rest.len()).expect("a length"), size, "one whole frame");
    if kind == 0x82 {
        assert!(dialect == Dialect::V2 && matches!(rest[0], 2 | 4), "a binary frame that clients can read");
        return;
    }
    let text = std::str::from_utf8(rest).expect("text");
    let _: IgnoredAny = serde_json::from_str(text).expect("JSON");
    let message = dialect.decode(Message::Text(text), DEPTH_MAX + 10).expect("a message of this dialect");
    assert_eq!(message.topic, topic);
    assert!(matches!(message.payload, Payload::Json(_)));
    assert!(dialect == Dialect::V2 || message.join_ref == MessageRef::NULL, "version 1 has no join_ref");
}

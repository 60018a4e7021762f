//! A client's message that waits for an answer, free of the frame it came in.

use std::fmt;
use std::time::Instant;

use serde_json::value::RawValue;

use super::push::{MessageRef, Payload};

/// What a held message costs beside its contents, in bytes.
const OVERHEAD_BYTES: usize = 128;

/// A message that waits.
#[derive(Debug)]
pub struct Held {
    /// What its reply is to be called.
    pub reference: MessageRef<'static>,
    /// When it came.
    pub at: Instant,
    /// What it is.
    pub message: HeldMessage,
}

/// What waits.
#[derive(Debug)]
pub enum HeldMessage {
    /// An event with its payload.
    Event(&'static str, HeldPayload),
    /// A leave, which must not overtake what was sent before it.
    Leave,
}

/// A payload of one's own.
pub enum HeldPayload {
    /// As [`Payload::Json`].
    Json(Box<RawValue>),
    /// As [`Payload::Bytes`].
    Bytes(Box<[u8]>),
    /// As [`Payload::UserJson`].
    UserJson(Box<str>, Box<str>),
    /// As [`Payload::UserBytes`].
    UserBytes(Box<str>, Box<[u8]>),
}

impl HeldPayload {
    /// Copies a payload.
    pub fn new(payload: Payload<'_>) -> Self {
        match payload {
            Payload::Json(json) => Self::Json(json.to_owned()),
            Payload::Bytes(bytes) => Self::Bytes(bytes.into()),
            Payload::UserJson { event, body } => Self::UserJson(event.into(), body.into()),
            Payload::UserBytes { event, body } => Self::UserBytes(event.into(), body.into()),
        }
    }

    /// The payload.
    pub fn get(&self) -> Payload<'_> {
        match self {
            Self::Json(json) => Payload::Json(json),
            Self::Bytes(bytes) => Payload::Bytes(bytes),
            Self::UserJson(event, body) => Payload::UserJson { event, body },
            Self::UserBytes(event, body) => Payload::UserBytes { event, body },
        }
    }
}

/// Payloads never reach a log: only the kind and the size are printed.
impl fmt::Debug for HeldPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Held {
    /// What it costs to keep, in bytes.
    pub fn bytes(&self) -> usize {
        let payload = match &self.message {
            HeldMessage::Event(_, payload) => payload.get().bytes(),
            HeldMessage::Leave => 0,
        };
        OVERHEAD_BYTES + self.reference.json().len() + payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_payload_is_the_same_and_shows_no_contents() {
        let json = RawValue::from_string(r#"{"a":"secret"}"#.to_owned()).unwrap();
        for payload in [
            Payload::Json(&json),
            Payload::Bytes(b"secret"),
            Payload::UserJson { event: "e", body: "\"secret\"" },
            Payload::UserBytes { event: "e", body: b"secret" },
        ] {
            let held = HeldPayload::new(payload);
            assert_eq!(held.get().bytes(), payload.bytes());
            assert_eq!(format!("{held:?}"), format!("{payload:?}"));
            assert!(!format!("{held:?}").contains("secret"));
        }
    }
}

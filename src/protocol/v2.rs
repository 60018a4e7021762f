//! `vsn` 2.0.0, text: one JSON array a message.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::depth::is_shallow;
use super::frame::FrameWriter;
use super::{Incoming, Malformed};
use crate::channel::{MessageRef, Payload};

/// `[join_ref, ref, topic, event, payload]`; elements after these are ignored.
struct Array<'a>(Incoming<'a>);

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ArrayVisitor).map(Self)
    }
}

struct ArrayVisitor;

impl<'de> Visitor<'de> for ArrayVisitor {
    type Value = Incoming<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of five elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let join_ref: &RawValue = next(&mut elements)?;
        let reference: &RawValue = next(&mut elements)?;
        let Text(topic) = next(&mut elements)?;
        let Text(event) = next(&mut elements)?;
        let payload = next(&mut elements)?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Incoming {
            join_ref: MessageRef::from_json(join_ref.get()),
            reference: MessageRef::from_json(reference.get()),
            topic,
            event,
            payload: Payload::Json(payload),
        })
    }
}

/// Text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(elements: &mut A) -> Result<T, A::Error> {
    let missing = || serde::de::Error::custom("fewer than five elements");
    elements.next_element()?.ok_or_else(missing)
}

pub(super) fn decode(text: &str, depth_max: usize) -> Result<Incoming<'_>, Malformed> {
    let Array(incoming) = serde_json::from_str(text).map_err(|_| Malformed::Shape)?;
    if !is_shallow(text, depth_max) {
        return Err(Malformed::Depth);
    }
    Ok(incoming)
}

pub(super) fn write(
    frame: &mut FrameWriter,
    join_ref: &MessageRef<'_>,
    reference: &MessageRef<'_>,
    topic: &str,
    event: &str,
    payload: impl FnOnce(&mut FrameWriter),
) {
    frame.put("[");
    frame.put(join_ref.json());
    frame.put(",");
    frame.put(reference.json());
    frame.put(",");
    frame.put_string(topic);
    frame.put(",");
    frame.put_string(event);
    frame.put(",");
    payload(frame);
    frame.put("]");
}

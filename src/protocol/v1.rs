//! `vsn` 1.0.0: one JSON object a message.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::depth::is_shallow;
use super::frame::FrameWriter;
use super::{Incoming, Malformed};
use crate::channel::{MessageRef, Payload};

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow, rename = "ref")]
    reference: &'a RawValue,
    #[serde(borrow, default)]
    join_ref: Option<&'a RawValue>,
}

pub(super) fn decode(text: &str, depth_max: usize) -> Result<Incoming<'_>, Malformed> {
    // An array would be read as an object without names.
    if !text.trim_start().starts_with('{') {
        return Err(Malformed::Shape);
    }
    let object: Object<'_> = serde_json::from_str(text).map_err(|_| Malformed::Shape)?;
    if !is_shallow(text, depth_max) {
        return Err(Malformed::Depth);
    }
    Ok(Incoming {
        join_ref: object.join_ref.map_or(MessageRef::NULL, |raw| MessageRef::from_json(raw.get())),
        reference: MessageRef::from_json(object.reference.get()),
        topic: object.topic,
        event: object.event,
        payload: Payload::Json(object.payload),
    })
}

/// Exactly four keys: some clients drop a message that has more.
pub(super) fn write(
    frame: &mut FrameWriter,
    reference: &MessageRef<'_>,
    topic: &str,
    event: &str,
    payload: impl FnOnce(&mut FrameWriter),
) {
    frame.put("{\"ref\":");
    frame.put(reference.json());
    frame.put(",\"event\":");
    frame.put_string(event);
    frame.put(",\"payload\":");
    payload(frame);
    frame.put(",\"topic\":");
    frame.put_string(topic);
    frame.put("}");
}

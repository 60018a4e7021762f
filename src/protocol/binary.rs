//! `vsn` 2.0.0, binary: a kind, one byte for the length of each field, the fields, then the payload.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::depth::is_shallow;
use super::frame::FrameWriter;
use super::{Incoming, Malformed};
use crate::change::json;
use crate::channel::{Body, MessageRef, Payload};

/// A push with a payload of bytes, to the server.
const PUSH: u8 = 0;
/// A broadcast push's payload, to clients.
const BROADCAST: u8 = 2;
/// A user's broadcast, to the server.
const USER_BROADCAST_PUSH: u8 = 3;
/// A user's broadcast, to clients.
const USER_BROADCAST: u8 = 4;

/// The encoding of a user's payload that is bytes; any other is JSON.
const ENCODING_BYTES: u8 = 0;
const ENCODING_JSON: u8 = 1;

pub(super) fn decode(frame: &[u8], depth_max: usize) -> Result<Incoming<'_>, Malformed> {
    let mut fields = Fields(frame);
    match fields.byte()? {
        PUSH => {
            let [join_ref, reference, topic, event] = fields.sizes()?;
            Ok(Incoming {
                join_ref: reference_of(fields.text(join_ref)?),
                reference: reference_of(fields.text(reference)?),
                topic: Cow::Borrowed(fields.text(topic)?),
                event: Cow::Borrowed(fields.text(event)?),
                payload: Payload::Bytes(fields.0),
            })
        }
        USER_BROADCAST_PUSH => {
            let [join_ref, reference, topic, event, metadata, encoding] = fields.sizes()?;
            let join_ref = reference_of(fields.text(join_ref)?);
            let reference = reference_of(fields.text(reference)?);
            let topic = Cow::Borrowed(fields.text(topic)?);
            let event = fields.text(event)?;
            let metadata = fields.text(metadata)?;
            if !metadata.is_empty() {
                // Nothing in it concerns this server, but it must be what it claims to be.
                checked_json(metadata.as_bytes(), depth_max)?;
            }
            let payload = match encoding {
                ENCODING_BYTES => Payload::UserBytes { event, body: fields.0 },
                // Receivers parse it without asking, and version 1 sockets get it inside another JSON text:
                // what is not JSON goes to nobody.
                _ => Payload::UserJson { event, body: checked_json(fields.0, depth_max)? },
            };
            Ok(Incoming { join_ref, reference, topic, event: Cow::Borrowed("broadcast"), payload })
        }
        _ => Err(Malformed::Kind),
    }
}

/// A frame of kind 2.
pub(super) fn write_broadcast(topic: &str, payload: &[u8]) -> Option<FrameWriter> {
    let event = "broadcast";
    let sizes = [BROADCAST, size(topic)?, size(event)?];
    let mut frame = FrameWriter::binary(sizes.len() + topic.len() + event.len() + payload.len());
    frame.put_bytes(&sizes);
    frame.put(topic);
    frame.put(event);
    frame.put_bytes(payload);
    Some(frame)
}

/// A frame of kind 4; `None` when a field is longer than its length byte can say.
pub(super) fn write_user_broadcast(
    topic: &str,
    event: &str,
    meta: &str,
    body: &Body<'_>,
) -> Option<FrameWriter> {
    let (encoding, body) = match body {
        Body::Json(json) => (ENCODING_JSON, json.as_bytes()),
        Body::Bytes(bytes) => (ENCODING_BYTES, bytes.as_ref()),
    };
    let sizes = [USER_BROADCAST, size(topic)?, size(event)?, size(meta)?, encoding];
    let mut frame = FrameWriter::binary(sizes.len() + topic.len() + event.len() + meta.len() + body.len());
    frame.put_bytes(&sizes);
    for field in [topic, event, meta] {
        frame.put(field);
    }
    frame.put_bytes(body);
    Some(frame)
}

fn size(field: &str) -> Option<u8> {
    u8::try_from(field.len()).ok()
}

/// An empty ref stays an empty string: binary frames have no null.
fn reference_of(text: &str) -> MessageRef<'static> {
    MessageRef::from_json(json::string(text))
}

fn checked_json(bytes: &[u8], depth_max: usize) -> Result<&str, Malformed> {
    let json: &RawValue = serde_json::from_slice(bytes).map_err(|_| Malformed::Shape)?;
    if is_shallow(json.get(), depth_max) { Ok(json.get()) } else { Err(Malformed::Depth) }
}

/// What is left to read of a frame.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Binary)?;
        self.0 = rest;
        Ok(*first)
    }

    fn sizes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (sizes, rest) = self.0.split_first_chunk().ok_or(Malformed::Binary)?;
        self.0 = rest;
        Ok(*sizes)
    }

    fn text(&mut self, size: u8) -> Result<&'a str, Malformed> {
        let (text, rest) = self.0.split_at_checked(usize::from(size)).ok_or(Malformed::Binary)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Malformed::Binary)
    }
}

//! Dialects: channel values ↔ frames. The one place that knows how messages are spelled.
//!
//! In: a client's WebSocket message. Out: an [`Incoming`] that borrows from it, its payload not looked into. And
//! back: replies, pushes and broadcasts become whole WebSocket frames, header included, written once into one
//! buffer, so that everybody who gets the same frame shares it.
//!
//! **Invariant:** foreign input of any kind is decoded or is [`Malformed`]; it never panics.

mod binary;
pub mod change;
pub mod code;
mod depth;
mod encode;
pub mod frame;
mod v1;
mod v2;

use std::borrow::Cow;
use std::fmt;

pub use depth::is_shallow;
pub use encode::{Extension, broadcast_payload, changes_frame};

use crate::channel::{MessageRef, Payload};

/// A protocol version, chosen by `vsn` when the socket opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `1.0.0`: JSON objects.
    V1,
    /// `2.0.0`: JSON arrays and binary frames.
    V2,
}

/// The topic of the socket itself, for heartbeats.
pub const SOCKET_TOPIC: &str = "phoenix";

/// A `ref` or `join_ref` longer than this many bytes of JSON makes its message malformed.
const REF_BYTES_MAX: usize = 255;

/// A whole WebSocket message of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Valid UTF-8.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

/// Payloads never reach a log: only kind and length are printed.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// A decoded message, which borrows from the frame it came in.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The join it belongs to, as the client sees it.
    pub join_ref: MessageRef<'a>,
    /// What its reply is to be called.
    pub reference: MessageRef<'a>,
    /// The whole topic.
    pub topic: Cow<'a, str>,
    /// The event; `broadcast` for binary broadcasts.
    pub event: Cow<'a, str>,
    /// The payload.
    pub payload: Payload<'a>,
}

/// A message that is none. Its socket lives on; nothing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No JSON, or not of this dialect's shape.
    #[error("the message has not the shape of its dialect")]
    Shape,
    /// JSON nested deeper than allowed.
    #[error("the message is nested too deeply")]
    Depth,
    /// A `ref` longer than allowed.
    #[error("a ref is too long")]
    Ref,
    /// A binary message of a kind that clients do not send.
    #[error("the binary message has an unknown kind")]
    Kind,
    /// A binary message that ends before its fields do, or has text fields that are no text.
    #[error("the binary message is cut short or is not text where it must be")]
    Binary,
}

impl Dialect {
    /// Decodes a client's message whose JSON is nested at most `depth_max` deep.
    ///
    /// `depth_max` must stay under 120: readers of payloads further on recurse.
    pub fn decode(self, message: Message<'_>, depth_max: usize) -> Result<Incoming<'_>, Malformed> {
        let incoming = match (self, message) {
            (Self::V1, Message::Text(text)) => v1::decode(text, depth_max)?,
            (Self::V1, Message::Binary(bytes)) => {
                v1::decode(std::str::from_utf8(bytes).map_err(|_| Malformed::Shape)?, depth_max)?
            }
            (Self::V2, Message::Text(text)) => v2::decode(text, depth_max)?,
            (Self::V2, Message::Binary(bytes)) => binary::decode(bytes, depth_max)?,
        };
        if [&incoming.join_ref, &incoming.reference].iter().any(|name| name.json().len() > REF_BYTES_MAX) {
            return Err(Malformed::Ref);
        }
        Ok(incoming)
    }
}

#[cfg(test)]
mod tests;

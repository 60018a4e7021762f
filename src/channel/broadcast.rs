//! A broadcast on its way from one client to a room.

use std::borrow::Cow;
use std::fmt;

/// A message to everybody in a room.
///
/// Borrows from the sender's frame as long as it stays on the sender's thread; [`Broadcast::into_owned`] makes
/// it fit to travel.
#[derive(Clone, PartialEq, Eq)]
pub enum Broadcast<'a> {
    /// The payload of a text message, which receivers get as it came. Valid JSON.
    Text(Cow<'a, str>),
    /// An event of the user's with a body.
    User {
        /// The user's event.
        event: Cow<'a, str>,
        /// The body.
        body: Body<'a>,
        /// A JSON object about the message itself, such as its id.
        meta: Option<Cow<'a, str>>,
    },
    /// The payload of a binary push, which only version 2 sockets get.
    Bytes(Cow<'a, [u8]>),
}

/// The body of [`Broadcast::User`].
#[derive(Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// Valid JSON text.
    Json(Cow<'a, str>),
    /// Bytes, which cannot be shown to version 1 sockets.
    Bytes(Cow<'a, [u8]>),
}

impl Broadcast<'_> {
    /// The same, free of the frame it was read from.
    pub fn into_owned(self) -> Broadcast<'static> {
        match self {
            Self::Text(payload) => Broadcast::Text(Cow::Owned(payload.into_owned())),
            Self::User { event, body, meta } => Broadcast::User {
                event: Cow::Owned(event.into_owned()),
                body: match body {
                    Body::Json(json) => Body::Json(Cow::Owned(json.into_owned())),
                    Body::Bytes(bytes) => Body::Bytes(Cow::Owned(bytes.into_owned())),
                },
                meta: meta.map(|meta| Cow::Owned(meta.into_owned())),
            },
            Self::Bytes(bytes) => Broadcast::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }

    /// The size that the payload limit is about, in bytes.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Text(payload) => payload.len(),
            Self::User { body: Body::Json(json), .. } => json.len(),
            Self::User { body: Body::Bytes(bytes), .. } | Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Payloads never reach a log: only the kind and the size are printed.
impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(json) => write!(f, "Json({} bytes)", json.len()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// Payloads never reach a log: only the kind and the size are printed.
impl fmt::Debug for Broadcast<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Text(_) => "Text",
            Self::User { body: Body::Json(_), .. } => "UserJson",
            Self::User { body: Body::Bytes(_), .. } => "UserBytes",
            Self::Bytes(_) => "Bytes",
        };
        write!(f, "{kind}({} bytes)", self.payload_bytes())
    }
}

//! What passes between a client and a channel, before it has a dialect.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::broadcast::Broadcast;

/// A client's name for one of its messages, held as the JSON text it sent: `"7"`, `7` or `null`.
///
/// Kept as text so that it goes back with the JSON type it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRef<'a>(Cow<'a, str>);

impl<'a> MessageRef<'a> {
    /// No name: pushes and broadcasts carry it.
    pub const NULL: MessageRef<'static> = MessageRef(Cow::Borrowed("null"));

    /// Takes JSON text. The caller has parsed it or has written it.
    pub fn from_json(json: impl Into<Cow<'a, str>>) -> Self {
        Self(json.into())
    }

    /// The JSON text.
    pub fn json(&self) -> &str {
        &self.0
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.0 == "null"
    }

    /// The same, free of the frame it was read from.
    pub fn to_static(&self) -> MessageRef<'static> {
        if self.is_null() { MessageRef::NULL } else { MessageRef(Cow::Owned(self.0.to_string())) }
    }
}

/// A token as a client sent it, not yet checked. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// What a client's message carries.
#[derive(Clone, Copy)]
pub enum Payload<'a> {
    /// Valid JSON, not looked into.
    Json(&'a RawValue),
    /// Bytes that mean something to other clients only.
    Bytes(&'a [u8]),
    /// A broadcast with its event in the frame's header and its body as JSON, already found valid.
    UserJson {
        /// The user's event.
        event: &'a str,
        /// Valid JSON text.
        body: &'a str,
    },
    /// The same with a body of bytes.
    UserBytes {
        /// The user's event.
        event: &'a str,
        /// The body.
        body: &'a [u8],
    },
}

impl Payload<'_> {
    /// Its length in bytes, without the event in a frame's header.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Json(json) => json.get().len(),
            Self::UserJson { body, .. } => body.len(),
            Self::Bytes(bytes) | Self::UserBytes { body: bytes, .. } => bytes.len(),
        }
    }
}

/// Payloads never reach a log: only the kind and the size are printed.
impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Json(_) => "Json",
            Self::Bytes(_) => "Bytes",
            Self::UserJson { .. } => "UserJson",
            Self::UserBytes { .. } => "UserBytes",
        };
        write!(f, "{kind}({} bytes)", self.bytes())
    }
}

/// The answer to a message that has a `ref`.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done; nothing to add.
    Ok,
    /// The channel is joined. Holds the bindings as the client sent them, each with its `id` added.
    Joined(Vec<Map<String, Value>>),
    /// Not done; nothing to add.
    Error,
    /// Not done, for this reason.
    Refused(Cow<'static, str>),
    /// A broadcast over the size limit: the one error whose response is a bare string.
    PayloadTooLarge,
}

/// What a channel wants done about a message. The hub carries it out.
#[derive(Debug)]
pub enum Effect<'a> {
    /// Nothing, and no answer.
    Ignore,
    /// The same, for an event that nobody knows.
    Unknown,
    /// The same, because policies do not let this channel send broadcasts. Stock clients take an error reply for
    /// the end of the channel, or cannot read it.
    Deny,
    /// Keep the message, and ask what policies let this channel send unless that has been asked already.
    Hold,
    /// Answer the message.
    Reply(Reply),
    /// Send to the room.
    Broadcast {
        /// What to send.
        message: Broadcast<'a>,
        /// Whether this channel gets it too.
        to_self: bool,
        /// Whether to answer `ok` once it has been handed on.
        acknowledge: bool,
    },
    /// The channel's presence is now what [`super::Channel::presence_payload`] says: answer `ok` and tell the
    /// topic's home.
    Presence,
    /// Check this token, then call [`super::Channel::refresh`] or close the channel.
    Verify(Token),
    /// Tell the client why, then close the channel.
    Close(Closing),
}

/// Why the server closes a channel that was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// More presence messages in a window than one channel may send.
    PresenceWindow,
    /// A tracked payload over the size limit.
    PresenceTooLarge,
    /// It has got a message while all together send and get too many.
    TooManyEvents,
    /// It would track while all together send and get too many presence messages.
    TooManyPresenceEvents,
    /// The token ran out, or a new one was not accepted. Holds the words for the client.
    Token(String),
    /// A private channel that may read nothing any more. Holds its sub-topic.
    Unauthorized(Box<str>),
    /// A private channel that may read less than before. Holds its sub-topic.
    NoLongerAuthorized(Box<str>),
    /// What a private channel may read now could not be found out.
    Unanswered(Unanswered),
    /// The stream of broadcasts from the database, which the client waits for, did not begin.
    ReplicationLate,
}

/// Why it is not known what policies let a caller do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Too many ask, or the answer takes too long.
    Busy,
    /// The database cannot be reached.
    Unreachable,
    /// The database takes no more sessions.
    NoConnections,
    /// Postgres took too long over it.
    Canceled,
    /// There is nowhere to ask: `realtime.messages` lacks the partition for today.
    MissingPartition,
}

/// Why a join is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The topic is `realtime:` and nothing more.
    TopicNameRequired,
    /// The topic is longer than this many bytes.
    TopicTooLong(usize),
    /// The server is going down.
    Restarting,
    /// As many sockets have joined channels as may, and this one has not.
    TooManyUsers,
    /// This socket, or all together, join too often.
    TooManyJoins,
    /// The socket has as many channels as it may have.
    TooManyChannels,
    /// The token was not accepted. Holds the words for the client, code included.
    Token(String),
    /// Only private channels may be joined.
    PrivateOnly,
    /// The caller may not read from the topic. Holds its sub-topic.
    Unauthorized(Box<str>),
    /// Whether the caller may read from the topic could not be found out.
    Unanswered(Unanswered),
    /// A public channel has nothing stored that could be replayed.
    ReplayNotAllowed,
    /// What is to be replayed cannot be understood.
    ReplayInvalid,
    /// What is to be replayed could not be had, or too much was sent meanwhile.
    ReplayFailed,
    /// The stream of database changes cannot take a subscription now.
    FeedBusy,
    /// The payload cannot be understood even with all leniency.
    Malformed(&'static str),
}

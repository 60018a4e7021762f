//! The school app's words: what its clients send, and what they are sent.
//!
//! Its names are spelled here and nowhere else. A client's frame is one of those below or is [`BadFrame`], whose words
//! never hold anything that the client has sent.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::protocol::is_shallow;

/// How deeply a frame may be nested.
const DEPTH_MAX: usize = 32;

/// How long a UUID with its hyphens is. Other spellings of it are not taken.
const UUID_BYTES: usize = 36;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientFrame {
    /// To hear of a thread again.
    SubscribeThread(Uuid),
    /// To hear nothing of a thread.
    UnsubscribeThread(Uuid),
    /// To know that somebody is there.
    Ping,
    /// To be seen typing in a thread.
    TypingStart(Uuid),
    /// To be seen typing no longer.
    TypingStop(Uuid),
    /// To have read a message.
    MarkRead(Uuid),
}

/// Why a client's frame is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFrame {
    /// Not JSON, or too deeply nested.
    #[error("The message is not valid JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("The message must be a JSON object")]
    NotObject,
    /// No text says what it is.
    #[error("type must be a text")]
    NoType,
    /// Nothing of this protocol.
    #[error("Unknown message type")]
    UnknownType,
    /// An id is missing.
    #[error("{0} is required")]
    Missing(&'static str),
    /// An id is something else.
    #[error("{0} must be a UUID")]
    NotUuid(&'static str),
}

impl ClientFrame {
    /// Reads a frame.
    pub(super) fn parse(text: &str) -> Result<Self, BadFrame> {
        if !is_shallow(text, DEPTH_MAX) {
            return Err(BadFrame::NotJson);
        }
        let frame: Value = serde_json::from_str(text).map_err(|_| BadFrame::NotJson)?;
        let frame = frame.as_object().ok_or(BadFrame::NotObject)?;
        let id = |field: &'static str| match frame.get(field) {
            None | Some(Value::Null) => Err(BadFrame::Missing(field)),
            Some(value) => value.as_str().and_then(uuid).ok_or(BadFrame::NotUuid(field)),
        };
        match frame.get("type").and_then(Value::as_str).ok_or(BadFrame::NoType)? {
            "subscribe_thread" => id("thread_id").map(Self::SubscribeThread),
            "unsubscribe_thread" => id("thread_id").map(Self::UnsubscribeThread),
            "typing_start" => id("thread_id").map(Self::TypingStart),
            "typing_stop" => id("thread_id").map(Self::TypingStop),
            "mark_read" => id("message_id").map(Self::MarkRead),
            "ping" => Ok(Self::Ping),
            _ => Err(BadFrame::UnknownType),
        }
    }
}

/// A UUID with its hyphens.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    if text.len() == UUID_BYTES { Uuid::try_parse(text).ok() } else { None }
}

/// Who has sent a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sender {
    pub(super) full_name: Option<String>,
    pub(super) role: Option<String>,
}

/// A message. What the app does not know of is there only where it says something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Message {
    pub(super) id: Uuid,
    pub(super) thread_id: Uuid,
    pub(super) sender_id: Option<Uuid>,
    pub(super) content: String,
    pub(super) message_type: String,
    pub(super) created_at: String,
    pub(super) sender: Sender,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attachments: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply_to_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) edited_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted_at: Option<String>,
}

/// What a socket is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerFrame {
    ConnectionEstablished {
        user_id: Uuid,
        timestamp: String,
    },
    NewMessage {
        data: Message,
    },
    MessageUpdated {
        data: Message,
    },
    MessageDeleted {
        data: Message,
    },
    ReactionAdded {
        message_id: Uuid,
        thread_id: Uuid,
        user_id: Uuid,
        emoji: String,
    },
    ReactionRemoved {
        message_id: Uuid,
        thread_id: Uuid,
        user_id: Uuid,
        emoji: String,
    },
    MessageRead {
        message_id: Uuid,
        thread_id: Uuid,
        user_id: Uuid,
        read_at: String,
    },
    UserTyping {
        thread_id: Uuid,
        user_id: Uuid,
        is_typing: bool,
    },
    Presence {
        user_id: Uuid,
        status: String,
        last_seen_at: Option<String>,
    },
    ThreadSubscribed {
        thread_id: Uuid,
    },
    ThreadUnsubscribed {
        thread_id: Uuid,
    },
    Pong,
    Error {
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
}

impl ServerFrame {
    /// Says what is wrong.
    pub(super) fn error(message: impl ToString) -> Self {
        Self::Error { message: message.to_string(), retry_after: None }
    }

    /// Its text.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self)
            .unwrap_or_else(|_| r#"{"type":"error","message":"Internal error"}"#.to_owned())
    }
}

/// An answer over HTTP that all went well.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// Words, and what they are about.
    Done {
        status: Status,
        message: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        thread_id: Option<Uuid>,
        user_id: Uuid,
    },
    /// What was asked for.
    Data { status: Status, data: Data },
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Data {
    /// What was missed. `has_more` is there while another call has more to give.
    Missed {
        messages: Vec<Message>,
        count: usize,
        last_check_time: String,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        has_more: bool,
    },
    /// How many messages are unread.
    Unread { unread_count: u64 },
}

/// How a request has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it was meant.
    Success,
    /// Not at all.
    Error,
}

/// An answer over HTTP that says why not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) message: String,
}

/// What the functions of the catch-up answer.
#[derive(Debug, Deserialize)]
pub(super) struct Missed {
    pub(super) messages: Vec<Value>,
    pub(super) last_check_time: String,
    /// How many, or which, are left.
    pub(super) remaining: Remaining,
}

/// What is left after a page.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Remaining {
    Count(u64),
    Ids(Vec<Uuid>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1d0c1e-0000-4000-8000-00000000000a";

    fn id() -> Uuid {
        uuid(ID).unwrap()
    }

    #[test]
    fn frames_of_the_app_are_read() {
        for (kind, field, expected) in [
            ("subscribe_thread", "thread_id", ClientFrame::SubscribeThread(id())),
            ("unsubscribe_thread", "thread_id", ClientFrame::UnsubscribeThread(id())),
            ("typing_start", "thread_id", ClientFrame::TypingStart(id())),
            ("typing_stop", "thread_id", ClientFrame::TypingStop(id())),
            ("mark_read", "message_id", ClientFrame::MarkRead(id())),
        ] {
            let frame = format!(r#"{{"type":"{kind}","{field}":"{ID}","more":[1]}}"#);
            assert_eq!(ClientFrame::parse(&frame), Ok(expected));
            for missing in
                [format!(r#"{{"type":"{kind}"}}"#), format!(r#"{{"type":"{kind}","{field}":null}}"#)]
            {
                assert_eq!(ClientFrame::parse(&missing), Err(BadFrame::Missing(field)), "{missing}");
            }
            for value in [
                "7",
                "[]",
                "{}",
                "true",
                r#""""#,
                r#""thread-uuid""#,
                r#""6f1d0c1e000040008000000000000000a""#,
            ] {
                let frame = format!(r#"{{"type":"{kind}","{field}":{value}}}"#);
                assert_eq!(ClientFrame::parse(&frame), Err(BadFrame::NotUuid(field)), "{frame}");
            }
        }
        assert_eq!(ClientFrame::parse(r#" {"type":"ping"} "#), Ok(ClientFrame::Ping));
    }

    #[test]
    fn other_frames_are_bad() {
        let nested =
            |levels: usize| format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert_eq!(ClientFrame::parse(&nested(DEPTH_MAX - 1)), Ok(ClientFrame::Ping));
        assert_eq!(ClientFrame::parse(&nested(DEPTH_MAX)), Err(BadFrame::NotJson));
        for (text, expected) in [
            ("", BadFrame::NotJson),
            ("ping", BadFrame::NotJson),
            (r#"{"type":"ping"} x"#, BadFrame::NotJson),
            ("[]", BadFrame::NotObject),
            (r#""ping""#, BadFrame::NotObject),
            ("null", BadFrame::NotObject),
            ("{}", BadFrame::NoType),
            (r#"{"type":7}"#, BadFrame::NoType),
            (r#"{"type":"PING"}"#, BadFrame::UnknownType),
            (r#"{"type":"new_message","data":{}}"#, BadFrame::UnknownType),
        ] {
            assert_eq!(ClientFrame::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_never_holds_what_was_sent() {
        for text in [r#"{"type":"hunter2"}"#, r#"{"type":"mark_read","message_id":"hunter2"}"#] {
            let told = ServerFrame::error(ClientFrame::parse(text).unwrap_err()).text();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn frames_are_spelled_as_the_app_knows_them() {
        let established = ServerFrame::ConnectionEstablished { user_id: id(), timestamp: "t".to_owned() };
        let text = format!(r#"{{"type":"connection_established","user_id":"{ID}","timestamp":"t"}}"#);
        assert_eq!(established.text(), text);
        assert_eq!(ServerFrame::Pong.text(), r#"{"type":"pong"}"#);
        assert_eq!(
            ServerFrame::error("Real-time connection error").text(),
            r#"{"type":"error","message":"Real-time connection error"}"#
        );
        for (frame, kind) in [
            (ServerFrame::ThreadSubscribed { thread_id: id() }, "thread_subscribed"),
            (ServerFrame::ThreadUnsubscribed { thread_id: id() }, "thread_unsubscribed"),
        ] {
            assert_eq!(frame.text(), format!(r#"{{"type":"{kind}","thread_id":"{ID}"}}"#));
        }
    }

    #[test]
    fn answers_are_spelled_as_the_app_knows_them() {
        let text = |answer: &Answer| serde_json::to_string(answer).unwrap();
        let done = Answer::Done { status: Status::Success, message: "m", thread_id: None, user_id: id() };
        assert_eq!(text(&done), format!(r#"{{"status":"success","message":"m","user_id":"{ID}"}}"#));
        let unread = Answer::Data { status: Status::Success, data: Data::Unread { unread_count: 5 } };
        assert_eq!(text(&unread), r#"{"status":"success","data":{"unread_count":5}}"#);
        let data =
            Data::Missed { messages: Vec::new(), count: 0, last_check_time: "t".to_owned(), has_more: false };
        let missed = Answer::Data { status: Status::Success, data };
        let expected = r#"{"status":"success","data":{"messages":[],"count":0,"last_check_time":"t"}}"#;
        assert_eq!(text(&missed), expected);
    }
}

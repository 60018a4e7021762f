//! The school app's words: what its clients send, and what they are sent.
//!
//! Its names are spelled here and nowhere else. What is wrong with a frame is said in words that hold nothing of it.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::adapter::{Error, conversation};

/// How long a UUID with its hyphens is.
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

impl ClientFrame {
    /// Reads a frame of this type with these other fields.
    pub(super) fn read(kind: &str, fields: &Map<String, Value>) -> Result<Self, Error> {
        let id = |field: &'static str| match fields.get(field) {
            None | Some(Value::Null) => Err(Error::missing(field)),
            Some(value) => value.as_str().and_then(uuid).ok_or(Error::invalid(field)),
        };
        match kind {
            "subscribe_thread" => id("thread_id").map(Self::SubscribeThread),
            "unsubscribe_thread" => id("thread_id").map(Self::UnsubscribeThread),
            "typing_start" => id("thread_id").map(Self::TypingStart),
            "typing_stop" => id("thread_id").map(Self::TypingStop),
            "mark_read" => id("message_id").map(Self::MarkRead),
            "ping" => Ok(Self::Ping),
            _ => Err(Error::UnknownType),
        }
    }
}

/// A UUID with its hyphens; other spellings of it are not taken.
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
    /// Says why something is refused.
    pub(super) fn refusal(error: &Error) -> Self {
        Self::Error { message: error.to_string(), retry_after: error.retry_after() }
    }

    /// Says that the socket cannot go on.
    pub(super) fn broken() -> Self {
        Self::Error { message: "Real-time connection error".to_owned(), retry_after: None }
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
    #[serde(serialize_with = "inside_and_beside")]
    Data { status: Status, data: Data },
}

/// The app's page shows what was asked for in `data`; the start-up on that same page reads it beside the `status`.
fn inside_and_beside<S: Serializer>(status: &Status, data: &Data, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Both<'a> {
        status: Status,
        data: &'a Data,
        #[serde(flatten)]
        beside: &'a Data,
    }
    Both { status: *status, data, beside: data }.serialize(serializer)
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<u64>,
}

/// What one check answers.
#[derive(Debug, Deserialize)]
pub(super) struct Checked {
    pub(super) messages: Vec<conversation::Message>,
    pub(super) last_check_time: String,
    /// How many are left for the next.
    pub(super) remaining: u64,
    /// What it has seen.
    pub(super) seen: String,
}

/// What a socket has to bring first.
#[derive(Debug, Deserialize)]
pub(super) struct Resumed {
    pub(super) messages: Vec<conversation::Message>,
    /// Those after them.
    pub(super) remaining: Vec<Uuid>,
    /// The check that it continues.
    pub(super) last_check_time: String,
    /// Its snapshot.
    pub(super) seen: String,
    /// What earlier sockets have brought since.
    pub(super) sent: Vec<Uuid>,
}

/// Some messages.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) messages: Vec<conversation::Message>,
    /// For how many ids they stand.
    pub(super) taken: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1d0c1e-0000-4000-8000-00000000000a";

    fn id() -> Uuid {
        uuid(ID).unwrap()
    }

    fn read(text: &str) -> Result<ClientFrame, Error> {
        let mut fields: Map<String, Value> = serde_json::from_str(text).unwrap();
        let kind = fields.remove("type").unwrap();
        ClientFrame::read(kind.as_str().unwrap(), &fields)
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
            assert_eq!(read(&frame), Ok(expected));
            for missing in
                [format!(r#"{{"type":"{kind}"}}"#), format!(r#"{{"type":"{kind}","{field}":null}}"#)]
            {
                assert_eq!(read(&missing), Err(Error::missing(field)), "{missing}");
            }
            for value in
                ["7", "[]", "{}", "true", r#""""#, r#""x""#, r#""6f1d0c1e000040008000000000000000a""#]
            {
                let frame = format!(r#"{{"type":"{kind}","{field}":{value}}}"#);
                assert_eq!(read(&frame), Err(Error::invalid(field)), "{frame}");
            }
        }
        assert_eq!(read(r#"{"type":"ping"}"#), Ok(ClientFrame::Ping));
        for unknown in ["PING", "", "new_message", "pong"] {
            assert_eq!(read(&format!(r#"{{"type":"{unknown}"}}"#)), Err(Error::UnknownType));
        }
    }

    #[test]
    fn what_is_wrong_never_holds_what_was_sent() {
        for text in [r#"{"type":"hunter2"}"#, r#"{"type":"mark_read","message_id":"hunter2"}"#] {
            let told = serde_json::to_string(&ServerFrame::refusal(&read(text).unwrap_err())).unwrap();
            assert!(
                told.starts_with(r#"{"type":"error","message":""#) && !told.contains("hunter2"),
                "{told}"
            );
        }
    }

    #[test]
    fn frames_are_spelled_as_the_app_knows_them() {
        let established = ServerFrame::ConnectionEstablished { user_id: id(), timestamp: "t".to_owned() };
        for (frame, expected) in [
            (established, format!(r#"{{"type":"connection_established","user_id":"{ID}","timestamp":"t"}}"#)),
            (ServerFrame::Pong, r#"{"type":"pong"}"#.to_owned()),
            (ServerFrame::broken(), r#"{"type":"error","message":"Real-time connection error"}"#.to_owned()),
            (
                ServerFrame::ThreadSubscribed { thread_id: id() },
                format!(r#"{{"type":"thread_subscribed","thread_id":"{ID}"}}"#),
            ),
            (
                ServerFrame::ThreadUnsubscribed { thread_id: id() },
                format!(r#"{{"type":"thread_unsubscribed","thread_id":"{ID}"}}"#),
            ),
        ] {
            assert_eq!(serde_json::to_string(&frame).unwrap(), expected);
        }
        let limited = ServerFrame::refusal(&Error::RateLimited { retry_after: 7 });
        assert_eq!(serde_json::to_value(&limited).unwrap()["retry_after"], 7);
    }

    #[test]
    fn answers_are_spelled_as_the_app_knows_them() {
        let text = |answer: &Answer| serde_json::to_string(answer).unwrap();
        let done = Answer::Done { status: Status::Success, message: "m", thread_id: None, user_id: id() };
        assert_eq!(text(&done), format!(r#"{{"status":"success","message":"m","user_id":"{ID}"}}"#));
        let unread = Answer::Data { status: Status::Success, data: Data::Unread { unread_count: 5 } };
        assert_eq!(text(&unread), r#"{"status":"success","data":{"unread_count":5},"unread_count":5}"#);
        let data =
            Data::Missed { messages: Vec::new(), count: 0, last_check_time: "t".to_owned(), has_more: false };
        let missed = Answer::Data { status: Status::Success, data };
        let expected = concat!(
            r#"{"status":"success","data":{"messages":[],"count":0,"last_check_time":"t"},"#,
            r#""messages":[],"count":0,"last_check_time":"t"}"#,
        );
        assert_eq!(text(&missed), expected);
    }
}

//! Everything a server sends, in either dialect.

use bytes::Bytes;

use super::frame::FrameWriter;
use super::{Dialect, binary, v1, v2};
use crate::channel::{Body, Broadcast, MessageRef, Reply};

/// Which part of the server a `system` message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The channel itself.
    System,
    /// Its subscription to database changes.
    PostgresChanges,
}

/// What an envelope adds to its parts, with some to spare.
const ENVELOPE_BYTES: usize = 64;

impl Dialect {
    /// The answer to a message. `join_ref` is the channel's, or null where there is none.
    pub fn reply(
        self,
        topic: &str,
        join_ref: &MessageRef<'_>,
        reference: &MessageRef<'_>,
        reply: &Reply,
    ) -> Bytes {
        let (status, response) = match reply {
            Reply::Ok => ("ok", "{}".to_owned()),
            Reply::Joined(bindings) => {
                ("ok", serde_json::json!({ "postgres_changes": bindings }).to_string())
            }
            Reply::Error => ("error", "{}".to_owned()),
            Reply::Refused(reason) => ("error", serde_json::json!({ "reason": reason }).to_string()),
            Reply::PayloadTooLarge => ("error", "\"payload_size_exceeded\"".to_owned()),
        };
        self.message(join_ref, reference, topic, "phx_reply", response.len() + 32, |frame| {
            frame.put("{\"status\":\"");
            frame.put(status);
            frame.put("\",\"response\":");
            frame.put(&response);
            frame.put("}");
        })
    }

    /// A message of the server's own. `payload` is JSON text. `join_ref` is null in what many receivers share.
    pub fn push(self, topic: &str, join_ref: &MessageRef<'_>, event: &str, payload: &str) -> Bytes {
        self.message(join_ref, &MessageRef::NULL, topic, event, payload.len(), |frame| frame.put(payload))
    }

    /// A `system` message to one channel. `sub_topic` is the topic without its prefix.
    pub fn system(
        self,
        topic: &str,
        sub_topic: &str,
        join_ref: &MessageRef<'_>,
        extension: Extension,
        ok: bool,
        message: &str,
    ) -> Bytes {
        let extension = match extension {
            Extension::System => "system",
            Extension::PostgresChanges => "postgres_changes",
        };
        let room = sub_topic.len() + message.len() + 80;
        self.message(join_ref, &MessageRef::NULL, topic, "system", room, |frame| {
            frame.put("{\"message\":");
            frame.put_string(message);
            frame.put(",\"status\":\"");
            frame.put(if ok { "ok" } else { "error" });
            frame.put("\",\"extension\":\"");
            frame.put(extension);
            frame.put("\",\"channel\":");
            frame.put_string(sub_topic);
            frame.put("}");
        })
    }

    /// The `system` message before the server closes a socket. It has no `channel`, unlike the others.
    pub fn disconnecting(self, topic: &str) -> Bytes {
        let payload =
            "{\"extension\":\"system\",\"message\":\"Server requested disconnect\",\"status\":\"ok\"}";
        self.push(topic, &MessageRef::NULL, "system", payload)
    }

    /// The end of a channel: clients do not come back by themselves.
    pub fn closed(self, topic: &str, join_ref: &MessageRef<'_>) -> Bytes {
        self.message(join_ref, join_ref, topic, "phx_close", 2, |frame| frame.put("{}"))
    }

    /// The end of a channel by a fault of the server's: clients join again.
    pub fn crashed(self, topic: &str, join_ref: &MessageRef<'_>) -> Bytes {
        let payload = "{\"reason\":\"channel_crash\"}";
        self.message(join_ref, join_ref, topic, "phx_error", payload.len(), |frame| frame.put(payload))
    }

    /// A broadcast, for everybody in the room with this dialect; `None` when it cannot be shown in it.
    ///
    /// Bytes have no version 1. A version 2 frame's topic and event have at most 255 bytes; beyond that a JSON
    /// body goes as text, which clients read just as well, and a body of bytes goes nowhere.
    pub fn broadcast(self, topic: &str, message: &Broadcast<'_>) -> Option<Bytes> {
        match (self, message) {
            (_, Broadcast::Text(payload)) => Some(self.push(topic, &MessageRef::NULL, "broadcast", payload)),
            (Self::V1, Broadcast::Bytes(_)) => None,
            (Self::V2, Broadcast::Bytes(bytes)) => {
                binary::write_broadcast(topic, bytes).map(FrameWriter::finish)
            }
            (Self::V1, Broadcast::User { body: Body::Bytes(_), .. }) => None,
            (_, Broadcast::User { event, body, meta }) => {
                let binary = match self {
                    Self::V1 => None,
                    Self::V2 => {
                        binary::write_user_broadcast(topic, event, meta.as_deref().unwrap_or_default(), body)
                    }
                };
                match (binary, body) {
                    (Some(frame), _) => Some(frame.finish()),
                    (None, Body::Json(json)) => {
                        Some(self.user_text(topic, &MessageRef::NULL, event, json, meta.as_deref()))
                    }
                    (None, Body::Bytes(_)) => None,
                }
            }
        }
    }

    /// A stored broadcast, for the one channel that asked for it; `None` when it cannot be shown in this dialect.
    ///
    /// Unlike one that is sent to many, JSON goes as text and carries the channel's `join_ref`.
    pub fn replayed(
        self,
        topic: &str,
        join_ref: &MessageRef<'_>,
        event: &str,
        body: &Body<'_>,
        meta: &str,
    ) -> Option<Bytes> {
        match (self, body) {
            (_, Body::Json(json)) => Some(self.user_text(topic, join_ref, event, json, Some(meta))),
            (Self::V1, Body::Bytes(_)) => None,
            (Self::V2, Body::Bytes(_)) => {
                binary::write_user_broadcast(topic, event, meta, body).map(FrameWriter::finish)
            }
        }
    }

    fn user_text(
        self,
        topic: &str,
        join_ref: &MessageRef<'_>,
        event: &str,
        body: &str,
        meta: Option<&str>,
    ) -> Bytes {
        let room = event.len() + body.len() + meta.map_or(0, str::len) + 64;
        self.message(join_ref, &MessageRef::NULL, topic, "broadcast", room, |frame| {
            frame.put("{\"event\":");
            frame.put_string(event);
            if let Some(meta) = meta {
                frame.put(",\"meta\":");
                frame.put(meta);
            }
            frame.put(",\"payload\":");
            frame.put(body);
            frame.put(",\"type\":\"broadcast\"}");
        })
    }

    fn message(
        self,
        join_ref: &MessageRef<'_>,
        reference: &MessageRef<'_>,
        topic: &str,
        event: &str,
        payload_bytes: usize,
        payload: impl FnOnce(&mut FrameWriter),
    ) -> Bytes {
        let refs = join_ref.json().len() + reference.json().len();
        let mut frame = FrameWriter::text(ENVELOPE_BYTES + refs + topic.len() + event.len() + payload_bytes);
        match self {
            Self::V1 => v1::write(&mut frame, reference, topic, event, payload),
            Self::V2 => v2::write(&mut frame, join_ref, reference, topic, event, payload),
        }
        frame.finish()
    }
}

/// The payload of a text broadcast whose parts are known. `body` is JSON text; `id` goes into its `meta`.
pub fn broadcast_payload(event: &str, body: &str, id: Option<&str>) -> String {
    let event = serde_json::Value::from(event);
    match id.map(serde_json::Value::from) {
        None => format!("{{\"event\":{event},\"payload\":{body},\"type\":\"broadcast\"}}"),
        Some(id) => format!(
            "{{\"event\":{event},\"meta\":{{\"id\":{id}}},\"payload\":{body},\"type\":\"broadcast\"}}"
        ),
    }
}

/// A database change for all channels of one topic with the same bindings and dialect.
///
/// `data` is the change as JSON text. `legacy` is `Some` with the kind of change (`INSERT`, `UPDATE` or `DELETE`)
/// for channels that joined without `config`: it becomes the event, and the change is the whole payload, without
/// `ids`.
pub fn changes_frame(dialect: Dialect, legacy: Option<&str>, topic: &str, ids: &[u32], data: &str) -> Bytes {
    if let Some(event) = legacy {
        return dialect.push(topic, &MessageRef::NULL, event, data);
    }
    let room = data.len() + ids.len().saturating_mul(11) + 32;
    dialect.message(&MessageRef::NULL, &MessageRef::NULL, topic, "postgres_changes", room, |frame| {
        frame.put("{\"data\":");
        frame.put(data);
        frame.put(",\"ids\":[");
        for (index, id) in ids.iter().enumerate() {
            if index > 0 {
                frame.put(",");
            }
            frame.put(&id.to_string());
        }
        frame.put("]}");
    })
}

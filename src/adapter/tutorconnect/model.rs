//! TutorConnect on the wire: what its app sends and gets, in camelCase; its `chatId` is a conversation's id.
//!
//! What is answered is read from the JSON of the messaging functions, whose names are those of the columns, and
//! written with the app's: each field says both. Ids and times are passed on as Postgres writes them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// `POST /api/chat/realtime`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) chat: Uuid,
    pub(super) action: Action,
    pub(super) wants: Wants,
}

/// Whether interest begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Subscribe,
    Unsubscribe,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

/// What is wanted beside messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) presence: bool,
    pub(super) typing: bool,
    pub(super) read_receipts: bool,
}

/// `PUT /api/chat/realtime` and `POST /api/messages/typing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TypingChange {
    pub(super) chat: Uuid,
    pub(super) is_typing: bool,
    pub(super) expires_in_seconds: Option<i32>,
}

/// `POST /api/messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewMessage {
    pub(super) chat: Uuid,
    pub(super) content: String,
    pub(super) kind: Option<String>,
    pub(super) reply_to: Option<Uuid>,
    pub(super) receiver: Option<Uuid>,
    pub(super) client_message_id: Option<String>,
    pub(super) attachments: Vec<NewAttachment>,
}

/// A file that a message points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewAttachment {
    pub(super) url: String,
    pub(super) name: Option<String>,
    pub(super) size: Option<i32>,
    pub(super) mime_type: Option<String>,
}

/// `POST /api/messages/read-receipts`: what has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    One(Uuid),
    Many(Vec<Uuid>),
    Chat(Uuid),
}

/// A message.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Message {
    pub(super) id: String,
    #[serde(rename(serialize = "chatId"))]
    pub(super) conversation_id: String,
    pub(super) sender_id: Option<String>,
    pub(super) sender_customer_id: Option<String>,
    pub(super) sender_type: String,
    pub(super) sender_name: Option<String>,
    pub(super) sender_role: Option<String>,
    pub(super) receiver_id: Option<String>,
    pub(super) content: String,
    #[serde(rename(serialize = "type"))]
    pub(super) message_type: String,
    pub(super) reply_to_id: Option<String>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) client_message_id: Option<String>,
    pub(super) edited_at: Option<String>,
    pub(super) deleted_at: Option<String>,
    pub(super) created_at: String,
    pub(super) updated_at: Option<String>,
}

/// A message with what has become of it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct ListedMessage {
    #[serde(flatten)]
    pub(super) message: Message,
    /// Of the caller's own messages.
    pub(super) status: Option<String>,
    pub(super) reactions: Vec<Reaction>,
    pub(super) read_by: Vec<Reader>,
}

/// A file that a message points at.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Attachment {
    pub(super) url: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) size: Option<i64>,
    #[serde(default)]
    pub(super) mime_type: Option<String>,
}

/// A reaction.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Reaction {
    pub(super) user_id: Option<String>,
    pub(super) customer_id: Option<String>,
    pub(super) emoji: String,
    pub(super) created_at: String,
}

/// Who has read a message.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Reader {
    pub(super) user_id: Option<String>,
    pub(super) customer_id: Option<String>,
    pub(super) read_at: String,
}

/// A chat as `get_conversation` tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) title: Option<String>,
    pub(super) participants: Vec<Participant>,
    pub(super) last_message: Option<ListedMessage>,
    pub(super) last_message_at: Option<String>,
    pub(super) unread_count: i64,
    pub(super) is_archived: bool,
    #[serde(default)]
    pub(super) metadata: Map<String, Value>,
}

/// One who takes part.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Participant {
    pub(super) user_id: Option<String>,
    pub(super) customer_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) role: Option<String>,
    pub(super) joined_at: Option<String>,
    pub(super) last_read_at: Option<String>,
    pub(super) status: String,
    pub(super) last_seen_at: Option<String>,
    #[serde(default)]
    pub(super) is_online: bool,
    #[serde(default)]
    pub(super) is_typing: bool,
}

/// A row of `message_typing_indicators`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Typing {
    #[serde(rename(serialize = "chatId"))]
    pub(super) conversation_id: String,
    pub(super) user_id: Option<String>,
    pub(super) customer_id: Option<String>,
    pub(super) is_typing: bool,
    pub(super) started_at: Option<String>,
    pub(super) expires_at: Option<String>,
}

/// A row of `message_read_receipts`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Receipt {
    pub(super) id: String,
    pub(super) message_id: String,
    #[serde(rename(serialize = "chatId"))]
    pub(super) conversation_id: String,
    #[serde(rename(serialize = "userId"))]
    pub(super) read_by_user_id: Option<String>,
    #[serde(rename(serialize = "customerId"))]
    pub(super) read_by_customer_id: Option<String>,
    pub(super) read_at: String,
}

/// `GET /api/chat/realtime`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChatStatus {
    pub(super) chat_id: String,
    pub(super) kind: String,
    pub(super) title: Option<String>,
    pub(super) participants: Vec<Participant>,
    pub(super) online_users: Vec<String>,
    pub(super) typing_users: Vec<Typing>,
    pub(super) unread_count: i64,
    pub(super) last_message: Option<ListedMessage>,
    pub(super) last_message_at: Option<String>,
    pub(super) is_archived: bool,
    /// What else the app keeps with it, such as an appointment.
    pub(super) metadata: Map<String, Value>,
}

/// What to join, the answer to [`Interest`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Joining {
    pub(super) chat_id: String,
    pub(super) action: &'static str,
    pub(super) user_id: Option<String>,
    pub(super) customer_id: Option<String>,
    pub(super) channels: Vec<Channel>,
    pub(super) topics: Vec<String>,
    pub(super) features: Features,
}

/// What the channels carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Features {
    pub(super) messages: bool,
    pub(super) reactions: bool,
    pub(super) delivery_status: bool,
    pub(super) participants: bool,
    pub(super) typing: bool,
    pub(super) read_receipts: bool,
    pub(super) presence: bool,
}

/// One channel: `client.channel(name, { config })`, with one `on('postgres_changes', …)` for each binding.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) topic: String,
    pub(super) config: ChannelConfig,
    pub(super) postgres_changes: Vec<Binding>,
}

/// The options of a channel.
#[derive(Debug, Serialize)]
pub(super) struct ChannelConfig {
    pub(super) private: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) presence: Option<PresenceKey>,
}

/// Under which key one is tracked: one's own id, so that several devices are one person.
#[derive(Debug, Serialize)]
pub(super) struct PresenceKey {
    pub(super) key: String,
}

/// The filter of `postgres_changes`.
#[derive(Debug, Serialize)]
pub(super) struct Binding {
    pub(super) event: &'static str,
    pub(super) schema: &'static str,
    pub(super) table: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<String>,
}

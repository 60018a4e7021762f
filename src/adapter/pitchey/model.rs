//! What Pitchey's clients read: frames and bodies, with the names that they have there.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    /// Its id.
    pub(super) message_id: Uuid,
    /// Where it was sent.
    pub(super) conversation_id: Uuid,
    /// Who sent it, a user or a customer.
    pub(super) sender_id: Option<Uuid>,
    /// `customer` or `staff`.
    pub(super) sender_type: Option<String>,
    /// What the sender is called.
    pub(super) sender_name: Option<String>,
    /// Whom it is for, where its sender has said so.
    pub(super) recipient_id: Option<Uuid>,
    /// The text; empty once it is deleted.
    pub(super) content: String,
    /// `text`, `image`, `file` or `system`.
    pub(super) message_type: String,
    /// The message that it answers.
    pub(super) reply_to_id: Option<Uuid>,
    /// Files.
    pub(super) attachments: Vec<Attachment>,
    /// What its sender's device calls it.
    pub(super) client_message_id: Option<String>,
    /// When it was sent.
    pub(super) created_at: String,
    /// When it was edited last.
    pub(super) edited_at: Option<String>,
    /// When it was deleted.
    pub(super) deleted_at: Option<String>,
}

/// A file that comes with a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attachment {
    /// Where it is.
    pub(super) url: Value,
    /// What it is called.
    pub(super) name: Value,
    /// Its bytes.
    pub(super) size: Value,
    /// What it is.
    pub(super) mime_type: Value,
}

/// A message in a list, with what has become of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedMessage {
    /// The message.
    #[serde(flatten)]
    pub(super) message: Message,
    /// Of the caller's own messages: `sent`, `delivered`, `read` or `failed`, whichever the last of its recipients has.
    pub(super) status: Option<String>,
    /// Who has reacted.
    pub(super) reactions: Vec<Reaction>,
    /// Who has read it.
    pub(super) read_by: Vec<Reader>,
}

/// A reaction to a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reaction {
    /// Who.
    pub(super) user_id: Option<Uuid>,
    /// How.
    pub(super) emoji: String,
}

/// Somebody who has read a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reader {
    /// Who.
    pub(super) user_id: Option<Uuid>,
    /// When.
    pub(super) read_at: String,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conversation {
    /// Its id.
    pub(super) id: Uuid,
    /// `direct`, `group` or `support`.
    pub(super) kind: String,
    /// What it is called.
    pub(super) title: Option<String>,
    /// Who takes part.
    pub(super) participants: Vec<Participant>,
    /// Its last message.
    pub(super) last_message: Option<ListedMessage>,
    /// When that was sent.
    pub(super) last_message_at: Option<String>,
    /// How many messages of others the caller has not read.
    pub(super) unread_count: u64,
    /// Whether it is archived.
    pub(super) is_archived: bool,
    /// What else the app keeps with it.
    pub(super) metadata: Value,
    /// When it was started.
    pub(super) created_at: String,
}

/// Somebody who takes part in a conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Participant {
    /// Who, a user or a customer.
    pub(super) user_id: Option<Uuid>,
    /// What they are called.
    pub(super) name: Option<String>,
    /// What they are in the conversation.
    pub(super) role: Option<String>,
    /// Since when.
    pub(super) joined_at: Option<String>,
    /// How far they have read.
    pub(super) last_read_at: Option<String>,
    /// Whether they are here.
    pub(super) is_online: bool,
    /// When they were here last.
    pub(super) last_seen_at: Option<String>,
}

/// A frame for a client.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum Frame {
    Connected {
        user_id: Uuid,
    },
    Pong,
    NewMessage(Box<Message>),
    MessageSent {
        message_id: Uuid,
        conversation_id: Uuid,
        client_message_id: Option<String>,
        created_at: String,
    },
    MessageEdited {
        message_id: Uuid,
        conversation_id: Uuid,
        content: String,
        edited_at: Option<String>,
    },
    MessageDeleted {
        message_id: Uuid,
        conversation_id: Uuid,
    },
    MessageRead {
        message_id: Uuid,
        conversation_id: Uuid,
        read_by: Uuid,
        read_at: String,
    },
    MessageDelivered {
        message_id: Uuid,
        conversation_id: Uuid,
        delivered_to: Uuid,
    },
    ReactionAdded {
        message_id: Uuid,
        conversation_id: Uuid,
        user_id: Uuid,
        emoji: String,
    },
    ReactionRemoved {
        message_id: Uuid,
        conversation_id: Uuid,
        user_id: Uuid,
        emoji: String,
    },
    UserTyping {
        user_id: Uuid,
        conversation_id: Uuid,
        is_typing: bool,
    },
    UserOnline {
        user_id: Uuid,
        username: Option<String>,
    },
    UserOffline {
        user_id: Uuid,
        username: Option<String>,
        last_seen_at: Option<String>,
    },
    ConversationHistory {
        conversation_id: Uuid,
        messages: Vec<ListedMessage>,
        has_more: bool,
    },
    Error {
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        client_message_id: Option<String>,
    },
}

/// What is said when the stream of changes breaks.
pub(super) const INTERRUPTED: &str = "Live messages are interrupted; connect again";

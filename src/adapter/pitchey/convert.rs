//! Between Pitchey's names and those of the messaging schema: frames and bodies → calls, rows and events → frames.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::model::{Attachment, Conversation, Frame, ListedMessage, Message, Participant, Reaction, Reader};
use crate::adapter::Error;
use crate::adapter::conversation::{self, Event, is_online};
use crate::adapter::fields::{content, optional_message_type};
use crate::adapter::request::{id, optional_id, optional_text, returned, text};
use crate::postgres::messaging::Person;

/// The fields of a frame or a body.
type Fields = Map<String, Value>;

/// A frame of a client that is to be answered by a call.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    /// The type of the frame.
    pub(super) request: &'static str,
    /// What the client's device calls what it sends.
    pub(super) client_message_id: Option<String>,
    pub(super) what: What,
}

/// What is called.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// Send a message.
    Send(Sending),
    /// Read the latest messages of a conversation.
    Join(Uuid),
    /// Any other function, whose result nobody is told by itself: there is an event.
    Function(&'static str, Value),
}

/// A message on its way.
#[derive(Debug, PartialEq)]
pub(super) struct Sending {
    /// Where to; without one a direct conversation with the recipient is found or started.
    pub(super) conversation_id: Option<Uuid>,
    pub(super) recipient_id: Option<Uuid>,
    /// Arguments of `send_message`, without the conversation's.
    pub(super) arguments: Map<String, Value>,
}

impl Sending {
    /// Reads the fields of a frame or a body.
    pub(super) fn read(fields: &Fields) -> Result<Self, Error> {
        let conversation_id = optional_id(fields, "conversationId")?;
        let recipient_id = optional_id(fields, "recipientId")?;
        if conversation_id.is_none() && recipient_id.is_none() {
            return Err(Error::missing("conversationId"));
        }
        let attachments = attachments(fields.get("attachments"))?;
        let arguments = json!({
            "content": content(fields, !attachments.is_null())?,
            "message_type": optional_message_type(fields, "messageType")?,
            "reply_to_id": optional_id(fields, "replyToId")?,
            "attachments": attachments,
            "client_message_id": optional_text(fields, "clientMessageId")?,
            "receiver_id": recipient_id,
        });
        let Value::Object(arguments) = arguments else { return Err(Error::NotAnObject) };
        Ok(Self { conversation_id, recipient_id, arguments })
    }

    /// The arguments, once the conversation is known.
    pub(super) fn to(mut self, conversation_id: Uuid) -> Value {
        self.arguments.insert("conversation_id".to_owned(), json!(conversation_id));
        Value::Object(self.arguments)
    }
}

fn attachments(value: Option<&Value>) -> Result<Value, Error> {
    let invalid = || Error::invalid("attachments");
    let files = match value {
        None | Some(Value::Null) => return Ok(Value::Null),
        Some(Value::Array(files)) if files.is_empty() => return Ok(Value::Null),
        Some(Value::Array(files)) => files,
        Some(_) => return Err(invalid()),
    };
    let renamed = files.iter().map(|file| {
        let file = file.as_object().ok_or_else(invalid)?;
        let field = |name: &str| file.get(name).cloned().unwrap_or(Value::Null);
        let mime_type = match field("mimeType") {
            Value::Null => field("mime_type"),
            given => given,
        };
        Ok(json!({ "url": field("url"), "name": field("name"), "size": field("size"), "mime_type": mime_type }))
    });
    renamed.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// How the fields of a frame are read.
type Read = fn(&Fields) -> Result<What, Error>;

/// The types of clients' frames, and what is read of the fields of each. A `ping` asks for nothing.
pub(super) static FRAMES: &[(&str, Read)] = &[
    ("send_message", |fields| Sending::read(fields).map(What::Send)),
    ("join_conversation", |fields| id(fields, "conversationId").map(What::Join)),
    ("message_read", |fields| about_message("mark_message_as_read", fields)),
    ("typing_start", |fields| typing(fields, true)),
    ("typing_stop", |fields| typing(fields, false)),
    ("edit_message", |fields| {
        let arguments =
            json!({ "message_id": id(fields, "messageId")?, "content": text(fields, "content")? });
        Ok(What::Function("edit_message", arguments))
    }),
    ("delete_message", |fields| about_message("delete_message", fields)),
    ("add_reaction", |fields| reaction("add_message_reaction", fields)),
    ("remove_reaction", |fields| reaction("remove_message_reaction", fields)),
];

fn about_message(function: &'static str, fields: &Fields) -> Result<What, Error> {
    Ok(What::Function(function, json!({ "message_id": id(fields, "messageId")? })))
}

fn typing(fields: &Fields, is_typing: bool) -> Result<What, Error> {
    let arguments = json!({ "conversation_id": id(fields, "conversationId")?, "is_typing": is_typing });
    Ok(What::Function("update_typing_indicator", arguments))
}

fn reaction(function: &'static str, fields: &Fields) -> Result<What, Error> {
    let arguments = json!({ "message_id": id(fields, "messageId")?, "emoji": text(fields, "emoji")? });
    Ok(What::Function(function, arguments))
}

/// What a client's frame asks for.
pub(super) fn call(kind: &str, fields: &Fields) -> Result<Call, Error> {
    let (request, read) = FRAMES.iter().find(|(name, _)| *name == kind).ok_or(Error::UnknownType)?;
    let what = read(fields)?;
    Ok(Call { request, client_message_id: client_message_id(fields)?, what })
}

/// A frame that cannot be read is refused by its type, if that is known, and by what the client's device calls it.
pub(super) fn unread(kind: &str, fields: &Fields, error: &Error) -> Frame {
    let request = FRAMES.iter().map(|(name, _)| *name).find(|name| *name == kind);
    refused(error, request, client_message_id(fields).unwrap_or_default())
}

fn client_message_id(fields: &Fields) -> Result<Option<String>, Error> {
    Ok(optional_text(fields, "clientMessageId")?.map(str::to_owned))
}

/// A frame that says why something is refused.
pub(super) fn refused(
    error: &Error,
    request: Option<&'static str>,
    client_message_id: Option<String>,
) -> Frame {
    Frame::Error { message: error.to_string(), retry_after: error.retry_after(), request, client_message_id }
}

/// What a client is told of an event; nothing of those that its protocol does not know.
pub(super) fn frame(event: &Event) -> Option<Frame> {
    Some(match event {
        Event::Sent(message) => Frame::NewMessage(Box::new(self::message(message))),
        Event::Edited(message) => Frame::MessageEdited {
            message_id: message.id,
            conversation_id: message.conversation_id,
            content: message.content.clone(),
            edited_at: message.edited_at.clone(),
        },
        Event::Deleted(message) => {
            Frame::MessageDeleted { message_id: message.id, conversation_id: message.conversation_id }
        }
        Event::Reaction { message_id, conversation_id, person, emoji, is_added } => {
            let (message_id, conversation_id, user_id) = (*message_id, *conversation_id, person.id());
            let emoji = emoji.clone();
            if *is_added {
                Frame::ReactionAdded { message_id, conversation_id, user_id, emoji }
            } else {
                Frame::ReactionRemoved { message_id, conversation_id, user_id, emoji }
            }
        }
        Event::Read { message_id, conversation_id, reader, read_at } => Frame::MessageRead {
            message_id: *message_id,
            conversation_id: *conversation_id,
            read_by: reader.id(),
            read_at: read_at.clone(),
        },
        Event::Typing { conversation_id, person, is_typing, .. } => Frame::UserTyping {
            user_id: person.id(),
            conversation_id: *conversation_id,
            is_typing: *is_typing,
        },
        Event::Presence { person, name, status, last_seen_at } => {
            let (user_id, username) = (person.id(), name.clone());
            if is_online(status) {
                Frame::UserOnline { user_id, username }
            } else {
                Frame::UserOffline { user_id, username, last_seen_at: last_seen_at.clone() }
            }
        }
        // That a message was read is told with its receipt.
        Event::Delivered { message_id, conversation_id, recipient_id, status } if status == "delivered" => {
            Frame::MessageDelivered {
                message_id: *message_id,
                conversation_id: *conversation_id,
                delivered_to: *recipient_id,
            }
        }
        Event::Delivered { .. } | Event::Participation { .. } => return None,
    })
}

/// Whoever an event is about, where it is nothing that they need to be told themselves.
pub(super) fn of_no_news_to(event: &Event) -> Option<Person> {
    match event {
        Event::Typing { person, .. } | Event::Presence { person, .. } => Some(*person),
        _ => None,
    }
}

fn message(row: &conversation::Message) -> Message {
    Message {
        message_id: row.id,
        conversation_id: row.conversation_id,
        sender_id: row.sender().map(Person::id),
        sender_type: row.sender_type.clone(),
        sender_name: row.sender_name.clone(),
        recipient_id: row.receiver_id,
        content: row.content.clone(),
        message_type: row.message_type.clone(),
        reply_to_id: row.reply_to_id,
        attachments: row
            .attachments
            .as_array()
            .map_or_else(Vec::new, |files| files.iter().map(file).collect()),
        client_message_id: row.client_message_id.clone(),
        created_at: row.created_at.clone(),
        edited_at: row.edited_at.clone(),
        deleted_at: row.deleted_at.clone(),
    }
}

fn file(file: &Value) -> Attachment {
    let field = |name: &str| file.get(name).cloned().unwrap_or(Value::Null);
    Attachment { url: field("url"), name: field("name"), size: field("size"), mime_type: field("mime_type") }
}

/// The body of a refusal.
pub(super) fn refusal(error: &Error) -> Value {
    match error.retry_after() {
        Some(seconds) => json!({ "success": false, "error": error.to_string(), "retryAfter": seconds }),
        None => json!({ "success": false, "error": error.to_string() }),
    }
}

/// A message as the schema's functions list it.
#[derive(Deserialize)]
struct MessageRow {
    #[serde(flatten)]
    message: conversation::Message,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    reactions: Vec<ReactionRow>,
    #[serde(default)]
    read_by: Vec<ReaderRow>,
}

#[derive(Deserialize)]
struct ReactionRow {
    user_id: Option<Uuid>,
    customer_id: Option<Uuid>,
    emoji: String,
}

#[derive(Deserialize)]
struct ReaderRow {
    user_id: Option<Uuid>,
    customer_id: Option<Uuid>,
    read_at: String,
}

#[derive(Deserialize)]
struct ConversationRow {
    id: Uuid,
    kind: String,
    title: Option<String>,
    participants: Vec<ParticipantRow>,
    last_message: Option<MessageRow>,
    last_message_at: Option<String>,
    #[serde(default)]
    unread_count: u64,
    #[serde(default)]
    is_archived: bool,
    #[serde(default)]
    metadata: Value,
    created_at: String,
}

#[derive(Deserialize)]
struct ParticipantRow {
    user_id: Option<Uuid>,
    customer_id: Option<Uuid>,
    name: Option<String>,
    role: Option<String>,
    joined_at: Option<String>,
    last_read_at: Option<String>,
    status: Option<String>,
    last_seen_at: Option<String>,
}

/// The message that a function gave.
pub(super) fn sent(value: Value) -> Result<Message, Error> {
    returned::<conversation::Message>(value).map(|row| message(&row))
}

/// The messages that a function gave.
pub(super) fn messages(value: Value) -> Result<Vec<ListedMessage>, Error> {
    returned::<Vec<MessageRow>>(value).map(|rows| rows.into_iter().map(listed_message).collect())
}

/// The conversations that a function gave.
pub(super) fn conversations(value: Value) -> Result<Vec<Conversation>, Error> {
    returned::<Vec<ConversationRow>>(value).map(|rows| rows.into_iter().map(conversation).collect())
}

/// The id of the conversation that a function gave.
pub(super) fn conversation_id(value: &Value) -> Result<Uuid, Error> {
    let id = value.get("id").and_then(Value::as_str).and_then(|id| Uuid::try_parse(id).ok());
    id.ok_or(Error::NotSetUp)
}

fn listed_message(row: MessageRow) -> ListedMessage {
    let reactions = row.reactions.into_iter().map(|reaction| Reaction {
        user_id: reaction.user_id.or(reaction.customer_id),
        emoji: reaction.emoji,
    });
    let read_by = row
        .read_by
        .into_iter()
        .map(|reader| Reader { user_id: reader.user_id.or(reader.customer_id), read_at: reader.read_at });
    ListedMessage {
        message: message(&row.message),
        status: row.status,
        reactions: reactions.collect(),
        read_by: read_by.collect(),
    }
}

fn conversation(row: ConversationRow) -> Conversation {
    let participants = row.participants.into_iter().map(|participant| Participant {
        user_id: participant.user_id.or(participant.customer_id),
        name: participant.name,
        role: participant.role,
        joined_at: participant.joined_at,
        last_read_at: participant.last_read_at,
        is_online: participant.status.as_deref().is_some_and(is_online),
        last_seen_at: participant.last_seen_at,
    });
    Conversation {
        id: row.id,
        kind: row.kind,
        title: row.title,
        participants: participants.collect(),
        last_message: row.last_message.map(listed_message),
        last_message_at: row.last_message_at,
        unread_count: row.unread_count,
        is_archived: row.is_archived,
        metadata: row.metadata,
        created_at: row.created_at,
    }
}

/// What a value may be.
type Fits = fn(&Value) -> bool;

/// Pitchey's names of notification preferences, the schema's, and what each may be.
const PREFERENCES: [(&str, &str, Fits); 8] = [
    ("email", "email", Value::is_boolean),
    ("push", "push", Value::is_boolean),
    ("inApp", "in_app", Value::is_boolean),
    ("newMessage", "new_message", Value::is_boolean),
    ("mentions", "mentions", Value::is_boolean),
    ("quietHoursStart", "quiet_hours_start", is_text_or_null),
    ("quietHoursEnd", "quiet_hours_end", is_text_or_null),
    ("timeZone", "time_zone", Value::is_string),
];

fn is_text_or_null(value: &Value) -> bool {
    value.is_string() || value.is_null()
}

/// The changes that a body asks for.
pub(super) fn changes(fields: Fields) -> Result<Value, Error> {
    let renamed = fields.into_iter().map(|(name, value)| {
        let known = PREFERENCES.iter().find(|(ours, ..)| *ours == name);
        let (name, column, fits) =
            known.ok_or_else(|| Error::Invalid("This preference is not known".to_owned()))?;
        if fits(&value) { Ok(((*column).to_owned(), value)) } else { Err(Error::invalid(name)) }
    });
    renamed.collect::<Result<Map<_, _>, Error>>().map(Value::Object)
}

/// The preferences that a function gave.
pub(super) fn preferences(value: &Value) -> Value {
    let renamed = PREFERENCES
        .iter()
        .map(|(name, column, _)| ((*name).to_owned(), value.get(column).cloned().unwrap_or(Value::Null)));
    Value::Object(renamed.collect())
}

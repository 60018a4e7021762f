//! What conversations are made of, whatever an app calls it: the rows of the messaging schema as the feed writes them.
//!
//! In: the text of one change. Out: an [`Event`], nothing where the change is nothing that anybody is told, or
//! [`Unreadable`]. Rows are written by many, so nothing about them is taken for granted.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::postgres::messaging::Person;

/// About how much memory an attachment has at most.
const ATTACHMENT_BYTES: usize = 4096;

/// A table of the messaging schema whose changes sockets hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Messages: sent, edited, deleted.
    Messages,
    /// Reactions: added and removed.
    Reactions,
    /// Receipts: read.
    Receipts,
    /// Who types.
    Typing,
    /// Who is here.
    Presence,
    /// How far messages have got.
    Deliveries,
    /// Who takes part.
    Participants,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Messages,
        Self::Reactions,
        Self::Receipts,
        Self::Typing,
        Self::Presence,
        Self::Deliveries,
        Self::Participants,
    ];

    /// Its name in Postgres.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Reactions => "message_reactions",
            Self::Receipts => "message_read_receipts",
            Self::Typing => "message_typing_indicators",
            Self::Presence => "user_presence",
            Self::Deliveries => "message_delivery_status",
            Self::Participants => "conversation_participants",
        }
    }

    /// Which of its changes are followed: `sent` is the state that every delivery begins with, and no news.
    pub fn event(self) -> &'static str {
        match self {
            Self::Deliveries => "UPDATE",
            Self::Receipts => "INSERT",
            _ => "*",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// A row of `messages`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// Where it was sent.
    pub conversation_id: Uuid,
    /// The user who sent it.
    #[serde(default)]
    pub sender_id: Option<Uuid>,
    /// The customer who sent it.
    #[serde(default)]
    pub sender_customer_id: Option<Uuid>,
    /// `customer` or `staff`.
    #[serde(default)]
    pub sender_type: Option<String>,
    /// Whom it is for, where its sender has said so.
    #[serde(default)]
    pub receiver_id: Option<Uuid>,
    /// The text; empty once it is deleted.
    #[serde(default)]
    pub content: String,
    /// `text`, `image`, `file` or `system`.
    #[serde(default)]
    pub message_type: String,
    /// The message that it answers.
    #[serde(default)]
    pub reply_to_id: Option<Uuid>,
    /// Files, as an array of `{url, name, size, mime_type}`.
    #[serde(default)]
    pub attachments: Value,
    /// What its sender's device calls it.
    #[serde(default)]
    pub client_message_id: Option<String>,
    /// When it was edited last.
    #[serde(default)]
    pub edited_at: Option<String>,
    /// When it was deleted.
    #[serde(default)]
    pub deleted_at: Option<String>,
    /// When it was sent.
    #[serde(default)]
    pub created_at: String,
    /// What its sender is called.
    #[serde(default)]
    pub sender_name: Option<String>,
    /// What its sender is: a teacher, a coach.
    #[serde(default)]
    pub sender_role: Option<String>,
    /// The transaction that brought it, as Postgres prints it; missing from what functions return.
    #[serde(default)]
    pub inserted_in: Option<String>,
}

impl Message {
    /// Who sent it; nobody, if the sender's account is gone.
    pub fn sender(&self) -> Option<Person> {
        person(self.sender_id, self.sender_customer_id)
    }
}

/// What has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message was sent.
    Sent(Message),
    /// It has another content.
    Edited(Message),
    /// It was deleted; what is left of it has no content.
    Deleted(Message),
    /// Somebody has reacted to a message, or no longer does.
    Reaction {
        /// The message.
        message_id: Uuid,
        /// Its conversation.
        conversation_id: Uuid,
        /// Who.
        person: Person,
        /// How.
        emoji: String,
        /// Whether it was added; else it was removed.
        is_added: bool,
    },
    /// Somebody has read a message.
    Read {
        /// The message.
        message_id: Uuid,
        /// Its conversation.
        conversation_id: Uuid,
        /// Who.
        reader: Person,
        /// When.
        read_at: String,
    },
    /// Somebody types, or no longer does.
    Typing {
        /// Where.
        conversation_id: Uuid,
        /// Who.
        person: Person,
        /// Whether they do.
        is_typing: bool,
        /// Until when at most.
        expires_at: Option<String>,
    },
    /// Somebody's presence was written; it may be what it was before.
    Presence {
        /// Whose.
        person: Person,
        /// What they are called.
        name: Option<String>,
        /// `online`, `away`, `busy` or `offline`.
        status: String,
        /// When they were here last.
        last_seen_at: Option<String>,
    },
    /// A message has got further on its way to somebody.
    Delivered {
        /// The message.
        message_id: Uuid,
        /// Its conversation.
        conversation_id: Uuid,
        /// To whom.
        recipient_id: Uuid,
        /// `delivered`, `read` or `failed`.
        status: String,
    },
    /// Who takes part in a conversation has changed, or how far they have read.
    Participation {
        /// The conversation.
        conversation_id: Uuid,
        /// Who.
        person: Person,
        /// Whether they take part now.
        takes_part: bool,
        /// How far they have read.
        last_read_at: Option<String>,
    },
}

impl Event {
    /// About how much memory it has.
    pub fn bytes(&self) -> usize {
        let held = match self {
            Self::Sent(message) | Self::Edited(message) | Self::Deleted(message) => {
                let files = message.attachments.as_array().map_or(0, Vec::len);
                message.content.len() + files * ATTACHMENT_BYTES
            }
            _ => 0,
        };
        size_of::<Self>() + held
    }

    /// The conversation that it belongs to; none for presence.
    pub fn conversation_id(&self) -> Option<Uuid> {
        match self {
            Self::Sent(message) | Self::Edited(message) | Self::Deleted(message) => {
                Some(message.conversation_id)
            }
            Self::Reaction { conversation_id, .. }
            | Self::Read { conversation_id, .. }
            | Self::Typing { conversation_id, .. }
            | Self::Delivered { conversation_id, .. }
            | Self::Participation { conversation_id, .. } => Some(*conversation_id),
            Self::Presence { .. } => None,
        }
    }
}

/// Whether somebody with that status can be reached, be they away or busy.
pub fn is_online(status: &str) -> bool {
    status != "offline"
}

/// A change whose text is not what a table of the schema makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change is not one of the messaging schema's")]
pub struct Unreadable;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    data: Change<'a>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    table: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    event: Cow<'a, str>,
    /// There are some where the row is not shown, or its long values are left out.
    #[serde(default)]
    errors: Option<IgnoredAny>,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    old_record: Option<&'a RawValue>,
}

/// Reads what `list_presence` gives, as if each of these people had just come.
pub fn who_is_there(rows: Value) -> Result<Vec<Event>, Unreadable> {
    let rows: Vec<Presence> = serde_json::from_value(rows).map_err(|_| Unreadable)?;
    rows.into_iter().map(Presence::event).collect()
}

/// Reads the text of a change as version 1 of the protocol writes it.
pub fn read(text: &str) -> Result<Option<Event>, Unreadable> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|_| Unreadable)?;
    let change = frame.payload.data;
    let table = Table::named(&change.table).ok_or(Unreadable)?;
    if change.errors.is_some() {
        return Err(Unreadable);
    }
    match table {
        // Of a row that the subscriber may not have seen whole there is the key, which tells nobody anything.
        _ if change.is_key() => Ok(None),
        Table::Messages => change.message(),
        Table::Reactions => change.reaction().map(Some),
        Table::Receipts => change.receipt().map(Some),
        Table::Typing => change.typing().map(Some),
        Table::Presence => change.presence(),
        Table::Deliveries => change.delivery().map(Some),
        Table::Participants => change.participation().map(Some),
    }
}

fn row<T: DeserializeOwned>(record: Option<&RawValue>) -> Result<T, Unreadable> {
    serde_json::from_str(record.ok_or(Unreadable)?.get()).map_err(|_| Unreadable)
}

fn person(user_id: Option<Uuid>, customer_id: Option<Uuid>) -> Option<Person> {
    user_id.map(Person::User).or(customer_id.map(Person::Customer))
}

/// What an update was before, as far as the subscriber may know it.
#[derive(Default, Deserialize)]
struct Before {
    #[serde(default)]
    edited_at: Option<String>,
    #[serde(default)]
    deleted_at: Option<String>,
}

#[derive(Deserialize)]
struct Reaction {
    message_id: Uuid,
    conversation_id: Uuid,
    #[serde(default)]
    user_id: Option<Uuid>,
    #[serde(default)]
    customer_id: Option<Uuid>,
    emoji: String,
}

#[derive(Deserialize)]
struct Receipt {
    message_id: Uuid,
    conversation_id: Uuid,
    #[serde(default)]
    read_by_user_id: Option<Uuid>,
    #[serde(default)]
    read_by_customer_id: Option<Uuid>,
    read_at: String,
}

#[derive(Deserialize)]
struct Typing {
    conversation_id: Uuid,
    #[serde(default)]
    user_id: Option<Uuid>,
    #[serde(default)]
    customer_id: Option<Uuid>,
    #[serde(default)]
    is_typing: bool,
    #[serde(default)]
    expires_at: Option<String>,
}

#[derive(Deserialize)]
struct Presence {
    #[serde(default)]
    user_id: Option<Uuid>,
    #[serde(default)]
    customer_id: Option<Uuid>,
    status: String,
    #[serde(default)]
    last_seen_at: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Delivery {
    message_id: Uuid,
    conversation_id: Uuid,
    recipient_id: Uuid,
    status: String,
}

#[derive(Deserialize)]
struct Participant {
    conversation_id: Uuid,
    #[serde(default)]
    user_id: Option<Uuid>,
    #[serde(default)]
    customer_id: Option<Uuid>,
    #[serde(default)]
    left_at: Option<String>,
    #[serde(default)]
    last_read_at: Option<String>,
}

impl Presence {
    fn event(self) -> Result<Event, Unreadable> {
        let Self { user_id, customer_id, status, last_seen_at, name } = self;
        let person = person(user_id, customer_id).ok_or(Unreadable)?;
        Ok(Event::Presence { person, name, status, last_seen_at })
    }
}

impl Change<'_> {
    fn is_delete(&self) -> bool {
        self.event == "DELETE"
    }

    /// The row as it is, or as it was before it was deleted.
    fn row<T: DeserializeOwned>(&self) -> Result<T, Unreadable> {
        row(if self.is_delete() { self.old_record } else { self.record })
    }

    /// Whether it is a deleted row of which no more is shown than its key.
    fn is_key(&self) -> bool {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Key {
            #[expect(dead_code, reason = "its presence is all that is asked for")]
            id: Uuid,
        }
        self.is_delete() && row::<Key>(self.old_record).is_ok()
    }

    fn message(&self) -> Result<Option<Event>, Unreadable> {
        let message: Message = self.row()?;
        Ok(match &*self.event {
            "INSERT" => Some(Event::Sent(message)),
            "DELETE" => {
                let content = String::new();
                Some(Event::Deleted(Message { content, attachments: Value::Array(Vec::new()), ..message }))
            }
            "UPDATE" => {
                // Without what was before, what may be told twice is told.
                let before: Before = row(self.old_record).unwrap_or_default();
                if message.deleted_at.is_some() {
                    before.deleted_at.is_none().then_some(Event::Deleted(message))
                } else {
                    let is_edited = message.edited_at.is_some() && message.edited_at != before.edited_at;
                    is_edited.then_some(Event::Edited(message))
                }
            }
            _ => return Err(Unreadable),
        })
    }

    fn reaction(&self) -> Result<Event, Unreadable> {
        let Reaction { message_id, conversation_id, user_id, customer_id, emoji } = self.row()?;
        let person = person(user_id, customer_id).ok_or(Unreadable)?;
        Ok(Event::Reaction { message_id, conversation_id, person, emoji, is_added: !self.is_delete() })
    }

    fn receipt(&self) -> Result<Event, Unreadable> {
        let Receipt { message_id, conversation_id, read_by_user_id, read_by_customer_id, read_at } =
            self.row()?;
        let reader = person(read_by_user_id, read_by_customer_id).ok_or(Unreadable)?;
        Ok(Event::Read { message_id, conversation_id, reader, read_at })
    }

    fn typing(&self) -> Result<Event, Unreadable> {
        let Typing { conversation_id, user_id, customer_id, is_typing, expires_at } = self.row()?;
        let person = person(user_id, customer_id).ok_or(Unreadable)?;
        let is_typing = is_typing && !self.is_delete();
        let expires_at = expires_at.filter(|_| is_typing);
        Ok(Event::Typing { conversation_id, person, is_typing, expires_at })
    }

    /// Whose row is gone is as good as offline, but nothing deletes it while they are there.
    fn presence(&self) -> Result<Option<Event>, Unreadable> {
        if self.is_delete() {
            return Ok(None);
        }
        self.row::<Presence>()?.event().map(Some)
    }

    fn delivery(&self) -> Result<Event, Unreadable> {
        let Delivery { message_id, conversation_id, recipient_id, status } = self.row()?;
        Ok(Event::Delivered { message_id, conversation_id, recipient_id, status })
    }

    fn participation(&self) -> Result<Event, Unreadable> {
        let Participant { conversation_id, user_id, customer_id, left_at, last_read_at } = self.row()?;
        let person = person(user_id, customer_id).ok_or(Unreadable)?;
        let takes_part = left_at.is_none() && !self.is_delete();
        Ok(Event::Participation { conversation_id, person, takes_part, last_read_at })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROOM: &str = "c0000000-0000-4000-8000-000000000001";
    const ANN: &str = "a0000000-0000-4000-8000-000000000001";
    const ID: &str = "d0000000-0000-4000-8000-000000000001";

    fn change(table: &str, event: &str, record: Value, old: Value) -> Result<Option<Event>, Unreadable> {
        let mut data =
            json!({ "columns": [], "errors": null, "schema": "public", "table": table, "type": event });
        for (name, row) in [("record", record), ("old_record", old)] {
            if !row.is_null() {
                data[name] = row;
            }
        }
        let payload = json!({ "data": data, "ids": [1] });
        read(
            &json!({ "topic": "adapter:x", "event": "postgres_changes", "payload": payload, "ref": null })
                .to_string(),
        )
    }

    fn message(edited_at: Value, deleted_at: Value) -> Value {
        json!({ "id": ID, "conversation_id": ROOM, "sender_id": ANN, "content": "x", "edited_at": edited_at,
            "deleted_at": deleted_at })
    }

    /// What became of a message, in a word.
    fn word(changed: Result<Option<Event>, Unreadable>) -> &'static str {
        match changed.unwrap() {
            Some(Event::Sent(_)) => "sent",
            Some(Event::Edited(_)) => "edited",
            Some(Event::Deleted(_)) => "deleted",
            None => "nothing",
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_update_tells_what_has_become_of_a_message() {
        let (none, first, second) = (Value::Null, json!("1"), json!("2"));
        let row = |edited: &Value, deleted: &Value| message(edited.clone(), deleted.clone());
        let update = |new: Value, old: Value| word(change("messages", "UPDATE", new, old));
        assert_eq!(update(row(&first, &none), row(&none, &none)), "edited");
        assert_eq!(update(row(&second, &none), row(&first, &none)), "edited");
        assert_eq!(update(row(&first, &none), row(&first, &none)), "nothing", "something else was updated");
        assert_eq!(update(row(&none, &none), row(&none, &none)), "nothing");
        assert_eq!(update(row(&first, &first), row(&first, &none)), "deleted");
        assert_eq!(update(row(&first, &first), row(&first, &first)), "nothing", "it was deleted before");
        // Where no more of the old row is shown than its key.
        assert_eq!(update(row(&first, &none), json!({ "id": ID })), "edited");
        assert_eq!(update(row(&none, &none), json!({ "id": ID })), "nothing");
        assert_eq!(word(change("messages", "INSERT", row(&none, &none), Value::Null)), "sent");
        assert_eq!(word(change("messages", "DELETE", Value::Null, row(&none, &none))), "deleted");
        assert_eq!(word(change("messages", "DELETE", Value::Null, json!({ "id": ID }))), "nothing");
    }

    #[test]
    fn a_deleted_row_ends_what_it_stood_for() {
        let typing = json!({ "id": ID, "conversation_id": ROOM, "user_id": ANN, "is_typing": true, "expires_at": "e" });
        let Ok(Some(Event::Typing { is_typing, expires_at, .. })) =
            change("message_typing_indicators", "INSERT", typing.clone(), Value::Null)
        else {
            panic!("no typing")
        };
        assert_eq!((is_typing, expires_at), (true, Some("e".to_owned())));
        let Ok(Some(Event::Typing { is_typing, expires_at, .. })) =
            change("message_typing_indicators", "DELETE", Value::Null, typing)
        else {
            panic!("no typing")
        };
        assert_eq!((is_typing, expires_at), (false, None));
        let reaction =
            json!({ "id": ID, "message_id": ID, "conversation_id": ROOM, "customer_id": ANN, "emoji": "x" });
        let Ok(Some(Event::Reaction { is_added, person, .. })) =
            change("message_reactions", "DELETE", Value::Null, reaction)
        else {
            panic!("no reaction")
        };
        assert_eq!((is_added, person), (false, Person::Customer(Uuid::try_parse(ANN).unwrap())));
    }

    #[test]
    fn a_row_whose_long_values_are_left_out_is_not_read() {
        let change = |errors: Value| {
            let record = json!({ "id": ID, "conversation_id": ROOM, "sender_id": ANN });
            let data = json!({ "table": "messages", "type": "INSERT", "record": record, "errors": errors });
            read(&json!({ "payload": { "data": data, "ids": [1] } }).to_string())
        };
        assert_eq!(word(change(Value::Null)), "sent");
        assert_eq!(change(json!(["Error 413: Payload Too Large"])), Err(Unreadable));
    }

    #[test]
    fn what_is_no_row_of_its_table_is_not_read() {
        for (table, record) in [
            ("elsewhere", json!({ "id": ID })),
            ("messages", json!({})),
            ("messages", json!({ "id": "x", "conversation_id": ROOM })),
            ("messages", json!([])),
            ("message_reactions", json!({ "message_id": ID, "conversation_id": ROOM, "emoji": "x" })),
            (
                "message_read_receipts",
                json!({ "message_id": ID, "conversation_id": ROOM, "read_by_user_id": ANN }),
            ),
            ("user_presence", json!({ "status": "online" })),
            ("message_delivery_status", json!({ "message_id": ID })),
            ("conversation_participants", json!({ "conversation_id": ROOM, "user_id": 7 })),
        ] {
            assert_eq!(
                change(table, "INSERT", record.clone(), Value::Null),
                Err(Unreadable),
                "{table} {record}"
            );
        }
        assert_eq!(change("messages", "INSERT", Value::Null, Value::Null), Err(Unreadable));
        for text in ["", "{}", "[]", r#"{"payload":{}}"#, r#"{"payload":{"data":{"table":"messages"}}}"#] {
            assert_eq!(read(text), Err(Unreadable), "{text}");
        }
    }
}

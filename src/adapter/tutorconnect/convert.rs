//! TutorConnect's requests → arguments of the messaging functions, and their JSON → the app's answers.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::model::{
    Action, Binding, Channel, ChannelConfig, Chat, ChatStatus, Features, Interest, Joining, Message,
    NewAttachment, NewMessage, Participant, PresenceKey, Reading, Receipt, Typing, TypingChange, Wants,
};
use crate::adapter::Error;
use crate::adapter::conversation::is_online;
use crate::adapter::fields::{
    content, flag, optional_flag, optional_ids, optional_integer, optional_list, optional_message_type,
};
use crate::adapter::request::{id, optional_id, optional_text, returned, text};
use crate::postgres::messaging::Person;

/// How many messages one call may mark as read.
const READ_MAX: usize = 500;

/// How many attachments a message may have.
const ATTACHMENTS_MAX: usize = 10;

/// What realtime clients put in front of a channel's name.
const TOPIC_PREFIX: &str = "realtime:";

/// The tables of a chat, by what they tell of.
const ALWAYS: [&str; 4] =
    ["messages", "message_reactions", "message_delivery_status", "conversation_participants"];
const READ_RECEIPTS: &str = "message_read_receipts";
const TYPING: &str = "message_typing_indicators";
const PRESENCE: &str = "user_presence";

/// The fields of a request.
type Fields = Map<String, Value>;

impl Interest {
    /// Reads `{chatId, action, enablePresence, enableTyping, enableReadReceipts}`; all but the first may be left out.
    pub(super) fn read(fields: &Fields) -> Result<Self, Error> {
        let is_wanted = |name| optional_flag(fields, name).map(|flag| flag.unwrap_or(true));
        let wants = Wants {
            presence: is_wanted("enablePresence")?,
            typing: is_wanted("enableTyping")?,
            read_receipts: is_wanted("enableReadReceipts")?,
        };
        let action = match optional_text(fields, "action")? {
            None | Some("subscribe") => Action::Subscribe,
            Some("unsubscribe") => Action::Unsubscribe,
            Some(_) => {
                return Err(Error::Field { name: "action", problem: "must be subscribe or unsubscribe" });
            }
        };
        Ok(Self { chat: id(fields, "chatId")?, action, wants })
    }

    /// What to join, for this person; what to leave, if interest ends.
    pub(super) fn answer(&self, person: Person) -> Joining {
        let channels = match self.action {
            Action::Subscribe => self.channels(person.id()),
            Action::Unsubscribe => Vec::new(),
        };
        Joining {
            chat_id: self.chat.to_string(),
            action: self.action.as_str(),
            user_id: person.user_id().map(|id| id.to_string()),
            customer_id: person.customer_id().map(|id| id.to_string()),
            channels,
            topics: self.names().map(|name| format!("{TOPIC_PREFIX}{name}")).collect(),
            features: match self.action {
                Action::Subscribe => self.features(),
                Action::Unsubscribe => Features::default(),
            },
        }
    }

    /// The channel of the chat, and that of who is there.
    fn names(&self) -> impl Iterator<Item = String> {
        let presence = self.wants.presence.then(|| format!("chat:{}:presence", self.chat));
        [Some(format!("chat:{}", self.chat)), presence].into_iter().flatten()
    }

    fn channels(&self, key: Uuid) -> Vec<Channel> {
        let key = PresenceKey { key: key.to_string() };
        let presence = Some((Some(key), vec![Binding::of(PRESENCE, None)]));
        let contents = [Some((None, self.bindings())), presence].into_iter().flatten();
        let channel = |(name, (presence, postgres_changes))| Channel {
            topic: format!("{TOPIC_PREFIX}{name}"),
            name,
            config: ChannelConfig { private: true, presence },
            postgres_changes,
        };
        self.names().zip(contents).map(channel).collect()
    }

    fn bindings(&self) -> Vec<Binding> {
        let Wants { typing, read_receipts, .. } = self.wants;
        let tables = ALWAYS.into_iter().chain(read_receipts.then_some(READ_RECEIPTS));
        let tables = tables.chain(typing.then_some(TYPING));
        tables.map(|table| Binding::of(table, Some(format!("conversation_id=eq.{}", self.chat)))).collect()
    }

    fn features(&self) -> Features {
        let Wants { presence, typing, read_receipts } = self.wants;
        Features {
            messages: true,
            reactions: true,
            delivery_status: true,
            participants: true,
            typing,
            read_receipts,
            presence,
        }
    }
}

impl Binding {
    fn of(table: &'static str, filter: Option<String>) -> Self {
        Self { event: "*", schema: "public", table, filter }
    }
}

impl TypingChange {
    /// Reads `{chatId, isTyping, expiresInSeconds}`; the last may be left out.
    pub(super) fn read(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            chat: id(fields, "chatId")?,
            is_typing: flag(fields, "isTyping")?,
            expires_in_seconds: optional_integer(fields, "expiresInSeconds")?,
        })
    }

    /// What one does who leaves a chat.
    pub(super) fn stop(chat: Uuid) -> Self {
        Self { chat, is_typing: false, expires_in_seconds: None }
    }

    /// For `update_typing_indicator`.
    pub(super) fn arguments(&self) -> Value {
        json!({
            "conversation_id": self.chat,
            "is_typing": self.is_typing,
            "expires_in_seconds": self.expires_in_seconds,
        })
    }

    /// The indicator that there is now; where there is none any more, that this person does not type.
    pub(super) fn answer(&self, value: Value, person: Person) -> Result<Typing, Error> {
        // A row that is not there has no fields, or none that say anything.
        if value["conversation_id"].is_string() {
            return returned(value);
        }
        Ok(Typing {
            conversation_id: self.chat.to_string(),
            user_id: person.user_id().map(|id| id.to_string()),
            customer_id: person.customer_id().map(|id| id.to_string()),
            is_typing: false,
            started_at: None,
            expires_at: None,
        })
    }
}

impl NewMessage {
    /// Reads `{chatId, content, type, replyToId, receiverId, clientMessageId, attachments}`; all but the first two may be
    /// left out, and content too where there is an attachment.
    pub(super) fn read(fields: &Fields) -> Result<Self, Error> {
        let attachments = optional_list(fields, "attachments", ATTACHMENTS_MAX)?.unwrap_or_default();
        let owned = |name| optional_text(fields, name).map(|text| text.map(str::to_owned));
        Ok(Self {
            chat: id(fields, "chatId")?,
            content: content(fields, !attachments.is_empty())?.to_owned(),
            kind: optional_message_type(fields, "type")?.map(str::to_owned),
            reply_to: optional_id(fields, "replyToId")?,
            receiver: optional_id(fields, "receiverId")?,
            client_message_id: owned("clientMessageId")?,
            attachments: attachments.iter().map(NewAttachment::read).collect::<Result<_, _>>()?,
        })
    }

    /// For `send_message`.
    pub(super) fn arguments(&self) -> Value {
        json!({
            "conversation_id": self.chat,
            "content": self.content,
            "message_type": self.kind,
            "reply_to_id": self.reply_to,
            "receiver_id": self.receiver,
            "client_message_id": self.client_message_id,
            "attachments": self.attachments.iter().map(NewAttachment::json).collect::<Vec<_>>(),
        })
    }
}

impl NewAttachment {
    fn read(value: &Value) -> Result<Self, Error> {
        let fields = value.as_object().ok_or(Error::invalid("attachments"))?;
        let owned = |name| optional_text(fields, name).map(|text| text.map(str::to_owned));
        Ok(Self {
            url: text(fields, "url")?.to_owned(),
            name: owned("name")?,
            size: optional_integer(fields, "size")?,
            mime_type: owned("mimeType")?,
        })
    }

    fn json(&self) -> Value {
        let Self { url, name, size, mime_type } = self;
        json!({ "url": url, "name": name, "size": size, "mime_type": mime_type })
    }
}

impl Reading {
    /// Reads `{messageId}`, `{messageIds}` or `{chatId}`, of which there is one.
    pub(super) fn read(fields: &Fields) -> Result<Self, Error> {
        let found = (
            optional_id(fields, "messageId")?,
            optional_ids(fields, "messageIds", READ_MAX)?,
            optional_id(fields, "chatId")?,
        );
        match found {
            (Some(message), None, None) => Ok(Self::One(message)),
            (None, Some(messages), None) => Ok(Self::Many(messages)),
            (None, None, Some(chat)) => Ok(Self::Chat(chat)),
            (None, None, None) => Err(Error::missing("messageId, messageIds or chatId")),
            _ => Err(Error::Field {
                name: "messageId",
                problem: "excludes messageIds and chatId, and they each other",
            }),
        }
    }

    /// The function that notes it, and its arguments.
    pub(super) fn call(&self) -> (&'static str, Value) {
        match self {
            Self::One(id) => ("mark_message_as_read", json!({ "message_id": id })),
            Self::Many(ids) => ("mark_messages_as_read", json!({ "message_ids": ids })),
            Self::Chat(id) => ("mark_conversation_as_read", json!({ "conversation_id": id })),
        }
    }

    /// The receipt of one message, or how many became read.
    pub(super) fn answer(&self, value: Value) -> Result<Value, Error> {
        match self {
            Self::One(_) => {
                let receipt: Receipt = returned(value)?;
                Ok(json!({ "receipt": receipt }))
            }
            Self::Many(_) | Self::Chat(_) => {
                let count: i64 = returned(value)?;
                Ok(json!({ "readCount": count }))
            }
        }
    }
}

/// For `edit_message`: the message and the text that it is to have from now on, `{content}`.
pub(super) fn edit(message: Uuid, fields: &Fields) -> Result<Value, Error> {
    Ok(json!({ "message_id": message, "content": text(fields, "content")? }))
}

/// For `delete_message`.
pub(super) fn message_arguments(message: Uuid) -> Value {
    json!({ "message_id": message })
}

/// For `get_conversation` and `list_typing_indicators`.
pub(super) fn chat_arguments(chat: Uuid) -> Value {
    json!({ "conversation_id": chat })
}

/// A message as a function returned it.
pub(super) fn message(value: Value) -> Result<Message, Error> {
    returned(value)
}

/// What is going on in a chat: who is there, and who types.
pub(super) fn chat_status(chat: Value, typing: Value) -> Result<ChatStatus, Error> {
    let Chat {
        id,
        kind,
        title,
        participants,
        last_message,
        last_message_at,
        unread_count,
        is_archived,
        metadata,
    } = returned(chat)?;
    let typing_users: Vec<Typing> = returned(typing)?;
    let types = |participant: &Participant| {
        let is_of = |typing: &Typing| {
            typing.user_id == participant.user_id && typing.customer_id == participant.customer_id
        };
        typing_users.iter().any(is_of)
    };
    let participants: Vec<_> = participants
        .into_iter()
        .map(|participant| Participant {
            is_online: is_online(&participant.status),
            is_typing: types(&participant),
            ..participant
        })
        .collect();
    let online = participants.iter().filter(|participant| participant.is_online);
    let online_users =
        online.filter_map(|one| one.user_id.clone().or_else(|| one.customer_id.clone())).collect();
    Ok(ChatStatus {
        chat_id: id,
        kind,
        title,
        participants,
        online_users,
        typing_users,
        unread_count,
        last_message,
        last_message_at,
        is_archived,
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::answer::done;

    const CHAT: &str = "c0000000-0000-4000-8000-000000000001";
    const TEACHER: &str = "a0000000-0000-4000-8000-000000000001";
    const PUPIL: &str = "b0000000-0000-4000-8000-000000000001";
    const MESSAGE: &str = "d0000000-0000-4000-8000-000000000001";

    /// A row of `messages` as `send_message` returns it.
    const ROW: &str = r#"{"id":"d0000000-0000-4000-8000-000000000001",
        "conversation_id":"c0000000-0000-4000-8000-000000000001",
        "sender_id":"a0000000-0000-4000-8000-000000000001","sender_customer_id":null,"sender_type":"staff",
        "receiver_id":null,"content":"Hei, er du klar for timen?","message_type":"text","reply_to_id":null,
        "attachments":[{"url":"https://files.example/a.pdf","name":"a.pdf","size":9,"mime_type":"application/pdf"}],
        "client_message_id":"temp-17","edited_at":null,"deleted_at":null,
        "created_at":"2026-11-22T10:00:00.123456+00:00","updated_at":"2026-11-22T10:00:00.123456+00:00",
        "sender_name":"Kari Nordmann","sender_role":"teacher","inserted_in":"771"}"#;

    fn uuid(text: &str) -> Uuid {
        Uuid::try_parse(text).unwrap()
    }

    fn teacher() -> Person {
        Person::User(uuid(TEACHER))
    }

    fn fields(json: &str) -> Fields {
        serde_json::from_str(json).unwrap()
    }

    fn with_chat(rest: &str) -> Fields {
        fields(&format!(r#"{{"chatId":"{CHAT}"{rest}}}"#))
    }

    fn row(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    /// Without what a call leaves out.
    fn given(arguments: Value) -> Value {
        let mut arguments = arguments.as_object().unwrap().clone();
        arguments.retain(|_, value| !value.is_null());
        Value::Object(arguments)
    }

    fn wire(value: &impl serde::Serialize) -> Value {
        serde_json::to_value(value).unwrap()
    }

    #[test]
    fn interest_in_a_chat_names_what_to_join() {
        let interest = Interest::read(&with_chat("")).unwrap();
        let answer = wire(&interest.answer(teacher()));
        assert_eq!(answer["action"], "subscribe");
        assert_eq!(answer["userId"], TEACHER);
        let topics = [format!("realtime:chat:{CHAT}"), format!("realtime:chat:{CHAT}:presence")];
        assert_eq!(answer["topics"], json!(topics));
        let channels = &answer["channels"];
        assert_eq!(channels[0]["name"], format!("chat:{CHAT}"));
        assert_eq!(channels[0]["config"], json!({ "private": true }));
        let filter = format!("conversation_id=eq.{CHAT}");
        let tables =
            ["messages", "message_reactions", "message_delivery_status", "conversation_participants"];
        let tables = tables.into_iter().chain(["message_read_receipts", "message_typing_indicators"]);
        let bindings: Vec<_> = tables
            .map(|table| json!({ "event": "*", "schema": "public", "table": table, "filter": filter }))
            .collect();
        assert_eq!(channels[0]["postgresChanges"], json!(bindings));
        assert_eq!(channels[1]["name"], format!("chat:{CHAT}:presence"));
        assert_eq!(channels[1]["config"], json!({ "private": true, "presence": { "key": TEACHER } }));
        let presence = json!([{ "event": "*", "schema": "public", "table": "user_presence" }]);
        assert_eq!(channels[1]["postgresChanges"], presence);
        let features = answer["features"].as_object().unwrap();
        assert!(features.len() == 7 && features.values().all(|feature| feature == true), "{features:?}");
    }

    #[test]
    fn the_page_shows_what_is_answered() {
        let page = include_str!("../../../docs/messaging.md");
        let (_, chapter) = page.split_once("### What to join\n").unwrap();
        let json = chapter.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let shown: Value = serde_json::from_str(json).unwrap();
        let chat = shown["data"]["chatId"].as_str().unwrap();
        let interest = Interest::read(&fields(&format!(r#"{{"chatId":"{chat}"}}"#))).unwrap();
        let mut answer = done(&interest.answer(teacher()));
        // Of the bindings that differ by their table alone it shows the first.
        answer["data"]["channels"][0]["postgresChanges"].as_array_mut().unwrap().truncate(1);
        assert_eq!(shown, answer);
    }

    #[test]
    fn what_is_not_wanted_is_not_joined() {
        let flags = r#","enablePresence":false,"enableTyping":false,"enableReadReceipts":false"#;
        let interest = Interest::read(&with_chat(flags)).unwrap();
        let answer = wire(&interest.answer(Person::Customer(uuid(PUPIL))));
        assert_eq!(answer["topics"], json!([format!("realtime:chat:{CHAT}")]));
        assert_eq!(answer["channels"].as_array().unwrap().len(), 1);
        assert_eq!(answer["channels"][0]["postgresChanges"].as_array().unwrap().len(), ALWAYS.len());
        let features = &answer["features"];
        assert_eq!([&features["typing"], &features["readReceipts"], &features["presence"]], [false; 3]);
        assert_eq!((&answer["userId"], &answer["customerId"]), (&Value::Null, &json!(PUPIL)));
    }

    #[test]
    fn interest_that_ends_names_what_to_leave() {
        let interest = Interest::read(&with_chat(r#","action":"unsubscribe""#)).unwrap();
        let answer = wire(&interest.answer(teacher()));
        assert_eq!((&answer["action"], &answer["channels"]), (&json!("unsubscribe"), &json!([])));
        assert_eq!(answer["topics"].as_array().unwrap().len(), 2);
        assert!(answer["features"].as_object().unwrap().values().all(|feature| feature == false));
    }

    #[test]
    fn a_new_message_becomes_the_arguments_of_send_message() {
        let rest = format!(
            r#","content":"Hei","type":"file","replyToId":"{MESSAGE}","receiverId":"{PUPIL}","clientMessageId":"temp-17",
            "attachments":[{{"url":"https://files.example/a.pdf","name":"a.pdf","size":9,"mimeType":"application/pdf"}},
            {{"url":"https://files.example/b"}}]"#
        );
        let message = NewMessage::read(&with_chat(&rest)).unwrap();
        let expected = json!({
            "conversation_id": CHAT, "content": "Hei", "message_type": "file", "reply_to_id": MESSAGE,
            "receiver_id": PUPIL, "client_message_id": "temp-17",
            "attachments": [
                { "url": "https://files.example/a.pdf", "name": "a.pdf", "size": 9, "mime_type": "application/pdf" },
                { "url": "https://files.example/b", "name": null, "size": null, "mime_type": null },
            ],
        });
        assert_eq!(given(message.arguments()), expected);
        let least = NewMessage::read(&with_chat(r#","content":"Hei""#)).unwrap();
        let expected = json!({ "conversation_id": CHAT, "content": "Hei", "attachments": [] });
        assert_eq!(given(least.arguments()), expected, "defaults are the function's");
    }

    #[test]
    fn typing_becomes_the_arguments_of_update_typing_indicator() {
        let typing = TypingChange::read(&with_chat(r#","isTyping":true,"expiresInSeconds":8"#)).unwrap();
        let expected = json!({ "conversation_id": CHAT, "is_typing": true, "expires_in_seconds": 8 });
        assert_eq!(given(typing.arguments()), expected);
        let expected = json!({ "conversation_id": CHAT, "is_typing": false });
        assert_eq!(given(TypingChange::stop(uuid(CHAT)).arguments()), expected);
    }

    #[test]
    fn a_typing_indicator_that_is_gone_says_that_nobody_types() {
        let typing = TypingChange::stop(uuid(CHAT));
        for returned in [Value::Null, json!({ "id": null, "conversation_id": null, "is_typing": null })] {
            let answer = wire(&typing.answer(returned, teacher()).unwrap());
            let expected = json!({ "chatId": CHAT, "userId": TEACHER, "customerId": null, "isTyping": false,
                "startedAt": null, "expiresAt": null });
            assert_eq!(answer, expected);
        }
        let row = json!({ "id": MESSAGE, "conversation_id": CHAT, "user_id": TEACHER, "customer_id": null,
            "is_typing": true, "started_at": "2026-11-22T10:00:00+00:00",
            "expires_at": "2026-11-22T10:00:05+00:00", "updated_at": "x" });
        let answer = wire(&typing.answer(row, Person::Customer(uuid(PUPIL))).unwrap());
        assert_eq!((&answer["isTyping"], &answer["userId"]), (&json!(true), &json!(TEACHER)));
        assert_eq!(answer["expiresAt"], "2026-11-22T10:00:05+00:00");
        assert!(typing.answer(json!({ "conversation_id": CHAT }), teacher()).is_err());
    }

    #[test]
    fn what_has_been_read_is_one_thing() {
        let read = |json: String| Reading::read(&fields(&json));
        let one = read(format!(r#"{{"messageId":"{MESSAGE}"}}"#)).unwrap();
        assert_eq!(one.call(), ("mark_message_as_read", json!({ "message_id": MESSAGE })));
        let many = read(format!(r#"{{"messageIds":["{MESSAGE}"]}}"#)).unwrap();
        assert_eq!(many.call(), ("mark_messages_as_read", json!({ "message_ids": [MESSAGE] })));
        let chat = read(format!(r#"{{"chatId":"{CHAT}"}}"#)).unwrap();
        assert_eq!(chat.call(), ("mark_conversation_as_read", json!({ "conversation_id": CHAT })));
        for refused in [
            "{}".to_owned(),
            r#"{"messageIds":[]}"#.to_owned(),
            format!(r#"{{"messageId":"{MESSAGE}","chatId":"{CHAT}"}}"#),
            format!(r#"{{"messageIds":[{}]}}"#, vec![format!("\"{MESSAGE}\""); READ_MAX + 1].join(",")),
        ] {
            assert!(read(refused.clone()).is_err(), "{refused}");
        }
        let receipt = format!(
            r#"{{"id":"{CHAT}","message_id":"{MESSAGE}","conversation_id":"{CHAT}","read_by_user_id":"{TEACHER}",
            "read_by_customer_id":null,"read_at":"2026-11-22T10:00:00+00:00"}}"#
        );
        let expected = json!({ "receipt": { "id": CHAT, "messageId": MESSAGE, "chatId": CHAT, "userId": TEACHER,
            "customerId": null, "readAt": "2026-11-22T10:00:00+00:00" } });
        assert_eq!(one.answer(row(&receipt)).unwrap(), expected);
        assert_eq!(chat.answer(json!(3)).unwrap(), json!({ "readCount": 3 }));
        assert!(many.answer(row(&receipt)).is_err());
    }

    #[test]
    fn a_message_is_told_in_the_apps_words() {
        let expected = json!({
            "id": MESSAGE, "chatId": CHAT, "senderId": TEACHER, "senderCustomerId": null, "senderType": "staff",
            "senderName": "Kari Nordmann", "senderRole": "teacher", "receiverId": null,
            "content": "Hei, er du klar for timen?", "type": "text", "replyToId": null,
            "attachments": [{ "url": "https://files.example/a.pdf", "name": "a.pdf", "size": 9,
                "mimeType": "application/pdf" }],
            "clientMessageId": "temp-17", "editedAt": null, "deletedAt": null,
            "createdAt": "2026-11-22T10:00:00.123456+00:00", "updatedAt": "2026-11-22T10:00:00.123456+00:00",
        });
        assert_eq!(wire(&message(row(ROW)).unwrap()), expected);
    }

    #[test]
    fn the_status_of_a_chat_says_who_is_there_and_who_types() {
        let person = |user: &str, status: &str| {
            json!({ "user_id": user, "customer_id": null, "name": "Kari", "role": "member", "status": status,
                "joined_at": "2026-11-22T09:00:00+00:00", "last_read_at": null, "last_seen_at": null })
        };
        let mut last: Value = serde_json::from_str(ROW).unwrap();
        last["status"] = json!("delivered");
        last["reactions"] = json!([{ "user_id": PUPIL, "customer_id": null, "emoji": "👍", "created_at": "2026-11-22T10:01:00+00:00" }]);
        last["read_by"] = json!([]);
        let chat = json!({
            "id": CHAT, "kind": "direct", "title": null, "customer_id": null, "created_by": TEACHER,
            "participants": [person(TEACHER, "busy"), person(PUPIL, "offline")], "last_message": last,
            "last_message_at": "2026-11-22T10:00:00.123456+00:00", "unread_count": 2, "is_archived": false,
            "metadata": { "appointment": 7 }, "created_at": "x", "updated_at": "y",
        });
        let typing = json!([{ "id": MESSAGE, "conversation_id": CHAT, "user_id": PUPIL, "customer_id": null,
            "is_typing": true, "started_at": "s", "expires_at": "e", "updated_at": "s" }]);
        let status = wire(&chat_status(chat, typing).unwrap());
        assert_eq!((&status["chatId"], &status["unreadCount"]), (&json!(CHAT), &json!(2)));
        assert_eq!(status["metadata"], json!({ "appointment": 7 }));
        assert_eq!(status["onlineUsers"], json!([TEACHER]));
        assert_eq!(status["typingUsers"][0]["userId"], PUPIL);
        let of = |index: usize| {
            let one = &status["participants"][index];
            (one["status"].clone(), one["isOnline"].clone(), one["isTyping"].clone())
        };
        assert_eq!(of(0), (json!("busy"), json!(true), json!(false)));
        assert_eq!(of(1), (json!("offline"), json!(false), json!(true)));
        assert_eq!(status["lastMessage"]["status"], "delivered");
        assert_eq!(status["lastMessage"]["reactions"][0]["userId"], PUPIL);
        assert_eq!(status["lastMessage"]["readBy"], json!([]));
        let empty = json!({ "id": CHAT, "kind": "group", "title": "Matte", "participants": [], "last_message": null,
            "last_message_at": null, "unread_count": 0, "is_archived": true });
        let status = wire(&chat_status(empty, json!([])).unwrap());
        assert_eq!((&status["lastMessage"], &status["onlineUsers"]), (&Value::Null, &json!([])));
    }

    #[test]
    fn wrong_requests_are_told_which_field_is_wrong() {
        let is_required = |name| Error::missing(name);
        let is_wrong = |name| Error::invalid(name);
        assert_eq!(Interest::read(&fields("{}")).unwrap_err(), is_required("chatId"));
        assert_eq!(Interest::read(&fields(r#"{"chatId":7}"#)).unwrap_err(), is_wrong("chatId"));
        let action = Error::Field { name: "action", problem: "must be subscribe or unsubscribe" };
        for (rest, expected) in [
            (r#","action":"listen""#, action),
            (r#","action":1"#, is_wrong("action")),
            (r#","enableTyping":"yes""#, is_wrong("enableTyping")),
        ] {
            assert_eq!(Interest::read(&with_chat(rest)).unwrap_err(), expected, "{rest}");
        }
        for (rest, expected) in [
            ("", is_required("isTyping")),
            (r#","isTyping":1"#, is_wrong("isTyping")),
            (r#","isTyping":true,"expiresInSeconds":"5""#, is_wrong("expiresInSeconds")),
        ] {
            assert_eq!(TypingChange::read(&with_chat(rest)).unwrap_err(), expected, "{rest}");
        }
        let many = format!(r#","attachments":[{}]"#, ["{}"; ATTACHMENTS_MAX + 1].join(","));
        for (rest, expected) in [
            ("", is_required("content")),
            (r#","attachments":[]"#, is_required("content")),
            (r#","content":["a"]"#, is_wrong("content")),
            (r#","content":"""#, is_wrong("content")),
            (r#","content":"a","type":"voice""#, is_wrong("type")),
            (r#","content":"a","replyToId":"x""#, is_wrong("replyToId")),
            (r#","content":"a","clientMessageId":17"#, is_wrong("clientMessageId")),
            (r#","attachments":{}"#, is_wrong("attachments")),
            (r#","attachments":["a"]"#, is_wrong("attachments")),
            (many.as_str(), is_wrong("attachments")),
            (r#","attachments":[{}]"#, is_required("url")),
            (r#","attachments":[{"url":"u","size":1.5}]"#, is_wrong("size")),
        ] {
            assert_eq!(NewMessage::read(&with_chat(rest)).unwrap_err(), expected, "{rest}");
        }
        let file = NewMessage::read(&with_chat(r#","attachments":[{"url":"u"}]"#)).unwrap();
        assert_eq!(file.content, "", "a file needs no words");
        assert_eq!(edit(uuid(MESSAGE), &fields("{}")), Err(is_required("content")));
        let arguments = json!({ "message_id": MESSAGE, "content": "ny" });
        assert_eq!(edit(uuid(MESSAGE), &fields(r#"{"content":"ny"}"#)), Ok(arguments));
    }
}

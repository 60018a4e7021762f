//! TutorConnect's requests → arguments of the messaging functions, and their JSON → the app's answers.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::model::{
    Action, Binding, Channel, ChannelConfig, Chat, ChatStatus, Features, Interest, Joining, Message,
    NewAttachment, NewMessage, Participant, PresenceKey, Read, Receipt, Typing, TypingChange, Wants,
};
use crate::adapter::fields::{Fields, Invalid};

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

/// Named arguments of a function.
pub(super) type Arguments = Map<String, Value>;

impl Interest {
    /// Reads `{chatId, action, enablePresence, enableTyping, enableReadReceipts}`; all but the first may be left out.
    pub(super) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Fields::read(body)?;
        let mut is_wanted = |field| fields.optional_flag(field).map(|flag| flag.unwrap_or(true));
        let wants = Wants {
            presence: is_wanted("enablePresence")?,
            typing: is_wanted("enableTyping")?,
            read_receipts: is_wanted("enableReadReceipts")?,
        };
        let action = match fields.optional_text("action")?.as_deref() {
            None | Some("subscribe") => Action::Subscribe,
            Some("unsubscribe") => Action::Unsubscribe,
            Some(_) => return Err(Invalid::Wrong { field: "action", expected: "subscribe or unsubscribe" }),
        };
        Ok(Self { chat: fields.id("chatId")?, action, wants })
    }

    /// What to join, for this person; what to leave, if interest ends.
    pub(super) fn answer(&self, user_id: Option<Uuid>, customer_id: Option<Uuid>) -> Joining {
        let channels: Vec<_> = match self.action {
            Action::Subscribe => self.channels(user_id.or(customer_id)),
            Action::Unsubscribe => Vec::new(),
        };
        Joining {
            chat_id: self.chat.to_string(),
            action: self.action.as_str(),
            user_id: user_id.map(|id| id.to_string()),
            customer_id: customer_id.map(|id| id.to_string()),
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

    fn channels(&self, key: Option<Uuid>) -> Vec<Channel> {
        let key = key.map(|key| PresenceKey { key: key.to_string() });
        let presence = Some((key, vec![Binding::of(PRESENCE, None)]));
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
    pub(super) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Fields::read(body)?;
        Ok(Self {
            chat: fields.id("chatId")?,
            is_typing: fields.flag("isTyping")?,
            expires_in_seconds: fields.optional_integer("expiresInSeconds")?,
        })
    }

    /// What one does who leaves a chat.
    pub(super) fn stop(chat: Uuid) -> Self {
        Self { chat, is_typing: false, expires_in_seconds: None }
    }

    /// For `update_typing_indicator`.
    pub(super) fn arguments(&self) -> Arguments {
        let mut arguments = arguments([
            ("conversation_id", json!(self.chat.to_string())),
            ("is_typing", json!(self.is_typing)),
        ]);
        if let Some(seconds) = self.expires_in_seconds {
            arguments.insert("expires_in_seconds".to_owned(), json!(seconds));
        }
        arguments
    }

    /// The indicator that there is now; where there is none any more, that nobody types.
    pub(super) fn answer(
        &self,
        row: &str,
        user_id: Option<Uuid>,
        customer_id: Option<Uuid>,
    ) -> Result<Typing, serde_json::Error> {
        let row: Option<Typing> = serde_json::from_str(row)?;
        Ok(row.unwrap_or_else(|| Typing {
            conversation_id: self.chat.to_string(),
            user_id: user_id.map(|id| id.to_string()),
            customer_id: customer_id.map(|id| id.to_string()),
            is_typing: false,
            started_at: None,
            expires_at: None,
        }))
    }
}

impl NewMessage {
    /// Reads `{chatId, content, type, replyToId, receiverId, clientMessageId, attachments}`; all but the first may be
    /// left out, but there is content or an attachment, which the database asks for.
    pub(super) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Fields::read(body)?;
        let attachments = fields.optional_objects("attachments", ATTACHMENTS_MAX)?.unwrap_or_default();
        Ok(Self {
            chat: fields.id("chatId")?,
            content: fields.optional_text("content")?.unwrap_or_default(),
            kind: fields.optional_text("type")?,
            reply_to: fields.optional_id("replyToId")?,
            receiver: fields.optional_id("receiverId")?,
            client_message_id: fields.optional_text("clientMessageId")?,
            attachments: attachments.into_iter().map(NewAttachment::read).collect::<Result<_, _>>()?,
        })
    }

    /// For `send_message`.
    pub(super) fn arguments(&self) -> Arguments {
        let id = |id: Option<Uuid>| id.map(|id| json!(id.to_string()));
        let attachments = self.attachments.iter().map(NewAttachment::json).collect::<Vec<_>>();
        let optional = [
            ("message_type", self.kind.as_ref().map(|kind| json!(kind))),
            ("reply_to_id", id(self.reply_to)),
            ("receiver_id", id(self.receiver)),
            ("client_message_id", self.client_message_id.as_ref().map(|id| json!(id))),
            ("attachments", (!attachments.is_empty()).then(|| json!(attachments))),
        ];
        let mut arguments =
            arguments([("conversation_id", json!(self.chat.to_string())), ("content", json!(self.content))]);
        let given = optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        arguments.extend(given);
        arguments
    }
}

impl NewAttachment {
    fn read(mut fields: Fields) -> Result<Self, Invalid> {
        Ok(Self {
            url: fields.text("url")?,
            name: fields.optional_text("name")?,
            size: fields.optional_integer("size")?,
            mime_type: fields.optional_text("mimeType")?,
        })
    }

    fn json(&self) -> Value {
        let Self { url, name, size, mime_type } = self;
        json!({ "url": url, "name": name, "size": size, "mime_type": mime_type })
    }
}

impl Read {
    /// Reads `{messageId}`, `{messageIds}` or `{chatId}`, of which there is one.
    pub(super) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Fields::read(body)?;
        let found = (
            fields.optional_id("messageId")?,
            fields.optional_ids("messageIds", READ_MAX)?,
            fields.optional_id("chatId")?,
        );
        match found {
            (Some(message), None, None) => Ok(Self::One(message)),
            (None, Some(messages), None) => Ok(Self::Many(messages)),
            (None, None, Some(chat)) => Ok(Self::Chat(chat)),
            (None, None, None) => Err(Invalid::Missing("messageId, messageIds or chatId")),
            _ => Err(Invalid::Wrong {
                field: "messageId",
                expected: "alone: messageIds and chatId say the same",
            }),
        }
    }

    /// The function that notes it, and its arguments.
    pub(super) fn call(&self) -> (&'static str, Arguments) {
        match self {
            Self::One(id) => ("mark_message_as_read", arguments([("message_id", json!(id.to_string()))])),
            Self::Many(ids) => {
                let ids = ids.iter().map(Uuid::to_string).collect::<Vec<_>>();
                ("mark_messages_as_read", arguments([("message_ids", json!(ids))]))
            }
            Self::Chat(id) => {
                ("mark_conversation_as_read", arguments([("conversation_id", json!(id.to_string()))]))
            }
        }
    }

    /// The receipt of one message, or how many became read.
    pub(super) fn answer(&self, returned: &str) -> Result<Value, serde_json::Error> {
        match self {
            Self::One(_) => {
                let receipt: Receipt = serde_json::from_str(returned)?;
                Ok(json!({ "receipt": receipt }))
            }
            Self::Many(_) | Self::Chat(_) => {
                let count: i64 = serde_json::from_str(returned)?;
                Ok(json!({ "readCount": count }))
            }
        }
    }
}

/// The text that a message is to have from now on: `{content}`.
pub(super) fn new_content(body: &[u8]) -> Result<String, Invalid> {
    Fields::read(body)?.text("content")
}

/// For `edit_message`.
pub(super) fn edit_arguments(message: Uuid, content: &str) -> Arguments {
    arguments([("message_id", json!(message.to_string())), ("content", json!(content))])
}

/// For `delete_message`.
pub(super) fn delete_arguments(message: Uuid) -> Arguments {
    arguments([("message_id", json!(message.to_string()))])
}

/// For `get_conversation` and `list_typing_indicators`.
pub(super) fn chat_arguments(chat: Uuid) -> Arguments {
    arguments([("conversation_id", json!(chat.to_string()))])
}

/// A message as a function returned it.
pub(super) fn message(returned: &str) -> Result<Message, serde_json::Error> {
    serde_json::from_str(returned)
}

/// What is going on in a chat: who is there, and who types.
pub(super) fn chat_status(chat: &str, typing: &str) -> Result<ChatStatus, serde_json::Error> {
    let Chat { id, kind, title, participants, last_message, last_message_at, unread_count, is_archived } =
        serde_json::from_str(chat)?;
    let typing_users: Vec<Typing> = serde_json::from_str(typing)?;
    let types = |participant: &Participant| {
        let is_of = |typing: &Typing| {
            typing.user_id == participant.user_id && typing.customer_id == participant.customer_id
        };
        typing_users.iter().any(is_of)
    };
    let participants: Vec<_> = participants
        .into_iter()
        .map(|participant| Participant {
            is_online: participant.status != "offline",
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
    })
}

fn arguments<const N: usize>(pairs: [(&str, Value); N]) -> Arguments {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn id(text: &str) -> Uuid {
        Uuid::try_parse(text).unwrap()
    }

    fn with_chat(rest: &str) -> Vec<u8> {
        format!(r#"{{"chatId":"{CHAT}"{rest}}}"#).into_bytes()
    }

    fn wire(value: &impl serde::Serialize) -> Value {
        serde_json::to_value(value).unwrap()
    }

    #[test]
    fn interest_in_a_chat_names_what_to_join() {
        let interest = Interest::read(&with_chat("")).unwrap();
        let answer = wire(&interest.answer(Some(id(TEACHER)), None));
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
    fn what_is_not_wanted_is_not_joined() {
        let flags = r#","enablePresence":false,"enableTyping":false,"enableReadReceipts":false"#;
        let interest = Interest::read(&with_chat(flags)).unwrap();
        let answer = wire(&interest.answer(None, Some(id(PUPIL))));
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
        let answer = wire(&interest.answer(Some(id(TEACHER)), None));
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
        assert_eq!(Value::Object(message.arguments()), expected);
        let least = NewMessage::read(&with_chat(r#","content":"Hei""#)).unwrap();
        let expected = json!({ "conversation_id": CHAT, "content": "Hei" });
        assert_eq!(Value::Object(least.arguments()), expected, "defaults are the function's");
    }

    #[test]
    fn typing_becomes_the_arguments_of_update_typing_indicator() {
        let typing = TypingChange::read(&with_chat(r#","isTyping":true,"expiresInSeconds":8"#)).unwrap();
        let expected = json!({ "conversation_id": CHAT, "is_typing": true, "expires_in_seconds": 8 });
        assert_eq!(Value::Object(typing.arguments()), expected);
        let expected = json!({ "conversation_id": CHAT, "is_typing": false });
        assert_eq!(Value::Object(TypingChange::stop(id(CHAT)).arguments()), expected);
    }

    #[test]
    fn a_typing_indicator_that_is_gone_says_that_nobody_types() {
        let typing = TypingChange::stop(id(CHAT));
        for returned in ["null", "null\n"] {
            let answer = wire(&typing.answer(returned, Some(id(TEACHER)), None).unwrap());
            let expected = json!({ "chatId": CHAT, "userId": TEACHER, "customerId": null, "isTyping": false,
                "startedAt": null, "expiresAt": null });
            assert_eq!(answer, expected);
        }
        let row = format!(
            r#"{{"id":"{MESSAGE}","conversation_id":"{CHAT}","user_id":"{TEACHER}","customer_id":null,"is_typing":true,
            "started_at":"2026-11-22T10:00:00+00:00","expires_at":"2026-11-22T10:00:05+00:00","updated_at":"x"}}"#
        );
        let answer = wire(&typing.answer(&row, None, None).unwrap());
        assert_eq!((&answer["isTyping"], &answer["userId"]), (&json!(true), &json!(TEACHER)));
        assert_eq!(answer["expiresAt"], "2026-11-22T10:00:05+00:00");
        assert!(typing.answer("[]", None, None).is_err());
    }

    #[test]
    fn what_has_been_read_is_one_thing() {
        let read = |json: String| Read::read(json.as_bytes());
        let one = read(format!(r#"{{"messageId":"{MESSAGE}"}}"#)).unwrap();
        assert_eq!(one.call(), ("mark_message_as_read", arguments([("message_id", json!(MESSAGE))])));
        let many = read(format!(r#"{{"messageIds":["{MESSAGE}"]}}"#)).unwrap();
        assert_eq!(many.call(), ("mark_messages_as_read", arguments([("message_ids", json!([MESSAGE]))])));
        let chat = read(format!(r#"{{"chatId":"{CHAT}"}}"#)).unwrap();
        assert_eq!(chat.call(), ("mark_conversation_as_read", arguments([("conversation_id", json!(CHAT))])));
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
        assert_eq!(one.answer(&receipt).unwrap(), expected);
        assert_eq!(chat.answer("3").unwrap(), json!({ "readCount": 3 }));
        assert!(many.answer(&receipt).is_err());
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
        assert_eq!(wire(&message(ROW).unwrap()), expected);
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
        let status = wire(&chat_status(&chat.to_string(), &typing.to_string()).unwrap());
        assert_eq!((&status["chatId"], &status["unreadCount"]), (&json!(CHAT), &json!(2)));
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
        let status = wire(&chat_status(&empty.to_string(), "[]").unwrap());
        assert_eq!((&status["lastMessage"], &status["onlineUsers"]), (&Value::Null, &json!([])));
    }

    #[test]
    fn wrong_requests_are_told_which_field_is_wrong() {
        let missing = |field| Invalid::Missing(field);
        let wrong = |field, expected| Invalid::Wrong { field, expected };
        let chat = wrong("chatId", "a UUID");
        assert_eq!(Interest::read(b"{}").unwrap_err(), missing("chatId"));
        assert_eq!(Interest::read(br#"{"chatId":7}"#).unwrap_err(), chat);
        for (rest, expected) in [
            (r#","action":"listen""#, wrong("action", "subscribe or unsubscribe")),
            (r#","action":1"#, wrong("action", "a text")),
            (r#","enableTyping":"yes""#, wrong("enableTyping", "true or false")),
        ] {
            assert_eq!(Interest::read(&with_chat(rest)).unwrap_err(), expected, "{rest}");
        }
        for (rest, expected) in [
            ("", missing("isTyping")),
            (r#","isTyping":1"#, wrong("isTyping", "true or false")),
            (r#","isTyping":true,"expiresInSeconds":"5""#, wrong("expiresInSeconds", "a whole number")),
        ] {
            assert_eq!(TypingChange::read(&with_chat(rest)).unwrap_err(), expected, "{rest}");
        }
        let many = format!(r#","attachments":[{}]"#, vec!["{}"; ATTACHMENTS_MAX + 1].join(","));
        let attachments = wrong("attachments", "an array of objects, and not too long");
        for (rest, expected) in [
            (r#","content":["a"]"#, wrong("content", "a text")),
            (r#","replyToId":"x""#, wrong("replyToId", "a UUID")),
            (r#","clientMessageId":17"#, wrong("clientMessageId", "a text")),
            (r#","attachments":{}"#, attachments),
            (many.as_str(), attachments),
            (r#","attachments":[{}]"#, missing("url")),
            (r#","attachments":[{"url":"u","size":1.5}]"#, wrong("size", "a whole number")),
        ] {
            assert_eq!(NewMessage::read(&with_chat(rest)).unwrap_err(), expected, "{rest}");
        }
        assert_eq!(new_content(b"{}"), Err(missing("content")));
        assert_eq!(new_content(br#"{"content":"ny"}"#), Ok("ny".to_owned()));
    }
}

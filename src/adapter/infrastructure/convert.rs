//! The subscription API's requests → arguments of the messaging functions and answers, and where this server is.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::model::{
    Content, Envelope, Features, Filters, Subscribe, Subscription, Unsubscribe, Unsubscribed,
};
use crate::adapter::fields::{Fields, Invalid};

/// The version of the API, in every answer.
const VERSION: &str = "v1";

/// How many channels one request may name, and how long a name may be.
const CHANNELS_MAX: usize = 100;
const CHANNEL_BYTES_MAX: usize = 255;

/// In place of names: whatever the caller has joined.
const ALL: &str = "all";

impl Subscribe {
    /// Reads `{conversationId, includePresence, includeTyping, includeReadReceipts}`; the flags may be left out.
    pub(super) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Fields::read(body)?;
        let mut includes = |field| fields.optional_flag(field).map(|flag| flag.unwrap_or(true));
        let (presence, typing) = (includes("includePresence")?, includes("includeTyping")?);
        let read_receipts = includes("includeReadReceipts")?;
        Ok(Self { conversation: fields.id("conversationId")?, presence, typing, read_receipts })
    }

    /// For `get_conversation`, by which the database says whether the caller may see it.
    pub(super) fn arguments(&self) -> Map<String, Value> {
        [("conversation_id".to_owned(), json!(self.conversation.to_string()))].into_iter().collect()
    }

    /// What to join, and where.
    pub(super) fn answer(
        &self,
        user_id: Option<Uuid>,
        customer_id: Option<Uuid>,
        url: Option<String>,
        key: Option<String>,
    ) -> Subscription {
        let id = self.conversation;
        let presence = self.presence.then(|| format!("presence:{id}"));
        Subscription {
            supabase_url: url,
            supabase_key: key,
            channels: [Some(format!("conversation:{id}")), presence].into_iter().flatten().collect(),
            features: Features {
                messages: true,
                read_receipts: self.read_receipts,
                typing: self.typing,
                presence: self.presence,
            },
            filters: Filters {
                user_id: user_id.map(|id| id.to_string()),
                customer_id: customer_id.map(|id| id.to_string()),
                conversation_id: id.to_string(),
            },
        }
    }
}

impl Unsubscribe {
    /// Reads `{channels}`; without a body, or without channels in it, all are meant.
    pub(super) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let channels =
            Fields::read_optional(body)?.optional_texts("channels", CHANNELS_MAX, CHANNEL_BYTES_MAX)?;
        Ok(Self { channels: channels.unwrap_or_else(|| vec![ALL.to_owned()]) })
    }

    /// That it is done: whoever leaves a channel is heard of there no more, and nothing is kept here.
    pub(super) fn answer(self) -> Unsubscribed {
        Unsubscribed { message: "Unsubscribed successfully", channels: self.channels }
    }
}

impl<T> Envelope<T> {
    /// Around what was asked for, or why it is refused.
    pub(super) fn around(content: Content<T>, timestamp: String) -> Self {
        Self { success: matches!(content, Content::Data(_)), version: VERSION, timestamp, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::infrastructure::model::Refused;

    const CONVERSATION: &str = "c0000000-0000-4000-8000-000000000001";
    const PERSON: &str = "a0000000-0000-4000-8000-000000000001";
    const NOW: &str = "2026-11-22T12:00:00Z";

    fn person() -> Option<Uuid> {
        Some(Uuid::try_parse(PERSON).unwrap())
    }

    fn subscribe(rest: &str) -> Result<Subscribe, Invalid> {
        Subscribe::read(format!(r#"{{"conversationId":"{CONVERSATION}"{rest}}}"#).as_bytes())
    }

    fn wire<T: serde::Serialize>(content: Content<T>) -> Value {
        serde_json::to_value(Envelope::around(content, NOW.to_owned())).unwrap()
    }

    #[test]
    fn a_subscription_is_answered_as_the_apps_documentation_has_it() {
        let request =
            subscribe(r#","includePresence":true,"includeTyping":true,"includeReadReceipts":true"#).unwrap();
        let answer =
            request.answer(person(), None, Some("https://chat.example".into()), Some("anon-key".into()));
        let expected = json!({
            "success": true, "version": "v1", "timestamp": NOW,
            "data": {
                "supabaseUrl": "https://chat.example",
                "supabaseKey": "anon-key",
                "channels": [format!("conversation:{CONVERSATION}"), format!("presence:{CONVERSATION}")],
                "features": { "messages": true, "readReceipts": true, "typing": true, "presence": true },
                "filters": { "userId": PERSON, "customerId": null, "conversationId": CONVERSATION },
            },
        });
        assert_eq!(wire(Content::Data(answer)), expected);
    }

    #[test]
    fn features_follow_the_flags_and_everything_is_on_by_default() {
        let all = Features { messages: true, read_receipts: true, typing: true, presence: true };
        for (flags, expected, channel_count) in [
            ("", all, 2),
            (r#","includePresence":false"#, Features { presence: false, ..all }, 1),
            (r#","includeTyping":false"#, Features { typing: false, ..all }, 2),
            (
                r#","includeReadReceipts":false,"includePresence":null"#,
                Features { read_receipts: false, ..all },
                2,
            ),
        ] {
            let answer = subscribe(flags).unwrap().answer(None, person(), None, None);
            assert_eq!((answer.features, answer.channels.len()), (expected, channel_count), "{flags}");
            assert_eq!((answer.filters.user_id, answer.filters.customer_id.as_deref()), (None, Some(PERSON)));
        }
    }

    #[test]
    fn the_conversation_is_what_the_database_is_asked_about() {
        let expected = json!({ "conversation_id": CONVERSATION });
        assert_eq!(Value::Object(subscribe("").unwrap().arguments()), expected);
    }

    #[test]
    fn unsubscribing_means_all_channels_unless_some_are_named() {
        let named = br#"{"channels":["conversation:1"]}"#;
        for (body, expected) in [
            (&b""[..], json!(["all"])),
            (b"{}", json!(["all"])),
            (br#"{"channels":null}"#, json!(["all"])),
            (br#"{"channels":[]}"#, json!([])),
            (named, json!(["conversation:1"])),
        ] {
            let answer = wire(Content::Data(Unsubscribe::read(body).unwrap().answer()));
            let data = json!({ "message": "Unsubscribed successfully", "channels": expected });
            assert_eq!((&answer["success"], &answer["data"]), (&json!(true), &data), "{body:?}");
        }
    }

    #[test]
    fn a_refusal_has_the_same_envelope() {
        let refused = Refused { code: "RATE_LIMITED", message: "Too many".into(), retry_after: Some(6) };
        let expected = json!({ "success": false, "version": "v1", "timestamp": NOW,
            "error": { "code": "RATE_LIMITED", "message": "Too many", "retryAfter": 6 } });
        assert_eq!(wire(Content::<()>::Error(refused)), expected);
    }

    #[test]
    fn wrong_requests_are_told_which_field_is_wrong() {
        assert_eq!(Subscribe::read(b"{}").unwrap_err(), Invalid::Missing("conversationId"));
        let wrong = |field, expected| Err(Invalid::Wrong { field, expected });
        assert_eq!(Subscribe::read(br#"{"conversationId":"7"}"#), wrong("conversationId", "a UUID"));
        assert_eq!(subscribe(r#","includeTyping":1"#), wrong("includeTyping", "true or false"));
        let many = format!(r#"{{"channels":[{}]}}"#, vec!["\"a\""; CHANNELS_MAX + 1].join(","));
        let long = format!(r#"{{"channels":["{}"]}}"#, "a".repeat(CHANNEL_BYTES_MAX + 1));
        for body in [many.as_str(), &long, r#"{"channels":"all"}"#, r#"{"channels":[1]}"#, "[]", "{"] {
            assert!(Unsubscribe::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}

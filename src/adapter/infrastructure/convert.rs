//! The subscription API's requests → arguments of the messaging functions and answers, and where this server is.

use axum::http::HeaderMap;
use axum::http::uri::Authority;
use serde_json::{Map, Value, json};

use super::model::{Features, Filters, Place, Subscribe, Subscription, Unsubscribe, Unsubscribed};
use crate::adapter::fields::{optional_flag, optional_texts};
use crate::adapter::request::id;
use crate::adapter::{Error, PublicPlace};
use crate::postgres::messaging::Person;

/// The version of the API, in every answer.
const VERSION: &str = "v1";

/// How many channels one request may name, and how long a name may be.
const CHANNELS_MAX: usize = 100;
const CHANNEL_BYTES_MAX: usize = 255;

/// The fields of a request.
type Fields = Map<String, Value>;

/// In place of names: whatever the caller has joined.
const ALL: &str = "all";

impl Subscribe {
    /// Reads `{conversationId, includePresence, includeTyping, includeReadReceipts}`; the flags may be left out.
    pub(super) fn read(fields: &Fields) -> Result<Self, Error> {
        let includes = |name| optional_flag(fields, name).map(|flag| flag.unwrap_or(true));
        let (presence, typing) = (includes("includePresence")?, includes("includeTyping")?);
        let read_receipts = includes("includeReadReceipts")?;
        Ok(Self { conversation: id(fields, "conversationId")?, presence, typing, read_receipts })
    }

    /// For `get_conversation`, by which the database says whether the caller may see it.
    pub(super) fn arguments(&self) -> Value {
        json!({ "conversation_id": self.conversation })
    }

    /// What to join, and where.
    pub(super) fn answer(&self, person: Person, place: Place) -> Subscription {
        let id = self.conversation;
        let presence = self.presence.then(|| format!("presence:{id}"));
        Subscription {
            supabase_url: place.url,
            supabase_key: place.key,
            channels: [Some(format!("conversation:{id}")), presence].into_iter().flatten().collect(),
            features: Features {
                messages: true,
                read_receipts: self.read_receipts,
                typing: self.typing,
                presence: self.presence,
            },
            filters: Filters {
                user_id: person.user_id().map(|id| id.to_string()),
                customer_id: person.customer_id().map(|id| id.to_string()),
                conversation_id: id.to_string(),
            },
        }
    }
}

impl Unsubscribe {
    /// Reads `{channels}`; without a body, or without channels in it, all are meant.
    pub(super) fn read(fields: &Fields) -> Result<Self, Error> {
        let channels = optional_texts(fields, "channels", CHANNELS_MAX, CHANNEL_BYTES_MAX)?;
        Ok(Self { channels: channels.unwrap_or_else(|| vec![ALL.to_owned()]) })
    }

    /// That it is done: whoever leaves a channel is heard of there no more, and nothing is kept here.
    pub(super) fn answer(self) -> Unsubscribed {
        Unsubscribed { message: "Unsubscribed successfully", channels: self.channels }
    }
}

impl Place {
    /// Where the settings say, or else where the request came to and with which key.
    pub(super) fn of(told: &PublicPlace, headers: &HeaderMap) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let key = header("apikey").filter(|key| !key.is_empty());
        Self {
            url: told.url.clone().or_else(|| came_to(headers)),
            key: told.api_key.clone().or_else(|| key.map(str::to_owned)),
        }
    }
}

/// The scheme and the host of a request, as a gateway in front names them, or as they are.
fn came_to(headers: &HeaderMap) -> Option<String> {
    let header = |name| {
        // Each gateway adds its own; the first is what the client has asked for.
        headers.get(name).and_then(|value| value.to_str().ok()?.split(',').next()).map(str::trim)
    };
    let scheme = match header("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let forwarded = header("x-forwarded-host").filter(|host| is_host(host));
    let host = forwarded.or_else(|| header("host").filter(|host| is_host(host)))?;
    Some(format!("{scheme}://{host}"))
}

/// A name or an address, perhaps with a port.
fn is_host(text: &str) -> bool {
    let is_authority = text.parse::<Authority>().is_ok();
    is_authority && !text.contains('@')
}

/// An answer with the version of the API and its time.
pub(super) fn stamped(mut answer: Value, timestamp: String) -> Value {
    answer["version"] = VERSION.into();
    answer["timestamp"] = timestamp.into();
    answer
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use uuid::Uuid;

    use super::*;
    use crate::adapter::answer::{done, refused};

    const CONVERSATION: &str = "c0000000-0000-4000-8000-000000000001";
    const PERSON: &str = "a0000000-0000-4000-8000-000000000001";
    const NOW: &str = "2026-11-22T12:00:00Z";

    fn person() -> Uuid {
        Uuid::try_parse(PERSON).unwrap()
    }

    fn fields(json: &str) -> Fields {
        serde_json::from_str(json).unwrap()
    }

    fn subscribe(rest: &str) -> Result<Subscribe, Error> {
        Subscribe::read(&fields(&format!(r#"{{"conversationId":"{CONVERSATION}"{rest}}}"#)))
    }

    fn nowhere() -> Place {
        Place { url: None, key: None }
    }

    #[test]
    fn a_subscription_is_answered_as_the_apps_documentation_has_it() {
        let request =
            subscribe(r#","includePresence":true,"includeTyping":true,"includeReadReceipts":true"#).unwrap();
        let place = Place { url: Some("https://chat.example".into()), key: Some("anon-key".into()) };
        let answer = request.answer(Person::User(person()), place);
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
        assert_eq!(stamped(done(&answer), NOW.to_owned()), expected);
    }

    #[test]
    fn the_page_shows_what_is_answered() {
        let page = include_str!("../../../docs/messaging.md");
        let (_, chapter) = page.split_once("## Messaging infrastructure\n").unwrap();
        let json = chapter.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let shown: Value = serde_json::from_str(json).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let data = &shown["data"];
        let id = |name: &str| Uuid::try_parse(data["filters"][name].as_str().unwrap()).unwrap();
        let place = Place { url: Some(text(&data["supabaseUrl"])), key: Some(text(&data["supabaseKey"])) };
        let body = format!(r#"{{"conversationId":"{}"}}"#, id("conversationId"));
        let request = Subscribe::read(&fields(&body)).unwrap();
        let answer = request.answer(Person::Customer(id("customerId")), place);
        assert_eq!(shown, stamped(done(&answer), text(&shown["timestamp"])));
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
            let answer = subscribe(flags).unwrap().answer(Person::Customer(person()), nowhere());
            assert_eq!((answer.features, answer.channels.len()), (expected, channel_count), "{flags}");
            assert_eq!((answer.filters.user_id, answer.filters.customer_id.as_deref()), (None, Some(PERSON)));
        }
    }

    #[test]
    fn the_conversation_is_what_the_database_is_asked_about() {
        assert_eq!(subscribe("").unwrap().arguments(), json!({ "conversation_id": CONVERSATION }));
    }

    #[test]
    fn unsubscribing_means_all_channels_unless_some_are_named() {
        for (body, expected) in [
            ("{}", json!(["all"])),
            (r#"{"channels":null}"#, json!(["all"])),
            (r#"{"channels":[]}"#, json!([])),
            (r#"{"channels":["conversation:1"]}"#, json!(["conversation:1"])),
        ] {
            let answer = done(&Unsubscribe::read(&fields(body)).unwrap().answer());
            let data = json!({ "message": "Unsubscribed successfully", "channels": expected });
            assert_eq!((&answer["success"], &answer["data"]), (&json!(true), &data), "{body:?}");
        }
    }

    #[test]
    fn a_refusal_has_the_same_envelope() {
        let expected = json!({ "success": false, "version": "v1", "timestamp": NOW,
            "error": { "code": "NOT_FOUND", "message": "Not found" } });
        assert_eq!(stamped(refused(&Error::NotFound), NOW.to_owned()), expected);
    }

    #[test]
    fn wrong_requests_are_told_which_field_is_wrong() {
        let read = |json: &str| Subscribe::read(&fields(json));
        assert_eq!(read("{}").unwrap_err(), Error::missing("conversationId"));
        assert_eq!(read(r#"{"conversationId":"7"}"#), Err(Error::invalid("conversationId")));
        assert_eq!(subscribe(r#","includeTyping":1"#), Err(Error::invalid("includeTyping")));
        let many = format!(r#"{{"channels":[{}]}}"#, vec!["\"a\""; CHANNELS_MAX + 1].join(","));
        let long = format!(r#"{{"channels":["{}"]}}"#, "a".repeat(CHANNEL_BYTES_MAX + 1));
        for body in [many.as_str(), &long, r#"{"channels":"all"}"#, r#"{"channels":[1]}"#] {
            assert_eq!(Unsubscribe::read(&fields(body)), Err(Error::invalid("channels")), "{body}");
        }
    }

    #[test]
    fn a_place_is_what_is_set_or_else_where_the_request_came_to() {
        let place = |told: &PublicPlace, pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let Place { url, key } = Place::of(told, &pairs.iter().map(pair).collect());
            (url, key)
        };
        let unset = PublicPlace::default();
        for (pairs, expected) in [
            (&[][..], None),
            (&[("host", "127.0.0.1:4000")], Some("http://127.0.0.1:4000")),
            (&[("host", "[::1]:4000")], Some("http://[::1]:4000")),
            (&[("host", "h"), ("x-forwarded-proto", "https")], Some("https://h")),
            (&[("host", "h"), ("x-forwarded-proto", "https, http")], Some("https://h")),
            (&[("host", "h"), ("x-forwarded-proto", "javascript")], Some("http://h")),
            (&[("host", "h"), ("x-forwarded-host", "a.example:8443, b")], Some("http://a.example:8443")),
            (&[("host", "h"), ("x-forwarded-host", "a@b")], Some("http://h")),
            (&[("host", "a/b")], None),
        ] {
            assert_eq!(place(&unset, pairs).0.as_deref(), expected, "{pairs:?}");
        }
        assert_eq!(place(&unset, &[("apikey", "theirs")]).1.as_deref(), Some("theirs"));
        assert_eq!(place(&unset, &[("apikey", "")]).1, None);
        let set = PublicPlace { url: Some("https://a".to_owned()), api_key: Some("ours".to_owned()) };
        let expected = (Some("https://a".to_owned()), Some("ours".to_owned()));
        assert_eq!(place(&set, &[("host", "h"), ("apikey", "theirs")]), expected);
    }
}

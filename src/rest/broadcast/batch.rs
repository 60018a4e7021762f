//! `POST /api/broadcast`: many messages, each to a room of its own.
//!
//! All messages are checked before any is sent. Public ones go first; private ones are grouped by topic, with one
//! question for each topic about what the caller may send.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Admitted, BroadcastLimits, EVENT_BYTES_MAX, Media, admit, may_write, publish};
use crate::channel::{Broadcast, Topic};
use crate::hub::authorization::AuthorizationError;
use crate::policy::Claims;
use crate::protocol::{broadcast_payload, is_shallow};
use crate::rest::caller::headers_json;
use crate::rest::error::{Error, authorization_code};
use crate::rest::field::{self, BLANK, INVALID, TOO_DEEP, TOO_LARGE};
use crate::rest::services::{Services, Shards};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// How many messages a batch may have, whatever the rate allows.
const MESSAGES_MAX: usize = 10_000;

/// How many topics of a batch are asked about at a time.
const QUESTIONS_AT_ONCE: usize = 32;

/// The longest id of a message, in bytes.
const ID_BYTES_MAX: usize = 255;

/// One message of a batch.
struct Message {
    topic: Topic,
    private: bool,
    broadcast: Broadcast<'static>,
}

pub(in crate::rest) async fn batch<S: Shards>(
    State(services): State<Arc<Services<S>>>,
    request: Request,
) -> Result<StatusCode, Error> {
    let is_json = |media| if media == Media::Json { Ok(()) } else { Err(Error::NotJsonType) };
    let Admitted { parts, body, claims, .. } = admit(&services, request, is_json).await?;
    let body = services.bodies.read(&parts.headers, body).await?;
    let messages = read(&body.bytes, &services.broadcasts)?;
    let events = &services.meters.events;
    if events.is_exceeded() {
        return Err(Error::EventRate);
    }
    if events.would_exceed(u64::try_from(messages.len()).unwrap_or(u64::MAX)) {
        return Err(Error::BatchSize);
    }
    let (private, public): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message.private);
    for Message { topic, broadcast, .. } in public {
        publish(&services, &topic, false, broadcast).await;
    }
    if !private.is_empty() {
        publish_private(&services, &claims, &parts.headers, private).await;
    }
    Ok(StatusCode::ACCEPTED)
}

/// Sends what the caller may send, and drops the rest.
async fn publish_private<S: Shards>(
    services: &Services<S>,
    claims: &Arc<Claims>,
    headers: &HeaderMap,
    messages: Vec<Message>,
) {
    let headers = headers_json(headers);
    let mut groups = by_topic(messages).into_iter();
    let mut questions = FuturesOrdered::new();
    loop {
        let room = QUESTIONS_AT_ONCE.saturating_sub(questions.len());
        questions.extend(groups.by_ref().take(room).map(|group| judge(services, claims, &headers, group)));
        let Some((answer, (topic, broadcasts))) = questions.next().await else { return };
        if answer == Ok(true) {
            for broadcast in broadcasts {
                publish(services, &topic, true, broadcast).await;
            }
        } else {
            services.counters.dropped_broadcasts.add_length(broadcasts.len());
            log_dropped(&answer, broadcasts.len());
        }
    }
}

/// Whether the caller may send the messages of a topic, and the messages.
async fn judge<S: Shards>(
    services: &Services<S>,
    claims: &Arc<Claims>,
    headers: &Arc<str>,
    group: Group,
) -> (Result<bool, AuthorizationError>, Group) {
    (may_write(services, claims, &group.0, headers).await, group)
}

/// The client is not told, so the log is.
fn log_dropped(answer: &Result<bool, AuthorizationError>, messages: usize) {
    match answer {
        Err(error) => {
            report!(warn, authorization_code(error), messages, %error, "private broadcasts of a batch dropped");
        }
        Ok(_) => report!(info, Code::Unauthorized, messages, "private broadcasts of a batch dropped"),
    }
}

/// The messages of one topic.
type Group = (Topic, Vec<Broadcast<'static>>);

/// The messages of each topic, topics in the order of their first message.
fn by_topic(messages: Vec<Message>) -> Vec<Group> {
    let mut places = HashMap::new();
    let mut topics: Vec<Group> = Vec::new();
    for Message { topic, broadcast, .. } in messages {
        let place = *places.entry(topic.clone()).or_insert(topics.len());
        match topics.get_mut(place) {
            Some((_, broadcasts)) => broadcasts.push(broadcast),
            None => topics.push((topic, vec![broadcast])),
        }
    }
    topics
}

/// The messages of a body, or what is wrong with which.
fn read(body: &[u8], limits: &BroadcastLimits) -> Result<Vec<Message>, Error> {
    let body = std::str::from_utf8(body).map_err(|_| Error::NotJson)?;
    let body: &RawValue = serde_json::from_str(body).map_err(|_| Error::NotJson)?;
    let [messages] = field::fields(body, &["messages"])?.unwrap_or_default();
    let messages = messages.ok_or_else(|| Error::field("messages", BLANK))?;
    let invalid = || Error::field("messages", INVALID);
    if !messages.get().starts_with('[') {
        return Err(invalid());
    }
    let messages = field::elements(messages, MESSAGES_MAX).ok_or(Error::BatchSize)?;
    if messages.is_empty() {
        return Err(Error::field("messages", BLANK));
    }
    let mut read = Vec::with_capacity(messages.len());
    let mut errors = Vec::with_capacity(messages.len());
    for message in messages {
        match message_of(message, limits)?.ok_or_else(invalid)? {
            Ok(message) => {
                read.push(message);
                errors.push(json!({}));
            }
            Err(wrong) => errors.push(Value::Object(wrong)),
        }
    }
    if read.len() < errors.len() { Err(Error::Invalid(json!({ "messages": errors }))) } else { Ok(read) }
}

/// A message, or what is wrong with which of its fields.
type Checked = Result<Message, Map<String, Value>>;

/// Checks all fields of a message; `None` for what is no object.
fn message_of(message: &RawValue, limits: &BroadcastLimits) -> Result<Option<Checked>, Error> {
    let names = &["topic", "event", "payload", "private", "id"];
    let Some([topic, event, payload, private, id]) = field::fields(message, names)? else { return Ok(None) };
    let topic = field::text(topic, limits.topic_bytes_max).and_then(|topic| super::topic(&topic, limits));
    let event = field::text(event, EVENT_BYTES_MAX);
    let payload = object(payload, limits);
    let private = field::switch(private);
    let id = match field::text(id, ID_BYTES_MAX) {
        Ok(id) => Ok(Some(id)),
        Err(BLANK) => Ok(None),
        Err(words) => Err(words),
    };
    Ok(Some(match (topic, event, payload, private, id) {
        (Ok(topic), Ok(event), Ok(payload), Ok(private), Ok(id)) => {
            let text = broadcast_payload(&event, payload, id.as_deref());
            Ok(Message { topic, private, broadcast: Broadcast::Text(text.into()) })
        }
        (topic, event, payload, private, id) => {
            let words = [topic.err(), event.err(), payload.err(), private.err(), id.err()];
            let wrong = names.iter().zip(words);
            Err(wrong.filter_map(|(name, words)| Some(((*name).to_owned(), json!([words?])))).collect())
        }
    }))
}

/// A payload, which is an object within bounds.
fn object<'a>(value: Option<&'a RawValue>, limits: &BroadcastLimits) -> Result<&'a str, &'static str> {
    match value.ok_or(BLANK)?.get() {
        json if !json.starts_with('{') => Err(INVALID),
        json if json.len() > limits.payload_bytes_max => Err(TOO_LARGE),
        json if !is_shallow(json, limits.json_depth_max) => Err(TOO_DEEP),
        json => Ok(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::field::TOO_LONG;

    const LIMITS: BroadcastLimits =
        BroadcastLimits { payload_bytes_max: 60, json_depth_max: 3, topic_bytes_max: 20 };

    fn errors(body: &str) -> Value {
        match read(body.as_bytes(), &LIMITS) {
            Err(Error::Invalid(errors)) => errors,
            Err(other) => panic!("{other:?}"),
            Ok(messages) => panic!("{} messages", messages.len()),
        }
    }

    #[test]
    fn every_message_has_its_own_errors() {
        let good = r#"{"topic":"a","event":"b","payload":{}}"#;
        let errors = errors(&format!(r#"{{"messages":[{good},{{"topic":"a"}},{good}]}}"#));
        let expected = json!({ "event": [BLANK], "payload": [BLANK] });
        assert_eq!(errors, json!({ "messages": [{}, expected, {}] }));
    }

    #[test]
    fn fields_are_checked_by_type_and_bound() {
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(60));
        for (field, value, words) in [
            ("topic", "1", INVALID),
            ("topic", r#"" ""#, BLANK),
            ("topic", "null", BLANK),
            ("topic", r#""twelve-bytes""#, TOO_LONG),
            ("event", "[]", INVALID),
            ("event", r#""""#, BLANK),
            ("payload", "[]", INVALID),
            ("payload", r#""text""#, INVALID),
            ("payload", "null", BLANK),
            ("payload", r#"{"a":[[[]]]}"#, TOO_DEEP),
            ("payload", &large, TOO_LARGE),
            ("private", "1", INVALID),
            ("private", r#""yes""#, INVALID),
            ("id", "7", INVALID),
        ] {
            let mut message = json!({ "topic": "a", "event": "b", "payload": {} });
            message[field] = serde_json::from_str(value).unwrap();
            let expected = json!({ "messages": [{ field: [words] }] });
            assert_eq!(errors(&json!({ "messages": [message] }).to_string()), expected, "{field} {value}");
        }
    }

    #[test]
    fn what_is_no_list_of_messages_is_told_so() {
        for body in ["{}", "[]", "1", r#"{"messages":null}"#, r#"{"messages":[]}"#] {
            assert_eq!(errors(body), json!({ "messages": [BLANK] }), "{body}");
        }
        for body in [r#"{"messages":{}}"#, r#"{"messages":1}"#, r#"{"messages":[{},1]}"#] {
            assert_eq!(errors(body), json!({ "messages": [INVALID] }), "{body}");
        }
        let many = format!(r#"{{"messages":[{}]}}"#, vec!["{}"; MESSAGES_MAX + 1].join(","));
        assert!(matches!(read(many.as_bytes(), &LIMITS), Err(Error::BatchSize)));
        for body in [&b"{"[..], b"", b"{\"messages\":[]} x", b"\xff"] {
            assert!(matches!(read(body, &LIMITS), Err(Error::NotJson)), "{body:?}");
        }
    }

    #[test]
    fn payloads_are_sent_as_they_came() {
        let payload = r#"{ "n": 1e400, "n": 12345678901234567890 }"#;
        let body = format!(r#"{{"messages":[{{"topic":"a","event":"b","payload":{payload},"id":"7"}}]}}"#);
        let messages = read(body.as_bytes(), &LIMITS).ok().unwrap();
        let expected =
            format!(r#"{{"event":"b","meta":{{"id":"7"}},"payload":{payload},"type":"broadcast"}}"#);
        assert_eq!(messages[0].broadcast, Broadcast::Text(expected.into()));
        assert!(!messages[0].private);
    }

    #[test]
    fn topics_are_asked_about_once_and_keep_their_order() {
        let messages = ["b", "a", "b"].map(|name| Message {
            topic: crate::rest::broadcast::topic(name, &LIMITS).unwrap(),
            private: true,
            broadcast: Broadcast::Text("{}".into()),
        });
        let topics = by_topic(messages.into());
        let counts: Vec<_> = topics.iter().map(|(topic, messages)| (topic.sub(), messages.len())).collect();
        assert_eq!(counts, [("b", 2), ("a", 1)]);
    }
}

//! `POST /api/broadcast/{topic}/events/{event}`: one message, whose body is the payload itself.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use super::{Admitted, BroadcastLimits, EVENT_BYTES_MAX, Media, admit, may_write, publish};
use crate::channel::{Body, Broadcast, Topic};
use crate::protocol::is_shallow;
use crate::rest::caller::headers_json;
use crate::rest::error::Error;
use crate::rest::field::{BLANK, INVALID, TOO_DEEP, TOO_LARGE, TOO_LONG};
use crate::rest::services::{Services, Shards};

/// Bytes travel in binary frames alone, whose topic, prefix included, and event have at most so many.
const BINARY_FIELD_BYTES_MAX: usize = 255;

pub(in crate::rest) async fn single<S: Shards>(
    State(services): State<Arc<Services<S>>>,
    request: Request,
) -> Result<StatusCode, Error> {
    let is_known = |media| if media == Media::Other { Err(Error::MediaType) } else { Ok(()) };
    let Admitted { parts, body, claims, media } = admit(&services, request, is_known).await?;
    let body = services.bodies.read(&parts.headers, body).await?;
    let (topic, event) = target(&parts.uri, &services.broadcasts)?;
    let body = match media {
        Media::Bytes => bytes(&body.bytes, &topic, &event, &services.broadcasts)?,
        _ => json(&body.bytes, &services.broadcasts)?,
    };
    if services.meters.events.is_reached() {
        return Err(Error::EventRate);
    }
    let private = is_private(&parts.uri);
    if private {
        let headers = headers_json(&parts.headers);
        let may = may_write(&services, &claims, &topic, &headers).await.map_err(Error::Authorization)?;
        if !may {
            return Err(Error::WriteDenied);
        }
    }
    let message = Broadcast::User { event: event.into(), body, meta: None };
    publish(&services, &topic, private, message).await;
    Ok(StatusCode::ACCEPTED)
}

/// Topic and event in the path. The router leaves this to us: a client takes 404 for a server without this route.
fn target(uri: &Uri, limits: &BroadcastLimits) -> Result<(Topic, String), Error> {
    let topic_is = |words| Error::field("topic", words);
    let path = uri.path().split_once("/broadcast/").map_or("", |(_, path)| path);
    let parts: Vec<&str> = path.splitn(4, '/').collect();
    let [topic, "events", event] = parts[..] else { return Err(topic_is(INVALID)) };
    let topic = decoded(topic).ok_or_else(|| topic_is(INVALID))?;
    let topic = super::topic(&topic, limits).map_err(topic_is)?;
    let event_is = |words| Error::field("event", words);
    let event = decoded(event).ok_or_else(|| event_is(INVALID))?;
    match event.len() {
        0 => Err(event_is(BLANK)),
        1..=EVENT_BYTES_MAX => Ok((topic, event.into_owned())),
        _ => Err(event_is(TOO_LONG)),
    }
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

/// Whether the query says `private=true`, and nothing later. Any other value is none.
fn is_private(uri: &Uri) -> bool {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let last = pairs.ok().and_then(|Query(pairs)| pairs.into_iter().rfind(|(name, _)| name == "private"));
    last.is_some_and(|(_, value)| value == "true")
}

/// A payload of JSON, as it came; what is no object is put into one. Nothing is an empty one.
fn json(body: &[u8], limits: &BroadcastLimits) -> Result<Body<'static>, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::NotJson)?;
    let payload = match text.trim_ascii() {
        "" => "{}",
        text => serde_json::from_str::<&RawValue>(text).map_err(|_| Error::NotJson)?.get(),
    };
    if payload.len() > limits.payload_bytes_max {
        return Err(Error::field("payload", TOO_LARGE));
    }
    if !is_shallow(payload, limits.json_depth_max) {
        return Err(Error::field("payload", TOO_DEEP));
    }
    let is_object = payload.starts_with('{');
    Ok(Body::Json(if is_object { payload.to_owned() } else { format!("{{\"_json\":{payload}}}") }.into()))
}

/// A payload of bytes. What would fit into no frame is refused rather than lost.
fn bytes(body: &[u8], topic: &Topic, event: &str, limits: &BroadcastLimits) -> Result<Body<'static>, Error> {
    if body.len() > limits.payload_bytes_max {
        return Err(Error::field("payload", TOO_LARGE));
    }
    for (name, text) in [("topic", topic.as_str()), ("event", event)] {
        if text.len() > BINARY_FIELD_BYTES_MAX {
            return Err(Error::field(name, TOO_LONG));
        }
    }
    Ok(Body::Bytes(body.to_vec().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BroadcastLimits =
        BroadcastLimits { payload_bytes_max: 20, json_depth_max: 2, topic_bytes_max: 600 };

    fn at(path: &str) -> Result<(String, String), Error> {
        let uri = format!("/api/broadcast/{path}").parse().unwrap();
        target(&uri, &LIMITS).map(|(topic, event)| (topic.sub().to_owned(), event))
    }

    #[test]
    fn topic_and_event_are_decoded() {
        let found = |topic: &str, event: &str| Ok((topic.to_owned(), event.to_owned()));
        assert_eq!(at("room/events/said"), found("room", "said"));
        assert_eq!(at("a%3A%2Fb/events/%C3%A4%20+"), found("a:/b", "ä +"));
        assert_eq!(at("events/events/events"), found("events", "events"));
        assert_eq!(at("100%/events/x"), found("100%", "x"));
    }

    #[test]
    fn other_paths_are_told_what_is_wrong() {
        for (path, name, words) in [
            ("room", "topic", INVALID),
            ("room/said", "topic", INVALID),
            ("a/b/events/c", "topic", INVALID),
            ("room/events/a/b", "topic", INVALID),
            ("%ff/events/x", "topic", INVALID),
            ("/events/x", "topic", BLANK),
            ("room/events/", "event", BLANK),
            ("room/events/%ff", "event", INVALID),
        ] {
            assert_eq!(at(path), Err(Error::field(name, words)), "{path}");
        }
        assert_eq!(at(&format!("{}/events/x", "r".repeat(592))), Err(Error::field("topic", TOO_LONG)));
        assert_eq!(at(&format!("r/events/{}", "x".repeat(4097))), Err(Error::field("event", TOO_LONG)));
    }

    #[test]
    fn only_the_word_true_is_private() {
        for (query, expected) in [
            ("?private=true", true),
            ("?x=1&private=true", true),
            ("?private=false&private=true", true),
            ("?private=true&private=false", false),
            ("?private=1", false),
            ("?private=TRUE", false),
            ("?private", false),
            ("?public=true", false),
            ("", false),
        ] {
            let uri = format!("/api/broadcast/a/events/b{query}").parse().unwrap();
            assert_eq!(is_private(&uri), expected, "{query}");
        }
    }

    #[test]
    fn json_is_sent_as_it_came() {
        for (body, expected) in [
            ("", "{}"),
            (" \n", "{}"),
            (" { \"a\": 1e400 }\n", "{ \"a\": 1e400 }"),
            ("[1,2]", r#"{"_json":[1,2]}"#),
            ("null", r#"{"_json":null}"#),
            (r#""text""#, r#"{"_json":"text"}"#),
        ] {
            assert_eq!(json(body.as_bytes(), &LIMITS), Ok(Body::Json(expected.into())), "{body}");
        }
        for body in [&b"{"[..], b"\xff", b"{} {}", b"nul", b"01"] {
            assert_eq!(json(body, &LIMITS), Err(Error::NotJson), "{body:?}");
        }
        assert_eq!(json(b"[[[]]]", &LIMITS), Err(Error::field("payload", TOO_DEEP)));
        assert_eq!(json(br#""01234567890123456789""#, &LIMITS), Err(Error::field("payload", TOO_LARGE)));
    }

    #[test]
    fn bytes_that_fit_into_no_frame_are_refused() {
        let limits = BroadcastLimits { topic_bytes_max: 600, ..LIMITS };
        let send = |body: &[u8], topic: &str, event: &str| {
            bytes(body, &crate::rest::broadcast::topic(topic, &limits).unwrap(), event, &limits)
        };
        assert_eq!(send(b"\xff\x00", "a", "b"), Ok(Body::Bytes(vec![255, 0].into())));
        assert_eq!(send(b"", "a", "b"), Ok(Body::Bytes(vec![].into())));
        assert_eq!(send(&[0; 21], "a", "b"), Err(Error::field("payload", TOO_LARGE)));
        // The prefix has nine.
        assert!(send(b"", &"t".repeat(246), "b").is_ok());
        assert_eq!(send(b"", &"t".repeat(247), "b"), Err(Error::field("topic", TOO_LONG)));
        assert_eq!(send(b"", "a", &"e".repeat(256)), Err(Error::field("event", TOO_LONG)));
    }
}

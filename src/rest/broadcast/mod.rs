//! Broadcasts over HTTP: a batch of them, or one.
//!
//! In: JSON, or bytes. Out: 202 once every shard that may have members of the room has been handed the message; it
//! is delivered at most once, as any broadcast. A refusal says why, but for private messages of a batch: what the
//! caller may not send is dropped, counted and logged, and the answer is 202 all the same.

mod batch;
mod single;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

pub(super) use batch::batch;
pub(super) use single::single;

use super::body::discard;
use super::error::Error;
use super::services::{Services, Shards};
use super::{caller, field};
use crate::channel::{Broadcast, Topic, TopicError};
use crate::hub::RoomBroadcast;
use crate::hub::authorization::{Answer, AuthorizationError, Question, Subject};
use crate::policy::Claims;

/// The longest event, in bytes: as long as a topic may be.
const EVENT_BYTES_MAX: usize = 4_096;

/// The bounds of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BroadcastLimits {
    /// Bytes of one payload.
    pub payload_bytes_max: usize,
    /// How deep a payload may be nested.
    pub json_depth_max: usize,
    /// The longest topic that a socket could join, in bytes, prefix included.
    pub topic_bytes_max: usize,
}

/// What a body claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Json,
    Bytes,
    Other,
}

/// The media type; a body that does not say is JSON.
fn media(headers: &HeaderMap) -> Media {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Media::Json };
    let value = value.to_str().unwrap_or("?");
    match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "application/json" => Media::Json,
        "application/octet-stream" => Media::Bytes,
        _ => Media::Other,
    }
}

/// A request whose body has not been read, with its verified token.
struct Admitted {
    parts: Parts,
    body: Body,
    claims: Arc<Claims>,
    media: Media,
}

/// Checks who sends what before anything is read.
async fn admit<S: Shards>(
    services: &Services<S>,
    request: Request,
    check: impl FnOnce(Media) -> Result<(), Error>,
) -> Result<Admitted, Error> {
    let (parts, body) = request.into_parts();
    let media = media(&parts.headers);
    let claims = caller::claims(&parts.headers, &services.verifier);
    match claims.and_then(|claims| check(media).map(|()| claims)) {
        Ok(claims) => Ok(Admitted { parts, body, claims, media }),
        Err(error) => {
            discard(body).await;
            Err(error)
        }
    }
}

/// The topic that sockets know by this name with their prefix.
fn topic(name: &str, limits: &BroadcastLimits) -> Result<Topic, &'static str> {
    Topic::parse(&format!("realtime:{name}"), limits.topic_bytes_max).map_err(|error| match error {
        TopicError::Empty => field::BLANK,
        TopicError::TooLong => field::TOO_LONG,
        TopicError::Unmatched => field::INVALID,
    })
}

/// Hands a message to everybody in the room, and counts it.
async fn publish<S: Shards>(
    services: &Services<S>,
    topic: &Topic,
    private: bool,
    message: Broadcast<'static>,
) {
    services.meters.events.add(1);
    services.counters.broadcasts.add(1);
    let room = services.broadcaster.directory().room(topic, private);
    services.broadcaster.publish(RoomBroadcast { room, commit: None, message }).await;
}

/// Whether policies let this caller send to this private topic.
async fn may_write<S: Shards>(
    services: &Services<S>,
    claims: &Arc<Claims>,
    topic: &Topic,
    headers: &Arc<str>,
) -> Result<bool, AuthorizationError> {
    let subject =
        Subject { claims: Arc::clone(claims), topic: topic.sub().into(), headers: Arc::clone(headers) };
    let answer = services.authorizer.answer(subject, Question::Write).await?;
    Ok(matches!(answer, Answer::Rights(rights) if rights.broadcast))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_is_read_without_its_parameters() {
        let media = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            super::media(&headers)
        };
        assert_eq!(media("application/json; charset=utf-8"), Media::Json);
        assert_eq!(media("Application/JSON"), Media::Json);
        assert_eq!(media(""), Media::Json);
        assert_eq!(media("application/octet-stream;x=y"), Media::Bytes);
        for other in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", "a/b"]
        {
            assert_eq!(media(other), Media::Other, "{other}");
        }
        assert_eq!(super::media(&HeaderMap::new()), Media::Json);
    }
}

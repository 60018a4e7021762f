//! The school app's requests.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::on;
use serde_json::json;
use uuid::Uuid;

use super::catch_up::TokenHash;
use super::convert;
use super::model::{Answer, Data, Status, uuid};
use super::sessions::SESSIONS;
use super::socket::{APP, Conversation};
use crate::adapter::request::{bearer, json as json_answer, query};
use crate::adapter::route::{Route, route};
use crate::adapter::socket::upgrade;
use crate::adapter::{Asker, Error, Services};
use crate::rest::route::{Content, answer as given};

/// How many messages one call marks as read; whoever has more is answered as many.
const MARKED_AT_ONCE: u64 = 10_000;

/// All paths but the sockets'.
pub(super) static ROUTES: &[Route] = &[
    Route {
        summary: "Make the caller's profile, and have their sockets told of messages",
        answers: &[given(200, Content::Json("SchoolDone"), "it is so")],
        ..route("POST", "/api/chat/subscribe", |method| on(method, subscribe), &[])
    },
    Route {
        summary: "What the caller has missed",
        query: &[("last_check_time", "that of the check before")],
        answers: &[given(200, Content::Json("SchoolMissed"), "the messages, and the time of this check")],
        ..route("GET", "/api/chat/offline-messages", |method| on(method, offline_messages), &[400])
    },
    Route {
        summary: "How many messages the caller has not read",
        answers: &[given(200, Content::Json("SchoolUnread"), "the number")],
        ..route("GET", "/api/chat/unread-count", |method| on(method, unread_count), &[])
    },
    Route {
        summary: "Read a whole thread",
        answers: &[given(200, Content::Json("SchoolRead"), "it is so")],
        ..route("POST", "/api/chat/mark-read/{thread_id}", |method| on(method, mark_read), &[400, 404, 429])
    },
    Route {
        summary: "Have the caller's sockets told nothing",
        answers: &[given(200, Content::Json("SchoolDone"), "it is so")],
        ..route("POST", "/api/chat/unsubscribe", |method| on(method, unsubscribe), &[])
    },
];

type Answered = Result<Response<Body>, Error>;

/// Who answers sockets at `/`.
pub(super) async fn open(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let since = match query(request.uri()).remove("last_check_time") {
        Some(text) => Some(convert::rfc3339(&text).ok_or(Error::invalid("last_check_time"))?),
        None => None,
    };
    upgrade(&services, &APP, request, |opening| Conversation::new(&services, opening, since))
}

async fn subscribe(State(services): State<Arc<Services>>, headers: HeaderMap) -> Answered {
    let (asker, token) = admit(&services, &headers)?;
    services.call(&asker.caller, "upsert_profile", json!({})).await?;
    SESSIONS.silence(asker.person, &token, false);
    Ok(done("Subscribed to real-time messages", None, &asker))
}

async fn unsubscribe(State(services): State<Arc<Services>>, headers: HeaderMap) -> Answered {
    let (asker, token) = admit(&services, &headers)?;
    SESSIONS.silence(asker.person, &token, true);
    Ok(done("Unsubscribed from real-time messages", None, &asker))
}

async fn offline_messages(State(services): State<Arc<Services>>, headers: HeaderMap, uri: Uri) -> Answered {
    let (asker, token) = admit(&services, &headers)?;
    let since = query(&uri).remove("last_check_time").ok_or(Error::missing("last_check_time"))?;
    let since = convert::rfc3339(&since).ok_or(Error::invalid("last_check_time"))?;
    let checked = SESSIONS.check(&services, &asker, &token, &since).await?;
    for message in checked.messages.iter().filter(|message| message.sender() != Some(asker.person)) {
        services.deliveries.note(message.id, asker.person);
    }
    let messages: Vec<_> = checked.messages.into_iter().map(convert::message).collect();
    let count = messages.len();
    let last_check_time = checked.last_check_time;
    let data = Data::Missed { messages, count, last_check_time, has_more: checked.remaining > 0 };
    Ok(answer(&Answer::Data { status: Status::Success, data }))
}

async fn unread_count(State(services): State<Arc<Services>>, headers: HeaderMap) -> Answered {
    let (asker, _) = admit(&services, &headers)?;
    let count = services.call(&asker.caller, "get_unread_message_count", json!({})).await?;
    let unread_count = count.as_u64().ok_or(Error::NotSetUp)?;
    Ok(answer(&Answer::Data { status: Status::Success, data: Data::Unread { unread_count } }))
}

async fn mark_read(
    State(services): State<Arc<Services>>,
    Path(thread_id): Path<String>,
    headers: HeaderMap,
) -> Answered {
    let (asker, _) = admit(&services, &headers)?;
    let thread_id = uuid(&thread_id).ok_or(Error::invalid("thread_id"))?;
    let arguments = json!({ "conversation_id": thread_id });
    let mark = || services.call(&asker.caller, "mark_conversation_as_read", arguments.clone());
    // Whoever has more to read than one call marks needs several; the limit on receipts bounds them.
    while mark().await?.as_u64() == Some(MARKED_AT_ONCE) {}
    Ok(done("Messages marked as read", Some(thread_id), &asker))
}

/// Who asks, and by which token.
fn admit(services: &Services, headers: &HeaderMap) -> Result<(Asker, TokenHash), Error> {
    let token = bearer(headers)?.ok_or(Error::NoToken)?;
    Ok((services.asker_of(&token)?, TokenHash::of(&token)))
}

fn done(message: &'static str, thread_id: Option<Uuid>, asker: &Asker) -> Response<Body> {
    answer(&Answer::Done { status: Status::Success, message, thread_id, user_id: asker.person.id() })
}

fn answer(answer: &Answer) -> Response<Body> {
    // All that can go wrong is a key that is no text, and ours are.
    json_answer(StatusCode::OK, &serde_json::to_value(answer).unwrap_or_default())
}

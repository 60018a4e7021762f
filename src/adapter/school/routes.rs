//! The school app's requests.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::{MethodRouter, any, get, post};
use serde_json::{Value, json};
use uuid::Uuid;

use super::catch_up::TokenHash;
use super::convert;
use super::model::{Answer, Data, Refusal, Status, uuid};
use super::sessions::SESSIONS;
use super::socket::{APP, Conversation};
use crate::adapter::request::{bearer, json as json_answer, query};
use crate::adapter::socket::{answer, upgrade};
use crate::adapter::{Asker, Error, Services};

/// How many messages one call marks as read; whoever has more is answered as many.
const MARKED_AT_ONCE: u64 = 10_000;

/// All paths but the sockets'.
pub(super) fn routes(services: Arc<Services>) -> Router {
    Router::new()
        .route("/api/chat/subscribe", post(subscribe))
        .route("/api/chat/offline-messages", get(offline_messages))
        .route("/api/chat/unread-count", get(unread_count))
        .route("/api/chat/mark-read/{thread_id}", post(mark_read))
        .route("/api/chat/unsubscribe", post(unsubscribe))
        .method_not_allowed_fallback(async || refuse(&Error::Method))
        .with_state(services)
}

/// Who answers sockets at `/`.
pub(super) fn root(services: Arc<Services>) -> MethodRouter {
    any(open).with_state(services)
}

async fn open(State(services): State<Arc<Services>>, request: Request) -> Response<Body> {
    let since = match query(request.uri()).remove("last_check_time") {
        Some(text) => match convert::rfc3339(&text) {
            Some(since) => Some(since),
            None => return refuse(&Error::invalid("last_check_time")),
        },
        None => None,
    };
    let opened = upgrade(&services, &APP, request, |opening| Conversation::new(&services, opening, since));
    answer(opened, refusal)
}

async fn subscribe(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response<Body> {
    finish(
        async {
            let (asker, token) = admit(&services, &headers)?;
            services.call(&asker.caller, "upsert_profile", json!({})).await?;
            SESSIONS.silence(asker.person, &token, false);
            Ok(done("Subscribed to real-time messages", None, &asker))
        }
        .await,
    )
}

async fn unsubscribe(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response<Body> {
    let unsubscribed = admit(&services, &headers).map(|(asker, token)| {
        SESSIONS.silence(asker.person, &token, true);
        done("Unsubscribed from real-time messages", None, &asker)
    });
    finish(unsubscribed)
}

async fn offline_messages(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    finish(missed(&services, &headers, &uri).await)
}

async fn missed(services: &Services, headers: &HeaderMap, uri: &Uri) -> Result<Answer, Error> {
    let (asker, token) = admit(services, headers)?;
    let since = query(uri).remove("last_check_time").ok_or(Error::missing("last_check_time"))?;
    let since = convert::rfc3339(&since).ok_or(Error::invalid("last_check_time"))?;
    let checked = SESSIONS.check(services, &asker, &token, &since).await?;
    for message in checked.messages.iter().filter(|message| message.sender() != Some(asker.person)) {
        services.deliveries.note(message.id, asker.person);
    }
    let messages: Vec<_> = checked.messages.into_iter().map(convert::message).collect();
    let count = messages.len();
    let last_check_time = checked.last_check_time;
    let data = Data::Missed { messages, count, last_check_time, has_more: checked.remaining > 0 };
    Ok(Answer::Data { status: Status::Success, data })
}

async fn unread_count(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response<Body> {
    finish(
        async {
            let (asker, _) = admit(&services, &headers)?;
            let count = services.call(&asker.caller, "get_unread_message_count", json!({})).await?;
            let unread_count = count.as_u64().ok_or(Error::NotSetUp)?;
            Ok(Answer::Data { status: Status::Success, data: Data::Unread { unread_count } })
        }
        .await,
    )
}

async fn mark_read(
    State(services): State<Arc<Services>>,
    Path(thread_id): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    finish(
        async {
            let (asker, _) = admit(&services, &headers)?;
            let thread_id = uuid(&thread_id).ok_or(Error::invalid("thread_id"))?;
            let arguments = json!({ "conversation_id": thread_id });
            let mark = || services.call(&asker.caller, "mark_conversation_as_read", arguments.clone());
            // Whoever has more to read than one call marks needs several; the limit on receipts bounds them.
            while mark().await?.as_u64() == Some(MARKED_AT_ONCE) {}
            Ok(done("Messages marked as read", Some(thread_id), &asker))
        }
        .await,
    )
}

/// Who asks, and by which token.
fn admit(services: &Services, headers: &HeaderMap) -> Result<(Asker, TokenHash), Error> {
    let token = bearer(headers)?.ok_or(Error::NoToken)?;
    Ok((services.asker_of(&token)?, TokenHash::of(&token)))
}

fn done(message: &'static str, thread_id: Option<Uuid>, asker: &Asker) -> Answer {
    Answer::Done { status: Status::Success, message, thread_id, user_id: asker.person.id() }
}

fn finish(result: Result<Answer, Error>) -> Response<Body> {
    match result {
        // All that can go wrong is a key that is no text, and ours are.
        Ok(answer) => json_answer(StatusCode::OK, &serde_json::to_value(answer).unwrap_or_default()),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &Error) -> Response<Body> {
    error.answer(&refusal(error))
}

fn refusal(error: &Error) -> Value {
    let refusal =
        Refusal { status: Status::Error, message: error.to_string(), retry_after: error.retry_after() };
    serde_json::to_value(refusal).unwrap_or_default()
}

//! Pitchey's paths, and what they answer.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::{any, get, post};
use serde_json::{Value, json};

use super::convert::{self, Sending};
use super::socket::{APP, Socket, send};
use crate::adapter::request::{self, number, path_id, query};
use crate::adapter::socket::{answer, upgrade};
use crate::adapter::{Error, Services};

/// How many items a page has, unless the client asks for another number.
const PAGE_ITEMS: u32 = 50;
/// How many it may ask for.
const PAGE_ITEMS_MAX: u32 = 100;

/// All of them.
pub(super) fn routes(services: Arc<Services>) -> Router {
    Router::new()
        .route("/api/messages/ws", any(socket))
        .route("/api/messages/conversations", get(conversations))
        .route("/api/messages/{conversation_id}/messages", get(messages))
        .route("/api/messages/send", post(send_message))
        .route("/api/notifications/preferences", get(preferences).put(update_preferences))
        .method_not_allowed_fallback(async || Error::Method.answer(&refused(&Error::Method)))
        .with_state(services)
}

/// The body of a refusal.
fn refused(error: &Error) -> Value {
    match error.retry_after() {
        Some(seconds) => json!({ "success": false, "error": error.to_string(), "retryAfter": seconds }),
        None => json!({ "success": false, "error": error.to_string() }),
    }
}

async fn respond(answered: impl Future<Output = Result<Value, Error>>) -> Response<Body> {
    match answered.await {
        Ok(body) => request::json(StatusCode::OK, &body),
        Err(error) => error.answer(&refused(&error)),
    }
}

async fn socket(State(services): State<Arc<Services>>, request: Request) -> Response<Body> {
    answer(upgrade(&services, &APP, request, |opening| Socket::new(&services, opening)), refused)
}

async fn conversations(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    respond(async {
        let asker = services.asker(&headers)?;
        let query = query(&uri);
        let limit = number(&query, "limit", 1..=PAGE_ITEMS_MAX, PAGE_ITEMS)?;
        let include_archived = match query.get("archived").map(String::as_str) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Error::invalid("archived")),
        };
        // One more than is shown tells whether there are more.
        let arguments = json!({
            "page_limit": limit + 1,
            "before": query.get("before"),
            "include_archived": include_archived,
        });
        let listed = services.call(&asker.caller, "list_conversations", arguments).await?;
        let mut conversations = convert::conversations(listed)?;
        let has_more = conversations.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if has_more {
            conversations.pop();
        }
        let last = conversations.last().filter(|_| has_more);
        let next = last.map(|last| last.last_message_at.as_ref().unwrap_or(&last.created_at));
        Ok(json!({
            "success": true, "conversations": conversations, "hasMore": has_more, "nextBefore": next
        }))
    })
    .await
}

async fn messages(
    State(services): State<Arc<Services>>,
    Path(conversation_id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    respond(async {
        let asker = services.asker(&headers)?;
        let conversation_id = path_id(&conversation_id, "conversationId")?;
        let query = query(&uri);
        let limit = number(&query, "limit", 1..=PAGE_ITEMS_MAX, PAGE_ITEMS)?;
        let before = query.get("before").map(|before| path_id(before, "before")).transpose()?;
        let arguments =
            json!({ "conversation_id": conversation_id, "page_limit": limit + 1, "before_id": before });
        let mut messages =
            convert::messages(services.call(&asker.caller, "list_messages", arguments).await?)?;
        let has_more = messages.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if has_more {
            // The oldest comes first.
            messages.remove(0);
        }
        let next = messages.first().filter(|_| has_more).map(|oldest| oldest.message.message_id);
        Ok(json!({
            "success": true,
            "conversationId": conversation_id,
            "messages": messages,
            "hasMore": has_more,
            "nextBefore": next,
        }))
    })
    .await
}

async fn send_message(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    respond(async {
        let asker = services.asker(&headers)?;
        let sending = Sending::read(&services.fields(&headers, body).await?)?;
        let message = send(&services, &asker, sending).await?;
        Ok(json!({ "success": true, "message": message }))
    })
    .await
}

async fn preferences(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response<Body> {
    respond(async {
        let asker = services.asker(&headers)?;
        let found = services.call(&asker.caller, "get_notification_preferences", json!({})).await?;
        Ok(json!({ "success": true, "preferences": convert::preferences(&found) }))
    })
    .await
}

async fn update_preferences(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    respond(async {
        let asker = services.asker(&headers)?;
        let changes = convert::changes(services.fields(&headers, body).await?)?;
        let arguments = json!({ "changes": changes });
        let found = services.call(&asker.caller, "update_notification_preferences", arguments).await?;
        Ok(json!({ "success": true, "preferences": convert::preferences(&found) }))
    })
    .await
}

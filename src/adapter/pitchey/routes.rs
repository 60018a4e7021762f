//! Pitchey's paths, and what they answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::on;
use serde_json::{Value, json};

use super::convert::{self, Sending};
use super::socket::{APP, Socket, send};
use crate::adapter::request::{self, number, path_id, query};
use crate::adapter::route::{Route, route};
use crate::adapter::socket::upgrade;
use crate::adapter::{Error, Services};
use crate::rest::route::{Content, answer as given};

/// How many items a page has, unless the client asks for another number.
const PAGE_ITEMS: u32 = 50;
/// How many it may ask for.
const PAGE_ITEMS_MAX: u32 = 100;

/// All of them.
pub(super) static ROUTES: &[Route] = &[
    Route {
        summary: "Open a WebSocket for messages",
        query: &[("token", "the token, unless `Authorization` has it")],
        answers: &[given(101, Content::Empty, "the socket is open")],
        ..route("GET", "/api/messages/ws", |method| on(method, socket), &[426])
    },
    Route {
        summary: "List the caller's conversations, the one with the latest message first",
        query: &[
            ("limit", "1 to 100, else 50"),
            ("before", "`nextBefore` of the page before"),
            ("archived", "`true` lists archived ones, too"),
        ],
        answers: &[given(200, Content::Json("PitcheyConversations"), "a page")],
        ..route("GET", "/api/messages/conversations", |method| on(method, conversations), &[400])
    },
    Route {
        summary: "List the messages of a conversation, the newest page first, each the oldest first",
        query: &[("limit", "1 to 100, else 50"), ("before", "`nextBefore` of the page before")],
        answers: &[given(200, Content::Json("PitcheyMessages"), "a page")],
        ..route("GET", "/api/messages/{conversation_id}/messages", |method| on(method, messages), &[400, 404])
    },
    Route {
        summary: "Send a message",
        requests: &[Content::Json("PitcheySending")],
        answers: &[given(
            200,
            Content::Json("PitcheySent"),
            "the message, or the first one of that `clientMessageId`",
        )],
        ..route("POST", "/api/messages/send", |method| on(method, send_message), &[400, 404, 413, 415, 429])
    },
    Route {
        summary: "Read the caller's preferences",
        answers: &[given(200, Content::Json("PitcheyPreferences"), "all of them")],
        ..route("GET", "/api/notifications/preferences", |method| on(method, preferences), &[])
    },
    Route {
        summary: "Change some of them",
        requests: &[Content::Json("PitcheyPreferenceChanges")],
        answers: &[given(200, Content::Json("PitcheyPreferences"), "all of them")],
        ..route(
            "PUT",
            "/api/notifications/preferences",
            |method| on(method, update_preferences),
            &[400, 413, 415],
        )
    },
];

type Answered = Result<Response<Body>, Error>;

fn answer(body: &Value) -> Answered {
    Ok(request::json(StatusCode::OK, body))
}

async fn socket(State(services): State<Arc<Services>>, request: Request) -> Answered {
    upgrade(&services, &APP, request, |opening| Socket::new(&services, opening))
}

async fn conversations(State(services): State<Arc<Services>>, headers: HeaderMap, uri: Uri) -> Answered {
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
    answer(&json!({
        "success": true, "conversations": conversations, "hasMore": has_more, "nextBefore": next
    }))
}

async fn messages(
    State(services): State<Arc<Services>>,
    Path(conversation_id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Answered {
    let asker = services.asker(&headers)?;
    let conversation_id = path_id(&conversation_id, "conversationId")?;
    let query = query(&uri);
    let limit = number(&query, "limit", 1..=PAGE_ITEMS_MAX, PAGE_ITEMS)?;
    let before = query.get("before").map(|before| path_id(before, "before")).transpose()?;
    let arguments =
        json!({ "conversation_id": conversation_id, "page_limit": limit + 1, "before_id": before });
    let mut messages = convert::messages(services.call(&asker.caller, "list_messages", arguments).await?)?;
    let has_more = messages.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if has_more {
        // The oldest comes first.
        messages.remove(0);
    }
    let next = messages.first().filter(|_| has_more).map(|oldest| oldest.message.message_id);
    answer(&json!({
        "success": true,
        "conversationId": conversation_id,
        "messages": messages,
        "hasMore": has_more,
        "nextBefore": next,
    }))
}

async fn send_message(State(services): State<Arc<Services>>, headers: HeaderMap, body: Body) -> Answered {
    let asker = services.asker(&headers)?;
    let sending = Sending::read(&services.fields(&headers, body).await?)?;
    let message = send(&services, &asker, sending).await?;
    answer(&json!({ "success": true, "message": message }))
}

async fn preferences(State(services): State<Arc<Services>>, headers: HeaderMap) -> Answered {
    let asker = services.asker(&headers)?;
    let found = services.call(&asker.caller, "get_notification_preferences", json!({})).await?;
    answer(&json!({ "success": true, "preferences": convert::preferences(&found) }))
}

async fn update_preferences(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let asker = services.asker(&headers)?;
    let changes = convert::changes(services.fields(&headers, body).await?)?;
    let arguments = json!({ "changes": changes });
    let found = services.call(&asker.caller, "update_notification_preferences", arguments).await?;
    answer(&json!({ "success": true, "preferences": convert::preferences(&found) }))
}

//! TutorConnect's paths, and who answers them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::on;
use serde::Serialize;
use serde_json::{Map, Value};

use super::convert::{self, chat_arguments, message_arguments};
use super::model::{Action, Interest, NewMessage, Reading, TypingChange};
use crate::adapter::answer::done;
use crate::adapter::request::{json, path_id, query};
use crate::adapter::route::{Route, route};
use crate::adapter::{Asker, Error, Services};
use crate::rest::route::{Content, answer as given};

/// The paths of the app.
pub(super) static ROUTES: &[Route] = &[
    Route {
        summary: "What to join for a chat, or to leave",
        requests: &[Content::Json("TutorConnectInterest")],
        answers: &[given(200, Content::Json("TutorConnectJoining"), "channels, topics and features")],
        ..route("POST", "/api/chat/realtime", |method| on(method, interest), &[400, 404, 413, 415])
    },
    Route {
        summary: "Begin to type, or stop",
        requests: &[Content::Json("TutorConnectTypingChange")],
        answers: &[given(200, Content::Json("TutorConnectTyping"), "who types now")],
        ..route("PUT", "/api/chat/realtime", |method| on(method, typing), &[400, 404, 413, 415, 429])
    },
    Route {
        summary: "Who is in a chat, who types, and what is new",
        query: &[("chatId", "the chat")],
        answers: &[given(200, Content::Json("TutorConnectChat"), "the chat")],
        ..route("GET", "/api/chat/realtime", |method| on(method, status), &[400, 404])
    },
    Route {
        summary: "Send a message",
        requests: &[Content::Json("TutorConnectNewMessage")],
        answers: &[given(
            201,
            Content::Json("TutorConnectMessage"),
            "the message, or the first one of that `clientMessageId`",
        )],
        ..route("POST", "/api/messages", |method| on(method, send), &[400, 404, 413, 415, 429])
    },
    Route {
        summary: "Edit a message of one's own",
        requests: &[Content::Json("TutorConnectEdit")],
        answers: &[given(200, Content::Json("TutorConnectMessage"), "the message")],
        ..route("PUT", "/api/messages/{id}", |method| on(method, edit), &[400, 404, 413, 415, 429])
    },
    Route {
        summary: "Delete a message of one's own",
        answers: &[given(200, Content::Json("TutorConnectMessage"), "the message, without its content")],
        ..route("DELETE", "/api/messages/{id}", |method| on(method, delete), &[400, 404])
    },
    Route {
        summary: "Begin to type, or stop",
        requests: &[Content::Json("TutorConnectTypingChange")],
        answers: &[given(200, Content::Json("TutorConnectTyping"), "who types now")],
        ..route("POST", "/api/messages/typing", |method| on(method, typing), &[400, 404, 413, 415, 429])
    },
    Route {
        summary: "Read a message, several, or a whole chat",
        requests: &[Content::Json("TutorConnectReading")],
        answers: &[given(200, Content::Json("TutorConnectRead"), "the receipt, or how many became read")],
        ..route("POST", "/api/messages/read-receipts", |method| on(method, read), &[400, 404, 413, 415, 429])
    },
];

type Answered = Result<Response<Body>, Error>;

fn answer(status: StatusCode, data: &impl Serialize) -> Answered {
    Ok(json(status, &done(data)))
}

/// Who asks, and the fields of what they have sent.
async fn received(services: &Services, request: Request) -> Result<(Asker, Map<String, Value>), Error> {
    let (parts, body) = request.into_parts();
    let asker = services.asker(&parts.headers)?;
    Ok((asker, services.fields(&parts.headers, body).await?))
}

/// `POST /api/chat/realtime`: what to join for a chat, or to leave.
async fn interest(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let (asker, fields) = received(&services, request).await?;
    let interest = Interest::read(&fields)?;
    // Whoever may not see the chat is told that there is none.
    services.call(&asker.caller, "get_conversation", chat_arguments(interest.chat)).await?;
    if interest.action == Action::Unsubscribe {
        let stop = TypingChange::stop(interest.chat);
        match services.call(&asker.caller, "update_typing_indicator", stop.arguments()).await {
            // Whoever sees a chat and may not write in it does not type either.
            Ok(_) | Err(Error::Forbidden) => {}
            Err(error) => return Err(error),
        }
    }
    answer(StatusCode::OK, &interest.answer(asker.person))
}

/// `PUT /api/chat/realtime` and `POST /api/messages/typing`: one begins to type, or stops.
async fn typing(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let (asker, fields) = received(&services, request).await?;
    let typing = TypingChange::read(&fields)?;
    let returned = services.call(&asker.caller, "update_typing_indicator", typing.arguments()).await?;
    answer(StatusCode::OK, &typing.answer(returned, asker.person)?)
}

/// `GET /api/chat/realtime?chatId=`: who is there, who types, and what is new.
async fn status(State(services): State<Arc<Services>>, headers: HeaderMap, uri: Uri) -> Answered {
    let asker = services.asker(&headers)?;
    let query = query(&uri);
    let chat = path_id(query.get("chatId").ok_or(Error::missing("chatId"))?, "chatId")?;
    let conversation = services.call(&asker.caller, "get_conversation", chat_arguments(chat)).await?;
    let typing = services.call(&asker.caller, "list_typing_indicators", chat_arguments(chat)).await?;
    answer(StatusCode::OK, &convert::chat_status(conversation, typing)?)
}

/// `POST /api/messages`: the same `clientMessageId` gives the message of the first time.
async fn send(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let (asker, fields) = received(&services, request).await?;
    let message = NewMessage::read(&fields)?;
    let returned = services.call(&asker.caller, "send_message", message.arguments()).await?;
    answer(StatusCode::CREATED, &convert::message(returned)?)
}

/// `PUT /api/messages/{id}`: one's own message gets another text.
async fn edit(State(services): State<Arc<Services>>, Path(id): Path<String>, request: Request) -> Answered {
    let (asker, fields) = received(&services, request).await?;
    let arguments = convert::edit(path_id(&id, "id")?, &fields)?;
    let returned = services.call(&asker.caller, "edit_message", arguments).await?;
    answer(StatusCode::OK, &convert::message(returned)?)
}

/// `DELETE /api/messages/{id}`: one's own message loses its content.
async fn delete(
    State(services): State<Arc<Services>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answered {
    let asker = services.asker(&headers)?;
    let arguments = message_arguments(path_id(&id, "id")?);
    let returned = services.call(&asker.caller, "delete_message", arguments).await?;
    answer(StatusCode::OK, &convert::message(returned)?)
}

/// `POST /api/messages/read-receipts`: one message, several, or a whole chat is read.
async fn read(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let (asker, fields) = received(&services, request).await?;
    let read = Reading::read(&fields)?;
    let (function, arguments) = read.call();
    let returned = services.call(&asker.caller, function, arguments).await?;
    answer(StatusCode::OK, &read.answer(returned)?)
}

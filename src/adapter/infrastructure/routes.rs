//! The subscription API's one path, and who answers it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::on;
use serde::Serialize;

use super::convert::stamped;
use super::model::{Place, Subscribe, Unsubscribe};
use crate::adapter::answer::done;
use crate::adapter::request::json;
use crate::adapter::route::{Route, route};
use crate::adapter::{Error, Services};
use crate::protocol::change::timestamp;
use crate::rest::route::{Content, answer as given};
use crate::telemetry::clock::unix_seconds;

/// The paths of the app.
pub(super) static ROUTES: &[Route] = &[
    Route {
        summary: "Where to connect, and what to join there",
        requests: &[Content::Json("InfrastructureSubscribe")],
        answers: &[given(
            200,
            Content::Json("InfrastructureSubscription"),
            "address, channels, features and filters",
        )],
        ..route(
            "POST",
            "/api/messages/realtime/subscribe",
            |method| on(method, subscribe),
            &[400, 404, 413, 415],
        )
    },
    Route {
        summary: "Say that channels are left, of which nothing is kept",
        requests: &[Content::Json("InfrastructureUnsubscribe")],
        answers: &[given(200, Content::Json("InfrastructureUnsubscribed"), "it is so")],
        ..route(
            "DELETE",
            "/api/messages/realtime/subscribe",
            |method| on(method, unsubscribe),
            &[400, 413, 415],
        )
    },
];

type Answered = Result<Response<Body>, Error>;

fn answer(data: &impl Serialize) -> Answered {
    Ok(json(StatusCode::OK, &stamped(done(data), now())))
}

/// As answers tell it.
pub(super) fn now() -> String {
    timestamp(unix_seconds().saturating_mul(1_000_000))
}

/// `POST`: where to connect, and what to join there.
async fn subscribe(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let (parts, body) = request.into_parts();
    let asker = services.asker(&parts.headers)?;
    let subscribe = Subscribe::read(&services.fields(&parts.headers, body).await?)?;
    // Whoever may not see the conversation is told that there is none.
    services.call(&asker.caller, "get_conversation", subscribe.arguments()).await?;
    answer(&subscribe.answer(asker.person, Place::of(&services.place, &parts.headers)))
}

/// `DELETE`: nothing is kept here of what somebody has joined, so that there is nothing to do but to say so.
async fn unsubscribe(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let (parts, body) = request.into_parts();
    services.asker(&parts.headers)?;
    let fields = services.optional_fields(&parts.headers, body).await?;
    answer(&Unsubscribe::read(&fields)?.answer())
}

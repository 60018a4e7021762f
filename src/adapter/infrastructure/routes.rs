//! The subscription API's one path, and who answers it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde::Serialize;

use super::convert;
use super::model::{Place, Subscribe, Unsubscribe};
use crate::adapter::request::json;
use crate::adapter::{Error, Services};
use crate::protocol::change::timestamp;
use crate::telemetry::clock::unix_seconds;

/// The paths of the app.
pub(super) fn routes(services: Arc<Services>) -> Router {
    Router::new()
        .route("/api/messages/realtime/subscribe", post(subscribe).delete(unsubscribe))
        .method_not_allowed_fallback(async || Refused(Error::Method))
        .with_state(services)
}

type Answered = Result<Response<Body>, Refused>;

/// A refusal in the app's shape.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        self.0.answer(&convert::refused(&self.0, now()))
    }
}

fn answer(data: impl Serialize) -> Answered {
    Ok(json(StatusCode::OK, &convert::done(data, now())))
}

/// As answers tell it.
fn now() -> String {
    timestamp(unix_seconds().saturating_mul(1_000_000))
}

/// `POST`: where to connect, and what to join there.
async fn subscribe(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let (parts, body) = request.into_parts();
    let asker = services.asker(&parts.headers)?;
    let subscribe = Subscribe::read(&services.fields(&parts.headers, body).await?)?;
    // Whoever may not see the conversation is told that there is none.
    services.call(&asker.caller, "get_conversation", subscribe.arguments()).await?;
    answer(subscribe.answer(asker.person, Place::of(&services.place, &parts.headers)))
}

/// `DELETE`: nothing is kept here of what somebody has joined, so that there is nothing to do but to say so.
async fn unsubscribe(State(services): State<Arc<Services>>, request: Request) -> Answered {
    let (parts, body) = request.into_parts();
    services.asker(&parts.headers)?;
    let fields = services.optional_fields(&parts.headers, body).await?;
    answer(Unsubscribe::read(&fields)?.answer())
}

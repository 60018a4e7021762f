//! `GET /healthcheck`: 200 `ok` while changes flow, else 503 and why not.

use axum::extract::State;
use axum::http::StatusCode;

use crate::telemetry::health::{Health, Liveness};

/// Answers with the state of health; HEAD gets the same without the body.
pub(super) async fn healthcheck(State(health): State<Health>) -> (StatusCode, String) {
    match health.get() {
        Liveness::Live => (StatusCode::OK, "ok".to_owned()),
        Liveness::Down(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.into_owned()),
    }
}

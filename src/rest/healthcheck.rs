//! `GET /healthcheck`: 200 `ok` while changes flow, else 503 and why not.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::services::Services;
use crate::telemetry::health::Liveness;

/// Answers with the state of health; HEAD gets the same without the body.
pub(super) async fn healthcheck<S>(State(services): State<Arc<Services<S>>>) -> (StatusCode, String) {
    match services.health.get() {
        Liveness::Live => (StatusCode::OK, "ok".to_owned()),
        Liveness::Down(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.into_owned()),
    }
}

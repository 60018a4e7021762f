//! `GET /api/ping`: an answer, whose headers tell the rate of requests.

use axum::http::header;
use axum::response::IntoResponse;

use super::error::JSON;

/// Answers.
pub(super) async fn ping() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JSON)], r#"{"message":"Success"}"#)
}

//! Errors of HTTP requests → status and body.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;

/// Why a request is refused. Bodies are `{"message": "…"}`, as the stock server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No route has this path.
    #[error("Not Found")]
    NotFound,
}

impl Error {
    /// The status that tells the client.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response<Body> {
        let body = serde_json::json!({ "message": self.to_string() }).to_string();
        (self.status(), [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
    }
}

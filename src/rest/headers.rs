//! A bound on the headers of requests, before anybody reads them.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::middleware::Next;
use axum::response::IntoResponse;

use super::error::Error;

/// Refuses a request that has a header value of more than so many bytes.
pub(super) async fn bound(State(bytes_max): State<usize>, request: Request, next: Next) -> Response<Body> {
    if request.headers().values().any(|value| value.len() > bytes_max) {
        return Error::HeaderTooLong.into_response();
    }
    next.run(request).await
}

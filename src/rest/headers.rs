//! A bound on the headers of requests, before anybody reads them.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

/// The same routes, with 431 for every request that has a header value of more than so many bytes.
pub fn bound_headers(router: Router, value_bytes_max: usize) -> Router {
    router.layer(from_fn_with_state(value_bytes_max, check))
}

async fn check(State(value_bytes_max): State<usize>, request: Request, next: Next) -> Response {
    if request.headers().values().any(|value| value.len() > value_bytes_max) {
        return StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response();
    }
    next.run(request).await
}

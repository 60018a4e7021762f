//! The rates of requests: counted, told in headers, and held to. They are the whole server's: behind a gateway all
//! clients have its address.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use axum::middleware::Next;

use super::body::discard;
use crate::hub::{Meter, Meters};

/// The rate now, the limit, and what is left, in whole requests a second. Browsers may read them.
pub(super) const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-rate-rolling"),
    HeaderName::from_static("x-rate-limit"),
    HeaderName::from_static("x-rate-limit-remaining"),
];

/// What is held to the rate, and how a request too many is refused there.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) meters: Arc<Meters>,
    pub(super) meter: fn(&Meters) -> &Meter,
    /// Whether requests that are refused count, too: then all are refused until fewer come.
    pub(super) counts_refused: bool,
    pub(super) refuse: fn() -> Response<Body>,
}

/// Counts a request and answers it, or refuses it when there have been too many.
pub(super) async fn hold(State(held): State<Held>, request: Request, next: Next) -> Response<Body> {
    let meter = (held.meter)(&held.meters);
    // As it was when the request came.
    let (rate, is_reached) = (headers(meter), meter.is_reached());
    if held.counts_refused || !is_reached {
        meter.add(1);
    }
    let mut response = if is_reached {
        discard(request.into_body()).await;
        let mut refused = (held.refuse)();
        refused.headers_mut().insert(header::RETRY_AFTER, meter.opens_in().as_secs().max(1).into());
        refused
    } else {
        next.run(request).await
    };
    response.headers_mut().extend(rate);
    response
}

/// Empty where there is no limit.
fn headers(meter: &Meter) -> HeaderMap {
    if meter.limit() == 0 {
        return HeaderMap::new();
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is finite and not negative"
    )]
    let rolling = meter.average() as u64;
    let values = [rolling, meter.limit(), meter.limit().saturating_sub(rolling)];
    HEADERS.into_iter().zip(values.map(HeaderValue::from)).collect()
}

//! `x-request-id`: a name for each request, on its answer and in the log.

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use axum::middleware::Next;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use super::error::Refused;
use crate::telemetry::report::report;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The key of the W3C `baggage` header that names a request.
const BAGGAGE_KEY: &str = "request-id";

/// How long a name may be, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 10..=200;

/// Names the request, answers it, and logs its refusal, which is nowhere else logged.
pub(super) async fn name(request: Request, next: Next) -> Response<Body> {
    let id = given(request.headers()).unwrap_or_else(fresh);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        log(&refused, &method, route.as_ref(), response.status().as_u16(), &id);
    }
    response.headers_mut().insert(HEADER, id);
    response
}

/// Neither the path, which may hold a topic, nor any header but the name itself.
fn log(refused: &Refused, method: &Method, route: Option<&MatchedPath>, status: u16, id: &HeaderValue) {
    let Refused { code, cause, is_the_servers } = refused;
    let route = route.map_or("none", MatchedPath::as_str);
    let request_id = id.to_str().unwrap_or_default();
    if *is_the_servers {
        report!(warn, *code, status, cause, %method, route, request_id, "request refused");
    } else {
        report!(info, *code, status, %method, route, request_id, "request refused");
    }
}

/// The name that the client has given.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let header = headers.get(HEADER).and_then(|value| value.to_str().ok());
    let name = baggage(headers).filter(|name| is_name(name)).or_else(|| header.map(str::to_owned))?;
    if is_name(&name) { HeaderValue::try_from(name).ok() } else { None }
}

fn is_name(text: &str) -> bool {
    LENGTHS.contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The value of our key in `baggage: key=value;property, other=value`.
fn baggage(headers: &HeaderMap) -> Option<String> {
    let lists = headers.get_all("baggage").iter().filter_map(|value| value.to_str().ok());
    let value = lists.flat_map(|list| list.split(',')).find_map(|member| {
        let (key, value) = member.split(';').next()?.split_once('=')?;
        (key.trim() == BAGGAGE_KEY).then(|| value.trim())
    })?;
    Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

fn fresh() -> HeaderValue {
    // Digits and letters are always a header's value.
    HeaderValue::try_from(Uuid::new_v4().simple().to_string())
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        given(&headers).map(|id| id.to_str().unwrap().to_owned())
    }

    #[test]
    fn baggage_comes_before_the_header() {
        let header = ("x-request-id", "from-the-header");
        for (baggage, expected) in [
            ("request-id=from-baggage", "from-baggage"),
            ("a=1, request-id = from%2Dbaggage ;ttl=1,b=2", "from-baggage"),
            ("request-id=short", "from-the-header"),
            ("request-id=line%0Afeed-in-it", "from-the-header"),
            ("request-id=not-ascii-%C3%A4", "from-the-header"),
            ("request-id=%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF", "from-the-header"),
            ("other-id=from-baggage", "from-the-header"),
            ("request-id", "from-the-header"),
        ] {
            assert_eq!(named(&[("baggage", baggage), header]).as_deref(), Some(expected), "{baggage}");
        }
    }

    #[test]
    fn names_out_of_bounds_are_replaced() {
        for (length, taken) in [(9, false), (10, true), (200, true), (201, false)] {
            let name = "x".repeat(length);
            assert_eq!(named(&[("x-request-id", &name)]), taken.then_some(name), "{length}");
        }
        assert_eq!(named(&[("x-request-id", "with\ttab-in-it")]), None);
        assert_eq!(named(&[]), None);
        assert_eq!(fresh().len(), 32);
    }
}

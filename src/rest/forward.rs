//! Hands requests on to a PostgREST: everything under `/rest/v1` that is not answered here.
//!
//! Bodies go through as they come, in both directions, so that little of them is here at a time. What concerns one
//! connection alone stays on it (RFC 9110, 7.6.1), and what browsers are allowed is said by this server.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::uri::{PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use axum::response::IntoResponse;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_http::timeout::TimeoutBody;

use super::body::discard;
use super::rpc::refusal::Refusal;
use super::services::{Services, Shards};
use crate::auth::jwks::public_trust;

/// What paths begin with that are forwarded without it.
const PREFIX: &str = "/rest/v1";

/// How many requests are with the PostgREST at a time; one more is refused with 503.
const FORWARDED_MAX: usize = 512;

/// How long it may take until a connection is open.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long it may take until the answer begins, and how long either body may pause.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a connection is kept for the next request, and how many are.
const IDLE_MAX: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS_MAX: usize = 64;

const APIKEY: HeaderName = HeaderName::from_static("apikey");

/// Headers of one connection.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a PostgREST is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    base: Uri,
}

impl Upstream {
    /// Reads a URL; `None` if it is none of a PostgREST, or says more than where it is.
    pub fn parse(text: &str) -> Option<Self> {
        let base: Uri = text.trim_end_matches('/').parse().ok()?;
        let authority = base.authority()?;
        let is_http = base.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        let is_plain =
            !authority.as_str().contains('@') && !authority.host().is_empty() && base.query().is_none();
        (is_http && is_plain && !text.contains('#')).then_some(Self { base })
    }

    /// The address there of what is asked for here; none for a path that would lead out of it.
    fn address(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path().strip_prefix(PREFIX).unwrap_or(uri.path());
        if path.split('/').any(is_dots) {
            return None;
        }
        let path = if path.is_empty() { "/" } else { path };
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let own = self.base.path().trim_end_matches('/');
        let target = PathAndQuery::try_from(format!("{own}{path}{query}")).ok()?;
        Uri::builder()
            .scheme(self.base.scheme()?.clone())
            .authority(self.base.authority()?.clone())
            .path_and_query(target)
            .build()
            .ok()
    }
}

/// Whether a segment of a path stands for this place or the one above, which some servers follow.
fn is_dots(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// Whether a header is about the connection or about where the body ends, which no function can know.
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || HOP_BY_HOP.contains(&name.as_str())
}

/// Hands requests on. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Forwarder {
    upstream: Upstream,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    permits: Arc<Semaphore>,
}

impl Forwarder {
    /// One that trusts the authorities browsers trust. An error means that the cryptography lacks a version of TLS.
    pub fn new(upstream: Upstream) -> Result<Self, rustls::Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_WITHIN));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(public_trust()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { upstream, client, permits: Arc::new(Semaphore::new(FORWARDED_MAX)) })
    }

    /// Hands a request on and its answer back.
    pub(super) async fn forward(&self, parts: Parts, body: Body) -> Response<Body> {
        self.answer(parts, body).await.unwrap_or_else(IntoResponse::into_response)
    }

    async fn answer(&self, parts: Parts, body: Body) -> Result<Response<Body>, Refusal> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| Refusal::TooManyForwarded)?;
        let address = self.upstream.address(&parts.uri).ok_or(Refusal::NoUpstream)?;
        let mut request = Request::new(Body::new(TimeoutBody::new(ANSWER_WITHIN, body)));
        *request.method_mut() = parts.method;
        *request.uri_mut() = address;
        *request.headers_mut() = to_upstream(parts.headers);
        let answered =
            timeout(ANSWER_WITHIN, self.client.request(request)).await.map_err(|_| Refusal::Silent)?;
        let (mut parts, body) = answered.map_err(|_| Refusal::Unreachable)?.into_parts();
        end_to_end(&mut parts.headers);
        let of_browsers: Vec<HeaderName> = parts
            .headers
            .keys()
            .filter(|name| name.as_str().starts_with("access-control-"))
            .cloned()
            .collect();
        for name in of_browsers {
            parts.headers.remove(name);
        }
        let body = Body::new(TimeoutBody::new(ANSWER_WITHIN, body));
        Ok(Response::from_parts(parts, with_permit(body, permit)))
    }
}

/// Answers what nobody here does.
pub(super) async fn answer<S: Shards>(
    State(services): State<Arc<Services<S>>>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match &services.api.forwarder {
        Some(forwarder) => forwarder.forward(parts, body).await,
        None => {
            discard(body).await;
            Refusal::NoUpstream.into_response()
        }
    }
}

/// The headers of a request, as a PostgREST reads them: a token that stands in `apikey` alone stands where it looks.
fn to_upstream(mut headers: HeaderMap) -> HeaderMap {
    end_to_end(&mut headers);
    headers.remove(header::HOST);
    let key = headers.get(APIKEY).and_then(|key| key.to_str().ok()).filter(|key| key.split('.').count() == 3);
    if let (Some(key), false) = (key, headers.contains_key(header::AUTHORIZATION))
        && let Ok(bearer) = HeaderValue::try_from(format!("Bearer {key}"))
    {
        headers.insert(header::AUTHORIZATION, bearer);
    }
    headers
}

/// Takes out what concerns one connection alone.
fn end_to_end(headers: &mut HeaderMap) {
    let listed: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in listed.iter().map(String::as_str).chain(HOP_BY_HOP.iter().copied()) {
        headers.remove(name);
    }
}

/// A body that holds a place until it has ended.
fn with_permit(body: Body, permit: OwnedSemaphorePermit) -> Body {
    use http_body_util::BodyExt;
    Body::new(body.map_frame(move |frame| {
        let _held = &permit;
        frame
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_below_the_prefix() {
        for (base, path, expected) in [
            ("http://rest:3000", "/rest/v1/todos?id=eq.1", "http://rest:3000/todos?id=eq.1"),
            ("http://rest:3000/", "/rest/v1", "http://rest:3000/"),
            ("http://rest:3000", "/rest/v1/", "http://rest:3000/"),
            ("https://api.example.com/base/", "/rest/v1/a%2Fb", "https://api.example.com/base/a%2Fb"),
        ] {
            let found = Upstream::parse(base).unwrap().address(&path.parse().unwrap()).unwrap();
            assert_eq!(found.to_string(), expected, "{base} {path}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_upstream() {
        let upstream = Upstream::parse("http://gateway/rest/v1").unwrap();
        for path in ["/rest/v1/../auth", "/rest/v1/a/%2e%2E/b", "/rest/v1/.", "/rest/v1/.%2e"] {
            assert_eq!(upstream.address(&path.parse().unwrap()), None, "{path}");
        }
        for path in ["/rest/v1/a..b", "/rest/v1/...", "/rest/v1/a?b=../c"] {
            assert!(upstream.address(&path.parse().unwrap()).is_some(), "{path}");
        }
    }

    #[test]
    fn only_plain_addresses_are_taken() {
        for text in [
            "",
            "rest:3000",
            "ftp://rest",
            "http://",
            "http://a:b@rest",
            "http://rest?x=1",
            "http://rest#x",
            "/rest",
        ] {
            assert_eq!(Upstream::parse(text), None, "{text}");
        }
    }

    #[test]
    fn headers_of_the_connection_stay_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("host", "here"),
            ("prefer", "count=exact"),
            ("apikey", "a.b.c"),
        ] {
            headers.insert(
                HeaderName::from_static(match name {
                    "connection" => "connection",
                    "x-hop" => "x-hop",
                    "te" => "te",
                    "host" => "host",
                    "prefer" => "prefer",
                    _ => "apikey",
                }),
                HeaderValue::from_static(value),
            );
        }
        let headers = to_upstream(headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["apikey", "authorization", "prefer"]);
        assert_eq!(headers[header::AUTHORIZATION], "Bearer a.b.c");
    }
}

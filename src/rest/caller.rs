//! Who sends a request: the token of the project in its headers.
//!
//! Broadcasts take a token exactly as the stock server does ([`claims`]), everything else in any common spelling
//! ([`bearer`]).

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};

use super::error::Error;
use crate::auth::Verifier;
use crate::policy::Claims;
use crate::telemetry::clock::unix_seconds;

/// The claims of the token in `Authorization`, or else in `apikey`.
pub(super) fn claims(headers: &HeaderMap, verifier: &Verifier) -> Result<Arc<Claims>, Error> {
    let token = token(headers)?;
    verifier.verify(&token, unix_seconds()).map_err(Error::Token)
}

/// The token: of `Authorization`, unless that is missing, empty or of another scheme than `bearer`; then of `apikey`.
fn token(headers: &HeaderMap) -> Result<String, Error> {
    let header = |name| headers.get(name).map(text).filter(|text: &String| !text.is_empty());
    if let Some(authorization) = header(header::AUTHORIZATION) {
        let (scheme, token) = authorization.split_once(' ').ok_or(Error::NoToken)?;
        if token.is_empty() || token.contains(' ') {
            return Err(Error::NoToken);
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(token.to_owned());
        }
    }
    header(header::HeaderName::from_static("apikey")).ok_or(Error::NoToken)
}

/// The token in the value of `Authorization: Bearer …`, which may be empty; none of another scheme.
pub fn bearer(authorization: &str) -> Option<&str> {
    let value = authorization.trim();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// All headers as a JSON object, as policies read them in `request.headers`; of repeated ones the last.
pub(super) fn headers_json(headers: &HeaderMap) -> Arc<str> {
    let fields = headers.iter().map(|(name, value)| (name.as_str().to_owned(), Value::String(text(value))));
    Value::Object(fields.collect::<Map<_, _>>()).to_string().into()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn authorization_comes_before_apikey() {
        for (pairs, expected) in [
            (&[("authorization", "Bearer a"), ("apikey", "b")][..], Some("a")),
            (&[("authorization", "bEARER a")], Some("a")),
            (&[("authorization", ""), ("apikey", "b")], Some("b")),
            (&[("authorization", "Basic eDp5"), ("apikey", "b")], Some("b")),
            (&[("apikey", "b")], Some("b")),
            (&[("authorization", "Basic eDp5")], None),
            (&[("authorization", "Bearer"), ("apikey", "b")], None),
            (&[("authorization", "Bearer a c"), ("apikey", "b")], None),
            (&[("authorization", "Bearer  a"), ("apikey", "b")], None),
            (&[("x-api-key", "b")], None),
            (&[("apikey", "")], None),
            (&[], None),
        ] {
            assert_eq!(token(&headers(pairs)).ok().as_deref(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn only_what_a_bearer_brings_is_a_token() {
        for (value, expected) in [
            ("Bearer a", Some("a")),
            (" bEARER  a ", Some("a")),
            ("Bearer ", Some("")),
            ("Bearer", Some("")),
            ("Basic eDp5", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(bearer(value), expected, "{value:?}");
        }
    }

    #[test]
    fn policies_see_all_headers() {
        let headers = headers(&[("x-client-info", "a\"b"), ("accept", "x"), ("accept", "y")]);
        assert_eq!(&*headers_json(&headers), r#"{"accept":"y","x-client-info":"a\"b"}"#);
    }
}

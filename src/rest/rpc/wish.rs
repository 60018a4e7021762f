//! What the headers of a request ask for: whose call it is, in which schema, and in which form the answer is wanted.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, Method, header};
use serde_json::json;

use super::refusal::Refusal;
use crate::auth::Verifier;
use crate::policy::Claims;
use crate::postgres::rpc::ANONYMOUS;
use crate::rest::body::is_json;
use crate::rest::caller;
use crate::telemetry::clock::unix_seconds;

const APIKEY: HeaderName = HeaderName::from_static("apikey");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");
const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");

/// One row, without its array.
pub(super) const OBJECT: &str = "application/vnd.pgrst.object+json";

/// The claims of the token in `Authorization`, or else in `apikey`; who brings neither is anonymous.
pub(super) fn claims(headers: &HeaderMap, verifier: &Verifier) -> Result<Arc<Claims>, Refusal> {
    let verify = |token: &str| verifier.verify(token, unix_seconds()).map_err(Refusal::Token);
    match bearer(headers)? {
        Some(token) => verify(token),
        None => match text(headers, &APIKEY).filter(|key| !key.is_empty()) {
            Some(key) => verify(key),
            None => {
                verifier.check_role(ANONYMOUS).map_err(Refusal::Token)?;
                Ok(anonymous())
            }
        },
    }
}

/// The token of `Authorization: Bearer …`; none for any other scheme.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    match text(headers, &header::AUTHORIZATION).and_then(caller::bearer) {
        Some("") => Err(Refusal::EmptyToken),
        token => Ok(token),
    }
}

fn anonymous() -> Arc<Claims> {
    let json = json!({ "role": ANONYMOUS }).to_string();
    Arc::new(Claims { role: ANONYMOUS.into(), json: json.into(), expires_at: i64::MAX })
}

/// The schema that is meant: the first one that is open, unless a header names another.
pub(super) fn schema<'a>(
    method: &Method,
    headers: &HeaderMap,
    open: &'a [String],
) -> Result<&'a str, Refusal> {
    let is_reader = [Method::GET, Method::HEAD].contains(method);
    let profile = if is_reader { ACCEPT_PROFILE } else { CONTENT_PROFILE };
    let asked = text(headers, &profile);
    let found = match asked {
        None => open.first(),
        Some(asked) => open.iter().find(|schema| **schema == *asked),
    };
    found
        .map(String::as_str)
        .ok_or_else(|| Refusal::Schema { asked: asked.unwrap_or_default().to_owned(), open: open.to_vec() })
}

/// Whether one row is wanted without its array.
pub(super) fn is_single(headers: &HeaderMap) -> Result<bool, Refusal> {
    let all: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if all.is_empty() {
        return Ok(false);
    }
    let asked = all.join(", ");
    for item in asked.split(',') {
        let mut parts = item.split(';').map(str::trim);
        match parts.next().unwrap_or_default() {
            "" | "*/*" | "application/*" | "application/json" => return Ok(false),
            // With values that are left out it is another type.
            OBJECT if !parts.any(|parameter| parameter.starts_with("nulls")) => return Ok(true),
            _ => {}
        }
    }
    Err(Refusal::Accept(asked))
}

/// Whether the rows are to be counted. Estimates are counts, too.
pub(super) fn is_counted(headers: &HeaderMap) -> Option<&'static str> {
    let all = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = all.flat_map(|value| value.split([',', ';'])).map(str::trim);
    preferences.find_map(|preference| {
        ["count=exact", "count=planned", "count=estimated"].into_iter().find(|known| *known == preference)
    })
}

/// Whether a body is JSON; one without a type is.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    if is_json(given) {
        return Ok(());
    }
    Err(Refusal::ContentType(given.to_str().unwrap_or_default().to_owned()))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_bearer_wins_over_the_key() {
        for (pairs, expected) in [
            (&[("authorization", "Bearer a"), ("apikey", "b")][..], Ok(Some("a"))),
            (&[("authorization", "bearer  a ")], Ok(Some("a"))),
            (&[("authorization", "Bearer ")], Err(Refusal::EmptyToken)),
            (&[("authorization", "Bearer")], Err(Refusal::EmptyToken)),
            (&[("authorization", "Basic eDp5"), ("apikey", "b")], Ok(None)),
            (&[("apikey", "b")], Ok(None)),
            (&[], Ok(None)),
        ] {
            assert_eq!(bearer(&headers(pairs)), expected, "{pairs:?}");
        }
        let nobody = claims(&headers(&[]), &Verifier::new(crate::auth::Config::default())).unwrap();
        assert_eq!((&*nobody.role, &*nobody.json), ("anon", r#"{"role":"anon"}"#));
        for pairs in [&[("apikey", "b")][..], &[("authorization", "Bearer a")]] {
            let verifier = Verifier::new(crate::auth::Config::default());
            assert!(matches!(claims(&headers(pairs), &verifier), Err(Refusal::Token(_))), "{pairs:?}");
        }
    }

    #[test]
    fn schemas_are_named_by_the_header_of_the_method() {
        let open = ["public".to_owned(), "api".to_owned()];
        let (to_read, to_write) = (("accept-profile", "api"), ("content-profile", "api"));
        for (method, pairs, expected) in [
            (Method::POST, &[][..], Some("public")),
            (Method::POST, &[to_write], Some("api")),
            (Method::POST, &[to_read], Some("public")),
            (Method::GET, &[to_read], Some("api")),
            (Method::HEAD, &[to_read, ("content-profile", "x")], Some("api")),
            (Method::GET, &[("accept-profile", "x")], None),
            (Method::POST, &[("content-profile", "")], None),
        ] {
            let found = schema(&method, &headers(pairs), &open);
            assert_eq!(found.ok(), expected, "{method} {pairs:?}");
        }
    }

    #[test]
    fn the_first_known_media_type_counts() {
        for (accept, expected) in [
            ("application/json", Some(false)),
            ("*/*", Some(false)),
            (OBJECT, Some(true)),
            ("application/vnd.pgrst.object+json;nulls=stripped", None),
            ("text/csv, application/vnd.pgrst.object+json", Some(true)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(false)),
            ("text/csv", None),
        ] {
            assert_eq!(is_single(&headers(&[("accept", accept)])).ok(), expected, "{accept}");
        }
        assert_eq!(is_single(&headers(&[])), Ok(false));
    }

    #[test]
    fn counts_are_found_among_other_preferences() {
        assert_eq!(is_counted(&headers(&[("prefer", "return=minimal, count=exact")])), Some("count=exact"));
        assert_eq!(
            is_counted(&headers(&[("prefer", "tx=x"), ("prefer", "count=planned")])),
            Some("count=planned")
        );
        assert_eq!(is_counted(&headers(&[("prefer", "count=all")])), None);
    }
}

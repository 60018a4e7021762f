//! `/rest/v1/rpc/{function}`: calls a function, as PostgREST does. POST brings the arguments as JSON, GET and HEAD in
//! the query.
//!
//! A request that asks for more than is done here (filters, embedded resources, other media types) goes to the PostgREST
//! of the settings, if there is one.

mod query;
pub(super) mod refusal;
mod reply;
mod wish;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, Response};
use axum::response::IntoResponse;
use serde::de::IgnoredAny;

use super::body::discard;
use super::caller::headers_json;
use super::forward::Forwarder;
use super::services::{Services, Shards};
use crate::policy::Claims;
use crate::postgres::rpc::{Arguments, Caller, Form, Function, Page, Rpc};
use query::Asked;
use refusal::Refusal;

/// What answers requests under `/rest/v1`.
pub struct Api {
    /// Calls functions.
    pub rpc: Rpc,
    /// Where they may be; the first one is the default, and none means that none may be called.
    pub schemas: Vec<String>,
    /// At most so many rows of a set are given.
    pub rows_max: Option<i64>,
    /// Where everything else goes.
    pub forwarder: Option<Forwarder>,
}

/// What is known of a call before its body is read.
struct Wanted {
    asked: Asked,
    counted: Option<&'static str>,
    claims: Arc<Claims>,
    schema: String,
}

pub(super) async fn call<S: Shards>(
    State(services): State<Arc<Services<S>>>,
    function: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response<Body> {
    let Ok(Path(function)) = function else { return Refusal::NoUpstream.into_response() };
    let (parts, body) = request.into_parts();
    let wanted = match wanted(&services, &parts) {
        Ok(wanted) => wanted,
        Err(refusal) => match services.api.forwarder.as_ref().filter(|_| refusal.is_beyond()) {
            Some(forwarder) => return forwarder.forward(parts, body).await,
            None => {
                discard(body).await;
                return refusal.into_response();
            }
        },
    };
    let answer = answer(&services, &function, wanted, &parts, body).await;
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// Whoever calls with another method.
pub(super) async fn refuse_method(method: Method) -> Refusal {
    Refusal::Method(method.to_string())
}

/// All that can be known, and refused, without the body.
fn wanted<S>(services: &Services<S>, parts: &Parts) -> Result<Wanted, Refusal> {
    let claims = wish::claims(&parts.headers, &services.verifier)?;
    let schema = wish::schema(&parts.method, &parts.headers, &services.api.schemas)?.to_owned();
    let counted = wish::is_counted(&parts.headers);
    let mut asked = Asked::read(&parts.uri)?;
    asked.page =
        Page { is_single: wish::is_single(&parts.headers)?, is_counted: counted.is_some(), ..asked.page };
    if !asked.page.is_single {
        asked.page.limit = asked.page.limit.into_iter().chain(services.api.rows_max).min();
    }
    if parts.method == Method::POST {
        wish::check_content_type(&parts.headers)?;
        // There are filters alone: arguments are in the body.
        if let Some((name, _)) = asked.rest.first() {
            return Err(Refusal::Query(name.clone()));
        }
    }
    Ok(Wanted { asked, counted, claims, schema })
}

async fn answer<S: Shards>(
    services: &Services<S>,
    function: &str,
    wanted: Wanted,
    parts: &Parts,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let Wanted { asked, counted, claims, schema } = wanted;
    let body = services.bodies.read(&parts.headers, body).await.map_err(Refusal::Body)?;
    let arguments = if parts.method == Method::POST { of_body(&body.bytes)? } else { asked.arguments() };
    let caller = Caller {
        claims,
        method: parts.method.clone(),
        path: format!("/rpc/{function}").into(),
        headers: headers_json(&parts.headers),
        time_zone: None,
    };
    let function = Function { schema: &schema, name: function };
    let returned = services.api.rpc.call_page(&caller, function, arguments, asked.page.clone()).await?;
    drop(body);
    reply::reply(returned, &asked.page, counted)
}

/// The arguments in a body; nothing at all is none.
fn of_body(bytes: &[u8]) -> Result<Arguments, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::NotJson)?;
    let text = match text.trim_ascii() {
        "" => "{}",
        text => text,
    };
    if text.starts_with('{') {
        // Values go to Postgres as they are.
        let fields: BTreeMap<String, IgnoredAny> =
            serde_json::from_str(text).map_err(|_| Refusal::NotJson)?;
        return Ok(Arguments {
            names: fields.into_keys().collect(),
            json: text.to_owned(),
            form: Form::Body,
        });
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| Refusal::NotJson)?;
    Ok(Arguments { names: Vec::new(), json: text.to_owned(), form: Form::Body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_object_of_arguments_or_an_argument_itself() {
        for (body, names) in [
            ("", &[][..]),
            ("{}", &[]),
            (r#" {"b": [1e400], "a": null} "#, &["a", "b"]),
            (r#"{"a": 1, "a": 2}"#, &["a"]),
            ("[1, 2]", &[]),
            ("7", &[]),
        ] {
            assert_eq!(of_body(body.as_bytes()).unwrap().names, names, "{body}");
        }
        for body in [&b"{"[..], b"{\"a\"}", b"\xff", b"{} {}", b"nul", b"{\"a\":1}x", b"[1,]"] {
            assert_eq!(of_body(body), Err(Refusal::NotJson), "{body:?}");
        }
    }
}

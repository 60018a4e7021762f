//! Why a request under `/rest/v1` is refused → PostgREST's status and body, and what the log gets.
//!
//! What Postgres raised is for the caller alone: it is counted, and the log gets nothing of it.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::Value;

use crate::auth::TokenError;
use crate::postgres::rpc;
use crate::postgres::rpc::error::body;
use crate::rest::error::{Error, JSON, Refused};
use crate::rest::forward::is_of_connection;
use crate::telemetry::code::Code;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rest) enum Refusal {
    /// The call has no result.
    Call(rpc::Error),
    /// The token is refused.
    Token(TokenError),
    /// There is a header for a token, and none in it.
    EmptyToken,
    /// The schema is none of those that are open.
    Schema { asked: String, open: Vec<String> },
    /// None of the media types that are asked for is there.
    Accept(String),
    /// The body is of another type than JSON.
    ContentType(String),
    /// The query holds what is not understood; the name of the parameter.
    Query(String),
    /// The body is not JSON.
    NotJson,
    /// The body could not be had.
    Body(Error),
    /// The rows that are asked for begin after the last one.
    Range { offset: i64, total: u64 },
    /// What a function set as `response.status` is none.
    Status,
    /// What a function set as `response.headers` are none.
    Headers,
    /// The method is none that calls a function.
    Method(String),
    /// Nobody answers this path.
    NoUpstream,
    /// PostgREST cannot be reached.
    Unreachable,
    /// It does not answer.
    Silent,
    /// So many requests are with it already.
    TooManyForwarded,
    /// More requests than the rate allows.
    RequestRate,
}

impl Refusal {
    /// Whether a PostgREST may know better.
    pub(super) fn is_beyond(&self) -> bool {
        matches!(self, Self::Accept(_) | Self::ContentType(_) | Self::Query(_))
    }

    fn status(&self) -> u16 {
        match self {
            Self::Call(error) => error.status(),
            Self::Token(TokenError::RoleNotAllowed { .. }) => 403,
            Self::Token(_) | Self::EmptyToken => 401,
            Self::Schema { .. } | Self::Accept(_) => 406,
            Self::ContentType(_) | Self::Query(_) | Self::NotJson => 400,
            Self::Body(error) => error.status().as_u16(),
            Self::Range { .. } => 416,
            Self::Status | Self::Headers => 500,
            Self::Method(_) => 405,
            Self::NoUpstream => 404,
            Self::Unreachable => 502,
            Self::Silent => 504,
            Self::TooManyForwarded => 503,
            Self::RequestRate => 429,
        }
    }

    fn body(&self) -> Value {
        let hint = |text: &str| Some(text.to_owned());
        let plain = |code: &str, message: &str| body(code, message, None, None);
        match self {
            Self::Call(error) => error.body(),
            Self::Token(TokenError::Expired { .. }) => plain("PGRST301", "JWT expired"),
            Self::Token(TokenError::RoleNotAllowed { role }) => {
                plain("42501", &format!(r#"permission denied to set role "{role}""#))
            }
            Self::Token(error) => plain("PGRST301", &error.system_message()),
            Self::EmptyToken => plain("PGRST301", "Empty JWT is sent in Authorization header"),
            Self::Schema { asked, open } => body(
                "PGRST106",
                &format!("Invalid schema: {asked}"),
                None,
                Some(format!("Only the following schemas are exposed: {}", open.join(", "))),
            ),
            Self::Accept(asked) => {
                plain("PGRST107", &format!("None of these media types are available: {asked}"))
            }
            Self::ContentType(given) => plain("PGRST102", &format!("Content-Type not acceptable: {given}")),
            Self::Query(name) => body(
                "PGRST100",
                &format!("The query parameter {name} is not understood"),
                hint(
                    "functions are called with select, order, limit and offset of plain columns; everything else is PostgREST's",
                ),
                hint("Set postgrest_url to a PostgREST, and such requests are forwarded to it"),
            ),
            Self::NotJson => plain("PGRST102", "Empty or invalid json"),
            Self::Body(error) => plain(error.code().as_str(), &error.to_string()),
            Self::Range { offset, total } => body(
                "PGRST103",
                "Requested range not satisfiable",
                Some(format!("An offset of {offset} was requested, but there are only {total} rows.")),
                None,
            ),
            Self::Status => plain("PGRST112", "response.status guc must be a valid status code"),
            Self::Headers => plain(
                "PGRST111",
                "response.headers guc must be a JSON array composed of objects with a single key and a string value",
            ),
            Self::Method(method) => plain("PGRST101", &format!("Cannot use the {method} method on RPC")),
            Self::NoUpstream => body(
                "PGRST125",
                "Invalid path specified in request URL",
                hint("this server answers nothing but /rest/v1/rpc/{function} itself"),
                hint(
                    "Set postgrest_url to a PostgREST, and everything else under /rest/v1 is forwarded to it",
                ),
            ),
            Self::Unreachable => {
                plain("PGRST000", "The PostgREST that postgrest_url names cannot be reached.")
            }
            Self::Silent => {
                plain("PGRST003", "The PostgREST that postgrest_url names did not answer in time.")
            }
            // As functions say that there is too much.
            Self::RequestRate => plain("PT429", "Too many requests"),
            Self::TooManyForwarded => plain("PGRST003", "Too many requests are being forwarded."),
        }
    }

    /// What the log is told, if it is told anything.
    fn refused(&self) -> Option<Refused> {
        let (code, is_the_servers) = match self {
            Self::Call(rpc::Error::Refused { .. } | rpc::Error::NotSingle { .. }) => return None,
            Self::Call(rpc::Error::NotFound { .. } | rpc::Error::Ambiguous { .. }) => {
                (Code::HttpClientError, false)
            }
            Self::Call(rpc::Error::Busy | rpc::Error::NoSession) => (Code::IncreaseConnectionPool, true),
            Self::Call(rpc::Error::Unavailable) => (Code::UnableToConnectToProject, true),
            Self::Call(rpc::Error::TimedOut) => (Code::QueryCanceled, true),
            Self::Body(error) => return Some(error.into()),
            Self::Token(error) => return Some((&Error::Token(error.clone())).into()),
            Self::EmptyToken => (Code::MissingAPIKey, false),
            Self::Unreachable | Self::Silent | Self::TooManyForwarded => (Code::HttpServerError, true),
            Self::RequestRate => return Some((&Error::RequestRate).into()),
            // The function's own doing.
            Self::Status | Self::Headers => (Code::HttpServerError, false),
            _ => (Code::HttpClientError, false),
        };
        let cause = match self {
            Self::Call(error) if is_the_servers => Some(error.to_string()),
            Self::Unreachable => Some("postgrest_url cannot be reached".to_owned()),
            Self::Silent => Some("postgrest_url does not answer".to_owned()),
            Self::TooManyForwarded => Some("too many requests are being forwarded".to_owned()),
            _ => None,
        };
        Some(Refused { code, cause, is_the_servers })
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Call(error) => error.retry_after(),
            Self::Unreachable | Self::TooManyForwarded | Self::Body(Error::Busy) => Some(1),
            _ => None,
        }
    }
}

impl From<rpc::Error> for Refusal {
    fn from(error: rpc::Error) -> Self {
        Self::Call(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, [(header::CONTENT_TYPE, JSON)], self.body().to_string()).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = match &self {
                Self::Token(_) | Self::EmptyToken => "Bearer error=\"invalid_token\"",
                _ => "Bearer",
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Self::Method(_) = self {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET,HEAD,POST,OPTIONS"));
        }
        if let Self::Call(error) = &self {
            for (name, value) in error.headers() {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
                    && !is_of_connection(&name)
                {
                    headers.insert(name, value);
                }
            }
        }
        if let Some(refused) = self.refused() {
            response.extensions_mut().insert(refused);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::code::Advice;

    /// One of each that has words of its own.
    fn all() -> Vec<Refusal> {
        let text = || "…".to_owned();
        let not_found = |arguments: &[&str]| rpc::Error::NotFound {
            schema: text(),
            name: text(),
            arguments: arguments.iter().map(|name| (*name).to_owned()).collect(),
            is_body: true,
            near: None,
        };
        vec![
            Refusal::NotJson,
            Refusal::ContentType(text()),
            Refusal::Query(text()),
            Refusal::Token(TokenError::Expired { seconds: 1 }),
            Refusal::Token(TokenError::Malformed),
            Refusal::Token(TokenError::Signature),
            Refusal::Token(TokenError::Signer { key_id: None }),
            Refusal::Token(TokenError::MissingClaims),
            Refusal::Token(TokenError::UnknownApiKey),
            Refusal::EmptyToken,
            Refusal::Token(TokenError::RoleNotAllowed { role: text() }),
            Refusal::NoUpstream,
            Refusal::Call(not_found(&["…"])),
            Refusal::Call(not_found(&[])),
            Refusal::Call(rpc::Error::Ambiguous { candidates: vec![text()] }),
            Refusal::Method(text()),
            Refusal::Schema { asked: text(), open: vec![text()] },
            Refusal::Accept(text()),
            Refusal::Call(rpc::Error::NotSingle { rows: 2 }),
            Refusal::Range { offset: 2, total: 1 },
            Refusal::Status,
            Refusal::Headers,
            Refusal::RequestRate,
            Refusal::Call(rpc::Error::Busy),
            Refusal::Call(rpc::Error::NoSession),
            Refusal::Call(rpc::Error::Unavailable),
            Refusal::Call(rpc::Error::TimedOut),
            Refusal::Unreachable,
            Refusal::TooManyForwarded,
            Refusal::Silent,
        ]
    }

    fn row(refusal: &Refusal) -> String {
        let body = refusal.body();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let code =
            refusal.refused().map_or("–".to_owned(), |refused| format!("`{}`", refused.code.as_str()));
        let advice = if refusal.status() >= 502 || *refusal == Refusal::RequestRate {
            Advice::Reconnect
        } else {
            Advice::Terminal
        };
        let cells =
            [refusal.status().to_string(), format!("`{}`", text("code")), code, advice.as_str().to_owned()];
        format!("| {} | {} |", cells.join(" | "), text("message"))
    }

    #[test]
    fn the_page_lists_the_same_refusals() {
        let page = include_str!("../../../docs/errors.md");
        let (_, section) = page.split_once("\n## Refused under `/rest/v1`\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let is_row =
            |line: &&str| [" | `PGRST", " | `42501", " | `PT"].iter().any(|code| line.contains(code));
        let rows = section.lines().filter(is_row);
        let documented: Vec<String> =
            rows.map(|row| format!("{} |", row.rsplitn(3, " |").nth(2).unwrap_or_default())).collect();
        let real: Vec<String> = all().iter().map(row).collect();
        assert_eq!(documented, real, "\n{}", real.join("\n"));
    }

    #[test]
    fn what_postgres_raised_is_not_logged() {
        let raised = rpc::Error::Refused {
            sqlstate: "XX000".to_owned(),
            message: "secret".to_owned(),
            detail: None,
            hint: None,
            is_anonymous: false,
        };
        assert!(Refusal::Call(raised).refused().is_none());
        for refusal in all() {
            let cause = refusal.refused().and_then(|refused| refused.cause).unwrap_or_default();
            assert!(!cause.contains('…'), "{cause}");
        }
    }
}

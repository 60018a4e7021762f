//! Why an HTTP request is refused → status, body and the code that the log gets.
//!
//! `docs/errors.md` lists the same; a test compares them.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::auth::TokenError;
use crate::hub::authorization::AuthorizationError;
use crate::telemetry::code::{Advice, Code};

/// The content type of every body that is JSON.
pub(crate) const JSON: &str = "application/json; charset=utf-8";

/// Why a request is refused. Its words are those that the body has as `message`, except where its shape says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is not JSON.
    #[error("The body is not valid JSON")]
    NotJson,
    /// The client has gone, or sends nonsense in place of a body.
    #[error("The body could not be read")]
    Unreadable,
    /// There is no token, or the header that should hold one is malformed.
    #[error("Unauthorized")]
    NoToken,
    /// The token is refused.
    #[error("Unauthorized")]
    Token(TokenError),
    /// The token does not open the routes of an administrator.
    #[error("")]
    NotAdmin,
    /// The policies let this token send nothing to this private topic.
    #[error("Unauthorized")]
    WriteDenied,
    /// The path is not for the public.
    #[error("Access is forbidden.")]
    Blocked,
    /// No route has this path.
    #[error("Not Found")]
    NotFound,
    /// There is no such tenant.
    #[error("not found")]
    NoTenant,
    /// Somebody wants to poll.
    #[error("Long polling is not served, connect a WebSocket to /socket/websocket")]
    LongPoll,
    /// The route has other methods.
    #[error("Method Not Allowed")]
    Method,
    /// The body did not arrive in time.
    #[error("The body did not arrive in time")]
    Timeout,
    /// What is asked for would leave a server without a tenant.
    #[error("This server has one tenant, which lives as long as the server")]
    OnlyTenant,
    /// The body is too long.
    #[error("The body must not exceed {0} bytes")]
    TooLong(usize),
    /// A batch of something else than JSON.
    #[error("Unsupported Media Type. Use application/json")]
    NotJsonType,
    /// A payload of some other type.
    #[error("Unsupported Media Type. Use application/json or application/octet-stream")]
    MediaType,
    /// A header's value is too long.
    #[error("")]
    HeaderTooLong,
    /// What was sent is not what is asked for; what is wrong with which field.
    #[error("invalid")]
    Invalid(Value),
    /// Whether the policies allow it could not be found out.
    #[error("{}", authorization_words(.0))]
    Authorization(AuthorizationError),
    /// More requests than the rate allows.
    #[error("Too many requests")]
    RequestRate,
    /// More broadcasts than the rate allows.
    #[error("You have exceeded your rate limit")]
    EventRate,
    /// So many broadcasts at once would pass the rate, or the bound on a batch.
    #[error("Too many messages to broadcast, please reduce the batch size")]
    BatchSize,
    /// The bodies that are being read leave no room for this one.
    #[error("Too many requests are being read")]
    Busy,
}

/// What the body of a refusal looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Nothing.
    Empty,
    /// `{"message":"…"}`.
    Message,
    /// `{"error":"…"}`.
    Error,
    /// `{"errors":{…}}`, by field.
    Errors,
}

impl Error {
    /// One field and what is wrong with it.
    pub(super) fn field(name: &str, words: &str) -> Self {
        Self::Invalid(json!({ name: [words] }))
    }

    /// The status that tells the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotJson | Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::NoToken | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::NotAdmin | Self::WriteDenied | Self::Blocked => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NoTenant | Self::LongPoll => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::OnlyTenant => StatusCode::CONFLICT,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJsonType | Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Authorization(AuthorizationError::Busy) => StatusCode::TOO_MANY_REQUESTS,
            Self::Invalid(_) | Self::Authorization(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::HeaderTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RequestRate | Self::EventRate | Self::BatchSize => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its stable name, for log and metrics.
    pub fn code(&self) -> Code {
        match self {
            Self::NotJson | Self::Unreadable | Self::TooLong(_) | Self::Timeout => Code::HttpClientError,
            Self::NotFound | Self::LongPoll | Self::Method | Self::Blocked => Code::HttpClientError,
            Self::NotJsonType | Self::MediaType | Self::HeaderTooLong => Code::HttpClientError,
            Self::Invalid(_) | Self::OnlyTenant => Code::UnprocessableEntity,
            Self::NoToken => Code::MissingAPIKey,
            Self::Token(error) => token_code(error),
            Self::NotAdmin | Self::WriteDenied => Code::Unauthorized,
            Self::NoTenant => Code::TenantNotFound,
            Self::Authorization(error) => authorization_code(error),
            Self::RequestRate | Self::EventRate | Self::BatchSize => Code::MessagePerSecondRateLimitReached,
            Self::Busy => Code::HttpServerError,
        }
    }

    /// What the client should do.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Authorization(AuthorizationError::Policy(_)) => Advice::Terminal,
            Self::Authorization(_) | Self::RequestRate | Self::EventRate | Self::Busy | Self::Timeout => {
                Advice::Reconnect
            }
            _ => Advice::Terminal,
        }
    }

    /// Whether it is about the server or its database, so that an operator should see it.
    fn is_the_servers(&self) -> bool {
        matches!(self, Self::Authorization(_) | Self::Busy)
    }

    fn shape(&self) -> Shape {
        match self {
            Self::NotAdmin | Self::HeaderTooLong => Shape::Empty,
            Self::NotJsonType | Self::MediaType => Shape::Error,
            Self::Invalid(_) => Shape::Errors,
            _ => Shape::Message,
        }
    }
}

/// The code that a refused join would name.
fn token_code(error: &TokenError) -> Code {
    error.join_reason().split(':').next().and_then(Code::named).unwrap_or(Code::MalformedJWT)
}

/// Words that an [`AuthorizationError`] has for whoever sends a request.
fn authorization_words(error: &AuthorizationError) -> &'static str {
    match error {
        AuthorizationError::Busy => "Connection pool exhausted",
        AuthorizationError::Unavailable => "Tenant database unavailable",
        AuthorizationError::NoConnections => "Tenant database has too many connections",
        AuthorizationError::Canceled => "Query canceled",
        // The second is said of replays alone.
        AuthorizationError::Policy(_) | AuthorizationError::SinceOutOfRange => "RLS policy error",
        AuthorizationError::MissingPartition => "Missing messages partition",
    }
}

/// The code of an [`AuthorizationError`].
pub(super) fn authorization_code(error: &AuthorizationError) -> Code {
    match error {
        AuthorizationError::Busy => Code::IncreaseConnectionPool,
        AuthorizationError::Unavailable => Code::UnableToConnectToProject,
        AuthorizationError::NoConnections => Code::DatabaseLackOfConnections,
        AuthorizationError::Canceled => Code::QueryCanceled,
        AuthorizationError::Policy(_) | AuthorizationError::SinceOutOfRange => Code::RlsPolicyError,
        AuthorizationError::MissingPartition => Code::MissingPartition,
    }
}

/// What the log is told of a refusal; it travels with the answer, to be logged once and in one place.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    /// Safe to be logged: our own words, and an SQLSTATE where there is one.
    pub(crate) cause: Option<String>,
    pub(crate) is_the_servers: bool,
}

impl From<&Error> for Refused {
    fn from(error: &Error) -> Self {
        let cause = match error {
            Error::Authorization(cause) => Some(cause.to_string()),
            _ => None,
        };
        Self { code: error.code(), cause, is_the_servers: error.is_the_servers() }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response<Body> {
        let body = match (self.shape(), &self) {
            (Shape::Errors, Self::Invalid(errors)) => json!({ "errors": errors }),
            (Shape::Error, _) => json!({ "error": self.to_string() }),
            (Shape::Empty, _) => Value::Null,
            _ => json!({ "message": self.to_string() }),
        };
        let mut response = if body.is_null() {
            self.status().into_response()
        } else {
            (self.status(), [(header::CONTENT_TYPE, JSON)], body.to_string()).into_response()
        };
        response.extensions_mut().insert(Refused::from(&self));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::tenant::{UNSUPPORTED, unchangeable};

    /// One of each, with the words that the page has for it.
    fn all() -> Vec<(Error, String)> {
        use AuthorizationError as Authorization;
        let plain = [
            Error::NotJson,
            Error::Unreadable,
            Error::NoToken,
            Error::Token(TokenError::Malformed),
            Error::Token(TokenError::Signature),
            Error::Token(TokenError::Signer { key_id: None }),
            Error::Token(TokenError::MissingClaims),
            Error::NotAdmin,
            Error::WriteDenied,
            Error::Blocked,
            Error::NotFound,
            Error::NoTenant,
            Error::LongPoll,
            Error::Method,
            Error::Timeout,
            Error::OnlyTenant,
            Error::TooLong(8_000_000),
            Error::NotJsonType,
            Error::MediaType,
            Error::Authorization(Authorization::Policy("P0001".into())),
            Error::Authorization(Authorization::Canceled),
            Error::Authorization(Authorization::MissingPartition),
            Error::Authorization(Authorization::Unavailable),
            Error::Authorization(Authorization::NoConnections),
            Error::Authorization(Authorization::Busy),
            Error::RequestRate,
            Error::EventRate,
            Error::BatchSize,
            Error::HeaderTooLong,
            Error::Busy,
        ];
        let mut all: Vec<_> = plain.into_iter().map(|error| (error.clone(), words(&error))).collect();
        let words = crate::rest::field::FIELD_ERRORS.iter().map(|words| (*words).to_owned());
        let words = words.chain([UNSUPPORTED.to_owned(), unchangeable("…")]);
        all.extend(words.map(|words| (Error::field("payload", &words), words)));
        all
    }

    fn words(error: &Error) -> String {
        match error.to_string() {
            text if text.is_empty() => "–".to_owned(),
            text => text.replace("8000000", "…"),
        }
    }

    #[test]
    fn the_page_lists_the_same_refusals() {
        let page = include_str!("../../docs/errors.md");
        let (_, section) = page.split_once("## Refused HTTP requests\n").expect("the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let documented: Vec<Vec<String>> = section
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(2)
            .map(|line| {
                let cells = line.trim_matches('|').split(" | ").take(4);
                cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
            })
            .collect();
        let real: Vec<Vec<String>> = all()
            .into_iter()
            .map(|(error, words)| {
                let status = error.status().as_u16().to_string();
                vec![status, error.code().as_str().to_owned(), error.advice().as_str().to_owned(), words]
            })
            .collect();
        let missing: Vec<_> = real.iter().filter(|row| !documented.contains(row)).collect();
        let invented: Vec<_> = documented.iter().filter(|row| !real.contains(row)).collect();
        assert!(missing.is_empty() && invented.is_empty(), "missing {missing:?}, invented {invented:?}");
    }
}

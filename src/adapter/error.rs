//! Why an app's request or frame is refused: a status, words, and how long to wait.
//!
//! Each app writes a refusal in its own shape (`Adapter::refusal`, and the error frame of its sockets); what it says and
//! which status it has is decided here, so that all apps mean the same. What Postgres says reaches nobody but where a
//! function of the messaging schema has raised it for its caller.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::Value;

use crate::auth::TokenError;
use crate::postgres::rpc;
use crate::rest::error::{JSON, Refused};
use crate::telemetry::code::Code;

/// Why a request or a frame is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no token.
    #[error("A token is required")]
    NoToken,
    /// The token is refused.
    #[error("{}", .0.connect().1)]
    Token(TokenError),
    /// The token is about nobody who could take part in a conversation.
    #[error("The token is neither a user's nor a customer's")]
    NotAPerson,
    /// It is no JSON.
    #[error("This is not valid JSON")]
    NotJson,
    /// It is no object, or one without what says what it is.
    #[error("This is not a JSON object of the expected shape")]
    NotAnObject,
    /// Its JSON is nested too deeply.
    #[error("The JSON is nested too deeply")]
    TooDeep,
    /// It has too many bytes.
    #[error("This must not exceed {0} bytes")]
    TooLarge(usize),
    /// Postgres found a value too long.
    #[error("A value is too long")]
    TooLong,
    /// A socket takes text alone.
    #[error("Send text frames")]
    NotText,
    /// A frame says it is of a kind that there is not.
    #[error("This type of frame is not known")]
    UnknownType,
    /// The body is of another type than JSON.
    #[error("Use application/json")]
    MediaType,
    /// The body ended early, or did not arrive in time.
    #[error("The body could not be read")]
    Unreadable,
    /// A field is not what it should be.
    #[error("{name} {problem}")]
    Field {
        /// The field, as the app calls it.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A function found a value wrong.
    #[error("{0}")]
    Invalid(String),
    /// The caller may not do this.
    #[error("You may not do this")]
    Forbidden,
    /// It does not exist, or the caller cannot see it.
    #[error("Not found")]
    NotFound,
    /// The path has other methods.
    #[error("Method not allowed")]
    Method,
    /// There were too many of these.
    #[error("Too many requests; retry after {retry_after} seconds")]
    RateLimited {
        /// Whole seconds, at least one.
        retry_after: u64,
    },
    /// As many are being answered as may.
    #[error("Too many requests at once; retry after 1 second")]
    Busy,
    /// As many sockets are open as may be.
    #[error("Too many connections")]
    Full,
    /// The request asks for no WebSocket, or in the wrong way.
    #[error("This path is for WebSockets")]
    NoUpgrade,
    /// The database cannot be asked.
    #[error("The database cannot be reached; retry")]
    Unavailable,
    /// It took too long.
    #[error("The database has not answered in time; retry")]
    TimedOut,
    /// The messaging schema is not there, or not this version's.
    #[error("Messaging is not set up")]
    NotSetUp,
    /// Something else went wrong in Postgres, with this SQLSTATE.
    #[error("The request could not be answered")]
    Failed {
        /// Its SQLSTATE, for the log.
        sqlstate: String,
    },
}

impl Error {
    /// A field that is missing.
    pub fn missing(name: &'static str) -> Self {
        Self::Field { name, problem: "is required" }
    }

    /// A field of another type, or with a value that cannot be.
    pub fn invalid(name: &'static str) -> Self {
        Self::Field { name, problem: "is not valid" }
    }

    /// The status of its answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Token(TokenError::RoleNotAllowed { .. }) => StatusCode::FORBIDDEN,
            Self::NoToken | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::NotAPerson | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotJson | Self::NotAnObject | Self::TooDeep | Self::NotText | Self::UnknownType => {
                StatusCode::BAD_REQUEST
            }
            Self::Field { .. } | Self::Invalid(_) | Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) | Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NoUpgrade => StatusCode::UPGRADE_REQUIRED,
            Self::Busy | Self::Full | Self::Unavailable | Self::NotSetUp => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How many seconds to wait before it is tried again, where that is known.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::Busy | Self::Unavailable | Self::TimedOut => Some(1),
            _ => None,
        }
    }

    /// Its name in the log.
    pub fn code(&self) -> Code {
        match self {
            Self::NoToken => Code::MissingAPIKey,
            Self::Token(error) => {
                error.join_reason().split(':').next().and_then(Code::named).unwrap_or(Code::MalformedJWT)
            }
            Self::NotAPerson | Self::Forbidden => Code::Unauthorized,
            Self::RateLimited { .. } => Code::MessagePerSecondRateLimitReached,
            Self::Full => Code::TooManyConnections,
            Self::Unavailable => Code::UnableToConnectToProject,
            Self::TimedOut => Code::QueryCanceled,
            Self::Busy | Self::NotSetUp | Self::Failed { .. } => Code::HttpServerError,
            _ => Code::HttpClientError,
        }
    }

    /// Whether it is about the server or its database, so that an operator should see it.
    pub fn is_the_servers(&self) -> bool {
        self.status().is_server_error()
    }

    /// The answer, with a body in the app's shape.
    pub fn answer(&self, body: &Value) -> Response<Body> {
        let mut response = (self.status(), [(header::CONTENT_TYPE, JSON)], body.to_string()).into_response();
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self, Self::NoUpgrade) {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        let cause = match self {
            Self::Failed { sqlstate } => Some(format!("SQLSTATE {sqlstate}")),
            error if error.is_the_servers() => Some(error.to_string()),
            _ => None,
        };
        let refused = Refused { code: self.code(), cause, is_the_servers: self.is_the_servers() };
        response.extensions_mut().insert(refused);
        response
    }
}

/// Its status alone: the app's router gives it the app's shape.
impl IntoResponse for Error {
    fn into_response(self) -> Response<Body> {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<crate::rest::error::Error> for Error {
    fn from(error: crate::rest::error::Error) -> Self {
        use crate::rest::error::Error as Rest;
        match error {
            Rest::TooLong(max) => Self::TooLarge(max),
            Rest::Busy => Self::Busy,
            _ => Self::Unreadable,
        }
    }
}

impl From<rpc::Error> for Error {
    fn from(error: rpc::Error) -> Self {
        let retry_after = error.retry_after();
        match error {
            rpc::Error::Refused { sqlstate, message, .. } => refused(sqlstate, message, retry_after),
            rpc::Error::NotFound { .. } | rpc::Error::Ambiguous { .. } | rpc::Error::NotSingle { .. } => {
                Self::NotSetUp
            }
            rpc::Error::Busy | rpc::Error::NoSession => Self::Busy,
            rpc::Error::Unavailable => Self::Unavailable,
            rpc::Error::TimedOut => Self::TimedOut,
        }
    }
}

/// What Postgres has raised. The words of `invalid_parameter_value` are the schema's own, for its callers.
fn refused(sqlstate: String, message: String, retry_after: Option<u64>) -> Error {
    match &*sqlstate {
        "42501" => Error::Forbidden,
        "PT404" => Error::NotFound,
        "PT429" => Error::RateLimited { retry_after: retry_after.unwrap_or(1).max(1) },
        "22001" => Error::TooLong,
        "22023" => Error::Invalid(message),
        // These name constraints, or repeat what was sent.
        "23514" | "22P02" | "22007" | "22008" | "23502" | "23503" | "22P05" | "22021" => {
            Error::Invalid("A value is not valid".to_owned())
        }
        "57014" => Error::TimedOut,
        // A table or function of the schema is missing.
        "42P01" | "42883" | "3F000" => Error::NotSetUp,
        "40001" | "40P01" | "55P03" => Error::Busy,
        _ => Error::Failed { sqlstate },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sqlstate: &str) -> u16 {
        refused(sqlstate.to_owned(), "words".to_owned(), Some(7)).status().as_u16()
    }

    #[test]
    fn what_postgres_raises_has_a_status() {
        for (sqlstate, expected) in [
            ("42501", 403),
            ("PT404", 404),
            ("22023", 400),
            ("23514", 400),
            ("22P02", 400),
            ("22001", 413),
            ("PT429", 429),
            ("57014", 504),
            ("42883", 503),
            ("XX000", 500),
        ] {
            assert_eq!(status(sqlstate), expected, "{sqlstate}");
        }
    }

    #[test]
    fn a_refusal_for_its_rate_says_how_long_to_wait() {
        let error = refused("PT429".to_owned(), "words".to_owned(), Some(7));
        assert_eq!(error, Error::RateLimited { retry_after: 7 });
        let answer = error.answer(&serde_json::json!({}));
        assert_eq!(answer.headers().get(header::RETRY_AFTER).unwrap(), "7");
        let none = refused("PT429".to_owned(), "words".to_owned(), None);
        assert_eq!(none.retry_after(), Some(1), "a second at least");
    }

    #[test]
    fn only_words_that_were_made_for_callers_reach_them() {
        let words =
            |sqlstate: &str| refused(sqlstate.to_owned(), "secret words".to_owned(), None).to_string();
        assert_eq!(words("22023"), "secret words");
        for sqlstate in ["42501", "PT404", "23514", "22P02", "22001", "XX000", "40001"] {
            assert!(!words(sqlstate).contains("secret"), "{sqlstate}");
        }
    }
}

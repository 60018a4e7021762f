//! How the apps without a socket of their own are told that something is refused: a word for programs, and one for people.

use axum::http::StatusCode;
use serde::Serialize;

use super::Error;

/// A refusal in the body of an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal {
    /// For programs; one for each status.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
    /// Whole seconds, where it is known that another attempt may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<u64>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { code: word(error.status()), message: error.to_string(), retry_after: error.retry_after() }
    }
}

fn word(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "FORBIDDEN",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::METHOD_NOT_ALLOWED => "METHOD_NOT_ALLOWED",
        StatusCode::PAYLOAD_TOO_LARGE => "PAYLOAD_TOO_LARGE",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "UNSUPPORTED_MEDIA_TYPE",
        StatusCode::TOO_MANY_REQUESTS => "RATE_LIMITED",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "UNAVAILABLE",
        status if status.is_client_error() => "INVALID_REQUEST",
        _ => "FAILED",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wire(error: &Error) -> serde_json::Value {
        serde_json::to_value(Refusal::from(error)).unwrap()
    }

    #[test]
    fn a_refusal_has_a_word_and_says_how_long_to_wait() {
        let missing = json!({ "code": "INVALID_REQUEST", "message": "chatId is required" });
        assert_eq!(wire(&Error::missing("chatId")), missing);
        let limited = wire(&Error::RateLimited { retry_after: 6 });
        assert_eq!((&limited["code"], &limited["retryAfter"]), (&json!("RATE_LIMITED"), &json!(6)));
        for (error, code) in [
            (Error::NoToken, "UNAUTHORIZED"),
            (Error::Forbidden, "FORBIDDEN"),
            (Error::NotFound, "NOT_FOUND"),
            (Error::Method, "METHOD_NOT_ALLOWED"),
            (Error::TooLarge(7), "PAYLOAD_TOO_LARGE"),
            (Error::MediaType, "UNSUPPORTED_MEDIA_TYPE"),
            (Error::Unavailable, "UNAVAILABLE"),
            (Error::TimedOut, "UNAVAILABLE"),
            (Error::Failed { sqlstate: "XX000".to_owned() }, "FAILED"),
        ] {
            assert_eq!(wire(&error)["code"], code, "{error:?}");
        }
    }
}

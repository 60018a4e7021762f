//! The answers of the apps without a socket of their own: what was asked for, or a word for programs and one for people.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::Error;
use super::schema::{flag, number, object, some_of, text};

/// Around what was asked for.
pub(super) fn done(data: &impl Serialize) -> Value {
    json!({ "success": true, "data": data })
}

/// Around why it is refused.
pub(super) fn refused(error: &Error) -> Value {
    json!({ "success": false, "error": Refusal::from(error) })
}

/// What [`done`] looks like around such data.
pub(super) fn done_schema(data: Value) -> Value {
    object([("success", flag()), ("data", data)])
}

/// What [`refused`] looks like.
pub(super) fn refused_schema() -> Value {
    let error = some_of([("code", text()), ("message", text())], [("retryAfter", number())]);
    object([("success", flag()), ("error", error)])
}

/// Why something is refused.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    /// For programs; one for each status.
    code: &'static str,
    /// For people.
    message: String,
    /// Whole seconds, where it is known that another attempt may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
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
    use super::*;

    fn wire(error: &Error) -> Value {
        refused(error)["error"].clone()
    }

    #[test]
    fn answers_say_whether_they_succeeded() {
        assert_eq!(done(&json!({ "a": 1 })), json!({ "success": true, "data": { "a": 1 } }));
        let error = json!({ "code": "NOT_FOUND", "message": "Not found" });
        assert_eq!(refused(&Error::NotFound), json!({ "success": false, "error": error }));
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

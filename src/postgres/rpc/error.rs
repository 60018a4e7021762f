//! Why a call has no result → PostgREST's status and body.
//!
//! What Postgres raised is the caller's to read and nobody else's: neither `Display` nor `Debug` shows it, so that it
//! cannot reach a log.

use std::fmt;

use serde_json::{Value, json};

/// The role of those who bring no token.
pub const ANONYMOUS: &str = "anon";

/// Why a call has no result.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Postgres raised it, in the function or on the way there.
    #[error("postgres refused a call with {sqlstate}")]
    Refused {
        /// Five digits and letters.
        sqlstate: String,
        /// What is wrong.
        message: String,
        /// More of it.
        detail: Option<String>,
        /// What may help.
        hint: Option<String>,
        /// Whether the caller has brought no token of its own, so that one might help.
        is_anonymous: bool,
    },
    /// No function has that name and takes those arguments.
    #[error("no function fits a call")]
    NotFound {
        /// Where it was looked for.
        schema: String,
        /// Its name.
        name: String,
        /// The names of the arguments, sorted.
        arguments: Vec<String>,
        /// Whether one of a single unnamed argument would have done.
        is_body: bool,
        /// What may have been meant, as `name` or `name(arguments)`.
        near: Option<String>,
    },
    /// Several functions fit.
    #[error("several functions fit a call")]
    Ambiguous {
        /// As people write them.
        candidates: Vec<String>,
    },
    /// One row was wanted, and the function returned none or several. The call has been undone.
    #[error("a call has not returned one row")]
    NotSingle {
        /// How many.
        rows: u64,
    },
    /// As many calls wait as may.
    #[error("too many calls wait for a session")]
    Busy,
    /// No session became free in time.
    #[error("no session became free in time")]
    NoSession,
    /// The database cannot be reached, or the session was lost.
    #[error("the database cannot be reached")]
    Unavailable,
    /// Postgres has not answered in time; whether the call took effect is not known.
    #[error("postgres did not answer a call in time")]
    TimedOut,
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl Error {
    /// The HTTP status that PostgREST has for it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused { sqlstate, message, detail, is_anonymous, .. } => {
                refused_status(sqlstate, message, detail.as_deref(), *is_anonymous)
            }
            Self::NotFound { .. } => 404,
            Self::Ambiguous { .. } => 300,
            Self::NotSingle { .. } => 406,
            Self::Busy | Self::Unavailable => 503,
            Self::NoSession | Self::TimedOut => 504,
        }
    }

    /// The code of the body: an SQLSTATE, or PostgREST's own.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { sqlstate, .. } => sqlstate,
            Self::NotFound { .. } => "PGRST202",
            Self::Ambiguous { .. } => "PGRST203",
            Self::NotSingle { .. } => "PGRST116",
            Self::Busy | Self::NoSession | Self::TimedOut => "PGRST003",
            Self::Unavailable => "PGRST001",
        }
    }

    /// What the caller reads, with the keys that PostgREST has.
    pub fn body(&self) -> Value {
        let (message, details, hint) = match self {
            Self::Refused { sqlstate, message, .. } if sqlstate == "PGRST" => {
                if let Some(raised) = Raised::parse(message) {
                    return raised.body;
                }
                return body("PGRST121", UNREADABLE_RAISE, Some(UNREADABLE_DETAILS.to_owned()), None);
            }
            Self::Refused { message, detail, hint, .. } => (message.clone(), detail.clone(), hint.clone()),
            Self::NotFound { schema, name, arguments, is_body, near } => {
                let near = near.as_ref().map(|near| format!("Perhaps you meant to call the function {schema}.{near}"));
                let (message, details) = not_found(schema, name, arguments, *is_body);
                (message, Some(details), near)
            }
            Self::Ambiguous { candidates } => (
                format!("Could not choose the best candidate function between: {}", candidates.join(", ")),
                None,
                Some(
                    "Try renaming the parameters or the function itself in the database so function overloading can be resolved"
                        .to_owned(),
                ),
            ),
            Self::NotSingle { rows } => (
                "Cannot coerce the result to a single JSON object".to_owned(),
                Some(format!("The result contains {rows} rows")),
                None,
            ),
            Self::Busy => ("Too many calls wait for a database session.".to_owned(), None, None),
            Self::NoSession => ("Timed out acquiring connection from connection pool.".to_owned(), None, None),
            Self::TimedOut => ("Timed out waiting for the database's answer.".to_owned(), None, None),
            Self::Unavailable => ("Database connection error. Retrying the connection.".to_owned(), None, None),
        };
        body(self.code(), &message, details, hint)
    }

    /// After how many seconds it may be tried again, where that is known.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Refused { detail, .. } => seconds(detail.as_deref()?),
            Self::Busy | Self::NoSession | Self::Unavailable => Some(1),
            _ => None,
        }
    }

    /// Headers that the function itself wants, by `raise sqlstate 'PGRST'`.
    pub fn headers(&self) -> Vec<(String, String)> {
        let Self::Refused { sqlstate, message, detail, .. } = self else { return Vec::new() };
        let detail = detail.as_deref().filter(|_| sqlstate == "PGRST" && Raised::parse(message).is_some());
        let detail: Option<Value> = detail.and_then(|detail| serde_json::from_str(detail).ok());
        let fields = detail.as_ref().and_then(|detail| detail.get("headers")?.as_object());
        let fields = fields.into_iter().flatten();
        fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// Whether the same call may succeed if it is made again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { sqlstate, .. } => {
                let class = sqlstate.get(..2).unwrap_or_default();
                matches!(class, "08" | "40" | "53")
                    || matches!(sqlstate.as_str(), "55P03" | "57014" | "PT429" | "PT503")
                    || sqlstate.starts_with("57P")
            }
            Self::NotFound { .. } | Self::Ambiguous { .. } | Self::NotSingle { .. } => false,
            Self::Busy | Self::NoSession | Self::Unavailable | Self::TimedOut => true,
        }
    }

    /// What Postgres said, for this caller.
    pub(super) fn refused(error: &tokio_postgres::error::DbError, role: &str) -> Self {
        Self::Refused {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            is_anonymous: role == ANONYMOUS,
        }
    }

    /// A refusal in Postgres's words that it had no occasion to say itself.
    pub(super) fn denied(sqlstate: &str, message: String, role: &str) -> Self {
        let is_anonymous = role == ANONYMOUS;
        Self::Refused { sqlstate: sqlstate.to_owned(), message, detail: None, hint: None, is_anonymous }
    }
}

const UNREADABLE_RAISE: &str = "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error";
const UNREADABLE_DETAILS: &str = "MESSAGE must be an object with the texts `code` and `message`, DETAIL one with the number `status` and the object `headers`";

/// The message of `raise sqlstate 'PGRST'`.
struct Raised {
    body: Value,
}

impl Raised {
    fn parse(message: &str) -> Option<Self> {
        let fields: Value = serde_json::from_str(message).ok()?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self { body: body(&text("code")?, &text("message")?, text("details"), text("hint")) })
    }
}

/// PostgREST's body of an error.
pub fn body(code: &str, message: &str, details: Option<String>, hint: Option<String>) -> Value {
    json!({ "code": code, "details": details, "hint": hint, "message": message })
}

fn not_found(schema: &str, name: &str, arguments: &[String], is_body: bool) -> (String, String) {
    let function = format!("{schema}.{name}");
    let all = arguments.join(", ");
    let message = match arguments {
        [] => format!("Could not find the function {function} without parameters in the schema cache"),
        _ => format!("Could not find the function {function}({all}) in the schema cache"),
    };
    let searched = match arguments {
        [] => " without parameters".to_owned(),
        [one] => format!(" with parameter {one}"),
        _ => format!(" with parameters {all}"),
    };
    let unnamed = if is_body { " or with a single unnamed json/jsonb parameter" } else { "" };
    let details = format!(
        "Searched for the function {function}{searched}{unnamed}, but no matches were found in the schema cache."
    );
    (message, details)
}

/// `retry after <n> seconds`, with n of at least 1.
fn seconds(detail: &str) -> Option<u64> {
    let (_, rest) = detail.split_once("retry after ")?;
    let (number, _) = rest.split_once(" second")?;
    number.parse().ok().filter(|seconds| *seconds > 0)
}

/// The status for an SQLSTATE.
fn refused_status(sqlstate: &str, message: &str, detail: Option<&str>, is_anonymous: bool) -> u16 {
    if let Some(status) = sqlstate.strip_prefix("PT") {
        return status.parse().ok().filter(|status| (200..=599).contains(status)).unwrap_or(500);
    }
    match sqlstate {
        "PGRST" => raised_status(message, detail),
        "23503" | "23505" => 409,
        "25006" => 405,
        "21000" if message.ends_with("requires a WHERE clause") => 400,
        // The role of the token is none.
        "22023" if message.starts_with("role") && message.ends_with("does not exist") => 401,
        "53400" => 500,
        "57P01" => 503,
        "P0001" => 400,
        "42883" | "42P01" => 404,
        "42P17" => 500,
        "42501" if is_anonymous => 401,
        "42501" => 403,
        _ => match sqlstate.get(..2).unwrap_or_default() {
            "08" | "53" => 503,
            "0L" | "0P" | "28" => 403,
            "09" | "21" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0"
            | "HV" | "P0" | "XX" => 500,
            _ => 400,
        },
    }
}

fn raised_status(message: &str, detail: Option<&str>) -> u16 {
    let detail: Option<Value> = detail.and_then(|detail| serde_json::from_str(detail).ok());
    let status = detail.as_ref().and_then(|detail| detail.get("status")?.as_u64());
    let status =
        status.and_then(|status| u16::try_from(status).ok()).filter(|status| (200..=599).contains(status));
    match (status, Raised::parse(message)) {
        (Some(status), Some(_)) => status,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sqlstate: &str, message: &str, detail: Option<&str>) -> Error {
        let detail = detail.map(str::to_owned);
        Error::Refused {
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail,
            hint: None,
            is_anonymous: false,
        }
    }

    #[test]
    fn statuses_follow_the_sqlstate() {
        for (sqlstate, expected) in [
            ("08006", 503),
            ("09000", 500),
            ("0L000", 403),
            ("0P000", 403),
            ("21000", 500),
            ("22P02", 400),
            ("22023", 400),
            ("23502", 400),
            ("23503", 409),
            ("23505", 409),
            ("23514", 400),
            ("25006", 405),
            ("25P02", 500),
            ("28000", 403),
            ("2D000", 500),
            ("38000", 500),
            ("39000", 500),
            ("3B000", 500),
            ("40001", 500),
            ("42501", 403),
            ("42601", 400),
            ("42703", 400),
            ("42883", 404),
            ("42P01", 404),
            ("42P17", 500),
            ("53300", 503),
            ("53400", 500),
            ("54001", 500),
            ("55P03", 500),
            ("57014", 500),
            ("57P01", 503),
            ("58000", 500),
            ("F0000", 500),
            ("HV000", 500),
            ("P0001", 400),
            ("P0002", 500),
            ("XX000", 500),
            ("PT418", 418),
            ("PT429", 429),
            ("PTabc", 500),
            ("PT999", 500),
            ("ZZ123", 400),
        ] {
            assert_eq!(refused(sqlstate, "m", None).status(), expected, "{sqlstate}");
        }
        assert_eq!(refused("22023", "role \"x\" does not exist", None).status(), 401);
        assert_eq!(refused("21000", "UPDATE requires a WHERE clause", None).status(), 400);
        assert_eq!(Error::denied("42501", String::new(), "anon").status(), 401);
        assert_eq!(Error::denied("42501", String::new(), "authenticated").status(), 403);
    }

    #[test]
    fn a_function_may_say_status_headers_and_body() {
        let message =
            r#"{"code":"123","message":"Payment Required","details":"Quota exceeded","hint":"Upgrade"}"#;
        let detail = r#"{"status":402,"headers":{"X-Powered-By":"Nerd Rage"}}"#;
        let error = refused("PGRST", message, Some(detail));
        assert_eq!((error.status(), error.body()["code"].as_str()), (402, Some("123")));
        assert_eq!(error.headers(), [("X-Powered-By".to_owned(), "Nerd Rage".to_owned())]);
        for (message, detail) in [("no", Some(detail)), (message, Some("no")), (message, None)] {
            assert_eq!(refused("PGRST", message, detail).status(), 500, "{message} {detail:?}");
        }
        assert_eq!(refused("PGRST", "no", None).body()["code"], "PGRST121");
    }

    #[test]
    fn details_say_when_to_come_back() {
        for (detail, expected) in [
            ("retry after 7 seconds", Some(7)),
            ("retry after 1 second", Some(1)),
            ("retry after 0 seconds", None),
            ("retry after a few seconds", None),
            ("retry", None),
        ] {
            assert_eq!(refused("PT429", "m", Some(detail)).retry_after(), expected, "{detail}");
        }
        assert_eq!(Error::Busy.retry_after(), Some(1));
    }

    #[test]
    fn what_postgres_said_is_not_printed() {
        let error = refused("23505", "secret", Some("secret"));
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

//! Why the upkeep of messaging did not go on, and what is to be done about it.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::postgres::connect;
use crate::telemetry::code::Code;

/// How long Postgres has for one statement, its way there and back included.
pub(super) const WITHIN: Duration = Duration::from_secs(10);

/// Why the upkeep did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No session.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// What the schema brings is not there.
    #[error("the messaging schema is not in this database")]
    Missing,
    /// A statement failed.
    #[error("could not {what}")]
    Statement {
        /// What it was to do.
        what: &'static str,
        /// Why it did not.
        source: tokio_postgres::Error,
    },
    /// No answer in time.
    #[error("could not {what} within {} s", WITHIN.as_secs())]
    Timeout {
        /// What it was to do.
        what: &'static str,
    },
}

impl Error {
    /// What to wait for before the next try.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Missing => Retry::AfterOperator,
            Self::Statement { source, .. } => match source.code() {
                Some(state) => after(state),
                None => Retry::WithBackoff,
            },
            Self::Connect(_) | Self::Timeout { .. } => Retry::WithBackoff,
        }
    }

    /// The code that log lines carry.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing => Code::MessagingSchemaMissing,
            Self::Connect(_) | Self::Statement { .. } | Self::Timeout { .. } => Code::MessagingUpkeepFailed,
        }
    }

    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.remedy(),
            Self::Missing => "run `rowcast migrate --with messaging`, or turn the setting `messaging` off",
            Self::Timeout { .. } => "look for sessions that hold locks on the messaging tables",
            Self::Statement { source, .. } => match source.code() {
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    "let the role that runs `rowcast migrate --with messaging` be the server's own, or grant it usage \
                     on schema rowcast and execute on all functions in it"
                }
                _ => "see the message; `rowcast migrate` brings the functions of this version",
            },
        }
    }

    /// What a failed statement means. A function or schema that is not there is a schema that was not migrated.
    pub(super) fn statement(what: &'static str, source: tokio_postgres::Error) -> Self {
        match source.code() {
            Some(
                &SqlState::UNDEFINED_FUNCTION | &SqlState::INVALID_SCHEMA_NAME | &SqlState::UNDEFINED_TABLE,
            ) => Self::Missing,
            _ => Self::Statement { what, source },
        }
    }
}

/// What to wait for after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It passes by itself, as a deadlock does; the session is well.
    Soon,
    /// The database comes back.
    WithBackoff,
    /// Somebody has to do something first.
    AfterOperator,
}

fn after(state: &SqlState) -> Retry {
    match state.code() {
        _ if is_passing(state) => Retry::Soon,
        // The server goes down or comes up, or has no room now.
        code if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => Retry::WithBackoff,
        _ => Retry::AfterOperator,
    }
}

/// Whether it was only somebody else who was in the way.
fn is_passing(state: &SqlState) -> bool {
    [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::QUERY_CANCELED,
    ]
    .contains(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_restarts_is_waited_for_and_a_missing_right_is_not() {
        for (state, expected) in [
            (SqlState::T_R_DEADLOCK_DETECTED, Retry::Soon),
            (SqlState::QUERY_CANCELED, Retry::Soon),
            (SqlState::ADMIN_SHUTDOWN, Retry::WithBackoff),
            (SqlState::CANNOT_CONNECT_NOW, Retry::WithBackoff),
            (SqlState::TOO_MANY_CONNECTIONS, Retry::WithBackoff),
            (SqlState::INSUFFICIENT_PRIVILEGE, Retry::AfterOperator),
            (SqlState::UNDEFINED_COLUMN, Retry::AfterOperator),
        ] {
            assert_eq!(after(&state), expected, "{}", state.code());
        }
    }
}

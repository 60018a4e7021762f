//! What policies on `realtime.messages` let a caller do on the topic of a private channel.
//!
//! In: an [`Inquiry`] of a shard, or of an HTTP request, in a bounded queue. Out: its [`Answer`], to the shard as
//! [`ShardCommand::Authorized`](super::ShardCommand::Authorized) or to whoever waits for it.
//!
//! **Invariants:** an inquiry that was taken is answered once; doubt denies; no answer outlives the policies, the
//! rights and the rows that it was made of.

mod answer;
mod cache;
mod counters;
mod deliver;
mod desk;
mod expression;
mod judge;
pub mod probe;
mod reading;
pub mod replay;
mod round;
mod session;

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

pub use answer::{Config, run};
pub use counters::Counters;

use super::catalogs::ROLE_BYTES_MAX;
use super::{ChannelRef, Seen};
use crate::channel::Body;
pub use crate::channel::Rights;
use crate::policy::Claims;

/// Who wants something on which topic, as policies see them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The verified token.
    pub claims: Arc<Claims>,
    /// The topic without its prefix: what `realtime.topic()` answers.
    pub topic: Arc<str>,
    /// The request's headers as a JSON object, names in lower case: what `request.headers` holds.
    pub headers: Arc<str>,
}

/// Claims, topics and headers never reach a log.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl Subject {
    /// Why the database must not even be asked; `None` for nearly everybody.
    ///
    /// The role `none` is no role: to take it on means to be the server itself. A name that is too long for a role
    /// would fail the statement that asks for the rights of all. No text in Postgres holds a NUL,
    /// and a statement with one would fail for all who are asked about in it.
    pub(super) fn refusal(&self) -> Option<AuthorizationError> {
        let texts = [&*self.claims.role, &*self.topic, &*self.headers];
        let unspeakable = texts.iter().any(|text| text.contains('\0'));
        if unspeakable || self.sub().is_some_and(|sub| sub.contains('\0')) {
            return Some(AuthorizationError::Policy(SqlState::CHARACTER_NOT_IN_REPERTOIRE.code().into()));
        }
        let role = &*self.claims.role;
        (role == "none" || role.is_empty() || role.len() > ROLE_BYTES_MAX)
            .then(|| AuthorizationError::Policy(SqlState::INVALID_PARAMETER_VALUE.code().into()))
    }

    /// The `sub` claim as policies read it from its own setting.
    pub(super) fn sub(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Body {
            sub: Option<serde_json::Value>,
        }
        match serde_json::from_str::<Body>(&self.claims.json).ok()?.sub? {
            serde_json::Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }
}

/// A question about a subject: equal ones have one answer at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Who asks.
    pub subject: Subject,
    /// What.
    pub question: Question,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// What the caller may receive.
    Read,
    /// What the caller may send.
    Write,
    /// The latest stored broadcasts of the topic. The caller has been found to be allowed to read them.
    Replay {
        /// Not older than this, in milliseconds since the epoch.
        since_unix_ms: i64,
        /// At most this many, from 1 to 25.
        limit: u8,
    },
}

/// A stored broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id in `realtime.messages`.
    pub id: Uuid,
    /// The user's event.
    pub event: String,
    /// The body.
    pub body: Body<'static>,
}

impl Stored {
    /// About how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Json(json) => json.len(),
            Body::Bytes(bytes) => bytes.len(),
        };
        self.event.len() + body
    }
}

/// The answer to [`Question::Replay`]. Shared by all who asked the same; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Oldest first.
    pub rows: Arc<[Stored]>,
    /// What was committed when they were read: nothing of it is to be delivered after them.
    pub seen: Arc<Seen>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Read`] and [`Question::Write`].
    Rights(Rights),
    /// To [`Question::Replay`].
    Stored(Replayed),
}

/// Why there is no answer. Whoever asked is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// As many inquiries wait as may.
    #[error("too many authorizations wait for the database")]
    Busy,
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    Unavailable,
    /// The database takes no more sessions.
    #[error("the database takes no more sessions")]
    NoConnections,
    /// A policy, or the query for stored broadcasts, took too long or was canceled.
    #[error("the query was canceled")]
    Canceled,
    /// A policy raised an error, named here by its SQLSTATE; or the role does not exist, or may not be taken on.
    #[error("a policy could not be evaluated: SQLSTATE {0}")]
    Policy(Arc<str>),
    /// There is no table `realtime.messages`, or no partition of it for now.
    #[error("realtime.messages or its partition is missing")]
    MissingPartition,
    /// Broadcasts are asked for since a moment that no calendar here has.
    #[error("stored broadcasts cannot be asked for since that moment")]
    SinceOutOfRange,
}

/// What went wrong in Postgres, without what it says: that may hold values.
impl From<tokio_postgres::Error> for AuthorizationError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(failure) = error.as_db_error() else { return Self::Unavailable };
        let code = failure.code();
        if *code == SqlState::QUERY_CANCELED {
            Self::Canceled
        } else if [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code)
            || (*code == SqlState::CHECK_VIOLATION && failure.table() == Some("messages"))
        {
            Self::MissingPartition
        } else if [SqlState::TOO_MANY_CONNECTIONS, SqlState::CONFIGURATION_LIMIT_EXCEEDED].contains(code) {
            Self::NoConnections
        } else if code.code().starts_with("08") || code.code().starts_with("57P") {
            Self::Unavailable
        } else {
            Self::Policy(code.code().into())
        }
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub enum ReplyTo {
    /// To a channel, or to a join on its way: `inquiry` counts the inquiries of that channel, so that answers to
    /// old ones can be told.
    Channel {
        /// The channel; its join may not have been answered yet.
        channel: ChannelRef,
        /// Which of its inquiries this is.
        inquiry: u32,
    },
    /// To whoever waits.
    Caller(oneshot::Sender<Result<Answer, AuthorizationError>>),
}

/// A question and where its answer goes.
#[derive(Debug)]
pub struct Inquiry {
    /// Who asks.
    pub subject: Subject,
    /// What.
    pub question: Question,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// The answer to an [`Inquiry`] of a channel.
#[derive(Debug)]
pub struct Authorized {
    /// The channel.
    pub channel: ChannelRef,
    /// Which of its inquiries.
    pub inquiry: u32,
    /// What was asked.
    pub question: Question,
    /// What was found.
    pub result: Result<Answer, AuthorizationError>,
}

/// The way to whoever answers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authorizer(mpsc::Sender<Inquiry>);

impl Authorizer {
    /// A queue of at most `inquiries_max`, and its two ends.
    pub fn queue(inquiries_max: usize) -> (Self, mpsc::Receiver<Inquiry>) {
        let (sender, inquiries) = mpsc::channel(inquiries_max.max(1));
        (Self(sender), inquiries)
    }

    /// Puts an inquiry in the queue without waiting. One that is refused gets no answer but this.
    pub fn ask(&self, inquiry: Inquiry) -> Result<(), AuthorizationError> {
        self.0.try_send(inquiry).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AuthorizationError::Busy,
            mpsc::error::TrySendError::Closed(_) => AuthorizationError::Unavailable,
        })
    }

    /// Asks and waits for the answer.
    pub async fn answer(&self, subject: Subject, question: Question) -> Result<Answer, AuthorizationError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Inquiry { subject, question, reply: ReplyTo::Caller(reply) })?;
        answer.await.unwrap_or(Err(AuthorizationError::Unavailable))
    }
}

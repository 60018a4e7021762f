//! The true probe: rows inserted as the server, or as the caller, and rolled back.
//!
//! Reading: the server inserts one row for each extension, takes on the caller's role and settings, and looks which
//! of the rows it sees. Writing: as the caller, it tries to insert them. This asks Postgres the very question, and
//! costs it a transaction number, log and dead rows; `judge.rs` answers without where that is proven to be the same.
//!
//! The questions of a batch share one transaction and one round trip: each starts by rolling back to one savepoint,
//! so that an error is contained in the question that caused it.

use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use super::{Answer, Asked, AuthorizationError, Question, Rights, Subject};
use crate::postgres::rows::rows_of;
use crate::wal::sql::literal;

/// What one question was answered.
pub type Outcome = Result<Answer, AuthorizationError>;

/// The session was lost, or is of no more use; nothing of the batch was answered.
#[derive(Debug, thiserror::Error)]
#[error("could not ask Postgres what policies let a caller do")]
pub struct SessionLost(#[source] pub tokio_postgres::Error);

/// The extensions, in the order in which they are asked about.
const EXTENSIONS: [&str; 2] = ["broadcast", "presence"];

/// Now, as the server's clients write it into `inserted_at`.
const NOW: &str = "pg_catalog.timezone('UTC', pg_catalog.now())";

/// Answers questions about reading and writing on `client`, which has no open transaction; in their order.
pub async fn answer(client: &Client, questions: &[Asked]) -> Result<Vec<Outcome>, SessionLost> {
    let begin = "begin; select pg_catalog.to_regclass('realtime.messages') is not null; savepoint base";
    let plans: Vec<Plan> = questions.iter().map(Plan::new).collect();
    let messages = plans.iter().flat_map(|plan| &plan.messages).map(String::as_str);
    let flight: Vec<&str> = std::iter::once(begin).chain(messages).chain(["rollback"]).collect();
    let replies = flight.iter().map(|message| client.simple_query(message));
    let mut replies = futures_util::future::join_all(replies).await.into_iter();

    let begun = match replies.next() {
        Some(Ok(begun)) => rows_of(&begun).any(|row| row.get(0) == Some("t")),
        Some(Err(error)) if error.code().is_none() => return Err(SessionLost(error)),
        // No right to look into the schema.
        Some(Err(_)) | None => false,
    };
    let mut outcomes = Vec::with_capacity(plans.len());
    for plan in &plans {
        let own: Vec<_> = replies.by_ref().take(plan.messages.len()).collect();
        let outcome = plan.read(own)?;
        outcomes.push(if begun { outcome } else { Err(AuthorizationError::MissingPartition) });
    }
    if let Some(Err(error)) = replies.next() {
        return Err(SessionLost(error));
    }
    Ok(outcomes)
}

/// How one question is put.
struct Plan {
    question: Question,
    /// The rows that are looked for.
    ids: [String; 2],
    /// What is sent; the next is sent without waiting for the reply to the one before.
    messages: Vec<String>,
}

impl Plan {
    fn new(asked: &Asked) -> Self {
        let ids = EXTENSIONS.map(|_| Uuid::new_v4().to_string());
        let settings = settings(&asked.subject);
        let topic = literal(&asked.subject.topic);
        let messages = match asked.question {
            Question::Read => {
                let row = |place: usize| {
                    format!("('{}', {topic}, '{}', {NOW}, {NOW})", ids[place], EXTENSIONS[place])
                };
                vec![
                    format!(
                        "rollback to savepoint base; \
                         insert into realtime.messages (id, topic, extension, inserted_at, updated_at) \
                         values {}, {}",
                        row(0),
                        row(1)
                    ),
                    format!(
                        "{settings}; select id::text from realtime.messages where id in ('{}', '{}')",
                        ids[0], ids[1]
                    ),
                ]
            }
            Question::Write => {
                let insert = |extension| {
                    format!(
                        "rollback to savepoint asked; \
                         insert into realtime.messages (topic, extension, inserted_at, updated_at) \
                         values ({topic}, '{extension}', {NOW}, {NOW})"
                    )
                };
                vec![
                    format!("rollback to savepoint base; {settings}; savepoint asked"),
                    insert(EXTENSIONS[0]),
                    insert(EXTENSIONS[1]),
                ]
            }
            // Stored rows are not probed for.
            Question::Replay { .. } => Vec::new(),
        };
        Self { question: asked.question, ids, messages }
    }

    fn read(&self, replies: Vec<Reply>) -> Result<Outcome, SessionLost> {
        let mut replies = replies.into_iter();
        let mut next = || replies.next().unwrap_or(Ok(Vec::new()));
        match self.question {
            Question::Read => {
                let (inserted, found) = (next(), next());
                if let Err(error) = inserted {
                    return failed(error);
                }
                Ok(match found {
                    Ok(found) => {
                        let [broadcast, presence] = [0, 1]
                            .map(|place| rows_of(&found).any(|row| row.get(0) == Some(&self.ids[place])));
                        Ok(Answer::Rights(Rights { broadcast, presence }))
                    }
                    Err(error) => return failed(error),
                })
            }
            Question::Write => {
                let (begun, broadcast, presence) = (next(), next(), next());
                if let Err(error) = begun {
                    return failed(error);
                }
                Ok(match (allowed(broadcast)?, allowed(presence)?) {
                    (Ok(broadcast), Ok(presence)) => Ok(Answer::Rights(Rights { broadcast, presence })),
                    (Err(error), _) | (_, Err(error)) => Err(error),
                })
            }
            Question::Replay { .. } => Ok(Err(AuthorizationError::Unavailable)),
        }
    }
}

type Reply = Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>;

/// Takes on what policies see of a caller, for the rest of a transaction.
fn settings(subject: &Subject) -> String {
    let values = [
        ("role", &*subject.claims.role),
        ("realtime.topic", &subject.topic),
        ("request.jwt.claims", &subject.claims.json),
        ("request.jwt.claim.sub", &subject.sub().unwrap_or_default()),
        ("request.jwt.claim.role", &subject.claims.role),
        ("request.headers", &subject.headers),
    ];
    let calls =
        values.map(|(name, value)| format!("pg_catalog.set_config('{name}', {}, true)", literal(value)));
    format!("select {}", calls.join(", "))
}

/// Whether an INSERT went through. One that was refused is no error.
fn allowed(reply: Reply) -> Result<Result<bool, AuthorizationError>, SessionLost> {
    match reply {
        Ok(_) => Ok(Ok(true)),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(Ok(false)),
        Err(error) => Ok(failed(error)?.map(|_| false)),
    }
}

fn failed(error: tokio_postgres::Error) -> Result<Outcome, SessionLost> {
    match error.as_db_error().map(denial) {
        Some(denial) => Ok(Err(denial)),
        None => Err(SessionLost(error)),
    }
}

/// What an error of the database means for whoever asked.
pub(super) fn denial(error: &DbError) -> AuthorizationError {
    // A violated CHECK has a name; a missing partition has none.
    let is_of_table = error.table() == Some("messages") && error.constraint().is_none();
    match error.code() {
        &SqlState::QUERY_CANCELED => AuthorizationError::Canceled,
        &SqlState::CHECK_VIOLATION if is_of_table => AuthorizationError::MissingPartition,
        code => AuthorizationError::Policy(code.code().into()),
    }
}

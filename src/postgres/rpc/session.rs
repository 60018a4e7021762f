//! One session that makes calls, one after another, each in a transaction of its own.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join5;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::catalog::RoleSettings;
use super::signature::Signature;
use super::statement::{self, CHANGED, NO_FUNCTION, NO_SCHEMA, NOT_SINGLE, OPEN, RESET, SETTINGS, VERDICT};
use super::{Arguments, Caller, Error, Page, Returned, Shape};

/// How many statements a session keeps; then the one that was used the longest ago makes room.
const STATEMENTS_MAX: usize = 256;

/// A longer one is not kept: callers choose columns and orders, and Postgres holds much more of each than its text.
const STATEMENT_BYTES_MAX: usize = 8192;

/// A session and the statements that it has prepared.
pub(super) struct Session {
    client: Client,
    settings: Statement,
    /// By role and text, as a plan may hold what Postgres let one role do.
    statements: HashMap<(Arc<str>, String), Prepared>,
    /// Grows with every call.
    calls: u64,
    /// Whether it could not be made as it was before a call.
    is_spoiled: bool,
}

struct Prepared {
    statement: Statement,
    used_at: u64,
}

/// What a call needs of this server.
pub(super) struct Call<'a> {
    pub(super) caller: &'a Caller,
    pub(super) signature: &'a Signature,
    pub(super) role: &'a RoleSettings,
    pub(super) arguments: &'a Arguments,
    pub(super) page: &'a Page,
    pub(super) is_read_only: bool,
    /// How long each statement may take at most, in milliseconds.
    pub(super) timeout_ms_max: i64,
}

impl Call<'_> {
    /// How long each statement may take: what the function says, or else its caller's role, but no longer than calls may.
    fn timeout_ms(&self) -> String {
        let wanted = self.signature.timeout_ms.or(self.role.timeout_ms).filter(|wanted| *wanted > 0);
        wanted.map_or(self.timeout_ms_max, |wanted| wanted.min(self.timeout_ms_max)).to_string()
    }
}

/// How a call ended, as far as the session is concerned.
pub(super) enum Outcome {
    /// With a result, or a refusal.
    Done(Result<Returned, Error>),
    /// Not at all: the function, or what this session has prepared for it, is not what it was. With what the caller is
    /// told if that is not so.
    Stale(Error),
    /// The session is of no more use.
    Lost,
}

impl Session {
    /// Takes a fresh session over.
    pub(super) async fn new(client: Client) -> Result<Self, tokio_postgres::Error> {
        let settings = client.prepare(SETTINGS).await?;
        Ok(Self { client, settings, statements: HashMap::new(), calls: 0, is_spoiled: false })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether another call may use it.
    pub(super) fn is_reusable(&self) -> bool {
        !self.is_spoiled
    }

    /// Makes a call. After [`Outcome::Lost`], and if this is dropped before its end, the session is not to be used.
    pub(super) async fn call(&mut self, call: &Call<'_>) -> Outcome {
        let role = &call.caller.claims.role;
        self.calls += 1;
        let wanted = statement::call(call.signature, call.arguments, call.page);
        let key = (Arc::clone(role), wanted.sql.clone());
        let prepared = match self.statements.get_mut(&key) {
            Some(prepared) => {
                prepared.used_at = self.calls;
                prepared.statement.clone()
            }
            None => match self.client.prepare(&key.1).await {
                Ok(statement) => {
                    self.keep(key.clone(), statement.clone());
                    statement
                }
                // The catalog may be of yesterday; if it is not, this is what the caller is told.
                Err(error) => return self.failed(&error, role, is_unknown),
            },
        };
        let (outcome, is_clean) = self.exchange(call, &wanted, &prepared).await;
        if !is_clean {
            self.is_spoiled = true;
            // What has been committed, or refused, is told all the same.
            return if matches!(outcome, Outcome::Done(_)) { outcome } else { Outcome::Lost };
        }
        if matches!(outcome, Outcome::Stale(_)) {
            self.statements.remove(&key);
            // A function may even have dropped the statements of the session.
            match self.client.prepare(SETTINGS).await {
                Ok(settings) => self.settings = settings,
                Err(_) => return Outcome::Lost,
            }
        }
        outcome
    }

    fn keep(&mut self, key: (Arc<str>, String), statement: Statement) {
        if key.1.len() > STATEMENT_BYTES_MAX {
            return;
        }
        if self.statements.len() >= STATEMENTS_MAX {
            let oldest = self.statements.iter().min_by_key(|(_, prepared)| prepared.used_at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.statements.remove(&oldest);
            }
        }
        self.statements.insert(key, Prepared { statement, used_at: self.calls });
    }

    /// One round trip. The second answer is whether the session is as it was before.
    async fn exchange(
        &self,
        call: &Call<'_>,
        wanted: &statement::Statement,
        prepared: &Statement,
    ) -> (Outcome, bool) {
        let Caller { claims, method, path, headers, time_zone } = call.caller;
        let (timeout_ms, time_zone) = (call.timeout_ms(), time_zone.unwrap_or_default());
        let role = &claims.role;
        let search_path = statement::search_path(&call.signature.schema);
        let begin = if call.is_read_only { "begin read only" } else { "begin" };
        let settings: [&(dyn ToSql + Sync); 15] = [
            &&**role,
            &&*claims.json,
            &method.as_str(),
            &&**path,
            &&**headers,
            &search_path,
            &timeout_ms,
            &call.signature.id,
            &call.signature.version,
            &call.signature.schema_id,
            &call.signature.row_type_id,
            &call.signature.row_type_version,
            &call.role.json,
            &call.role.version,
            &time_zone,
        ];
        let mut values: Vec<&(dyn ToSql + Sync)> = Vec::new();
        if wanted.takes_json {
            values.push(&call.arguments.json);
        }
        if wanted.takes_limits {
            values.extend::<[&(dyn ToSql + Sync); 2]>([&call.page.limit, &call.page.offset]);
        }
        // Sent in this order, without waiting for each other.
        let (begun, verdict, answer, ended, reset) = join5(
            self.client.batch_execute(begin),
            self.client.query_one(&self.settings, &settings),
            self.client.query_opt(prepared, &values),
            self.client.batch_execute("commit"),
            self.client.batch_execute(RESET),
        )
        .await;
        // A refused commit has rolled back; whatever else cannot begin or be made as it was is not to be trusted.
        let is_lost = |error: &tokio_postgres::Error| error.as_db_error().is_none();
        let is_clean = begun.is_ok() && reset.is_ok() && !ended.as_ref().is_err_and(is_lost);
        let outcome = match (verdict, answer) {
            (Err(error), _) => self.failed(&error, role, is_gone),
            (Ok(verdict), answer) => match (verdict_of(&verdict), answer) {
                (OPEN, Ok(Some(row))) => match ended {
                    Ok(()) => Outcome::Done(returned(&row, call.signature)),
                    Err(error) => self.failed(&error, role, |_| false),
                },
                (OPEN, Err(error)) => match not_single(&error) {
                    Some(rows) => Outcome::Done(Err(Error::NotSingle { rows })),
                    None => self.failed(&error, role, is_outdated),
                },
                (CHANGED, _) => Outcome::Stale(Error::Unavailable),
                (NO_SCHEMA, _) => denied("schema", &call.signature.schema, role),
                (NO_FUNCTION, _) => denied("function", &call.signature.name, role),
                // The gate was open, and is not any more.
                _ => Outcome::Lost,
            },
        };
        (if begun.is_ok() { outcome } else { Outcome::Lost }, is_clean)
    }

    /// What an error means, if those that mean that the catalog is old are known.
    fn failed(&self, error: &tokio_postgres::Error, role: &str, is_stale: fn(&DbError) -> bool) -> Outcome {
        match error.as_db_error() {
            Some(error) if is_stale(error) => Outcome::Stale(Error::refused(error, role)),
            // The session ends with such a word.
            Some(error) if is_end(error) => Outcome::Lost,
            Some(error) => Outcome::Done(Err(Error::refused(error, role))),
            None => Outcome::Lost,
        }
    }
}

fn verdict_of(row: &Row) -> &str {
    row.try_get(VERDICT).unwrap_or_default()
}

fn returned(row: &Row, signature: &Signature) -> Result<Returned, Error> {
    let unreadable = |_| Error::Unavailable;
    let json: Option<String> = row.try_get(0).map_err(unreadable)?;
    let total: Option<i64> = row.try_get(2).map_err(unreadable)?;
    let rows: i64 = row.try_get(1).map_err(unreadable)?;
    let said =
        |place| row.try_get::<_, Option<String>>(place).map(|said| said.filter(|said| !said.is_empty()));
    let shape = Shape::of(signature);
    let json = match (shape, json) {
        (Shape::Void, _) => String::new(),
        (_, json) => json.unwrap_or_else(|| "null".to_owned()),
    };
    Ok(Returned {
        json,
        shape,
        rows: u64::try_from(rows).unwrap_or(0),
        total: total.and_then(|total| u64::try_from(total).ok()),
        status: said(3).map_err(unreadable)?,
        headers: said(4).map_err(unreadable)?,
    })
}

/// How many rows there were where there should have been one.
fn not_single(error: &tokio_postgres::Error) -> Option<u64> {
    let error = error.as_db_error().filter(|error| *error.code() == SqlState::INVALID_TEXT_REPRESENTATION)?;
    let (_, rest) = error.message().split_once(NOT_SINGLE)?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn denied(kind: &str, name: &str, role: &str) -> Outcome {
    let message = format!("permission denied for {kind} {name}");
    Outcome::Done(Err(Error::denied(SqlState::INSUFFICIENT_PRIVILEGE.code(), message, role)))
}

/// Whether an error says that something which a statement names is not there any more.
fn is_unknown(error: &DbError) -> bool {
    [
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_TABLE,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::AMBIGUOUS_FUNCTION,
        SqlState::DATATYPE_MISMATCH,
    ]
    .contains(error.code())
}

/// The same of a statement that was prepared, unless the error comes out of a function.
fn is_outdated(error: &DbError) -> bool {
    let is_ours = error.where_().is_none();
    let is_another =
        *error.code() == SqlState::FEATURE_NOT_SUPPORTED && error.message().starts_with("cached plan");
    is_ours && (is_unknown(error) || is_gone(error) || is_another)
}

/// Whether a statement that was prepared is not there any more.
fn is_gone(error: &DbError) -> bool {
    *error.code() == SqlState::INVALID_SQL_STATEMENT_NAME
}

/// Whether the session ends with this error.
fn is_end(error: &DbError) -> bool {
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(error.code())
}

//! A session of the upkeep: statements that are prepared once and have a bound on their time.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::error::{Error, WITHIN};
use crate::postgres::connect::Database;

/// Postgres gives up by itself what is not waited for any more, and waits for nobody's lock for long. Sessions that
/// have nothing to do stay.
const SETTINGS: &str = "set statement_timeout = '5s'; set lock_timeout = '1s'; set idle_session_timeout = 0";

/// A session.
pub(super) struct Session {
    client: Client,
}

/// A statement of a session, and what it does, in words.
pub(super) struct Prepared {
    statement: Statement,
    what: &'static str,
}

impl Session {
    /// Opens one, shown as `name` in `pg_stat_activity`.
    pub(super) async fn open(database: &Database, name: &str) -> Result<Self, Error> {
        let (client, _session) = database.connect(name).await?;
        within("prepare a session", client.batch_execute(SETTINGS)).await?;
        Ok(Self { client })
    }

    /// Changes settings of the session.
    pub(super) async fn set(&self, settings: &str) -> Result<(), Error> {
        within("prepare a session", self.client.batch_execute(settings)).await
    }

    /// Prepares a statement that does `what`, as in "could not …".
    pub(super) async fn prepare(&self, what: &'static str, sql: &str) -> Result<Prepared, Error> {
        let statement = within(what, self.client.prepare(sql)).await?;
        Ok(Prepared { statement, what })
    }

    /// Runs a statement whose answer does not matter.
    pub(super) async fn run(&self, prepared: &Prepared, params: &[&(dyn ToSql + Sync)]) -> Result<(), Error> {
        within(prepared.what, self.client.execute(&prepared.statement, params)).await.map(|_| ())
    }

    /// Runs a statement that answers with a number of rows.
    pub(super) async fn count(
        &self,
        prepared: &Prepared,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let row = within(prepared.what, self.client.query_one(&prepared.statement, params)).await?;
        let count: i32 = row.try_get(0).map_err(|source| Error::statement(prepared.what, source))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Runs a statement that answers yes or no.
    pub(super) async fn asks(&self, prepared: &Prepared) -> Result<bool, Error> {
        let row = within(prepared.what, self.client.query_one(&prepared.statement, &[])).await?;
        row.try_get(0).map_err(|source| Error::statement(prepared.what, source))
    }
}

async fn within<T>(
    what: &'static str,
    statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(WITHIN, statement).await {
        Ok(result) => result.map_err(|source| Error::statement(what, source)),
        Err(_) => Err(Error::Timeout { what }),
    }
}

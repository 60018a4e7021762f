//! The upkeep of `realtime.messages`: partitions made ahead, and dropped after the retention.
//!
//! In: a database and how long messages are kept. Out: a log line for what was done, and one for what could not be.
//! The work itself is done by functions in the database (`sql/functions/rowcast_*`), which run as the table's owner;
//! so the server's role needs no rights on the table.
//!
//! A run that fails is tried again after [`Backoff`]'s pause, for as long as it takes; a reason is logged once until it
//! changes or is over. Days end by UTC: partitions are made three days ahead, so that a run that comes an hour late,
//! or a database that is away for a day, leaves nobody without one.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::{self, Database};
use crate::telemetry::code::Code;
use crate::telemetry::log::chain;
use crate::telemetry::report::report;
use crate::wal::stream::Backoff;

/// How long one run may take before its session is given up.
const WITHIN: Duration = Duration::from_secs(30);

/// What is kept up, and how often.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub database: Database,
    /// Time between two runs.
    pub interval: Duration,
    /// How long messages are kept: a day's are dropped once all of it is further back.
    pub retention: Duration,
}

/// What one run did; the names of partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Those that were missing.
    pub created: Vec<String>,
    /// Those that were past the retention.
    pub dropped: Vec<String>,
}

/// Why a run did not do all it should. What it did before stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No session.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The next days' partitions are not all there.
    #[error("could not make partitions of realtime.messages")]
    Create(#[source] tokio_postgres::Error),
    /// Messages past the retention are still there.
    #[error("could not drop old partitions of realtime.messages")]
    Drop(#[source] tokio_postgres::Error),
    /// No answer in time.
    #[error("upkeep of realtime.messages took longer than {} s", WITHIN.as_secs())]
    Timeout,
}

impl Error {
    /// The code that log lines carry.
    pub fn code(&self) -> Code {
        match self {
            Self::Drop(_) => Code::JanitorFailedToDeleteOldMessages,
            Self::Connect(_) | Self::Create(_) | Self::Timeout => Code::PartitionCreationFailed,
        }
    }

    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        let source = match self {
            Self::Connect(error) => return error.remedy(),
            Self::Timeout => return "look for sessions that hold a lock on realtime.messages",
            Self::Create(source) | Self::Drop(source) => source,
        };
        match source.code() {
            Some(&SqlState::INVALID_SCHEMA_NAME | &SqlState::UNDEFINED_FUNCTION) => "run `rowcast migrate`",
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                "grant execute on all functions in schema rowcast to the server's role; if it has that, let a superuser \
                 apply sql/grants/rowcast.sql, or run `select * from rowcast.maintain_messages()` daily as the owner of \
                 realtime.messages"
            }
            Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                "a long transaction holds a lock on realtime.messages; the next run tries again"
            }
            _ => "see the message; `select * from rowcast.maintain_messages()` does the same by hand",
        }
    }

    /// Whether it was Postgres that refused. Then trying again soon is of no use: somebody has to do something
    /// first, or a transaction to end.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Create(source) | Self::Drop(source) if source.code().is_some())
    }
}

/// Keeps `realtime.messages` up until it is dropped. `ran` is told how each run went.
pub async fn keep_up(config: Config, mut ran: impl FnMut(&Result<Report, Error>)) {
    let mut backoff = Backoff::new();
    let mut told = None;
    loop {
        let result = run(&config).await;
        ran(&result);
        let pause = match &result {
            Err(error) if !error.is_refusal() => backoff.pause(rand::random()).min(config.interval),
            _ => {
                backoff = Backoff::new();
                config.interval
            }
        };
        tell(&result, &mut told);
        tokio::time::sleep(pause).await;
    }
}

/// Logs what was done, and a failure unless it was the one `told` last.
fn tell(result: &Result<Report, Error>, told: &mut Option<String>) {
    match result {
        Ok(report) => {
            if told.take().is_some() {
                tracing::info!("realtime.messages is kept up again");
            }
            report.tell();
        }
        Err(error) => {
            let text = chain(error);
            if told.as_ref() != Some(&text) {
                report!(warn, error.code(), error = text, remedy = error.remedy(), "upkeep failed");
            }
            *told = Some(text);
        }
    }
}

impl Report {
    fn tell(&self) {
        let Self { created, dropped } = self;
        if !(created.is_empty() && dropped.is_empty()) {
            tracing::info!(
                created = created.join(" "),
                dropped = dropped.join(" "),
                "kept realtime.messages up"
            );
        }
    }
}

/// One run: makes what is missing, then drops what is past the retention.
pub async fn run(config: &Config) -> Result<Report, Error> {
    let (client, _session) = config.database.connect("rowcast_maintenance").await?;
    tokio::time::timeout(WITHIN, run_on(&client, config.retention)).await.map_err(|_| Error::Timeout)?
}

async fn run_on(client: &Client, retention: Duration) -> Result<Report, Error> {
    // Stops in the database what is not waited for any more.
    let timeout = format!("set statement_timeout = {}", WITHIN.as_millis());
    client.batch_execute(&timeout).await.map_err(Error::Create)?;
    let created =
        names(client, "select rowcast.create_messages_partitions()").await.map_err(Error::Create)?;
    let drop =
        format!("select rowcast.drop_messages_partitions(interval '{} milliseconds')", retention.as_millis());
    let dropped = names(client, &drop).await.map_err(Error::Drop)?;
    Ok(Report { created, dropped })
}

async fn names(client: &Client, query: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    Ok(client.query(query, &[]).await?.iter().map(|row| row.get(0)).collect())
}

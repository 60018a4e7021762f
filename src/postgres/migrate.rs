//! Brings a database to this version's schema, forward only.
//!
//! Each file in `migrations/` runs once, in order, in a transaction of its own that also records it in
//! `rowcast.migrations`. Servers that start together take turns by an advisory lock, which is held by the transaction
//! and so works through a pooler, too.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;

use super::connect::{self, Database};

/// One step of the schema.
#[derive(Debug, PartialEq, Eq)]
pub struct Migration {
    /// `YYYYMMDDHHMMSS`, the order.
    pub version: i64,
    /// `verb_object`.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal,)*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../migrations/", $version, "_", $name, ".sql")),
        }),*]
    };
}

/// Every migration, in order.
pub static MIGRATIONS: &[Migration] = migrations! {
    20261120090000 "create_schemas",
    20261120090100 "create_roles",
    20261120090200 "create_auth_functions",
    20261120090300 "create_publications",
    20261121090000 "create_realtime_admin",
    20261121090100 "create_realtime_types",
    20261121090200 "create_messages",
    20261121090300 "create_messages_publication",
    20261121090400 "create_messages_upkeep",
    20261121090500 "create_broadcast_functions",
    20261121090600 "create_subscription_functions",
    20261121090700 "create_subscription",
    20261121090800 "grant_realtime",
    20261121100000 "announce_ddl",
};

/// What one run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was applied, in order; empty if the schema was up to date.
    pub applied: Vec<&'static Migration>,
    /// What Postgres remarked, such as roles it would not let us create.
    pub notices: Vec<String>,
    /// Versions in the database that this program does not know: a newer one was here.
    pub unknown: Vec<i64>,
}

/// Why the schema is not up to date. What was applied before stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No session.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The record of what was applied could not be read.
    #[error("could not read rowcast.migrations")]
    History(#[source] tokio_postgres::Error),
    /// One migration failed and was rolled back.
    #[error("migration {version}_{name} failed and was rolled back")]
    Apply {
        /// Its version.
        version: i64,
        /// Its name.
        name: &'static str,
        /// Why.
        source: tokio_postgres::Error,
    },
}

impl Error {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        use tokio_postgres::error::SqlState;
        match self {
            Self::Connect(error) => error.remedy(),
            Self::History(_) => "let the role read rowcast.migrations, or migrate as the role that owns it",
            Self::Apply { source, .. } => match source.code() {
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    "migrate as a role that may create schemas and publications in this database, such as its owner, and \
                     objects in the schema realtime if somebody else has made that"
                }
                Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                    "another session holds a lock; try again when it is done"
                }
                _ => "see the message above; running `rowcast migrate` again is safe",
            },
        }
    }
}

/// Any number, the same in every version of this program.
const LOCK: i64 = 0x0072_6f77_6361_7374;

/// Applies what is missing.
pub async fn migrate(database: &Database) -> Result<Report, Error> {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notices);
    let (mut client, session) = database
        .connect_with_notices("rowcast_migrate", move |text| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        })
        .await?;
    let mut report = Report::default();
    for migration in MIGRATIONS {
        let failed = |source| Error::Apply { version: migration.version, name: migration.name, source };
        if apply(&mut client, migration).await.map_err(failed)? {
            report.applied.push(migration);
        }
    }
    report.unknown = history(&client).await?.into_iter().filter(|version| find(*version).is_none()).collect();
    drop(client);
    // The session ends once its client is gone; only then is every notice here.
    let _ = session.await;
    report.notices = std::mem::take(&mut *notices.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(report)
}

/// What [`migrate`] would apply now.
pub async fn pending(database: &Database) -> Result<Vec<&'static Migration>, Error> {
    let (client, _session) = database.connect("rowcast_migrate").await?;
    let applied = history(&client).await?;
    Ok(MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version)).collect())
}

/// One migration in one transaction; `false` if it was applied before.
async fn apply(client: &mut Client, migration: &Migration) -> Result<bool, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    // A migration that waits for a lock makes everybody behind it wait; it rather fails and is run again.
    transaction
        .batch_execute("set local lock_timeout = '30s'; set local client_min_messages = notice")
        .await?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    if versions(transaction.client()).await?.contains(&migration.version) {
        return Ok(false);
    }
    transaction.batch_execute(migration.sql).await?;
    transaction
        .execute(
            "insert into rowcast.migrations (version, name) values ($1, $2)",
            &[&migration.version, &migration.name],
        )
        .await?;
    transaction.commit().await?;
    Ok(true)
}

async fn history(client: &Client) -> Result<Vec<i64>, Error> {
    versions(client).await.map_err(Error::History)
}

async fn versions(client: &Client) -> Result<Vec<i64>, tokio_postgres::Error> {
    let exists = "select to_regclass('rowcast.migrations') is not null";
    if !client.query_one(exists, &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = client.query("select version from rowcast.migrations order by version", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn find(version: i64) -> Option<&'static Migration> {
    MIGRATIONS.iter().find(|migration| migration.version == version)
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn versions_ascend() {
        assert!(MIGRATIONS.is_sorted_by(|a, b| a.version < b.version));
    }

    #[test]
    fn every_file_is_listed() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<String> = MIGRATIONS
            .iter()
            .map(|migration| format!("{}_{}.sql", migration.version, migration.name))
            .collect();
        assert_eq!(files, listed);
    }

    #[test]
    fn every_file_says_why_what_it_locks_and_how_to_undo_it() {
        for migration in MIGRATIONS {
            for word in ["-- why:", "-- locks:", "-- undo:"] {
                assert!(migration.sql.contains(word), "{}: {word}", migration.name);
            }
        }
    }
}

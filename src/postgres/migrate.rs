//! Brings a database to this version's schema, forward only.
//!
//! What everybody needs is one set of migrations; the messaging schema is another, which a database has once somebody has
//! asked for it. Each file in `migrations/` runs once, in order, in a transaction of its own that also records it in
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
    ($folder:literal $($version:literal $name:literal,)*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../migrations/", $folder, $version, "_", $name, ".sql")),
        }),*]
    };
}

/// Every migration of [`Set::Core`], in order.
pub static MIGRATIONS: &[Migration] = migrations! {
    ""
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

/// Every migration of [`Set::Messaging`], in order.
pub static MESSAGING: &[Migration] = migrations! {
    "messaging/"
    20261122090000 "create_messaging_tables",
    20261122090100 "create_messaging_callers",
    20261122090200 "create_messaging_triggers",
    20261122090300 "create_messaging_reading",
    20261122090400 "create_messaging_functions",
    20261122090500 "create_messaging_upkeep",
    20261122090600 "create_messaging_policies",
    20261122090700 "grant_messaging",
    20261122110000 "open_conversation_topics",
    20261122120000 "create_catch_ups",
};

/// Migrations that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// What every server needs; always applied.
    Core,
    /// Conversations, messages and what people do with them, in the schema `public`.
    Messaging,
}

impl Set {
    /// Every set, those first that others build on.
    pub const ALL: [Self; 2] = [Self::Core, Self::Messaging];

    /// Its migrations, in order.
    pub fn migrations(self) -> &'static [Migration] {
        match self {
            Self::Core => MIGRATIONS,
            Self::Messaging => MESSAGING,
        }
    }
}

/// What the messaging set makes in the schema `public`: tables and functions.
const MESSAGING_NAMES: [&str; 40] = [
    "users",
    "customers",
    "conversations",
    "conversation_participants",
    "messages",
    "message_reactions",
    "message_read_receipts",
    "message_delivery_status",
    "message_typing_indicators",
    "user_presence",
    "notification_preferences",
    "upsert_profile",
    "start_conversation",
    "leave_conversation",
    "add_participant",
    "archive_conversation",
    "send_message",
    "edit_message",
    "delete_message",
    "add_message_reaction",
    "remove_message_reaction",
    "mark_message_as_read",
    "mark_messages_as_read",
    "mark_conversation_as_read",
    "mark_messages_as_delivered",
    "get_unread_message_count",
    "get_unread_counts",
    "update_typing_indicator",
    "update_user_presence",
    "cleanup_expired_typing_indicators",
    "list_presence",
    "list_conversations",
    "get_conversation",
    "list_messages",
    "get_message",
    "search_messages",
    "messages_since",
    "get_notification_preferences",
    "update_notification_preferences",
    "list_typing_indicators",
];

/// Relations and functions of those names that somebody else has made.
const TAKEN: &str = "
    select found.name from (
        select c.relname::text as name, obj_description(c.oid, 'pg_class') as made_by, 0 as rank
        from pg_catalog.pg_class c
        where c.relnamespace = to_regnamespace('public') and c.relname = any ($1)
        union all
        select p.proname || '()', obj_description(p.oid, 'pg_proc'), 1
        from pg_catalog.pg_proc p
        where p.pronamespace = to_regnamespace('public') and p.proname = any ($1)
    ) found
    where found.made_by is null or found.made_by not like '%Made by Rowcast.'
    order by found.rank, found.name";

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
    /// A name that a set needs is somebody else's.
    #[error("public.{name} is there already, and Rowcast did not make it; the messaging schema was not made")]
    Taken {
        /// The first one.
        name: String,
    },
    /// Policies of a set name a role that is missing.
    #[error("the role authenticated is missing, and the policies of the messaging schema name it")]
    NoRole,
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
            Self::Taken { .. } => {
                "migrate a database of its own, or rename what is there or move it to another schema, then run \
                 `rowcast migrate --with messaging` again"
            }
            Self::NoRole => {
                "as a superuser: create role anon nologin noinherit; create role authenticated nologin noinherit; create \
                 role service_role nologin noinherit bypassrls"
            }
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

/// Applies what is missing of the core, of `sets`, and of the sets that the database has already.
pub async fn migrate(database: &Database, sets: &[Set]) -> Result<Report, Error> {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notices);
    let (mut client, session) = database
        .connect_with_notices("rowcast_migrate", move |text| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        })
        .await?;
    let mut report = Report::default();
    let applied = history(&client).await?;
    // Before anything is made, so that nothing is if this stops.
    check_names(&client, sets, &applied).await?;
    for migration in wanted(sets, &applied) {
        if Set::Messaging.migrations().first() == Some(migration) {
            check_role(&client).await?;
        }
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
pub async fn pending(database: &Database, sets: &[Set]) -> Result<Vec<&'static Migration>, Error> {
    let (client, _session) = database.connect("rowcast_migrate").await?;
    let applied = history(&client).await?;
    check_names(&client, sets, &applied).await?;
    Ok(wanted(sets, &applied).filter(|migration| !applied.contains(&migration.version)).collect())
}

/// The migrations of the core, of `sets`, and of each set of which the database has one.
fn wanted(sets: &[Set], applied: &[i64]) -> impl Iterator<Item = &'static Migration> {
    let is_wanted = |set: Set| set == Set::Core || sets.contains(&set) || has(set, applied);
    let chosen: Vec<Set> = Set::ALL.into_iter().filter(|set| is_wanted(*set)).collect();
    chosen.into_iter().flat_map(Set::migrations)
}

/// The core has made the roles of tokens, if it was allowed to.
async fn check_role(client: &Client) -> Result<(), Error> {
    let there = "select to_regrole('authenticated') is not null";
    let row = client.query_one(there, &[]).await.map_err(Error::History)?;
    if row.get(0) { Ok(()) } else { Err(Error::NoRole) }
}

fn has(set: Set, applied: &[i64]) -> bool {
    set.migrations().iter().any(|migration| applied.contains(&migration.version))
}

/// Refuses to begin the messaging set where its names are somebody else's.
async fn check_names(client: &Client, sets: &[Set], applied: &[i64]) -> Result<(), Error> {
    if !sets.contains(&Set::Messaging) || has(Set::Messaging, applied) {
        return Ok(());
    }
    let taken = client.query_opt(&format!("{TAKEN} limit 1"), &[&&MESSAGING_NAMES[..]]).await;
    match taken.map_err(Error::History)? {
        Some(row) => Err(Error::Taken { name: row.get(0) }),
        None => Ok(()),
    }
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
    // Not by to_regclass(), which may still remember that there was no such table before this session waited its turn.
    let exists = "select exists (select from pg_catalog.pg_class c
                      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                      where n.nspname = 'rowcast' and c.relname = 'migrations')";
    if !client.query_one(exists, &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = client.query("select version from rowcast.migrations order by version", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn find(version: i64) -> Option<&'static Migration> {
    Set::ALL.into_iter().flat_map(Set::migrations).find(|migration| migration.version == version)
}

#[cfg(test)]
mod tests {
    use super::{MESSAGING_NAMES, MIGRATIONS, Set};

    #[test]
    fn versions_ascend() {
        let all: Vec<i64> =
            Set::ALL.into_iter().flat_map(Set::migrations).map(|migration| migration.version).collect();
        assert!(all.is_sorted_by(|a, b| a < b));
        assert!(all.len() > MIGRATIONS.len());
    }

    #[test]
    fn every_file_is_listed() {
        for (set, folder) in [(Set::Core, ""), (Set::Messaging, "/messaging")] {
            let directory = format!("{}/migrations{folder}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<String> = std::fs::read_dir(directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != "messaging")
                .collect();
            files.sort();
            let listed: Vec<String> = set
                .migrations()
                .iter()
                .map(|migration| format!("{}_{}.sql", migration.version, migration.name))
                .collect();
            assert_eq!(files, listed);
        }
    }

    #[test]
    fn every_file_says_why_what_it_locks_and_how_to_undo_it() {
        for migration in Set::ALL.into_iter().flat_map(Set::migrations) {
            for word in ["-- why:", "-- locks:", "-- undo:"] {
                assert!(migration.sql.contains(word), "{}: {word}", migration.name);
            }
        }
    }

    #[test]
    fn names_that_messaging_takes_are_those_that_it_makes() {
        let mut made: Vec<&str> = Vec::new();
        for line in Set::Messaging.migrations().iter().flat_map(|migration| migration.sql.lines()) {
            let line = line.trim();
            let rest = line.strip_prefix("create table public.");
            let rest = rest.or_else(|| line.strip_prefix("create or replace function public."));
            made.extend(rest.and_then(|rest| rest.split([' ', '(']).next()));
        }
        made.sort_unstable();
        let mut taken = MESSAGING_NAMES;
        taken.sort_unstable();
        assert_eq!(made, taken);
    }
}

//! Reads whole tables into the mirror.
//!
//! While a stream runs, a load has to fit into it: see [`in_stream`]. Without one, [`fill`] reads all tables as of one
//! moment.

use std::str;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::change::Types;
use crate::policy::catalog::{Catalog, Needed};
use crate::policy::mirror::{Identity, Layout, Mirror, Rows, Unusable};
use crate::postgres::rows::{rows_of, table_name};
use crate::postgres::snapshot::Snapshot;
use crate::wal::Lsn;
use crate::wal::sql::identifier;

/// How long reading one table may take, once it has begun.
const READ_WITHIN: Duration = Duration::from_secs(600);

/// How long transactions are waited for that began before a table was published.
const WAIT_WITHIN: Duration = Duration::from_secs(600);

/// How long the first pause between two looks at them is; later ones double up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// After how many rows the bound is looked at.
const ROWS_PER_LOOK: usize = 1024;

/// A table that was read while the stream ran.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) rows: Rows,
    /// What it sees.
    pub(super) snapshot: Snapshot,
    /// Everything that it sees was committed before this position.
    pub(super) from: Lsn,
    /// See [`Survey`](super::survey::Survey).
    pub(super) filenode: u32,
}

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The statement failed, or the session.
    #[error("could not read the table")]
    Query(#[from] tokio_postgres::Error),
    /// What was read is of no use.
    #[error("could not hold the table: {0}")]
    Unusable(Unusable),
    /// It took too long.
    #[error("could not read the table within {} seconds", READ_WITHIN.as_secs())]
    Timeout,
    /// A transaction that began before has not ended.
    #[error("a transaction that began more than {} seconds ago has not ended", WAIT_WITHIN.as_secs())]
    OldTransaction,
    /// The server's answer makes no sense.
    #[error("could not read the answer of Postgres")]
    Answer,
}

impl Error {
    /// Why the table cannot be had, if that is a matter of rights.
    pub(super) fn hindrance(&self, table: &str) -> Option<String> {
        let Self::Query(error) = self else { return None };
        (error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)).then(|| {
            format!("this server's role may not read all of it: grant select on {table}, and bypassrls")
        })
    }
}

impl From<Unusable> for Error {
    fn from(why: Unusable) -> Self {
        Self::Unusable(why)
    }
}

/// Reads a table by the snapshot of the transaction in hand, or by one of its own. A role that row level security binds
/// gets an error.
///
/// # Errors
/// If the table cannot be read, holds a value that cannot be decoded, or has more than `bytes_max` bytes in memory.
pub async fn load(client: &Client, needed: &Needed, types: &Types, bytes_max: usize) -> Result<Rows, Error> {
    let layout = Layout::new(needed, Identity::Whole, types)?;
    read(client, Arc::new(layout), bytes_max).await
}

/// A mirror of all that the catalog's policies read, as of one moment; what cannot be had is unusable in it. Leaves the
/// session as it was.
///
/// # Errors
/// When the session fails.
pub async fn fill(client: &Client, catalog: &Catalog, bytes_max: usize) -> Result<Mirror, Error> {
    let mut mirror = Mirror::new(bytes_max);
    client.batch_execute("begin isolation level repeatable read read only").await?;
    for (id, needed) in &catalog.needed {
        if let Some(hindrance) = &needed.hindrance {
            mirror.give_up(*id, Unusable::Hindered(Arc::clone(hindrance)));
            continue;
        }
        client.batch_execute("savepoint relation").await?;
        match load(client, needed, &catalog.types, bytes_max).await {
            Ok(rows) => mirror.insert(rows),
            Err(Error::Unusable(why)) => mirror.give_up(*id, why),
            Err(error) => {
                let table = table_name(&needed.table);
                let Some(hindrance) = error.hindrance(&table) else { return Err(error) };
                mirror.give_up(*id, Unusable::Hindered(hindrance.into()));
            }
        }
        client.batch_execute("rollback to savepoint relation; release savepoint relation").await?;
    }
    client.batch_execute("commit").await?;
    Ok(mirror)
}

/// Reads a table whose changes the feed has kept since before this call, and which is published.
///
/// Every transaction that the snapshot does not see began after this call, since it waits for those that began before;
/// so the stream brings, or has brought, the whole of it after the feed began to keep changes.
pub(super) async fn in_stream(
    client: &Client,
    layout: &Arc<Layout>,
    bytes_max: usize,
) -> Result<Loaded, Error> {
    let snapshot = begin_after_all(client, layout).await?;
    let read = async {
        let mut rows = read(client, Arc::clone(layout), bytes_max).await?;
        rows.shrink();
        let query = format!(
            "select pg_catalog.pg_current_wal_insert_lsn(), coalesce(pg_catalog.pg_relation_filenode({}), 0)",
            layout.table().id.0
        );
        let messages = client.simple_query(&query).await?;
        let row = rows_of(&messages).next().ok_or(Error::Answer)?;
        let from = row.get(0).and_then(|text| text.parse().ok()).ok_or(Error::Answer)?;
        let filenode = row.get(1).and_then(|text| text.parse().ok()).ok_or(Error::Answer)?;
        Ok(Loaded { rows, snapshot, from, filenode })
    };
    let loaded = tokio::time::timeout(READ_WITHIN, read).await.map_err(|_| Error::Timeout)?;
    client.batch_execute("rollback").await?;
    // Something is written, so that the stream says that it has passed the position even where nobody else writes.
    client.simple_query("select pg_catalog.pg_current_xact_id()").await?;
    loaded
}

/// Begins a transaction that sees all those that began before this call.
async fn begin_after_all(client: &Client, layout: &Layout) -> Result<Snapshot, Error> {
    let messages = client.simple_query("select pg_catalog.pg_current_xact_id()::text").await?;
    let xid = rows_of(&messages).next().and_then(|row| row.get(0)).and_then(|text| text.parse().ok());
    let xid: u64 = xid.ok_or(Error::Answer)?;
    // A table that is written anew after the snapshot was taken would seem empty: the lock is taken first.
    let begin = format!(
        "begin isolation level repeatable read; lock table only {} in access share mode; \
         select pg_catalog.pg_current_snapshot()::text",
        table_name(layout.table())
    );
    let deadline = Instant::now() + WAIT_WITHIN;
    let mut pause = PAUSE_FIRST;
    loop {
        let taken = client.simple_query(&begin).await;
        if taken.is_err() {
            client.batch_execute("rollback").await?;
        }
        let messages = taken?;
        let snapshot = rows_of(&messages).find_map(|row| row.get(0).and_then(Snapshot::parse));
        let snapshot = snapshot.ok_or(Error::Answer)?;
        if snapshot.xmin() >= xid {
            return Ok(snapshot);
        }
        client.batch_execute("rollback").await?;
        if Instant::now() >= deadline {
            return Err(Error::OldTransaction);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

async fn read(client: &Client, layout: Arc<Layout>, bytes_max: usize) -> Result<Rows, Error> {
    let table = layout.table();
    let columns: Vec<String> = layout.places().map(|place| identifier(&table.columns[place].name)).collect();
    let query = format!("copy (select {} from only {}) to stdout", columns.join(", "), table_name(table));
    client.batch_execute("set row_security = off").await?;
    let copy = client.copy_out(&query).await?;
    pin_mut!(copy);
    let mut rows = Rows::new(layout);
    let mut count = 0_usize;
    // One message is one row, with a line break at its end.
    while let Some(line) = copy.next().await {
        let line = line?;
        let line = str::from_utf8(&line).map_err(|_| Error::Answer)?;
        let fields: Vec<Option<String>> = line.trim_end_matches('\n').split('\t').map(unescape).collect();
        rows.load(fields.iter().map(Option::as_deref))?;
        count += 1;
        if count.is_multiple_of(ROWS_PER_LOOK) && rows.bytes() > bytes_max {
            return Err(Unusable::TooLarge.into());
        }
    }
    if rows.bytes() > bytes_max {
        return Err(Unusable::TooLarge.into());
    }
    Ok(rows)
}

/// A field of `COPY` as the type's output function wrote it; `None` for NULL.
fn unescape(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('v') => text.push('\u{b}'),
            Some(other) => text.push(other),
            None => {}
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_copy_are_read_as_they_were() {
        for (field, expected) in [
            ("", Some("")),
            ("\\N", None),
            ("\\\\N", Some("\\N")),
            ("a\\tb\\nc\\\\d", Some("a\tb\nc\\d")),
            ("\\b\\f\\r\\v", Some("\u{8}\u{c}\r\u{b}")),
            ("ünï", Some("ünï")),
        ] {
            assert_eq!(unescape(field).as_deref(), expected, "{field}");
        }
    }
}

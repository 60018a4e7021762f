//! What is stored of the rows that are asked about, as the server's own role finds it.

use std::collections::HashMap;

use bytes::Bytes;
use tokio_postgres::{Client, SimpleQueryRow};

use crate::change::{Image, RelationId, RowChange};
use crate::postgres::rows::{self, rows_of};
use crate::wal::sql::identifier;
use crate::wal::tuple::Datum;

use super::{Batch, Item, Later, SessionLost};

/// The texts of a primary key.
pub(super) type Key = Vec<String>;

/// The key of the new row.
pub(super) fn key_of(change: &RowChange) -> Option<Vec<&str>> {
    change.new.as_ref()?.key(&change.table)
}

/// What the server's own role finds stored of the rows of a batch. A table that it cannot read has nothing: its
/// rows are judged as logged.
#[derive(Default)]
pub(super) struct Stored {
    /// Which transaction wrote each row, by key.
    writers: HashMap<RelationId, HashMap<Key, u32>>,
    /// New rows with the values that were not logged, by change; `None` where these are not known.
    filled: HashMap<*const RowChange, Option<Image>>,
}

impl Stored {
    /// Looks them up in the open transaction.
    pub(super) async fn read(client: &Client, batch: &Batch) -> Result<Self, SessionLost> {
        let items = || batch.groups.iter().flat_map(|group| &group.items).filter(|item| item.new);
        let mut by_table: HashMap<RelationId, Vec<&RowChange>> = HashMap::new();
        for item in items() {
            by_table.entry(item.change.table.id).or_default().push(item.last());
        }
        let mut stored = Self::default();
        for (relation, changes) in by_table {
            if let Some(writers) = read_writers(client, &changes).await? {
                stored.writers.insert(relation, writers);
            }
        }
        for item in items() {
            // A row that is current is judged as it is stored.
            if !matches!(item.later, Later::Unknown) && !stored.is_current(item.last(), item.xid) {
                stored.fill(client, item, item.last()).await?;
            }
            if !matches!(item.later, Later::Nothing) {
                stored.fill(client, item, &item.change).await?;
            }
        }
        Ok(stored)
    }

    /// Whether the stored row is the one that `change` wrote, given that it is the last of its transaction.
    pub(super) fn is_current(&self, change: &RowChange, xid: u32) -> bool {
        let writer = key_of(change).and_then(|key| {
            let key: Key = key.into_iter().map(str::to_owned).collect();
            self.writers.get(&change.table.id)?.get(&key)
        });
        writer == Some(&xid)
    }

    /// The new row of a change with the values that were not logged, if they are known.
    pub(super) fn filled(&self, change: &RowChange) -> Option<&Image> {
        self.filled.get(&std::ptr::from_ref(change))?.as_ref()
    }

    /// Completes a change's new row if policies read more of it than was logged.
    async fn fill(&mut self, client: &Client, item: &Item, change: &RowChange) -> Result<(), SessionLost> {
        let Some(image) = &change.new else { return Ok(()) };
        let id = std::ptr::from_ref(change);
        if !self.filled.contains_key(&id) && !rows::knows(&change.table, image, &item.condition) {
            let filled = read_filled(client, change, image).await?;
            self.filled.insert(id, filled);
        }
        Ok(())
    }
}

/// The new row of a change with what was not logged, from the stored row if that equals it in all that was.
async fn read_filled(
    client: &Client,
    change: &RowChange,
    image: &Image,
) -> Result<Option<Image>, SessionLost> {
    let table = &*change.table;
    let Some(key) = key_of(change).and_then(|key| rows::key_condition(table, &[key])) else {
        return Ok(None);
    };
    let absent = image.values.iter().enumerate().filter(|(_, value)| **value == Datum::Absent);
    let absent: Vec<usize> = absent.map(|(place, _)| place).collect();
    let names = absent.iter().filter_map(|place| table.columns.get(*place));
    let list: Vec<String> = names.map(|column| rows::text_of(&identifier(&column.name))).collect();
    let sql = format!(
        "rollback to savepoint base; select {} from {} where {key} and {}",
        list.join(", "),
        rows::table_name(table),
        rows::equals(table, image)
    );
    let messages = match client.simple_query(&sql).await {
        Ok(messages) => messages,
        Err(error) if error.code().is_some() => return Ok(None),
        Err(error) => return Err(SessionLost(error)),
    };
    let Some(row) = rows_of(&messages).next() else { return Ok(None) };
    let mut filled = image.clone();
    for (column, place) in absent.iter().enumerate() {
        let text = row.get(column).map(|text| Datum::Text(Bytes::copy_from_slice(text.as_bytes())));
        filled.values[*place] = text.unwrap_or(Datum::Null);
    }
    Ok(Some(filled))
}

/// Which transaction wrote each row that is stored under these keys; `None` if the table cannot be read.
async fn read_writers(
    client: &Client,
    changes: &[&RowChange],
) -> Result<Option<HashMap<Key, u32>>, SessionLost> {
    let Some(table) = changes.first().map(|change| &change.table) else { return Ok(None) };
    let mut keys: Vec<Vec<&str>> = changes.iter().filter_map(|change| key_of(change)).collect();
    keys.sort_unstable();
    keys.dedup();
    let Some(condition) = rows::key_condition(table, &keys) else { return Ok(None) };
    let sql = format!(
        "rollback to savepoint base; select xmin::text, {} from {} where {condition}",
        rows::key_list(table),
        rows::table_name(table)
    );
    let messages = match client.simple_query(&sql).await {
        Ok(messages) => messages,
        Err(error) if error.code().is_some() => return Ok(None),
        Err(error) => return Err(SessionLost(error)),
    };
    let found = rows_of(&messages).filter_map(|row| {
        let xmin = row.get(0)?.parse().ok()?;
        Some((texts(row, 1)?, xmin))
    });
    Ok(Some(found.collect()))
}

/// The columns of `row` from `from` on; `None` if one is NULL.
pub(super) fn texts(row: &SimpleQueryRow, from: usize) -> Option<Key> {
    (from..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()
}

//! A change as its table's catalog entry sees it: one value a catalog column, whatever the stream left out.
//!
//! The stream has its own list of columns and omits generated ones; everything downstream (filters, policy, frames)
//! counts columns as [`Table::columns`] does. This is the one place where the two meet.

use std::sync::Arc;

use crate::wal::tuple::{Datum, Tuple};

use super::assemble::{Change, Old, Row};
use super::relation::Relation;
use super::table::Table;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// It was inserted.
    Insert,
    /// It was updated.
    Update,
    /// It was deleted.
    Delete,
}

impl Event {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// One inserted, updated or deleted row; values stand in the order of [`Table::columns`].
#[derive(Debug)]
pub struct RowChange {
    /// The table.
    pub table: Arc<Table>,
    /// What happened.
    pub event: Event,
    /// The row as it is now; `None` for deletes.
    pub new: Option<Image>,
    /// What is known of the row before: for updates at least the identity columns, `None` for inserts.
    pub old: Option<Image>,
    /// Whether `old` is the whole row.
    pub old_is_full: bool,
}

/// A row image in the order of [`Table::columns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// One value a column.
    pub values: Box<[Datum]>,
    /// JSON that only Postgres could render, by column; see [`super::value::renders_in_memory`].
    pub rendered: Vec<(usize, Box<str>)>,
}

impl Image {
    /// The values of the primary key, in column order; `None` if one is missing.
    pub fn key<'a>(&'a self, table: &Table) -> Option<Vec<&'a str>> {
        let columns = table.columns.iter().zip(&self.values).filter(|(column, _)| column.primary_key);
        columns.map(|(_, value)| value.text()).collect()
    }

    /// How many bytes its values have as text.
    pub fn text_bytes(&self) -> usize {
        self.values.iter().filter_map(Datum::text).map(str::len).sum()
    }
}

impl RowChange {
    /// Lays `change` out by `table`; `None` for a truncation, which is no event.
    pub fn align(change: Change, table: &Arc<Table>) -> Option<Self> {
        let relation = change.relation;
        let (event, new, old) = match change.row {
            Row::Insert { new } => (Event::Insert, Some(new), None),
            Row::Update { old, new } => {
                // Without old values the identity did not change, so the new row has it.
                let old = old.unwrap_or_else(|| Old::Key(identity(&relation, &new)));
                (Event::Update, Some(new), Some(old))
            }
            Row::Delete { old } => (Event::Delete, None, Some(old)),
            Row::Truncate => return None,
        };
        let old_is_full = matches!(old, Some(Old::Full(_)));
        let places = places(&relation, table);
        let image = |tuple| lay_out(tuple, places.as_deref());
        let old = old.map(|old| match old {
            Old::Full(tuple) | Old::Key(tuple) => tuple,
        });
        Some(Self { table: Arc::clone(table), event, new: new.map(image), old: old.map(image), old_is_full })
    }

    /// The image that filters look at: the new row, or for deletes what is known of the old one.
    pub fn filtered(&self) -> Option<&Image> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

fn identity(relation: &Relation, new: &Tuple) -> Tuple {
    let value = |(value, column): (&Datum, &super::Column)| {
        if column.identity { value.clone() } else { Datum::Absent }
    };
    Tuple { values: new.values.iter().zip(&relation.columns).map(value).collect() }
}

/// Where each catalog column stands in the stream's tuple; `None` if both orders are the same.
fn places(relation: &Relation, table: &Table) -> Option<Vec<Option<usize>>> {
    let streamed = || relation.columns.iter().map(|column| column.number);
    if streamed().eq(table.columns.iter().map(|column| column.number)) {
        return None;
    }
    let place = |number| streamed().position(|streamed| streamed == number);
    Some(table.columns.iter().map(|column| place(column.number)).collect())
}

fn lay_out(tuple: Tuple, places: Option<&[Option<usize>]>) -> Image {
    let values = match places {
        None => tuple.values,
        Some(places) => places
            .iter()
            .map(|place| place.and_then(|place| tuple.values.get(place)).cloned().unwrap_or(Datum::Absent))
            .collect(),
    };
    Image { values, rendered: Vec::new() }
}

//! Column values that the log does not carry and this server cannot make: asked of Postgres, as itself.
//!
//! Generated columns are absent from the stream unless the publication includes them: their expressions are
//! evaluated over the row as it was logged. Values of types that convert to JSON by a function of their own
//! (`hstore`, PostGIS) are rendered by that function.
//!
//! What cannot be computed stays absent: a value is right or it is not there.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryRow};

use crate::change::value::renders_in_memory;
use crate::change::{Image, RowChange, Table, TableColumn, Types};
use crate::postgres::rows;
use crate::postgres::snapshot::is_visible;
use crate::telemetry::code::Code;
use crate::telemetry::report::report;
use crate::wal::sql::identifier;
use crate::wal::tuple::Datum;

/// How many rows one statement computes.
const ROWS_MAX: usize = 200;

/// How many bytes of values one statement holds, unless a single row has more.
const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// How long a statement may take before its session is given up. Postgres itself ends one much sooner.
const STATEMENT_WITHIN: Duration = Duration::from_secs(30);

/// How long the stored row of a change is waited for. It is visible at once, but for commits that wait for a
/// standby.
const VISIBLE_WITHIN: Duration = Duration::from_secs(1);

/// Whether rows of this table need anything computed.
pub fn is_needed(table: &Table, types: &Types) -> bool {
    table.columns.iter().any(|column| needs(column, types))
}

fn needs(column: &TableColumn, types: &Types) -> bool {
    column.generated.is_some() || !renders_in_memory(types, column.type_id)
}

/// Fills in what the changes of the transaction `xid` lack; `whole` says whether these are all of them.
///
/// Where a value that an expression reads was not logged (unchanged TOAST), the stored row is read instead,
/// while it is still the version in question.
///
/// # Errors
/// When the session was lost, or did not answer. What has been filled in by then is right.
pub async fn complete(
    client: &Client,
    types: &Types,
    xid: u32,
    whole: bool,
    changes: &mut [RowChange],
) -> Result<(), SessionLost> {
    // What outlives a transaction is not known from a part of it.
    let lasting = if whole { lasting(changes) } else { vec![false; changes.len()] };
    let computer = Computer { client, types, xid };
    let mut rest = (changes, &*lasting);
    while let Some(table) = rest.0.first().map(|change| Arc::clone(&change.table)) {
        let run = if is_needed(&table, types) {
            statement_rows(rest.0)
        } else {
            rest.0.iter().take_while(|change| Arc::ptr_eq(&change.table, &table)).count()
        };
        let (changes, changes_after) = rest.0.split_at_mut(run);
        let (lasting, lasting_after) = rest.1.split_at(run);
        rest = (changes_after, lasting_after);
        if is_needed(&table, types) {
            computer.complete(changes, lasting).await?;
        }
    }
    Ok(())
}

/// Which changes wrote the version of their row that outlives the transaction.
fn lasting(changes: &[RowChange]) -> Vec<bool> {
    let mut touched_later = HashSet::new();
    let mut lasting: Vec<bool> = changes
        .iter()
        .rev()
        .map(|change| {
            let keys = [&change.new, &change.old].map(|image| image.as_ref()?.key(&change.table));
            let [new, old] = keys.map(|key| key.map(|key| (change.table.id, key)));
            let is_last = new.as_ref().is_some_and(|key| !touched_later.contains(key));
            touched_later.extend([new, old].into_iter().flatten());
            is_last
        })
        .collect();
    lasting.reverse();
    lasting
}

/// How many rows at the head of `changes`, all of one table, go into one statement: at least one.
fn statement_rows(changes: &[RowChange]) -> usize {
    let mut bytes = 0_usize;
    let fits = changes.iter().take(ROWS_MAX).take_while(|change| {
        bytes += change.new.iter().chain(&change.old).map(Image::text_bytes).sum::<usize>();
        bytes <= STATEMENT_BYTES_MAX && Arc::ptr_eq(&change.table, &changes[0].table)
    });
    fits.count().max(1)
}

/// The session was lost, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("could not compute columns: the session was lost")]
pub struct SessionLost;

/// Who computes, and for which transaction.
struct Computer<'a> {
    client: &'a Client,
    types: &'a Types,
    xid: u32,
}

impl Computer<'_> {
    async fn complete(&self, changes: &mut [RowChange], lasting: &[bool]) -> Result<(), SessionLost> {
        let Err(code) = self.try_complete(changes, lasting).await? else { return Ok(()) };
        // One row's error is not another's. Time that ran out, though, would run out for each of them.
        if code == SqlState::QUERY_CANCELED || changes.len() == 1 {
            not_computed(changes, &code);
            return Ok(());
        }
        for (change, lasting) in changes.chunks_mut(1).zip(lasting.chunks(1)) {
            if let Err(code) = self.try_complete(change, lasting).await? {
                not_computed(change, &code);
            }
        }
        Ok(())
    }

    /// The inner error is Postgres's refusal to compute these rows.
    async fn try_complete(
        &self,
        changes: &mut [RowChange],
        lasting: &[bool],
    ) -> Result<Result<(), SqlState>, SessionLost> {
        match tokio::time::timeout(STATEMENT_WITHIN, self.compute(changes, lasting)).await {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(error)) => error.code().cloned().map(Err).ok_or(SessionLost),
            Err(_) => Err(SessionLost),
        }
    }

    async fn compute(&self, changes: &mut [RowChange], lasting: &[bool]) -> Result<(), Error> {
        let Some(table) = changes.first().map(|change| Arc::clone(&change.table)) else { return Ok(()) };
        let wanted = Wanted::of(&table, self.types);
        let list = select_list(&wanted);
        let all: Vec<&str> = wanted.iter().map(|wanted| &*wanted.expression).collect();
        // New rows have even numbers, full old rows odd ones.
        let numbered = changes.iter().enumerate().flat_map(|(number, change)| {
            let old = change.old.as_ref().filter(|_| change.old_is_full);
            [(2 * number, change.new.as_ref()), (2 * number + 1, old)]
        });
        let logged = numbered.filter_map(|(number, image)| Some((number, image?)));
        let Some(source) = rows::from_images(&table, self.types, &all.join(" "), logged) else {
            return Ok(());
        };
        let sql = format!("select {}{list} from {source}", rows::ORDINAL);
        for message in self.client.simple_query(&sql).await? {
            let Some((number, row)) = numbered_row(&message) else { continue };
            let Some(change) = changes.get_mut(number / 2) else { continue };
            let image = if number % 2 == 0 { change.new.as_mut() } else { change.old.as_mut() };
            let Some(image) = image else { continue };
            let known = |wanted: &Wanted| rows::knows(&table, image, &wanted.expression);
            let known: Vec<bool> = wanted.iter().map(known).collect();
            self.fill(image, row, &wanted, &known);
        }
        self.compute_from_stored(&table, changes, lasting, &wanted, &list).await
    }

    /// Computes generated columns of new rows that read values which were not logged.
    async fn compute_from_stored(
        &self,
        table: &Table,
        changes: &mut [RowChange],
        lasting: &[bool],
        wanted: &[Wanted],
        list: &str,
    ) -> Result<(), Error> {
        let mut sql = String::new();
        for (number, change) in changes.iter().enumerate().filter(|(number, _)| lasting[*number]) {
            let Some(new) = change.new.as_ref().filter(|new| lacks(table, new, wanted).contains(&true))
            else {
                continue;
            };
            let key = new.key(table).and_then(|key| rows::key_condition(table, &[key]));
            let Some(key) = key else { continue };
            // Another transaction's row has that one's number.
            let (name, xid) = (rows::table_name(table), self.xid);
            let _ = write!(sql, "select {number}{list} from {name} where {key} and xmin::text = '{xid}';");
        }
        if sql.is_empty() || !is_visible(self.client, self.xid, VISIBLE_WITHIN).await? {
            return Ok(());
        }
        for message in self.client.simple_query(&sql).await? {
            let Some((number, row)) = numbered_row(&message) else { continue };
            let Some(image) = changes.get_mut(number).and_then(|change| change.new.as_mut()) else {
                continue;
            };
            let lacks = lacks(table, image, wanted);
            self.fill(image, row, wanted, &lacks);
        }
        Ok(())
    }

    /// Takes what `row` has for the columns that `fills` says.
    fn fill(&self, image: &mut Image, row: &SimpleQueryRow, wanted: &[Wanted], fills: &[bool]) {
        for (position, wanted) in wanted.iter().enumerate().filter(|(position, _)| fills[*position]) {
            let (text, json) = (row.get(1 + 2 * position), row.get(2 + 2 * position));
            let value = &mut image.values[wanted.place];
            if *value == Datum::Absent && wanted.is_generated {
                *value =
                    text.map_or(Datum::Null, |text| Datum::Text(Bytes::copy_from_slice(text.as_bytes())));
            }
            if let Some(json) = json.filter(|_| wanted.is_rendered) {
                image.rendered.push((wanted.place, json.into()));
            }
        }
    }
}

/// Which of the wanted columns are generated, absent, and cannot be computed from `image` alone.
fn lacks(table: &Table, image: &Image, wanted: &[Wanted]) -> Vec<bool> {
    let lacks = |wanted: &Wanted| {
        wanted.is_generated
            && image.values[wanted.place] == Datum::Absent
            && !rows::knows(table, image, &wanted.expression)
    };
    wanted.iter().map(lacks).collect()
}

fn numbered_row(message: &SimpleQueryMessage) -> Option<(usize, &SimpleQueryRow)> {
    match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.parse().ok()?, row)),
        _ => None,
    }
}

fn not_computed(changes: &[RowChange], code: &SqlState) {
    let Some(table) = changes.first().map(|change| &change.table) else { return };
    report!(
        warn,
        Code::UnableToComputeColumns,
        schema = &*table.schema,
        table = &*table.name,
        sqlstate = code.code(),
        row_count = changes.len(),
        "columns could not be computed and are left out"
    );
}

/// A column to be computed.
struct Wanted {
    place: usize,
    is_generated: bool,
    /// Whether Postgres renders it as JSON.
    is_rendered: bool,
    /// The generation expression, or the column itself.
    expression: String,
}

impl Wanted {
    fn of(table: &Table, types: &Types) -> Vec<Self> {
        let columns = table.columns.iter().enumerate().filter(|(_, column)| needs(column, types));
        let wanted = columns.map(|(place, column)| Self {
            place,
            is_generated: column.generated.is_some(),
            is_rendered: !renders_in_memory(types, column.type_id),
            expression: column.generated.as_deref().map_or_else(|| identifier(&column.name), str::to_owned),
        });
        wanted.collect()
    }
}

/// Text and JSON of each wanted column, to follow the number of its row.
fn select_list(wanted: &[Wanted]) -> String {
    wanted.iter().fold(String::new(), |mut list, Wanted { expression, .. }| {
        let _ = write!(list, ", {}, pg_catalog.to_jsonb({expression})::text", rows::text_of(expression));
        list
    })
}

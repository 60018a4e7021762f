//! Column values that the log does not carry and this server cannot make: asked of Postgres, as itself.
//!
//! Generated columns are absent from the stream unless the publication includes them: their expressions are
//! evaluated over the row as it was logged. Values of types that convert to JSON by a function of their own
//! (`hstore`, PostGIS) are rendered by that function.

use std::fmt::Write;

use bytes::Bytes;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::change::value::renders_in_memory;
use crate::change::{Image, RowChange, Table, TableColumn, Types};
use crate::postgres::rows;
use crate::wal::sql::identifier;
use crate::wal::tuple::Datum;

/// How many rows one statement computes.
const ROWS_MAX: usize = 200;

/// Whether rows of this table need anything computed.
pub fn is_needed(table: &Table, types: &Types) -> bool {
    table.columns.iter().any(|column| needs(column, types))
}

fn needs(column: &TableColumn, types: &Types) -> bool {
    column.generated.is_some() || !renders_in_memory(types, column.type_id)
}

/// Fills in what the rows of one table lack.
///
/// Where a value that an expression reads was not logged (unchanged TOAST), the stored row is read instead, if it
/// still exists.
pub async fn complete(client: &Client, types: &Types, changes: &mut [RowChange]) -> Result<(), Error> {
    for changes in changes.chunks_mut(ROWS_MAX) {
        complete_some(client, types, changes).await?;
    }
    Ok(())
}

async fn complete_some(client: &Client, types: &Types, changes: &mut [RowChange]) -> Result<(), Error> {
    let Some(table) = changes.first().map(|change| std::sync::Arc::clone(&change.table)) else {
        return Ok(());
    };
    let wanted: Vec<(usize, String)> = table
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| needs(column, types))
        .map(|(place, column)| {
            let expression = column.generated.as_deref();
            (
                place,
                expression.map_or_else(|| identifier(&column.name), |expression| format!("({expression})")),
            )
        })
        .collect();
    let list = wanted.iter().fold(String::new(), |mut list, (_, expression)| {
        let _ = write!(list, ", {expression}::text, pg_catalog.to_jsonb({expression})::text");
        list
    });
    let read = |expression: &str, image: &Image| rows::knows(&table, image, expression);
    let known = |image: &Image| {
        // A generated column that the publication includes is there already, and is itself what is read.
        wanted.iter().all(|(place, expression)| {
            let generated = table.columns[*place].generated.is_some();
            if generated && image.values[*place] != Datum::Absent { true } else { read(expression, image) }
        })
    };
    let mut sql = String::new();
    // New rows have even numbers, full old rows odd ones.
    let mut logged: Vec<(usize, &Image)> = Vec::new();
    let mut stored: Vec<usize> = Vec::new();
    for (number, change) in changes.iter().enumerate() {
        if let Some(new) = &change.new {
            if known(new) {
                logged.push((2 * number, new));
            } else {
                stored.push(number);
            }
        }
        if let Some(old) = change.old.as_ref().filter(|old| change.old_is_full && known(old)) {
            logged.push((2 * number + 1, old));
        }
    }
    let logged_any = !logged.is_empty();
    if let Some(source) = rows::from_images(&table, types, logged).filter(|_| logged_any) {
        let _ = write!(sql, "select {}{list} from {source}", rows::ORDINAL);
    }
    for number in stored {
        let key = changes[number].new.as_ref().and_then(|new| new.key(&table));
        let condition = key.and_then(|key| rows::key_condition(&table, types, &[key]));
        if let Some(condition) = condition {
            let separator = if sql.is_empty() { "" } else { "; " };
            let name = rows::table_name(&table);
            let _ = write!(sql, "{separator}select {}{list} from {name} where {condition}", 2 * number);
        }
    }
    if sql.is_empty() {
        return Ok(());
    }
    for message in client.simple_query(&sql).await? {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let Some(number) = row.get(0).and_then(|number| number.parse::<usize>().ok()) else { continue };
        let Some(change) = changes.get_mut(number / 2) else { continue };
        let image = if number % 2 == 0 { change.new.as_mut() } else { change.old.as_mut() };
        let Some(image) = image else { continue };
        for (position, (place, _)) in wanted.iter().enumerate() {
            let (text, json) = (row.get(1 + 2 * position), row.get(2 + 2 * position));
            if image.values[*place] == Datum::Absent && table.columns[*place].generated.is_some() {
                image.values[*place] =
                    text.map_or(Datum::Null, |text| Datum::Text(Bytes::copy_from_slice(text.as_bytes())));
            }
            if let Some(json) = json
                && !renders_in_memory(types, table.columns[*place].type_id)
            {
                image.rendered.push((*place, json.into()));
            }
        }
    }
    Ok(())
}

//! Row images as SQL: lets Postgres evaluate an expression over a row as it was logged, stored or not.

use std::fmt::Write;

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::change::{Image, Oid, Table, TableColumn, Type, Types};
use crate::wal::sql::{identifier, literal};
use crate::wal::tuple::Datum;

/// The name of the column that counts the rows of [`from_images`]; no sane table has one like it.
pub const ORDINAL: &str = "\"rowcast ordinal\"";

/// A type as SQL; `None` for one that the catalog does not list.
fn type_name(types: &Types, type_id: Oid) -> Option<String> {
    types.get(type_id).map(Type::sql_name)
}

/// A FROM item with the rows of `images` under the table's own name, so that `expression`, written for the table,
/// applies to it. It has the columns that the expression may read; absent values are NULL: see [`knows`].
///
/// `None` if there are no rows, or if a column's type is unknown.
pub fn from_images<'a>(
    table: &Table,
    types: &Types,
    expression: &str,
    images: impl IntoIterator<Item = (usize, &'a Image)>,
) -> Option<String> {
    let read = table.columns.iter().enumerate().filter(|(_, column)| may_read(expression, column));
    let read: Vec<(usize, &TableColumn, String)> = read
        .map(|(place, column)| Some((place, column, type_name(types, column.type_id)?)))
        .collect::<Option<_>>()?;
    let mut sql = String::from("(values ");
    let mut is_empty = true;
    for (ordinal, image) in images {
        let separator = if is_empty { "" } else { ", " };
        is_empty = false;
        let _ = write!(sql, "{separator}({ordinal}");
        for (place, _, r#type) in &read {
            let value = image.values.get(*place).and_then(Datum::text).map(literal);
            let _ = write!(sql, ", {}::{type}", value.as_deref().unwrap_or("null"));
        }
        sql.push(')');
    }
    // Not looked into by the planner: what it evaluated beforehand could leave out a policy that raises an error.
    let _ = write!(sql, " offset 0) as {}({ORDINAL}", identifier(&table.name));
    for (_, column, _) in &read {
        let _ = write!(sql, ", {}", identifier(&column.name));
    }
    sql.push(')');
    (!is_empty).then_some(sql)
}

/// Whether `expression`, as Postgres prints it, may read the column.
///
/// An expression that mentions a column prints its name, so a name that does not occur is not read.
fn may_read(expression: &str, column: &TableColumn) -> bool {
    expression.contains(".*") || expression.contains(&column.name.replace('"', "\"\""))
}

/// The columns, by place, that `expression` may read and `image` does not have.
pub fn unknown<'a>(
    table: &'a Table,
    image: &'a Image,
    expression: &'a str,
) -> impl Iterator<Item = usize> + 'a {
    let absent = image.values.iter().enumerate().filter(|(_, value)| **value == Datum::Absent);
    absent
        .map(|(place, _)| place)
        .filter(move |place| table.columns.get(*place).is_some_and(|column| may_read(expression, column)))
}

/// Whether `image` has every value that `expression`, as Postgres prints it, may read.
pub fn knows(table: &Table, image: &Image, expression: &str) -> bool {
    unknown(table, image, expression).next().is_none()
}

/// The text of a value as the log has it; NULL for NULL.
///
/// That is what the type's output function writes. A cast to text is something else for some types: `true` for
/// the boolean `t`, and `char(n)` without its blanks.
pub fn text_of(expression: &str) -> String {
    // This is the one test that takes a row of NULLs for a value.
    format!("case when ({expression}) is distinct from null then pg_catalog.format('%s', {expression}) end")
}

/// A condition that holds for rows that have all the values of `image` that were logged.
pub fn equals(table: &Table, image: &Image) -> String {
    let known = table.columns.iter().zip(&image.values).filter(|(_, value)| **value != Datum::Absent);
    let mut sql = String::from("true");
    for (column, value) in known {
        let text = text_of(&identifier(&column.name));
        let _ = match value.text() {
            Some(value) => write!(sql, " and {text} = {}", literal(value)),
            None => write!(sql, " and ({text}) is null"),
        };
    }
    sql
}

/// A condition that holds for the rows with these keys; `None` if a key is incomplete, or the table has none.
///
/// The keys have no types: Postgres takes those of the columns, in whichever schemas they are.
pub fn key_condition(table: &Table, keys: &[Vec<&str>]) -> Option<String> {
    let columns = table.columns.iter().filter(|column| column.primary_key);
    let names: Vec<String> = columns.map(|column| identifier(&column.name)).collect();
    if names.is_empty() || keys.is_empty() || keys.iter().any(|key| key.len() != names.len()) {
        return None;
    }
    let row = |key: &Vec<&str>| {
        let values: Vec<String> = key.iter().map(|text| literal(text)).collect();
        format!("({})", values.join(", "))
    };
    let rows: Vec<String> = keys.iter().map(row).collect();
    Some(format!("({}) in ({})", names.join(", "), rows.join(", ")))
}

/// Creates a function in the session's temporary schema, for everybody to call, that evaluates `condition`, written
/// for the table, over a row: see [`judge_call`]. `None` if a column's type is unknown.
pub fn judge(name: &str, table: &Table, types: &Types, condition: &str) -> Option<String> {
    let read = || table.columns.iter().filter(|column| may_read(condition, column));
    let parameters: Vec<String> =
        read().map(|column| type_name(types, column.type_id)).collect::<Option<_>>()?;
    let columns: Vec<String> = (1..)
        .zip(read())
        .map(|(number, column)| format!("${number} as {}", identifier(&column.name)))
        .collect();
    Some(format!(
        "create function pg_temp.{name}({}) returns boolean language sql stable begin atomic \
         select ({condition}) from (select {} offset 0) as {}; end; grant execute on function pg_temp.{name} to public",
        parameters.join(", "),
        columns.join(", "),
        identifier(&table.name)
    ))
}

/// Calls a [`judge`]. The values have no types: Postgres takes those of the parameters.
pub fn judge_call(name: &str, table: &Table, condition: &str, image: &Image) -> String {
    let read = table.columns.iter().zip(&image.values).filter(|(column, _)| may_read(condition, column));
    let values: Vec<String> =
        read.map(|(_, value)| value.text().map_or_else(|| "null".to_owned(), literal)).collect();
    format!("pg_temp.{name}({})", values.join(", "))
}

/// The key columns as a select list of texts, as the log has them.
pub fn key_list(table: &Table) -> String {
    let columns = table.columns.iter().filter(|column| column.primary_key);
    columns.map(|column| text_of(&identifier(&column.name))).collect::<Vec<_>>().join(", ")
}

/// The table's qualified name.
pub fn table_name(table: &Table) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

/// The rows of a reply to a simple query.
pub fn rows_of(messages: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

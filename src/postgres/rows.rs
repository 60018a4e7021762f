//! Row images as SQL: lets Postgres evaluate an expression over a row as it was logged, stored or not.

use std::fmt::Write;

use crate::change::{Image, Oid, Table, Type, Types};
use crate::wal::sql::{identifier, literal};
use crate::wal::tuple::Datum;

/// The name of the column that counts the rows of [`from_images`]; no sane table has one like it.
pub const ORDINAL: &str = "\"rowcast ordinal\"";

/// A type as SQL; `None` for one that the catalog does not list.
fn type_name(types: &Types, type_id: Oid) -> Option<String> {
    types.get(type_id).map(Type::sql_name)
}

/// A FROM item with the rows of `images` under the table's own name, so that conditions written for the table
/// apply to it. Absent values read as NULL: see [`knows`].
///
/// `None` if a column's type is unknown.
pub fn from_images<'a>(
    table: &Table,
    types: &Types,
    images: impl IntoIterator<Item = (usize, &'a Image)>,
) -> Option<String> {
    let names: Vec<String> =
        table.columns.iter().map(|column| type_name(types, column.type_id)).collect::<Option<_>>()?;
    let mut sql = String::from("(");
    for (position, (ordinal, image)) in images.into_iter().enumerate() {
        if position > 0 {
            sql.push_str(" union all ");
        }
        let _ = write!(sql, "select {ordinal} as {ORDINAL}");
        for ((column, value), r#type) in table.columns.iter().zip(&image.values).zip(&names) {
            match value.text() {
                Some(text) => sql.push_str(&format!(", {}::{type}", literal(text))),
                None => sql.push_str(&format!(", null::{type}")),
            }
            sql.push_str(&format!(" as {}", identifier(&column.name)));
        }
    }
    let _ = write!(sql, ") as {}", identifier(&table.name));
    Some(sql)
}

/// Whether `image` has every value that `expression`, as Postgres prints it, may read.
///
/// An expression that mentions a column prints its name, so a name that does not occur is not read.
pub fn knows(table: &Table, image: &Image, expression: &str) -> bool {
    let absent = || table.columns.iter().zip(&image.values).filter(|(_, value)| **value == Datum::Absent);
    if expression.contains(".*") {
        return absent().next().is_none();
    }
    absent().all(|(column, _)| !expression.contains(&column.name.replace('"', "\"\"")))
}

/// A condition that holds for the rows with these keys; `None` if a type is unknown or a key is incomplete.
pub fn key_condition(table: &Table, types: &Types, keys: &[Vec<&str>]) -> Option<String> {
    let columns: Vec<_> = table.columns.iter().filter(|column| column.primary_key).collect();
    if let [column] = columns[..] {
        let r#type = type_name(types, column.type_id)?;
        let values: Option<Vec<String>> =
            keys.iter().map(|key| Some(format!("{}::{type}", literal(key.first()?)))).collect();
        return Some(format!("{} = any (array[{}])", identifier(&column.name), values?.join(", ")));
    }
    let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
    let rows = keys.iter().map(|key| {
        let values: Option<Vec<String>> = key
            .iter()
            .zip(&columns)
            .map(|(text, column)| Some(format!("{}::{}", literal(text), type_name(types, column.type_id)?)))
            .collect();
        values.filter(|values| values.len() == names.len()).map(|values| format!("({})", values.join(", ")))
    });
    let rows: Option<Vec<String>> = rows.collect();
    Some(format!("({}) in ({})", names.join(", "), rows?.join(", ")))
}

/// The key columns as a select list of texts.
pub fn key_list(table: &Table) -> String {
    let columns = table.columns.iter().filter(|column| column.primary_key);
    columns.map(|column| format!("{}::text", identifier(&column.name))).collect::<Vec<_>>().join(", ")
}

/// The table's qualified name.
pub fn table_name(table: &Table) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

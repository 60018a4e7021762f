//! The `data` object of a change: what a client reads of a row.
//!
//! A row gets here only with a [`Permit`], which names the columns it may show.

use crate::change::json;
use crate::change::value::write_json;
use crate::change::{Event, Image, RowChange, Table, Types};
use crate::policy::{ColumnSet, OldValues, Permit, Refusal};
use crate::wal::tuple::Datum;

/// The longest JSON form of a value that stays in a record over the size bound, in bytes.
const KEPT_BYTES_MAX: usize = 64;

/// The parts of a table's `data` objects that are the same for every row.
#[derive(Debug)]
pub struct TableText {
    /// `"schema":…,"table":…`.
    name: String,
    /// By column: `"name":`.
    keys: Vec<String>,
    /// By column: `{"name":…,"type":…}`.
    columns: Vec<String>,
}

impl TableText {
    /// Writes them once.
    pub fn new(table: &Table, types: &Types) -> Self {
        let describe = |column: &crate::change::TableColumn| {
            let type_name = types.get(column.type_id).map_or("unknown", |r#type| &r#type.name);
            format!("{{\"name\":{},\"type\":{}}}", json::string(&column.name), json::string(type_name))
        };
        Self {
            name: format!(
                "\"schema\":{},\"table\":{}",
                json::string(&table.schema),
                json::string(&table.name)
            ),
            keys: table.columns.iter().map(|column| format!("{}:", json::string(&column.name))).collect(),
            columns: table.columns.iter().map(describe).collect(),
        }
    }
}

/// What a `data` object is made of besides the row and the permit.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The types of the row's columns.
    pub types: &'a Types,
    /// The table's fixed parts.
    pub text: &'a TableText,
    /// When the transaction committed: microseconds since the Unix epoch.
    pub commit_time_micros: i64,
    /// How many bytes of values a record may have; beyond it only short values stay and an error is added.
    pub record_bytes_max: usize,
    /// Whether a deleted row is written whole where the permit says that it was seen, in place of its key.
    pub whole_deleted: bool,
}

/// The `data` object for a row that may be shown; `select` narrows it to some columns and the primary key.
pub fn data(context: Context<'_>, change: &RowChange, permit: &Permit, select: Option<&ColumnSet>) -> String {
    let table = &*change.table;
    let shown: Vec<usize> = (0..table.columns.len())
        .filter(|&column| {
            permit.columns().contains(column)
                && select.is_none_or(|select| select.contains(column) || table.columns[column].primary_key)
        })
        .collect();
    let mut json = String::with_capacity(256);
    json.push_str("{\"columns\":[");
    separated(&mut json, &shown, |json, &column| json.push_str(&context.text.columns[column]));
    json.push_str("],\"commit_timestamp\":\"");
    write_timestamp(context.commit_time_micros, &mut json);
    let large = bytes_of(change, &shown) > context.record_bytes_max;
    let errors = if large { "[\"Error 413: Payload Too Large\"]" } else { "null" };
    json.push_str("\",\"errors\":");
    json.push_str(errors);
    if let Some(image) = &change.new {
        json.push_str(",\"record\":");
        write_record(context, table, image, shown.iter().copied(), large, &mut json);
    }
    if let Some(image) = &change.old {
        json.push_str(",\"old_record\":");
        let logged = match permit.old() {
            OldValues::Logged => true,
            OldValues::Seen => context.whole_deleted,
            OldValues::Key => false,
        };
        let columns = shown.iter().copied().filter(|&column| logged || table.columns[column].primary_key);
        write_record(context, table, image, columns, large, &mut json);
    }
    finish(context, change.event, json)
}

/// The `data` object that stands in for a row which may not be shown, with the reason.
pub fn refused(context: Context<'_>, event: Event, refusal: Refusal) -> String {
    let reason = match refusal {
        Refusal::NoPrimaryKey => "Error 400: Bad Request, no primary key",
        Refusal::Unauthorized => "Error 401: Unauthorized",
    };
    let records = match event {
        Event::Insert => "\"record\":{}",
        Event::Update => "\"record\":{},\"old_record\":{}",
        Event::Delete => "\"old_record\":{}",
    };
    let json = format!("{{\"columns\":[],\"commit_timestamp\":null,\"errors\":[\"{reason}\"],{records}");
    finish(context, event, json)
}

fn finish(context: Context<'_>, event: Event, mut json: String) -> String {
    json.push(',');
    json.push_str(&context.text.name);
    json.push_str(",\"type\":\"");
    json.push_str(event.name());
    json.push_str("\"}");
    json
}

fn separated<T>(
    json: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            json.push(',');
        }
        write(json, item);
    }
}

fn bytes_of(change: &RowChange, shown: &[usize]) -> usize {
    let bytes = |image: &Image| -> usize {
        shown.iter().filter_map(|&column| image.values[column].text()).map(str::len).sum()
    };
    change.new.as_ref().map_or(0, bytes) + change.old.as_ref().map_or(0, bytes)
}

/// Values that are not known are left out; so are, in a record over the bound, all long ones.
fn write_record(
    context: Context<'_>,
    table: &Table,
    image: &Image,
    columns: impl Iterator<Item = usize>,
    large: bool,
    json: &mut String,
) {
    json.push('{');
    let mut first = true;
    for column in columns {
        let before = json.len();
        if !first {
            json.push(',');
        }
        json.push_str(&context.text.keys[column]);
        let start = json.len();
        let known = match &image.values[column] {
            Datum::Absent => false,
            Datum::Null => {
                json.push_str("null");
                true
            }
            value @ Datum::Text(_) => {
                let rendered = image.rendered.iter().find(|(rendered, _)| *rendered == column);
                match (rendered, value.text()) {
                    (Some((_, rendered)), _) => {
                        json.push_str(rendered);
                        true
                    }
                    (None, Some(text)) => {
                        write_json(context.types, table.columns[column].type_id, text, json).is_ok()
                    }
                    (None, None) => false,
                }
            }
        };
        if known && !(large && json.len() - start > KEPT_BYTES_MAX) {
            first = false;
        } else {
            json.truncate(before);
        }
    }
    json.push('}');
}

/// As [`write_timestamp`] writes it.
pub fn timestamp(unix_micros: i64) -> String {
    let mut text = String::new();
    write_timestamp(unix_micros, &mut text);
    text
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, the milliseconds cut off and not rounded.
pub fn write_timestamp(unix_micros: i64, json: &mut String) {
    use std::fmt::Write;
    let millis = unix_micros.div_euclid(1000);
    let (days, millis) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let (seconds, millis) = (millis / 1000 % 60, millis % 1000);
    let _ = write!(json, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z");
}

/// The date `days` after 1970-01-01 in the proleptic Gregorian calendar, counted in years from March so that the
/// leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_milliseconds_and_utc() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_225_555_123_999, "2026-11-21T01:45:55.123Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ];
        for (micros, expected) in cases {
            let mut text = String::new();
            write_timestamp(micros, &mut text);
            assert_eq!(text, expected);
        }
    }
}

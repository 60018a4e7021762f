//! A row as programs read it: the columns that they need, decoded once however many callers are judged.

use super::function::Doubt;
use super::program::Tuple;
use super::value::{Decoder, Value};
use crate::change::{Datum, Image, Table, Types};

/// Decoded values by place.
#[derive(Clone, Debug)]
pub struct RowValues(Box<[Result<Value, Doubt>]>);

impl RowValues {
    /// Decodes these columns of a row image.
    pub fn decode(image: &Image, table: &Table, types: &Types, columns: &[usize]) -> Self {
        let count = columns.iter().max().map_or(0, |last| last + 1);
        let mut values = vec![Err(Doubt::Unknown); count];
        for &place in columns {
            values[place] = match (image.values.get(place), table.columns.get(place)) {
                (Some(Datum::Null), _) => Ok(Value::Null),
                (Some(Datum::Text(_)), Some(column)) => image.values[place]
                    .text()
                    .and_then(|text| Decoder::new(column.type_id, types)?.decode(text))
                    .ok_or(Doubt::Unknown),
                _ => Err(Doubt::Absent),
            };
        }
        Self(values.into())
    }

    /// A row with these values by place; those that are `None` are unknown.
    pub fn of(values: impl IntoIterator<Item = Option<Value>>) -> Self {
        Self(values.into_iter().map(|value| value.ok_or(Doubt::Unknown)).collect())
    }
}

impl Tuple for RowValues {
    fn value(&self, place: usize) -> Result<Value, Doubt> {
        self.0.get(place).cloned().unwrap_or(Err(Doubt::Unknown))
    }
}

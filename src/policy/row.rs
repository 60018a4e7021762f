//! A row as programs read it: the columns that they need, decoded once however many callers are judged.

use smallvec::SmallVec;

use super::function::Doubt;
use super::program::Tuple;
use super::value::{Decoder, Value};
use crate::change::{Datum, Image, Table, Types};

/// Decoded values by place.
#[derive(Clone, Debug)]
pub struct RowValues(SmallVec<[Result<Value, Doubt>; 4]>);

/// How the rows of one table are read, by one catalog.
#[derive(Clone, Debug)]
pub struct RowDecoder(Box<[Option<Decoder>]>);

impl RowDecoder {
    /// For a table and the types of its columns.
    pub fn new(table: &Table, types: &Types) -> Self {
        Self(table.columns.iter().map(|column| Decoder::new(column.type_id, types)).collect())
    }
}

impl RowValues {
    /// Decodes these columns of a row image.
    pub fn decode(image: &Image, table: &Table, types: &Types, columns: &[usize]) -> Self {
        Self::read(image, &RowDecoder::new(table, types), columns)
    }

    /// The same for one row after another.
    pub fn read(image: &Image, decoder: &RowDecoder, columns: &[usize]) -> Self {
        let count = columns.iter().max().map_or(0, |last| last + 1);
        let mut values = SmallVec::from_elem(Err(Doubt::Unknown), count);
        for &place in columns {
            values[place] = match (image.values.get(place), decoder.0.get(place)) {
                (Some(Datum::Null), _) => Ok(Value::Null),
                (Some(datum @ Datum::Text(_)), Some(decoder)) => {
                    datum.text().and_then(|text| decoder.as_ref()?.decode(text)).ok_or(Doubt::Unknown)
                }
                _ => Err(Doubt::Absent),
            };
        }
        Self(values)
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::change::{RelationId, ReplicaIdentity, TableColumn, Type, TypeKind};

    #[test]
    fn columns_that_are_read_are_decoded_and_no_others() {
        let column = |type_id| TableColumn {
            name: "c".into(),
            type_id,
            number: 1,
            primary_key: false,
            generated: None,
            collation: 0,
            deterministic_collation: true,
            c_collation: true,
        };
        let types =
            [(2950, "uuid"), (25, "text"), (23, "int4"), (16, "bool"), (600, "point")].map(|(oid, name)| {
                Type {
                    oid,
                    schema: "pg_catalog".into(),
                    name: name.into(),
                    kind: TypeKind::Base,
                    delimiter: b',',
                    json_cast: false,
                }
            });
        let types: Types = types.into_iter().collect();
        let table = Table {
            id: RelationId(1),
            schema: "public".into(),
            name: "t".into(),
            columns: [2950, 25, 23, 16, 600, 25, 25, 23].map(column).into(),
            replica_identity: ReplicaIdentity::Full,
            row_security: true,
            row_security_forced: false,
            owner: 10,
        };
        let text = |text: &'static str| Datum::Text(Bytes::from(text));
        let image = Image {
            values: [
                text("00000000-0000-0000-0000-000000000007"),
                text("a"),
                text("-5"),
                text("t"),
                text("(1,2)"),
                Datum::Null,
                Datum::Absent,
                text("x"),
            ]
            .into(),
            rendered: Vec::new(),
        };
        let row = RowValues::decode(&image, &table, &types, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let expected = [
            Ok(Value::Uuid(Uuid::from_u128(7))),
            Ok(Value::Text("a".into())),
            Ok(Value::Int(-5)),
            Ok(Value::Bool(true)),
            Err(Doubt::Unknown),
            Ok(Value::Null),
            Err(Doubt::Absent),
            Err(Doubt::Unknown),
            Err(Doubt::Absent),
        ];
        for (place, expected) in expected.into_iter().enumerate() {
            assert_eq!(row.value(place), expected, "{place}");
        }
        let row = RowValues::read(&image, &RowDecoder::new(&table, &types), &[2]);
        assert_eq!(row.value(2), Ok(Value::Int(-5)));
        assert_eq!(row.value(1), Err(Doubt::Unknown));
        assert_eq!(row.value(3), Err(Doubt::Unknown));
        let row = RowValues::of([Some(Value::Int(1)), None]);
        assert_eq!(
            [row.value(0), row.value(1), row.value(2)],
            [Ok(Value::Int(1)), Err(Doubt::Unknown), Err(Doubt::Unknown)]
        );
    }
}

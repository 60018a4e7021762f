//! Reads values from their text: as Postgres writes them in the stream and in a snapshot of a table.

use std::collections::HashMap;
use std::sync::Arc;

use super::Value;
use super::array::Array;
use super::calendar::{Interval, parse_date, parse_time, parse_timestamp, parse_timestamptz};
use super::numeric::Numeric;
use crate::change::{Oid, Types};
use crate::policy::types::{Form, Scalar};

/// How the values of one type are read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Decoder {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Scalar(Scalar),
    /// Each label's place in the sort order.
    Enum(Arc<HashMap<Box<str>, u32>>),
    Array(Arc<Decoder>, u8),
}

impl Decoder {
    /// How the values of a type are read; of a domain, as those of the type beneath. `None` for types that are not known
    /// here.
    pub fn new(type_oid: Oid, types: &Types) -> Option<Self> {
        Self::below(type_oid, types, 0)
    }

    fn below(type_oid: Oid, types: &Types, depth: usize) -> Option<Self> {
        let kind = match Form::of(type_oid, types)? {
            Form::Scalar(scalar) => Kind::Scalar(scalar),
            Form::Enum(labels) => {
                let places = labels.iter().zip(0..).map(|(label, place)| (label.clone(), place));
                Kind::Enum(Arc::new(places.collect()))
            }
            // An array of a domain over an array is more than is computed with here.
            Form::Array(element, delimiter) if depth == 0 => {
                Kind::Array(Arc::new(Self::below(element, types, 1)?), delimiter)
            }
            Form::Array(..) => return None,
        };
        Some(Self { kind })
    }

    /// Reads a value that is not NULL, as a session with the stream's settings writes it. `None` if it is not in that
    /// form, or beyond what is computed with here.
    pub fn decode(&self, text: &str) -> Option<Value> {
        match &self.kind {
            Kind::Scalar(scalar) => decode_scalar(*scalar, text),
            Kind::Enum(places) => places.get(text).copied().map(Value::Enum),
            Kind::Array(element, delimiter) => {
                let array = Array::parse(text, *delimiter, &|text| element.decode(text))?;
                Some(Value::Array(Arc::new(array)))
            }
        }
    }
}

fn decode_scalar(scalar: Scalar, text: &str) -> Option<Value> {
    Some(match scalar {
        Scalar::Bool => match text {
            "t" | "true" => Value::Bool(true),
            "f" | "false" => Value::Bool(false),
            _ => return None,
        },
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Oid => Value::Int(text.parse().ok()?),
        Scalar::Text | Scalar::Bpchar | Scalar::Name | Scalar::Json => Value::Text(text.into()),
        // Other bytes are written in ways that differ from version to version.
        Scalar::Char => (text.len() <= 1 && text.is_ascii()).then(|| Value::Text(text.into()))?,
        Scalar::Uuid => Value::Uuid(uuid::Uuid::try_parse(text).ok().filter(|_| text.len() == 36)?),
        // Postgres prints what reads back as the same float, so reading is exact.
        Scalar::Float4 => Value::float(text.parse::<f32>().ok()?.into()),
        Scalar::Float8 => Value::float(text.parse().ok()?),
        Scalar::Numeric => Value::numeric(Numeric::parse(text)?),
        Scalar::Date => Value::Date(parse_date(text)?),
        Scalar::Time => Value::Time(parse_time(text)?),
        Scalar::Timestamp => Value::Timestamp(parse_timestamp(text)?),
        Scalar::TimestampTz => Value::Timestamp(parse_timestamptz(text)?),
        Scalar::Interval => Value::Interval(Interval::parse(text).filter(|interval| !interval.is_extreme())?),
        Scalar::Jsonb => Value::Json(text.into()),
        Scalar::Bytes => Value::Bytes(hex_bytes(text)?),
    })
}

/// `\x00ff` → bytes.
fn hex_bytes(text: &str) -> Option<Arc<[u8]>> {
    let hex = text.strip_prefix("\\x")?;
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    hex.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::types;

    #[test]
    fn what_is_not_in_the_form_of_its_type_is_not_read() {
        for (oid, texts) in [
            (types::BOOL, &["", "yes", "T"][..]),
            (types::INT4, &["", "1.0", "x"]),
            (types::UUID, &["", "a0eebc999c0b4ef8bb6d6bb9bd380a11"]),
            (types::NUMERIC, &["", "1e5", ".5", "nan"]),
            (
                types::TIMESTAMPTZ,
                &["", "2024-01-01 00:00:00", "2024-01-01 00:00:00+01", "2024-02-30 00:00:00+00"],
            ),
            (types::DATE, &["", "2024-13-01", "01.02.2024"]),
            (types::BYTEA, &["", "abc", "\\x0", "\\xzz"]),
            (types::CHAR, &["ab", "é"]),
        ] {
            let decoder = Decoder::new(oid, &Types::default()).unwrap();
            for text in texts {
                assert!(decoder.decode(text).is_none(), "{oid} {text}");
            }
        }
        assert!(Decoder::new(600, &Types::default()).is_none(), "a point");
    }
}

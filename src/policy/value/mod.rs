//! Values as policies compute with them: typed, compact, compared as Postgres compares them.
//!
//! A value knows no type of its own beyond its variant: which operator is meant was decided when the policy was
//! analysed, and [`Function`](super::function::Function) carries it. Two values that are equal here are the same to
//! every function that is known here; values that Postgres calls equal may still differ here (`1 day` and `24 hours`),
//! unless the operator says that it may be looked up by hash.

pub mod array;
pub mod calendar;
pub mod constant;
pub mod decode;
pub mod float;
pub mod json;
mod json_read;
pub mod numeric;
mod stored_json;

use std::sync::Arc;

use uuid::Uuid;

pub use array::Array;
pub use calendar::Interval;
pub use constant::constant;
pub use decode::Decoder;
pub use float::Float;
pub use numeric::Numeric;

/// One SQL value.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Value {
    /// NULL of any type.
    #[default]
    Null,
    /// `boolean`
    Bool(bool),
    /// `smallint`, `integer`, `bigint`, `oid`
    Int(i64),
    /// `real`, `double precision`; the zeros are one value, and so are all that are no number.
    Float(Float),
    /// `numeric`; the scale it is printed with is not kept, so `1.0` and `1.00` are one value.
    Numeric(Arc<Numeric>),
    /// `text`, `varchar`, `bpchar` with its blanks, `name`, `"char"`; and `json`, which Postgres keeps as its text.
    Text(Arc<str>),
    /// `uuid`
    Uuid(Uuid),
    /// `timestamp` and `timestamptz`: microseconds since 2000-01-01 (UTC); the extremes are the infinities.
    Timestamp(i64),
    /// `date`: days since 2000-01-01; the extremes are the infinities.
    Date(i32),
    /// `time`: microseconds since midnight.
    Time(i64),
    /// `interval`
    Interval(Interval),
    /// `jsonb`, as the text that Postgres prints of it; numbers in it are exact.
    Json(Arc<str>),
    /// A label of an enum, as its place in the sort order.
    Enum(u32),
    /// An array.
    Array(Arc<Array>),
    /// `bytea`
    Bytes(Arc<[u8]>),
}

/// Row values and claims never reach a log: only the kind is printed.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool",
            Self::Int(_) => "Int",
            Self::Float(_) => "Float",
            Self::Numeric(_) => "Numeric",
            Self::Text(_) => "Text",
            Self::Uuid(_) => "Uuid",
            Self::Timestamp(_) => "Timestamp",
            Self::Date(_) => "Date",
            Self::Time(_) => "Time",
            Self::Interval(_) => "Interval",
            Self::Json(_) => "Json",
            Self::Enum(_) => "Enum",
            Self::Array(_) => "Array",
            Self::Bytes(_) => "Bytes",
        })
    }
}

impl Value {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A numeric.
    pub fn numeric(numeric: Numeric) -> Self {
        Self::Numeric(Arc::new(numeric))
    }

    /// A float.
    pub fn float(number: f64) -> Self {
        Self::Float(Float::new(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_small() {
        assert_eq!(size_of::<Value>(), 24);
    }

    #[test]
    fn only_the_kind_is_printed() {
        assert_eq!(format!("{:?}", Value::text("secret")), "Text");
        let array = Array::of(vec![Value::Int(4711)]);
        assert_eq!(format!("{:?}", Value::Array(Arc::new(array))), "Array");
    }
}

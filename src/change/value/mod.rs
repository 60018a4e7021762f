//! One column's value: text as Postgres writes it → JSON as clients expect it.
//!
//! In: a type and the text form of a value, as the type's output function writes it under the stream's
//! settings: `DateStyle` ISO, `IntervalStyle` postgres, `TimeZone` UTC, `bytea_output` hex.
//! Out: the JSON that `to_jsonb` of that value has on the live server, appended to a buffer.
//!
//! What differs from `to_jsonb`, on purpose:
//! - a `bytea` column is its hex digits without `\x`, as the reference server sends it; inside an array, a
//!   composite or a domain the `\x` stays, there as here;
//! - `json` keeps its white space, key order and spelling of numbers, as it is embedded and not rebuilt; so the
//!   few documents that `jsonb` refuses, such as those with `\u0000`, pass as well.
//!
//! **Invariant:** success appends exactly one complete JSON value, without line breaks, whatever the text was;
//! failure appends nothing. No input panics.

mod nested;
mod scalar;
#[cfg(test)]
mod tests;

use super::json;
use super::types::{Oid, TypeKind, Types};

/// How deeply arrays and composites may nest in a type. Beyond it Postgres is asked.
const NESTING_MAX: usize = 64;

/// How many types [`renders_in_memory`] looks at before it gives up and says no. Composites that use each other
/// twice over grow without bound otherwise.
const VISITED_MAX: usize = 4096;

/// Why a value has no JSON form here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Only Postgres can render it: its type converts to `json` by a function of its own (`hstore`, PostGIS),
    /// is unknown here, or has changed since the catalog was read.
    #[error("could not render a value that only Postgres can convert to JSON")]
    AskPostgres,
    /// The text is not what the type's output function writes.
    #[error("could not read a value in the text form of its type")]
    Malformed,
}

/// Appends the JSON form of `text`, a value of type `type_id`, to `out`. On error `out` is left as it was.
pub fn write_json(types: &Types, type_id: Oid, text: &str, out: &mut String) -> Result<(), Error> {
    let start = out.len();
    let written = match type_id {
        builtin::BYTEA => scalar::write_bytea(text, out),
        _ => write_value(types, type_id, text, 0, out),
    };
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Whether every value of this type can be rendered in memory: its own, and those of the types within it.
pub fn renders_in_memory(types: &Types, type_id: Oid) -> bool {
    let mut visits_left = VISITED_MAX;
    renders(types, type_id, 0, &mut visits_left)
}

fn renders(types: &Types, type_id: Oid, depth: usize, visits_left: &mut usize) -> bool {
    if depth > NESTING_MAX || *visits_left == 0 {
        return false;
    }
    *visits_left -= 1;
    match Form::of(types, type_id) {
        Err(_) => false,
        Ok(Form::Array { element, .. }) => renders(types, element, depth + 1, visits_left),
        Ok(Form::Composite { fields }) => {
            fields.iter().all(|(_, field)| renders(types, *field, depth + 1, visits_left))
        }
        Ok(_) => true,
    }
}

/// Writes a value at `depth` arrays and composites below the column. On error, what `out` gained is of no use.
fn write_value(types: &Types, type_id: Oid, text: &str, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > NESTING_MAX {
        return Err(Error::AskPostgres);
    }
    match Form::of(types, type_id)? {
        Form::Text => {
            json::write_string(text, out);
            Ok(())
        }
        Form::Integer => scalar::write_integer(text, out),
        Form::Decimal => scalar::write_decimal(text, out),
        Form::Boolean => scalar::write_boolean(text, out),
        Form::Timestamp => scalar::write_timestamp(text, out),
        Form::TimestampTz => scalar::write_timestamptz(text, out),
        Form::Json => scalar::write_embedded(text, out),
        Form::IntegerVector => nested::write_vector(text, scalar::write_integer, out),
        Form::OidVector => nested::write_vector(text, scalar::write_quoted_integer, out),
        Form::Array { element, delimiter } => {
            nested::write_array(types, element, delimiter, text, depth, out)
        }
        Form::Composite { fields } => nested::write_composite(types, fields, text, depth, out),
    }
}

/// What `to_jsonb` makes of a type.
enum Form<'t> {
    /// A string of the text form.
    Text,
    Integer,
    /// A number with a fraction or exponent, or one of the words for what is no number.
    Decimal,
    Boolean,
    Timestamp,
    TimestampTz,
    /// The value is JSON already.
    Json,
    /// `int2vector`: an array to `to_jsonb`, though its text is none.
    IntegerVector,
    /// `oidvector`: the same, of strings.
    OidVector,
    Array {
        element: Oid,
        delimiter: u8,
    },
    Composite {
        fields: &'t [(Box<str>, Oid)],
    },
}

impl<'t> Form<'t> {
    fn of(types: &'t Types, type_id: Oid) -> Result<Self, Error> {
        if let Some(form) = Self::of_builtin(type_id) {
            return Ok(form);
        }
        let base = types.base(type_id).ok_or(Error::AskPostgres)?;
        if let Some(form) = Self::of_builtin(base.oid) {
            return Ok(form);
        }
        match &base.kind {
            TypeKind::Array { element } => {
                let delimiter = types.get(*element).ok_or(Error::AskPostgres)?.delimiter;
                Ok(Self::Array { element: *element, delimiter })
            }
            TypeKind::Composite { fields } => Ok(Self::Composite { fields }),
            // Arrays and composites come first: to_jsonb looks for a cast only where it finds no structure.
            TypeKind::Base | TypeKind::Enum { .. } | TypeKind::Range { .. } if !base.json_cast => {
                Ok(Self::Text)
            }
            _ => Err(Error::AskPostgres),
        }
    }

    /// The types that `to_jsonb` knows by identifier, and the plainest strings, which need no look at the catalog.
    fn of_builtin(type_id: Oid) -> Option<Self> {
        Some(match type_id {
            builtin::INT8 | builtin::INT2 | builtin::INT4 => Self::Integer,
            builtin::TEXT | builtin::VARCHAR | builtin::BPCHAR | builtin::UUID => Self::Text,
            // The ISO text form is the JSON form, before Christ and at infinity too.
            builtin::DATE => Self::Text,
            builtin::TIMESTAMP => Self::Timestamp,
            builtin::TIMESTAMPTZ => Self::TimestampTz,
            builtin::BOOL => Self::Boolean,
            builtin::FLOAT4 | builtin::FLOAT8 | builtin::NUMERIC => Self::Decimal,
            builtin::JSON | builtin::JSONB => Self::Json,
            builtin::INT2VECTOR => Self::IntegerVector,
            builtin::OIDVECTOR => Self::OidVector,
            _ => return None,
        })
    }
}

/// Identifiers that Postgres fixes for all time.
mod builtin {
    use super::Oid;

    pub(super) const BOOL: Oid = 16;
    pub(super) const BYTEA: Oid = 17;
    pub(super) const INT8: Oid = 20;
    pub(super) const INT2: Oid = 21;
    pub(super) const INT2VECTOR: Oid = 22;
    pub(super) const INT4: Oid = 23;
    pub(super) const TEXT: Oid = 25;
    pub(super) const OIDVECTOR: Oid = 30;
    pub(super) const JSON: Oid = 114;
    pub(super) const FLOAT4: Oid = 700;
    pub(super) const FLOAT8: Oid = 701;
    pub(super) const BPCHAR: Oid = 1042;
    pub(super) const VARCHAR: Oid = 1043;
    pub(super) const DATE: Oid = 1082;
    pub(super) const TIMESTAMP: Oid = 1114;
    pub(super) const TIMESTAMPTZ: Oid = 1184;
    pub(super) const NUMERIC: Oid = 1700;
    pub(super) const UUID: Oid = 2950;
    pub(super) const JSONB: Oid = 3802;
}

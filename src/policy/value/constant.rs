//! Reads the constants of analysed expressions: values as a server on a 64-bit little-endian machine holds them in memory.
//!
//! Whatever is compressed, stored elsewhere, of an unknown type or not as it should be is not read; Postgres is asked then.

use std::collections::HashMap;
use std::sync::Arc;

use super::array::{Array, DIMENSIONS_MAX, Dimension, ELEMENTS_MAX};
use super::calendar::{DAY, Interval};
use super::numeric::Numeric;
use super::{Value, stored_json};
use crate::change::{Oid, Types};
use crate::policy::types::{Form, Scalar};

/// `NAMEDATALEN`
const NAME_BYTES: usize = 64;

/// Reads a constant that is not NULL: a `CONST` with this `consttype`, `constlen` and `constbyval`, and the bytes of its
/// `constvalue`. `enum_labels` has the place in its enum of each label, by the label's identifier. `None` for what is not
/// read.
pub fn constant(
    type_oid: Oid,
    types: &Types,
    length: i16,
    by_value: bool,
    bytes: &[u8],
    enum_labels: &HashMap<Oid, u32>,
) -> Option<Value> {
    let form = Form::of(type_oid, types)?;
    let layout = Layout::of(&form);
    if layout.by_value != by_value || layout.length != length {
        return None;
    }
    match form {
        Form::Array(element, _) => array(element, types, varlena(bytes)?, enum_labels),
        _ if by_value => {
            let word: [u8; 8] = bytes.try_into().ok()?;
            plain(&form, word.get(..layout.size()?)?, enum_labels)
        }
        _ if length == -1 => plain(&form, varlena(bytes)?, enum_labels),
        _ => plain(&form, bytes, enum_labels),
    }
}

/// How a type is stored: `typlen`, `typbyval`, and `typalign` in bytes.
struct Layout {
    length: i16,
    by_value: bool,
    align: usize,
}

impl Layout {
    fn of(form: &Form<'_>) -> Self {
        let (length, by_value, align) = match form {
            Form::Enum(_) => (4, true, 4),
            Form::Array(..) => (-1, false, 4),
            Form::Scalar(scalar) => match scalar {
                Scalar::Bool | Scalar::Char => (1, true, 1),
                Scalar::Int2 => (2, true, 2),
                Scalar::Int4 | Scalar::Oid | Scalar::Float4 | Scalar::Date => (4, true, 4),
                Scalar::Int8 | Scalar::Float8 | Scalar::Time | Scalar::Timestamp | Scalar::TimestampTz => {
                    (8, true, 8)
                }
                Scalar::Name => (64, false, 1),
                Scalar::Uuid => (16, false, 1),
                Scalar::Interval => (16, false, 8),
                Scalar::Bytes
                | Scalar::Text
                | Scalar::Bpchar
                | Scalar::Json
                | Scalar::Jsonb
                | Scalar::Numeric => (-1, false, 4),
            },
        };
        Self { length, by_value, align }
    }

    /// How many bytes a value has, if all have as many.
    fn size(&self) -> Option<usize> {
        usize::try_from(self.length).ok()
    }
}

/// What is behind the header of a value of variable length, and how long that header is, if it is all there.
fn varlena_at(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let first = *bytes.first()?;
    let (header, total) = match first & 0b11 {
        // Four bytes, not compressed.
        0b00 => {
            let word = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
            (4, usize::try_from(word >> 2).ok()?)
        }
        // One byte; alone it points elsewhere.
        0b01 | 0b11 if first != 0b01 => (1, usize::from(first >> 1)),
        _ => return None,
    };
    Some((bytes.get(header..total)?, total))
}

fn varlena(bytes: &[u8]) -> Option<&[u8]> {
    varlena_at(bytes).filter(|(_, total)| *total == bytes.len()).map(|(payload, _)| payload)
}

fn int16(bytes: &[u8]) -> Option<i16> {
    bytes.try_into().ok().map(i16::from_le_bytes)
}

fn int32(bytes: &[u8]) -> Option<i32> {
    bytes.try_into().ok().map(i32::from_le_bytes)
}

fn uint32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn int64(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_le_bytes)
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::text)
}

/// A value that is no array, without the header of its length.
fn plain(form: &Form<'_>, bytes: &[u8], enum_labels: &HashMap<Oid, u32>) -> Option<Value> {
    let scalar = match form {
        Form::Enum(_) => return enum_labels.get(&uint32(bytes)?).copied().map(Value::Enum),
        Form::Array(..) => return None,
        Form::Scalar(scalar) => scalar,
    };
    Some(match scalar {
        Scalar::Bool => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return None,
        },
        Scalar::Char => match bytes {
            [0] => Value::text(""),
            [byte] if byte.is_ascii() => Value::text(char::from(*byte).encode_utf8(&mut [0; 4])),
            _ => return None,
        },
        Scalar::Int2 => Value::Int(int16(bytes)?.into()),
        Scalar::Int4 => Value::Int(int32(bytes)?.into()),
        Scalar::Int8 => Value::Int(int64(bytes)?),
        Scalar::Oid => Value::Int(uint32(bytes)?.into()),
        Scalar::Float4 => Value::float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        Scalar::Float8 => Value::float(f64::from_le_bytes(bytes.try_into().ok()?)),
        Scalar::Date => Value::Date(int32(bytes)?),
        Scalar::Time => Value::Time(int64(bytes).filter(|micros| (0..=DAY).contains(micros))?),
        Scalar::Timestamp | Scalar::TimestampTz => Value::Timestamp(int64(bytes)?),
        Scalar::Interval => {
            let interval = Interval {
                micros: int64(bytes.get(..8)?)?,
                days: int32(bytes.get(8..12)?)?,
                months: int32(bytes.get(12..)?)?,
            };
            (!interval.is_extreme()).then_some(Value::Interval(interval))?
        }
        Scalar::Uuid => Value::Uuid(uuid::Uuid::from_bytes(bytes.try_into().ok()?)),
        Scalar::Name => {
            let end = bytes.iter().position(|byte| *byte == 0)?;
            (bytes.len() == NAME_BYTES).then(|| text(&bytes[..end]))??
        }
        Scalar::Text | Scalar::Bpchar | Scalar::Json => text(bytes)?,
        Scalar::Bytes => Value::Bytes(bytes.into()),
        Scalar::Numeric => Value::numeric(numeric(bytes)?.0),
        Scalar::Jsonb => Value::Json(stored_json::text(bytes)?.into()),
    })
}

/// A numeric behind its header, and the number of digits that it is printed with behind the point.
pub(super) fn numeric(bytes: &[u8]) -> Option<(Numeric, usize)> {
    let word = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let head = word(0)?;
    let (negative, weight, scale, start) = match head & 0xC000 {
        // The short form: sign, scale and weight in one word.
        0x8000 => {
            let weight = i32::from(head & 0x3F);
            let weight = if head & 0x40 != 0 { weight - 0x40 } else { weight };
            (head & 0x2000 != 0, weight, (head & 0x1F80) >> 7, 2)
        }
        0xC000 => {
            let special = match head & 0xF000 {
                0xC000 => Numeric::NotANumber,
                0xD000 => Numeric::Infinity,
                0xF000 => Numeric::NegativeInfinity,
                _ => return None,
            };
            return (bytes.len() == 2).then_some((special, 0));
        }
        sign => (sign == 0x4000, i32::from(int16(bytes.get(2..4)?)?), head & 0x3FFF, 4),
    };
    let digits = bytes.get(start..)?;
    if digits.len() % 2 != 0 {
        return None;
    }
    let groups: Vec<u16> =
        digits.chunks_exact(2).map(|group| u16::from_le_bytes([group[0], group[1]])).collect();
    Some((Numeric::from_groups(negative, weight, &groups)?, scale.into()))
}

/// An array behind its header.
fn array(element: Oid, types: &Types, bytes: &[u8], enum_labels: &HashMap<Oid, u32>) -> Option<Value> {
    let form = Form::of(element, types)?;
    let layout = Layout::of(&form);
    if matches!(form, Form::Array(..)) {
        return None;
    }
    let count = usize::try_from(int32(bytes.get(..4)?)?).ok()?;
    let nulls_end = usize::try_from(int32(bytes.get(4..8)?)?).ok()?;
    if uint32(bytes.get(8..12)?)? != element || count > DIMENSIONS_MAX {
        return None;
    }
    let mut dimensions = Vec::with_capacity(count);
    let mut total = usize::from(count > 0);
    for place in 0..count {
        let at = 12 + 4 * place;
        let length = int32(bytes.get(at..at + 4)?)?;
        let lower = int32(bytes.get(at + 4 * count..at + 4 * count + 4)?)?;
        total = total.checked_mul(usize::try_from(length).ok()?).filter(|total| *total <= ELEMENTS_MAX)?;
        dimensions.push(Dimension { length, lower });
    }
    let nulls = bytes.get(12 + 8 * count..)?;
    // Offsets count from the start of the datum, whose header of four bytes is not part of `bytes`.
    let mut at = match nulls_end {
        0 => (4 + 12 + 8 * count).next_multiple_of(8) - 4,
        end => end.checked_sub(4)?,
    };
    let mut elements = Vec::with_capacity(total);
    for place in 0..total {
        if nulls_end > 0 && nulls.get(place / 8)? >> (place % 8) & 1 == 0 {
            elements.push(Value::Null);
            continue;
        }
        // A short header is not aligned, and what fills the gap before a long one is zero.
        let short = layout.length == -1 && *bytes.get(at)? != 0;
        if !short {
            at = (at + 4).next_multiple_of(layout.align) - 4;
        }
        let rest = bytes.get(at..)?;
        let (payload, taken) = match layout.size() {
            Some(size) => (rest.get(..size)?, size),
            None => varlena_at(rest)?,
        };
        elements.push(plain(&form, payload, enum_labels)?);
        at += taken;
    }
    Some(Value::Array(Arc::new(Array::new(&dimensions, elements)?)))
}

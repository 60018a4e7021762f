//! Constants, from the bytes that Postgres holds in memory. Servers are little-endian.

use std::collections::HashMap;

use uuid::Uuid;

use crate::change::{Oid, Types};
use crate::policy::value::Value;

/// The value of a constant; `None` if its type is not known here, or its bytes are compressed.
pub(super) fn constant(
    type_id: Oid,
    _types: &Types,
    length: i16,
    by_value: bool,
    bytes: &[u8],
    _labels: &HashMap<Oid, u32>,
) -> Option<Value> {
    let size = if by_value { usize::try_from(length).ok()? } else { bytes.len() };
    let bytes = bytes.get(..size)?;
    Some(match type_id {
        16 => Value::Bool(*bytes.first()? != 0),
        20 => Value::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
        21 => Value::Int(i16::from_le_bytes(bytes.try_into().ok()?).into()),
        23 => Value::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        26 => Value::Int(u32::from_le_bytes(bytes.try_into().ok()?).into()),
        19 => {
            let end = bytes.iter().position(|byte| *byte == 0)?;
            Value::Text(std::str::from_utf8(&bytes[..end]).ok()?.into())
        }
        25 | 114 | 1042 | 1043 => Value::Text(std::str::from_utf8(variable(bytes)?).ok()?.into()),
        1114 | 1184 => Value::Timestamp(i64::from_le_bytes(bytes.try_into().ok()?)),
        2950 => Value::Uuid(Uuid::from_bytes(bytes.try_into().ok()?)),
        _ => return None,
    })
}

/// What follows the header of four bytes; other headers are of values that were stored.
fn variable(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_first_chunk::<4>()?;
    let header = u32::from_le_bytes(*header);
    (header & 3 == 0 && usize::try_from(header >> 2).ok()? == bytes.len()).then_some(rest)
}

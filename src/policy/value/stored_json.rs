//! Reads `jsonb` as it is stored → the text that Postgres prints of it.

use super::constant::numeric;
use super::json::DEPTH_MAX;
use crate::change::json::write_string;

/// The container's header: how many, and of what.
const COUNT: u32 = 0x0FFF_FFFF;
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;

/// An entry's header: a length or an offset, and what it is.
const LENGTH: u32 = 0x0FFF_FFFF;
const KIND: u32 = 0x7000_0000;
const HAS_OFFSET: u32 = 0x8000_0000;

/// The text of a document behind the header of its length. `None` if it is not as it should be.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let mut out = String::new();
    let header = word(bytes, 0)?;
    if header & SCALAR != 0 {
        let entries = Entries::new(bytes, 1)?;
        entries.write(0, 0, &mut out)?;
    } else {
        container(bytes, 0, &mut out)?;
    }
    Some(out)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn container(bytes: &[u8], depth: usize, out: &mut String) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    let header = word(bytes, 0)?;
    let count = usize::try_from(header & COUNT).ok()?;
    match header & (SCALAR | OBJECT | ARRAY) {
        ARRAY => {
            let entries = Entries::new(bytes, count)?;
            out.push('[');
            for place in 0..count {
                out.push_str(if place > 0 { ", " } else { "" });
                entries.write(place, depth, out)?;
            }
            out.push(']');
        }
        OBJECT => {
            // All keys stand before all values.
            let entries = Entries::new(bytes, count.checked_mul(2)?)?;
            out.push('{');
            for place in 0..count {
                out.push_str(if place > 0 { ", " } else { "" });
                entries.write(place, depth, out)?;
                out.push_str(": ");
                entries.write(count + place, depth, out)?;
            }
            out.push('}');
        }
        _ => return None,
    }
    Some(())
}

/// The entries of a container: where each begins and ends, and what it is.
struct Entries<'a> {
    payload: &'a [u8],
    entries: Vec<(usize, usize, u32)>,
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8], count: usize) -> Option<Self> {
        let payload = bytes.get(4_usize.checked_add(count.checked_mul(4)?)?..)?;
        let mut entries = Vec::with_capacity(count);
        let mut start = 0;
        for place in 0..count {
            let entry = word(bytes, 4 + 4 * place)?;
            let number = usize::try_from(entry & LENGTH).ok()?;
            let end = if entry & HAS_OFFSET != 0 { number } else { start + number };
            entries.push((start, end, entry & KIND));
            start = end;
        }
        Some(Self { payload, entries })
    }

    fn write(&self, place: usize, depth: usize, out: &mut String) -> Option<()> {
        let (start, end, kind) = *self.entries.get(place)?;
        // Numbers and containers begin at a multiple of four; the payload does.
        let aligned = || self.payload.get(start.next_multiple_of(4)..end);
        match kind {
            0x0000_0000 => write_string(std::str::from_utf8(self.payload.get(start..end)?).ok()?, out),
            0x1000_0000 => out.push_str(&number(aligned()?)?),
            0x2000_0000 => out.push_str("false"),
            0x3000_0000 => out.push_str("true"),
            0x4000_0000 => out.push_str("null"),
            0x5000_0000 => container(aligned()?, depth + 1, out)?,
            _ => return None,
        }
        Some(())
    }
}

/// A number as `numeric` prints it.
fn number(bytes: &[u8]) -> Option<String> {
    let header = word(bytes, 0)?;
    let (payload, total) = match header & 0b11 {
        0b00 => (bytes.get(4..)?, usize::try_from(header >> 2).ok()?),
        _ => {
            let first = *bytes.first()?;
            (bytes.get(1..)?, usize::from(first >> 1))
        }
    };
    (total == bytes.len()).then_some(())?;
    let (number, scale) = numeric(payload)?;
    number.to_text(scale)
}

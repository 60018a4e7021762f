//! The values of one column, each once.
//!
//! Rows hold codes in place of values: four bytes, whatever the value. In tables that policies read, the same few users
//! and conversations stand in many rows.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::table::PlaceTable;
use crate::policy::value::Value;

/// Stands for a value in one column.
pub(super) type Code = u32;

/// No row.
pub(super) const NONE: u32 = u32::MAX;

/// Values with codes, and how many rows have each.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    entries: Vec<Entry>,
    free: Vec<Code>,
    places: PlaceTable,
    /// Hashes as a map does: nobody can choose values that collide.
    hashes: HashMap<(), ()>,
    /// Bytes that values hold outside of themselves.
    heap_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    row_count: u32,
    /// The first row with the value, where rows are looked up by it.
    head: u32,
}

impl Dictionary {
    /// The code of a value that some row has.
    pub(super) fn find(&self, value: &Value) -> Option<Code> {
        self.places.find(self.hash(value), |code| self.value(code) == value)
    }

    /// The value that a code stands for.
    pub(super) fn value(&self, code: Code) -> &Value {
        &self.entries[code as usize].value
    }

    /// The code of a value, for one more row.
    pub(super) fn add(&mut self, value: Value) -> Code {
        if let Some(code) = self.find(&value) {
            self.entries[code as usize].row_count += 1;
            return code;
        }
        let hash = self.hash(&value);
        self.heap_bytes += heap_bytes(&value);
        let entry = Entry { value, row_count: 1, head: NONE };
        let code = if let Some(code) = self.free.pop() {
            self.entries[code as usize] = entry;
            code
        } else {
            self.entries.push(entry);
            // A relation is given up long before it has as many rows.
            u32::try_from(self.entries.len() - 1).unwrap_or(NONE)
        };
        let (entries, hasher) = (&self.entries, self.hashes.hasher());
        self.places.insert(hash, code, |code| hash_with(hasher, &entries[code as usize].value));
        code
    }

    /// One row less has the value.
    pub(super) fn release(&mut self, code: Code) {
        let entry = &mut self.entries[code as usize];
        entry.row_count -= 1;
        if entry.row_count > 0 {
            return;
        }
        let value = std::mem::take(&mut entry.value);
        self.heap_bytes -= heap_bytes(&value);
        let (entries, hasher) = (&self.entries, self.hashes.hasher());
        let of = |other: Code| {
            let value = if other == code { &value } else { &entries[other as usize].value };
            hash_with(hasher, value)
        };
        self.places.remove(of(code), code, of);
        self.free.push(code);
    }

    /// The first row with the value.
    pub(super) fn head(&self, code: Code) -> u32 {
        self.entries[code as usize].head
    }

    /// Makes this the first row with the value.
    pub(super) fn set_head(&mut self, code: Code, row: u32) {
        self.entries[code as usize].head = row;
    }

    /// How many bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.free.capacity() * size_of::<Code>()
            + self.places.bytes()
            + self.heap_bytes
    }

    fn hash(&self, value: &Value) -> u64 {
        hash_with(self.hashes.hasher(), value)
    }
}

/// The same for equal values.
#[allow(unreachable_patterns, reason = "a kind of value that is not listed is right all the same, and slow")]
fn hash_with(hasher: &impl BuildHasher, value: &Value) -> u64 {
    hasher.hash_one(value)
}

/// About how many bytes a value holds outside of itself.
pub(super) fn heap_bytes(value: &Value) -> usize {
    match value {
        // Two counters stand before the text.
        Value::Text(text) | Value::Json(text) => text.len() + 2 * size_of::<usize>(),
        Value::Bytes(bytes) => bytes.len() + 2 * size_of::<usize>(),
        Value::Numeric(number) => number.heap_bytes() + 2 * size_of::<usize>(),
        Value::Array(array) => {
            size_of_val(&**array)
                + array
                    .elements()
                    .iter()
                    .map(|element| size_of_val(element) + heap_bytes(element))
                    .sum::<usize>()
        }
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Uuid(_)
        | Value::Timestamp(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Interval(_)
        | Value::Enum(_) => 0,
    }
}

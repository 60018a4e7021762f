//! The rows of one relation, after the last transaction and before it.
//!
//! A row is a *slot*: a code for each kept column, links to other rows with the same key values, and how many times it is
//! there. Slots of rows that a transaction removed stay until the next one begins, and those that it changed remember
//! their former number; so both states are read through the same indexes.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::State;
use super::dictionary::{Code, Dictionary, NONE};
use super::layout::{Identity, Known, Layout};
use super::status::Unusable;
use super::table::PlaceTable;
use crate::policy::function::Doubt;
use crate::policy::program::Tuple;
use crate::policy::value::Value;

/// How many columns a row may have that is handled without a trip to the heap.
type Codes = smallvec::SmallVec<[Code; 8]>;

/// How many slots there may be; one less than what marks the end of a chain.
const SLOTS_MAX: usize = (u32::MAX - 1) as usize;

/// The rows of a relation.
#[derive(Debug)]
pub struct Rows {
    layout: Arc<Layout>,
    /// For each column of the relation its place among those that are kept.
    kept: Box<[Option<usize>]>,
    columns: Box<[Column]>,
    /// How many times each row is there after the last transaction.
    counts: Vec<u32>,
    free: Vec<u32>,
    by_identity: PlaceTable,
    /// Hashes as a map does.
    hashes: HashMap<(), ()>,
    /// How many times the rows were there before the last transaction that it touched.
    before: HashMap<u32, u32>,
    row_count: u64,
}

#[derive(Debug, Default)]
struct Column {
    dictionary: Dictionary,
    codes: Vec<Code>,
    /// The rows with the same value before and after each, if rows are looked up by the column.
    chain: Option<Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    next: Vec<u32>,
    previous: Vec<u32>,
}

impl Rows {
    /// None yet.
    pub fn new(layout: Arc<Layout>) -> Self {
        let mut kept = vec![None; layout.table().columns.len()];
        let mut columns = Vec::new();
        for (index, column) in layout.columns().iter().enumerate() {
            kept[column.place] = Some(index);
            columns.push(Column { chain: column.is_key.then(Chain::default), ..Column::default() });
        }
        Self {
            layout,
            kept: kept.into(),
            columns: columns.into(),
            counts: Vec::new(),
            free: Vec::new(),
            by_identity: PlaceTable::default(),
            hashes: HashMap::new(),
            before: HashMap::new(),
            row_count: 0,
        }
    }

    /// What is kept.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Adds a row that was read from the table: the texts of the kept columns, as the log would have them; `None` is NULL.
    pub fn load<'a>(&mut self, texts: impl IntoIterator<Item = Option<&'a str>>) -> Result<(), Unusable> {
        let values = self.layout.read_texts(texts)?;
        self.add(values.into_iter())?;
        self.before.clear();
        Ok(())
    }

    /// How many rows there are after the last transaction.
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    /// About how many bytes all of it holds.
    pub fn bytes(&self) -> usize {
        let links = |chain: &Chain| (chain.next.capacity() + chain.previous.capacity()) * size_of::<u32>();
        let columns = self.columns.iter().map(|column| {
            column.dictionary.bytes()
                + column.codes.capacity() * size_of::<Code>()
                + column.chain.as_ref().map_or(0, links)
        });
        columns.sum::<usize>()
            + (self.counts.capacity() + self.free.capacity()) * size_of::<u32>()
            + self.by_identity.bytes()
            + self.before.capacity() * 2 * size_of::<u32>()
    }

    /// Lets go of room that was made for more rows.
    pub fn shrink(&mut self) {
        for column in &mut self.columns {
            column.codes.shrink_to_fit();
            if let Some(chain) = &mut column.chain {
                chain.next.shrink_to_fit();
                chain.previous.shrink_to_fit();
            }
        }
        self.counts.shrink_to_fit();
    }

    /// Forgets the state before the last transaction.
    pub(super) fn settle(&mut self) {
        // What held very many is not kept for the next few.
        for (slot, _) in std::mem::take(&mut self.before) {
            if self.counts[slot as usize] == 0 {
                self.vacate(slot);
            }
        }
    }

    pub(super) fn insert(&mut self, new: Known) -> Result<(), Unusable> {
        let values: Box<[Value]> = new.into_iter().collect::<Option<_>>().ok_or(Unusable::Absent)?;
        self.add(values.into_iter())
    }

    pub(super) fn delete(&mut self, old: &Known) -> Result<(), Unusable> {
        let slot = self.locate(old)?;
        self.set_count(slot, self.counts[slot as usize] - 1);
        Ok(())
    }

    /// `old` is there if the log has anything of the old row; the new row has its identity otherwise.
    pub(super) fn update(&mut self, old: Option<&Known>, new: Known) -> Result<(), Unusable> {
        let slot = self.locate(old.unwrap_or(&new))?;
        // What the log lacks has not changed.
        let filled = |(index, value): (usize, Option<Value>)| {
            value.unwrap_or_else(|| self.value_of(slot, index).clone())
        };
        let values: Box<[Value]> = new.into_iter().enumerate().map(filled).collect();
        if values.iter().enumerate().all(|(index, value)| self.value_of(slot, index) == value) {
            return Ok(());
        }
        self.set_count(slot, self.counts[slot as usize] - 1);
        self.add(values.into_iter())
    }

    pub(super) fn truncate(&mut self) {
        for slot in 0..self.counts.len() {
            if self.counts[slot] > 0 {
                // There are never more slots than a u32 counts.
                self.set_count(u32::try_from(slot).unwrap_or(NONE), 0);
            }
        }
    }

    /// Visits rows in one of the states; see [`Relations::scan`](crate::policy::program::Relations::scan).
    pub(super) fn scan(
        &self,
        state: State,
        key: Option<(usize, &Value)>,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt> {
        let Some((place, value)) = key else {
            for slot in 0..u32::try_from(self.counts.len()).unwrap_or(NONE) {
                if self.visit(slot, state, visit).is_break() {
                    break;
                }
            }
            return Ok(());
        };
        let index = self.kept.get(place).copied().flatten().ok_or(Doubt::Absent)?;
        let column = &self.columns[index];
        let Some(code) = column.dictionary.find(value) else { return Ok(()) };
        if let Some(chain) = &column.chain {
            let mut slot = column.dictionary.head(code);
            while slot != NONE {
                if self.visit(slot, state, visit).is_break() {
                    break;
                }
                slot = chain.next[slot as usize];
            }
            return Ok(());
        }
        for slot in 0..u32::try_from(self.counts.len()).unwrap_or(NONE) {
            if column.codes[slot as usize] == code && self.visit(slot, state, visit).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn visit(
        &self,
        slot: u32,
        state: State,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let now = self.counts[slot as usize];
        let count = match state {
            State::After => now,
            State::Before if self.before.is_empty() => now,
            State::Before => self.before.get(&slot).copied().unwrap_or(now),
        };
        for _ in 0..count {
            visit(&Row { rows: self, slot })?;
        }
        ControlFlow::Continue(())
    }

    fn value_of(&self, slot: u32, index: usize) -> &Value {
        let column = &self.columns[index];
        column.dictionary.value(column.codes[slot as usize])
    }

    /// The row that the log means.
    fn locate(&self, known: &Known) -> Result<u32, Unusable> {
        let mut codes = Codes::new();
        for (index, kept) in self.layout.columns().iter().enumerate().filter(|(_, kept)| kept.in_identity) {
            let value = known.get(index).and_then(Option::as_ref).ok_or(Unusable::Absent)?;
            debug_assert!(kept.in_identity);
            codes.push(self.columns[index].dictionary.find(value).ok_or(Unusable::Inconsistent)?);
        }
        self.find(&codes).ok_or(Unusable::Inconsistent)
    }

    /// The row that is there now with these codes in the columns of the identity.
    fn find(&self, identity: &[Code]) -> Option<u32> {
        self.by_identity.find(self.hash(identity.iter().copied()), |slot| {
            self.counts[slot as usize] > 0 && self.identity_of(slot).eq(identity.iter().copied())
        })
    }

    fn identity_of(&self, slot: u32) -> impl Iterator<Item = Code> {
        let columns = self.columns.iter().zip(self.layout.columns());
        columns.filter(|(_, kept)| kept.in_identity).map(move |(column, _)| column.codes[slot as usize])
    }

    fn hash(&self, identity: impl Iterator<Item = Code>) -> u64 {
        let mut hasher = self.hashes.hasher().build_hasher();
        identity.for_each(|code| code.hash(&mut hasher));
        hasher.finish()
    }

    fn set_count(&mut self, slot: u32, count: u32) {
        let now = std::mem::replace(&mut self.counts[slot as usize], count);
        let before = *self.before.entry(slot).or_insert(now);
        self.row_count = self.row_count + u64::from(count) - u64::from(now);
        if count == 0 && before == 0 {
            // It came and went within the transaction.
            self.before.remove(&slot);
            self.vacate(slot);
        }
    }

    fn add(&mut self, values: impl Iterator<Item = Value>) -> Result<(), Unusable> {
        let codes: Codes =
            values.zip(&mut self.columns).map(|(value, column)| column.dictionary.add(value)).collect();
        let identity = |codes: &Codes| -> Codes {
            let kept = codes.iter().zip(self.layout.columns()).filter(|(_, kept)| kept.in_identity);
            kept.map(|(code, _)| *code).collect()
        };
        let identity = identity(&codes);
        let hash = self.hash(identity.iter().copied());
        // With the whole row as its identity one slot stands for all equal rows, those that are gone included.
        let same = self.by_identity.find(hash, |slot| {
            self.columns.iter().zip(&codes).all(|(column, code)| column.codes[slot as usize] == *code)
        });
        if let Some(slot) = same {
            for (column, code) in self.columns.iter_mut().zip(&codes) {
                column.dictionary.release(*code);
            }
            if self.counts[slot as usize] > 0 && *self.layout.identity() != Identity::Whole {
                return Err(Unusable::Inconsistent);
            }
            self.set_count(slot, self.counts[slot as usize] + 1);
            return Ok(());
        }
        if *self.layout.identity() != Identity::Whole && self.find(&identity).is_some() {
            return Err(Unusable::Inconsistent);
        }
        let slot = self.occupy(&codes)?;
        let mut by_identity = std::mem::take(&mut self.by_identity);
        by_identity.insert(hash, slot, |slot| self.hash(self.identity_of(slot)));
        self.by_identity = by_identity;
        self.set_count(slot, 1);
        Ok(())
    }

    /// A slot with these codes, linked to others with the same key values.
    fn occupy(&mut self, codes: &Codes) -> Result<u32, Unusable> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.counts.len() >= SLOTS_MAX => return Err(Unusable::TooLarge),
            None => {
                self.counts.push(0);
                for column in &mut self.columns {
                    column.codes.push(0);
                    if let Some(chain) = &mut column.chain {
                        chain.next.push(NONE);
                        chain.previous.push(NONE);
                    }
                }
                u32::try_from(self.counts.len() - 1).map_err(|_| Unusable::TooLarge)?
            }
        };
        for (column, code) in self.columns.iter_mut().zip(codes) {
            column.codes[slot as usize] = *code;
            if let Some(chain) = &mut column.chain {
                let head = column.dictionary.head(*code);
                chain.next[slot as usize] = head;
                chain.previous[slot as usize] = NONE;
                if head != NONE {
                    chain.previous[head as usize] = slot;
                }
                column.dictionary.set_head(*code, slot);
            }
        }
        Ok(slot)
    }

    /// Gives a slot back.
    fn vacate(&mut self, slot: u32) {
        let hash = self.hash(self.identity_of(slot));
        let mut by_identity = std::mem::take(&mut self.by_identity);
        by_identity.remove(hash, slot, |slot| self.hash(self.identity_of(slot)));
        self.by_identity = by_identity;
        for column in &mut self.columns {
            let code = column.codes[slot as usize];
            if let Some(chain) = &mut column.chain {
                let (next, previous) = (chain.next[slot as usize], chain.previous[slot as usize]);
                match previous {
                    NONE => column.dictionary.set_head(code, next),
                    previous => chain.next[previous as usize] = next,
                }
                if next != NONE {
                    chain.previous[next as usize] = previous;
                }
            }
            column.dictionary.release(code);
        }
        self.free.push(slot);
    }
}

/// A row, for whoever visits it.
struct Row<'a> {
    rows: &'a Rows,
    slot: u32,
}

impl Tuple for Row<'_> {
    fn value(&self, place: usize) -> Result<Value, Doubt> {
        let index = self.rows.kept.get(place).copied().flatten().ok_or(Doubt::Absent)?;
        Ok(self.rows.value_of(self.slot, index).clone())
    }
}

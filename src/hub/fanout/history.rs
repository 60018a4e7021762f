//! What became of each row version later in its own transaction.
//!
//! Nobody ever saw a version that the transaction which wrote it replaced or deleted again, so it is shown to those
//! alone who may see the last one too, or to nobody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::change::{Event, RelationId, RowChange};
use crate::hub::ask::Later;

use super::row::filled;

/// What became of each row version later in its own transaction.
#[derive(Debug)]
pub struct History {
    fates: Vec<Fate>,
    /// Whether the row that each change found was there before the transaction; empty if nobody asks.
    is_first: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Replaced(usize),
    Deleted,
    Unknown,
}

impl History {
    /// The history of a transaction's changes, and of tables that were emptied when there were so many of them;
    /// `whole` says whether these are all. Of the tables in `partial` they never are.
    pub fn of(
        changes: &[Arc<RowChange>],
        truncations: &[(usize, RelationId)],
        whole: bool,
        partial: &HashSet<RelationId>,
    ) -> Self {
        if !whole {
            return Self::from(vec![Fate::Unknown; changes.len()]);
        }
        if let [change] = changes
            && truncations.is_empty()
            && !partial.contains(&change.table.id)
        {
            return Self::from(vec![Fate::Kept]);
        }
        let mut fates = vec![Fate::Kept; changes.len()];
        // From the last change to the first: for each key, the version that outlives the transaction.
        let mut outcome: HashMap<(RelationId, Vec<&str>), Fate> = HashMap::new();
        let mut truncations = truncations.iter().rev().peekable();
        let mut emptied: HashSet<RelationId> = HashSet::new();
        for (position, change) in changes.iter().enumerate().rev() {
            while let Some((_, id)) = truncations.next_if(|(count, _)| *count > position) {
                emptied.insert(*id);
                outcome.retain(|(relation, _), _| relation != id);
            }
            let id = change.table.id;
            if !change.table.row_security {
                continue;
            }
            if partial.contains(&id) {
                fates[position] = Fate::Unknown;
                continue;
            }
            let old_key = change.old.as_ref().and_then(|old| old.key(&change.table));
            let Some(new) = &change.new else {
                match old_key {
                    Some(old_key) => {
                        outcome.insert((id, old_key), Fate::Deleted);
                    }
                    // Which row went is not known; any earlier version may be it.
                    None => return Self::from(vec![Fate::Unknown; changes.len()]),
                }
                continue;
            };
            let Some(new_key) = new.key(&change.table) else { continue };
            let known = outcome.remove(&(id, new_key.clone()));
            let fate = known.or(emptied.contains(&id).then_some(Fate::Deleted));
            if let Some(fate) = fate {
                fates[position] = fate;
            }
            if change.event == Event::Update {
                let last = fate.unwrap_or(Fate::Replaced(position));
                // The identity may be another index; then the primary key is taken to be unchanged.
                outcome.insert((id, old_key.unwrap_or(new_key)), last);
            }
        }
        Self::from(fates)
    }

    /// The same, with what `whole_update` needs to know.
    #[must_use]
    pub fn with_first_steps(mut self, changes: &[Arc<RowChange>]) -> Self {
        let mut written: HashSet<(RelationId, Vec<&str>)> = HashSet::new();
        self.is_first = Vec::with_capacity(changes.len());
        for change in changes {
            let id = change.table.id;
            if !change.table.row_security {
                self.is_first.push(false);
                continue;
            }
            let old_key = change.old.as_ref().and_then(|old| old.key(&change.table));
            self.is_first.push(old_key.is_some_and(|key| !written.contains(&(id, key))));
            let new_key = change.new.as_ref().and_then(|new| new.key(&change.table));
            written.extend(new_key.map(|key| (id, key)));
        }
        self
    }

    /// What to ask about the version at `position`; `None` if it was deleted again.
    pub(super) fn later(&self, position: usize, changes: &[Arc<RowChange>]) -> Option<Later> {
        match self.fates.get(position).copied().unwrap_or(Fate::Unknown) {
            Fate::Kept => Some(Later::Nothing),
            Fate::Deleted => None,
            Fate::Unknown => Some(Later::Unknown),
            Fate::Replaced(last) => {
                Some(changes.get(last).map_or(Later::Unknown, |last| Later::Replaced(Arc::clone(last))))
            }
        }
    }

    /// The update of which the one at `position` is the first step, from the row before the transaction to the last
    /// version that it made; `None` if it is no first step, the row was deleted again, or either is not known.
    pub(super) fn whole_update(&self, position: usize, changes: &[Arc<RowChange>]) -> Option<Arc<RowChange>> {
        let change = changes.get(position).filter(|change| change.event == Event::Update)?;
        if !self.is_first.get(position).copied().unwrap_or(false) {
            return None;
        }
        match self.later(position, changes)? {
            Later::Nothing => Some(Arc::clone(change)),
            Later::Unknown => None,
            Later::Replaced(last) => {
                let unchanged = last.old.as_ref().filter(|_| last.old_is_full);
                let new = filled(last.new.as_ref()?, unchanged).into_owned();
                Some(Arc::new(RowChange {
                    table: Arc::clone(&change.table),
                    event: Event::Update,
                    new: Some(new),
                    old: change.old.clone(),
                    old_is_full: change.old_is_full,
                }))
            }
        }
    }
}

impl From<Vec<Fate>> for History {
    fn from(fates: Vec<Fate>) -> Self {
        Self { fates, is_first: Vec::new() }
    }
}

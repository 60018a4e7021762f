//! The relations that policies read, held in memory as of the last commit that was taken in.
//!
//! In: whole relations, as they were loaded, and row changes of one transaction after another. Out: their rows, as of
//! after that transaction, or as of before it.
//!
//! A relation is loaded from a snapshot while the stream runs: from [`Mirror::expect`] on its changes are kept, and
//! [`Mirror::install`] applies those that the snapshot does not see. The stream may be behind the snapshot: the relation
//! is only shown once it has passed all that the snapshot sees.
//!
//! **Invariant:** what is shown is what the table held at that commit. Where that is not certain the relation is
//! [`Unusable`], and shows nothing but [`Doubt::NotMirrored`].

mod dictionary;
mod layout;
mod rows;
mod status;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::catalog::Needed;
use super::function::Doubt;
use super::program::{Relations, Tuple};
use super::value::Value;
use crate::change::{Change, Old, Relation, RelationId, Row, Types};
use crate::wal::Lsn;

pub use layout::{Identity, Layout};
pub use rows::Rows;
pub use status::{Status, Unusable};

use dictionary::heap_bytes;
use layout::{Known, Places};

/// How many bytes all relations may have, unless [`Mirror::new`] says otherwise.
const BYTES_MAX: usize = 256 << 20;

/// About how many bytes a change that is kept for a relation has besides its texts.
const KEPT_CHANGE_BYTES: usize = 64;

/// All mirrored relations.
#[derive(Debug)]
pub struct Mirror {
    relations: HashMap<RelationId, Mirrored>,
    bytes_max: usize,
    /// How far the stream was taken in: the commit in hand, or where nothing is to come before.
    position: Lsn,
    /// Whether the transaction in hand is not known whole.
    in_parts: bool,
    transaction: Option<Current>,
    /// The relations that the last transaction touched.
    touched: Vec<RelationId>,
    /// Those that were given up since somebody asked.
    lost: Vec<(RelationId, Unusable)>,
}

/// The transaction in hand.
#[derive(Clone, Copy, Debug)]
struct Current {
    xid: u32,
    commit_lsn: Lsn,
}

#[derive(Debug)]
struct Mirrored {
    state: Relied,
    /// How the stream described it last, and where it has the kept columns.
    described: Option<(Arc<Relation>, Places)>,
}

#[derive(Debug)]
enum Relied {
    Loading(Loading),
    Ready {
        rows: Box<Rows>,
        from: Lsn,
        /// Which transactions before `from` the rows hold already.
        sees: Sees,
    },
    Unusable(Unusable),
}

/// Which transactions a snapshot sees.
struct Sees(Box<dyn Fn(u32) -> bool + Send + Sync>);

impl std::fmt::Debug for Sees {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sees")
    }
}

/// A relation whose rows are being read.
#[derive(Debug)]
struct Loading {
    layout: Arc<Layout>,
    /// What was committed since, each with its transaction.
    kept: Vec<(u32, Operation)>,
    kept_bytes: usize,
}

/// A change of a relation, reduced to the kept columns.
#[derive(Debug)]
enum Operation {
    Insert(Known),
    Update { old: Option<Known>, new: Known },
    Delete(Known),
    Truncate,
}

/// What all relations have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Relations that can be read, or can be soon.
    pub ready: usize,
    /// Relations that are being loaded.
    pub loading: usize,
    /// Relations that cannot be relied on.
    pub unusable: usize,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: usize,
}

/// Which state of the relations: a transaction is taken in as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As of after the last transaction.
    After,
    /// As of before it.
    Before,
}

/// The relations in one state.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    mirror: &'a Mirror,
    state: State,
}

impl Default for Mirror {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl Mirror {
    /// None yet. When all of them have more bytes than `bytes_max`, the largest is given up.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            relations: HashMap::new(),
            bytes_max,
            position: Lsn::ZERO,
            in_parts: false,
            transaction: None,
            touched: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The relations in this state.
    pub fn view(&self, state: State) -> View<'_> {
        View { mirror: self, state }
    }

    /// How it stands with a relation.
    pub fn status(&self, relation: RelationId) -> Status {
        match self.relations.get(&relation).map(|mirrored| &mirrored.state) {
            None => Status::Missing,
            Some(Relied::Loading(_)) => Status::Loading,
            Some(Relied::Ready { from, .. }) => Status::Ready { from: *from },
            Some(Relied::Unusable(why)) => Status::Unusable(why.clone()),
        }
    }

    /// Whether there is anything of a relation, of use or not.
    pub fn has(&self, relation: RelationId) -> bool {
        self.relations.contains_key(&relation)
    }

    /// Whether a relation can be read now.
    pub fn is_readable(&self, relation: RelationId) -> bool {
        self.rows(relation).is_ok()
    }

    /// What is kept of a relation, or will be.
    pub fn layout(&self, relation: RelationId) -> Option<&Arc<Layout>> {
        self.relations.get(&relation).and_then(Mirrored::layout)
    }

    /// How far the stream was taken in.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// How many bytes there may be.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Counts everything.
    pub fn census(&self) -> Census {
        let mut census = Census { bytes: self.bytes(), ..Census::default() };
        for mirrored in self.relations.values() {
            match &mirrored.state {
                Relied::Loading(_) => census.loading += 1,
                Relied::Ready { rows, .. } => {
                    census.ready += 1;
                    census.rows += rows.row_count();
                }
                Relied::Unusable(_) => census.unusable += 1,
            }
        }
        census
    }

    /// About how many bytes all of them have.
    pub fn bytes(&self) -> usize {
        self.relations.values().map(Mirrored::bytes).sum()
    }

    /// Whether all that is needed of a relation is there or being loaded.
    pub fn covers(&self, needed: &Needed, types: &Types) -> bool {
        let layout = self.relations.get(&needed.table.id).and_then(Mirrored::layout);
        layout.is_some_and(|layout| layout.covers(needed, types))
    }

    /// The relations that there is anything of.
    pub fn ids(&self) -> impl Iterator<Item = RelationId> {
        self.relations.keys().copied()
    }

    /// Keeps all changes of a relation from now on, which is being loaded.
    pub fn expect(&mut self, layout: Arc<Layout>) {
        let id = layout.table().id;
        let state = Relied::Loading(Loading { layout, kept: Vec::new(), kept_bytes: 0 });
        self.relations.insert(id, Mirrored { state, described: None });
    }

    /// Takes in a relation that was loaded since [`Self::expect`]: `sees` says of a transaction whether the rows hold
    /// what it did. All of those that they hold have committed before `from`.
    ///
    /// # Errors
    /// Why it is of no use; as [`Status`] says as well.
    pub fn install(
        &mut self,
        rows: Rows,
        sees: impl Fn(u32) -> bool + Send + Sync + 'static,
        from: Lsn,
    ) -> Result<(), Unusable> {
        let id = rows.layout().table().id;
        let Some(mirrored) = self.relations.get_mut(&id) else { return Ok(()) };
        let Relied::Loading(loading) = &mut mirrored.state else {
            return Err(match &mirrored.state {
                Relied::Unusable(why) => why.clone(),
                _ => Unusable::Inconsistent,
            });
        };
        if !Arc::ptr_eq(&loading.layout, rows.layout()) {
            // What was kept is that of another layout; another load is on its way.
            return Ok(());
        }
        let mut rows = rows;
        let kept = std::mem::take(&mut loading.kept);
        let mut result = Ok(());
        for (xid, operation) in kept {
            if !sees(xid) && result.is_ok() {
                result = operation.apply(&mut rows);
            }
        }
        rows.settle();
        match result {
            Ok(()) => {
                mirrored.state = Relied::Ready { rows: Box::new(rows), from, sees: Sees(Box::new(sees)) }
            }
            Err(why) => self.give_up(id, why),
        }
        self.hold_bound();
        match self.status(id) {
            Status::Unusable(why) => Err(why),
            _ => Ok(()),
        }
    }

    /// Takes in a relation that nothing was kept for, as of one moment: there is no stream.
    pub fn insert(&mut self, rows: Rows) {
        let id = rows.layout().table().id;
        let state = Relied::Ready { rows: Box::new(rows), from: Lsn::ZERO, sees: Sees(Box::new(|_| false)) };
        self.relations.insert(id, Mirrored { state, described: None });
        self.hold_bound();
    }

    /// Forgets a relation.
    pub fn remove(&mut self, relation: RelationId) {
        self.relations.remove(&relation);
    }

    /// Forgets all relations, as the stream that kept them current has ended.
    pub fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    /// Shows a relation no longer, until it is loaded again.
    pub fn give_up(&mut self, relation: RelationId, why: Unusable) {
        self.lost.push((relation, why.clone()));
        let mirrored = Mirrored { state: Relied::Unusable(why), described: None };
        self.relations.insert(relation, mirrored);
    }

    /// Nothing is to come of the stream before this position; no transaction is in hand.
    pub fn caught_up(&mut self, position: Lsn) {
        self.position = self.position.max(position);
        self.in_parts = false;
    }

    /// Takes in a transaction: [`Self::begin`], its changes, [`Self::end`].
    pub fn take<'a>(
        &mut self,
        xid: u32,
        commit_lsn: Lsn,
        whole: bool,
        changes: impl IntoIterator<Item = &'a Change>,
    ) {
        self.begin(xid, commit_lsn, whole);
        changes.into_iter().for_each(|change| self.change(change));
        self.end();
    }

    /// Begins a transaction: the state before it is the one after the last. One that is not whole shows nothing, since
    /// the state after it is not known.
    pub fn begin(&mut self, xid: u32, commit_lsn: Lsn, whole: bool) {
        for id in std::mem::take(&mut self.touched) {
            if let Some(Mirrored { state: Relied::Ready { rows, .. }, .. }) = self.relations.get_mut(&id) {
                rows.settle();
            }
        }
        self.position = commit_lsn;
        self.in_parts = !whole;
        self.transaction = Some(Current { xid, commit_lsn });
    }

    /// Takes in a change of the transaction in hand.
    pub fn change(&mut self, change: &Change) {
        let id = change.relation.id;
        let Some(current) = self.transaction else { return };
        let in_parts = self.in_parts;
        let Some(mirrored) = self.relations.get_mut(&id) else { return };
        if matches!(mirrored.state, Relied::Unusable(_)) {
            return;
        }
        if self.touched.last() != Some(&id) && !self.touched.contains(&id) {
            self.touched.push(id);
        }
        let taken =
            if in_parts { Err(Unusable::InParts) } else { mirrored.change(current, change, self.bytes_max) };
        if let Err(why) = taken {
            self.give_up(id, why);
        }
    }

    /// Ends the transaction. Its state before is shown until the next begins.
    pub fn end(&mut self) {
        self.transaction = None;
        if !self.touched.is_empty() {
            self.hold_bound();
        }
    }

    /// The relations that were given up since this was asked last.
    pub fn take_lost(&mut self) -> Vec<(RelationId, Unusable)> {
        std::mem::take(&mut self.lost)
    }

    /// The relations that cannot be relied on, and why.
    pub fn unusable(&self) -> impl Iterator<Item = (RelationId, &Unusable)> {
        self.relations.iter().filter_map(|(id, mirrored)| match &mirrored.state {
            Relied::Unusable(why) => Some((*id, why)),
            _ => None,
        })
    }

    /// Gives up the largest relations while there is too much.
    fn hold_bound(&mut self) {
        while self.bytes() > self.bytes_max {
            let sizes = self.relations.iter().map(|(id, mirrored)| (mirrored.bytes(), *id));
            let Some((1.., largest)) = sizes.max() else { return };
            self.give_up(largest, Unusable::TooLarge);
        }
    }

    fn rows(&self, relation: RelationId) -> Result<&Rows, Doubt> {
        match self.relations.get(&relation).map(|mirrored| &mirrored.state) {
            Some(Relied::Ready { rows, from, .. }) if !self.in_parts && self.position >= *from => Ok(rows),
            _ => Err(Doubt::NotMirrored),
        }
    }
}

impl Mirrored {
    fn bytes(&self) -> usize {
        match &self.state {
            Relied::Loading(loading) => loading.kept_bytes,
            Relied::Ready { rows, .. } => rows.bytes(),
            Relied::Unusable(_) => 0,
        }
    }

    fn layout(&self) -> Option<&Arc<Layout>> {
        match &self.state {
            Relied::Loading(loading) => Some(&loading.layout),
            Relied::Ready { rows, .. } => Some(rows.layout()),
            Relied::Unusable(_) => None,
        }
    }

    fn change(&mut self, current: Current, change: &Change, bytes_max: usize) -> Result<(), Unusable> {
        let Current { xid, commit_lsn } = current;
        let Some(layout) = self.layout().map(Arc::clone) else { return Ok(()) };
        let is_described = |(known, _): &(Arc<Relation>, Places)| Arc::ptr_eq(known, &change.relation);
        if !self.described.as_ref().is_some_and(is_described) {
            let places = layout.find_in(&change.relation)?;
            self.described = Some((Arc::clone(&change.relation), places));
        }
        let Some((_, places)) = &self.described else { return Ok(()) };
        let operation = Operation::read(&change.row, &layout, places)?;
        match &mut self.state {
            Relied::Loading(loading) => {
                loading.kept_bytes += operation.bytes();
                loading.kept.push((xid, operation));
                if loading.kept_bytes > bytes_max { Err(Unusable::TooLarge) } else { Ok(()) }
            }
            // A snapshot may be ahead of the stream.
            Relied::Ready { from, sees, .. } if commit_lsn < *from && sees.0(xid) => Ok(()),
            Relied::Ready { rows, .. } => operation.apply(rows),
            Relied::Unusable(_) => Ok(()),
        }
    }
}

impl Operation {
    fn read(row: &Row, layout: &Layout, places: &Places) -> Result<Self, Unusable> {
        let old_values = |old: &Old| layout.read(old.tuple(), places);
        Ok(match row {
            Row::Insert { new } => Self::Insert(layout.read(new, places)?),
            Row::Update { old, new } => Self::Update {
                old: old.as_ref().map(old_values).transpose()?,
                new: layout.read(new, places)?,
            },
            Row::Delete { old } => Self::Delete(old_values(old)?),
            Row::Truncate => Self::Truncate,
        })
    }

    fn apply(self, rows: &mut Rows) -> Result<(), Unusable> {
        match self {
            Self::Insert(new) => rows.insert(new),
            // Only the log of a whole old row tells a row without an identity of its own.
            Self::Update { old: None, .. } if *rows.layout().identity() == Identity::Whole => {
                Err(Unusable::Absent)
            }
            Self::Update { old, new } => rows.update(old.as_ref(), new),
            Self::Delete(old) => rows.delete(&old),
            Self::Truncate => {
                rows.truncate();
                Ok(())
            }
        }
    }

    /// About how many bytes it holds.
    fn bytes(&self) -> usize {
        let known = |known: &Known| -> usize {
            let texts = known.iter().flatten().map(heap_bytes);
            texts.sum::<usize>() + known.len() * size_of::<Option<Value>>()
        };
        KEPT_CHANGE_BYTES
            + match self {
                Self::Insert(row) | Self::Delete(row) => known(row),
                Self::Update { old, new } => known(new) + old.as_ref().map_or(0, known),
                Self::Truncate => 0,
            }
    }
}

impl Relations for View<'_> {
    fn scan(
        &self,
        relation: RelationId,
        key: Option<(usize, &Value)>,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt> {
        self.mirror.rows(relation)?.scan(self.state, key, visit)
    }
}

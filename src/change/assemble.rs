//! Messages in, transactions out.
//!
//! With protocol version 1 Postgres sends a transaction only after its commit, so holding it back until the
//! Commit message is not about roll-backs: it is so that everything downstream sees a transaction as a unit.
//! A transaction larger than [`Assembler::new`]'s bound is handed on in parts, each marked, so that memory
//! stays bounded whatever is committed at once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::wal::Lsn;
use crate::wal::pgoutput::{self, Message};
use crate::wal::tuple::{Datum, Tuple};

use super::relation::{Column, Relation, RelationId, ReplicaIdentity};
use super::table::Table;

/// The prefix of the message by which `rowcast.announce_ddl()` tells that the schema has changed. Anybody can write one.
const SCHEMA_CHANGED: &str = "rowcast_ddl";

/// What committed together, in write order: a whole transaction or, beyond the memory bound, a part of one.
#[derive(Debug)]
pub struct Transaction {
    /// Its identifier, without the epoch.
    pub xid: u32,
    /// Where its commit record stands.
    pub commit_lsn: Lsn,
    /// When it committed: microseconds since the Unix epoch.
    pub commit_time_micros: i64,
    /// The changes.
    pub changes: Vec<Change>,
    /// Whether `changes` is all of it.
    pub whole: bool,
    /// Whether what decides who may see a row has changed in it, as far as was announced. Of a transaction in parts, the
    /// part that the announcement stands in and those after it have the mark.
    pub schema_changed: bool,
    /// Where its commit record ends, on the last part: what may be acknowledged once all is fanned out.
    pub end_lsn: Option<Lsn>,
}

/// One inserted, updated or deleted row, or emptied table.
#[derive(Clone, Debug)]
pub struct Change {
    /// The table as it was when this was written.
    pub relation: Arc<Relation>,
    /// What happened.
    pub row: Row,
}

/// What happened to a row.
#[derive(Clone, Debug)]
pub enum Row {
    /// It was inserted.
    Insert {
        /// The row.
        new: Tuple,
    },
    /// It was updated.
    Update {
        /// The old values, where the replica identity logs any.
        old: Option<Old>,
        /// The row as it is now. Unchanged TOAST values are filled in from a full old row, else absent.
        new: Tuple,
    },
    /// It was deleted.
    Delete {
        /// Its old values.
        old: Old,
    },
    /// All rows went at once.
    Truncate,
}

/// Old values of a row.
#[derive(Clone, Debug)]
pub enum Old {
    /// The whole row.
    Full(Tuple),
    /// The identity columns; all others are absent.
    Key(Tuple),
}

impl Old {
    /// The values.
    pub fn tuple(&self) -> &Tuple {
        match self {
            Self::Full(tuple) | Self::Key(tuple) => tuple,
        }
    }
}

/// Why a message does not fit the stream before it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A change came outside a transaction, or a Begin inside one.
    #[error("replication stream has a {0} message out of place")]
    OutOfPlace(&'static str),
    /// A change names a table that no Relation message described.
    #[error("replication stream names relation {0} before describing it")]
    UnknownRelation(u32),
    /// A row has another number of values than its table has columns.
    #[error(
        "replication stream has a row of {values} values for the {columns} columns of relation {relation}"
    )]
    WrongWidth {
        /// The table.
        relation: u32,
        /// How many values came.
        values: usize,
        /// How many columns were described.
        columns: usize,
    },
}

/// Collects messages into transactions.
#[derive(Debug)]
pub struct Assembler {
    relations: HashMap<RelationId, Arc<Relation>>,
    open: Option<Transaction>,
    open_bytes: usize,
    bytes_max: usize,
}

impl Assembler {
    /// An assembler that hands a transaction on in parts once it holds more than `bytes_max` bytes of rows.
    pub fn new(bytes_max: usize) -> Self {
        Self { relations: HashMap::new(), open: None, open_bytes: 0, bytes_max }
    }

    /// Whether a transaction is open: its LSN must not be passed by an acknowledgement.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The open transaction, without the epoch.
    pub fn open_xid(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.xid)
    }

    /// Takes the next message of the stream, `message_bytes` long; gives a transaction when one is complete,
    /// or a part of it when the bound is reached.
    pub fn push(&mut self, message: Message, message_bytes: usize) -> Result<Option<Transaction>, Error> {
        match message {
            Message::Begin(begin) => {
                if self.open.is_some() {
                    return Err(Error::OutOfPlace("begin"));
                }
                self.open = Some(Transaction {
                    xid: begin.xid,
                    commit_lsn: begin.commit_lsn,
                    commit_time_micros: begin.commit_time_micros,
                    changes: Vec::new(),
                    whole: true,
                    schema_changed: false,
                    end_lsn: None,
                });
                self.open_bytes = 0;
                Ok(None)
            }
            Message::Commit(commit) => {
                let mut done = self.open.take().ok_or(Error::OutOfPlace("commit"))?;
                done.end_lsn = Some(commit.end_lsn);
                Ok(Some(done))
            }
            Message::Relation(relation) => {
                let mut relation = Relation::from(relation);
                if let Some(known) = self.relations.get(&relation.id) {
                    for column in &mut relation.columns {
                        let same = known.columns.iter().find(|known| known.name == column.name);
                        column.number = same.map_or(0, |same| same.number);
                    }
                }
                self.relations.insert(relation.id, Arc::new(relation));
                Ok(None)
            }
            Message::Insert { relation, new } => {
                let relation = self.relation(relation, [&new])?;
                self.add(Change { relation, row: Row::Insert { new } }, message_bytes)
            }
            Message::Update { relation, old, mut new } => {
                let relation = match &old {
                    Some(old) => self.relation(relation, [&new, &old.tuple])?,
                    None => self.relation(relation, [&new])?,
                };
                if let Some(old) = old.as_ref().filter(|old| old.full) {
                    fill_unchanged(&mut new, &old.tuple);
                }
                let old = old.map(|old| old_values(&relation, old));
                self.add(Change { relation, row: Row::Update { old, new } }, message_bytes)
            }
            Message::Delete { relation, old } => {
                let relation = self.relation(relation, [&old.tuple])?;
                let old = old_values(&relation, old);
                self.add(Change { relation, row: Row::Delete { old } }, message_bytes)
            }
            Message::Truncate { relations } => {
                for id in relations {
                    let relation = self.relation(id, [])?;
                    // The list is inside one message, so the bound can wait for its end.
                    let open = self.open.as_mut().ok_or(Error::OutOfPlace("truncate"))?;
                    open.changes.push(Change { relation, row: Row::Truncate });
                }
                Ok(None)
            }
            Message::Logical { transactional: true, prefix, .. } if &*prefix == SCHEMA_CHANGED => {
                self.open.as_mut().ok_or(Error::OutOfPlace("logical"))?.schema_changed = true;
                Ok(None)
            }
            Message::Origin | Message::Type | Message::Logical { .. } => Ok(None),
        }
    }

    /// Finds out which columns of the catalog a table's are that was described last; see
    /// [`Relation::identify`]. What was written before keeps the description it had.
    pub fn identify(&mut self, id: RelationId, newest: &Table, before: Option<&Table>) {
        if let Some(relation) = self.relations.get_mut(&id) {
            Arc::make_mut(relation).identify(newest, before);
        }
    }

    fn relation<const N: usize>(&self, id: u32, tuples: [&Tuple; N]) -> Result<Arc<Relation>, Error> {
        let relation = self.relations.get(&RelationId(id)).ok_or(Error::UnknownRelation(id))?;
        let columns = relation.columns.len();
        match tuples.iter().map(|tuple| tuple.values.len()).find(|values| *values != columns) {
            Some(values) => Err(Error::WrongWidth { relation: id, values, columns }),
            None => Ok(Arc::clone(relation)),
        }
    }

    fn add(&mut self, change: Change, bytes: usize) -> Result<Option<Transaction>, Error> {
        let open = self.open.as_mut().ok_or(Error::OutOfPlace("change"))?;
        open.changes.push(change);
        // A row of many short values weighs more in memory than on the wire.
        let weight = open.changes.last().map_or(0, |change| 64 + 32 * change.relation.columns.len());
        self.open_bytes = self.open_bytes.saturating_add(bytes).saturating_add(weight);
        if self.open_bytes <= self.bytes_max {
            return Ok(None);
        }
        self.open_bytes = 0;
        open.whole = false;
        let changes = std::mem::take(&mut open.changes);
        Ok(Some(Transaction { changes, ..*open }))
    }
}

impl From<pgoutput::Relation> for Relation {
    fn from(relation: pgoutput::Relation) -> Self {
        let replica_identity = match relation.replica_identity {
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            b'n' => ReplicaIdentity::Nothing,
            _ => ReplicaIdentity::Default,
        };
        let columns = relation.columns.into_iter().map(|column| Column {
            name: column.name,
            type_id: column.type_id,
            type_modifier: column.type_modifier,
            identity: column.identity,
            number: 0,
        });
        Self {
            id: RelationId(relation.id),
            schema: relation.schema,
            name: relation.name,
            replica_identity,
            columns: columns.collect(),
        }
    }
}

/// With a full old row, an unchanged TOAST value is known: it is the old one.
fn fill_unchanged(new: &mut Tuple, old: &Tuple) {
    for (new, old) in new.values.iter_mut().zip(&old.values) {
        if *new == Datum::Absent {
            *new = old.clone();
        }
    }
}

/// Columns outside the identity are sent as NULL in a key; they are unknown, not NULL.
fn old_values(relation: &Relation, old: pgoutput::OldTuple) -> Old {
    if old.full {
        return Old::Full(old.tuple);
    }
    let mut tuple = old.tuple;
    for (value, column) in tuple.values.iter_mut().zip(&relation.columns) {
        if !column.identity {
            *value = Datum::Absent;
        }
    }
    Old::Key(tuple)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn text(value: &str) -> Datum {
        Datum::Text(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn tuple<const N: usize>(values: [Datum; N]) -> Tuple {
        Tuple { values: Box::new(values) }
    }

    fn described(assembler: &mut Assembler) {
        let column = |name: &str, identity| pgoutput::Column {
            identity,
            name: name.into(),
            type_id: 25,
            type_modifier: -1,
        };
        let relation = pgoutput::Relation {
            id: 1,
            schema: "public".into(),
            name: "t".into(),
            replica_identity: b'd',
            columns: [column("id", true), column("body", false)].into(),
        };
        assert!(assembler.push(Message::Relation(relation), 0).unwrap().is_none());
    }

    fn begin() -> Message {
        Message::Begin(pgoutput::Begin { commit_lsn: Lsn::new(10), commit_time_micros: 0, xid: 5 })
    }

    fn commit() -> Message {
        Message::Commit(pgoutput::Commit {
            commit_lsn: Lsn::new(10),
            end_lsn: Lsn::new(20),
            commit_time_micros: 0,
        })
    }

    fn insert() -> Message {
        Message::Insert { relation: 1, new: tuple([text("1"), text("a")]) }
    }

    #[test]
    fn nothing_leaves_before_its_commit() {
        let mut assembler = Assembler::new(usize::MAX);
        described(&mut assembler);
        assert!(assembler.push(begin(), 0).unwrap().is_none());
        assert!(assembler.push(insert(), 9).unwrap().is_none());
        let transaction = assembler.push(commit(), 0).unwrap().expect("a transaction");
        assert_eq!((transaction.changes.len(), transaction.whole), (1, true));
        assert_eq!(transaction.end_lsn, Some(Lsn::new(20)));
    }

    #[test]
    fn a_large_transaction_leaves_in_parts() {
        let mut assembler = Assembler::new(100);
        described(&mut assembler);
        assembler.push(begin(), 0).unwrap();
        let part = assembler.push(insert(), 101).unwrap().expect("a part");
        assert_eq!((part.changes.len(), part.whole, part.end_lsn), (1, false, None));
        let rest = assembler.push(commit(), 0).unwrap().expect("the rest");
        assert_eq!((rest.changes.len(), rest.whole, rest.end_lsn), (0, false, Some(Lsn::new(20))));
    }

    #[test]
    fn a_change_of_the_schema_is_part_of_its_transaction() {
        for (transactional, prefix, expected) in
            [(true, "rowcast_ddl", true), (false, "rowcast_ddl", false), (true, "rowcast", false)]
        {
            let mut assembler = Assembler::new(usize::MAX);
            assembler.push(begin(), 0).unwrap();
            let message = Message::Logical {
                transactional,
                lsn: Lsn::new(9),
                prefix: prefix.into(),
                content: Bytes::from_static(b"DROP POLICY"),
            };
            assert!(assembler.push(message, 9).unwrap().is_none());
            let transaction = assembler.push(commit(), 0).unwrap().expect("a transaction");
            assert_eq!(transaction.schema_changed, expected, "{transactional} {prefix}");
            assembler.push(begin(), 0).unwrap();
            let next = assembler.push(commit(), 0).unwrap().expect("a transaction");
            assert!(!next.schema_changed, "it ends with its transaction");
        }
    }

    #[test]
    fn unchanged_toast_is_filled_from_a_full_old_row_only() {
        let mut assembler = Assembler::new(usize::MAX);
        described(&mut assembler);
        assembler.push(begin(), 0).unwrap();
        for (full, expected) in [(true, text("long")), (false, Datum::Absent)] {
            let old = pgoutput::OldTuple { full, tuple: tuple([text("1"), text("long")]) };
            let update =
                Message::Update { relation: 1, old: Some(old), new: tuple([text("1"), Datum::Absent]) };
            assembler.push(update, 0).unwrap();
            let Some(Change { row: Row::Update { new, .. }, .. }) =
                assembler.open.as_ref().and_then(|open| open.changes.last())
            else {
                panic!("no update")
            };
            assert_eq!(new.values[1], expected);
        }
    }

    #[test]
    fn a_key_says_nothing_of_other_columns() {
        let mut assembler = Assembler::new(usize::MAX);
        described(&mut assembler);
        assembler.push(begin(), 0).unwrap();
        let old = pgoutput::OldTuple { full: false, tuple: tuple([text("1"), Datum::Null]) };
        assembler.push(Message::Delete { relation: 1, old }, 0).unwrap();
        let transaction = assembler.push(commit(), 0).unwrap().expect("a transaction");
        let Row::Delete { old: Old::Key(key) } = &transaction.changes[0].row else { panic!("no key") };
        assert_eq!(*key.values, [text("1"), Datum::Absent]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let mut assembler = Assembler::new(usize::MAX);
        assert_eq!(assembler.push(commit(), 0).err(), Some(Error::OutOfPlace("commit")));
        assert_eq!(assembler.push(insert(), 0).err(), Some(Error::UnknownRelation(1)));
        described(&mut assembler);
        assert_eq!(assembler.push(insert(), 0).err(), Some(Error::OutOfPlace("change")));
        assembler.push(begin(), 0).unwrap();
        assert_eq!(assembler.push(begin(), 0).err(), Some(Error::OutOfPlace("begin")));
        let narrow = Message::Insert { relation: 1, new: tuple([text("1")]) };
        assert!(matches!(assembler.push(narrow, 0), Err(Error::WrongWidth { values: 1, columns: 2, .. })));
    }
}

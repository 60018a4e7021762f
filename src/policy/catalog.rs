//! What the database's catalog says about published tables and the roles that subscribe to them.
//!
//! A [`Catalog`] is one consistent reading; it is replaced whole when the database's changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::change::{RelationId, Table, Types};

use super::columns::ColumnSet;
use super::messages::Messages;
use super::program::Program;
use super::source::Source;

/// One reading of the catalog.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Counts the readings; a later one has a larger number.
    pub version: u64,
    /// All types.
    pub types: Arc<Types>,
    /// The published tables.
    pub tables: HashMap<RelationId, Arc<Table>>,
    /// The published tables of which not every INSERT, UPDATE and DELETE is published.
    pub partial: HashSet<RelationId>,
    /// Whether the text of a condition could mean another operator or function than was meant: somebody has made one
    /// with the name of a built-in one.
    pub is_ambiguous: bool,
    /// What each role that was asked for may do; a role that does not exist maps to `None`.
    pub roles: HashMap<Arc<str>, Option<Arc<Role>>>,
    /// What the compiled policies read besides the judged row: to be mirrored.
    pub needed: HashMap<RelationId, Arc<Needed>>,
    /// `realtime.messages`, if inserting a row there does nothing else.
    pub messages: Option<Arc<Messages>>,
    /// What the policies were compiled from.
    pub source: Arc<Source>,
}

/// A relation that compiled policies read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The relation as the catalog describes it.
    pub table: Arc<Table>,
    /// The columns that are read, as places among [`Table::columns`]; ascending.
    pub columns: Box<[usize]>,
    /// Those of them by which rows are looked up.
    pub keys: Box<[usize]>,
    /// Why it cannot be mirrored, in words for an operator; policies that read it are asked.
    pub hindrance: Option<Arc<str>>,
}

/// What policies on `realtime.messages` say to a role, compiled. `None`: row level security does not apply to it, it
/// lacks a privilege, or evaluating them is not known to be the same as inserting a row; Postgres is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessagePrograms {
    /// What it may receive.
    pub read: Option<Arc<Program>>,
    /// What it may send.
    pub write: Option<Arc<Program>>,
}

/// What a role may see of each published table. Those in schemas that it may not use are missing.
#[derive(Debug, Default, PartialEq)]
pub struct Role {
    /// By table.
    pub access: HashMap<RelationId, Arc<Access>>,
    /// On private channels.
    pub messages: MessagePrograms,
}

/// What a role may see of one table.
#[derive(Debug, PartialEq)]
pub struct Access {
    /// The columns it may SELECT.
    pub selectable: ColumnSet,
    /// Whether row level security applies to it here: enabled on the table, and the role is neither a
    /// superuser, nor BYPASSRLS, nor an owner whom it does not bind.
    pub row_security: bool,
    /// The condition that the role's policies put on a row, as SQL over the table's columns.
    pub condition: Arc<str>,
    /// The same compiled; `None` where row level security does not apply.
    pub program: Option<Arc<Program>>,
}

impl Catalog {
    /// The published table with this name.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Arc<Table>> {
        self.tables.values().find(|table| &*table.schema == schema && &*table.name == name)
    }

    /// A table that is published, or that policies read.
    pub fn described(&self, id: RelationId) -> Option<&Arc<Table>> {
        self.tables.get(&id).or_else(|| Some(&self.needed.get(&id)?.table))
    }

    /// What policies on `realtime.messages` say to a role.
    pub fn messages_of(&self, role: &str) -> Option<&MessagePrograms> {
        Some(&self.roles.get(role)?.as_ref()?.messages)
    }

    /// What `role` may see of a table; `None` if either is unknown.
    pub fn access(&self, role: &str, table: RelationId) -> Option<&Arc<Access>> {
        self.roles.get(role)?.as_ref()?.access.get(&table)
    }
}

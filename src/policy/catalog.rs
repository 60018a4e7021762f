//! What the database's catalog says about published tables and the roles that subscribe to them.
//!
//! A [`Catalog`] is one consistent reading; it is replaced whole when the database's changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::change::{RelationId, Table, Types};

use super::columns::ColumnSet;

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
    /// What each role that was asked for may do; a role that does not exist maps to `None`.
    pub roles: HashMap<Arc<str>, Option<Arc<Role>>>,
}

/// What a role may see of each published table. Those in schemas that it may not use are missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// By table.
    pub access: HashMap<RelationId, Arc<Access>>,
}

/// What a role may see of one table.
#[derive(Debug, PartialEq, Eq)]
pub struct Access {
    /// The columns it may SELECT.
    pub selectable: ColumnSet,
    /// Whether row level security applies to it here: enabled on the table, and the role is neither a
    /// superuser, nor BYPASSRLS, nor an owner whom it does not bind.
    pub row_security: bool,
    /// The condition that the role's policies put on a row, as SQL over the table's columns.
    pub condition: Arc<str>,
}

impl Catalog {
    /// The published table with this name.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Arc<Table>> {
        self.tables.values().find(|table| &*table.schema == schema && &*table.name == name)
    }

    /// What `role` may see of a table; `None` if either is unknown.
    pub fn access(&self, role: &str, table: RelationId) -> Option<&Arc<Access>> {
        self.roles.get(role)?.as_ref()?.access.get(&table)
    }
}

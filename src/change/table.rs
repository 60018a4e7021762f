//! A published table as the catalog describes it: what the stream does not say.

use super::relation::{RelationId, ReplicaIdentity};
use super::types::Oid;

/// A table, read from the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its identifier.
    pub id: RelationId,
    /// Its schema, unquoted.
    pub schema: Box<str>,
    /// Its name, unquoted.
    pub name: Box<str>,
    /// All columns that are not dropped, in `attnum` order.
    pub columns: Box<[TableColumn]>,
    /// Which old values it logs.
    pub replica_identity: ReplicaIdentity,
    /// Whether row level security is enabled.
    pub row_security: bool,
    /// Whether row level security binds the owner too.
    pub row_security_forced: bool,
    /// The role that owns it.
    pub owner: Oid,
}

/// One column of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name, unquoted.
    pub name: Box<str>,
    /// Its type.
    pub type_id: Oid,
    /// `pg_attribute.attnum`.
    pub number: i16,
    /// Whether it is part of the primary key.
    pub primary_key: bool,
    /// The expression of a generated column, as SQL; `None` for an ordinary one.
    pub generated: Option<Box<str>>,
    /// The collation; 0 for types that have none.
    pub collation: Oid,
    /// Whether equal text means equal bytes under that collation.
    pub deterministic_collation: bool,
    /// Whether text under that collation is ordered by its UTF-8 bytes, as under `C`.
    pub c_collation: bool,
}

impl Table {
    /// The column with this name, and its place in [`Table::columns`].
    pub fn column(&self, name: &str) -> Option<(usize, &TableColumn)> {
        self.columns.iter().enumerate().find(|(_, column)| &*column.name == name)
    }

    /// Whether it has a primary key.
    pub fn has_primary_key(&self) -> bool {
        self.columns.iter().any(|column| column.primary_key)
    }
}

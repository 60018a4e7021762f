//! A relation as the replication stream describes it, at the time of the change.

use super::types::Oid;

/// `pg_class.oid` of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId(pub Oid);

/// Which old values an update or delete carries in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// `DEFAULT`: the primary key, and on updates only when it changed.
    Default,
    /// `NOTHING`: none.
    Nothing,
    /// `FULL`: the whole old row.
    Full,
    /// `USING INDEX`: the columns of one unique index, and on updates only when they changed.
    Index,
}

/// A table as a Relation message described it; changes after it in the stream have this shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its identifier.
    pub id: RelationId,
    /// Its schema, unquoted.
    pub schema: Box<str>,
    /// Its name, unquoted.
    pub name: Box<str>,
    /// Which old values it logs.
    pub replica_identity: ReplicaIdentity,
    /// The columns in the stream's order. Generated columns are absent unless the publication has them.
    pub columns: Box<[Column]>,
}

/// One column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, unquoted.
    pub name: Box<str>,
    /// Its type.
    pub type_id: Oid,
    /// Its type modifier; -1 for none.
    pub type_modifier: i32,
    /// Whether it is part of the replica identity.
    pub identity: bool,
}

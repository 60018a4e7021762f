//! The proof that somebody may see a row.

use super::columns::ColumnSet;

/// Proof that a row may be shown to a role, and which of its columns.
///
/// Only this module's parent can make one; everything that turns rows into frames asks for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permit {
    columns: ColumnSet,
    old: OldValues,
}

/// How much of the row before the change may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OldValues {
    /// The primary key.
    Key,
    /// The same, except for subscribers who want deleted rows whole: this one could see all that was logged of it.
    Seen,
    /// All that the replica identity logged.
    Logged,
}

impl Permit {
    pub(super) fn new(columns: ColumnSet, old: OldValues) -> Self {
        Self { columns, old }
    }

    /// The columns that may be shown.
    pub fn columns(&self) -> &ColumnSet {
        &self.columns
    }

    /// How much of the row before the change may be shown.
    pub fn old(&self) -> OldValues {
        self.old
    }
}

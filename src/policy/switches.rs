//! What operators may choose about who is shown what.

/// The choices, each between being strict and doing as the reference server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Whether a deleted row that was logged whole is told to those alone who could see it; else everybody who filters
    /// let through gets its key.
    pub strict_delete: bool,
    /// Whether the values that an update replaced are shown to those alone who could see them.
    pub strict_old_record: bool,
    /// Whether an update that takes a row out of somebody's sight is told to them as a delete.
    pub moved_out: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { strict_delete: true, strict_old_record: true, moved_out: false }
    }
}

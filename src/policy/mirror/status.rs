//! How it stands with a mirrored relation.

use std::fmt;
use std::sync::Arc;

use crate::wal::Lsn;

/// How it stands with a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nobody has asked for it, or not in this stream.
    Missing,
    /// It is being read; what commits meanwhile is kept.
    Loading,
    /// It is what the table is, for whoever judges commits from this position on.
    Ready {
        /// The position.
        from: Lsn,
    },
    /// It cannot be relied on until it is loaded again.
    Unusable(Unusable),
}

/// Why a relation cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Something about the table or the server's rights, in words.
    Hindered(Arc<str>),
    /// The type of a column is not known here.
    Type {
        /// The column.
        column: Box<str>,
    },
    /// A value could not be read.
    Undecodable {
        /// Its column.
        column: Box<str>,
    },
    /// The log lacks a value that is needed.
    Absent,
    /// The log concerns a row that is not there, or one that is there already.
    Inconsistent,
    /// A transaction was so large that it came in parts.
    InParts,
    /// The table has other columns than those that were loaded.
    Redescribed,
    /// The table was written anew as a whole, or the stream did not have all of its changes.
    Rewritten,
    /// There is no room for it.
    TooLarge,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hindered(why) => f.write_str(why),
            Self::Type { column } => write!(f, "the type of column {column} is not known here"),
            Self::Undecodable { column } => write!(f, "a value of column {column} could not be read"),
            Self::Absent => f.write_str("the log lacks a value that is needed"),
            Self::Inconsistent => f.write_str("the log does not fit the rows that are held"),
            Self::InParts => f.write_str("a transaction was larger than transaction_memory_bytes_max"),
            Self::Redescribed => f.write_str("its columns have changed"),
            Self::Rewritten => f.write_str("it was written anew as a whole, or was not published for a time"),
            Self::TooLarge => f.write_str("there is no room for it within policy_mirror_bytes_max"),
        }
    }
}

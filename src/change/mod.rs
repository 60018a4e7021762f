//! Whole, typed transactions: what committed together, in write order.
//!
//! In: decoded pgoutput messages. Out: a [`Transaction`] of [`Change`]s, each with the [`Relation`] it was
//! written under and the row images that the replica identity carries.
//!
//! **Invariant:** nothing leaves before its commit.

pub mod align;
pub mod assemble;
pub mod json;
pub mod relation;
pub mod table;
pub mod types;
pub mod value;

pub use crate::wal::tuple::{Datum, Tuple};
pub use align::{Event, Image, RowChange};
pub use assemble::{Assembler, Change, Old, Row, Transaction};
pub use relation::{Column, Relation, RelationId, ReplicaIdentity};
pub use table::{Table, TableColumn};
pub use types::{Oid, Type, TypeKind, Types};

//! Values as policies compute with them: typed, compact, compared as Postgres compares them.
//!
//! A value knows no type of its own beyond its variant: which operator is meant was decided when the policy was
//! analysed, and [`Function`](super::function::Function) carries it. Two values that are equal here are the same to
//! every function; values that Postgres calls equal may still differ here (`1.0` and `1.00`), unless the operator says
//! that it may be looked up by hash.

use std::sync::Arc;

use uuid::Uuid;

/// One SQL value.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Value {
    /// NULL of any type.
    #[default]
    Null,
    /// `boolean`
    Bool(bool),
    /// `smallint`, `integer`, `bigint`, `oid`
    Int(i64),
    /// `text`, `varchar`, `bpchar`, `name`, `citext`, `"char"`; and `json`, which Postgres keeps as its text.
    Text(Arc<str>),
    /// `uuid`
    Uuid(Uuid),
    /// `timestamp` and `timestamptz`: microseconds since 2000-01-01 (UTC); the extremes are the infinities.
    Timestamp(i64),
    /// An array of any number of dimensions: its elements in storage order.
    Array(Arc<[Self]>),
}

/// Row values and claims never reach a log: only the kind is printed.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool",
            Self::Int(_) => "Int",
            Self::Text(_) => "Text",
            Self::Uuid(_) => "Uuid",
            Self::Timestamp(_) => "Timestamp",
            Self::Array(_) => "Array",
        })
    }
}

impl Value {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

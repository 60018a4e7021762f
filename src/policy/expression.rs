//! Compiled expressions: what a policy computes, with every name resolved.
//!
//! Expressions see rows through *frames*. The outermost frame is the row that is judged; each [`Query`] adds one frame
//! with a tuple for each of its scans. A column names its frame by counting outwards from where it stands: level 0 is
//! the innermost query.

use std::sync::Arc;

use super::function::Function;
use super::value::Value;
use crate::change::RelationId;

/// An expression. Evaluates to a [`Value`], or to a doubt.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A constant.
    Const(Value),
    /// A column of a tuple.
    Column(Column),
    /// A parameter: a part that depends on the caller alone, evaluated once for each caller. Made by
    /// [`Program`](super::program::Program), never by the compiler.
    Param(usize),
    /// A setting of the caller's session, as `current_setting(name, true)` gives it.
    Setting(Arc<str>),
    /// `now()`
    Now,
    /// A call of a built-in function.
    Call(Function, Box<[Self]>),
    /// All hold.
    And(Box<[Self]>),
    /// Any holds.
    Or(Box<[Self]>),
    /// The contrary.
    Not(Box<Self>),
    /// `IS NULL`
    IsNull(Box<Self>),
    /// `IS TRUE` and its kin: whether the argument is this (`None`: unknown).
    Is(Box<Self>, Option<bool>),
    /// `IS DISTINCT FROM`, by an equality.
    Distinct(Function, Box<[Self; 2]>),
    /// `NULLIF`, by an equality.
    NullIf(Function, Box<[Self; 2]>),
    /// The first that is not NULL.
    Coalesce(Box<[Self]>),
    /// The value of the first arm whose condition is true; else the default.
    Case(Box<[(Self, Self)]>, Box<Self>),
    /// An array of these elements, one dimension.
    Array(Box<[Self]>),
    /// Whether an operator holds between a value and any (or all) elements of an array.
    Elements {
        /// The operator.
        function: Function,
        /// `true`: ALL, `false`: ANY.
        all: bool,
        /// The value and the array.
        arguments: Box<[Self; 2]>,
    },
    /// Whether the query has a row.
    Exists(Box<Query>),
    /// The only output of the query's only row; NULL without a row.
    Scalar(Box<Query>),
    /// The first output of any row, as a function in SQL returns it; NULL without a row. Rows that differ are a doubt.
    First(Box<Query>),
    /// Whether the test holds for any (or all) rows of the query: `IN`, `= ANY`. In the test, which stands outside the
    /// query, [`Expr::Output`] is the row's output.
    Quantified {
        /// `true`: ALL, `false`: ANY.
        all: bool,
        /// The test.
        test: Box<Self>,
        /// The query.
        query: Box<Query>,
    },
    /// An output of the row that the innermost enclosing test is about.
    Output(usize),
    /// `ARRAY(SELECT …)`
    Collected(Box<Query>),
}

/// A column of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// How many queries outwards; the row that is judged is outermost.
    pub level: usize,
    /// Which scan of that query; 0 for the row that is judged.
    pub scan: usize,
    /// The place among the relation's columns that are not dropped, in `attnum` order.
    pub place: usize,
}

/// A query over mirrored relations: all combinations of their rows that pass the condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is scanned; none means one row without columns.
    pub scans: Box<[Scan]>,
    /// What must be true of a combination: row level security of the relations included.
    pub condition: Expr,
    /// What each combination gives.
    pub outputs: Box<[Expr]>,
}

/// A relation in a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The relation.
    pub relation: RelationId,
    /// The columns that are read of it, as places among its columns; ascending.
    pub columns: Box<[usize]>,
}

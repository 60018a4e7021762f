//! The policies of a table for a role, compiled.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::expression::Expr;
use super::function::{Doubt, Moment};
use super::uncompiled::Uncompiled;
use super::value::Value;
use crate::change::RelationId;

/// The policies on a table that bind a role for a command: one permissive rule must hold, and all restrictive ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The parts that depend on the caller alone; [`Expr::Param`] counts in these.
    pub params: Box<[Expr]>,
    /// Permissive policies.
    pub permissive: Box<[Rule]>,
    /// Restrictive policies.
    pub restrictive: Box<[Rule]>,
    /// The columns of the judged row that are read, as places among the table's columns; ascending.
    pub columns: Box<[usize]>,
    /// The relations that are read, with the columns that are read of each; ascending.
    pub relations: Box<[(RelationId, Box<[usize]>)]>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub policy: Arc<str>,
    /// Its condition, or why it is asked of Postgres.
    pub condition: Result<Expr, Uncompiled>,
}

/// Who asks, as policies see them.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Settings of the session by name; those that are missing are NULL. `request.jwt.claims` is among them, and what
    /// else the statement that asks Postgres sets.
    pub settings: &'a dyn Settings,
    /// The moment.
    pub moment: Moment,
}

/// The settings of a session.
pub trait Settings: std::fmt::Debug {
    /// The value of a setting; `None` if it has never been set.
    fn get(&self, name: &str) -> Option<&str>;
}

/// The values of a program's parameters for one caller. Equal for callers whom the program cannot tell apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Params(pub Box<[Value]>);

/// A row, as expressions read it.
pub trait Tuple {
    /// The value of the column in this place of its relation.
    fn value(&self, place: usize) -> Result<Value, Doubt>;
}

/// What relations hold at one moment.
pub trait Relations {
    /// Visits rows of a relation: with a key, those whose column in that place equals the value, which is not NULL, by a
    /// hash equality; else all. Stops when the visitor breaks.
    fn scan(
        &self,
        relation: RelationId,
        key: Option<(usize, &Value)>,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt>;
}

/// What a program says about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The row passes.
    Passes,
    /// It does not.
    Fails,
    /// Only Postgres can tell.
    Unknown(Doubt),
}

impl Program {
    /// Whether some policy is asked of Postgres.
    pub fn is_partial(&self) -> bool {
        self.permissive.iter().chain(&self.restrictive).any(|rule| rule.condition.is_err())
    }

    /// Evaluates the parameters for a caller. Postgres evaluates them whatever a row holds, so an error in one is an
    /// error for all rows.
    pub fn params(&self, caller: &Caller<'_>) -> Result<Params, Doubt> {
        let _ = caller;
        Err(Doubt::Unknown)
    }

    /// Whether a row passes.
    pub fn judge(
        &self,
        params: &Params,
        row: &dyn Tuple,
        relations: &dyn Relations,
        moment: &Moment,
    ) -> Verdict {
        let _ = (params, row, relations, moment);
        Verdict::Unknown(Doubt::Unknown)
    }
}

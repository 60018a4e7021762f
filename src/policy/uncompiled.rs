//! Why a policy is asked of Postgres in place of being decided in memory, in words for whoever wrote it.

use std::fmt;
use std::sync::Arc;

/// Why an expression was not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncompiled {
    /// What kind of reason.
    pub reason: Reason,
    /// What it is about: a function, an operator, a table, a kind of node. Never a value.
    pub about: Arc<str>,
}

/// Kinds of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// This server version's trees are not known.
    Version,
    /// The tree holds something that is not understood.
    Syntax,
    /// A function or an operator that is not known here.
    Function,
    /// A function whose body cannot be looked into.
    Body,
    /// A function or an expression whose answer changes from call to call.
    Volatile,
    /// A setting other than those of a request.
    Setting,
    /// A type that is not known here.
    Type,
    /// A comparison under a collation that only Postgres knows.
    Collation,
    /// A part of a row that only a stored row has: the whole row, `ctid`, `xmin`, a generated column.
    Row,
    /// A table that cannot be mirrored.
    Relation,
    /// A query of a shape that is not evaluated here.
    Query,
    /// Something in it may raise an error for rows that Postgres may not even look at.
    Raises,
    /// The role lacks a privilege that the policy needs: Postgres raises an error.
    Privilege,
    /// Policies of tables call for each other: Postgres raises an error.
    Recursion,
    /// It is larger than what is compiled.
    TooLarge,
}

impl Uncompiled {
    /// A reason.
    pub fn new(reason: Reason, about: impl Into<Arc<str>>) -> Self {
        Self { reason, about: about.into() }
    }
}

impl fmt::Display for Uncompiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = &self.about;
        match self.reason {
            Reason::Version => write!(f, "policies of PostgreSQL {about} are not read yet"),
            Reason::Syntax => write!(f, "{about} is not understood"),
            Reason::Function => write!(f, "{about} is not known here"),
            Reason::Body => write!(f, "the body of {about} cannot be looked into"),
            Reason::Volatile => write!(f, "{about} may answer differently at each call"),
            Reason::Setting => write!(f, "the setting {about} is not known here"),
            Reason::Type => write!(f, "the type {about} is not known here"),
            Reason::Collation => write!(f, "{about} depends on a collation that only Postgres knows"),
            Reason::Row => write!(f, "{about} is only known of a stored row"),
            Reason::Relation => write!(f, "{about} cannot be mirrored"),
            Reason::Query => write!(f, "{about} is not evaluated here"),
            Reason::Raises => write!(f, "{about} may raise an error for rows that are not asked about"),
            Reason::Privilege => write!(f, "the role lacks a privilege: {about}"),
            Reason::Recursion => write!(f, "the policies of {about} lead back to themselves"),
            Reason::TooLarge => write!(f, "{about} is larger than what is compiled"),
        }
    }
}

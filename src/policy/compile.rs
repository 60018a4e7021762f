//! Compiles the policies of a table for a role.

use super::program::{Program, Rule};
use super::source::Source;
use super::uncompiled::{Reason, Uncompiled};
use crate::change::{Oid, RelationId};

/// What somebody wants to do with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// See it: policies for SELECT and ALL, by `USING`.
    Select,
    /// Insert it: policies for INSERT and ALL, by `WITH CHECK`, else `USING`.
    Insert,
}

/// Compiles the policies on `relation` that bind `role`, to whom row level security applies there. What cannot be
/// compiled is named in the rule of its policy.
pub fn compile(source: &Source, relation: RelationId, role: Oid, command: Command) -> Program {
    let _ = (role, command);
    let policies =
        source.relations.get(&relation).map(|relation| relation.policies.as_slice()).unwrap_or_default();
    let rule = |policy: &super::source::Policy| Rule {
        policy: policy.name.clone(),
        condition: Err(Uncompiled::new(Reason::Version, source.major.to_string())),
    };
    Program::new(
        policies.iter().filter(|policy| policy.permissive).map(rule).collect(),
        policies.iter().filter(|policy| !policy.permissive).map(rule).collect(),
    )
}

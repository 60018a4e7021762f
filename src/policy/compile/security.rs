//! Privileges, and row level security of the relations that policies read.

use std::sync::Arc;

use super::query::Builder;
use super::range::read_columns;
use super::scope::{Entry, FIRST_USER_OID, Frame, Rights, Scope};
use super::{Command, Compiler, Result, binds};
use crate::change::{Oid, RelationId};
use crate::policy::expression::Expr;
use crate::policy::source::{Relation, Role};
use crate::policy::tree::Node;
use crate::policy::uncompiled::{Reason, Uncompiled};
use crate::policy::value::Value;

impl<'s> Compiler<'s> {
    fn role(&self, role: Oid) -> Result<&'s Role> {
        let found = self.source.roles.get(&role);
        found.ok_or_else(|| Uncompiled::new(Reason::Privilege, format!("role {role} is not known")))
    }

    /// Refuses a call that Postgres would refuse. Built-in functions are everybody's.
    pub(super) fn check_executable(&self, frame: &Frame, function: Oid, name: &Arc<str>) -> Result<()> {
        let user = frame.rights.user;
        let may = function < FIRST_USER_OID
            || self.role(user)?.superuser
            || self.source.executable.contains(&(user, function));
        if may { Ok(()) } else { Err(Uncompiled::new(Reason::Privilege, format!("EXECUTE on {name}"))) }
    }

    /// Refuses to read columns that Postgres would refuse to read. A query that reads none needs any one.
    pub(super) fn check_selectable(
        &self,
        frame: &Frame,
        query: &Node<'_>,
        range: &Node<'_>,
        id: RelationId,
        relation: &Relation,
    ) -> Result<()> {
        let reader = frame.rights.relations;
        let columns = read_columns(query, range)?;
        if columns.iter().any(|column| *column <= 0) {
            return Err(Uncompiled::new(Reason::Row, format!("the whole row of {}", relation.name)));
        }
        if self.role(reader)?.superuser {
            return Ok(());
        }
        let granted = self.source.selectable.get(&(reader, id)).map(|columns| &**columns).unwrap_or_default();
        let may = |column: &i64| granted.iter().any(|granted| i64::from(*granted) == *column);
        if columns.iter().all(may) && !granted.is_empty() {
            return Ok(());
        }
        let name = format!("{}.{}", relation.schema, relation.name);
        Err(Uncompiled::new(Reason::Privilege, format!("SELECT on {name}")))
    }

    /// Adds what the relation's own row level security demands of the rows of a scan.
    pub(super) fn guard(
        &mut self,
        rights: Rights,
        id: RelationId,
        relation: &'s Relation,
        scan: usize,
        builder: &mut Builder,
    ) -> Result<()> {
        if !relation.row_security {
            return Ok(());
        }
        let role = self.role(rights.relations)?;
        let is_owner = role.has_rights_of.contains(&relation.owner);
        if role.bypasses || (is_owner && !relation.row_security_forced) {
            return Ok(());
        }
        let here = self.guarded.iter().skip(self.guarded_outside).any(|(guarded, _)| *guarded == id);
        if here || self.guarded.contains(&(id, rights.relations)) {
            let name = format!("{}.{}", relation.schema, relation.name);
            return Err(Uncompiled::new(Reason::Recursion, name));
        }
        self.guarded.push((id, rights.relations));
        let (mut permissive, mut restrictive) = (Vec::new(), Vec::new());
        for policy in &relation.policies {
            let Some(using) = &policy.using else { continue };
            if !binds(self.source, policy, rights.relations, Command::Select) {
                continue;
            }
            let tree = self.read(&using.tree)?;
            let mut frame = Frame::new(rights);
            frame.scopes.push(Scope { entries: vec![Entry::Scan { scan, relation: id }], level: self.level });
            let condition = self.deeper(|compiler| compiler.condition(&mut frame, &tree))?;
            if policy.permissive { &mut permissive } else { &mut restrictive }.push(condition);
        }
        self.guarded.pop();
        builder.conditions.push(match permissive.len() {
            0 => Expr::Const(Value::Bool(false)),
            _ => Expr::Or(permissive.into()),
        });
        builder.conditions.append(&mut restrictive);
        Ok(())
    }
}

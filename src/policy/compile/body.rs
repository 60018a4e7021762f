//! Functions that users wrote: replaced by their bodies.

use std::sync::Arc;

use super::free::{has_output, lowered, shift, traits};
use super::query::{Builder, Part, only_query};
use super::scope::{FIRST_USER_OID, Frame, Given, Rights, Typed, is_same_value};
use super::{CALLS_MAX, Compiler, Result, syntax, too_large};
use crate::change::Oid;
use crate::policy::expression::Expr;
use crate::policy::source;
use crate::policy::tree::{self, Node};
use crate::policy::uncompiled::{Reason, Uncompiled};
use crate::policy::value::Value;

/// The type of a row of no named type.
const RECORD: Oid = 2249;

/// Integers, each with all values of those before it, and the same values here.
const INTEGERS: [Oid; 3] = [21, 23, 20];

impl Compiler<'_> {
    /// A call of a function that returns one value.
    pub(super) fn inline(
        &mut self,
        frame: &mut Frame,
        oid: Oid,
        arguments: Vec<Typed>,
        result: Oid,
    ) -> Result<Typed> {
        let (function, name) = self.lookup(oid)?;
        let nulls = nulls(function, &arguments);
        let is_plpgsql = &*function.language == "plpgsql";
        let typed = self.within(frame, oid, arguments, |compiler, inner, body| {
            if compiler.is_expression(body)? {
                return compiler.sole_target(inner, body);
            }
            let (query, type_id) = compiler.single(inner, body)?;
            // An expression in PL/pgSQL that reads two rows raises an error; a function in SQL returns the first.
            let expr = if is_plpgsql { Expr::Scalar(query) } else { Expr::First(query) };
            Ok(Typed { expr, type_id })
        })?;
        if !returns(typed.type_id, result) {
            return Err(self.unreturned(result, &name));
        }
        let expr = match nulls {
            None => typed.expr,
            Some(mut any_null) => {
                self.spend(shift(&mut any_null, 0))?;
                Expr::Case([(any_null, Expr::Const(Value::Null))].into(), Box::new(typed.expr))
            }
        };
        Ok(Typed { expr, type_id: result })
    }

    /// A call of a function that returns a set, as part of a query: its rows become the query's.
    pub(super) fn inline_set(
        &mut self,
        frame: &mut Frame,
        call: &Node<'_>,
        builder: &mut Builder,
    ) -> Result<Vec<Result<Typed>>> {
        let oid = super::expression::type_of(call, "funcid")?;
        let result = super::expression::type_of(call, "funcresulttype")?;
        let (function, name) = self.lookup(oid)?;
        if !matches!(&*function.language, "sql" | "plpgsql") {
            let reason = if function.volatility == 'v' { Reason::Volatile } else { Reason::Function };
            return Err(Uncompiled::new(reason, name));
        }
        let arguments = self.arguments(frame, oid, call)?;
        if let Some(any_null) = nulls(function, &arguments) {
            builder.conditions.push(Expr::Not(Box::new(any_null)));
        }
        let outputs = self.within(frame, oid, arguments, |compiler, inner, body| {
            Part::read(compiler, body)?.without_limit()?;
            compiler.flatten(inner, body, builder, true)
        })?;
        // Unless it becomes part of the query in Postgres as well, it gives whole rows.
        for output in &outputs {
            self.demand(output)?;
        }
        // A set of rows of a named type would need that type's columns.
        if let [Ok(only)] = &outputs[..]
            && result != RECORD
            && !returns(only.type_id, result)
        {
            return Err(self.unreturned(result, &name));
        }
        if outputs.len() != 1 && result != RECORD {
            return Err(self.unreturned(result, &name));
        }
        Ok(outputs)
    }

    fn unreturned(&self, result: Oid, name: &str) -> Uncompiled {
        Uncompiled::new(Reason::Type, format!("{} (returned by {name})", self.type_name(result)))
    }

    /// Compiles a function's body with what surrounds it.
    fn within<T>(
        &mut self,
        frame: &Frame,
        oid: Oid,
        arguments: Vec<Typed>,
        compile: impl FnOnce(&mut Self, &mut Frame, &Node<'_>) -> Result<T>,
    ) -> Result<T> {
        let (function, name) = self.lookup(oid)?;
        let text = function.body.as_ref().map_err(|_| Uncompiled::new(Reason::Body, Arc::clone(&name)))?;
        if self.calls.contains(&oid) || self.calls.len() >= CALLS_MAX {
            return Err(too_large(&name));
        }
        if arguments.iter().any(|argument| has_output(&argument.expr)) {
            return Err(Uncompiled::new(Reason::Query, format!("a call of {name} for each row of a query")));
        }
        self.check_executable(frame, oid, &name)?;
        let sets_path = check_settings(function)?;
        let user = if function.security_definer { function.owner } else { frame.rights.user };
        // A text is parsed when the function is called, with the search path and the rights of that moment.
        let is_text = !function.source.is_empty();
        if is_text && oid >= FIRST_USER_OID {
            self.check_text(text, user, &name, frame.path_is_set && !sets_path)?;
        }
        let tree = self.read(text)?;
        let body = only_query(&tree).ok_or_else(|| Uncompiled::new(Reason::Body, Arc::clone(&name)))?;
        let mut inner = Frame::new(Rights { user, relations: user });
        inner.path_is_set = frame.path_is_set || sets_path;
        inner.params = arguments.into_iter().map(|typed| Given { typed, level: self.level }).collect();
        inner.used = vec![false; inner.params.len()];
        self.calls.push(oid);
        let outside = std::mem::replace(&mut self.guarded_outside, self.guarded.len());
        let compiled = self.deeper(|compiler| compile(compiler, &mut inner, body))?;
        self.guarded_outside = outside;
        self.calls.pop();
        self.guard_arguments(&inner)?;
        Ok(compiled)
    }

    /// Arguments are evaluated before the call, whatever its body does with them.
    fn guard_arguments(&mut self, frame: &Frame) -> Result<()> {
        for (given, used) in frame.params.iter().zip(&frame.used) {
            let traits = traits(&given.typed.expr);
            // What depends on the caller alone is evaluated in any case, if it is anywhere in the program.
            if traits.raises && (traits.reads || !used) {
                let guard = lowered(&given.typed.expr, self.level);
                let guard = guard.ok_or_else(|| Uncompiled::new(Reason::Raises, "an argument"))?;
                self.guards.push(guard);
            }
        }
        Ok(())
    }

    /// Refuses a text that names objects which `user` could not name, or which mean something else under another
    /// function's search path.
    fn check_text(&self, body: &str, user: Oid, name: &Arc<str>, foreign_path: bool) -> Result<()> {
        let found = tree::references(body).map_err(|_| syntax("a tree"))?;
        let is_superuser = self.source.roles.get(&user).is_some_and(|role| role.superuser);
        let relations = found.relations.iter().filter_map(|oid| self.source.relations.get(oid));
        let functions = found.functions.iter().filter_map(|oid| self.source.functions.get(oid));
        let types = found.types.iter().filter_map(|oid| self.source.types.get(*oid));
        let schemas = relations
            .map(|relation| &*relation.schema)
            .chain(functions.map(|function| &*function.schema))
            .chain(types.map(|r#type| &*r#type.schema))
            .filter(|schema| *schema != "pg_catalog");
        for schema in schemas {
            if foreign_path {
                return Err(Uncompiled::new(Reason::Body, Arc::clone(name)));
            }
            if !is_superuser && !self.source.usable_schemas.contains(&(user, Arc::from(schema))) {
                return Err(Uncompiled::new(Reason::Privilege, format!("USAGE on schema {schema}")));
            }
        }
        Ok(())
    }
}

/// Whether some argument of a strict function is NULL; `None` where that cannot be.
fn nulls(function: &source::Function, arguments: &[Typed]) -> Option<Expr> {
    if !function.strict {
        return None;
    }
    let is_constant = |typed: &&Typed| matches!(&typed.expr, Expr::Const(value) if !value.is_null());
    let tests: Box<[Expr]> = arguments
        .iter()
        .filter(|typed| !is_constant(typed))
        .map(|typed| Expr::IsNull(Box::new(typed.expr.clone())))
        .collect();
    (!tests.is_empty()).then_some(Expr::Or(tests))
}

/// Whether a body's value is the function's result as it stands.
fn returns(body: Oid, result: Oid) -> bool {
    let rank = |type_id| INTEGERS.iter().position(|known| *known == type_id);
    is_same_value(body, result) || rank(body).zip(rank(result)).is_some_and(|(body, result)| body <= result)
}

/// Refuses `SET` clauses that change what the body means; says whether there is a search path.
fn check_settings(function: &source::Function) -> Result<bool> {
    let mut sets_path = false;
    for setting in &function.config {
        let name = setting.split('=').next().unwrap_or_default();
        if !name.eq_ignore_ascii_case("search_path") {
            return Err(Uncompiled::new(Reason::Setting, name));
        }
        sets_path = true;
    }
    Ok(sets_path)
}

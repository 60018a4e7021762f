//! Compiles the policies of a table for a role.
//!
//! In: a reading of the catalog with the analysed trees of policies, functions and views. Out: a [`Program`] in which
//! each policy is an expression over the judged row and rows of other relations, or the reason why it is not.
//!
//! Functions that users wrote are replaced by their bodies, views by their queries, and row level security of the
//! relations that are read becomes part of the conditions, each with the rights that Postgres would apply. What is not
//! certain is not compiled.

use super::expression::Expr;
use super::function::{self, Collation, Function};
use super::program::{Program, Rule};
use super::source::{self, Source};
use super::tree;
use super::uncompiled::{Reason, Uncompiled};
use crate::change::{Oid, RelationId};

mod body;
mod call;
mod expression;
mod free;
mod query;
mod range;
mod scope;
mod security;
mod settle;
mod sublink;

use scope::{Entry, Frame, Rights, Scope};

/// The most nodes that a policy may come to: a bound on functions that repeat their arguments.
pub const NODES_MAX: usize = 10_000;

/// How deep expressions, queries, functions and views may be nested, all together.
pub const DEPTH_MAX: usize = 100;

/// How many functions may call each other.
pub const CALLS_MAX: usize = 16;

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
    rules(source, relation, role, command, function::find).program()
}

/// How a built-in function is found, as [`function::find`] finds it.
pub type Find = fn(&str, &[Oid], Oid, Collation) -> Option<Function>;

type Result<T> = std::result::Result<T, Uncompiled>;

/// The rules of a program, as they were compiled.
#[derive(Debug, Default)]
pub struct Rules {
    /// Permissive policies.
    pub permissive: Vec<Rule>,
    /// Restrictive policies.
    pub restrictive: Vec<Rule>,
}

impl Rules {
    /// The program of them.
    pub fn program(self) -> Program {
        Program::new(self.permissive, self.restrictive)
    }
}

/// As [`compile`], with other built-in functions, up to the rules.
pub fn rules(source: &Source, relation: RelationId, role: Oid, command: Command, find: Find) -> Rules {
    let mut rules = Rules::default();
    let (Some(found), true) = (source.relations.get(&relation), source.roles.contains_key(&role)) else {
        rules.permissive.push(unread(relation, role));
        return rules;
    };
    for policy in found.policies.iter().filter(|policy| binds(source, policy, role, command)) {
        let Some(expression) = command.expression(policy) else { continue };
        let condition = Compiler::new(source, find).policy(&expression.tree, relation, role);
        let kind = if policy.permissive { &mut rules.permissive } else { &mut rules.restrictive };
        kind.push(Rule { policy: policy.name.clone(), condition });
    }
    rules
}

/// What stands for the rules where the catalog was not read for a relation or a role: one that is asked of Postgres.
fn unread(relation: RelationId, role: Oid) -> Rule {
    let reason = Uncompiled::new(Reason::Relation, format!("relation {} for role {role}", relation.0));
    Rule { policy: "".into(), condition: Err(reason) }
}

impl Command {
    /// The condition of a policy; `None` where it has none, as Postgres passes over it then.
    fn expression(self, policy: &source::Policy) -> Option<&source::Expression> {
        match self {
            Self::Select => policy.using.as_ref(),
            Self::Insert => policy.check.as_ref().or(policy.using.as_ref()),
        }
    }

    /// `pg_policy.polcmd`
    fn letter(self) -> char {
        match self {
            Self::Select => 'r',
            Self::Insert => 'a',
        }
    }
}

/// Whether a policy is for this command and binds this role.
fn binds(source: &Source, policy: &source::Policy, role: Oid, command: Command) -> bool {
    let rights = source.roles.get(&role).map(|role| &role.has_rights_of);
    let is_for = |listed: &Oid| *listed == 0 || rights.is_some_and(|rights| rights.contains(listed));
    (policy.command == '*' || policy.command == command.letter()) && policy.roles.iter().any(is_for)
}

/// What compiles one policy.
struct Compiler<'s> {
    source: &'s Source,
    find: Find,
    /// Nodes so far, those that a repeated argument adds included.
    size: usize,
    /// How deep the part is that is compiled now.
    depth: usize,
    /// How many queries enclose it.
    level: usize,
    /// The functions whose bodies enclose it.
    calls: Vec<Oid>,
    /// The relations whose policies enclose it, with the role that they are applied to.
    guarded: Vec<(RelationId, Oid)>,
    /// Parts that may raise an error, which are evaluated whatever the condition comes to without them.
    guards: Vec<Expr>,
    /// How many of them are outside of the innermost function: Postgres plans a function's queries on their own.
    guarded_outside: usize,
}

impl<'s> Compiler<'s> {
    fn new(source: &'s Source, find: Find) -> Self {
        Self {
            source,
            find,
            size: 0,
            depth: 0,
            level: 0,
            calls: Vec::new(),
            guarded: Vec::new(),
            guards: Vec::new(),
            guarded_outside: 0,
        }
    }

    /// Compiles the condition that a policy puts on a row of `relation`.
    fn policy(&mut self, text: &str, relation: RelationId, role: Oid) -> Result<Expr> {
        if !tree::MAJORS.contains(&self.source.major) {
            return Err(Uncompiled::new(Reason::Version, self.source.major.to_string()));
        }
        let tree = self.read(text)?;
        let mut frame = Frame::new(Rights { user: role, relations: role });
        frame.scopes.push(Scope { entries: vec![Entry::Row(relation)], level: 0 });
        self.guarded.push((relation, role));
        let condition = self.condition(&mut frame, &tree)?;
        let arguments = std::mem::take(&mut self.guards);
        let mut condition = guarded(condition, arguments.clone());
        // Reading what may raise an error inside of queries is done outside of them as well.
        settle::settle(&mut condition, &mut self.guards)?;
        self.guards.retain(|guard| !arguments.contains(guard));
        let mut condition = guarded(condition, std::mem::take(&mut self.guards));
        self.spend(free::shift(&mut condition, 0))?;
        Ok(condition)
    }

    fn read<'t>(&self, text: &'t str) -> Result<tree::Tree<'t>> {
        tree::read(text).map_err(|error| match error {
            tree::Error::TooLarge => too_large("a tree"),
            tree::Error::Malformed(_) => syntax("a tree"),
        })
    }

    /// Notes that so many more nodes are made.
    fn spend(&mut self, count: usize) -> Result<()> {
        self.size += count;
        if self.size > NODES_MAX { Err(too_large("the policy")) } else { Ok(()) }
    }

    /// Compiles something one level deeper.
    fn deeper<T>(&mut self, compile: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return Err(too_large("the policy"));
        }
        self.depth += 1;
        let compiled = compile(self);
        self.depth -= 1;
        compiled
    }

    /// Compiles what is only an error if it is used, and leaves no trace of where it failed.
    fn attempt<T>(
        &mut self,
        frame: &mut Frame,
        compile: impl FnOnce(&mut Self, &mut Frame) -> Result<T>,
    ) -> Result<T> {
        let (level, depth, outside) = (self.level, self.depth, self.guarded_outside);
        let (calls, guarded) = (self.calls.len(), self.guarded.len());
        let (scopes, cases, tests) = (frame.scopes.len(), frame.cases.len(), frame.tests.len());
        let compiled = compile(self, frame);
        if compiled.is_err() {
            (self.level, self.depth, self.guarded_outside) = (level, depth, outside);
            self.calls.truncate(calls);
            self.guarded.truncate(guarded);
            frame.scopes.truncate(scopes);
            frame.cases.truncate(cases);
            frame.tests.truncate(tests);
        }
        compiled
    }

    /// What an operator or a function goes by.
    fn collation(&self, collation: Oid) -> Collation {
        match collation {
            0 => Collation::None,
            _ => self.source.collations.get(&collation).copied().unwrap_or(Collation::Nondeterministic),
        }
    }
}

/// A condition that is no answer where one of the guards raises an error.
fn guarded(condition: Expr, guards: Vec<Expr>) -> Expr {
    let mut distinct: Vec<Expr> = Vec::new();
    for guard in guards {
        if !distinct.contains(&guard) {
            distinct.push(guard);
        }
    }
    if distinct.is_empty() {
        return condition;
    }
    let evaluated = |guard: Expr| {
        let is_null = Expr::IsNull(Box::new(guard));
        Expr::Or([is_null.clone(), Expr::Not(Box::new(is_null))].into())
    };
    Expr::And(distinct.into_iter().map(evaluated).chain([condition]).collect())
}

fn syntax(about: &str) -> Uncompiled {
    Uncompiled::new(Reason::Syntax, about)
}

fn too_large(about: &str) -> Uncompiled {
    Uncompiled::new(Reason::TooLarge, about)
}

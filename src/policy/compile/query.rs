//! Queries: inner joins, conditions and outputs.

use super::free::{lowered, traits};
use super::scope::{Entry, Frame, Scope, Typed};
use super::{Compiler, Result, syntax};
use crate::change::Oid;
use crate::policy::expression::{Expr, Query, Scan};
use crate::policy::tree::{Node, Tree};
use crate::policy::uncompiled::{Reason, Uncompiled};
use crate::policy::value::Value;

/// A query in the making: subqueries and views become part of it.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub scans: Vec<Scan>,
    pub conditions: Vec<Expr>,
}

impl Builder {
    fn finish(self, outputs: Vec<Expr>) -> Box<Query> {
        let condition = match self.conditions.len() {
            0 => Expr::Const(Value::Bool(true)),
            _ => Expr::And(self.conditions.into()),
        };
        Box::new(Query { scans: self.scans.into(), condition, outputs: outputs.into() })
    }
}

/// What is peculiar about a query that is evaluated here at all.
pub(super) struct Part {
    /// How many rows it gives at most.
    pub limit: Option<i64>,
}

fn refused(about: &str) -> Uncompiled {
    Uncompiled::new(Reason::Query, about)
}

/// Fields that are empty in queries that are evaluated here, and what they are.
const CLAUSES: [(&str, &str); 8] = [
    ("cteList", "WITH"),
    ("groupClause", "GROUP BY"),
    ("groupingSets", "GROUPING SETS"),
    ("havingQual", "HAVING"),
    ("windowClause", "WINDOW"),
    ("setOperations", "UNION, INTERSECT or EXCEPT"),
    ("rowMarks", "FOR UPDATE"),
    ("limitOffset", "OFFSET"),
];

/// Fields that are false in them.
const FLAGS: [(&str, &str); 6] = [
    ("hasAggs", "an aggregate"),
    ("hasWindowFuncs", "a window function"),
    ("hasDistinctOn", "DISTINCT ON"),
    ("hasModifyingCTE", "WITH"),
    ("hasForUpdate", "FOR UPDATE"),
    ("hasGroupRTE", "GROUP BY"),
];

impl Part {
    /// Refuses what is not evaluated here.
    pub(super) fn read(compiler: &Compiler<'_>, query: &Node<'_>) -> Result<Self> {
        if query.tag != "QUERY" || query.integer("commandType") != Some(1) {
            return Err(refused("a statement other than SELECT"));
        }
        for (field, about) in CLAUSES {
            if !query.get(field).is_empty() {
                return Err(refused(about));
            }
        }
        for (field, about) in FLAGS {
            if query.flag(field) == Some(true) {
                return Err(refused(about));
            }
        }
        if query.integer("limitOption").unwrap_or(0) != 0 {
            return Err(refused("FETCH FIRST WITH TIES"));
        }
        // What rows are ordered by and not given may still raise an error, unless it is a column.
        for target in query.get("targetList").items().iter().filter_map(Tree::node) {
            let is_column = target.get("expr").node().is_some_and(|node| node.tag == "VAR");
            if target.flag("resjunk") != Some(false) && !is_column {
                return Err(refused("ORDER BY an expression"));
            }
        }
        Ok(Self { limit: compiler.limit(query.get("limitCount"))? })
    }

    /// Refuses a limit.
    pub(super) fn without_limit(&self) -> Result<()> {
        if self.limit.is_some() { Err(refused("LIMIT")) } else { Ok(()) }
    }
}

/// The query that a tree comes down to through lists of one element.
pub(super) fn only_query<'t, 'a>(tree: &'t Tree<'a>) -> Option<&'t Node<'a>> {
    match tree {
        Tree::Node(node) => Some(node),
        Tree::List(items) if items.len() == 1 => only_query(&items[0]),
        _ => None,
    }
}

/// The expressions that a query gives.
fn targets<'t, 'a>(query: &'t Node<'a>) -> impl Iterator<Item = &'t Tree<'a>> {
    let targets = query.get("targetList").items().iter().filter_map(Tree::node);
    targets.filter(|target| target.flag("resjunk") == Some(false)).map(|target| target.get("expr"))
}

impl Compiler<'_> {
    /// `LIMIT` with a constant, at least 1.
    fn limit(&self, tree: &Tree<'_>) -> Result<Option<i64>> {
        let Some(node) = tree.node() else { return Ok(None) };
        // A constant is mostly an `integer`, cast to `bigint`.
        let node = match (node.tag, node.get("args").items()) {
            ("FUNCEXPR", [argument]) => {
                let (function, _) = self.lookup(node.oid("funcid").unwrap_or(0))?;
                let is_cast = &*function.language == "internal" && &*function.source == "int48";
                argument.node().filter(|_| is_cast)
            }
            _ => Some(node),
        };
        let node = node.filter(|node| node.tag == "CONST").ok_or_else(|| refused("LIMIT"))?;
        match self.constant_value(node) {
            Some(Value::Null) => Ok(None),
            Some(Value::Int(limit @ 1..)) => Ok(Some(limit)),
            _ => Err(refused("LIMIT")),
        }
    }

    /// Whether a query is nothing but one value.
    pub(super) fn is_expression(&self, query: &Node<'_>) -> Result<bool> {
        Part::read(self, query)?;
        let from = query.get("jointree").node().ok_or_else(|| syntax("FROM"))?;
        let is_bare = from.get("fromlist").is_empty() && from.get("quals").is_empty();
        Ok(is_bare && query.flag("hasTargetSRFs") == Some(false))
    }

    /// The value that such a query is.
    pub(super) fn sole_target(&mut self, frame: &mut Frame, query: &Node<'_>) -> Result<Typed> {
        let mut targets = targets(query);
        let (Some(target), None) = (targets.next(), targets.next()) else {
            return Err(refused("several values at once"));
        };
        frame.scopes.push(Scope { entries: Vec::new(), level: self.level });
        let typed = self.expression(frame, target)?;
        frame.scopes.pop();
        Ok(typed)
    }

    /// A query of which only whether it has rows matters.
    pub(super) fn existence(&mut self, frame: &mut Frame, query: &Node<'_>) -> Result<Box<Query>> {
        self.level += 1;
        let mut builder = Builder::default();
        // Postgres does not evaluate what such a query would give; only a set there decides about rows.
        self.flatten(frame, query, &mut builder, query.flag("hasTargetSRFs") != Some(false))?;
        self.level -= 1;
        Ok(builder.finish(Vec::new()))
    }

    /// A query and the types of what it gives.
    pub(super) fn rows(&mut self, frame: &mut Frame, query: &Node<'_>) -> Result<(Box<Query>, Vec<Oid>)> {
        self.level += 1;
        let mut builder = Builder::default();
        let outputs = self.flatten(frame, query, &mut builder, true)?;
        self.level -= 1;
        let outputs: Vec<Typed> = outputs.into_iter().collect::<Result<_>>()?;
        let types = outputs.iter().map(|typed| typed.type_id).collect();
        Ok((builder.finish(outputs.into_iter().map(|typed| typed.expr).collect()), types))
    }

    /// A query that gives one column, and its type.
    pub(super) fn single(&mut self, frame: &mut Frame, query: &Node<'_>) -> Result<(Box<Query>, Oid)> {
        match self.rows(frame, query)? {
            (query, types) if types.len() == 1 => Ok((query, types[0])),
            _ => Err(refused("several values at once")),
        }
    }

    /// Makes a query part of another one, and gives its outputs if they are wanted. Rows that it would give twice may be
    /// given once and the other way round only where that does not matter: its own `DISTINCT` is passed over.
    pub(super) fn flatten(
        &mut self,
        frame: &mut Frame,
        query: &Node<'_>,
        builder: &mut Builder,
        wants_outputs: bool,
    ) -> Result<Vec<Result<Typed>>> {
        Part::read(self, query)?;
        let entries = query.get("rtable").items().iter().map(|_| Entry::Absent).collect();
        frame.scopes.push(Scope { entries, level: self.level });
        let outputs = self.deeper(|compiler| {
            compiler.from(frame, query, query.get("jointree"), builder)?;
            if !wants_outputs {
                return Ok(Vec::new());
            }
            if query.flag("hasTargetSRFs") == Some(false) {
                let output = |target| compiler.attempt(frame, |inner, frame| inner.expression(frame, target));
                let outputs: Vec<Result<Typed>> = targets(query).map(output).collect();
                compiler.demand_evaluated(frame, query, &outputs)?;
                return Ok(outputs);
            }
            let mut targets = targets(query);
            match (targets.next().and_then(Tree::node), targets.next()) {
                (Some(call), None) if call.tag == "FUNCEXPR" && call.flag("funcretset") == Some(true) => {
                    let outputs = compiler.inline_set(frame, call, builder)?;
                    // Several columns would be one value, a row.
                    if outputs.len() == 1 { Ok(outputs) } else { Err(refused("a row as a value")) }
                }
                _ => Err(refused("a set among other values")),
            }
        });
        frame.scopes.pop();
        outputs
    }

    /// Accounts for outputs that Postgres evaluates though nothing reads them: all of them where rows are sorted or told
    /// apart, and else those that call a volatile function.
    fn demand_evaluated(
        &mut self,
        frame: &mut Frame,
        query: &Node<'_>,
        outputs: &[Result<Typed>],
    ) -> Result<()> {
        let all = ["distinctClause", "sortClause"].iter().any(|clause| !query.get(clause).is_empty());
        for (target, output) in targets(query).zip(outputs) {
            if all || self.is_volatile(target) {
                self.demand(output)?;
            }
        }
        for target in query.get("targetList").items().iter().filter_map(Tree::node) {
            if target.flag("resjunk") != Some(false) {
                let output = self.attempt(frame, |inner, frame| inner.expression(frame, target.get("expr")));
                self.demand(&output)?;
            }
        }
        Ok(())
    }

    /// Accounts for an output that Postgres evaluates for every row, whether or not anything reads it.
    pub(super) fn demand(&mut self, output: &Result<Typed>) -> Result<()> {
        let typed = output.as_ref().map_err(Clone::clone)?;
        if traits(&typed.expr).raises {
            let guard = lowered(&typed.expr, self.level);
            let guard = guard.ok_or_else(|| Uncompiled::new(Reason::Raises, "what nothing reads"))?;
            self.guards.push(guard);
        }
        Ok(())
    }

    /// Whether something in a tree calls a volatile function, or one that is not known.
    fn is_volatile(&self, tree: &Tree<'_>) -> bool {
        let is_volatile = |function: Option<Oid>| {
            let found = function.and_then(|function| self.source.functions.get(&function));
            found.is_none_or(|function| function.volatility == 'v')
        };
        match tree {
            Tree::List(items) => items.iter().any(|item| self.is_volatile(item)),
            Tree::Node(node) => {
                let calls = match node.tag {
                    "FUNCEXPR" => is_volatile(node.oid("funcid")),
                    "OPEXPR" | "SCALARARRAYOPEXPR" | "DISTINCTEXPR" | "NULLIFEXPR" => {
                        is_volatile(self.behind(node).ok())
                    }
                    _ => false,
                };
                calls || node.fields().any(|(_, field)| self.is_volatile(field))
            }
            _ => false,
        }
    }

    /// Part of a `FROM` clause.
    fn from(
        &mut self,
        frame: &mut Frame,
        query: &Node<'_>,
        tree: &Tree<'_>,
        builder: &mut Builder,
    ) -> Result<()> {
        let node = tree.node().ok_or_else(|| syntax("FROM"))?;
        match node.tag {
            "RANGETBLREF" => {
                let index = entry_index(node)?;
                let range = query.get("rtable").items().get(index).and_then(Tree::node);
                let entry = self.range(frame, query, range.ok_or_else(|| syntax("FROM"))?, builder)?;
                self.set_entry(frame, index, entry)
            }
            "FROMEXPR" => {
                for item in node.get("fromlist").items() {
                    self.deeper(|compiler| compiler.from(frame, query, item, builder))?;
                }
                self.quals(frame, node, builder)
            }
            "JOINEXPR" => {
                if node.integer("jointype") != Some(0) {
                    return Err(refused("an outer join"));
                }
                for side in ["larg", "rarg"] {
                    self.deeper(|compiler| compiler.from(frame, query, node.get(side), builder))?;
                }
                self.quals(frame, node, builder)?;
                self.join_alias(frame, query, node)
            }
            other => Err(syntax(&format!("the node {other}"))),
        }
    }

    fn quals(&mut self, frame: &mut Frame, node: &Node<'_>, builder: &mut Builder) -> Result<()> {
        match node.get("quals") {
            Tree::Null => {}
            quals => builder.conditions.push(self.condition(frame, quals)?),
        }
        Ok(())
    }

    /// The columns of a join stand for those of its sides.
    fn join_alias(&mut self, frame: &mut Frame, query: &Node<'_>, join: &Node<'_>) -> Result<()> {
        if join.integer("rtindex").unwrap_or(0) == 0 {
            return Ok(());
        }
        let index = entry_index(join)?;
        let range = query.get("rtable").items().get(index).and_then(Tree::node);
        let columns = range.ok_or_else(|| syntax("FROM"))?.get("joinaliasvars").items();
        let output = |column| self.attempt(frame, |inner, frame| inner.expression(frame, column));
        let outputs = columns.iter().map(output).collect();
        self.set_entry(frame, index, Entry::Outputs(outputs))
    }

    fn set_entry(&self, frame: &mut Frame, index: usize, entry: Entry) -> Result<()> {
        debug_assert!(self.level >= frame.scopes.last().map_or(0, |scope| scope.level));
        let place = frame.scopes.last_mut().and_then(|scope| scope.entries.get_mut(index));
        *place.ok_or_else(|| syntax("FROM"))? = entry;
        Ok(())
    }
}

/// The place in the range table that a node names.
fn entry_index(node: &Node<'_>) -> Result<usize> {
    let index = node.integer("rtindex").and_then(|number| usize::try_from(number).ok());
    index.and_then(|number| number.checked_sub(1)).ok_or_else(|| syntax("FROM"))
}

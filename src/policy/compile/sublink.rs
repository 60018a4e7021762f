//! Queries in expressions: `EXISTS`, `IN`, `= ANY`, `(SELECT …)`, `ARRAY(SELECT …)`.

use super::expression::type_of;
use super::query::Part;
use super::scope::{Frame, Typed};
use super::{Compiler, Result, syntax};
use crate::change::Oid;
use crate::policy::expression::Expr;
use crate::policy::tree::{Node, Tree};
use crate::policy::uncompiled::{Reason, Uncompiled};
use crate::policy::value::Value;

const BOOL: Oid = 16;

/// Kinds of sublink (`SubLinkType`).
const EXISTS: i64 = 0;
const ALL: i64 = 1;
const ANY: i64 = 2;
const ROW_COMPARISON: i64 = 3;
const VALUE: i64 = 4;
const ARRAY: i64 = 6;

/// Arrays of some types.
const ARRAYS: [(Oid, Oid); 10] = [
    (16, 1000),
    (19, 1003),
    (20, 1016),
    (21, 1005),
    (23, 1007),
    (25, 1009),
    (1043, 1015),
    (1184, 1185),
    (2950, 2951),
    (3802, 3807),
];

impl Compiler<'_> {
    pub(super) fn sublink(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let query = node.get("subselect").node().ok_or_else(|| syntax("a subquery"))?;
        match node.integer("subLinkType") {
            // At least one row is left of those that there are, whatever the limit.
            Some(EXISTS) if self.is_expression(query)? => {
                Ok(Typed { expr: Expr::Const(Value::Bool(true)), type_id: BOOL })
            }
            Some(EXISTS) => Ok(Typed { expr: Expr::Exists(self.existence(frame, query)?), type_id: BOOL }),
            Some(ANY) => match self.unnested(frame, node, query)? {
                Some(typed) => Ok(typed),
                None => self.quantified(frame, node, query, false),
            },
            Some(ALL) => self.quantified(frame, node, query, true),
            Some(VALUE) => self.value(frame, query),
            Some(ARRAY) => Err(Uncompiled::new(Reason::Query, "the order of ARRAY(SELECT …)")),
            Some(ROW_COMPARISON) => Err(Uncompiled::new(Reason::Query, "a comparison of rows")),
            _ => Err(syntax("a subquery")),
        }
    }

    fn quantified(
        &mut self,
        frame: &mut Frame,
        node: &Node<'_>,
        query: &Node<'_>,
        all: bool,
    ) -> Result<Typed> {
        Part::read(self, query)?.without_limit()?;
        let (query, types) = self.rows(frame, query)?;
        frame.tests.push(types);
        let test = Box::new(self.condition(frame, node.get("testexpr"))?);
        frame.tests.pop();
        Ok(Typed { expr: Expr::Quantified { all, test, query }, type_id: BOOL })
    }

    /// `(SELECT …)`
    fn value(&mut self, frame: &mut Frame, query: &Node<'_>) -> Result<Typed> {
        if self.is_expression(query)? {
            return self.sole_target(frame, query);
        }
        let limit = Part::read(self, query)?.limit;
        let (query, type_id) = self.single(frame, query)?;
        let expr = match limit {
            None => Expr::Scalar(query),
            // Which row is first is not known here: if they differ, that is a doubt.
            Some(1) => Expr::First(query),
            Some(_) => return Err(Uncompiled::new(Reason::Query, "LIMIT")),
        };
        Ok(Typed { expr, type_id })
    }

    /// `ARRAY(SELECT …)`, where the order does not matter.
    pub(super) fn collected(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let (expr, element) = self.collected_elements(frame, node)?;
        let array = ARRAYS.iter().find(|(known, _)| *known == element).map(|(_, array)| *array);
        let type_id = array.ok_or_else(|| self.unknown_type(element))?;
        Ok(Typed { expr, type_id })
    }

    /// The same, with the type of the elements.
    pub(super) fn collected_elements(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<(Expr, Oid)> {
        let query = node.get("subselect").node().ok_or_else(|| syntax("a subquery"))?;
        Part::read(self, query)?.without_limit()?;
        let (query, element) = self.single(frame, query)?;
        // Arrays are collected into one of more dimensions.
        if ARRAYS.iter().any(|(_, array)| *array == element) {
            return Err(Uncompiled::new(Reason::Type, "an array of arrays"));
        }
        Ok((Expr::Collected(query), element))
    }

    /// `IN (SELECT unnest(array))` and `= ANY (SELECT unnest(array))`, which come down to the array's elements. Where
    /// there is no array, there is no row.
    fn unnested(&mut self, frame: &mut Frame, node: &Node<'_>, query: &Node<'_>) -> Result<Option<Typed>> {
        let Some(array) = self.unnested_array(query) else { return Ok(None) };
        let test = node.get("testexpr").node().filter(|test| test.tag == "OPEXPR");
        let Some(test) = test else { return Ok(None) };
        let [value, output] = test.get("args").items() else { return Ok(None) };
        let Some(element) = self.output_type(output) else { return Ok(None) };
        let value = self.expression(frame, value)?;
        // The array stands in a query of its own, as its columns are counted.
        frame.scopes.push(super::scope::Scope { entries: Vec::new(), level: self.level });
        let array = self.expression(frame, array)?.expr;
        frame.scopes.pop();
        let (symbol, name) = self.operator_symbol(test)?;
        let function = self.find(&symbol, &name, &[value.type_id, element], BOOL, test)?;
        let mut is_null = Expr::IsNull(Box::new(array.clone()));
        self.spend(super::free::shift(&mut is_null, 0))?;
        let arguments = Box::new([value.expr, array]);
        let elements = Expr::Elements { function, all: false, arguments };
        let expr = Expr::Case([(is_null, Expr::Const(Value::Bool(false)))].into(), Box::new(elements));
        Ok(Some(Typed { expr, type_id: BOOL }))
    }

    /// The argument of `unnest`, if a query gives what it gives and no more.
    fn unnested_array<'t, 'a>(&self, query: &'t Node<'a>) -> Option<&'t Tree<'a>> {
        Part::read(self, query).ok()?.without_limit().ok()?;
        let from = query.get("jointree").node()?;
        let [target] = query.get("targetList").items() else { return None };
        let target = target.node()?.get("expr").node()?;
        let call = match (from.get("fromlist").items(), query.get("rtable").items()) {
            _ if !from.get("quals").is_empty() => return None,
            ([], _) => target,
            ([_], [range]) if target.tag == "VAR" && target.integer("varlevelsup") == Some(0) => {
                let range = range.node().filter(|range| range.flag("funcordinality") == Some(false))?;
                let [item] = range.get("functions").items() else { return None };
                item.node()?.get("funcexpr").node()?
            }
            _ => return None,
        };
        let function = self.source.functions.get(&call.oid("funcid")?)?;
        let is_unnest = &*function.language == "internal" && &*function.source == "array_unnest";
        let [array] = call.get("args").items() else { return None };
        (call.tag == "FUNCEXPR" && is_unnest).then_some(array)
    }

    /// The type of a row's first output, if a tree is that or the same relabelled.
    fn output_type(&self, tree: &Tree<'_>) -> Option<Oid> {
        let node = tree.node()?;
        match node.tag {
            "PARAM" => (node.integer("paramid") == Some(1)).then(|| type_of(node, "paramtype").ok())?,
            "RELABELTYPE" => {
                let from = self.output_type(node.get("arg"))?;
                let to = node.oid("resulttype")?;
                self.is_relabelling(from, to).then_some(to)
            }
            _ => None,
        }
    }
}

//! Nodes of expressions.

use super::call::is_pseudo;
use super::scope::{Frame, Given, Typed};
use super::{Compiler, Result, syntax};
use crate::change::Oid;
use crate::policy::expression::Expr;
use crate::policy::function::Collation;
use crate::policy::tree::{Node, Tree};
use crate::policy::uncompiled::{Reason, Uncompiled};
use crate::policy::value::{Value, constant};

const BOOL: Oid = 16;
const NAME: Oid = 19;
const TIMESTAMPTZ: Oid = 1184;

/// Kinds of parameter (`ParamKind`).
const PARAM_EXTERN: i64 = 0;
const PARAM_SUBLINK: i64 = 2;

impl Compiler<'_> {
    /// A condition. The list of conditions that Postgres sometimes keeps means that all hold.
    pub(super) fn condition(&mut self, frame: &mut Frame, tree: &Tree<'_>) -> Result<Expr> {
        let typed = self.expression(frame, tree)?;
        if typed.type_id == BOOL { Ok(typed.expr) } else { Err(syntax("a condition")) }
    }

    /// An expression.
    pub(super) fn expression(&mut self, frame: &mut Frame, tree: &Tree<'_>) -> Result<Typed> {
        let node = tree.node().ok_or_else(|| syntax("an expression"))?;
        self.spend(1)?;
        self.deeper(|compiler| compiler.dispatch(frame, node))
    }

    fn dispatch(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        match node.tag {
            "VAR" => self.variable(frame, node),
            "CONST" => self.constant(node),
            "PARAM" => self.parameter(frame, node),
            "BOOLEXPR" => self.logic(frame, node),
            "NULLTEST" => self.null_test(frame, node),
            "BOOLEANTEST" => self.truth_test(frame, node),
            "COALESCEEXPR" => self.coalesce(frame, node),
            "CASEEXPR" => self.case(frame, node),
            "CASETESTEXPR" => self.case_argument(frame, node),
            "ARRAYEXPR" => self.array(frame, node),
            "RELABELTYPE" => self.relabel(frame, node),
            "COLLATEEXPR" => self.expression(frame, node.get("arg")),
            "COERCEVIAIO" => self.coercion(frame, node),
            "ARRAYCOERCEEXPR" => self.array_coercion(frame, node),
            "OPEXPR" => self.operator(frame, node),
            "FUNCEXPR" => self.function(frame, node),
            "SCALARARRAYOPEXPR" => self.array_operator(frame, node),
            "DISTINCTEXPR" | "NULLIFEXPR" => self.equality(frame, node),
            "SQLVALUEFUNCTION" => self.session_value(frame, node),
            "SUBLINK" => self.sublink(frame, node),
            "AGGREF" | "GROUPINGFUNC" => Err(Uncompiled::new(Reason::Query, "an aggregate")),
            "WINDOWFUNC" => Err(Uncompiled::new(Reason::Query, "a window function")),
            other if other.starts_with("COERCE") && other.contains("DOMAIN") => {
                let name = self.type_name(type_of(node, "resulttype")?);
                Err(Uncompiled::new(Reason::Type, format!("{name} (a domain)")))
            }
            "ROWEXPR" | "ROWCOMPAREEXPR" | "FIELDSELECT" | "FIELDSTORE" | "CONVERTROWTYPEEXPR" => {
                Err(Uncompiled::new(Reason::Row, "a row as a value"))
            }
            other => Err(syntax(&format!("the node {other}"))),
        }
    }

    fn constant(&mut self, node: &Node<'_>) -> Result<Typed> {
        let type_id = type_of(node, "consttype")?;
        let value = self.constant_value(node).ok_or_else(|| self.unknown_type(type_id))?;
        Ok(Typed { expr: Expr::Const(value), type_id })
    }

    /// The value of a constant, if it is of a type that is known here.
    pub(super) fn constant_value(&self, node: &Node<'_>) -> Option<Value> {
        if node.flag("constisnull")? {
            return Some(Value::Null);
        }
        let Tree::Datum(bytes) = node.get("constvalue") else { return None };
        let length = node.word("constlen")?.parse().ok()?;
        let by_value = node.flag("constbyval")?;
        let (types, labels) = (&self.source.types, &self.source.enum_labels);
        constant(node.oid("consttype")?, types, length, by_value, bytes, labels)
    }

    pub(super) fn unknown_type(&self, type_id: Oid) -> Uncompiled {
        Uncompiled::new(Reason::Type, self.type_name(type_id))
    }

    /// A type in words for people.
    pub(super) fn type_name(&self, type_id: Oid) -> String {
        match self.source.types.get(type_id) {
            Some(found) if &*found.schema == "pg_catalog" => found.name.to_string(),
            Some(found) => format!("{}.{}", found.schema, found.name),
            None => format!("number {type_id}"),
        }
    }

    fn parameter(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let wrong = || syntax("a parameter");
        let number = node.integer("paramid").and_then(|number| usize::try_from(number).ok());
        let index = number.and_then(|number| number.checked_sub(1)).ok_or_else(wrong)?;
        let type_id = type_of(node, "paramtype")?;
        match node.integer("paramkind") {
            Some(PARAM_EXTERN) => {
                let given = frame.params.get(index).ok_or_else(wrong)?.clone();
                frame.used[index] = true;
                // What a function takes of any type has the type that it is called with.
                let type_id = if is_pseudo(type_id) { given.typed.type_id } else { type_id };
                self.given(&given, type_id)
            }
            Some(PARAM_SUBLINK) => {
                let outputs = frame.tests.last().ok_or_else(wrong)?;
                if *outputs.get(index).ok_or_else(wrong)? != type_id {
                    return Err(wrong());
                }
                Ok(Typed { expr: Expr::Output(index), type_id })
            }
            _ => Err(wrong()),
        }
    }

    fn logic(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let parts = node.get("args").items();
        let conditions: Result<Vec<Expr>> = parts.iter().map(|part| self.condition(frame, part)).collect();
        let mut conditions = conditions?;
        let expr = match (node.word("boolop"), conditions.len()) {
            (Some("and"), 1..) => Expr::And(conditions.into()),
            (Some("or"), 1..) => Expr::Or(conditions.into()),
            (Some("not"), 1) => Expr::Not(Box::new(conditions.remove(0))),
            _ => return Err(syntax("a condition")),
        };
        Ok(Typed { expr, type_id: BOOL })
    }

    fn null_test(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        if node.flag("argisrow") != Some(false) {
            return Err(Uncompiled::new(Reason::Row, "a row as a value"));
        }
        let test = Expr::IsNull(Box::new(self.expression(frame, node.get("arg"))?.expr));
        let expr = match node.integer("nulltesttype") {
            Some(0) => test,
            Some(1) => Expr::Not(Box::new(test)),
            _ => return Err(syntax("IS NULL")),
        };
        Ok(Typed { expr, type_id: BOOL })
    }

    fn truth_test(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let argument = Box::new(self.condition(frame, node.get("arg"))?);
        let kind = node.integer("booltesttype").ok_or_else(|| syntax("IS TRUE"))?;
        let wanted = match kind / 2 {
            0 => Some(true),
            1 => Some(false),
            2 => None,
            _ => return Err(syntax("IS TRUE")),
        };
        let test = Expr::Is(argument, wanted);
        // Every other kind is the contrary of the one before.
        let expr = if kind % 2 == 0 { test } else { Expr::Not(Box::new(test)) };
        Ok(Typed { expr, type_id: BOOL })
    }

    fn coalesce(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let arguments = self.expressions(frame, node.get("args"))?;
        let type_id = type_of(node, "coalescetype")?;
        Ok(Typed { expr: Expr::Coalesce(arguments.into_iter().map(|typed| typed.expr).collect()), type_id })
    }

    fn case(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let type_id = type_of(node, "casetype")?;
        let argument = node.get("arg");
        let has_argument = !argument.is_empty();
        if has_argument {
            let typed = self.expression(frame, argument)?;
            frame.cases.push(Given { typed, level: self.level });
        }
        let mut arms = Vec::new();
        for arm in node.get("args").items() {
            let arm = arm.node().filter(|arm| arm.tag == "CASEWHEN").ok_or_else(|| syntax("CASE"))?;
            let when = self.condition(frame, arm.get("expr"))?;
            arms.push((when, self.expression(frame, arm.get("result"))?.expr));
        }
        if has_argument {
            frame.cases.pop();
        }
        let default = match node.get("defresult") {
            Tree::Null => Expr::Const(Value::Null),
            default => self.expression(frame, default)?.expr,
        };
        Ok(Typed { expr: Expr::Case(arms.into(), Box::new(default)), type_id })
    }

    fn case_argument(&mut self, frame: &Frame, node: &Node<'_>) -> Result<Typed> {
        let given = frame.cases.last().ok_or_else(|| syntax("CASE"))?.clone();
        self.given(&given, type_of(node, "typeId")?)
    }

    fn array(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        if node.flag("multidims") != Some(false) {
            return Err(Uncompiled::new(Reason::Type, "an array of arrays"));
        }
        let elements = self.expressions(frame, node.get("elements"))?;
        let type_id = type_of(node, "array_typeid")?;
        Ok(Typed { expr: Expr::Array(elements.into_iter().map(|typed| typed.expr).collect()), type_id })
    }

    fn relabel(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let argument = self.expression(frame, node.get("arg"))?;
        let type_id = type_of(node, "resulttype")?;
        if !self.is_relabelling(argument.type_id, type_id) {
            return Err(self.unknown_type(type_id));
        }
        Ok(Typed { expr: argument.expr, type_id })
    }

    /// A cast through text, by the pseudo symbol `coerce_via_io`.
    fn coercion(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let argument = self.expression(frame, node.get("arg"))?;
        let type_id = type_of(node, "resulttype")?;
        self.cast("coerce_via_io", argument, type_id)
    }

    pub(super) fn cast(&self, symbol: &str, argument: Typed, type_id: Oid) -> Result<Typed> {
        // A domain is written as its base is.
        let base = self.base(argument.type_id);
        let function = (self.find)(symbol, &[base], type_id, Collation::None).ok_or_else(|| {
            let (from, to) = (self.type_name(argument.type_id), self.type_name(type_id));
            Uncompiled::new(Reason::Function, format!("the cast from {from} to {to}"))
        })?;
        Ok(Typed { expr: Expr::Call(function, [argument.expr].into()), type_id })
    }

    /// A cast of an array. One that leaves its elements what they are is none; others go by the pseudo symbol
    /// `array_coerce`, if it is one cast of each element through text.
    fn array_coercion(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let argument = self.expression(frame, node.get("arg"))?;
        let type_id = type_of(node, "resulttype")?;
        let cast = node.get("elemexpr").node().ok_or_else(|| syntax("a cast of an array"))?;
        let element = cast.get("arg").node().filter(|element| element.tag == "CASETESTEXPR");
        let from = element.and_then(|element| element.oid("typeId"));
        match (cast.tag, from.zip(cast.oid("resulttype"))) {
            ("CASETESTEXPR", _) => Ok(Typed { expr: argument.expr, type_id }),
            ("RELABELTYPE", Some((from, to))) if self.is_relabelling(from, to) => {
                Ok(Typed { expr: argument.expr, type_id })
            }
            ("COERCEVIAIO", Some(_)) => self.cast("array_coerce", argument, type_id),
            _ => Err(self.unknown_type(type_id)),
        }
    }

    /// `CURRENT_TIMESTAMP`, `CURRENT_USER` and their like.
    fn session_value(&mut self, frame: &Frame, node: &Node<'_>) -> Result<Typed> {
        match node.integer("op") {
            Some(3) => Ok(Typed { expr: Expr::Now, type_id: TIMESTAMPTZ }),
            Some(9..=11) => self.current_user(frame),
            Some(12) => Err(Uncompiled::new(Reason::Setting, "SESSION_USER")),
            Some(13 | 14) => Err(Uncompiled::new(Reason::Setting, "CURRENT_SCHEMA or CURRENT_CATALOG")),
            _ => Err(Uncompiled::new(Reason::Function, "a date or time of the session")),
        }
    }

    pub(super) fn current_user(&self, frame: &Frame) -> Result<Typed> {
        let role = self.source.roles.get(&frame.rights.user);
        let role = role.ok_or_else(|| Uncompiled::new(Reason::Setting, "CURRENT_USER"))?;
        Ok(Typed { expr: Expr::Const(Value::Text(role.name.clone())), type_id: NAME })
    }

    pub(super) fn expressions(&mut self, frame: &mut Frame, list: &Tree<'_>) -> Result<Vec<Typed>> {
        list.items().iter().map(|item| self.expression(frame, item)).collect()
    }
}

/// The type in a field.
pub(super) fn type_of(node: &Node<'_>, field: &str) -> Result<Oid> {
    node.oid(field).ok_or_else(|| syntax(&format!("the type of {}", node.tag)))
}

//! Operators and functions.

use std::sync::Arc;

use super::expression::type_of;
use super::scope::{FIRST_USER_OID, Frame, Typed};
use super::{Compiler, Result, syntax};
use crate::change::Oid;
use crate::policy::expression::Expr;
use crate::policy::function::{Collation, Function};
use crate::policy::source;
use crate::policy::tree::{Node, Tree};
use crate::policy::uncompiled::{Reason, Uncompiled};
use crate::policy::value::Value;

const BOOL: Oid = 16;

const TEXT: Oid = 25;

/// `text || anynonarray` and `anynonarray || text`.
const TEXTANYCAT: Oid = 2003;
const ANYTEXTCAT: Oid = 2004;

/// Types whose cast to text is their output function: `smallint`, `integer`, `bigint`, `numeric`, `uuid`.
const WRITTEN_AS_TEXT: [Oid; 5] = [21, 23, 20, 1700, 2950];

/// The type of an argument that may be of any type, several of them included.
const ANY: Oid = 2276;

/// Settings that make a session the caller's; all that begin with `request.jwt.claim.` besides.
const SETTINGS: [&str; 8] = [
    "request.jwt.claim",
    "request.jwt.claims",
    "request.headers",
    "request.method",
    "request.path",
    "request.cookies",
    "realtime.topic",
    "role",
];

/// Functions for which the order of an array's elements means nothing.
const SET_FUNCTIONS: [&str; 3] = ["arraycontains", "arraycontained", "arrayoverlap"];

/// `SUBLINK`'s kind of `ARRAY(SELECT …)`.
const ARRAY_SUBLINK: i64 = 6;

impl<'s> Compiler<'s> {
    /// A function and its words for people.
    pub(super) fn lookup(&self, oid: Oid) -> Result<(&'s source::Function, Arc<str>)> {
        let function = self.source.functions.get(&oid);
        let function =
            function.ok_or_else(|| Uncompiled::new(Reason::Function, format!("function {oid}")))?;
        let name = match &*function.schema {
            "pg_catalog" => Arc::clone(&function.name),
            schema => format!("{schema}.{}", function.name).into(),
        };
        Ok((function, name))
    }

    pub(super) fn function(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let oid = type_of(node, "funcid")?;
        let result = type_of(node, "funcresulttype")?;
        if node.flag("funcvariadic") != Some(false) && self.lookup(oid)?.0.arguments.contains(&ANY) {
            return Err(Uncompiled::new(Reason::Function, format!("{} (VARIADIC)", self.lookup(oid)?.1)));
        }
        self.call(frame, oid, node, result)
    }

    pub(super) fn operator(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let oid = self.behind(node)?;
        let result = type_of(node, "opresulttype")?;
        self.call(frame, oid, node, result)
    }

    /// The function behind an operator.
    pub(super) fn behind(&self, node: &Node<'_>) -> Result<Oid> {
        let known = node.oid("opfuncid").filter(|oid| *oid != 0);
        let known = known.or_else(|| self.source.operators.get(&node.oid("opno")?).copied());
        known.ok_or_else(|| Uncompiled::new(Reason::Function, "an operator"))
    }

    fn call(&mut self, frame: &mut Frame, oid: Oid, node: &Node<'_>, result: Oid) -> Result<Typed> {
        let (function, name) = self.lookup(oid)?;
        if function.returns_set {
            return Err(Uncompiled::new(Reason::Query, format!("the set that {name} returns")));
        }
        let symbol = Arc::clone(&function.source);
        if oid == TEXTANYCAT || oid == ANYTEXTCAT {
            return self.concatenation(frame, oid, node);
        }
        match &*function.language {
            // Declared by somebody, it may have other rights and settings, and take NULL otherwise.
            "internal" if oid >= FIRST_USER_OID => Err(Uncompiled::new(Reason::Function, name)),
            "internal" => match &*symbol {
                "show_config_by_name_missing_ok" => self.setting(frame, node),
                "show_config_by_name" => Err(Uncompiled::new(Reason::Setting, self.setting_name(node))),
                "now" | "statement_timestamp" => Ok(Typed { expr: Expr::Now, type_id: result }),
                "current_user" => self.current_user(frame),
                _ if function.volatility == 'v' => Err(Uncompiled::new(Reason::Volatile, name)),
                _ => self.builtin(frame, oid, node, result),
            },
            "sql" | "plpgsql" => {
                let arguments = self.arguments(frame, oid, node)?;
                self.inline(frame, oid, arguments, result)
            }
            _ if function.volatility == 'v' => Err(Uncompiled::new(Reason::Volatile, name)),
            _ => Err(Uncompiled::new(Reason::Function, name)),
        }
    }

    /// `text || any` and `any || text`: built-in functions in SQL, whose bodies Postgres analyses anew for each type.
    fn concatenation(&mut self, frame: &mut Frame, oid: Oid, node: &Node<'_>) -> Result<Typed> {
        let (_, name) = self.lookup(oid)?;
        let mut parts = self.arguments(frame, oid, node)?;
        let other = usize::from(oid == TEXTANYCAT);
        let other = parts.get_mut(other).ok_or_else(|| syntax("||"))?;
        if !WRITTEN_AS_TEXT.contains(&other.type_id) {
            return Err(Uncompiled::new(Reason::Function, name));
        }
        *other = self.cast("coerce_via_io", other.clone(), TEXT)?;
        let function = self.find("textcat", &name, &[TEXT, TEXT], TEXT, node)?;
        let parts = parts.into_iter().map(|typed| typed.expr).collect();
        Ok(Typed { expr: Expr::Call(function, parts), type_id: TEXT })
    }

    /// The arguments of a call, in their order. Defaults stand in no tree, so calls that use them are not compiled.
    pub(super) fn arguments(&mut self, frame: &mut Frame, oid: Oid, node: &Node<'_>) -> Result<Vec<Typed>> {
        let (function, name) = self.lookup(oid)?;
        let items = node.get("args").items();
        if items.len() != function.arguments.len() && !function.arguments.contains(&ANY) {
            return Err(Uncompiled::new(Reason::Function, format!("{name} with default arguments")));
        }
        let mut arguments = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let named = item.node().filter(|item| item.tag == "NAMEDARGEXPR");
            arguments.push(match named {
                None => self.expression(frame, item)?,
                Some(named) if named.integer("argnumber") == i64::try_from(place).ok() => {
                    self.expression(frame, named.get("arg"))?
                }
                Some(_) => return Err(syntax("arguments out of their order")),
            });
        }
        Ok(arguments)
    }

    fn builtin(&mut self, frame: &mut Frame, oid: Oid, node: &Node<'_>, result: Oid) -> Result<Typed> {
        let (function, name) = self.lookup(oid)?;
        let symbol = &*function.source;
        let items = node.get("args").items();
        let mut arguments = Vec::new();
        if SET_FUNCTIONS.contains(&symbol) && items.iter().any(|item| collected(item).is_some()) {
            for item in items {
                arguments.push(match collected(item) {
                    Some(sublink) => self.collected(frame, sublink)?,
                    None => self.expression(frame, item)?,
                });
            }
        } else {
            arguments = self.arguments(frame, oid, node)?;
        }
        let types: Vec<Oid> = arguments.iter().map(|typed| typed.type_id).collect();
        let function = self.find(symbol, &name, &types, result, node)?;
        let parts = arguments.into_iter().map(|typed| typed.expr).collect();
        Ok(Typed { expr: Expr::Call(function, parts), type_id: result })
    }

    /// The function with this symbol under the node's collation.
    pub(super) fn find(
        &self,
        symbol: &str,
        name: &Arc<str>,
        types: &[Oid],
        result: Oid,
        node: &Node<'_>,
    ) -> Result<Function> {
        let collation = self.collation(type_of(node, "inputcollid")?);
        (self.find)(symbol, types, result, collation).ok_or_else(|| {
            let known = collation != Collation::C
                && collation != Collation::None
                && (self.find)(symbol, types, result, Collation::C).is_some();
            let reason = if known { Reason::Collation } else { Reason::Function };
            // An operator is better known by the symbol behind it than by the name of its function.
            let about = if node.tag == "FUNCEXPR" { Arc::clone(name) } else { symbol.into() };
            Uncompiled::new(reason, about)
        })
    }

    /// The built-in function of an operator that is not called as one.
    fn builtin_behind(&self, node: &Node<'_>) -> Result<(Arc<str>, Arc<str>, &'s [Oid])> {
        let oid = self.behind(node)?;
        let (function, name) = self.lookup(oid)?;
        match (&*function.language, function.volatility) {
            (_, 'v') => Err(Uncompiled::new(Reason::Volatile, name)),
            ("internal", _) if oid < FIRST_USER_OID => {
                Ok((Arc::clone(&function.source), name, &function.arguments))
            }
            _ => Err(Uncompiled::new(Reason::Function, name)),
        }
    }

    /// The symbol and the words of the built-in function of an operator.
    pub(super) fn operator_symbol(&self, node: &Node<'_>) -> Result<(Arc<str>, Arc<str>)> {
        self.builtin_behind(node).map(|(symbol, name, _)| (symbol, name))
    }

    /// `IS DISTINCT FROM` and `NULLIF`.
    pub(super) fn equality(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let arguments = self.expressions(frame, node.get("args"))?;
        let types: Vec<Oid> = arguments.iter().map(|typed| typed.type_id).collect();
        let (symbol, name, _) = self.builtin_behind(node)?;
        let function = self.find(&symbol, &name, &types, BOOL, node)?;
        let parts: Vec<Expr> = arguments.into_iter().map(|typed| typed.expr).collect();
        let parts: [Expr; 2] = parts.try_into().map_err(|_| syntax("an equality"))?;
        let type_id = type_of(node, "opresulttype")?;
        Ok(match node.tag {
            "NULLIFEXPR" => Typed { expr: Expr::NullIf(function, Box::new(parts)), type_id },
            _ => Typed { expr: Expr::Distinct(function, Box::new(parts)), type_id: BOOL },
        })
    }

    /// `= ANY (array)`
    pub(super) fn array_operator(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let [value, array] = node.get("args").items() else { return Err(syntax("ANY")) };
        let all = !node.flag("useOr").ok_or_else(|| syntax("ANY"))?;
        let value = self.expression(frame, value)?;
        let (array, element) = match collected(array) {
            Some(sublink) => {
                let (expr, element) = self.collected_elements(frame, sublink)?;
                (expr, Some(element))
            }
            None => (self.expression(frame, array)?.expr, None),
        };
        let (symbol, name, declared) = self.builtin_behind(node)?;
        // The tree names no type of the elements: it is what the operator takes, or, for one that takes many, what
        // stands on the other side.
        let declared = declared.get(1).copied().filter(|declared| !is_pseudo(*declared));
        let element = declared.or(element).unwrap_or(value.type_id);
        let function = self.find(&symbol, &name, &[value.type_id, element], BOOL, node)?;
        let arguments = Box::new([value.expr, array]);
        Ok(Typed { expr: Expr::Elements { function, all, arguments }, type_id: BOOL })
    }

    /// `current_setting(name, true)`
    fn setting(&mut self, frame: &mut Frame, node: &Node<'_>) -> Result<Typed> {
        let arguments = self.expressions(frame, node.get("args"))?;
        if let [Typed { expr: Expr::Const(Value::Text(name)), .. }, missing_ok] = &arguments[..]
            && missing_ok.expr == Expr::Const(Value::Bool(true))
        {
            // Names of settings are the same in any case.
            let name = name.to_ascii_lowercase();
            if SETTINGS.contains(&name.as_str()) || name.starts_with("request.jwt.claim.") {
                return Ok(Typed { expr: Expr::Setting(name.into()), type_id: 25 });
            }
        }
        Err(Uncompiled::new(Reason::Setting, self.setting_name(node)))
    }

    /// The name of a setting in words; names are no secrets, values are.
    fn setting_name(&mut self, node: &Node<'_>) -> Arc<str> {
        let mut frame = Frame::new(super::Rights { user: 0, relations: 0 });
        let first = node.get("args").items().first();
        match first.map(|name| self.expression(&mut frame, name)) {
            Some(Ok(Typed { expr: Expr::Const(Value::Text(name)), .. })) => name,
            _ => "whose name is computed".into(),
        }
    }
}

/// The sublink of an `ARRAY(SELECT …)`.
fn collected<'t, 'a>(tree: &'t Tree<'a>) -> Option<&'t Node<'a>> {
    let node = tree.node().filter(|node| node.tag == "SUBLINK")?;
    (node.integer("subLinkType") == Some(ARRAY_SUBLINK)).then_some(node)
}

/// Whether a declared type stands for many: `anyelement`, `anyarray`, `any`, `anynonarray`, `anyenum`,
/// `anycompatible`, `anycompatiblearray`, `anycompatiblenonarray`.
pub(super) fn is_pseudo(type_id: Oid) -> bool {
    matches!(type_id, 2283 | 2277 | ANY | 2776 | 3500 | 5077 | 5078 | 5079)
}

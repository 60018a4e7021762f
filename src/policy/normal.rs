//! Brings conditions into the shapes that lookups are planned for, without changing what they decide.
//!
//! Where only TRUE counts, `x IN (SELECT y …)` is `EXISTS (SELECT … AND x = y)`, and so is `x = ANY (ARRAY(SELECT y …))`; a
//! query without scans is what it gives.

use super::expression::{Expr, Query};
use super::value::Value;
use super::walk::{self, Inside};

/// `truth`: whether NULL and FALSE come to the same here.
pub fn normal(expr: Expr, truth: bool) -> Expr {
    match expr {
        Expr::And(parts) => Expr::And(flat(parts, truth, |part| match part {
            Expr::And(parts) => Ok(parts),
            other => Err(other),
        })),
        Expr::Or(parts) => Expr::Or(flat(parts, truth, |part| match part {
            Expr::Or(parts) => Ok(parts),
            other => Err(other),
        })),
        Expr::Quantified { all: false, test, query } if truth => {
            let Query { scans, condition, outputs } = *query;
            let test = walk::in_query(*test, &outputs);
            let condition = Expr::And([condition, test].into());
            // An error in an output comes whatever the test makes of it.
            let outputs = outputs.into_iter().filter(walk::raises).collect();
            normal(Expr::Exists(Box::new(Query { scans, condition, outputs })), true)
        }
        Expr::Elements { function, all: false, arguments } if truth => match *arguments {
            [value, Expr::Collected(query)] if !walk::raises(&value) && !walk::has_free_output(&value) => {
                let test = Box::new(Expr::Call(function, [value, Expr::Output(0)].into()));
                normal(Expr::Quantified { all: false, test, query }, true)
            }
            [value, array] => {
                let arguments = Box::new([normal(value, false), normal(array, false)]);
                Expr::Elements { function, all: false, arguments }
            }
        },
        Expr::Exists(query) if truth && query.scans.is_empty() && !query.outputs.iter().any(walk::raises) => {
            match walk::lowered(&query.condition, 1) {
                Some(condition) => normal(condition, true),
                None => Expr::Exists(parts(*query, false)),
            }
        }
        Expr::Scalar(query) if is_plain(&query) => plain(*query, truth, Expr::Scalar),
        Expr::First(query) if is_plain(&query) => plain(*query, truth, Expr::First),
        Expr::Exists(query) => Expr::Exists(parts(*query, false)),
        Expr::Scalar(query) => Expr::Scalar(parts(*query, truth)),
        Expr::First(query) => Expr::First(parts(*query, truth)),
        Expr::Collected(query) => Expr::Collected(parts(*query, false)),
        Expr::Quantified { all, test, query } => {
            Expr::Quantified { all, test: Box::new(normal(*test, false)), query: parts(*query, false) }
        }
        Expr::Is(part, Some(true)) => Expr::Is(Box::new(normal(*part, true)), Some(true)),
        Expr::Case(arms, default) => {
            let arms = arms.into_iter().map(|(when, then)| (normal(when, true), normal(then, truth)));
            let arms = arms.collect();
            Expr::Case(arms, Box::new(normal(*default, truth)))
        }
        other => walk::map(other, &mut |part, inside| normal(part, inside == Inside::Query)),
    }
}

/// Operands of the same kind become operands of the whole.
fn flat(parts: Box<[Expr]>, truth: bool, open: fn(Expr) -> Result<Box<[Expr]>, Expr>) -> Box<[Expr]> {
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        match open(normal(part, truth)) {
            Ok(inner) => all.extend(inner),
            Err(part) => all.push(part),
        }
    }
    all.into()
}

/// What a query does to rows is decided by TRUE alone; its outputs count by their values.
fn parts(query: Query, outputs_truth: bool) -> Box<Query> {
    let Query { scans, condition, outputs } = query;
    let condition = normal(condition, true);
    let outputs = outputs.into_iter().map(|output| normal(output, outputs_truth)).collect();
    Box::new(Query { scans, condition, outputs })
}

/// Whether it gives one row, always.
fn is_plain(query: &Query) -> bool {
    query.scans.is_empty() && query.condition == Expr::Const(Value::Bool(true)) && query.outputs.len() == 1
}

fn plain(query: Query, truth: bool, keep: fn(Box<Query>) -> Expr) -> Expr {
    match query.outputs.first().and_then(|output| walk::lowered(output, 1)) {
        Some(output) => normal(output, truth),
        None => keep(parts(query, truth)),
    }
}

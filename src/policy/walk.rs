//! Ways through expressions: their direct parts, and what stands between a column and the query that it reads.

use super::expression::{Column, Expr, Query, Scan};
use super::function::Function;

/// What a part of an expression stands in, that the expression itself does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Nothing.
    Same,
    /// A query, whose scans it sees.
    Query,
    /// A test, whose outputs it sees.
    Test,
}

/// Visits the direct parts of an expression.
pub fn parts<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Expr, Inside)) {
    let mut all = |parts: &'a [Expr]| parts.iter().for_each(|part| visit(part, Inside::Same));
    match expr {
        Expr::Const(_)
        | Expr::Column(_)
        | Expr::Param(_)
        | Expr::Setting(_)
        | Expr::Now
        | Expr::Output(_) => {}
        Expr::Call(_, parts)
        | Expr::And(parts)
        | Expr::Or(parts)
        | Expr::Coalesce(parts)
        | Expr::Array(parts) => all(parts),
        Expr::Not(part) | Expr::IsNull(part) | Expr::Is(part, _) => visit(part, Inside::Same),
        Expr::Distinct(_, pair) | Expr::NullIf(_, pair) => all(&**pair),
        Expr::Elements { arguments, .. } => all(&**arguments),
        Expr::Case(arms, default) => {
            for (condition, result) in arms {
                visit(condition, Inside::Same);
                visit(result, Inside::Same);
            }
            visit(default, Inside::Same);
        }
        Expr::Exists(query) | Expr::Scalar(query) | Expr::First(query) | Expr::Collected(query) => {
            query_parts(query, visit);
        }
        Expr::Quantified { test, query, .. } => {
            visit(test, Inside::Test);
            query_parts(query, visit);
        }
    }
}

fn query_parts<'a>(query: &'a Query, visit: &mut dyn FnMut(&'a Expr, Inside)) {
    visit(&query.condition, Inside::Query);
    query.outputs.iter().for_each(|output| visit(output, Inside::Query));
}

/// Makes an expression anew from its direct parts.
pub fn map(expr: Expr, change: &mut dyn FnMut(Expr, Inside) -> Expr) -> Expr {
    let same = Inside::Same;
    match expr {
        Expr::Const(_)
        | Expr::Column(_)
        | Expr::Param(_)
        | Expr::Setting(_)
        | Expr::Now
        | Expr::Output(_) => expr,
        Expr::Call(function, parts) => Expr::Call(function, map_all(parts, change)),
        Expr::And(parts) => Expr::And(map_all(parts, change)),
        Expr::Or(parts) => Expr::Or(map_all(parts, change)),
        Expr::Coalesce(parts) => Expr::Coalesce(map_all(parts, change)),
        Expr::Array(parts) => Expr::Array(map_all(parts, change)),
        Expr::Not(part) => Expr::Not(Box::new(change(*part, same))),
        Expr::IsNull(part) => Expr::IsNull(Box::new(change(*part, same))),
        Expr::Is(part, wanted) => Expr::Is(Box::new(change(*part, same)), wanted),
        Expr::Distinct(function, pair) => Expr::Distinct(function, map_pair(*pair, change)),
        Expr::NullIf(function, pair) => Expr::NullIf(function, map_pair(*pair, change)),
        Expr::Elements { function, all, arguments } => {
            Expr::Elements { function, all, arguments: map_pair(*arguments, change) }
        }
        Expr::Case(arms, default) => {
            let arms = arms.into_iter().map(|(condition, result)| {
                let condition = change(condition, same);
                (condition, change(result, same))
            });
            let arms = arms.collect();
            Expr::Case(arms, Box::new(change(*default, same)))
        }
        Expr::Exists(query) => Expr::Exists(map_query(*query, change)),
        Expr::Scalar(query) => Expr::Scalar(map_query(*query, change)),
        Expr::First(query) => Expr::First(map_query(*query, change)),
        Expr::Collected(query) => Expr::Collected(map_query(*query, change)),
        Expr::Quantified { all, test, query } => {
            let test = Box::new(change(*test, Inside::Test));
            Expr::Quantified { all, test, query: map_query(*query, change) }
        }
    }
}

fn map_all(parts: Box<[Expr]>, change: &mut dyn FnMut(Expr, Inside) -> Expr) -> Box<[Expr]> {
    parts.into_iter().map(|part| change(part, Inside::Same)).collect()
}

fn map_pair([a, b]: [Expr; 2], change: &mut dyn FnMut(Expr, Inside) -> Expr) -> Box<[Expr; 2]> {
    let a = change(a, Inside::Same);
    Box::new([a, change(b, Inside::Same)])
}

fn map_query(query: Query, change: &mut dyn FnMut(Expr, Inside) -> Expr) -> Box<Query> {
    let Query { scans, condition, outputs } = query;
    let condition = change(condition, Inside::Query);
    let outputs = outputs.into_iter().map(|output| change(output, Inside::Query)).collect();
    Box::new(Query { scans, condition, outputs })
}

/// Whether `wanted` is true of the expression or anything in it.
pub fn any(expr: &Expr, wanted: &dyn Fn(&Expr) -> bool) -> bool {
    let mut found = wanted(expr);
    if !found {
        parts(expr, &mut |part, _| found = found || any(part, wanted));
    }
    found
}

/// Visits the columns in an expression, each with the number of queries between it and the expression.
pub fn columns(expr: &Expr, depth: usize, visit: &mut dyn FnMut(Column, usize)) {
    if let Expr::Column(column) = expr {
        visit(*column, depth);
    }
    parts(expr, &mut |part, inside| columns(part, depth + usize::from(inside == Inside::Query), visit));
}

/// Changes the columns in an expression, each with the number of queries between it and the expression.
pub fn map_columns(expr: Expr, depth: usize, change: &mut dyn FnMut(Column, usize) -> Column) -> Expr {
    if let Expr::Column(column) = expr {
        return Expr::Column(change(column, depth));
    }
    map(expr, &mut |part, inside| map_columns(part, depth + usize::from(inside == Inside::Query), change))
}

/// The expression as it reads from inside one more query.
pub fn raised(expr: Expr) -> Expr {
    map_columns(expr, 0, &mut |column, depth| {
        let outer = usize::from(column.level >= depth);
        Column { level: column.level + outer, ..column }
    })
}

/// The expression as it reads from outside of the `queries` that it stands in, if it does not read them.
pub fn lowered(expr: &Expr, queries: usize) -> Option<Expr> {
    let mut reads = false;
    columns(expr, 0, &mut |column, depth| {
        reads |= (depth..depth + queries).contains(&column.level);
    });
    if reads || has_free_output(expr) {
        return None;
    }
    Some(map_columns(expr.clone(), 0, &mut |column, depth| {
        let outer = if column.level >= depth { queries } else { 0 };
        Column { level: column.level - outer, ..column }
    }))
}

/// Whether it reads outputs of a test that it stands in.
pub fn has_free_output(expr: &Expr) -> bool {
    if matches!(expr, Expr::Output(_)) {
        return true;
    }
    let mut found = false;
    parts(expr, &mut |part, inside| found = found || (inside != Inside::Test && has_free_output(part)));
    found
}

/// A test about outputs, as a condition in the query that gives them.
pub fn in_query(test: Expr, outputs: &[Expr]) -> Expr {
    fn replace(expr: Expr, outputs: &[Expr], depth: usize) -> Expr {
        if let Expr::Output(place) = expr {
            let mut output = outputs.get(place).cloned().unwrap_or(Expr::Output(place));
            for _ in 0..depth {
                output = raised(output);
            }
            return output;
        }
        map(expr, &mut |part, inside| match inside {
            // The outputs in there are those of another test.
            Inside::Test => part,
            Inside::Same => replace(part, outputs, depth),
            Inside::Query => replace(part, outputs, depth + 1),
        })
    }
    replace(raised(test), outputs, 0)
}

/// The operands of nested ANDs.
pub fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::And(parts) => parts.iter().flat_map(conjuncts).collect(),
        _ => vec![expr],
    }
}

/// Whether evaluating it may raise an error.
pub fn raises(expr: &Expr) -> bool {
    any(expr, &raises_itself)
}

/// Whether it may raise an error that none of its parts raises.
pub fn raises_itself(expr: &Expr) -> bool {
    match expr {
        Expr::Scalar(query) => !query.scans.is_empty(),
        _ => function(expr).is_some_and(|function| function.raises),
    }
}

/// The function that it calls itself.
pub fn function(expr: &Expr) -> Option<&Function> {
    match expr {
        Expr::Call(function, _)
        | Expr::Distinct(function, _)
        | Expr::NullIf(function, _)
        | Expr::Elements { function, .. } => Some(function),
        _ => None,
    }
}

/// Visits all scans in an expression.
pub fn scans<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Scan)) {
    if let Expr::Exists(query)
    | Expr::Scalar(query)
    | Expr::First(query)
    | Expr::Collected(query)
    | Expr::Quantified { query, .. } = expr
    {
        query.scans.iter().for_each(&mut *visit);
    }
    parts(expr, &mut |part, _| scans(part, visit));
}

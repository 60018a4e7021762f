//! Moving expressions between levels.

use crate::policy::expression::{Expr, Query};
use crate::policy::walk::{self, Inside};

/// Moves an expression to where `by` more queries enclose it: columns of what is outside of it are counted anew. Says
/// how many nodes it has.
pub(super) fn shift(expr: &mut Expr, by: usize) -> usize {
    visit(expr, 0, &mut |expr, inside| {
        if let Expr::Column(column) = expr
            && column.level >= inside
        {
            column.level += by;
        }
    })
}

/// The same expression where `by` fewer queries enclose it; `None` if it reads rows of those.
pub(super) fn lowered(expr: &Expr, by: usize) -> Option<Expr> {
    let mut lowered = expr.clone();
    let mut is_free = true;
    visit(&mut lowered, 0, &mut |expr, inside| {
        if let Expr::Column(column) = expr
            && column.level >= inside
        {
            match (column.level - inside).checked_sub(by) {
                Some(level) => column.level = level + inside,
                None => is_free = false,
            }
        }
    });
    is_free.then_some(lowered)
}

/// What an expression may do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traits {
    /// Raise an error.
    pub raises: bool,
    /// Read a row of its surroundings.
    pub reads: bool,
}

pub(super) fn traits(expr: &Expr) -> Traits {
    let raises = |part: &Expr| {
        matches!(part, Expr::Scalar(_)) || walk::function(part).is_some_and(|function| function.raises)
    };
    let mut reads = false;
    walk::columns(expr, 0, &mut |column, inside| reads |= column.level >= inside);
    Traits { raises: walk::any(expr, &raises), reads }
}

/// Whether an expression holds an output of a test that encloses it.
pub(super) fn has_output(expr: &Expr) -> bool {
    if matches!(expr, Expr::Output(_)) {
        return true;
    }
    let mut found = false;
    // The test of a quantified query has outputs of its own, and a query inside cannot reach those outside.
    walk::parts(expr, &mut |part, inside| found = found || (inside == Inside::Same && has_output(part)));
    found
}

/// Calls `act` with each node and how many queries of the expression enclose it. Says how many nodes there are.
fn visit(expr: &mut Expr, inside: usize, act: &mut impl FnMut(&mut Expr, usize)) -> usize {
    act(expr, inside);
    let mut all = |parts: &mut [Expr]| parts.iter_mut().map(|part| visit(part, inside, act)).sum::<usize>();
    1 + match expr {
        Expr::Const(_)
        | Expr::Column(_)
        | Expr::Param(_)
        | Expr::Setting(_)
        | Expr::Now
        | Expr::Output(_) => 0,
        Expr::Call(_, parts)
        | Expr::And(parts)
        | Expr::Or(parts)
        | Expr::Coalesce(parts)
        | Expr::Array(parts) => all(parts),
        Expr::Not(part) | Expr::IsNull(part) | Expr::Is(part, _) => visit(part, inside, act),
        Expr::Distinct(_, parts) | Expr::NullIf(_, parts) | Expr::Elements { arguments: parts, .. } => {
            all(&mut **parts)
        }
        Expr::Case(arms, default) => {
            let arms: usize =
                arms.iter_mut().map(|(when, then)| visit(when, inside, act) + visit(then, inside, act)).sum();
            arms + visit(default, inside, act)
        }
        Expr::Exists(query) | Expr::Scalar(query) | Expr::First(query) | Expr::Collected(query) => {
            visit_query(query, inside, act)
        }
        Expr::Quantified { test, query, .. } => visit(test, inside, act) + visit_query(query, inside, act),
    }
}

fn visit_query(query: &mut Query, inside: usize, act: &mut impl FnMut(&mut Expr, usize)) -> usize {
    let outputs: usize = query.outputs.iter_mut().map(|output| visit(output, inside + 1, act)).sum();
    query.scans.len() + outputs + visit(&mut query.condition, inside + 1, act)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::expression::Column;
    use crate::policy::value::Value;

    fn column(level: usize) -> Expr {
        Expr::Column(Column { level, scan: 0, place: 0 })
    }

    fn query(condition: Expr) -> Expr {
        Expr::Exists(Box::new(Query { scans: Box::default(), condition, outputs: Box::default() }))
    }

    #[test]
    fn only_what_is_outside_moves() {
        let mut expr = Expr::And([column(0), query(Expr::And([column(0), column(1)].into()))].into());
        let before = expr.clone();
        shift(&mut expr, 2);
        let expected = Expr::And([column(2), query(Expr::And([column(0), column(3)].into()))].into());
        assert_eq!(expr, expected);
        assert_eq!(lowered(&expr, 2), Some(before));
        assert_eq!(lowered(&expr, 3), None, "it reads a row of the third query outwards");
    }

    #[test]
    fn only_rows_around_are_read() {
        assert!(!traits(&query(column(0))).reads);
        assert!(traits(&query(column(1))).reads);
        assert!(!traits(&Expr::Const(Value::Null)).raises);
    }
}

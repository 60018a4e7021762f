//! Takes alternatives in queries apart where rows can then be looked up, and would all be looked at otherwise.
//!
//! `EXISTS (… AND (a OR b))` is `EXISTS (… AND a) OR EXISTS (… AND b)`: somebody who stands in one of two columns is
//! found by an index of each.
//!
//! **Invariant:** nothing that may raise an error is moved, so that errors stay where Postgres has them.

use super::expression::{Expr, Query};
use super::plan::is_looked_up;
use super::walk;

/// Into how many queries one is split at most.
const QUERIES_MAX: usize = 8;

/// The same condition, of which each query has its alternatives apart where that helps.
pub fn split(expr: Expr) -> Expr {
    match walk::map(expr, &mut |part, _| split(part)) {
        Expr::Exists(query) => match alternatives(&query) {
            Some(queries) => {
                Expr::Or(queries.into_iter().map(|query| Expr::Exists(Box::new(query))).collect())
            }
            None => Expr::Exists(query),
        },
        other => other,
    }
}

/// The queries that together find what this one finds, each of them by lookups alone.
fn alternatives(query: &Query) -> Option<Vec<Query>> {
    let raises = walk::raises(&query.condition) || query.outputs.iter().any(walk::raises);
    if raises || query.scans.is_empty() || is_looked_up(query) {
        return None;
    }
    let conjuncts = walk::conjuncts(&query.condition);
    conjuncts.iter().enumerate().find_map(|(place, conjunct)| {
        let Expr::Or(arms) = conjunct else { return None };
        if arms.len() > QUERIES_MAX {
            return None;
        }
        let with = |arm: &Expr| {
            let mut parts: Vec<Expr> = conjuncts.iter().map(|part| (*part).clone()).collect();
            parts[place] = arm.clone();
            Query { condition: Expr::And(parts.into()), ..query.clone() }
        };
        let queries: Vec<Query> = arms.iter().map(with).collect();
        queries.iter().all(is_looked_up).then_some(queries)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{
        Full, MOMENT, Tables, and, call, column, eq, exists, inverse, less, me, or, rule, session,
    };
    use super::super::program::{Caller, Program, Verdict};
    use super::super::value::Value;
    use super::*;
    use crate::change::RelationId;

    /// Whether the caller and somebody whom the row names in one of two columns take part in the same.
    fn shares() -> Expr {
        let caller = or([eq(column(0, 0, 1), me()), eq(column(0, 0, 2), me())]);
        let named = or([eq(column(0, 1, 1), column(1, 0, 0)), eq(column(0, 1, 2), column(1, 0, 1))]);
        exists(&[1, 1], and([eq(column(0, 0, 0), column(0, 1, 0)), caller, named]))
    }

    #[test]
    fn alternatives_are_looked_up_each() {
        let program = Program::new(vec![rule(shares())], vec![]);
        let keys = [(RelationId(1), 0), (RelationId(1), 1), (RelationId(1), 2)];
        assert_eq!(program.keys(), keys);
        let rows = [[1, 7, 0], [1, 0, 8], [2, 9, 0]];
        let full = |numbers: &[i64]| {
            let values = numbers.iter().map(|number| Value::Int(*number)).chain([Value::Null]);
            Full(values.collect())
        };
        let tables = Tables([(RelationId(1), rows.iter().map(|row| full(row)).collect())].into());
        for (who, row, expected) in [
            (7, [7, -1, 0], Verdict::Passes),
            (7, [-1, 8, 0], Verdict::Passes),
            (8, [7, -1, 0], Verdict::Passes),
            (8, [8, -1, 0], Verdict::Fails),
            (9, [7, -1, 0], Verdict::Fails),
            (9, [-1, 8, 0], Verdict::Fails),
        ] {
            let caller = Caller { settings: &session(&who.to_string()), moment: MOMENT };
            let params = program.params(&caller).unwrap();
            assert_eq!(program.judge(&params, &full(&row), &tables, &MOMENT), expected, "{who} {row:?}");
        }
    }

    #[test]
    fn what_would_not_help_or_may_raise_an_error_stays() {
        let same = || eq(column(0, 0, 0), column(1, 0, 0));
        let mine = || or([eq(column(0, 0, 1), column(1, 0, 1)), eq(column(0, 0, 2), column(1, 0, 1))]);
        let raising = eq(call(inverse(), [column(0, 0, 1)]), column(1, 0, 1));
        let many = Expr::Or(vec![eq(column(0, 0, 1), column(1, 0, 1)); QUERIES_MAX + 1].into());
        for condition in [
            exists(&[1], and([same(), mine()])),
            exists(&[1], or([same(), call(less(), [column(0, 0, 1), column(1, 0, 1)])])),
            exists(&[1], and([mine(), raising])),
            exists(&[1], many),
            exists(&[], mine()),
        ] {
            assert_eq!(split(condition.clone()), condition);
        }
        assert_ne!(split(exists(&[1], mine())), exists(&[1], mine()));
    }
}

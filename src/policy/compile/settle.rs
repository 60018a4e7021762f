//! What is seen of an expression only once it is whole: which columns it reads, and what may raise an error.

use std::collections::BTreeSet;

use super::Result;
use super::free::lowered;
use crate::policy::expression::{Expr, Query};
use crate::policy::uncompiled::{Reason, Uncompiled};

/// Fills in which columns each scan reads. Refuses what may raise an error for rows of other relations: Postgres may
/// look at more of them than are looked at here. What may raise an error in a query by the judged row alone is added to
/// `guards`: Postgres may evaluate it though the query finds no row.
pub(super) fn settle(expr: &mut Expr, guards: &mut Vec<Expr>) -> Result<()> {
    Settler { queries: Vec::new(), guards }.visit(expr)?;
    Ok(())
}

/// What a part depends on of what is outside of it.
#[derive(Clone, Copy, Default)]
struct Free {
    /// The queries whose rows it reads, by a bit each; rows of very deep ones share one.
    queries: u128,
    /// Whether it reads the output that the enclosing test is about.
    output: bool,
    /// Whether it reads the judged row.
    row: bool,
}

impl Free {
    fn and(self, other: Self) -> Self {
        Self {
            queries: self.queries | other.queries,
            output: self.output || other.output,
            row: self.row || other.row,
        }
    }

    fn reads_scans(self) -> bool {
        self.queries != 0 || self.output
    }
}

struct Settler<'g> {
    guards: &'g mut Vec<Expr>,
    /// The queries that enclose the part, outermost first: the columns read of each scan.
    queries: Vec<Vec<BTreeSet<usize>>>,
}

fn bit(query: usize) -> u128 {
    1 << query.min(127)
}

impl Settler<'_> {
    fn visit(&mut self, expr: &mut Expr) -> Result<Free> {
        match expr {
            Expr::Const(_) | Expr::Param(_) | Expr::Setting(_) | Expr::Now => Ok(Free::default()),
            Expr::Output(_) => Ok(Free { output: true, ..Free::default() }),
            Expr::Column(column) => {
                let Some(query) = self.queries.len().checked_sub(column.level + 1) else {
                    return Ok(Free { row: true, ..Free::default() });
                };
                self.queries[query][column.scan].insert(column.place);
                Ok(Free { queries: bit(query), ..Free::default() })
            }
            Expr::Call(function, parts) => {
                let free = self.all(parts)?;
                let raises = function.raises.then_some(function.symbol);
                self.check(raises, free, expr)
            }
            Expr::And(parts) | Expr::Or(parts) | Expr::Coalesce(parts) | Expr::Array(parts) => {
                self.all(parts)
            }
            Expr::Not(part) | Expr::IsNull(part) | Expr::Is(part, _) => self.visit(part),
            Expr::Distinct(function, parts)
            | Expr::NullIf(function, parts)
            | Expr::Elements { function, arguments: parts, .. } => {
                let free = self.all(&mut **parts)?;
                let raises = function.raises.then_some(function.symbol);
                self.check(raises, free, expr)
            }
            Expr::Case(arms, default) => {
                let mut free = self.visit(default)?;
                for (when, then) in arms {
                    free = free.and(self.visit(when)?).and(self.visit(then)?);
                }
                Ok(free)
            }
            Expr::Exists(query) | Expr::First(query) | Expr::Collected(query) => self.query(query),
            Expr::Scalar(query) => {
                let free = self.query(query)?;
                // A second row raises an error.
                self.check(Some("a subquery that gives one value"), free, expr)
            }
            Expr::Quantified { test, query, .. } => {
                let test = self.visit(test)?;
                Ok(Free { output: false, ..test }.and(self.query(query)?))
            }
        }
    }

    /// What is to be done about an expression that may raise an error.
    fn check(&mut self, raises: Option<&str>, free: Free, expr: &Expr) -> Result<Free> {
        let Some(raises) = raises else { return Ok(free) };
        if free.reads_scans() {
            return Err(Uncompiled::new(Reason::Raises, raises));
        }
        // What depends on the caller alone is evaluated in any case.
        if free.row && !self.queries.is_empty() {
            let guard = lowered(expr, self.queries.len());
            self.guards.push(guard.ok_or_else(|| Uncompiled::new(Reason::Raises, raises))?);
        }
        Ok(free)
    }

    fn all(&mut self, parts: &mut [Expr]) -> Result<Free> {
        parts.iter_mut().try_fold(Free::default(), |free, part| Ok(free.and(self.visit(part)?)))
    }

    fn query(&mut self, query: &mut Query) -> Result<Free> {
        self.queries.push(vec![BTreeSet::new(); query.scans.len()]);
        let mut free = self.visit(&mut query.condition)?;
        free = free.and(self.all(&mut query.outputs)?);
        let scans = self.queries.pop().unwrap_or_default();
        for (scan, columns) in query.scans.iter_mut().zip(scans) {
            scan.columns = columns.iter().copied().collect();
        }
        free.queries &= !bit(self.queries.len());
        Ok(free)
    }
}

//! From a changed row of a relation that policies read to those whose rights may have changed by it.

use smallvec::SmallVec;

use super::elements;
use super::evaluate::{Evaluator, NoRelations, Rows};
use super::expression::{Column, Expr, Query};
use super::function::Moment;
use super::plan::{Node, Planner, Use};
use super::program::{Params, Tuple};
use super::value::Value;
use super::walk;
use crate::change::RelationId;

/// A row that names more callers than this counts as naming all.
const NAMED_MAX: usize = 256;

/// Whose verdicts may have changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Affected {
    /// Nobody's.
    Nobody,
    /// Those of callers of whom any of these parameters, by place, has this value.
    Values(SmallVec<[(usize, Value); 2]>),
    /// Anybody's.
    Everybody,
}

impl Affected {
    /// Whether those of a caller with these parameters.
    pub fn includes(&self, params: &Params) -> bool {
        match self {
            Self::Nobody => false,
            Self::Values(values) => values.iter().any(|(place, value)| params.0.get(*place) == Some(value)),
            Self::Everybody => true,
        }
    }
}

/// One scan of a relation, and what its query demands of a row by itself.
#[derive(Clone, Debug)]
pub struct Guard {
    relation: RelationId,
    /// Columns of which one must equal a parameter, if that is so.
    ties: Option<Box<[Tie]>>,
    /// Conditions on the row alone.
    filters: Box<[Node]>,
}

/// A column that must equal a parameter, or hold it as an element.
#[derive(Clone, Copy, Debug)]
struct Tie {
    place: usize,
    param: usize,
    holds: bool,
}

impl Guard {
    /// Those of all scans in a condition.
    pub fn of(expr: &Expr, guards: &mut Vec<Self>) {
        if let Expr::Exists(query)
        | Expr::Scalar(query)
        | Expr::First(query)
        | Expr::Collected(query)
        | Expr::Quantified { query, .. } = expr
        {
            guards.extend((0..query.scans.len()).map(|scan| Self::of_scan(query, scan)));
        }
        walk::parts(expr, &mut |part, _| Self::of(part, guards));
    }

    fn of_scan(query: &Query, scan: usize) -> Self {
        let conjuncts = walk::conjuncts(&query.condition);
        let ties = conjuncts.iter().find_map(|conjunct| ties(conjunct, scan)).map(Vec::into_boxed_slice);
        let filters = conjuncts.iter().filter(|conjunct| reads_only(conjunct, scan)).map(|conjunct| {
            let alone = walk::map_columns((*conjunct).clone(), 0, &mut |column, _| Column {
                level: 0,
                scan: 0,
                ..column
            });
            Planner::new().node(&alone, Use::VALUE)
        });
        Self { relation: query.scans[scan].relation, ties, filters: filters.collect() }
    }
}

/// The columns of a scan of which one must equal a parameter for the condition to be true.
fn ties(condition: &Expr, scan: usize) -> Option<Vec<Tie>> {
    let (function, pair, holds) = match condition {
        Expr::And(parts) => return parts.iter().find_map(|part| ties(part, scan)),
        Expr::Or(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(|part| ties(part, scan)).collect();
            return parts.map(|parts| parts.concat());
        }
        Expr::Call(function, arguments) => (function, &**arguments, false),
        Expr::Elements { function, all: false, arguments } => (function, &arguments[..], true),
        _ => return None,
    };
    match pair {
        _ if !function.is_hash_equality || !function.strict => None,
        [Expr::Param(param), Expr::Column(column)] if is_of(column, scan) => {
            Some(vec![Tie { place: column.place, param: *param, holds }])
        }
        [Expr::Column(column), Expr::Param(param)] if is_of(column, scan) && !holds => {
            Some(vec![Tie { place: column.place, param: *param, holds }])
        }
        _ => None,
    }
}

fn is_of(column: &Column, scan: usize) -> bool {
    column.level == 0 && column.scan == scan
}

/// Whether a condition depends on the row of this scan and nothing else, so that it is as true now as at any time.
fn reads_only(conjunct: &Expr, scan: usize) -> bool {
    let mut only = true;
    walk::columns(conjunct, 0, &mut |column, _| only &= column.level == 0 && column.scan == scan);
    only && !walk::any(conjunct, &|part| match part {
        Expr::Param(_)
        | Expr::Setting(_)
        | Expr::Now
        | Expr::Output(_)
        | Expr::Exists(_)
        | Expr::Scalar(_)
        | Expr::First(_)
        | Expr::Collected(_)
        | Expr::Quantified { .. } => true,
        part => walk::function(part).is_some_and(|function| function.reads_clock),
    })
}

/// Whose verdicts may have changed because this row of the relation came or went: a superset.
pub fn affected(guards: &[Guard], relation: RelationId, row: &dyn Tuple) -> Affected {
    // Nothing that is evaluated here reads the clock.
    let moment = Moment { now_micros: 0 };
    let mut values: SmallVec<[(usize, Value); 2]> = SmallVec::new();
    for guard in guards.iter().filter(|guard| guard.relation == relation) {
        let evaluator = Evaluator::new(&[], &NoRelations, &moment);
        let rows = Rows::of(row);
        if guard.filters.iter().any(|filter| matches!(evaluator.truth(filter, &rows), Ok(None | Some(false))))
        {
            continue;
        }
        let Some(ties) = &guard.ties else { return Affected::Everybody };
        for tie in ties {
            let Ok(value) = row.value(tie.place) else { return Affected::Everybody };
            let named = match &value {
                Value::Null => continue,
                array if tie.holds => match elements::of(array) {
                    Ok(elements) => elements,
                    Err(_) => return Affected::Everybody,
                },
                value => std::slice::from_ref(value),
            };
            for value in named.iter().filter(|value| !value.is_null()) {
                if !values.iter().any(|(param, known)| *param == tie.param && known == value) {
                    values.push((tie.param, value.clone()));
                }
            }
            if values.len() > NAMED_MAX {
                return Affected::Everybody;
            }
        }
    }
    if values.is_empty() { Affected::Nobody } else { Affected::Values(values) }
}

//! From a row to those who may see it: derived from a program once, so that not all callers have to be judged.
//!
//! A [`Reach`] names, for a row, parameters and the values that they must have for a condition to be true. It may name
//! too many, never too few: whoever it names is judged by the whole program. Where Postgres would raise an error the
//! row is hidden, so that an error needs to be found by nobody.

use std::ops::ControlFlow;

use super::elements;
use super::evaluate::{Evaluator, Rows};
use super::expression::{Expr, Query};
use super::function::Function;
use super::plan::{Lookup, Node, Planner, Use};
use super::program::Rule;
use super::value::Value;
use super::walk;

/// For whom a condition may be true.
#[derive(Clone, Debug)]
pub enum Reach {
    /// For none.
    Nobody,
    /// For all, as far as is known.
    Everybody,
    /// For all or none.
    When(Node),
    /// For those who stand under this value in an index.
    Value {
        /// The place in [`Indexes`].
        index: usize,
        /// The value.
        value: Node,
    },
    /// For those who stand under an element of this array.
    Each {
        /// The place in [`Indexes`].
        index: usize,
        /// The array.
        array: Node,
    },
    /// For those for whom any may be true.
    Any(Box<[Self]>),
    /// For those for whom all may be true.
    All(Box<[Self]>),
    /// For those whom a row of the query leads to.
    Query(Box<Lookup>, Box<Self>),
}

/// Which indexes a [`Reach`] looks into: the parameter, and what a caller stands under there.
pub type Indexes = Vec<(usize, Under)>;

/// What callers stand under in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// The parameter.
    Value,
    /// Each element of it.
    Elements,
    /// Each element of it, where elements are compared by the default equality of their type.
    Overlap,
    /// One element of it, where all must be found, by the default equality of their type.
    Contained,
}

/// Where callers stand.
pub trait Standing {
    /// Adds those who stand under a value.
    fn under(&self, index: usize, value: &Value, found: &mut Vec<u32>);
    /// Adds those who are looked up by any array.
    fn always(&self, index: usize, found: &mut Vec<u32>);
    /// How many may be found before it costs less to judge all.
    fn enough(&self) -> usize;
}

/// Whether those found are all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// They are.
    These,
    /// Nothing is known: it may be anybody.
    Anybody,
}

/// Fewer than so many found by one operand of AND are not made fewer still.
const FEW: usize = 4;

impl Reach {
    /// For whom a program may pass.
    pub fn of(permissive: &[Rule], restrictive: &[Rule], planner: &mut Planner) -> (Self, Indexes) {
        let mut builder = Builder { planner, indexes: Vec::new() };
        let mut rules = |rules: &[Rule]| -> Vec<Self> {
            let reach = |rule: &Rule| match &rule.condition {
                Ok(condition) => builder.reach(condition),
                Err(_) => Self::Everybody,
            };
            rules.iter().map(reach).collect()
        };
        let permissive = any(rules(permissive));
        let mut parts = rules(restrictive);
        parts.push(permissive);
        (all(parts), builder.indexes)
    }

    /// Adds those for whom the condition may be true to `found`, some perhaps twice.
    pub fn collect(
        &self,
        evaluator: &Evaluator<'_>,
        rows: &Rows<'_>,
        standing: &dyn Standing,
        found: &mut Vec<u32>,
    ) -> Found {
        match self {
            Self::Nobody => Found::These,
            Self::Everybody => Found::Anybody,
            Self::When(condition) => match evaluator.truth(condition, rows) {
                Ok(Some(true)) | Err(_) => Found::Anybody,
                Ok(_) => Found::These,
            },
            Self::Value { index, value } => match evaluator.value(value, rows) {
                Ok(Value::Null) => Found::These,
                Ok(value) => {
                    standing.under(*index, &value, found);
                    Found::These
                }
                Err(_) => Found::Anybody,
            },
            Self::Each { index, array } => match evaluator.value(array, rows) {
                Ok(Value::Null) => Found::These,
                Ok(array) => match elements::of(&array) {
                    Ok(elements) => {
                        standing.always(*index, found);
                        let known = elements.iter().filter(|element| !element.is_null());
                        known.for_each(|element| standing.under(*index, element, found));
                        Found::These
                    }
                    Err(_) => Found::Anybody,
                },
                Err(_) => Found::Anybody,
            },
            Self::Any(parts) => {
                let mut parts = parts.iter().map(|part| part.collect(evaluator, rows, standing, found));
                if parts.all(|part| part == Found::These) { Found::These } else { Found::Anybody }
            }
            Self::All(parts) => Self::fewest(parts, evaluator, rows, standing, found),
            Self::Query(lookup, inner) => {
                let mut all = Found::These;
                let searched = evaluator.rows(lookup, rows, &mut |rows, _| {
                    all = inner.collect(evaluator, rows, standing, found);
                    if found.len() > standing.enough() {
                        all = Found::Anybody;
                    }
                    if all == Found::Anybody { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                if searched.is_err() { Found::Anybody } else { all }
            }
        }
    }

    /// Those of the operand that finds the fewest.
    fn fewest(
        parts: &[Self],
        evaluator: &Evaluator<'_>,
        rows: &Rows<'_>,
        standing: &dyn Standing,
        found: &mut Vec<u32>,
    ) -> Found {
        let start = found.len();
        let mut best = None;
        for part in parts {
            let middle = found.len();
            if part.collect(evaluator, rows, standing, found) == Found::Anybody {
                found.truncate(middle);
                continue;
            }
            let these = found.len() - middle;
            if best.is_some_and(|best| best <= these) {
                found.truncate(middle);
            } else {
                found.drain(start..middle);
                best = Some(these);
            }
            if best.is_some_and(|best| best < FEW) {
                break;
            }
        }
        if best.is_some() { Found::These } else { Found::Anybody }
    }

    /// Cheaper ones are looked at first.
    fn cost(&self) -> u8 {
        match self {
            Self::Nobody => 0,
            Self::Value { .. } | Self::Each { .. } => 1,
            Self::When(_) => 2,
            Self::Any(_) | Self::All(_) => 3,
            Self::Query(..) => 4,
            Self::Everybody => 5,
        }
    }
}

fn any(parts: Vec<Reach>) -> Reach {
    let mut parts: Vec<Reach> = parts.into_iter().filter(|part| !matches!(part, Reach::Nobody)).collect();
    if parts.iter().any(|part| matches!(part, Reach::Everybody)) {
        return Reach::Everybody;
    }
    match parts.len() {
        0 => Reach::Nobody,
        1 => parts.remove(0),
        _ => Reach::Any(parts.into()),
    }
}

fn all(parts: Vec<Reach>) -> Reach {
    let mut parts: Vec<Reach> = parts.into_iter().filter(|part| !matches!(part, Reach::Everybody)).collect();
    if parts.iter().any(|part| matches!(part, Reach::Nobody)) {
        return Reach::Nobody;
    }
    parts.sort_by_key(Reach::cost);
    match parts.len() {
        0 => Reach::Everybody,
        1 => parts.remove(0),
        _ => Reach::All(parts.into()),
    }
}

struct Builder<'p> {
    planner: &'p mut Planner,
    indexes: Indexes,
}

impl Builder<'_> {
    fn index(&mut self, param: usize, under: Under) -> usize {
        let wanted = (param, under);
        self.indexes.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.indexes.push(wanted);
            self.indexes.len() - 1
        })
    }

    fn reach(&mut self, expr: &Expr) -> Reach {
        if !is_tied(expr) {
            return match expr {
                Expr::Const(Value::Bool(true)) => Reach::Everybody,
                Expr::Const(_) => Reach::Nobody,
                _ => Reach::When(self.planner.node(expr, Use::CONDITION)),
            };
        }
        match expr {
            Expr::Param(param) => {
                let index = self.index(*param, Under::Value);
                Reach::Value { index, value: Node::Const(Value::Bool(true)) }
            }
            Expr::And(parts) => all(parts.iter().map(|part| self.reach(part)).collect()),
            Expr::Or(parts) | Expr::Coalesce(parts) => {
                any(parts.iter().map(|part| self.reach(part)).collect())
            }
            Expr::Case(arms, default) => {
                let results = arms.iter().map(|(_, result)| result).chain([&**default]);
                any(results.map(|result| self.reach(result)).collect())
            }
            Expr::Is(part, Some(true)) => self.reach(part),
            Expr::Exists(query) => self.query(&query.scans, &query.condition),
            Expr::Scalar(query) | Expr::First(query) => match query.outputs.first() {
                Some(output) => {
                    let condition = Expr::And([query.condition.clone(), output.clone()].into());
                    self.query(&query.scans, &condition)
                }
                None => Reach::Everybody,
            },
            Expr::Call(function, arguments) => self.call(function, arguments),
            Expr::Elements { function, all: false, arguments } => self.elements(function, arguments),
            _ => Reach::Everybody,
        }
    }

    /// Conditions that do not depend on the caller find rows; from those follows the caller.
    fn query(&mut self, scans: &[super::expression::Scan], condition: &Expr) -> Reach {
        let (tied, free): (Vec<_>, Vec<_>) =
            walk::conjuncts(condition).into_iter().cloned().partition(is_tied);
        let query = Query { scans: scans.into(), condition: Expr::And(free.into()), outputs: Box::default() };
        let (lookup, frame) = self.planner.lookup(&query, None);
        let Self { planner, indexes } = self;
        let mut found = std::mem::take(indexes);
        let inner = planner.within(&frame, |planner| {
            let mut builder = Builder { planner, indexes: std::mem::take(&mut found) };
            let inner = builder.reach(&Expr::And(tied.into()));
            found = builder.indexes;
            inner
        });
        self.indexes = found;
        match inner {
            Reach::Nobody => Reach::Nobody,
            inner => Reach::Query(Box::new(lookup), Box::new(inner)),
        }
    }

    fn call(&mut self, function: &Function, arguments: &[Expr]) -> Reach {
        if function.strict
            && let Some(place) = arguments.iter().position(is_tied_query)
        {
            return self.opened(arguments, place, |arguments| Expr::Call(*function, arguments.into()));
        }
        let [a, b] = arguments else { return Reach::Everybody };
        let param = |expr: &Expr| if let Expr::Param(param) = expr { Some(*param) } else { None };
        let (param, other, is_second) = match (param(a), param(b)) {
            (Some(param), None) => (param, b, false),
            (None, Some(param)) => (param, a, true),
            _ => return Reach::Everybody,
        };
        if is_tied(other) {
            return Reach::Everybody;
        }
        let under = match (function.symbol, is_second) {
            _ if function.is_hash_equality => {
                let index = self.index(param, Under::Value);
                return Reach::Value { index, value: self.planner.node(other, Use::VALUE) };
            }
            ("arraycontains", true) | ("arraycontained", false) => Under::Contained,
            ("arrayoverlap", _) => Under::Overlap,
            _ => return Reach::Everybody,
        };
        let index = self.index(param, under);
        Reach::Each { index, array: self.planner.node(other, Use::VALUE) }
    }

    fn elements(&mut self, function: &Function, arguments: &[Expr; 2]) -> Reach {
        let [value, array] = arguments;
        if function.strict && is_tied_query(value) {
            return self.opened(arguments, 0, |arguments| match <[Expr; 2]>::try_from(arguments) {
                Ok(pair) => Expr::Elements { function: *function, all: false, arguments: Box::new(pair) },
                Err(rest) => Expr::Array(rest.into()),
            });
        }
        if !function.is_hash_equality {
            return Reach::Everybody;
        }
        match (value, array) {
            (_, Expr::Array(elements)) => {
                let equal = |element: &Expr| Expr::Call(*function, [value.clone(), element.clone()].into());
                any(elements.iter().map(|element| self.reach(&equal(element))).collect())
            }
            (Expr::Param(param), array) if !is_tied(array) => {
                let index = self.index(*param, Under::Value);
                Reach::Each { index, array: self.planner.node(array, Use::VALUE) }
            }
            (value, Expr::Param(param)) if !is_tied(value) => {
                let index = self.index(*param, Under::Elements);
                Reach::Value { index, value: self.planner.node(value, Use::VALUE) }
            }
            _ => Reach::Everybody,
        }
    }

    /// A strict function of what a query gives is true only if a row of the query makes it so.
    fn opened(&mut self, arguments: &[Expr], place: usize, make: impl FnOnce(Vec<Expr>) -> Expr) -> Reach {
        let Some(Expr::Scalar(query) | Expr::First(query)) = arguments.get(place) else {
            return Reach::Everybody;
        };
        let Some(output) = query.outputs.first() else { return Reach::Everybody };
        let mut arguments: Vec<Expr> = arguments.iter().cloned().map(walk::raised).collect();
        arguments[place] = output.clone();
        let condition = Expr::And([query.condition.clone(), make(arguments)].into());
        self.query(&query.scans, &condition)
    }
}

/// Whether it depends on the caller.
fn is_tied(expr: &Expr) -> bool {
    walk::any(expr, &|part| matches!(part, Expr::Param(_)))
}

fn is_tied_query(expr: &Expr) -> bool {
    matches!(expr, Expr::Scalar(_) | Expr::First(_)) && is_tied(expr)
}

//! Expressions as they are evaluated: every column with a fixed slot, every query with an order of lookups.
//!
//! Rows that an expression may read stand in *slots*: 0 is the judged row, and each scan of a query takes the next one
//! in the order in which the scans are looked up. The outputs that a test is about take a slot, too.

use super::expression::{Column, Expr, Query};
use super::function::Function;
use super::value::Value;
use super::walk::{self, Inside};
use crate::change::RelationId;

/// How many relations a query may read; one that reads more is never answered.
const SCANS_MAX: usize = 32;

/// An expression, ready to be evaluated.
#[derive(Clone, Debug)]
pub enum Node {
    /// A constant.
    Const(Value),
    /// A column of the row in a slot.
    Column {
        /// The slot.
        slot: usize,
        /// The place in its relation.
        place: usize,
    },
    /// A parameter.
    Param(usize),
    /// A setting.
    Setting(std::sync::Arc<str>),
    /// `now()`
    Now,
    /// A call.
    Call(Function, Box<[Self]>),
    /// All hold.
    And {
        /// The operands.
        parts: Box<[Part]>,
        /// Whether FALSE stands even where another operand may raise an error: where either hides the row.
        false_wins: bool,
        /// Whether NULL comes to the same as FALSE here.
        null_is_false: bool,
    },
    /// Any holds.
    Or(Box<[Part]>),
    /// The contrary.
    Not(Box<Self>),
    /// `IS NULL`
    IsNull(Box<Self>),
    /// `IS TRUE` and its kin.
    Is(Box<Self>, Option<bool>),
    /// `IS DISTINCT FROM`
    Distinct(Function, Box<[Self; 2]>),
    /// `NULLIF`
    NullIf(Function, Box<[Self; 2]>),
    /// The first that is not NULL.
    Coalesce(Box<[Self]>),
    /// The first arm whose condition is true.
    Case(Box<[(Self, Self)]>, Box<Self>),
    /// An array.
    Array(Box<[Self]>),
    /// An operator between a value and elements.
    Elements {
        /// The operator.
        function: Function,
        /// ALL, not ANY.
        all: bool,
        /// The value and the array.
        arguments: Box<[Self; 2]>,
    },
    /// Whether there is a row.
    Exists(Box<Lookup>),
    /// The only row's output.
    Scalar(Box<Lookup>),
    /// Any row's output.
    First(Box<Lookup>),
    /// A test about all rows.
    Quantified {
        /// ALL, not ANY.
        all: bool,
        /// The test.
        test: Box<Self>,
        /// The slot of the outputs in the test.
        slot: usize,
        /// The rows.
        lookup: Box<Lookup>,
    },
    /// All rows' outputs.
    Collected(Box<Lookup>),
}

/// An operand of AND or OR.
#[derive(Clone, Debug)]
pub struct Part {
    /// It.
    pub node: Node,
    /// Whether evaluating it may raise an error in Postgres.
    pub raises: bool,
    /// Whether one that follows may.
    pub rest_raises: bool,
}

/// A query, with an order of lookups.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Whether something in it may raise an error for rows that are not looked at here.
    pub is_hopeless: bool,
    /// What may raise an error and reads none of the query's rows: evaluated first, whether or not there are rows.
    pub certain: Box<[Node]>,
    /// Conditions that read none of the query's rows.
    pub first: Box<[Node]>,
    /// The relations.
    pub steps: Box<[Step]>,
    /// What a combination of rows gives.
    pub outputs: Box<[Node]>,
}

/// A relation in a [`Lookup`].
#[derive(Clone, Debug)]
pub struct Step {
    /// The slot of its row.
    pub slot: usize,
    /// The relation.
    pub relation: RelationId,
    /// A column that must equal what is known by then.
    pub key: Option<StepKey>,
    /// What must be true of the rows so far.
    pub filters: Box<[Node]>,
}

/// By what rows are looked up.
#[derive(Clone, Debug)]
pub struct StepKey {
    /// The column.
    pub place: usize,
    /// What it must equal.
    pub value: Node,
    /// Whether that is an array, of which it must equal an element.
    pub each: bool,
}

/// What counts of an expression's value.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// Whether FALSE in place of an error is right: both hide the row.
    pub positive: bool,
    /// Whether NULL and FALSE come to the same.
    pub truth: bool,
}

impl Use {
    /// As a condition on the judged row that no other one can stand in for.
    pub const CONDITION: Self = Self { positive: true, truth: true };
    /// As a value.
    pub const VALUE: Self = Self { positive: false, truth: false };
    /// As a condition among others, or below a value.
    pub const TRUTH: Self = Self { positive: false, truth: true };
}

/// Makes nodes, and collects what they read.
#[derive(Debug, Default)]
pub struct Planner {
    frames: Vec<Vec<(usize, Option<RelationId>)>>,
    outputs: Vec<usize>,
    slots: usize,
    /// In how many queries: within one, errors were accounted for on its way in.
    queries: usize,
    /// Columns of the judged row.
    pub columns: Vec<usize>,
    /// Relations, with columns.
    pub relations: Vec<(RelationId, Vec<usize>)>,
    /// By which columns relations are looked up.
    pub keys: Vec<(RelationId, usize)>,
}

impl Planner {
    /// For expressions over a judged row.
    pub fn new() -> Self {
        Self { frames: vec![vec![(0, None)]], slots: 1, ..Self::default() }
    }

    /// Plans an expression.
    pub fn node(&mut self, expr: &Expr, us: Use) -> Node {
        let value = Use::VALUE;
        match expr {
            Expr::Const(value) => Node::Const(value.clone()),
            Expr::Column(column) => self.column(*column),
            Expr::Param(place) => Node::Param(*place),
            Expr::Setting(name) => Node::Setting(name.clone()),
            Expr::Now => Node::Now,
            Expr::Call(function, parts) => Node::Call(*function, self.nodes(parts)),
            Expr::And(parts) => {
                let (false_wins, null_is_false) = (us.positive, us.truth);
                Node::And { parts: self.parts(parts, us), false_wins, null_is_false }
            }
            Expr::Or(parts) => {
                // Beside an operand that holds, FALSE would show the row that an error hides.
                let positive = us.positive && parts.len() == 1;
                Node::Or(self.parts(parts, Use { positive, ..us }))
            }
            Expr::Not(part) => Node::Not(Box::new(self.node(part, value))),
            Expr::IsNull(part) => Node::IsNull(Box::new(self.node(part, value))),
            Expr::Is(part, wanted) => {
                let us = if *wanted == Some(true) { Use::TRUTH } else { value };
                Node::Is(Box::new(self.node(part, us)), *wanted)
            }
            Expr::Distinct(function, pair) => Node::Distinct(*function, self.pair(pair)),
            Expr::NullIf(function, pair) => Node::NullIf(*function, self.pair(pair)),
            Expr::Coalesce(parts) => Node::Coalesce(self.nodes(parts)),
            Expr::Case(arms, default) => {
                let us = Use { positive: false, ..us };
                let arms = arms.iter().map(|(when, then)| (self.node(when, Use::TRUTH), self.node(then, us)));
                let arms = arms.collect();
                Node::Case(arms, Box::new(self.node(default, us)))
            }
            Expr::Array(parts) => Node::Array(self.nodes(parts)),
            Expr::Elements { function, all, arguments } => {
                Node::Elements { function: *function, all: *all, arguments: self.pair(arguments) }
            }
            Expr::Exists(query) => Node::Exists(Box::new(self.lookup(query, None).0)),
            Expr::Scalar(query) => Node::Scalar(Box::new(self.lookup(query, None).0)),
            Expr::First(query) => Node::First(Box::new(self.lookup(query, None).0)),
            Expr::Collected(query) => Node::Collected(Box::new(self.lookup(query, None).0)),
            Expr::Quantified { all, test, query } => {
                let lookup = Box::new(self.lookup(query, Some(test)).0);
                let slot = self.slots;
                self.slots += 1;
                self.outputs.push(slot);
                // Errors of the test are accounted for on the way into its query.
                self.queries += 1;
                let test = Box::new(self.node(test, value));
                self.queries -= 1;
                self.outputs.pop();
                self.slots -= 1;
                Node::Quantified { all: *all, test, slot, lookup }
            }
            // One that stands in no test has no value: no row is ever found in its slot.
            Expr::Output(place) => {
                Node::Column { slot: self.outputs.last().copied().unwrap_or(usize::MAX), place: *place }
            }
        }
    }

    fn nodes(&mut self, exprs: &[Expr]) -> Box<[Node]> {
        exprs.iter().map(|expr| self.node(expr, Use::VALUE)).collect()
    }

    fn pair(&mut self, pair: &[Expr; 2]) -> Box<[Node; 2]> {
        let [a, b] = pair;
        Box::new([self.node(a, Use::VALUE), self.node(b, Use::VALUE)])
    }

    fn parts(&mut self, exprs: &[Expr], us: Use) -> Box<[Part]> {
        let mut parts: Vec<Part> = exprs
            .iter()
            .map(|expr| {
                let raises = self.queries == 0 && walk::raises(expr);
                Part { node: self.node(expr, us), raises, rest_raises: false }
            })
            .collect();
        let mut rest = false;
        for part in parts.iter_mut().rev() {
            part.rest_raises = rest;
            rest |= part.raises;
        }
        parts.into()
    }

    fn column(&mut self, column: Column) -> Node {
        let frame = self.frames.len().checked_sub(column.level + 1).map(|index| &self.frames[index]);
        let Some(&(slot, relation)) = frame.and_then(|frame| frame.get(column.scan)) else {
            return Node::Column { slot: usize::MAX, place: column.place };
        };
        match relation {
            None => add(&mut self.columns, column.place),
            Some(relation) => self.reads(relation, &[column.place]),
        }
        Node::Column { slot, place: column.place }
    }

    fn reads(&mut self, relation: RelationId, places: &[usize]) {
        let index = self.relations.iter().position(|(known, _)| *known == relation).unwrap_or_else(|| {
            self.relations.push((relation, Vec::new()));
            self.relations.len() - 1
        });
        places.iter().for_each(|place| add(&mut self.relations[index].1, *place));
    }

    /// Plans a query, with the test about its outputs if there is one. The frame, to be opened again by
    /// [`Self::within`], comes with it.
    pub fn lookup(&mut self, query: &Query, test: Option<&Expr>) -> (Lookup, Frame) {
        let (certain, hopeless) =
            if self.queries == 0 { self.certain(query, test) } else { (Box::default(), false) };
        let too_wide = query.scans.len() > SCANS_MAX;
        let scans = if too_wide { &[] } else { &*query.scans };
        for scan in scans {
            self.reads(scan.relation, &scan.columns);
        }
        let conjuncts = walk::conjuncts(&query.condition);
        let order = order(scans, &conjuncts);
        let mut frame = vec![(usize::MAX, None); scans.len()];
        for (index, join) in order.iter().enumerate() {
            frame[join.scan] = (self.slots + index, Some(scans[join.scan].relation));
        }
        let frame = Frame { scans: frame, slots: order.len() };
        let (first, steps, outputs) = self.within(&frame, |planner| {
            // A row that was found by its key passes that condition nearly always, so it is evaluated last.
            let is_key = |index| order.iter().any(|join| join.key.is_some_and(|key| key.conjunct == index));
            let (keys, others): (Vec<_>, Vec<_>) =
                conjuncts.iter().enumerate().partition(|(index, _)| is_key(*index));
            let mut stages: Vec<Vec<Node>> = vec![Vec::new(); order.len() + 1];
            for conjunct in others.into_iter().chain(keys).map(|(_, conjunct)| conjunct) {
                let read = scans_read(conjunct);
                let last = order.iter().rposition(|join| read & (1 << join.scan) != 0);
                let stage = last.map_or(0, |last| last + 1);
                stages[stage].push(planner.node(conjunct, Use::TRUTH));
            }
            let mut stages = stages.into_iter().map(Vec::into_boxed_slice);
            let first = stages.next().unwrap_or_default();
            let mut steps = Vec::with_capacity(order.len());
            for (join, filters) in order.iter().zip(stages) {
                let relation = scans[join.scan].relation;
                let key = join.key.map(|key| {
                    add(&mut planner.keys, (relation, key.place));
                    StepKey { place: key.place, value: planner.node(key.value, Use::VALUE), each: key.each }
                });
                steps.push(Step { slot: frame.scans[join.scan].0, relation, key, filters });
            }
            (first, steps.into(), planner.nodes(&query.outputs))
        });
        (Lookup { is_hopeless: hopeless || too_wide, certain, first, steps, outputs }, frame)
    }

    /// Plans what stands in a query.
    pub fn within<T>(&mut self, frame: &Frame, plan: impl FnOnce(&mut Self) -> T) -> T {
        self.frames.push(frame.scans.clone());
        self.slots += frame.slots;
        self.queries += 1;
        let planned = plan(self);
        self.queries -= 1;
        self.slots -= frame.slots;
        self.frames.pop();
        planned
    }

    /// What may raise an error in a query without reading its rows, and whether anything else may.
    fn certain(&mut self, query: &Query, test: Option<&Expr>) -> (Box<[Node]>, bool) {
        fn find(expr: &Expr, depth: usize, found: &mut Vec<Expr>, hopeless: &mut bool) {
            if walk::raises_itself(expr) {
                match walk::lowered(expr, depth) {
                    Some(lowered) if !found.contains(&lowered) => found.push(lowered),
                    Some(_) => {}
                    None => *hopeless = true,
                }
            }
            walk::parts(expr, &mut |part, inside| {
                find(part, depth + usize::from(inside == Inside::Query), found, hopeless);
            });
        }
        let (mut found, mut hopeless) = (Vec::new(), false);
        find(&query.condition, 1, &mut found, &mut hopeless);
        query.outputs.iter().for_each(|output| find(output, 1, &mut found, &mut hopeless));
        if let Some(test) = test {
            find(test, 0, &mut found, &mut hopeless);
        }
        (if hopeless { Box::default() } else { self.nodes(&found) }, hopeless)
    }
}

/// The rows of a planned query.
#[derive(Clone, Debug)]
pub struct Frame {
    scans: Vec<(usize, Option<RelationId>)>,
    slots: usize,
}

/// Whether every relation of a query is looked up by a key.
pub fn is_looked_up(query: &Query) -> bool {
    if query.scans.len() > SCANS_MAX {
        return false;
    }
    let order = order(&query.scans, &walk::conjuncts(&query.condition));
    order.len() == query.scans.len() && order.iter().all(|join| join.key.is_some())
}

/// A relation's turn.
struct Join<'a> {
    scan: usize,
    key: Option<Key<'a>>,
}

#[derive(Clone, Copy)]
struct Key<'a> {
    conjunct: usize,
    place: usize,
    value: &'a Expr,
    each: bool,
    worth: u8,
}

/// The order in which the scans are looked up: next comes the one with the best key.
fn order<'a>(scans: &[super::expression::Scan], conjuncts: &[&'a Expr]) -> Vec<Join<'a>> {
    let mut bound = 0_u64;
    let mut order = Vec::with_capacity(scans.len());
    while order.len() < scans.len() {
        let mut best: Option<Join<'a>> = None;
        for scan in (0..scans.len()).filter(|scan| bound & (1 << scan) == 0) {
            let mut key: Option<Key<'a>> = None;
            for (index, conjunct) in conjuncts.iter().enumerate() {
                let found = key_of(conjunct, index, scan, bound);
                if found.is_some_and(|found| key.is_none_or(|key| found.worth > key.worth)) {
                    key = found;
                }
            }
            let worth = |key: Option<Key<'_>>| key.map_or(0, |key| key.worth);
            if best.as_ref().is_none_or(|best| worth(key) > worth(best.key)) {
                best = Some(Join { scan, key });
            }
        }
        let Some(best) = best else { break };
        bound |= 1 << best.scan;
        order.push(best);
    }
    order
}

/// How `conjunct` lets rows of `scan` be looked up, if it does, once the scans in `bound` have rows.
fn key_of<'a>(conjunct: &'a Expr, index: usize, scan: usize, bound: u64) -> Option<Key<'a>> {
    let (function, a, b, each) = match conjunct {
        Expr::Call(function, arguments) => match &**arguments {
            [a, b] => (function, a, b, false),
            _ => return None,
        },
        Expr::Elements { function, all: false, arguments } => (function, &arguments[0], &arguments[1], true),
        _ => return None,
    };
    let pairs = [(a, b), (b, a)].into_iter().take(if each { 1 } else { 2 });
    if !function.is_hash_equality || !function.strict {
        return None;
    }
    pairs.into_iter().find_map(|(column, value)| {
        let Expr::Column(column) = column else { return None };
        if column.level != 0 || column.scan != scan || scans_read(value) & !bound != 0 {
            return None;
        }
        // What follows from rows leads to fewer rows than what follows from the caller, and that to fewer than a
        // constant, which many rows share. Several values lead to more rows than one.
        let mut reads_rows = false;
        walk::columns(value, 0, &mut |column, depth| reads_rows |= column.level >= depth);
        let worth = match value {
            _ if reads_rows => 6,
            _ if walk::any(value, &|part| matches!(part, Expr::Param(_))) => 4,
            _ => 2,
        };
        let worth = worth - u8::from(each);
        Some(Key { conjunct: index, place: column.place, value, each, worth })
    })
}

/// Which scans of the query that it stands in an expression reads.
fn scans_read(expr: &Expr) -> u64 {
    let mut read = 0;
    walk::columns(expr, 0, &mut |column, depth| {
        if column.level == depth {
            read |= 1_u64.checked_shl(u32::try_from(column.scan).unwrap_or(u32::MAX)).unwrap_or_default();
        }
    });
    read
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

//! Evaluates planned expressions by SQL's three-valued logic, and says where only Postgres can tell.
//!
//! A doubt about what is not known here behaves as a value that might be anything: `TRUE OR doubt` is TRUE. An error
//! that Postgres may raise is no value: it comes whatever the other operands are, so `TRUE OR error` is a doubt, and so
//! is `FALSE AND error`, except where FALSE hides the row as the error would. An operand that may raise an error and
//! came to a doubt of any kind counts as an error.

use std::cell::Cell;
use std::ops::ControlFlow;

use smallvec::SmallVec;

use super::elements;
use super::function::{Doubt, Function, Moment};
use super::plan::{Lookup, Node, Part};
use super::program::{Relations, Settings, Tuple};
use super::value::Value;
use crate::change::RelationId;

/// How many steps one judgement may take: a step is a part of an expression, an element of an array, or a row.
pub const STEPS_MAX: u32 = 100_000;

/// An array of more elements than this is not looked up element by element.
const KEYS_MAX: usize = 64;

/// TRUE, FALSE or NULL.
pub type Truth = Option<bool>;

/// What expressions are evaluated with, for one judgement.
#[derive(Debug)]
pub struct Evaluator<'a> {
    params: &'a [Value],
    relations: &'a dyn Relations,
    moment: &'a Moment,
    settings: Option<&'a dyn Settings>,
    steps: Cell<u32>,
}

/// The rows in slots, innermost first.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    slot: usize,
    row: &'a dyn Tuple,
    outer: Option<&'a Rows<'a>>,
}

impl<'a> Rows<'a> {
    /// The judged row.
    pub fn of(row: &'a dyn Tuple) -> Self {
        Self { slot: 0, row, outer: None }
    }

    fn with(&'a self, slot: usize, row: &'a dyn Tuple) -> Self {
        Self { slot, row, outer: Some(self) }
    }

    fn value(&self, slot: usize, place: usize) -> Result<Value, Doubt> {
        let mut rows = self;
        while rows.slot != slot {
            rows = rows.outer.ok_or(Doubt::Unknown)?;
        }
        rows.row.value(place)
    }
}

/// No row at all.
#[derive(Clone, Copy, Debug)]
pub struct NoRow;

impl Tuple for NoRow {
    fn value(&self, _: usize) -> Result<Value, Doubt> {
        Err(Doubt::Unknown)
    }
}

/// No relations at all.
#[derive(Clone, Copy, Debug)]
pub struct NoRelations;

impl Relations for NoRelations {
    fn scan(
        &self,
        _: RelationId,
        _: Option<(usize, &Value)>,
        _: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt> {
        Err(Doubt::NotMirrored)
    }
}

/// The outputs of a row, as a row.
struct Outputs<'a>(&'a [Value]);

impl Tuple for Outputs<'_> {
    fn value(&self, place: usize) -> Result<Value, Doubt> {
        self.0.get(place).cloned().ok_or(Doubt::Unknown)
    }
}

impl std::fmt::Debug for dyn Relations + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relations")
    }
}

/// What is visited with each combination of rows of a query: the rows, and whether they pass for certain.
type Visit<'a> = &'a mut dyn FnMut(&Rows<'_>, Option<Doubt>) -> ControlFlow<()>;

impl<'a> Evaluator<'a> {
    /// For a row and one caller's parameters.
    pub fn new(params: &'a [Value], relations: &'a dyn Relations, moment: &'a Moment) -> Self {
        Self { params, relations, moment, settings: None, steps: Cell::new(STEPS_MAX) }
    }

    /// For the parameters themselves.
    pub fn of_caller(settings: &'a dyn Settings, moment: &'a Moment) -> Self {
        Self { settings: Some(settings), ..Self::new(&[], &NoRelations, moment) }
    }

    /// With so many steps.
    pub fn within(self, steps: u32) -> Self {
        self.steps.set(steps);
        self
    }

    fn step(&self) -> Result<(), Doubt> {
        let left = self.steps.get().checked_sub(1).ok_or(Doubt::TooLong)?;
        self.steps.set(left);
        Ok(())
    }

    /// The value of an expression.
    pub fn value(&self, node: &Node, rows: &Rows<'_>) -> Result<Value, Doubt> {
        self.step()?;
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Column { slot, place } => rows.value(*slot, *place),
            Node::Param(place) => self.params.get(*place).cloned().ok_or(Doubt::Unknown),
            Node::Setting(name) => {
                let settings = self.settings.ok_or(Doubt::Unknown)?;
                Ok(settings.get(name).map_or(Value::Null, |value| Value::Text(value.into())))
            }
            Node::Now => Ok(Value::Timestamp(self.moment.now_micros)),
            Node::Call(function, arguments) => self.call(function, arguments, rows),
            Node::NullIf(function, pair) => {
                let [a, b] = &**pair;
                let (a, b) = (self.value(a, rows)?, self.value(b, rows)?);
                if a.is_null() || b.is_null() {
                    return Ok(a);
                }
                let pair = [a, b];
                let equal = self.apply(function, &pair)?;
                let [a, _] = pair;
                Ok(if truth_of(&equal)? == Some(true) { Value::Null } else { a })
            }
            Node::Coalesce(parts) => {
                for part in parts {
                    let value = self.value(part, rows)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Value::Null)
            }
            Node::Case(arms, default) => {
                for (when, then) in arms {
                    if self.truth(when, rows)? == Some(true) {
                        return self.value(then, rows);
                    }
                }
                self.value(default, rows)
            }
            Node::Array(parts) => {
                let values: Result<_, _> = parts.iter().map(|part| self.value(part, rows)).collect();
                elements::collect(values?)
            }
            Node::Scalar(lookup) => self.scalar(lookup, rows),
            Node::First(lookup) => self.first(lookup, rows),
            Node::Collected(lookup) => self.collected(lookup, rows),
            _ => self.truth(node, rows).map(|truth| truth.map_or(Value::Null, Value::Bool)),
        }
    }

    /// The value of a condition.
    pub fn truth(&self, node: &Node, rows: &Rows<'_>) -> Result<Truth, Doubt> {
        match node {
            Node::And { parts, false_wins, null_is_false } => {
                self.and(parts, *false_wins, *null_is_false, rows)
            }
            Node::Or(parts) => self.or(parts, rows),
            Node::Not(part) => Ok(self.truth(part, rows)?.map(|truth| !truth)),
            Node::IsNull(part) => Ok(Some(self.value(part, rows)?.is_null())),
            Node::Is(part, wanted) => Ok(Some(self.truth(part, rows)? == *wanted)),
            Node::Distinct(function, pair) => {
                let [a, b] = &**pair;
                let pair = [self.value(a, rows)?, self.value(b, rows)?];
                Ok(match (pair[0].is_null(), pair[1].is_null()) {
                    (true, true) => Some(false),
                    (false, false) => truth_of(&self.apply(function, &pair)?)?.map(|equal| !equal),
                    _ => Some(true),
                })
            }
            Node::Elements { function, all, arguments } => self.elements(function, *all, arguments, rows),
            Node::Exists(lookup) => self.exists(lookup, rows),
            Node::Quantified { all, test, slot, lookup } => self.quantified(*all, test, *slot, lookup, rows),
            _ => truth_of(&self.value(node, rows)?),
        }
    }

    fn call(&self, function: &Function, arguments: &[Node], rows: &Rows<'_>) -> Result<Value, Doubt> {
        // All arguments first, as Postgres does: one may raise an error though another is NULL.
        let mut values: SmallVec<[Value; 3]> = SmallVec::new();
        for argument in arguments {
            values.push(self.value(argument, rows)?);
        }
        self.apply(function, &values)
    }

    fn apply(&self, function: &Function, values: &[Value]) -> Result<Value, Doubt> {
        if function.strict && values.iter().any(Value::is_null) {
            return Ok(Value::Null);
        }
        (function.call)(self.moment, values)
    }

    fn and(
        &self,
        parts: &[Part],
        false_wins: bool,
        null_is_false: bool,
        rows: &Rows<'_>,
    ) -> Result<Truth, Doubt> {
        let (mut denied, mut null) = (false, false);
        let (mut error, mut doubt) = (None, None);
        for part in parts {
            if denied && !part.raises {
                continue;
            }
            match self.truth(&part.node, rows) {
                Ok(Some(true)) => {}
                Ok(None) if !null_is_false => null = true,
                Ok(_) => {
                    denied = true;
                    if false_wins || (error.is_none() && !part.rest_raises) {
                        return Ok(Some(false));
                    }
                }
                Err(found) if part.raises => error = error.or(Some(found)),
                Err(found) => doubt = doubt.or(Some(found)),
            }
        }
        match (error, doubt) {
            (Some(error), _) => Err(error),
            _ if denied => Ok(Some(false)),
            (None, Some(doubt)) => Err(doubt),
            _ if null => Ok(None),
            _ => Ok(Some(true)),
        }
    }

    fn or(&self, parts: &[Part], rows: &Rows<'_>) -> Result<Truth, Doubt> {
        let (mut holds, mut null) = (false, false);
        let (mut error, mut doubt) = (None, None);
        for part in parts {
            if holds && !part.raises {
                continue;
            }
            match self.truth(&part.node, rows) {
                Ok(Some(false)) => {}
                Ok(None) => null = true,
                Ok(Some(true)) => {
                    holds = true;
                    if error.is_none() && !part.rest_raises {
                        return Ok(Some(true));
                    }
                }
                Err(found) if part.raises => error = error.or(Some(found)),
                Err(found) => doubt = doubt.or(Some(found)),
            }
        }
        match (error, doubt) {
            (Some(error), _) => Err(error),
            _ if holds => Ok(Some(true)),
            (None, Some(doubt)) => Err(doubt),
            _ if null => Ok(None),
            _ => Ok(Some(false)),
        }
    }

    fn elements(
        &self,
        function: &Function,
        all: bool,
        arguments: &[Node; 2],
        rows: &Rows<'_>,
    ) -> Result<Truth, Doubt> {
        let [value, array] = arguments;
        let (value, array) = (self.value(value, rows)?, self.value(array, rows)?);
        if array.is_null() {
            return Ok(None);
        }
        let mut tally = Tally::new(all);
        let mut pair = [value, Value::Null];
        for element in elements::of(&array)? {
            self.step()?;
            pair[1].clone_from(element);
            let truth = self.apply(function, &pair).and_then(|value| truth_of(&value));
            match truth {
                // Postgres looks at no element after the one that decides, and at all before it.
                Err(doubt) if function.raises => return Err(doubt),
                truth if tally.add(truth).is_break() => break,
                _ => {}
            }
        }
        tally.result()
    }

    fn exists(&self, lookup: &Lookup, rows: &Rows<'_>) -> Result<Truth, Doubt> {
        let (mut found, mut doubt) = (false, None);
        let searched = self.rows(lookup, rows, &mut |_, uncertain| match uncertain {
            None => {
                found = true;
                ControlFlow::Break(())
            }
            uncertain => {
                doubt = doubt.or(uncertain);
                ControlFlow::Continue(())
            }
        });
        match searched.err().or(doubt) {
            _ if found => Ok(Some(true)),
            Some(doubt) => Err(doubt),
            None => Ok(Some(false)),
        }
    }

    fn quantified(
        &self,
        all: bool,
        test: &Node,
        slot: usize,
        lookup: &Lookup,
        outer: &Rows<'_>,
    ) -> Result<Truth, Doubt> {
        let mut tally = Tally::new(all);
        let searched = self.rows(lookup, outer, &mut |rows, uncertain| {
            let truth = match uncertain {
                Some(doubt) => Err(doubt),
                None => self.outputs(lookup, rows).and_then(|outputs| {
                    let outputs = Outputs(&outputs);
                    self.truth(test, &outer.with(slot, &outputs))
                }),
            };
            tally.add(truth)
        });
        if let Err(doubt) = searched {
            let _ = tally.add(Err(doubt));
        }
        tally.result()
    }

    fn outputs(&self, lookup: &Lookup, rows: &Rows<'_>) -> Result<SmallVec<[Value; 2]>, Doubt> {
        let mut outputs = SmallVec::new();
        for output in &lookup.outputs {
            outputs.push(self.value(output, rows)?);
        }
        Ok(outputs)
    }

    fn output(&self, lookup: &Lookup, rows: &Rows<'_>, uncertain: Option<Doubt>) -> Result<Value, Doubt> {
        match (uncertain, lookup.outputs.first()) {
            (Some(doubt), _) => Err(doubt),
            (None, Some(output)) => self.value(output, rows),
            (None, None) => Err(Doubt::Unknown),
        }
    }

    fn scalar(&self, lookup: &Lookup, rows: &Rows<'_>) -> Result<Value, Doubt> {
        let mut found: Option<Result<Value, Doubt>> = None;
        self.rows(lookup, rows, &mut |rows, uncertain| {
            let is_second = found.is_some();
            found = Some(if is_second { Err(Doubt::Raises) } else { self.output(lookup, rows, uncertain) });
            if is_second { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        found.unwrap_or(Ok(Value::Null))
    }

    fn first(&self, lookup: &Lookup, rows: &Rows<'_>) -> Result<Value, Doubt> {
        let mut found: Option<Result<Value, Doubt>> = None;
        self.rows(lookup, rows, &mut |rows, uncertain| {
            let value = self.output(lookup, rows, uncertain);
            match &found {
                None => found = Some(value),
                Some(known) if *known == value => {}
                // Which row comes first is Postgres's own affair.
                Some(_) => found = Some(Err(Doubt::Unknown)),
            }
            match found {
                Some(Err(_)) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })?;
        found.unwrap_or(Ok(Value::Null))
    }

    fn collected(&self, lookup: &Lookup, rows: &Rows<'_>) -> Result<Value, Doubt> {
        let (mut values, mut doubt) = (Vec::new(), None);
        self.rows(lookup, rows, &mut |rows, uncertain| {
            match self.output(lookup, rows, uncertain) {
                Ok(value) => values.push(value),
                Err(found) => doubt = Some(found),
            }
            if doubt.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match doubt {
            Some(doubt) => Err(doubt),
            None => elements::collect(values),
        }
    }

    /// Visits the combinations of rows that pass, and those that may.
    pub fn rows(&self, lookup: &Lookup, rows: &Rows<'_>, visit: Visit<'_>) -> Result<(), Doubt> {
        if lookup.is_hopeless {
            return Err(Doubt::Raises);
        }
        for node in &lookup.certain {
            self.value(node, rows)?;
        }
        match self.pass(&lookup.first, rows, None) {
            Some(doubt) => self.join(lookup, 0, rows, doubt, visit).map(drop),
            None => Ok(()),
        }
    }

    /// Whether rows pass, and how certainly; `None`: they do not.
    #[expect(clippy::option_option, reason = "the outer one says whether, the inner one how certainly")]
    fn pass(&self, filters: &[Node], rows: &Rows<'_>, mut doubt: Option<Doubt>) -> Option<Option<Doubt>> {
        for filter in filters {
            match self.truth(filter, rows) {
                Ok(Some(true)) => {}
                Ok(_) => return None,
                Err(found) => doubt = doubt.or(Some(found)),
            }
        }
        Some(doubt)
    }

    fn join(
        &self,
        lookup: &Lookup,
        index: usize,
        rows: &Rows<'_>,
        doubt: Option<Doubt>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, Doubt> {
        let Some(step) = lookup.steps.get(index) else { return Ok(visit(rows, doubt)) };
        let Some(key) = &step.key else { return self.scan(lookup, index, None, rows, doubt, visit) };
        let value = self.value(&key.value, rows)?;
        if value.is_null() {
            return Ok(ControlFlow::Continue(()));
        }
        if !key.each {
            return self.scan(lookup, index, Some((key.place, &value)), rows, doubt, visit);
        }
        let elements = elements::of(&value)?;
        if elements.len() > KEYS_MAX {
            return self.scan(lookup, index, None, rows, doubt, visit);
        }
        let mut failed = None;
        for (place, element) in elements.iter().enumerate() {
            // No row is found twice.
            if element.is_null() || elements[..place].contains(element) {
                continue;
            }
            match self.scan(lookup, index, Some((key.place, element)), rows, doubt, visit) {
                Ok(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                Ok(ControlFlow::Continue(())) => {}
                Err(doubt) => failed = failed.or(Some(doubt)),
            }
        }
        failed.map_or(Ok(ControlFlow::Continue(())), Err)
    }

    /// Visits the combinations of the rows so far with those of one relation under a key.
    fn scan(
        &self,
        lookup: &Lookup,
        index: usize,
        key: Option<(usize, &Value)>,
        rows: &Rows<'_>,
        doubt: Option<Doubt>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, Doubt> {
        let step = &lookup.steps[index];
        let (mut failed, mut flow) = (None, ControlFlow::Continue(()));
        self.relations.scan(step.relation, key, &mut |row| {
            if let Err(doubt) = self.step() {
                failed = Some(doubt);
                return ControlFlow::Break(());
            }
            let rows = rows.with(step.slot, row);
            let Some(doubt) = self.pass(&step.filters, &rows, doubt) else {
                return ControlFlow::Continue(());
            };
            match self.join(lookup, index + 1, &rows, doubt, visit) {
                Ok(next) => flow = next,
                Err(doubt) => failed = failed.or(Some(doubt)),
            }
            flow
        })?;
        match failed {
            Some(doubt) if flow.is_continue() => Err(doubt),
            _ => Ok(flow),
        }
    }
}

/// Counts what an operator says about one row or element after another, for ANY or ALL.
struct Tally {
    decisive: bool,
    decided: bool,
    null: bool,
    doubt: Option<Doubt>,
}

impl Tally {
    fn new(all: bool) -> Self {
        Self { decisive: !all, decided: false, null: false, doubt: None }
    }

    fn add(&mut self, truth: Result<Truth, Doubt>) -> ControlFlow<()> {
        match truth {
            Ok(Some(truth)) if truth == self.decisive => {
                self.decided = true;
                return ControlFlow::Break(());
            }
            Ok(Some(_)) => {}
            Ok(None) => self.null = true,
            Err(found) => self.doubt = self.doubt.or(Some(found)),
        }
        ControlFlow::Continue(())
    }

    fn result(self) -> Result<Truth, Doubt> {
        match self.doubt {
            _ if self.decided => Ok(Some(self.decisive)),
            Some(doubt) => Err(doubt),
            None if self.null => Ok(None),
            None => Ok(Some(!self.decisive)),
        }
    }
}

fn truth_of(value: &Value) -> Result<Truth, Doubt> {
    match value {
        Value::Bool(truth) => Ok(Some(*truth)),
        Value::Null => Ok(None),
        _ => Err(Doubt::Unknown),
    }
}

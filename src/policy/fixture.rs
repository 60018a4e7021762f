//! What tests of compiled policies share: functions, relations and callers made by hand, and random expressions.
//!
//! Rows of every relation, and the judged row, have the same columns: two integers, a boolean, an array of integers.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::elements;
use super::expression::{Column, Expr, Query, Scan};
use super::function::{Doubt, Function, Moment};
use super::program::{Relations, Rule, Settings, Tuple};
use super::value::{Array, Value};
use crate::change::RelationId;

pub(super) const MOMENT: Moment = Moment { now_micros: 0 };

fn function(
    symbol: &'static str,
    is_hash_equality: bool,
    call: fn(&Moment, &[Value]) -> Result<Value, Doubt>,
) -> Function {
    Function { symbol, strict: true, raises: false, reads_clock: false, is_hash_equality, call }
}

/// `=`
pub(super) fn equal() -> Function {
    function("int8eq", true, |_, arguments| Ok(Value::Bool(arguments[0] == arguments[1])))
}

/// `<`
pub(super) fn less() -> Function {
    function("int8lt", false, |_, arguments| match arguments {
        [Value::Int(a), Value::Int(b)] => Ok(Value::Bool(a < b)),
        _ => Err(Doubt::Unknown),
    })
}

/// Its argument, but an error for 0.
pub(super) fn inverse() -> Function {
    let call = |_: &Moment, arguments: &[Value]| match &arguments[0] {
        Value::Int(0) => Err(Doubt::Raises),
        value => Ok(value.clone()),
    };
    Function { raises: true, ..function("inverse", false, call) }
}

/// Text to integer.
pub(super) fn integer() -> Function {
    let call = |_: &Moment, arguments: &[Value]| match &arguments[0] {
        Value::Text(text) => text.parse().map(Value::Int).map_err(|_| Doubt::Raises),
        _ => Err(Doubt::Unknown),
    };
    Function { raises: true, ..function("textint8", false, call) }
}

/// An array with an element.
pub(super) fn array_of() -> Function {
    function("array_of", false, |_, arguments| elements::collect(arguments.to_vec()))
}

/// `@>`
pub(super) fn contains() -> Function {
    function("arraycontains", false, |_, arguments| {
        let [Value::Array(all), Value::Array(some)] = arguments else { return Err(Doubt::Unknown) };
        Ok(Value::Bool(
            some.elements().iter().all(|element| !element.is_null() && all.elements().contains(element)),
        ))
    })
}

/// `&&`
pub(super) fn overlaps() -> Function {
    function("arrayoverlap", false, |_, arguments| {
        let [Value::Array(a), Value::Array(b)] = arguments else { return Err(Doubt::Unknown) };
        Ok(Value::Bool(
            a.elements().iter().any(|element| !element.is_null() && b.elements().contains(element)),
        ))
    })
}

pub(super) fn call<const N: usize>(function: Function, arguments: [Expr; N]) -> Expr {
    Expr::Call(function, arguments.into())
}

pub(super) fn eq(a: Expr, b: Expr) -> Expr {
    call(equal(), [a, b])
}

pub(super) fn int(value: i64) -> Expr {
    Expr::Const(Value::Int(value))
}

pub(super) fn boolean(value: Option<bool>) -> Expr {
    Expr::Const(value.map_or(Value::Null, Value::Bool))
}

pub(super) fn column(level: usize, scan: usize, place: usize) -> Expr {
    Expr::Column(Column { level, scan, place })
}

/// The caller's number in a setting.
pub(super) fn me() -> Expr {
    call(integer(), [Expr::Setting("me".into())])
}

pub(super) fn and<const N: usize>(parts: [Expr; N]) -> Expr {
    Expr::And(parts.into())
}

pub(super) fn or<const N: usize>(parts: [Expr; N]) -> Expr {
    Expr::Or(parts.into())
}

pub(super) fn not(part: Expr) -> Expr {
    Expr::Not(Box::new(part))
}

pub(super) fn query(relations: &[u32], condition: Expr, outputs: Vec<Expr>) -> Box<Query> {
    let scan = |relation: &u32| Scan { relation: RelationId(*relation), columns: [0, 1, 2, 3].into() };
    Box::new(Query { scans: relations.iter().map(scan).collect(), condition, outputs: outputs.into() })
}

pub(super) fn exists(relations: &[u32], condition: Expr) -> Expr {
    Expr::Exists(query(relations, condition, Vec::new()))
}

pub(super) fn rule(condition: Expr) -> Rule {
    Rule { policy: "p".into(), condition: Ok(condition) }
}

/// Settings by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Session(pub(super) HashMap<&'static str, String>);

impl Settings for Session {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

pub(super) fn session(me: &str) -> Session {
    Session([("me", me.to_owned())].into())
}

/// A row whose values are all known.
#[derive(Clone, Debug)]
pub(super) struct Full(pub(super) Arc<[Value]>);

impl Tuple for Full {
    fn value(&self, place: usize) -> Result<Value, Doubt> {
        self.0.get(place).cloned().ok_or(Doubt::Unknown)
    }
}

/// Relations as lists of rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables(pub(super) HashMap<RelationId, Vec<Full>>);

impl Relations for Tables {
    fn scan(
        &self,
        relation: RelationId,
        key: Option<(usize, &Value)>,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt> {
        for row in self.0.get(&relation).ok_or(Doubt::NotMirrored)? {
            if key.is_none_or(|(place, value)| row.0[place] == *value) && visit(row).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Makes random things from few values, so that hits are frequent.
pub(super) struct Random {
    state: u64,
    /// Whether functions that raise errors are among them.
    pub(super) raises: bool,
    /// How many scans each enclosing query has, outermost first; the first is the judged row.
    frames: Vec<usize>,
    tests: usize,
}

impl Random {
    pub(super) fn new(seed: u64, raises: bool) -> Self {
        Self { state: seed, raises, frames: vec![1], tests: 0 }
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = (mixed ^ (mixed >> 31)) % u64::try_from(count).unwrap();
        usize::try_from(below).unwrap()
    }

    fn small(&mut self) -> Value {
        match self.below(5) {
            0 => Value::Null,
            number => Value::Int(i64::try_from(number).unwrap_or_default() - 1),
        }
    }

    pub(super) fn row(&mut self) -> Full {
        let a = self.small();
        let b = self.small();
        let c = [Value::Null, Value::Bool(true), Value::Bool(false)][self.below(3)].clone();
        let array = match self.below(5) {
            0 => Value::Null,
            _ => {
                let elements = (0..self.below(4)).map(|_| self.small()).collect();
                Value::Array(Arc::new(Array::of(elements)))
            }
        };
        Full([a, b, c, array].into())
    }

    pub(super) fn tables(&mut self) -> Tables {
        let mut tables = Tables::default();
        for relation in 1..=2 {
            let rows = (0..self.below(6)).map(|_| self.row()).collect();
            tables.0.insert(RelationId(relation), rows);
        }
        tables
    }

    fn column(&mut self, place: usize) -> Expr {
        let level = self.below(self.frames.len());
        let scans = self.frames[self.frames.len() - 1 - level];
        match scans {
            0 => column(self.frames.len() - 1, 0, place),
            scans => column(level, self.below(scans), place),
        }
    }

    pub(super) fn number(&mut self, depth: usize) -> Expr {
        match self.below(if depth == 0 { 6 } else { 11 }) {
            0..=2 => {
                let place = self.below(2);
                self.column(place)
            }
            3 | 4 => me(),
            5 if self.tests > 0 => Expr::Output(0),
            5 => Expr::Const(self.small()),
            6 if self.raises => call(inverse(), [self.number(depth - 1)]),
            6 | 7 => Expr::Coalesce([self.number(depth - 1), self.number(depth - 1)].into()),
            8 => Expr::NullIf(equal(), Box::new([self.number(depth - 1), self.number(depth - 1)])),
            9 => Expr::First(self.query(depth - 1)),
            _ if self.raises => Expr::Scalar(self.query(depth - 1)),
            _ => Expr::Case(
                [(self.condition(depth - 1), self.number(depth - 1))].into(),
                Box::new(self.number(depth - 1)),
            ),
        }
    }

    fn array(&mut self, depth: usize) -> Expr {
        match self.below(if depth == 0 { 3 } else { 4 }) {
            0 => self.column(3),
            1 => call(array_of(), [me()]),
            2 => Expr::Array([self.number(0), self.number(0)].into()),
            _ => Expr::Collected(self.query(depth - 1)),
        }
    }

    fn query(&mut self, depth: usize) -> Box<Query> {
        let relations: Vec<u32> = (0..self.below(3)).map(|_| [1, 2][self.below(2)]).collect();
        self.frames.push(relations.len());
        let tests = std::mem::take(&mut self.tests);
        let mut conjuncts: Vec<Expr> = relations
            .iter()
            .enumerate()
            .filter_map(|(scan, _)| {
                let place = self.below(2);
                let other = self.number(0);
                let array = self.array(0);
                let among = |value, array| {
                    let arguments = Box::new([value, array]);
                    Expr::Elements { function: equal(), all: false, arguments }
                };
                Some(match self.below(8) {
                    0..=3 => eq(column(0, scan, place), other),
                    4 => among(column(0, scan, place), array),
                    5 => or([among(me(), column(0, scan, 3)), eq(me(), column(0, scan, place))]),
                    _ => return None,
                })
            })
            .collect();
        if self.below(2) == 0 {
            conjuncts.push(self.condition(depth));
        }
        let output = self.number(depth.min(1));
        self.tests = tests;
        self.frames.pop();
        query(&relations, Expr::And(conjuncts.into()), vec![output])
    }

    pub(super) fn condition(&mut self, depth: usize) -> Expr {
        if depth == 0 {
            return match self.below(6) {
                0 => boolean([None, Some(true), Some(false)][self.below(3)]),
                1 => self.column(2),
                2 => call(less(), [self.number(0), self.number(0)]),
                _ => eq(self.number(0), self.number(0)),
            };
        }
        let next = depth - 1;
        match self.below(16) {
            0 => not(self.condition(next)),
            1..=3 => and([self.condition(next), self.condition(next)]),
            4 | 5 => or([self.condition(next), self.condition(next)]),
            6 => Expr::IsNull(Box::new(self.condition(next))),
            7 => Expr::Is(Box::new(self.condition(next)), [None, Some(true), Some(false)][self.below(3)]),
            8 => Expr::Distinct(equal(), Box::new([self.number(next), self.number(next)])),
            9 => Expr::Elements {
                function: equal(),
                all: self.below(4) == 0,
                arguments: Box::new([self.number(next), self.array(next)]),
            },
            10 => {
                let function = [contains(), overlaps()][self.below(2)];
                call(function, [self.array(next), self.array(next)])
            }
            11 | 12 => Expr::Exists(self.query(next)),
            13 => {
                let query = self.query(next);
                self.tests += 1;
                let test = match self.below(3) {
                    0 => self.condition(next),
                    _ => eq(self.number(0), Expr::Output(0)),
                };
                self.tests -= 1;
                Expr::Quantified { all: self.below(3) == 0, test: Box::new(test), query }
            }
            14 => Expr::Coalesce([self.condition(next), boolean(Some(self.below(2) == 0))].into()),
            _ => eq(self.number(next), self.number(next)),
        }
    }
}

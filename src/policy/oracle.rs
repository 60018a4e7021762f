//! Random programs against an evaluator that plans nothing: what is decided must be what SQL decides in any order of
//! evaluation, for everybody whom a row may reach. `PROPTEST_CASES` says how many.
//!
//! These tests were seen to fail when: a doubtful operand of OR is dropped, NULL elements count as FALSE, AND lets
//! FALSE win everywhere, a reach forgets an operand of OR, errors inside queries are looked for only in rows that are
//! found.

use std::sync::Arc;

use proptest::prelude::*;

use super::affected::Affected;
use super::audience::Audience;
use super::expression::{Expr, Query};
use super::fixture::{Full, MOMENT, Random, Session, Tables, rule, session};
use super::function::{Doubt, Function};
use super::program::{Caller, Params, Program, Relations, Settings, Verdict};
use super::row::RowValues;
use super::value::{Array, Value};

/// Evaluates as it stands written.
struct Naive<'a> {
    session: &'a Session,
    tables: &'a Tables,
    /// Whether all operands and all rows are evaluated even where the rest decides.
    eager: bool,
    /// Which of several rows a function returns.
    last: bool,
}

type Frames = Vec<Vec<Full>>;

/// Postgres raises an error.
#[derive(Debug, PartialEq, Eq)]
struct Error;

type Answer<T> = Result<T, Error>;

impl Naive<'_> {
    fn truth(&self, expr: &Expr, frames: &Frames, outputs: &[Value]) -> Answer<Option<bool>> {
        match self.value(expr, frames, outputs)? {
            Value::Bool(truth) => Ok(Some(truth)),
            Value::Null => Ok(None),
            _ => panic!("no boolean"),
        }
    }

    fn apply(function: &Function, arguments: &[Value]) -> Answer<Value> {
        if function.strict && arguments.contains(&Value::Null) {
            return Ok(Value::Null);
        }
        (function.call)(&MOMENT, arguments).map_err(|doubt| {
            assert_eq!(doubt, Doubt::Raises);
            Error
        })
    }

    /// TRUE if any is, for OR and ANY; with `all`, FALSE if any is, for AND and ALL.
    fn fold(&self, all: bool, parts: impl Iterator<Item = Answer<Option<bool>>>) -> Answer<Option<bool>> {
        let (mut decided, mut null) = (false, false);
        for part in parts {
            match part? {
                Some(truth) if truth != all => {
                    decided = true;
                    if !self.eager {
                        break;
                    }
                }
                None => null = true,
                Some(_) => {}
            }
        }
        Ok(if decided {
            Some(!all)
        } else if null {
            None
        } else {
            Some(all)
        })
    }

    fn rows(&self, query: &Query, frames: &Frames) -> Answer<Vec<Frames>> {
        let mut combinations: Vec<Vec<Full>> = vec![Vec::new()];
        for scan in &query.scans {
            let rows = &self.tables.0[&scan.relation];
            combinations = combinations
                .iter()
                .flat_map(|combination| {
                    rows.iter().map(|row| combination.iter().chain([row]).cloned().collect())
                })
                .collect();
        }
        let mut found = Vec::new();
        for combination in combinations {
            let mut inner = frames.clone();
            inner.push(combination);
            if self.truth(&query.condition, &inner, &[])? == Some(true) {
                found.push(inner);
            }
        }
        Ok(found)
    }

    fn outputs(&self, query: &Query, frames: &Frames) -> Answer<Vec<Vec<Value>>> {
        let rows = self.rows(query, frames)?;
        let output = |row: &Frames| query.outputs.iter().map(|output| self.value(output, row, &[])).collect();
        rows.iter().map(output).collect()
    }

    fn value(&self, expr: &Expr, frames: &Frames, outputs: &[Value]) -> Answer<Value> {
        let value = |expr: &Expr| self.value(expr, frames, outputs);
        let truth = |expr: &Expr| self.truth(expr, frames, outputs);
        let of = |truth: Option<bool>| truth.map_or(Value::Null, Value::Bool);
        Ok(match expr {
            Expr::Const(value) => value.clone(),
            Expr::Column(column) => {
                frames[frames.len() - 1 - column.level][column.scan].0[column.place].clone()
            }
            Expr::Setting(name) => {
                self.session.get(name).map_or(Value::Null, |text| Value::Text(text.into()))
            }
            Expr::Call(function, arguments) => {
                let arguments: Vec<Value> = arguments.iter().map(value).collect::<Answer<_>>()?;
                Self::apply(function, &arguments)?
            }
            Expr::And(parts) => of(self.fold(true, parts.iter().map(truth))?),
            Expr::Or(parts) => of(self.fold(false, parts.iter().map(truth))?),
            Expr::Not(part) => of(truth(part)?.map(|truth| !truth)),
            Expr::IsNull(part) => Value::Bool(value(part)?.is_null()),
            Expr::Is(part, wanted) => Value::Bool(truth(part)? == *wanted),
            Expr::Distinct(_, pair) => Value::Bool(value(&pair[0])? != value(&pair[1])?),
            Expr::NullIf(_, pair) => {
                let (a, b) = (value(&pair[0])?, value(&pair[1])?);
                if a == b { Value::Null } else { a }
            }
            Expr::Coalesce(parts) => {
                for part in parts {
                    let value = value(part)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Value::Null
            }
            Expr::Case(arms, default) => {
                for (when, then) in arms {
                    if truth(when)? == Some(true) {
                        return value(then);
                    }
                }
                value(default)?
            }
            Expr::Array(parts) => array(parts.iter().map(value).collect::<Answer<_>>()?),
            Expr::Elements { function, all, arguments } => {
                let (left, array) = (value(&arguments[0])?, value(&arguments[1])?);
                let Value::Array(elements) = array else { return Ok(Value::Null) };
                let elements = elements.elements();
                let test = |element: &Value| match Self::apply(function, &[left.clone(), element.clone()])? {
                    Value::Bool(truth) => Ok(Some(truth)),
                    _ => Ok(None),
                };
                of(self.fold(*all, elements.iter().map(test))?)
            }
            Expr::Exists(query) => Value::Bool(!self.rows(query, frames)?.is_empty()),
            Expr::Scalar(query) => match &*self.outputs(query, frames)? {
                [] => Value::Null,
                [row] => row[0].clone(),
                _ => return Err(Error),
            },
            Expr::First(query) => {
                let rows = self.outputs(query, frames)?;
                let row = if self.last { rows.last() } else { rows.first() };
                row.map_or(Value::Null, |row| row[0].clone())
            }
            Expr::Quantified { all, test, query } => {
                let rows = self.outputs(query, frames)?;
                of(self.fold(*all, rows.iter().map(|row| self.truth(test, frames, row)))?)
            }
            Expr::Collected(query) => {
                let rows = self.outputs(query, frames)?;
                array(rows.into_iter().map(|row| row[0].clone()).collect())
            }
            Expr::Output(place) => outputs[*place].clone(),
            Expr::Param(_) | Expr::Now => panic!("not made here"),
        })
    }
}

/// A random program with its rules as one condition, and what it is tried on.
struct Trial {
    whole: Expr,
    program: Arc<Program>,
    sessions: Vec<Session>,
    tables: Tables,
    rows: Vec<Full>,
}

fn trial(seed: u64, raises: bool) -> Trial {
    let mut random = Random::new(seed, raises);
    let permissive: Vec<Expr> = (0..1 + random.below(3)).map(|_| random.condition(3)).collect();
    let restrictive: Vec<Expr> = (0..random.below(4) / 2).map(|_| random.condition(2)).collect();
    let rules = |conditions: &[Expr]| conditions.iter().cloned().map(rule).collect();
    let program = Arc::new(Program::new(rules(&permissive), rules(&restrictive)));
    let whole = restrictive.into_iter().chain([Expr::Or(permissive.into())]).collect();
    let mut sessions: Vec<Session> = (0..5).map(|me| session(&me.to_string())).collect();
    sessions.push(Session::default());
    let tables = random.tables();
    let rows = (0..6).map(|_| random.row()).collect();
    Trial { whole: Expr::And(whole), program, sessions, tables, rows }
}

impl Trial {
    fn params(&self, session: &Session) -> Option<Params> {
        self.program.params(&Caller { settings: session, moment: MOMENT }).ok()
    }

    /// What SQL says, whichever row a function returns.
    fn naive(&self, session: &Session, row: &Full, eager: bool) -> [Answer<Option<bool>>; 2] {
        [false, true].map(|last| {
            let naive = Naive { session, tables: &self.tables, eager, last };
            naive.truth(&self.whole, &vec![vec![row.clone()]], &[])
        })
    }

    /// Whether a verdict is one that no order of evaluation contradicts.
    fn allows(&self, verdict: Verdict, session: &Session, row: &Full) -> bool {
        match verdict {
            // Not even where all that could raise an error is evaluated.
            Verdict::Passes => self.naive(session, row, true) == [Ok(Some(true)), Ok(Some(true))],
            Verdict::Fails => !self.naive(session, row, false).contains(&Ok(Some(true))),
            Verdict::Unknown(_) => true,
        }
    }

    fn audience(&self) -> (Audience<usize>, Vec<Option<Params>>) {
        let mut audience = Audience::new(Arc::clone(&self.program));
        let params: Vec<_> = self.sessions.iter().map(|session| self.params(session)).collect();
        for (member, params) in params.iter().enumerate() {
            if let Some(params) = params {
                audience.insert(params, member);
            }
        }
        (audience, params)
    }
}

proptest! {
    #[test]
    fn what_is_decided_is_what_sql_decides(seed: u64, raises: bool) {
        let trial = trial(seed, raises);
        for session in &trial.sessions {
            let Some(params) = trial.params(session) else { continue };
            for row in &trial.rows {
                let verdict = trial.program.judge(&params, row, &trial.tables, &MOMENT);
                prop_assert!(trial.allows(verdict, session, row), "{verdict:?}: {:?}", trial.whole);
                if !raises && !reads_first(&trial.whole) {
                    // Without errors there is nothing to be in doubt about, but which of differing rows comes first.
                    prop_assert!(!matches!(verdict, Verdict::Unknown(_)), "{verdict:?}: {:?}", trial.whole);
                }
            }
        }
    }

    #[test]
    fn unknown_values_change_no_decision(seed: u64, hidden in 0_usize..4) {
        let trial = trial(seed, true);
        for session in &trial.sessions {
            let Some(params) = trial.params(session) else { continue };
            for row in &trial.rows {
                let known = row.0.iter().enumerate();
                let partial = RowValues::of(known.map(|(place, value)| (place != hidden).then(|| value.clone())));
                let verdict = trial.program.judge(&params, &partial, &trial.tables, &MOMENT);
                prop_assert!(trial.allows(verdict, session, row), "{verdict:?}: {:?}", trial.whole);
            }
        }
    }

    #[test]
    fn a_relation_that_is_not_mirrored_changes_no_decision(seed: u64, missing in 1_u32..3) {
        let trial = trial(seed, true);
        let mut tables = trial.tables.clone();
        tables.0.remove(&crate::change::RelationId(missing));
        for session in &trial.sessions {
            let Some(params) = trial.params(session) else { continue };
            for row in &trial.rows {
                let verdict = trial.program.judge(&params, row, &tables, &MOMENT);
                prop_assert!(trial.allows(verdict, session, row), "{verdict:?}: {:?}", trial.whole);
            }
        }
    }

    #[test]
    fn an_audience_misses_nobody(seed: u64, raises: bool, leaver in 0_usize..6) {
        let trial = trial(seed, raises);
        let (mut audience, params) = trial.audience();
        for round in 0..2 {
            for row in &trial.rows {
                let mut seen = Vec::new();
                audience.judge(row, &trial.tables, &MOMENT, &mut |members, verdict| {
                    seen.extend(members.iter().map(|member| (*member, verdict)));
                });
                for (member, params) in params.iter().enumerate() {
                    let Some(params) = params else { continue };
                    let found = seen.iter().find(|(seen, _)| *seen == member).map(|(_, verdict)| *verdict);
                    if round == 1 && member == leaver {
                        prop_assert_eq!(found, None);
                        continue;
                    }
                    let verdict = trial.program.judge(params, row, &trial.tables, &MOMENT);
                    match found {
                        Some(found) => prop_assert_eq!(found, verdict),
                        None => {
                            prop_assert_ne!(verdict, Verdict::Passes);
                            prop_assert!(trial.allows(Verdict::Fails, &trial.sessions[member], row));
                        }
                    }
                }
            }
            if let Some(params) = &params[leaver] {
                audience.remove(params, leaver);
            }
        }
    }

    #[test]
    fn a_row_that_came_or_went_affects_nobody_unnamed(seed: u64, raises: bool, relation in 1_u32..3) {
        let trial = trial(seed, raises);
        let relation = crate::change::RelationId(relation);
        let mut before = trial.tables.clone();
        let Some(gone) = before.0.get_mut(&relation).and_then(Vec::pop) else { return Ok(()) };
        let affected = trial.program.affected(relation, &gone);
        for session in &trial.sessions {
            let Some(params) = trial.params(session) else { continue };
            if affected.includes(&params) {
                continue;
            }
            for row in &trial.rows {
                let now = trial.program.judge(&params, row, &trial.tables, &MOMENT);
                let then = trial.program.judge(&params, row, &before, &MOMENT);
                prop_assert!(now == then, "{affected:?} {now:?} {then:?}: {:?}", trial.whole);
            }
        }
    }
}

fn reads_first(expr: &Expr) -> bool {
    super::walk::any(expr, &|part| matches!(part, Expr::First(_)))
}

#[test]
fn random_programs_decide_both_ways_and_are_often_found_by_index() {
    let (mut passes, mut fails, mut unknown, mut indexed, mut named) = (0, 0, 0, 0, 0);
    for seed in 0..400 {
        let trial = trial(seed, seed % 2 == 0);
        let (audience, params) = trial.audience();
        for row in &trial.rows {
            let judged = audience.judge(row, &trial.tables, &MOMENT, &mut |_, _| {});
            indexed += u32::from(judged < audience.len());
            let affected = trial.program.affected(crate::change::RelationId(1), row);
            named += u32::from(affected != Affected::Everybody && affected != Affected::Nobody);
            for params in params.iter().flatten() {
                match trial.program.judge(params, row, &trial.tables as &dyn Relations, &MOMENT) {
                    Verdict::Passes => passes += 1,
                    Verdict::Fails => fails += 1,
                    Verdict::Unknown(_) => unknown += 1,
                }
            }
        }
    }
    let all = passes + fails + unknown;
    assert!(passes > all / 8 && fails > all / 4 && unknown > all / 100, "{passes} {fails} {unknown}");
    assert!(indexed > 400 && named > 50, "{indexed} {named}");
}

fn array(elements: Vec<Value>) -> Value {
    Value::Array(Arc::new(Array::of(elements)))
}

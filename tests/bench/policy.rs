//! How fast compiled policies decide who sees a change: by candidates from an index, against judging every caller.
//!
//! A message is visible to the participants of its conversation, five of them, and each caller takes part in five
//! conversations; the table of participants has a policy of its own.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowcast::change::RelationId;
use rowcast::policy::audience::Audience;
use rowcast::policy::expression::{Column, Expr, Query, Scan};
use rowcast::policy::function::{Doubt, Function, Moment};
use rowcast::policy::program::{Caller, Params, Program, Relations, Rule, Settings, Tuple, Verdict};
use rowcast::policy::row::RowValues;
use rowcast::policy::value::Value;
use uuid::Uuid;

use crate::Effort;
use crate::process;
use crate::report::{Figure, Goal, Reference, Spread};

const PARTICIPANTS: RelationId = RelationId(1);
const GROUPS: [u128; 5] = [1, 100, 1_000, 5_000, 50_000];
const BY_CONVERSATION: u128 = 5;
const MOMENT: Moment = Moment { now_micros: 0 };
/// What a group may cost, of the 1 KB that a subscription may.
const GROUP_BYTES_MAX: f64 = 300.0;
/// How long one round of each measures.
const WINDOW: Duration = Duration::from_millis(200);
const METHOD: &str = "one thread judges messages of one conversation after another for all groups of callers; beside \
                      it, the same with every group judged; alternately";

/// Participants by conversation and by user.
struct Participants([HashMap<Value, Vec<RowValues>>; 2]);

impl Relations for Participants {
    fn scan(
        &self,
        _: RelationId,
        key: Option<(usize, &Value)>,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt> {
        let (place, value) = key.ok_or(Doubt::NotMirrored)?;
        let found = self.0.get(place).and_then(|index| index.get(value));
        let _ = found.into_iter().flatten().try_for_each(|row| visit(row));
        Ok(())
    }
}

#[derive(Debug)]
struct Subject(String);

impl Settings for Subject {
    fn get(&self, _: &str) -> Option<&str> {
        Some(&self.0)
    }
}

fn function(symbol: &'static str, call: fn(&Moment, &[Value]) -> Result<Value, Doubt>) -> Function {
    Function {
        symbol,
        strict: true,
        raises: symbol == "uuid_in",
        reads_clock: false,
        is_hash_equality: symbol == "uuid_eq",
        call,
    }
}

fn program() -> Program {
    let equal = |a: Expr, b: Expr| {
        let call = |_: &Moment, pair: &[Value]| Ok(Value::Bool(pair[0] == pair[1]));
        Expr::Call(function("uuid_eq", call), [a, b].into())
    };
    let me = || {
        let call = |_: &Moment, argument: &[Value]| match argument {
            [Value::Text(text)] => Uuid::parse_str(text).map(Value::Uuid).map_err(|_| Doubt::Raises),
            _ => Err(Doubt::Unknown),
        };
        Expr::Call(function("uuid_in", call), [Expr::Setting("sub".into())].into())
    };
    let column = |level, place| Expr::Column(Column { level, scan: 0, place });
    let condition = [
        equal(column(0, 0), column(1, 1)),
        equal(column(0, 1), me()),
        // Row level security of the participants themselves.
        equal(column(0, 1), me()),
    ];
    let query = Query {
        scans: [Scan { relation: PARTICIPANTS, columns: [0, 1].into() }].into(),
        condition: Expr::And(condition.into()),
        outputs: Box::default(),
    };
    let rule = Rule { policy: "participants".into(), condition: Ok(Expr::Exists(Box::new(query))) };
    Program::new(vec![rule], vec![])
}

fn id(number: u128) -> Value {
    Value::Uuid(Uuid::from_u128(number))
}

struct World {
    audience: Audience<u32>,
    callers: Vec<Params>,
    participants: Participants,
    messages: Vec<RowValues>,
    /// What a further group costs, in bytes.
    group_bytes: f64,
}

fn world(groups: u128) -> World {
    let program = Arc::new(program());
    let mut participants = Participants([HashMap::new(), HashMap::new()]);
    let conversations = groups;
    for conversation in 0..conversations {
        for seat in 0..BY_CONVERSATION {
            // Neighbours, and one from far away.
            let user = (conversation + seat * seat * 7) % groups;
            let row = || RowValues::of([Some(id(conversation)), Some(id(user))]);
            participants.0[0].entry(id(conversation)).or_default().push(row());
            participants.0[1].entry(id(user)).or_default().push(row());
        }
    }
    let callers: Vec<Params> = (0..groups)
        .map(|user| {
            let subject = Subject(Uuid::from_u128(user).to_string());
            program.params(&Caller { settings: &subject, moment: MOMENT }).expect("a valid subject")
        })
        .collect();
    let before = process::resident_bytes(std::process::id());
    let mut audience = Audience::new(Arc::clone(&program));
    for (member, params) in (0..).zip(&callers) {
        audience.insert(params, member);
    }
    let after = process::resident_bytes(std::process::id());
    let group_bytes = after.saturating_sub(before) as f64 / groups as f64;
    // A prime stride, so that neighbours do not meet in a cache.
    let message = |number: u128| RowValues::of([Some(id(number)), Some(id(number * 7_919 % conversations))]);
    World { audience, callers, participants, messages: (0..1_000).map(message).collect(), group_bytes }
}

/// Changes in a second.
fn rate(messages: &[RowValues], mut judge: impl FnMut(&RowValues) -> usize) -> f64 {
    let (start, mut count, mut visible) = (Instant::now(), 0, 0);
    for message in messages.iter().cycle() {
        visible += judge(message);
        count += 1;
        if start.elapsed() > WINDOW {
            break;
        }
    }
    assert!(visible >= count, "each message has participants");
    count as f64 / start.elapsed().as_secs_f64()
}

/// Measures audiences of one size after another.
pub(crate) fn measure(effort: &Effort) -> Vec<Figure> {
    let mut figures = Vec::new();
    for groups in GROUPS {
        let World { audience, callers, participants, messages, group_bytes } = world(groups);
        let (mut indexed, mut all, mut decisions) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            indexed.push(rate(&messages, |message| {
                let mut visible = 0;
                audience.judge(message, &participants, &MOMENT, &mut |members, _| visible += members.len());
                black_box(visible)
            }));
            let brute = rate(&messages, |message| {
                let program = audience.program();
                let judge = |params: &&Params| {
                    program.judge(params, message, &participants, &MOMENT) == Verdict::Passes
                };
                black_box(callers.iter().filter(judge).count())
            });
            decisions.push(1e9 / brute / groups as f64);
            all.push(brute);
        }
        figures.push(Figure {
            name: format!("policy_changes_per_second_{groups}"),
            unit: "/s",
            value: Spread::of(&indexed),
            reference: Some(Reference::of("judging all", &indexed, &all)),
            goal: (groups >= 1_000).then_some(Goal::RatioAtLeast(10.0)),
            method: METHOD,
        });
        figures.push(Figure {
            name: format!("policy_decision_{groups}"),
            unit: "ns",
            value: Spread::of(&decisions),
            reference: None,
            goal: None,
            method: "time of one judgement where every group is judged",
        });
        if groups == GROUPS[GROUPS.len() - 1] {
            figures.push(Figure {
                name: "policy_group_bytes".to_owned(),
                unit: "bytes",
                value: Spread::of(&[group_bytes]),
                reference: None,
                goal: Some(Goal::ValueAtMost(GROUP_BYTES_MAX)),
                method: "resident memory before and after all groups of the largest audience were added, by group",
            });
        }
    }
    figures
}

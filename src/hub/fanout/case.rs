//! One question of policy about one change, laid out for programs, and what follows from their verdicts.
//!
//! **Time.** The state of the database that counts is that of the change's own commit. A new row is visible if the last
//! version that its transaction made of it is visible, by the rights after the commit, and it is so itself: what no
//! snapshot ever showed is shown to nobody. An old row is judged by the rights before the commit: whoever is removed
//! from a conversation by the same cascade that deletes its messages saw these until then.

use crate::hub::ask::Later;
use crate::hub::engine::Knowledge;
use crate::policy::function::{Doubt, Moment};
use crate::policy::mirror::{State, View};
use crate::policy::program::Params;
use crate::policy::row::RowDecoder;
use crate::policy::{Answer, Decision, Permit, Program, Question, Refusal, Verdict};

use super::Subject;
use super::outbox::Asked;
use super::row::Row;

/// A question, and the rows that answer it.
pub(super) struct Case<'a> {
    question: Question,
    /// The row that is judged first: by it the callers are found who may see anything.
    lead: Row,
    lead_view: View<'a>,
    rest: Rest,
    after: View<'a>,
    before: View<'a>,
    moment: Moment,
}

/// What is judged besides.
enum Rest {
    /// A new row is the lead.
    New {
        /// The last version of its transaction, if that is another.
        last: Option<Row>,
        /// Whether it is known which version that is.
        is_known: bool,
        /// The old row, if it is to be judged.
        old: Option<Row>,
    },
    /// The old row is the lead, and decides by itself.
    Old,
    /// The old row is the lead, and what became of it must be hidden.
    MovedOut(Row),
}

/// What becomes of a change for a caller.
#[derive(Clone, Debug)]
pub(super) enum Ruling {
    Permit(Permit),
    Deny,
    Refuse(Refusal),
    Ask(Asked),
}

impl Ruling {
    /// Whether the row may be seen, if that was decided.
    pub(super) fn is_permitted(&self) -> Option<bool> {
        match self {
            Self::Permit(_) => Some(true),
            Self::Deny => Some(false),
            Self::Refuse(_) | Self::Ask(_) => None,
        }
    }
}

impl<'a> Case<'a> {
    /// Lays a question out; `None` if a row that it needs was not logged.
    pub(super) fn new(
        question: &Question,
        subject: &Subject<'_>,
        program: &Program,
        decoder: &RowDecoder,
        knowledge: &'a Knowledge,
        moment: Moment,
    ) -> Option<Self> {
        let change = &**subject.asked;
        let new = |change| Row::new(change, decoder, program);
        let old = || Row::old(change, decoder, program);
        let after = knowledge.mirror.view(State::After);
        let before = knowledge.mirror.view(State::Before);
        let (lead, lead_view, rest) = if question.is_moved_out() {
            (old()?, before, Rest::MovedOut(new(change)?))
        } else if question.new {
            let last = match &subject.later {
                Some(Later::Replaced(last)) => Some(new(last)?),
                _ => None,
            };
            let is_known = !matches!(subject.later, Some(Later::Unknown));
            let old = if question.old { Some(old()?) } else { None };
            (new(change)?, after, Rest::New { last, is_known, old })
        } else {
            (old()?, before, Rest::Old)
        };
        let question = question.clone();
        Some(Self { question, lead, lead_view, rest, after, before, moment })
    }

    /// The row that finds callers, and by which rights.
    pub(super) fn lead(&self) -> (&Row, &View<'a>, &Moment) {
        (&self.lead, &self.lead_view, &self.moment)
    }

    /// The verdict on that row for one caller.
    pub(super) fn judge_lead(&self, program: &Program, params: &Params) -> Verdict {
        program.judge(params, &self.lead, &self.lead_view, &self.moment)
    }

    /// What follows for a caller for whom the verdict on the lead is this.
    pub(super) fn rule(&self, program: &Program, params: &Params, lead: Verdict) -> Ruling {
        match lead {
            Verdict::Passes => {}
            Verdict::Fails => return Ruling::Deny,
            Verdict::Unknown(doubt) => return ask(program, doubt),
        }
        let after = |row: &Row| program.judge(params, row, &self.after, &self.moment);
        match &self.rest {
            Rest::New { last, is_known, old } => {
                match last.as_ref().map_or(Verdict::Passes, after) {
                    Verdict::Passes => {}
                    Verdict::Fails => return Ruling::Deny,
                    Verdict::Unknown(doubt) => return ask(program, doubt),
                }
                if !is_known {
                    return Ruling::Ask(Asked::Outcome);
                }
                let before = |row: &Row| program.judge(params, row, &self.before, &self.moment);
                match old.as_ref().map_or(Verdict::Fails, before) {
                    Verdict::Passes => self.answered(Answer { new: true, old: true }),
                    Verdict::Fails => self.answered(Answer { new: true, old: false }),
                    Verdict::Unknown(doubt) => ask(program, doubt),
                }
            }
            Rest::Old => self.answered(Answer { new: false, old: true }),
            Rest::MovedOut(new) => match after(new) {
                Verdict::Passes => Ruling::Deny,
                Verdict::Fails => self.answered(Answer { new: false, old: true }),
                Verdict::Unknown(doubt) => ask(program, doubt),
            },
        }
    }

    fn answered(&self, answer: Answer) -> Ruling {
        match self.question.clone().answered(answer) {
            Decision::Permit(permit) => Ruling::Permit(permit),
            Decision::Deny | Decision::Refuse(_) | Decision::Ask(_) => Ruling::Deny,
        }
    }
}

fn ask(program: &Program, doubt: Doubt) -> Ruling {
    // What was not compiled is unknown in every row.
    let is_compiled = doubt != Doubt::Unknown || !program.is_partial();
    Ruling::Ask(if is_compiled { Asked::from(doubt) } else { Asked::NotCompiled })
}

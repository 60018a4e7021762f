//! What programs say about one row, rule by rule, in words.

use std::ops::Not;

use super::explanation::{RelationExplanation, RuleExplanation, RuleOutcome, Ruling, Word};
use super::{State, shown};
use crate::change::RelationId;
use crate::policy::function::Doubt;
use crate::policy::mirror::{self, Status};
use crate::policy::program::{Caller, Outcome, RuleVerdict, Settings, Tuple};
use crate::policy::{Program, Verdict};

impl State {
    /// What a program makes of a row for a caller with these settings.
    pub(super) fn rule(&self, program: &Program, settings: &dyn Settings, row: &dyn Tuple) -> Ruling {
        let view = self.mirror.view(mirror::State::After);
        let caller = Caller { settings, moment: self.moment };
        let mut ruling = match program.params(&caller) {
            Ok(params) => {
                let verdict = program.judge(&params, row, &view, &self.moment);
                let (memory, doubt) = match verdict {
                    Verdict::Passes => (Word::Allows, None),
                    Verdict::Fails => (Word::Denies, None),
                    Verdict::Unknown(doubt) => (Word::Asks, Some(doubt)),
                };
                let rules = program.explain(&params, row, &view, &self.moment);
                // Where a policy is not compiled, its own line has the reason.
                let doubt = doubt.filter(|_| !program.is_partial());
                Ruling {
                    rules: rules.into_iter().map(|rule| self.rule_explanation(rule)).collect(),
                    doubt: doubt.map(|doubt| words(doubt).to_owned()),
                    ..Ruling::of(memory)
                }
            }
            // What depends on the caller alone is worked out first; without it nothing is judged.
            Err(doubt) => Ruling {
                rules: self.unjudged(program, doubt),
                doubt: Some(format!("what policies make of the token: {}", words(doubt))),
                ..Ruling::of(Word::Asks)
            },
        };
        ruling.relations = program.relations.iter().map(|(id, _)| self.relation_explanation(*id)).collect();
        ruling
    }

    /// The rules of a program that judges nothing for this caller.
    fn unjudged(&self, program: &Program, doubt: Doubt) -> Vec<RuleExplanation> {
        let permissive = program.permissive.iter().map(|rule| (rule, true));
        let restrictive = program.restrictive.iter().map(|rule| (rule, false));
        let rules = permissive.chain(restrictive).map(|(rule, permissive)| RuleVerdict {
            policy: rule.policy.clone(),
            permissive,
            outcome: match &rule.condition {
                Ok(_) => Outcome::Doubt(doubt),
                Err(why) => Outcome::Uncompiled(why.clone()),
            },
            relations: Vec::new(),
        });
        rules.map(|rule| self.rule_explanation(rule)).collect()
    }

    fn rule_explanation(&self, verdict: RuleVerdict) -> RuleExplanation {
        let mut advice = None;
        let (outcome, why) = match verdict.outcome {
            Outcome::True => (RuleOutcome::True, None),
            Outcome::False => (RuleOutcome::False, None),
            Outcome::Null => (RuleOutcome::Null, None),
            Outcome::Doubt(doubt) => (RuleOutcome::Asked, Some(words(doubt).to_owned())),
            Outcome::Uncompiled(why) => {
                advice = why.advice(&self.claims.role);
                (RuleOutcome::Asked, Some(why.to_string()))
            }
        };
        RuleExplanation {
            policy: verdict.policy.to_string(),
            permissive: verdict.permissive,
            outcome,
            why,
            advice: advice.as_ref().map(|advice| advice.text.to_owned()),
            sql: advice.and_then(|advice| advice.sql),
            relations: verdict.relations.into_iter().map(|id| self.name(id)).collect(),
        }
    }

    fn relation_explanation(&self, id: RelationId) -> RelationExplanation {
        let hindrance = match self.mirror.status(id) {
            Status::Unusable(why) => Some(why.to_string()),
            _ => self.mirror.is_readable(id).not().then(|| "it was not read".to_owned()),
        };
        RelationExplanation { table: self.name(id), hindrance }
    }

    fn name(&self, id: RelationId) -> String {
        match self.catalog.source.relations.get(&id) {
            Some(relation) => shown(&relation.schema, &relation.name),
            None => format!("relation {}", id.0),
        }
    }
}

/// A doubt in words.
fn words(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Raises => "Postgres may raise an error here",
        Doubt::Absent => "the log does not carry a value that is needed",
        Doubt::NotMirrored => "a table that is needed is not in memory",
        Doubt::Unknown => "what Postgres would answer is not known here",
        Doubt::TooLong => "it would take too long",
    }
}

//! One change on its way to its recipients.
//!
//! There are two ways to find them. From the bindings: all whose filters match, and of each its policies are asked.
//! From the audiences: all whose policies let them see the row, and of each its filters are asked. Whichever side is
//! smaller is the one to begin with; both come to the same.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::hub::ask::Later;
use crate::hub::audiences::RoleAudience;
use crate::hub::lane::Lanes;
use crate::hub::profile::{Profile, ProfileId, Profiles, TargetKey};
use crate::hub::resolve::Target;
use crate::policy::program::Params;
use crate::policy::row::RowDecoder;
use crate::policy::{self, Access, Decision, Program, Switches};
use crate::postgres::rows;
use crate::protocol::change::TableText;
use crate::subscription::Verdict as Match;

use super::case::{Case, Ruling};
use super::frames::{Frames, Prepared, Shown};
use super::outbox::{Asked, Outbox};
use super::sample::{SAMPLES_MAX, Sample, Sampler};
use super::{Commit, Config, Grounds, Pending, Subject, Waiting};

/// What one role may see of the change.
pub(super) struct Rights<'a> {
    subscribers: &'a RoleAudience,
    access: Option<&'a Arc<Access>>,
    decision: Decision,
    /// For what row level security decides: the program and the case, or why Postgres is asked.
    case: Result<(&'a Arc<Program>, Case<'a>), Asked>,
}

/// Targets of one profile: those that match, and those that Postgres matches.
type Targets = (SmallVec<[Rc<Target>; 2]>, SmallVec<[Rc<Target>; 2]>);

/// A change on its way.
pub(super) struct Spread<'a> {
    pub(super) grounds: Grounds<'a>,
    pub(super) commit: Commit,
    pub(super) subject: &'a Subject<'a>,
    pub(super) profiles: &'a Profiles,
    pub(super) text: Arc<TableText>,
    pub(super) config: Config,
    pub(super) lanes: &'a mut Lanes<Waiting>,
    pub(super) out: &'a mut Outbox,
    pub(super) sampler: Sampler,
    pub(super) samples: &'a mut Vec<Sample>,
    pub(super) prepared: OnceCell<Rc<Prepared>>,
    pub(super) frames: Frames,
}

/// What each role with subscribers on the table may see of the change.
pub(super) fn rights<'a>(
    switches: Switches,
    grounds: Grounds<'a>,
    profiles: &'a Profiles,
    subject: &'a Subject<'a>,
    decoder: &RowDecoder,
) -> SmallVec<[Rights<'a>; 2]> {
    let relation = subject.shown.table.id;
    let knowledge = match grounds.knowledge() {
        Some(_) if !profiles.audiences().trusts(relation) => Err(Asked::Distrusted),
        Some(knowledge) => Ok(knowledge),
        None => Err(Asked::NotCurrent),
    };
    let rights = profiles.audiences().of(relation).iter().map(|subscribers| {
        let access = grounds.catalog.access(&subscribers.role, relation);
        let decision = match access {
            None => Decision::Deny,
            Some(access) if subject.is_moved_out => {
                policy::moved_out(access, subject.asked).map_or(Decision::Deny, Decision::Ask)
            }
            Some(access) => policy::decide(switches, access, subject.shown),
        };
        let decision = match decision {
            // A version that its own transaction deleted was never to be seen by anybody.
            Decision::Ask(question) if question.new && subject.later.is_none() => Decision::Deny,
            decision => decision,
        };
        let case = match &decision {
            Decision::Ask(question) => knowledge.and_then(|knowledge| {
                let program = subscribers.program().ok_or(Asked::NotCompiled)?;
                let case = Case::new(question, subject, program, decoder, knowledge, grounds.moment);
                Ok((program, case.ok_or(Asked::Absent)?))
            }),
            _ => Err(Asked::NotCompiled),
        };
        Rights { subscribers, access, decision, case }
    });
    rights.collect()
}

/// About how many a row has to look at to find its recipients by the audiences; `None` if they do not decide.
pub(super) fn audience_cost(rights: &[Rights<'_>]) -> Option<usize> {
    let cost = |rights: &Rights<'_>| match (&rights.decision, &rights.case) {
        (Decision::Deny, _) => Some(0),
        (Decision::Ask(_), Ok(_)) => Some(rights.subscribers.cost()),
        // Everybody gets it, but where no program judges there are others alone.
        _ if rights.subscribers.audience().is_none() => Some(rights.subscribers.cost()),
        _ => None,
    };
    rights.iter().map(cost).sum()
}

impl Spread<'_> {
    /// Begins with the targets that match or may match, which stand together by profile.
    pub(super) fn spread_by_targets(&mut self, rights: &[Rights<'_>], matched: &[(TargetKey, bool)]) {
        let mut concerned: SmallVec<[bool; 2]> = SmallVec::from_elem(false, rights.len());
        for group in matched.chunk_by(|left, right| left.0.profile == right.0.profile) {
            let Some((key, _)) = group.first() else { continue };
            let Some(profile) = self.profiles.get(key.profile) else { continue };
            let of = |sure: bool| -> SmallVec<[Rc<Target>; 2]> {
                let keys = group.iter().filter(|(_, matches)| *matches == sure);
                keys.filter_map(|(key, _)| profile.targets.get(key.target).cloned()).collect()
            };
            let role = rights.iter().position(|rights| rights.subscribers.role == profile.claims.role);
            let Some(role) = role else { continue };
            concerned[role] = true;
            self.decide(&rights[role], key.profile, profile, (of(true), of(false)));
        }
        for (rights, concerned) in rights.iter().zip(concerned) {
            rights.subscribers.passed_over();
            if concerned {
                self.out.tally.decided(&rights.decision);
            }
        }
    }

    /// Begins with those whose policies let them see the row.
    pub(super) fn spread_by_audiences(&mut self, rights: &[Rights<'_>]) {
        for rights in rights {
            self.out.tally.decided(&rights.decision);
            if matches!(rights.decision, Decision::Deny) {
                continue;
            }
            if let Ok((program, case)) = &rights.case {
                self.spread_by_audience(rights, program, case);
            }
            for id in rights.subscribers.others() {
                let Some(profile) = self.profiles.get(id) else { continue };
                if let Some(targets) = self.targets(profile) {
                    self.decide(rights, id, profile, targets);
                }
            }
        }
    }

    fn spread_by_audience(&mut self, rights: &Rights<'_>, program: &Arc<Program>, case: &Case<'_>) {
        let Some(audience) = rights.subscribers.audience() else { return };
        // Whom the audience leaves out is drawn before it is known who that is.
        let mut probe =
            self.draws(rights).then(|| rights.subscribers.any_member(Sampler::number())).flatten();
        let mut visited = 0_usize;
        let (row, view, moment) = case.lead();
        let judged = audience.judge(row, view, moment, &mut |members, verdict| {
            visited += 1;
            if probe.is_some_and(|(id, _)| members.contains(&id)) {
                probe = None;
            }
            let Some(params) = members.first().and_then(|id| rights.subscribers.params(*id).ok()) else {
                return;
            };
            let ruling = case.rule(program, params, verdict);
            self.count(&ruling);
            if let Some(is_permitted) = ruling.is_permitted()
                && self.draws(rights)
                && let Some(id) =
                    Sampler::number().checked_rem(members.len()).and_then(|place| members.get(place))
            {
                self.sample(rights, program, *id, params, is_permitted);
            }
            if matches!(ruling, Ruling::Deny) {
                return;
            }
            for id in members {
                let Some(profile) = self.profiles.get(*id) else { continue };
                if let Some(targets) = self.targets(profile) {
                    self.emit(rights, *id, profile, targets, ruling.clone());
                }
            }
        });
        rights.subscribers.judged(judged);
        self.out.tally.program_denied += judged.saturating_sub(visited) as u64;
        if let Some((id, params)) = probe {
            self.sample(rights, program, id, params, false);
        }
    }

    /// Decides for one profile some of whose targets match or may match.
    fn decide(&mut self, rights: &Rights<'_>, id: ProfileId, profile: &Profile, targets: Targets) {
        let ruling = match &rights.decision {
            Decision::Deny => return,
            Decision::Permit(permit) => Ruling::Permit(permit.clone()),
            Decision::Refuse(refusal) => Ruling::Refuse(*refusal),
            Decision::Ask(_) => match (&rights.case, rights.subscribers.params(id)) {
                (Err(asked), _) => Ruling::Ask(*asked),
                (_, Err(asked)) => Ruling::Ask(asked),
                (Ok((program, case)), Ok(params)) => {
                    let ruling = case.rule(program, params, case.judge_lead(program, params));
                    self.count(&ruling);
                    if let Some(is_permitted) = ruling.is_permitted()
                        && self.draws(rights)
                    {
                        self.sample(rights, program, id, params, is_permitted);
                    }
                    ruling
                }
            },
        };
        self.emit(rights, id, profile, targets, ruling);
    }

    /// Hands a change to one profile, or queues it.
    fn emit(
        &mut self,
        rights: &Rights<'_>,
        id: ProfileId,
        profile: &Profile,
        (sure, maybe): Targets,
        ruling: Ruling,
    ) {
        let pending = match (ruling, &rights.decision) {
            (Ruling::Permit(permit), _) => Pending::Decided(Shown::Row(permit)),
            (Ruling::Refuse(refusal), _) => Pending::Decided(Shown::Refused(refusal)),
            (Ruling::Ask(asked), Decision::Ask(question)) => {
                self.out.tally.asks(asked);
                Pending::Asked(question.clone())
            }
            (Ruling::Deny | Ruling::Ask(_), _) => return,
        };
        let waiting = Waiting {
            profile: id,
            spec: Arc::clone(&profile.spec),
            members: Rc::clone(&profile.members),
            prepared: Rc::clone(self.prepared()),
            sure,
            maybe,
            pending,
        };
        let must_ask = matches!(waiting.pending, Pending::Asked(_)) || !waiting.maybe.is_empty();
        if must_ask {
            let access = rights.access.map(|access| &**access);
            let item = waiting.item(access, self.subject.asked, self.subject.later.as_ref());
            self.lanes.push(&profile.claims, waiting, Some(item));
        } else if self.lanes.is_waiting(&profile.claims) {
            self.lanes.push(&profile.claims, waiting, None);
        } else {
            self.frames.deliver(waiting, &[]);
        }
    }

    fn prepared(&self) -> &Rc<Prepared> {
        self.prepared.get_or_init(|| {
            Rc::new(Prepared::new(
                self.subject.shown,
                self.commit,
                self.grounds.catalog,
                self.subject.is_moved_out,
                &self.text,
                self.config,
            ))
        })
    }

    /// The targets of a profile that match the change, or may; `None` if there are none.
    fn targets(&self, profile: &Profile) -> Option<Targets> {
        let change = &**self.subject.shown;
        let image = change.filtered()?;
        let mut targets = Targets::default();
        for target in &profile.targets {
            if target.relation != change.table.id || !target.events.contains(change.event) {
                continue;
            }
            match target.predicate.test(|column| &image.values[column]) {
                Match::Matches => targets.0.push(Rc::clone(target)),
                Match::Ask => targets.1.push(Rc::clone(target)),
                Match::Differs => {}
            }
        }
        (!targets.0.is_empty() || !targets.1.is_empty()).then_some(targets)
    }

    /// Counts what a program came to for a group of callers.
    fn count(&mut self, ruling: &Ruling) {
        match ruling {
            Ruling::Permit(_) => self.out.tally.program_permitted += 1,
            Ruling::Deny => self.out.tally.program_denied += 1,
            Ruling::Refuse(_) | Ruling::Ask(_) => {}
        }
    }

    /// Whether the next decision is put to Postgres too: its answer can be compared where the row is stored as it was
    /// written.
    fn draws(&self, rights: &Rights<'_>) -> bool {
        let is_new = matches!(&rights.decision, Decision::Ask(question) if question.new);
        let is_last = matches!(self.subject.later, Some(Later::Nothing));
        is_new && is_last && !self.subject.is_moved_out && self.sampler.draws()
    }

    /// Has a decision put to Postgres too.
    fn sample(
        &mut self,
        rights: &Rights<'_>,
        program: &Arc<Program>,
        id: ProfileId,
        params: &Rc<Params>,
        is_permitted: bool,
    ) {
        let (Some(access), Some(profile)) = (rights.access, self.profiles.get(id)) else { return };
        // A value that was not logged is not known any more once the row has changed again: then the answer is no, and
        // says nothing about the program.
        let change = self.subject.asked;
        let knows = |new| rows::knows(&change.table, new, &access.condition);
        if is_permitted && !change.new.as_ref().is_some_and(knows) {
            return;
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.out.tally.samples_dropped += 1;
            return;
        }
        self.samples.push(Sample {
            claims: Arc::clone(&profile.claims),
            access: Arc::clone(access),
            program: Arc::clone(program),
            params: Rc::clone(params),
            change: Arc::clone(self.subject.asked),
            xid: self.commit.xid,
            is_permitted,
        });
    }
}

//! What compiled policies are judged by: the catalog's programs and the mirror of the tables that they read. The feed
//! keeps it current, in commit order; shards read it when somebody joins a private channel, and when rights change.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::channel::Rights;
use crate::policy::affected::Affected;
use crate::policy::function::Moment;
use crate::policy::mirror::State;
use crate::policy::program::{Caller, Params, Settings, Verdict};
use crate::policy::{Catalog, Mirror, Program};

use super::authorization::{Question, Subject};

/// Shared by the feed and the shards.
#[derive(Debug)]
pub struct Engine {
    knowledge: RwLock<Knowledge>,
    /// What times are counted from.
    start: Instant,
    /// Since when there is something that the feed has not done, in milliseconds from the start, plus one; 0: it has
    /// done everything that has arrived.
    busy_since: AtomicU64,
    /// Whether the log was found to be ahead.
    is_late: AtomicBool,
}

/// A feed that has been busy for longer grants nothing new.
const BEHIND_AFTER: Duration = Duration::from_secs(1);

/// What is known.
#[derive(Debug, Default)]
pub struct Knowledge {
    /// The programs, and what else the catalog says.
    pub catalog: Arc<Catalog>,
    /// The tables that they read.
    pub mirror: Mirror,
    /// Whether both are those of the stream: not while it is interrupted, or the catalog is being read anew.
    pub is_current: bool,
}

impl Engine {
    /// To judge by. Never held across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Knowledge> {
        self.knowledge.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change it: the feed alone does.
    pub fn write(&self) -> RwLockWriteGuard<'_, Knowledge> {
        self.knowledge.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed has something to do.
    pub(super) fn busy(&self) {
        if self.busy_since.load(Ordering::Relaxed) == 0 {
            let since = self.start.elapsed().as_millis().try_into().unwrap_or(u64::MAX - 1);
            self.busy_since.store(since + 1, Ordering::Relaxed);
        }
    }

    /// The feed has done everything that has arrived.
    pub(super) fn idle(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// Whether the log was found to be further than what has arrived, for longer than it may be.
    pub(super) fn set_late(&self, is_late: bool) {
        self.is_late.store(is_late, Ordering::Relaxed);
    }

    /// Whether the feed is known to be so far behind the log that nothing new is to be granted by what it knows.
    pub fn is_behind(&self) -> bool {
        let since = self.busy_since.load(Ordering::Relaxed);
        let busy_for = self.start.elapsed().saturating_sub(Duration::from_millis(since.saturating_sub(1)));
        self.is_late.load(Ordering::Relaxed) || (since > 0 && busy_for > BEHIND_AFTER)
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            knowledge: RwLock::default(),
            start: Instant::now(),
            busy_since: AtomicU64::new(0),
            is_late: AtomicBool::new(false),
        }
    }
}

/// What a question about a private channel came to, and what that was made of.
#[derive(Debug, Default)]
pub struct Judged {
    /// The answer; `None` where only Postgres can tell.
    pub rights: Option<Rights>,
    /// What it depends on.
    pub basis: Basis,
}

/// What an answer depends on.
#[derive(Clone, Debug, Default)]
pub struct Basis {
    /// The reading of the catalog; 0 for none.
    version: u64,
    /// The program, and its parameters unless they came to a doubt.
    program: Option<(Arc<Program>, Option<Params>)>,
}

impl Basis {
    /// Whether a program judges.
    pub fn has_program(&self) -> bool {
        self.program.is_some()
    }
}

/// The extensions that a question is about.
const EXTENSIONS: [&str; 2] = ["broadcast", "presence"];

impl Knowledge {
    /// What policies say to a subject, as far as compiled ones do, of the row that Postgres would be asked with.
    pub fn judge(&self, subject: &Subject, question: Question, moment: Moment) -> Judged {
        let Some(program) = self.program(subject, question) else {
            return Judged { rights: None, basis: Basis { version: self.version(), program: None } };
        };
        let settings = SubjectSettings::of(subject);
        let params = program.params(&Caller { settings: &settings, moment }).ok();
        let rights = params.as_ref().filter(|_| self.is_current && subject.refusal().is_none());
        let rights = rights.and_then(|params| self.rights(program, params, subject, moment));
        let program = Some((Arc::clone(program), params));
        Judged { rights, basis: Basis { version: self.version(), program } }
    }

    fn version(&self) -> u64 {
        if self.is_current { self.catalog.version } else { 0 }
    }

    fn program(&self, subject: &Subject, question: Question) -> Option<&Arc<Program>> {
        let programs = self.catalog.messages_of(&subject.claims.role)?;
        match question {
            Question::Read => programs.read.as_ref(),
            Question::Write => programs.write.as_ref(),
            Question::Replay { .. } => None,
        }
    }

    fn rights(
        &self,
        program: &Program,
        params: &Params,
        subject: &Subject,
        moment: Moment,
    ) -> Option<Rights> {
        let messages = self.catalog.messages.as_ref()?;
        if !messages.takes(&subject.topic, moment) {
            return None;
        }
        let view = self.mirror.view(State::After);
        let [broadcast, presence] = EXTENSIONS.map(|extension| {
            let row = messages.row(&subject.topic, extension, moment);
            match program.judge(params, &row, &view, &moment) {
                Verdict::Passes => Some(true),
                Verdict::Fails => Some(false),
                Verdict::Unknown(_) => None,
            }
        });
        Some(Rights { broadcast: broadcast?, presence: presence? })
    }
}

/// A subject's settings, as Postgres is asked with them.
#[derive(Debug)]
struct SubjectSettings<'a> {
    subject: &'a Subject,
    sub: String,
}

impl<'a> SubjectSettings<'a> {
    fn of(subject: &'a Subject) -> Self {
        Self { subject, sub: subject.sub().unwrap_or_default() }
    }
}

impl Settings for SubjectSettings<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "role" | "request.jwt.claim.role" => Some(&self.subject.claims.role),
            "realtime.topic" => Some(&self.subject.topic),
            "request.jwt.claims" => Some(&self.subject.claims.json),
            "request.jwt.claim.sub" => Some(&self.sub),
            "request.headers" => Some(&self.subject.headers),
            _ => None,
        }
    }
}

/// Word of the feed, in commit order, that what policies let private channels do may have changed.
#[derive(Debug)]
pub struct Recheck {
    /// The reading of the catalog that holds.
    version: u64,
    whom: Whom,
}

#[derive(Debug)]
enum Whom {
    /// The policies themselves have changed.
    Everybody,
    /// Those whom these programs judge, as far as they are named.
    Judged(Vec<(Arc<Program>, Affected)>),
}

/// More callers than this are everybody.
const NAMED_MAX: usize = 1_024;

impl Recheck {
    /// Of all channels, as the policies themselves may have changed.
    pub fn everybody(version: u64) -> Self {
        Self { version, whom: Whom::Everybody }
    }

    /// Of none so far.
    pub fn new(version: u64) -> Self {
        Self { version, whom: Whom::Judged(Vec::new()) }
    }

    /// Adds those whom a program judges.
    pub fn add(&mut self, program: &Arc<Program>, affected: Affected) {
        let Whom::Judged(judged) = &mut self.whom else { return };
        if affected == Affected::Nobody {
            return;
        }
        let Some((_, known)) = judged.iter_mut().find(|(known, _)| Arc::ptr_eq(known, program)) else {
            judged.push((Arc::clone(program), affected));
            return;
        };
        match (&mut *known, affected) {
            (Affected::Values(values), Affected::Values(more)) => {
                for value in more {
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                if values.len() > NAMED_MAX {
                    *known = Affected::Everybody;
                }
            }
            (known, more) => *known = more,
        }
    }

    /// Whether everybody whom this program judges is among them.
    pub fn has_all_of(&self, program: &Arc<Program>) -> bool {
        let all = |(known, affected): &(Arc<Program>, Affected)| {
            Arc::ptr_eq(known, program) && *affected == Affected::Everybody
        };
        match &self.whom {
            Whom::Everybody => true,
            Whom::Judged(judged) => judged.iter().any(all),
        }
    }

    /// Whether nobody is among them.
    pub fn is_empty(&self) -> bool {
        matches!(&self.whom, Whom::Judged(judged) if judged.is_empty())
    }

    /// Whether it is about all channels.
    pub fn is_of_everybody(&self) -> bool {
        matches!(self.whom, Whom::Everybody)
    }

    /// Whether an answer that was made of another reading has to be looked at to tell.
    pub fn outdates(&self, basis: &Basis) -> bool {
        basis.version != self.version
    }

    /// Whether an answer may be another now.
    pub fn concerns(&self, basis: &Basis) -> bool {
        let Whom::Judged(judged) = &self.whom else { return true };
        let Some((program, params)) = &basis.program else { return false };
        let affected = judged.iter().find(|(known, _)| Arc::ptr_eq(known, program));
        affected.is_some_and(|(_, affected)| params.as_ref().is_none_or(|params| affected.includes(params)))
    }
}

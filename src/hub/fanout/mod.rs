//! One transaction × all subscribers → frames with their recipients.
//!
//! For each change: its recipients are found from the bindings or from the audiences (`spread.rs`), policy decides once
//! a role, compiled programs decide what row level security leaves open (`case.rs`), and each frame is encoded once for
//! all who get equal bytes (`frames.rs`).
//! What only Postgres can tell goes into [`Lanes`] and comes back through [`Fanout::settle`].

mod case;
mod frames;
mod history;
mod outbox;
mod row;
mod sample;
mod spread;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio_postgres::error::SqlState;

use crate::change::{Event, RelationId, RowChange};
use crate::policy::function::Moment;
use crate::policy::row::RowDecoder;
use crate::policy::{Access, Answer, Catalog, Decision, Question, Switches};
use crate::protocol::change::TableText;
use crate::subscription::Verdict;
use crate::wal::sql::literal;

use super::ask::{Item, Later};
use super::engine::Knowledge;
use super::lane::{Lanes, Ready};
use super::profile::{Member, ProfileId, Profiles, Spec, TargetKey};
use super::renewal::is_renewal;
use super::resolve::Target;

pub use frames::Prepared;
use frames::{Frames, Shown};
pub use history::History;
pub use outbox::{Asked, Outbox, Tally};
pub use sample::Sample;
use sample::Sampler;
use spread::{Spread, audience_cost, rights};

/// How many bytes of deliveries are collected before they are handed over.
const OUTBOX_BYTES_MAX: usize = 4 << 20;

/// So many bindings are looked at one by one rather than to ask the audiences.
const SCANNED_MAX: usize = 16;

/// A transaction's part of a change's context.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// Counts the transactions in the order of receipt.
    pub sequence: u64,
    /// Its identifier, without the epoch.
    pub xid: u32,
    /// When it committed: microseconds since the Unix epoch.
    pub time_micros: i64,
}

/// A run of a transaction's changes, laid out by the catalog.
#[derive(Debug)]
pub struct Aligned<'a> {
    /// The transaction.
    pub commit: Commit,
    /// All its changes that are known, in write order.
    pub changes: &'a [Arc<RowChange>],
    /// What is made of them.
    pub history: &'a History,
    /// Which of them to fan out.
    pub run: Range<usize>,
}

/// What changes are decided by.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// Tables, roles and their rights.
    pub catalog: &'a Arc<Catalog>,
    /// What programs are judged by.
    pub knowledge: Option<&'a Knowledge>,
    /// Now.
    pub moment: Moment,
}

/// What is told, and what is judged for it.
#[derive(Debug)]
struct Subject<'a> {
    shown: &'a Arc<RowChange>,
    asked: &'a Arc<RowChange>,
    /// What became of the new row later in its transaction; `None` if it was deleted.
    later: Option<Later>,
    is_moved_out: bool,
}

/// What waits in a lane: one change for one profile, as the profile was when the change came.
#[derive(Debug)]
pub struct Waiting {
    profile: ProfileId,
    spec: Arc<Spec>,
    members: Rc<Vec<Member>>,
    prepared: Rc<Prepared>,
    /// Targets that match.
    sure: SmallVec<[Rc<Target>; 2]>,
    /// Targets whose filters Postgres evaluates, in the order of its answers.
    maybe: SmallVec<[Rc<Target>; 2]>,
    pending: Pending,
}

#[derive(Debug)]
enum Pending {
    Decided(Shown),
    Asked(Question),
}

impl Waiting {
    /// The transaction it belongs to.
    pub fn sequence(&self) -> u64 {
        self.prepared.commit.sequence
    }

    /// What to ask: the policies about `asked`, and filters about what is told.
    fn item(&self, access: Option<&Access>, asked: &Arc<RowChange>, later: Option<&Later>) -> Item {
        let change = &self.prepared.change;
        let (new, old) = match &self.pending {
            Pending::Asked(question) => (question.new, question.old),
            Pending::Decided(_) => (false, false),
        };
        let column = |column: usize| {
            let value = change.filtered().and_then(|image| image.values[column].text());
            value.map_or_else(|| "null".to_owned(), literal)
        };
        let filters =
            self.maybe.iter().map(|target| target.predicate.sql(&column, &self.prepared.catalog.types));
        Item {
            entry: 0,
            change: Arc::clone(asked),
            xid: self.prepared.commit.xid,
            condition: access.map_or_else(|| "false".into(), |access| Arc::clone(&access.condition)),
            new,
            old,
            later: later.cloned().unwrap_or(Later::Nothing),
            filters: filters.collect(),
        }
    }
}

impl<'a> Grounds<'a> {
    /// What programs are judged by, if it is of this catalog and of now.
    fn knowledge(&self) -> Option<&'a Knowledge> {
        let is_of_now =
            |knowledge: &&Knowledge| knowledge.is_current && Arc::ptr_eq(&knowledge.catalog, self.catalog);
        self.knowledge.filter(is_of_now)
    }
}

/// Settings of a fan-out.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many bytes of values a record may have.
    pub record_bytes_max: usize,
    /// How many deliveries may wait for answers.
    pub waiting_max: usize,
    /// What is shown of what was before.
    pub switches: Switches,
    /// Of a million decisions that are made in memory, how many are put to Postgres too.
    pub shadow_per_million: u32,
    /// Whether deliveries say which message they tell of.
    pub notes_sent: bool,
}

/// Decides and encodes.
#[derive(Debug)]
pub struct Fanout {
    config: Config,
    texts: HashMap<RelationId, (Arc<TableText>, Arc<RowDecoder>)>,
    texts_version: u64,
    matched: Vec<(TargetKey, bool)>,
    samples: Vec<Sample>,
}

impl Fanout {
    /// Nothing cached yet.
    pub fn new(config: Config) -> Self {
        Self { config, texts: HashMap::new(), texts_version: 0, matched: Vec::new(), samples: Vec::new() }
    }

    /// Fans out a run of a transaction's changes, in write order, until there is as much to hand over or to ask as
    /// may be; what is news to nobody is passed over. Gives the place after the last change that was dealt with: at
    /// least one is.
    pub fn fan_out(
        &mut self,
        grounds: Grounds<'_>,
        profiles: &Profiles,
        lanes: &mut Lanes<Waiting>,
        out: &mut Outbox,
        transaction: Aligned<'_>,
    ) -> usize {
        let Aligned { commit, changes, history, run } = transaction;
        for (position, change) in changes.iter().enumerate().skip(run.start).take(run.len()) {
            if position > run.start
                && (out.bytes >= OUTBOX_BYTES_MAX || lanes.entry_count() >= self.config.waiting_max)
            {
                return position;
            }
            if is_renewal(change) {
                continue;
            }
            let later = history.later(position, changes);
            let subject = Subject { shown: change, asked: change, later, is_moved_out: false };
            self.fan_out_one(grounds, profiles, lanes, out, (commit, &subject));
            if self.config.switches.moved_out
                && change.old_is_full
                && change.table.row_security
                && let Some(update) = history.whole_update(position, changes)
            {
                let gone = Arc::new(RowChange {
                    table: Arc::clone(&update.table),
                    event: Event::Delete,
                    new: None,
                    old: update.old.clone(),
                    old_is_full: update.old_is_full,
                });
                let later = Some(Later::Nothing);
                let subject = Subject { shown: &gone, asked: &update, later, is_moved_out: true };
                self.fan_out_one(grounds, profiles, lanes, out, (commit, &subject));
            }
        }
        run.end
    }

    /// Takes the decisions that are to be put to Postgres too.
    pub fn take_samples(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.samples)
    }

    fn fan_out_one(
        &mut self,
        grounds: Grounds<'_>,
        profiles: &Profiles,
        lanes: &mut Lanes<Waiting>,
        out: &mut Outbox,
        (commit, subject): (Commit, &Subject<'_>),
    ) {
        let change = &**subject.shown;
        let Some(image) = change.filtered() else { return };
        let reachable =
            profiles.index().candidate_count(change.table.id, change.event, |column| &image.values[column]);
        if reachable == 0 {
            return;
        }
        let (text, decoder) = self.text(grounds.catalog, change);
        let rights = rights(self.config.switches, grounds, profiles, subject, &decoder);
        let by_audience =
            reachable > SCANNED_MAX && audience_cost(&rights).is_some_and(|cost| cost < reachable);
        if !by_audience {
            self.find_targets(profiles, change);
        }
        let mut spread = Spread {
            grounds,
            commit,
            subject,
            profiles,
            text,
            config: self.config,
            lanes,
            out: &mut *out,
            sampler: Sampler { per_million: self.config.shadow_per_million },
            samples: &mut self.samples,
            prepared: OnceCell::new(),
            frames: Frames::default(),
        };
        if by_audience {
            spread.spread_by_audiences(&rights);
        } else {
            spread.spread_by_targets(&rights, &self.matched);
        }
        let Spread { frames, prepared, .. } = spread;
        frames.flush(out, prepared.get().and_then(|prepared| prepared.sent.as_ref()));
    }

    /// Collects the targets that match or may match, in the order of their profiles.
    fn find_targets(&mut self, profiles: &Profiles, change: &RowChange) {
        self.matched.clear();
        let Some(image) = change.filtered() else { return };
        let value = |column: usize| &image.values[column];
        let matched = &mut self.matched;
        profiles.index().candidates(change.table.id, change.event, value, |key, predicate| {
            match predicate.test(value) {
                Verdict::Matches => matched.push((key, true)),
                Verdict::Ask => matched.push((key, false)),
                Verdict::Differs => {}
            }
        });
        self.matched.sort_unstable_by_key(|(key, _)| (key.profile, key.target));
    }

    /// How the rows of a table are written and read.
    fn text(&mut self, catalog: &Catalog, change: &RowChange) -> (Arc<TableText>, Arc<RowDecoder>) {
        if self.texts_version != catalog.version {
            self.texts.clear();
            self.texts_version = catalog.version;
        }
        let (text, decoder) = self.texts.entry(change.table.id).or_insert_with(|| {
            let decoder = RowDecoder::new(&change.table, &catalog.types);
            (Arc::new(TableText::new(&change.table, &catalog.types)), Arc::new(decoder))
        });
        (Arc::clone(text), Arc::clone(decoder))
    }

    /// Delivers what has come to the head of its lane. Gives what could not be judged, to be told.
    pub fn settle(out: &mut Outbox, ready: Ready<Waiting>) -> Option<(ProfileId, Arc<RowChange>, SqlState)> {
        let mut waiting = ready.payload;
        let (answer, passed) = match ready.answer {
            None => (Answer::default(), Vec::new()),
            Some(Ok(answered)) => answered,
            Some(Err(code)) => return Some((waiting.profile, Arc::clone(&waiting.prepared.change), code)),
        };
        if let Pending::Asked(question) = waiting.pending {
            let Decision::Permit(permit) = question.answered(answer) else { return None };
            waiting.pending = Pending::Decided(Shown::Row(permit));
        }
        let prepared = Rc::clone(&waiting.prepared);
        let mut frames = Frames::default();
        frames.deliver(waiting, &passed);
        frames.flush(out, prepared.sent.as_ref());
        None
    }
}

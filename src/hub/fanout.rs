//! One transaction × all subscribers → frames with their recipients.
//!
//! For each change: the index gives the targets that may match, their predicates are tested, what matched is
//! grouped by profile, policy decides once a role, and each frame is encoded once for all who get equal bytes.
//! What only Postgres can tell goes into [`Lanes`] and comes back through [`Fanout::settle`].

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio_postgres::error::SqlState;

use crate::change::{Event, RelationId, RowChange};
use crate::policy::{
    self, Access, Answer, Catalog, ColumnSet, Decision, Permit, Question, Refusal, Switches,
};
use crate::protocol::change::{Context, TableText, data, refused};
use crate::protocol::changes_frame;
use crate::subscription::Verdict;
use crate::wal::sql::literal;

use super::ask::{Item, Later};
use super::lane::{Lanes, Ready};
use super::profile::{Member, ProfileId, Profiles, Spec, TargetKey};
use super::resolve::Target;
use super::{ChannelRef, Delivery, FeedEvent};

/// How many bytes of deliveries are collected before they are handed over.
const OUTBOX_BYTES_MAX: usize = 4 << 20;

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

/// A change on its way, with what has been made of it.
#[derive(Debug)]
pub struct Prepared {
    change: Arc<RowChange>,
    commit: Commit,
    catalog: Arc<Catalog>,
    text: Arc<TableText>,
    record_bytes_max: usize,
    data: RefCell<HashMap<DataKey, Arc<str>>>,
    frames: RefCell<HashMap<FrameKey, Bytes>>,
}

/// What a subscriber gets to see of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Shown {
    Row(Permit),
    Refused(Refusal),
}

/// What is shown, and the columns that the subscriber selected from it.
type DataKey = (Shown, Option<ColumnSet>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct FrameKey {
    /// Topic, dialect and naming of events.
    spec: (Arc<str>, crate::protocol::Dialect, bool),
    ids: SmallVec<[u32; 4]>,
    data: DataKey,
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

/// What policy says of one change to a role, and by which rights.
type RoleDecision = (Arc<str>, Option<Arc<Access>>, Decision);

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

    /// What to ask.
    fn item(&self, access: Option<&Access>, later: Option<&Later>) -> Item {
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
            change: Arc::clone(change),
            xid: self.prepared.commit.xid,
            condition: access.map_or_else(|| "false".into(), |access| Arc::clone(&access.condition)),
            new,
            old,
            later: later.cloned().unwrap_or(Later::Nothing),
            filters: filters.collect(),
        }
    }
}

/// What the fan-out hands to shards, collected until it is flushed.
#[derive(Debug, Default)]
pub struct Outbox {
    by_shard: Vec<Vec<Delivery>>,
    systems: Vec<(u16, FeedEvent)>,
    /// About how much memory the deliveries have.
    bytes: usize,
    /// What has been counted since the last [`Self::take_tally`].
    tally: Tally,
}

/// What a fan-out counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How many times a change was put into a frame for somebody.
    pub deliveries: u64,
    /// The same, each as often as bindings of the channel match.
    pub events: u64,
    /// Decisions for one change and one role, by what they were.
    pub permitted: u64,
    /// See above.
    pub denied: u64,
    /// See above.
    pub refused: u64,
    /// See above.
    pub asked: u64,
}

impl Tally {
    fn decided(&mut self, decision: &Decision) {
        let count = match decision {
            Decision::Permit(_) => &mut self.permitted,
            Decision::Deny => &mut self.denied,
            Decision::Refuse(_) => &mut self.refused,
            Decision::Ask(_) => &mut self.asked,
        };
        *count += 1;
    }
}

impl Outbox {
    /// For this many shards.
    pub fn new(shard_count: usize) -> Self {
        Self {
            by_shard: vec![Vec::new(); shard_count],
            systems: Vec::new(),
            bytes: 0,
            tally: Tally::default(),
        }
    }

    /// Adds a frame for some channels.
    fn deliver(&mut self, frame: &Bytes, recipients: &[ChannelRef]) {
        self.tally.deliveries += recipients.len() as u64;
        self.bytes += frame.len() + size_of_val(recipients);
        for (shard, deliveries) in self.by_shard.iter_mut().enumerate() {
            let channels: Arc<[ChannelRef]> =
                recipients.iter().filter(|channel| usize::from(channel.shard) == shard).copied().collect();
            if !channels.is_empty() {
                deliveries.push(Delivery { frame: frame.clone(), channels });
            }
        }
    }

    /// Adds a `system` message for one channel.
    pub fn system(&mut self, channel: ChannelRef, ok: bool, message: &Arc<str>) {
        let event = FeedEvent::System { channel, ok, message: Arc::clone(message) };
        self.systems.push((channel.shard, event));
    }

    /// Tells every shard whether the stream is live.
    pub fn live(&mut self, is_live: bool) {
        let shards = (0..self.by_shard.len()).filter_map(|shard| u16::try_from(shard).ok());
        self.systems.extend(shards.map(|shard| (shard, FeedEvent::Live(is_live))));
    }

    /// Takes what was counted.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.systems.is_empty() && self.by_shard.iter().all(Vec::is_empty)
    }

    /// Takes what was collected, by shard.
    pub fn take(&mut self) -> Vec<(u16, FeedEvent)> {
        self.bytes = 0;
        let mut events = Vec::new();
        for (shard, deliveries) in self.by_shard.iter_mut().enumerate() {
            if !deliveries.is_empty()
                && let Ok(shard) = u16::try_from(shard)
            {
                events.push((shard, FeedEvent::Changes(std::mem::take(deliveries))));
            }
        }
        events.append(&mut self.systems);
        events
    }
}

/// Decides and encodes.
#[derive(Debug)]
pub struct Fanout {
    /// How many bytes of values a record may have.
    pub record_bytes_max: usize,
    /// How many deliveries may wait for answers.
    pub waiting_max: usize,
    /// What is shown of what was before.
    pub switches: Switches,
    texts: HashMap<RelationId, Arc<TableText>>,
    texts_version: u64,
    matched: Vec<(TargetKey, bool)>,
}

impl Fanout {
    /// Nothing cached yet.
    pub fn new(record_bytes_max: usize, waiting_max: usize, switches: Switches) -> Self {
        Self {
            record_bytes_max,
            waiting_max,
            switches,
            texts: HashMap::new(),
            texts_version: 0,
            matched: Vec::new(),
        }
    }

    /// Fans out a run of a transaction's changes, in write order, until there is as much to hand over or to ask as
    /// may be. Gives the place after the last change that was fanned out: at least one is.
    pub fn fan_out(
        &mut self,
        catalog: &Arc<Catalog>,
        profiles: &Profiles,
        lanes: &mut Lanes<Waiting>,
        out: &mut Outbox,
        transaction: Aligned<'_>,
    ) -> usize {
        let Aligned { commit, changes, history, run } = transaction;
        for (position, change) in changes.iter().enumerate().skip(run.start).take(run.len()) {
            if position > run.start
                && (out.bytes >= OUTBOX_BYTES_MAX || lanes.entry_count() >= self.waiting_max)
            {
                return position;
            }
            self.find_targets(profiles, change);
            if self.matched.is_empty() {
                continue;
            }
            let prepared = Rc::new(Prepared {
                change: Arc::clone(change),
                commit,
                catalog: Arc::clone(catalog),
                text: self.text(catalog, change),
                record_bytes_max: self.record_bytes_max,
                data: RefCell::default(),
                frames: RefCell::default(),
            });
            let later = history.later(position, changes);
            self.fan_out_one(profiles, lanes, out, &prepared, later.as_ref());
        }
        run.end
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

    fn text(&mut self, catalog: &Catalog, change: &RowChange) -> Arc<TableText> {
        if self.texts_version != catalog.version {
            self.texts.clear();
            self.texts_version = catalog.version;
        }
        let text = self
            .texts
            .entry(change.table.id)
            .or_insert_with(|| Arc::new(TableText::new(&change.table, &catalog.types)));
        Arc::clone(text)
    }

    fn fan_out_one(
        &self,
        profiles: &Profiles,
        lanes: &mut Lanes<Waiting>,
        out: &mut Outbox,
        prepared: &Rc<Prepared>,
        later: Option<&Later>,
    ) {
        let catalog = &prepared.catalog;
        let change = &prepared.change;
        let mut decisions: SmallVec<[RoleDecision; 2]> = SmallVec::new();
        let mut frames = Frames::default();
        for group in self.matched.chunk_by(|left, right| left.0.profile == right.0.profile) {
            let Some((key, _)) = group.first() else { continue };
            let Some(profile) = profiles.get(key.profile) else { continue };
            let role = &profile.claims.role;
            if !decisions.iter().any(|(decided, ..)| decided == role) {
                let access = catalog.access(role, change.table.id).cloned();
                let decision = access
                    .as_ref()
                    .map_or(Decision::Deny, |access| policy::decide(self.switches, access, change));
                out.tally.decided(&decision);
                decisions.push((Arc::clone(role), access, decision));
            }
            let Some((_, access, decision)) = decisions.iter().find(|(decided, ..)| decided == role) else {
                continue;
            };
            let pending = match decision {
                Decision::Deny => continue,
                Decision::Permit(permit) => Pending::Decided(Shown::Row(permit.clone())),
                Decision::Refuse(refusal) => Pending::Decided(Shown::Refused(*refusal)),
                Decision::Ask(question) => match later {
                    // A version that its own transaction deleted was never to be seen by anybody.
                    None if question.new => continue,
                    _ => Pending::Asked(question.clone()),
                },
            };
            let of = |sure: bool| -> SmallVec<[Rc<Target>; 2]> {
                let keys = group.iter().filter(|(_, matches)| *matches == sure);
                keys.filter_map(|(key, _)| profile.targets.get(key.target).cloned()).collect()
            };
            let waiting = Waiting {
                profile: key.profile,
                spec: Arc::clone(&profile.spec),
                members: Rc::clone(&profile.members),
                prepared: Rc::clone(prepared),
                sure: of(true),
                maybe: of(false),
                pending,
            };
            let must_ask = matches!(waiting.pending, Pending::Asked(_)) || !waiting.maybe.is_empty();
            if must_ask {
                let item = waiting.item(access.as_deref(), later);
                lanes.push(&profile.claims, waiting, Some(item));
            } else if lanes.is_waiting(&profile.claims) {
                lanes.push(&profile.claims, waiting, None);
            } else {
                deliver(&mut frames, waiting, &[]);
            }
        }
        frames.flush(out);
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
        let mut frames = Frames::default();
        deliver(&mut frames, waiting, &passed);
        frames.flush(out);
        None
    }
}

/// Frames of one change with all who get them, so that equal bytes are handed over once.
#[derive(Default)]
struct Frames {
    frames: SmallVec<[(Bytes, Vec<ChannelRef>); 2]>,
    /// Recipients, each as often as bindings of theirs match.
    events: u64,
}

impl Frames {
    /// Adds recipients of a frame, which holds the change for so many bindings of each.
    fn add(&mut self, frame: Bytes, recipients: impl Iterator<Item = ChannelRef>, bindings: usize) {
        let mut count = 0;
        let recipients = recipients.inspect(|_| count += 1);
        // Encoded once means one allocation: the same frame has the same address.
        let place = self.frames.iter().position(|(known, _)| known.as_ptr() == frame.as_ptr());
        match place.and_then(|place| self.frames.get_mut(place)) {
            Some((_, known)) => known.extend(recipients),
            None => self.frames.push((frame, recipients.collect())),
        }
        self.events += count * bindings as u64;
    }

    fn flush(self, out: &mut Outbox) {
        out.tally.events += self.events;
        for (frame, recipients) in self.frames {
            out.deliver(&frame, &recipients);
        }
    }
}

/// Encodes a decided change for one profile: a frame for each distinct `select` among the targets that match.
fn deliver(frames: &mut Frames, waiting: Waiting, passed: &[bool]) {
    let Pending::Decided(shown) = waiting.pending else { return };
    let (spec, prepared) = (&*waiting.spec, &*waiting.prepared);
    let mut targets = waiting.sure;
    let confirmed = waiting.maybe.into_iter().zip(passed).filter(|(_, passed)| **passed);
    targets.extend(confirmed.map(|(target, _)| target));
    // The reference lists the ids from the last binding to the first.
    targets.sort_unstable_by_key(|target| std::cmp::Reverse(target.binding));
    let mut done: SmallVec<[&Option<ColumnSet>; 2]> = SmallVec::new();
    for target in &targets {
        if done.contains(&&target.select) {
            continue;
        }
        done.push(&target.select);
        let ids: SmallVec<[u32; 4]> = targets
            .iter()
            .filter(|other| other.select == target.select)
            .filter_map(|other| spec.ids.get(other.binding).copied())
            .collect();
        let bindings = ids.len();
        let frame = prepared.frame(spec, ids, (shown.clone(), target.select.clone()));
        let sequence = prepared.commit.sequence;
        let members = waiting.members.iter().filter(move |member| member.since <= sequence);
        frames.add(frame, members.map(|member| member.channel), bindings);
    }
}

impl Prepared {
    fn frame(&self, spec: &Spec, ids: SmallVec<[u32; 4]>, shown: (Shown, Option<ColumnSet>)) -> Bytes {
        let key = FrameKey { spec: (Arc::clone(&spec.topic), spec.dialect, spec.legacy), ids, data: shown };
        if let Some(frame) = self.frames.borrow().get(&key) {
            return frame.clone();
        }
        let data = self.data(&key.data);
        let legacy = spec.legacy.then(|| self.change.event.name());
        let frame = changes_frame(spec.dialect, legacy, &spec.topic, &key.ids, &data);
        self.frames.borrow_mut().insert(key, frame.clone());
        frame
    }

    fn data(&self, shown: &DataKey) -> Arc<str> {
        if let Some(data) = self.data.borrow().get(shown) {
            return Arc::clone(data);
        }
        let context = Context {
            types: &self.catalog.types,
            text: &self.text,
            commit_time_micros: self.commit.time_micros,
            record_bytes_max: self.record_bytes_max,
        };
        let json: Arc<str> = match &shown.0 {
            Shown::Row(permit) => data(context, &self.change, permit, shown.1.as_ref()),
            Shown::Refused(refusal) => refused(context, self.change.event, *refusal),
        }
        .into();
        self.data.borrow_mut().insert(shown.clone(), Arc::clone(&json));
        json
    }
}

/// What became of each row version later in its own transaction.
#[derive(Debug)]
pub struct History {
    fates: Vec<Fate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Replaced(usize),
    Deleted,
    Unknown,
}

impl History {
    /// The history of a transaction's changes, and of tables that were emptied when there were so many of them;
    /// `whole` says whether these are all. Of the tables in `partial` they never are.
    pub fn of(
        changes: &[Arc<RowChange>],
        truncations: &[(usize, RelationId)],
        whole: bool,
        partial: &HashSet<RelationId>,
    ) -> Self {
        if !whole {
            return Self { fates: vec![Fate::Unknown; changes.len()] };
        }
        let mut fates = vec![Fate::Kept; changes.len()];
        // From the last change to the first: for each key, the version that outlives the transaction.
        let mut outcome: HashMap<(RelationId, Vec<&str>), Fate> = HashMap::new();
        let mut truncations = truncations.iter().rev().peekable();
        let mut emptied: HashSet<RelationId> = HashSet::new();
        for (position, change) in changes.iter().enumerate().rev() {
            while let Some((_, id)) = truncations.next_if(|(count, _)| *count > position) {
                emptied.insert(*id);
                outcome.retain(|(relation, _), _| relation != id);
            }
            let id = change.table.id;
            if !change.table.row_security {
                continue;
            }
            if partial.contains(&id) {
                fates[position] = Fate::Unknown;
                continue;
            }
            let old_key = change.old.as_ref().and_then(|old| old.key(&change.table));
            let Some(new) = &change.new else {
                match old_key {
                    Some(old_key) => {
                        outcome.insert((id, old_key), Fate::Deleted);
                    }
                    // Which row went is not known; any earlier version may be it.
                    None => return Self { fates: vec![Fate::Unknown; changes.len()] },
                }
                continue;
            };
            let Some(new_key) = new.key(&change.table) else { continue };
            let known = outcome.remove(&(id, new_key.clone()));
            let fate = known.or(emptied.contains(&id).then_some(Fate::Deleted));
            if let Some(fate) = fate {
                fates[position] = fate;
            }
            if change.event == Event::Update {
                let last = fate.unwrap_or(Fate::Replaced(position));
                // The identity may be another index; then the primary key is taken to be unchanged.
                outcome.insert((id, old_key.unwrap_or(new_key)), last);
            }
        }
        Self { fates }
    }

    /// What to ask about the version at `position`; `None` if it was deleted again.
    fn later(&self, position: usize, changes: &[Arc<RowChange>]) -> Option<Later> {
        match self.fates.get(position).copied().unwrap_or(Fate::Unknown) {
            Fate::Kept => Some(Later::Nothing),
            Fate::Deleted => None,
            Fate::Unknown => Some(Later::Unknown),
            Fate::Replaced(last) => {
                Some(changes.get(last).map_or(Later::Unknown, |last| Later::Replaced(Arc::clone(last))))
            }
        }
    }
}

//! A change as its subscribers read it: each distinct frame is encoded once, and handed over once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::change::RowChange;
use crate::hub::profile::Spec;
use crate::hub::{ChannelRef, Sent};
use crate::policy::{Catalog, ColumnSet, Permit, Refusal};
use crate::protocol::change::{Context, TableText, data, refused};
use crate::protocol::changes_frame;

use super::outbox::Outbox;
use super::{Commit, Config, Pending, Waiting};

/// A change on its way, with what has been made of it.
#[derive(Debug)]
pub struct Prepared {
    pub(super) change: Arc<RowChange>,
    pub(super) commit: Commit,
    pub(super) catalog: Arc<Catalog>,
    /// Whether it tells that a row has moved out of somebody's sight.
    pub(super) is_moved_out: bool,
    /// The message that it tells of, where messaging is on.
    pub(super) sent: Option<Arc<Sent>>,
    text: Arc<TableText>,
    record_bytes_max: usize,
    data: RefCell<Made<DataKey, Arc<str>>>,
    frames: RefCell<Made<FrameKey, Bytes>>,
}

/// What has been made of a change. Most changes make one thing of a kind, which is neither hashed nor given a map.
#[derive(Debug)]
struct Made<K, V> {
    first: Option<(K, V)>,
    others: HashMap<K, V>,
}

impl<K, V> Default for Made<K, V> {
    fn default() -> Self {
        Self { first: None, others: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> Made<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        match &self.first {
            Some((first, made)) if first == key => Some(made),
            Some(_) => self.others.get(key),
            None => None,
        }
    }

    fn insert(&mut self, key: K, made: V) {
        if self.first.is_none() {
            self.first = Some((key, made));
        } else {
            self.others.insert(key, made);
        }
    }
}

/// What a subscriber gets to see of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shown {
    Row(Permit),
    Refused(Refusal),
}

/// What is shown, the columns that the subscriber selected from it, and whether it wants deleted rows whole.
type DataKey = (Shown, Option<ColumnSet>, bool);

#[derive(Debug, PartialEq, Eq, Hash)]
struct FrameKey {
    /// Topic, dialect and naming of events.
    spec: (Arc<str>, crate::protocol::Dialect, bool),
    ids: SmallVec<[u32; 4]>,
    data: DataKey,
}

/// Frames of one change with all who get them, so that equal bytes are handed over once.
#[derive(Default)]
pub(super) struct Frames {
    frames: SmallVec<[(Bytes, SmallVec<[ChannelRef; 8]>); 1]>,
    /// Recipients, each as often as bindings of theirs match.
    events: u64,
    /// Recipients of what has moved out of their sight.
    moved_out: u64,
}

impl Frames {
    /// Adds recipients of a frame, which holds the change for so many bindings of each.
    fn add(&mut self, frame: Bytes, recipients: impl Iterator<Item = ChannelRef>, bindings: usize) -> u64 {
        let mut count = 0;
        let recipients = recipients.inspect(|_| count += 1);
        // Encoded once means one allocation: the same frame has the same address.
        let place = self.frames.iter().position(|(known, _)| known.as_ptr() == frame.as_ptr());
        match place.and_then(|place| self.frames.get_mut(place)) {
            Some((_, known)) => known.extend(recipients),
            None => self.frames.push((frame, recipients.collect())),
        }
        self.events += count * bindings as u64;
        count
    }

    /// Encodes a decided change for one profile: a frame for each distinct `select` among the targets that match.
    pub(super) fn deliver(&mut self, waiting: Waiting, passed: &[bool]) {
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
            let data = (shown.clone(), target.select.clone(), spec.whole_deleted);
            let frame = prepared.frame(spec, ids, data);
            let sequence = prepared.commit.sequence;
            let members = waiting.members.iter().filter(move |member| member.since <= sequence);
            let count = self.add(frame, members.map(|member| member.channel), bindings);
            if prepared.is_moved_out {
                self.moved_out += count;
            }
        }
    }

    pub(super) fn flush(self, out: &mut Outbox, sent: Option<&Arc<Sent>>) {
        out.tally.events += self.events;
        out.tally.moved_out += self.moved_out;
        for (frame, recipients) in self.frames {
            out.deliver(&frame, &recipients, sent);
        }
    }
}

impl Prepared {
    pub(super) fn new(
        change: &Arc<RowChange>,
        commit: Commit,
        catalog: &Arc<Catalog>,
        is_moved_out: bool,
        text: &Arc<TableText>,
        config: Config,
    ) -> Self {
        Self {
            change: Arc::clone(change),
            commit,
            catalog: Arc::clone(catalog),
            is_moved_out,
            sent: if config.notes_sent { Sent::of(change) } else { None },
            text: Arc::clone(text),
            record_bytes_max: config.record_bytes_max,
            data: RefCell::default(),
            frames: RefCell::default(),
        }
    }

    fn frame(&self, spec: &Spec, ids: SmallVec<[u32; 4]>, shown: DataKey) -> Bytes {
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
            whole_deleted: shown.2,
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

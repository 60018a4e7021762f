//! Deliveries that wait for an answer from Postgres, in order.
//!
//! There is a lane for each distinct claims that waits for something. What is decided in memory while its
//! subscriber's lane is busy queues behind it, so that commit order holds on every channel; subscribers whose
//! lane is empty do not wait for anybody. A channel that gets a new token changes lanes: a gate keeps the new
//! lane behind what the old one held then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use slab::Slab;
use tokio_postgres::error::SqlState;

use crate::policy::{Answer, Claims};

use super::ask::{Group, Item};

/// How many questions of one claims go into one batch.
const GROUP_ITEMS_MAX: usize = 500;

/// How many bytes the questions of one claims may have in one batch, unless a single one has more.
const GROUP_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
enum Entry<T> {
    /// Something that leaves in order.
    Delivery { id: u64, state: State, payload: T },
    /// What follows leaves after everything up to `last` in another lane has.
    Gate { id: u64, claims: Arc<Claims>, last: u64 },
}

#[derive(Debug)]
enum State {
    Unasked(Box<Item>),
    Asked,
    Done(Option<Result<(Answer, Vec<bool>), SqlState>>),
}

/// An entry at the head of its lane, with Postgres's answer if it was asked.
pub struct Ready<T> {
    /// What leaves.
    pub payload: T,
    /// The answer; `None` if nothing was asked.
    pub answer: Option<Result<(Answer, Vec<bool>), SqlState>>,
}

#[derive(Debug)]
struct Lane<T> {
    claims: Arc<Claims>,
    entries: VecDeque<Entry<T>>,
    unasked: usize,
    asking: bool,
}

/// All lanes that wait.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: Slab<Lane<T>>,
    by_claims: HashMap<Arc<Claims>, usize>,
    /// The lanes with a gate, once for each.
    gated: Vec<usize>,
    last_id: u64,
    entry_count: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: Slab::new(), by_claims: HashMap::new(), gated: Vec::new(), last_id: 0, entry_count: 0 }
    }
}

impl<T> Lanes<T> {
    /// Whether deliveries to these claims have to queue.
    pub fn is_waiting(&self, claims: &Arc<Claims>) -> bool {
        !self.by_claims.is_empty() && self.by_claims.contains_key(claims)
    }

    /// How many deliveries wait in all lanes.
    pub fn entry_count(&self) -> usize {
        self.entry_count
    }

    /// Queues `payload`; with an item, Postgres is asked first. The item's `entry` is set here.
    pub fn push(&mut self, claims: &Arc<Claims>, payload: T, item: Option<Item>) {
        self.last_id += 1;
        self.entry_count += 1;
        let id = self.last_id;
        let place = self.place(claims);
        let lane = &mut self.lanes[place];
        let state = match item {
            Some(item) => {
                lane.unasked += 1;
                State::Unasked(Box::new(Item { entry: id, ..item }))
            }
            None => State::Done(None),
        };
        lane.entries.push_back(Entry::Delivery { id, state, payload });
    }

    /// Lets what is queued for `claims` from now on leave after what is queued for `others` now: a channel that
    /// changes from these to those keeps its order.
    pub fn wait_behind(&mut self, claims: &Arc<Claims>, others: &Arc<Claims>) {
        let others_lane = self.by_claims.get(others).and_then(|place| self.lanes.get(*place));
        let Some(last) = others_lane.and_then(|lane| lane.entries.back()).map(Entry::id) else { return };
        self.last_id += 1;
        let gate = Entry::Gate { id: self.last_id, claims: Arc::clone(others), last };
        let place = self.place(claims);
        self.lanes[place].entries.push_back(gate);
        self.gated.push(place);
    }

    /// The place of these claims' lane, which is made if there is none.
    fn place(&mut self, claims: &Arc<Claims>) -> usize {
        *self.by_claims.entry(Arc::clone(claims)).or_insert_with(|| {
            let lane =
                Lane { claims: Arc::clone(claims), entries: VecDeque::new(), unasked: 0, asking: false };
            self.lanes.insert(lane)
        })
    }

    /// The next questions to put, of at most `group_max` claims, none of which is being asked already.
    pub fn take_questions(&mut self, group_max: usize) -> Vec<Group> {
        let ready = self.lanes.iter_mut().filter(|(_, lane)| lane.unasked > 0 && !lane.asking);
        ready.take(group_max).map(|(place, lane)| lane.take_questions(place)).collect()
    }

    /// How many claims have questions that could be put now.
    pub fn askable_count(&self) -> usize {
        self.lanes.iter().filter(|(_, lane)| lane.unasked > 0 && !lane.asking).count()
    }

    /// Notes an answer. Unknown lanes and entries are ignored.
    pub fn answer(&mut self, lane: usize, entry: u64, result: Result<(Answer, Vec<bool>), SqlState>) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        lane.asking = false;
        if let Ok(place) = lane.entries.binary_search_by_key(&entry, Entry::id)
            && let Some(Entry::Delivery { state, .. }) = lane.entries.get_mut(place)
        {
            *state = State::Done(Some(result));
        }
    }

    /// Takes what is ready from the head of a lane, and from lanes that waited for it. A lane goes when it is empty.
    pub fn take_ready(&mut self, place: usize) -> Vec<Ready<T>> {
        let mut ready = Vec::new();
        self.take_head(place, &mut ready);
        // A gate waits for entries older than itself alone, so that gates never wait for each other in a ring.
        while let Some(next) = self.gated.iter().position(|place| self.is_open(*place)) {
            let place = self.gated.swap_remove(next);
            if let Some(lane) = self.lanes.get_mut(place) {
                lane.entries.pop_front();
            }
            self.take_head(place, &mut ready);
        }
        ready
    }

    /// Whether a lane begins with a gate that has nothing more to wait for.
    fn is_open(&self, place: usize) -> bool {
        let Some(Entry::Gate { claims, last, .. }) =
            self.lanes.get(place).and_then(|lane| lane.entries.front())
        else {
            return false;
        };
        let others = self.by_claims.get(claims).and_then(|place| self.lanes.get(*place));
        others.and_then(|lane| lane.entries.front()).is_none_or(|head| head.id() > *last)
    }

    /// Takes what is ready from the head of one lane.
    fn take_head(&mut self, place: usize, ready: &mut Vec<Ready<T>>) {
        let Some(lane) = self.lanes.get_mut(place) else { return };
        while matches!(lane.entries.front(), Some(Entry::Delivery { state: State::Done(_), .. })) {
            if let Some(Entry::Delivery { state: State::Done(answer), payload, .. }) =
                lane.entries.pop_front()
            {
                self.entry_count -= 1;
                ready.push(Ready { payload, answer });
            }
        }
        if lane.entries.is_empty() {
            let lane = self.lanes.remove(place);
            self.by_claims.remove(&lane.claims);
        }
    }
}

impl<T> Entry<T> {
    fn id(&self) -> u64 {
        match self {
            Self::Delivery { id, .. } | Self::Gate { id, .. } => *id,
        }
    }
}

impl<T> Lane<T> {
    fn take_questions(&mut self, place: usize) -> Group {
        let mut items: Vec<Item> = Vec::new();
        let mut bytes = 0_usize;
        for entry in &mut self.entries {
            let Entry::Delivery { state, .. } = entry else { continue };
            let State::Unasked(item) = state else { continue };
            bytes = bytes.saturating_add(item.bytes());
            if items.len() == GROUP_ITEMS_MAX || (bytes > GROUP_BYTES_MAX && !items.is_empty()) {
                break;
            }
            if let State::Unasked(item) = std::mem::replace(state, State::Asked) {
                items.push(*item);
            }
        }
        self.unasked -= items.len();
        self.asking = true;
        Group { lane: place, claims: Arc::clone(&self.claims), items }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Event, RelationId, ReplicaIdentity, RowChange, Table};
    use crate::hub::ask::Later;

    fn claims(sub: &str) -> Arc<Claims> {
        Arc::new(Claims { role: "authenticated".into(), json: sub.into(), expires_at: 0 })
    }

    fn item() -> Item {
        let table = Table {
            id: RelationId(1),
            schema: "s".into(),
            name: "t".into(),
            columns: Box::new([]),
            replica_identity: ReplicaIdentity::Default,
            row_security: true,
            row_security_forced: false,
            owner: 0,
        };
        let change = RowChange {
            table: Arc::new(table),
            event: Event::Insert,
            new: None,
            old: None,
            old_is_full: false,
        };
        Item {
            entry: 0,
            change: Arc::new(change),
            xid: 1,
            condition: "true".into(),
            new: true,
            old: false,
            later: Later::Nothing,
            filters: Vec::new(),
        }
    }

    const YES: Result<(Answer, Vec<bool>), SqlState> = Ok((Answer { new: true, old: false }, Vec::new()));

    #[test]
    fn what_is_decided_waits_behind_what_is_asked() {
        let mut lanes = Lanes::default();
        let ann = claims("ann");
        lanes.push(&ann, 1, Some(item()));
        lanes.push(&ann, 2, None);
        assert!(lanes.is_waiting(&claims("ann")) && !lanes.is_waiting(&claims("bob")));
        let groups = lanes.take_questions(10);
        assert_eq!((groups.len(), groups[0].items.len(), lanes.askable_count()), (1, 1, 0));
        assert!(lanes.take_ready(groups[0].lane).is_empty());
        lanes.answer(groups[0].lane, groups[0].items[0].entry, YES);
        let ready: Vec<i32> =
            lanes.take_ready(groups[0].lane).into_iter().map(|ready| ready.payload).collect();
        assert_eq!(ready, [1, 2]);
        assert!(!lanes.is_waiting(&ann) && lanes.entry_count() == 0);
    }

    #[test]
    fn answers_out_of_order_leave_in_order() {
        let mut lanes = Lanes::default();
        lanes.push(&claims("ann"), 1, Some(item()));
        lanes.push(&claims("ann"), 2, Some(item()));
        let group = lanes.take_questions(10).remove(0);
        lanes.answer(group.lane, group.items[1].entry, YES);
        assert!(lanes.take_ready(group.lane).is_empty());
        lanes.answer(group.lane, group.items[0].entry, YES);
        assert_eq!(lanes.take_ready(group.lane).len(), 2);
    }

    #[test]
    fn what_waits_behind_another_lane_leaves_after_it() {
        let mut lanes = Lanes::default();
        let (ann, bob) = (claims("ann"), claims("bob"));
        lanes.wait_behind(&bob, &ann);
        assert!(!lanes.is_waiting(&bob), "nothing to wait for");
        lanes.push(&ann, 1, Some(item()));
        lanes.push(&bob, 2, Some(item()));
        lanes.wait_behind(&bob, &ann);
        lanes.push(&bob, 3, None);
        // And the other way round: neither waits for what came after it.
        lanes.wait_behind(&ann, &bob);
        lanes.push(&ann, 4, None);
        let groups = lanes.take_questions(10);
        let group = |claims: &Arc<Claims>| groups.iter().find(|group| group.claims == *claims).unwrap();
        let mut answered = |group: &Group| -> Vec<i32> {
            lanes.answer(group.lane, group.items[0].entry, YES);
            lanes.take_ready(group.lane).into_iter().map(|ready| ready.payload).collect()
        };
        assert_eq!(answered(group(&bob)), [2]);
        assert_eq!(answered(group(&ann)), [1, 3, 4]);
        assert!(lanes.entry_count() == 0 && !lanes.is_waiting(&ann) && !lanes.is_waiting(&bob));
    }

    #[test]
    fn one_lane_does_not_wait_for_another() {
        let mut lanes = Lanes::default();
        lanes.push(&claims("ann"), 1, Some(item()));
        lanes.push(&claims("bob"), 2, Some(item()));
        let groups = lanes.take_questions(10);
        let bob = groups.iter().find(|group| *group.claims == *claims("bob")).unwrap();
        lanes.answer(bob.lane, bob.items[0].entry, YES);
        assert_eq!(lanes.take_ready(bob.lane).len(), 1);
        assert_eq!(lanes.entry_count(), 1);
    }
}

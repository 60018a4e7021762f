//! Deliveries that wait for an answer from Postgres, in order.
//!
//! There is a lane for each distinct claims that waits for something. What is decided in memory while its
//! subscriber's lane is busy queues behind it, so that commit order holds on every channel; subscribers whose
//! lane is empty do not wait for anybody.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use slab::Slab;
use tokio_postgres::error::SqlState;

use crate::policy::{Answer, Claims};

use super::ask::{Group, Item};

/// How many questions of one claims go into one batch.
const GROUP_ITEMS_MAX: usize = 500;

/// Something that leaves in order: `T` says what.
#[derive(Debug)]
pub struct Entry<T> {
    id: u64,
    state: State,
    /// What leaves.
    pub payload: T,
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
    last_id: u64,
    entry_count: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: Slab::new(), by_claims: HashMap::new(), last_id: 0, entry_count: 0 }
    }
}

impl<T> Lanes<T> {
    /// No lane waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether deliveries to these claims have to queue.
    pub fn is_waiting(&self, claims: &Arc<Claims>) -> bool {
        !self.by_claims.is_empty() && self.by_claims.contains_key(claims)
    }

    /// How many entries wait in all lanes.
    pub fn entry_count(&self) -> usize {
        self.entry_count
    }

    /// Queues `payload`; with an item, Postgres is asked first. The item's `entry` is set here.
    pub fn push(&mut self, claims: &Arc<Claims>, payload: T, item: Option<Item>) {
        let place = *self.by_claims.entry(Arc::clone(claims)).or_insert_with(|| {
            let lane =
                Lane { claims: Arc::clone(claims), entries: VecDeque::new(), unasked: 0, asking: false };
            self.lanes.insert(lane)
        });
        self.last_id += 1;
        self.entry_count += 1;
        let lane = &mut self.lanes[place];
        let state = match item {
            Some(item) => {
                lane.unasked += 1;
                State::Unasked(Box::new(Item { entry: self.last_id, ..item }))
            }
            None => State::Done(None),
        };
        lane.entries.push_back(Entry { id: self.last_id, state, payload });
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
        if let Ok(place) = lane.entries.binary_search_by_key(&entry, |entry| entry.id) {
            lane.entries[place].state = State::Done(Some(result));
        }
    }

    /// Takes what is ready from the head of a lane; the lane goes when it is empty.
    pub fn take_ready(&mut self, place: usize) -> Vec<Ready<T>> {
        let Some(lane) = self.lanes.get_mut(place) else { return Vec::new() };
        let mut ready = Vec::new();
        while matches!(lane.entries.front(), Some(Entry { state: State::Done(_), .. })) {
            if let Some(Entry { state: State::Done(answer), payload, .. }) = lane.entries.pop_front() {
                ready.push(Ready { payload, answer });
            }
        }
        self.entry_count -= ready.len();
        if lane.entries.is_empty() {
            let lane = self.lanes.remove(place);
            self.by_claims.remove(&lane.claims);
        }
        ready
    }
}

impl<T> Lane<T> {
    fn take_questions(&mut self, place: usize) -> Group {
        let mut items = Vec::new();
        for entry in &mut self.entries {
            if items.len() == GROUP_ITEMS_MAX {
                break;
            }
            if matches!(entry.state, State::Unasked(_))
                && let State::Unasked(item) = std::mem::replace(&mut entry.state, State::Asked)
            {
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
        let mut lanes = Lanes::new();
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
        let mut lanes = Lanes::new();
        lanes.push(&claims("ann"), 1, Some(item()));
        lanes.push(&claims("ann"), 2, Some(item()));
        let group = lanes.take_questions(10).remove(0);
        lanes.answer(group.lane, group.items[1].entry, YES);
        assert!(lanes.take_ready(group.lane).is_empty());
        lanes.answer(group.lane, group.items[0].entry, YES);
        assert_eq!(lanes.take_ready(group.lane).len(), 2);
    }

    #[test]
    fn one_lane_does_not_wait_for_another() {
        let mut lanes = Lanes::new();
        lanes.push(&claims("ann"), 1, Some(item()));
        lanes.push(&claims("bob"), 2, Some(item()));
        let groups = lanes.take_questions(10);
        let bob = groups.iter().find(|group| *group.claims == *claims("bob")).unwrap();
        lanes.answer(bob.lane, bob.items[0].entry, YES);
        assert_eq!(lanes.take_ready(bob.lane).len(), 1);
        assert_eq!(lanes.entry_count(), 1);
    }
}

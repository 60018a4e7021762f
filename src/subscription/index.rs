//! From a change to the subscribers it may concern, at a cost that follows those and not all there are.
//!
//! A predicate that demands one of a few values in one column stands under those values; a change is looked up
//! by its own. All other predicates are visited for every change of the relation with their event.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use slab::Slab;

use crate::change::{Datum, Event, RelationId};

use super::binding::Events;
use super::predicate::Predicate;

/// Who is subscribed to which relation, under keys of the caller's.
#[derive(Debug)]
pub struct Index<K> {
    relations: HashMap<RelationId, RelationIndex<K>>,
}

/// The subscribers of one relation. Sets hold places in `entries`.
#[derive(Debug)]
struct RelationIndex<K> {
    entries: Slab<Entry<K>>,
    places: HashMap<K, usize>,
    /// Those who demand a value, by column and value. Few columns, so that a list is enough.
    by_value: Vec<(usize, HashMap<Box<str>, Places>)>,
    /// Those who demand none, in the order of [`EVENTS`].
    always: [Places; 3],
}

/// Places in the order of their making, from which each can go at little cost.
type Places = BTreeSet<usize>;

#[derive(Debug)]
struct Entry<K> {
    key: K,
    events: Events,
    predicate: Arc<Predicate>,
}

const EVENTS: [Event; 3] = [Event::Insert, Event::Update, Event::Delete];

/// The place of an event in [`EVENTS`].
fn place(event: Event) -> usize {
    match event {
        Event::Insert => 0,
        Event::Update => 1,
        Event::Delete => 2,
    }
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { relations: HashMap::new() }
    }
}

impl<K> Default for RelationIndex<K> {
    fn default() -> Self {
        Self {
            entries: Slab::new(),
            places: HashMap::new(),
            by_value: Vec::new(),
            always: Default::default(),
        }
    }
}

impl<K: Copy + Eq + Hash> Index<K> {
    /// An index without subscribers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes `key` to a relation, in place of what it had subscribed to there before.
    pub fn insert(&mut self, relation: RelationId, events: Events, predicate: Arc<Predicate>, key: K) {
        self.remove(relation, key);
        self.relations.entry(relation).or_default().insert(Entry { key, events, predicate });
    }

    /// Ends the subscription of `key` to a relation; says whether there was one.
    pub fn remove(&mut self, relation: RelationId, key: K) -> bool {
        let Some(index) = self.relations.get_mut(&relation) else {
            return false;
        };
        let removed = index.remove(key);
        if index.entries.is_empty() {
            self.relations.remove(&relation);
        }
        removed
    }

    /// Ends all subscriptions to a relation, and returns their keys in no order.
    pub fn remove_relation(&mut self, relation: RelationId) -> Vec<K> {
        let removed = self.relations.remove(&relation);
        removed.map(|index| index.places.into_keys().collect()).unwrap_or_default()
    }

    /// Whether anyone is subscribed to the relation.
    pub fn contains(&self, relation: RelationId) -> bool {
        self.relations.contains_key(&relation)
    }

    /// How many subscriptions there are, over all relations.
    pub fn len(&self) -> usize {
        self.relations.values().map(|index| index.entries.len()).sum()
    }

    /// Whether there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }

    /// How many [`Self::candidates`] visits at most.
    pub fn candidate_count<'a>(
        &self,
        relation: RelationId,
        event: Event,
        value: impl Fn(usize) -> &'a Datum,
    ) -> usize {
        let Some(index) = self.relations.get(&relation) else { return 0 };
        let demanding =
            index.by_value.iter().filter_map(|(column, values)| values.get(value(*column).text()?));
        index.always[place(event)].len() + demanding.map(BTreeSet::len).sum::<usize>()
    }

    /// Visits those whom a change may concern, each once: all whose event it is, but for those who demand a
    /// value that the row does not have. What the predicate says of the row is still to be tested.
    ///
    /// `value` gives the value of each of [`crate::change::Table::columns`]: the new ones of an insert or
    /// update, the identity of a delete.
    pub fn candidates<'a>(
        &self,
        relation: RelationId,
        event: Event,
        value: impl Fn(usize) -> &'a Datum,
        mut visit: impl FnMut(K, &Arc<Predicate>),
    ) {
        let Some(index) = self.relations.get(&relation) else {
            return;
        };
        let demanding =
            index.by_value.iter().filter_map(|(column, values)| values.get(value(*column).text()?)).flatten();
        for place in index.always[place(event)].iter().chain(demanding) {
            if let Some(entry) = index.entries.get(*place)
                && entry.events.contains(event)
            {
                visit(entry.key, &entry.predicate);
            }
        }
    }
}

impl<K: Copy + Eq + Hash> RelationIndex<K> {
    fn insert(&mut self, entry: Entry<K>) {
        let (key, events, predicate) = (entry.key, entry.events, Arc::clone(&entry.predicate));
        let at = self.entries.insert(entry);
        self.places.insert(key, at);
        match predicate.equality() {
            Some((column, texts)) => {
                let found = self.by_value.iter().position(|(known, _)| *known == column);
                let found = found.unwrap_or_else(|| {
                    self.by_value.push((column, HashMap::new()));
                    self.by_value.len() - 1
                });
                for text in texts {
                    self.by_value[found].1.entry(text.clone()).or_default().insert(at);
                }
            }
            None => {
                for event in EVENTS.into_iter().filter(|event| events.contains(*event)) {
                    self.always[place(event)].insert(at);
                }
            }
        }
    }

    fn remove(&mut self, key: K) -> bool {
        let Some(entry) = self.places.remove(&key).and_then(|at| Some((at, self.entries.try_remove(at)?)))
        else {
            return false;
        };
        let (at, entry) = entry;
        match entry.predicate.equality() {
            Some((column, texts)) => {
                for (_, values) in self.by_value.iter_mut().filter(|(known, _)| *known == column) {
                    for text in texts {
                        if let Some(set) = values.get_mut(text) {
                            set.remove(&at);
                            if set.is_empty() {
                                values.remove(text);
                            }
                        }
                    }
                }
                self.by_value.retain(|(_, values)| !values.is_empty());
            }
            None => {
                for set in &mut self.always {
                    set.remove(&at);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{predicate, row};
    use super::*;

    const RELATION: RelationId = RelationId(1);

    fn index(subscriptions: &[(u32, Events, &str)]) -> Index<u32> {
        let mut index = Index::new();
        for (key, events, filter) in subscriptions {
            index.insert(RELATION, *events, Arc::new(predicate(filter)), *key);
        }
        index
    }

    fn visited(index: &Index<u32>, event: Event, row: &[Datum]) -> Vec<u32> {
        let mut keys = Vec::new();
        index.candidates(RELATION, event, |column| &row[column], |key, _| keys.push(key));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn only_those_who_want_the_value_or_any_are_visited() {
        let index = index(&[
            (1, Events::All, ""),
            (2, Events::All, "int4=eq.5"),
            (3, Events::All, "int4=eq.6"),
            (4, Events::All, "int4=in.(5,6,7)"),
            (5, Events::All, "int4=gt.5"),
            (6, Events::All, "text=eq.5"),
            (7, Events::All, "int4=not.eq.5"),
            (8, Events::All, "int4=in.()"),
            (9, Events::All, "int4=in.(5,6),text=eq.a"),
            (10, Events::All, "numeric=eq.5"),
        ]);
        assert_eq!(visited(&index, Event::Insert, &row("int4", Some("5"))), [1, 2, 4, 5, 7, 10]);
        assert_eq!(visited(&index, Event::Insert, &row("int4", Some("6"))), [1, 3, 4, 5, 7, 10]);
        assert_eq!(visited(&index, Event::Insert, &row("int4", Some("8"))), [1, 5, 7, 10]);
        assert_eq!(visited(&index, Event::Insert, &row("int4", None)), [1, 5, 7, 10]);
        assert_eq!(visited(&index, Event::Insert, &row("text", Some("5"))), [1, 5, 6, 7, 10]);
        assert_eq!(visited(&index, Event::Insert, &row("text", Some("a"))), [1, 5, 7, 9, 10]);
        assert_eq!(index.len(), 10);
    }

    #[test]
    fn only_those_who_want_the_event_are_visited() {
        let index = index(&[
            (1, Events::All, ""),
            (2, Events::Only(Event::Insert), ""),
            (3, Events::Only(Event::Delete), ""),
            (4, Events::Only(Event::Insert), "int4=eq.5"),
            (5, Events::Only(Event::Delete), "int4=eq.5"),
        ]);
        let row = row("int4", Some("5"));
        assert_eq!(visited(&index, Event::Insert, &row), [1, 2, 4]);
        assert_eq!(visited(&index, Event::Update, &row), [1]);
        assert_eq!(visited(&index, Event::Delete, &row), [1, 3, 5]);
    }

    #[test]
    fn the_removed_are_not_visited() {
        let mut index =
            index(&[(1, Events::All, ""), (2, Events::All, "int4=in.(5,6)"), (3, Events::All, "int4=eq.5")]);
        let row = row("int4", Some("5"));
        assert!(index.remove(RELATION, 2));
        assert!(!index.remove(RELATION, 2));
        assert!(!index.remove(RelationId(2), 1));
        assert_eq!(visited(&index, Event::Insert, &row), [1, 3]);
        let mut removed = index.remove_relation(RELATION);
        removed.sort_unstable();
        assert_eq!(removed, [1, 3]);
        assert!(visited(&index, Event::Insert, &row).is_empty());
        assert!(index.is_empty() && !index.contains(RELATION));
    }

    #[test]
    fn a_second_subscription_replaces_the_first() {
        let mut index = index(&[(1, Events::All, "int4=eq.5"), (2, Events::All, "int4=in.()")]);
        index.insert(RELATION, Events::All, Arc::new(predicate("int4=eq.6")), 1);
        assert!(visited(&index, Event::Insert, &row("int4", Some("5"))).is_empty());
        assert_eq!(visited(&index, Event::Insert, &row("int4", Some("6"))), [1]);
        assert!(index.remove(RELATION, 1) && index.remove(RELATION, 2));
        assert!(index.is_empty());
    }
}

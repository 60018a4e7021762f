//! Which messages have been sent to a socket of somebody else than their sender.
//!
//! In: a note for each message and person, from any thread. Out: batches without doublets, for
//! `rowcast.note_deliveries`. The queue is bounded; a note that finds it full is dropped and counted, and the message
//! stays `sent` until its reader says more.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Person;
use crate::telemetry::number::Number;

/// How many notes may wait to be written.
pub const NOTES_MAX: usize = 65_536;

/// How many notes that have been written are remembered, so that a person's second device writes nothing; between once
/// and twice as many.
const REMEMBERED: usize = 16_384;

/// How often a batch is put to the database before it is given up.
const TRIES_MAX: u32 = 5;

/// One message that one person has been sent.
pub type Note = (Uuid, Person);

/// Where deliveries are noted. Cheap to clone: all clones write into one queue.
#[derive(Clone)]
pub struct Deliveries {
    queue: mpsc::Sender<Note>,
    counters: Arc<Counters>,
}

/// What has become of notes.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that were found to have become delivered.
    pub delivered: Number,
    /// Notes that were dropped: the queue was full, or the database did not take them.
    pub dropped: Number,
}

/// The other end of the queue.
pub struct Notes {
    queue: mpsc::Receiver<Note>,
    counters: Arc<Counters>,
    /// The batch that is being gathered or written. In one order on every server, so that their statements wait for
    /// each other rather than deadlock.
    pending: BTreeSet<Note>,
    /// How often it could not be written.
    tries: u32,
    /// What was written lately, and what was before that.
    recent: HashSet<Note>,
    earlier: HashSet<Note>,
}

impl Deliveries {
    /// A queue for so many notes.
    pub fn queue(notes_max: usize) -> (Self, Notes) {
        let (sender, receiver) = mpsc::channel(notes_max);
        let counters = Arc::<Counters>::default();
        let notes = Notes {
            queue: receiver,
            counters: Arc::clone(&counters),
            pending: BTreeSet::new(),
            tries: 0,
            recent: HashSet::new(),
            earlier: HashSet::new(),
        };
        (Self { queue: sender, counters }, notes)
    }

    /// A message has been sent to a socket of this person, who is not its sender. Never waits.
    pub fn note(&self, message_id: Uuid, person: Person) {
        if self.queue.try_send((message_id, person)).is_err() {
            self.counters.dropped.add(1);
        }
    }

    /// What has become of notes so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

impl Notes {
    /// The next batch: what came within `wait` of its first note, `max` notes at most, each once and none that was
    /// written lately. It is the same one until it has been written or given up. `None` once nobody can note any more.
    ///
    /// Whoever stops waiting for it loses nothing.
    pub async fn batch(&mut self, max: usize, wait: Duration) -> Option<Vec<Note>> {
        while self.pending.is_empty() {
            let note = self.queue.recv().await?;
            self.add(note);
        }
        let until = Instant::now() + wait;
        while self.tries == 0
            && self.pending.len() < max
            && let Ok(Some(note)) = timeout_at(until, self.queue.recv()).await
        {
            self.add(note);
        }
        Some(self.pending.iter().copied().collect())
    }

    /// What is there without waiting; empty if that is nothing.
    pub fn rest(&mut self, max: usize) -> Vec<Note> {
        while self.pending.len() < max
            && let Ok(note) = self.queue.try_recv()
        {
            self.add(note);
        }
        self.pending.iter().copied().collect()
    }

    fn add(&mut self, note: Note) {
        if !(self.recent.contains(&note) || self.earlier.contains(&note)) {
            self.pending.insert(note);
        }
    }

    /// The batch has been written, and so many messages have become delivered by it.
    pub fn written(&mut self, delivered: u64) {
        self.counters.delivered.add(delivered);
        if self.recent.len() + self.pending.len() > REMEMBERED {
            self.earlier = std::mem::take(&mut self.recent);
        }
        self.recent.extend(std::mem::take(&mut self.pending));
        self.tries = 0;
    }

    /// The batch could not be written. After a few times it is given up.
    pub fn failed(&mut self) {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            self.counters.dropped.add_length(self.pending.len());
            self.pending.clear();
            self.tries = 0;
        }
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(1);

    fn message(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn person(number: u128) -> Person {
        Person::User(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn a_batch_is_what_came_within_the_wait() {
        let (deliveries, mut notes) = Deliveries::queue(9);
        deliveries.note(message(2), person(1));
        deliveries.note(message(1), person(1));
        let batch = notes.batch(9, Duration::from_millis(1)).await.unwrap();
        assert_eq!(batch, [(message(1), person(1)), (message(2), person(1))]);
        notes.written(2);
        deliveries.note(message(3), person(1));
        assert_eq!(notes.batch(9, Duration::from_millis(1)).await.unwrap(), [(message(3), person(1))]);
    }

    #[tokio::test]
    async fn a_full_batch_waits_for_nothing() {
        let (deliveries, mut notes) = Deliveries::queue(9);
        (0..4).for_each(|number| deliveries.note(message(number), person(1)));
        let no_end = Duration::from_secs(86_400);
        assert_eq!(notes.batch(2, no_end).await.unwrap().len(), 2);
        notes.written(2);
        assert_eq!(notes.batch(2, no_end).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn each_note_is_written_once() {
        let (deliveries, mut notes) = Deliveries::queue(9);
        let note = |number| deliveries.note(message(number), person(1));
        note(1);
        note(1);
        deliveries.note(message(1), person(2));
        let batch = notes.batch(9, WAIT).await.unwrap();
        assert_eq!(batch, [(message(1), person(1)), (message(1), person(2))]);
        notes.written(2);
        note(1);
        note(2);
        assert_eq!(notes.batch(9, WAIT).await.unwrap(), [(message(2), person(1))]);
        assert_eq!(deliveries.counters().delivered.get(), 2);
    }

    #[tokio::test]
    async fn a_batch_that_fails_is_tried_again_and_given_up_in_the_end() {
        let (deliveries, mut notes) = Deliveries::queue(9);
        deliveries.note(message(1), person(1));
        for _ in 0..TRIES_MAX {
            assert_eq!(notes.batch(1, WAIT).await.unwrap(), [(message(1), person(1))]);
            deliveries.note(message(2), person(1));
            notes.failed();
        }
        assert_eq!(deliveries.counters().dropped.get(), 1);
        assert_eq!(notes.batch(9, WAIT).await.unwrap(), [(message(2), person(1))]);
        // One that was given up may come again.
        notes.written(1);
        deliveries.note(message(1), person(1));
        assert_eq!(notes.batch(9, WAIT).await.unwrap(), [(message(1), person(1))]);
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_batch_loses_nothing() {
        let (deliveries, mut notes) = Deliveries::queue(9);
        deliveries.note(message(1), person(1));
        let gathering = notes.batch(9, Duration::from_secs(86_400));
        assert!(tokio::time::timeout(WAIT, gathering).await.is_err());
        deliveries.note(message(2), person(1));
        assert_eq!(notes.rest(9), [(message(1), person(1)), (message(2), person(1))]);
        notes.written(2);
        assert_eq!(notes.rest(9), []);
    }

    #[tokio::test]
    async fn what_is_remembered_has_a_bound() {
        let (deliveries, mut notes) = Deliveries::queue(9);
        for number in 0..u128::try_from(REMEMBERED * 3).unwrap() {
            notes.add((message(number), person(1)));
            notes.written(1);
        }
        assert!(notes.recent.len() + notes.earlier.len() <= 2 * REMEMBERED);
        deliveries.note(message(0), person(1));
        assert_eq!(notes.batch(9, WAIT).await.unwrap().len(), 1, "forgotten by now");
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let (deliveries, mut notes) = Deliveries::queue(2);
        (0..5).for_each(|number| deliveries.note(message(number), person(1)));
        assert_eq!((deliveries.waiting(), deliveries.counters().dropped.get()), (2, 3));
        assert_eq!(notes.batch(9, WAIT).await.unwrap(), [(message(0), person(1)), (message(1), person(1))]);
        assert_eq!(deliveries.waiting(), 0);
    }

    #[tokio::test]
    async fn what_was_noted_last_is_written_before_the_end() {
        let (deliveries, mut notes) = Deliveries::queue(2);
        deliveries.note(message(1), person(1));
        drop(deliveries);
        assert_eq!(notes.batch(9, WAIT).await.unwrap().len(), 1);
        notes.written(1);
        assert_eq!(notes.batch(9, WAIT).await, None);
    }
}

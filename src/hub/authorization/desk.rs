//! Where inquiries wait until a session takes them, many at a time.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Asked, Inquiry, ReplyTo};

/// How long an inquiry may wait for its answer. Clients give up a join after 10 seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// How many distinct questions are asked together.
pub(super) const BATCH_QUESTIONS_MAX: usize = 256;

/// Between two batches at least this much time passes, in which more questions come together: one that follows an idle
/// moment waits for nothing, and in a storm a statement answers many.
const GATHER: Duration = Duration::from_millis(10);

/// So many inquiries are enough to be asked without gathering more.
const GATHERED: usize = 64;

/// How many inquiries wait here; more wait in the queue, and when that is full nobody may ask.
const WAITING_MAX: usize = 16_384;

/// Inquiries on their way to a session.
#[derive(Default)]
pub(super) struct Desk {
    waiting: RefCell<VecDeque<Waiting>>,
    /// When the last batch was taken.
    taken_at: Cell<Option<Instant>>,
    arrived: Notify,
    left: Notify,
}

/// One inquiry that waits.
pub(super) struct Waiting {
    pub(super) asked: Asked,
    pub(super) reply: ReplyTo,
    pub(super) since: Instant,
}

/// A question with all who asked it.
pub(super) struct Entry {
    pub(super) asked: Asked,
    pub(super) who: Vec<(ReplyTo, Instant)>,
}

impl Waiting {
    pub(super) fn new(inquiry: Inquiry) -> Self {
        let asked = Asked { subject: inquiry.subject, question: inquiry.question };
        Self { asked, reply: inquiry.reply, since: Instant::now() }
    }
}

impl Desk {
    /// Waits until there is room for one more.
    pub(super) async fn room(&self) {
        while self.waiting.borrow().len() >= WAITING_MAX {
            self.left.notified().await;
        }
    }

    /// Adds an inquiry.
    pub(super) fn put(&self, waiting: Waiting) {
        self.waiting.borrow_mut().push_back(waiting);
        self.arrived.notify_one();
    }

    /// Puts questions back that were not answered, before all others.
    pub(super) fn put_back(&self, entries: impl DoubleEndedIterator<Item = Entry>) {
        let mut waiting = self.waiting.borrow_mut();
        for Entry { asked, who } in entries.rev() {
            for (reply, since) in who {
                waiting.push_front(Waiting { asked: asked.clone(), reply, since });
            }
        }
        self.arrived.notify_one();
    }

    /// Waits until there are questions, and takes as many as may be asked together.
    pub(super) async fn take(&self) -> Vec<Entry> {
        loop {
            if let Some(due) = self.due() {
                tokio::time::sleep_until(due).await;
            }
            let batch = self.batch();
            if !batch.is_empty() {
                self.taken_at.set(Some(Instant::now()));
                self.left.notify_one();
                // What is left is for another session.
                if !self.waiting.borrow().is_empty() {
                    self.arrived.notify_one();
                }
                return batch;
            }
            self.arrived.notified().await;
        }
    }

    /// Until when it is worth waiting for more questions.
    fn due(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow().len();
        let due = self.taken_at.get()? + GATHER;
        (1..GATHERED).contains(&waiting).then_some(due).filter(|due| *due > Instant::now())
    }

    fn batch(&self) -> Vec<Entry> {
        let mut waiting = self.waiting.borrow_mut();
        let mut places: HashMap<Asked, usize> = HashMap::new();
        let mut batch: Vec<Entry> = Vec::new();
        while batch.len() < BATCH_QUESTIONS_MAX
            && let Some(Waiting { asked, reply, since }) = waiting.pop_front()
        {
            let place = *places.entry(asked.clone()).or_insert(batch.len());
            match batch.get_mut(place) {
                Some(entry) => entry.who.push((reply, since)),
                None => batch.push(Entry { asked, who: vec![(reply, since)] }),
            }
        }
        batch
    }

    /// Takes those who have waited too long.
    pub(super) fn overdue(&self) -> Vec<Waiting> {
        let now = Instant::now();
        let mut waiting = self.waiting.borrow_mut();
        let mut overdue = Vec::new();
        while let Some(first) = waiting.pop_front() {
            if now.duration_since(first.since) < PATIENCE {
                waiting.push_front(first);
                break;
            }
            overdue.push(first);
        }
        if !overdue.is_empty() {
            self.left.notify_one();
        }
        overdue
    }
}

//! What was done and who has heard of it: nothing may be missing, and nothing may come twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// What was committed so shortly before a client went may have been on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What a person does, and what the others of the conversation hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Message,
    Typing,
    Receipt,
    Presence,
}

const KINDS: [Kind; 4] = [Kind::Message, Kind::Typing, Kind::Receipt, Kind::Presence];

/// One deed, as its change names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Deed(pub(super) Kind, pub(super) String);

/// A deed that was committed.
pub(super) struct Done {
    pub(super) deed: Deed,
    /// Before COMMIT was sent.
    pub(super) at: Instant,
    /// When it was answered.
    pub(super) by: Instant,
    /// Who is to hear of it.
    pub(super) hearers: Vec<usize>,
}

/// What a client tells.
pub(super) enum News {
    Heard { person: usize, deed: Deed, at: Instant },
    Back(Return),
}

/// A client that was gone for a moment.
pub(super) struct Return {
    pub(super) person: usize,
    pub(super) gone: Instant,
    pub(super) live: Instant,
    /// From the first byte of the new connection until the subscription was live.
    pub(super) until_live: Duration,
    /// The same, until it had what it had missed.
    pub(super) until_caught_up: Duration,
    /// The messages that it had missed, or might have.
    pub(super) messages: Vec<String>,
}

/// What a person knows of a deed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// It was done while the person was gone, and is nothing that one catches up with.
    Missed,
    CaughtUp,
    Heard,
}

struct Entry {
    at: Instant,
    by: Instant,
    hearers: Vec<(usize, Known)>,
}

/// All deeds of a measure.
#[derive(Default)]
pub(super) struct Account {
    entries: HashMap<Deed, Entry>,
    /// How often somebody is still to hear of something.
    pub(super) missing: usize,
}

/// What one round came to, times in microseconds.
pub(super) struct Round {
    histograms: HashMap<Kind, Histogram<u64>>,
    pub(super) returns: Vec<Return>,
    /// Messages that were caught up with and came in no other way.
    pub(super) caught_up: usize,
}

impl Default for Round {
    fn default() -> Self {
        let histogram = |kind| (kind, Histogram::new_with_max(60_000_000, 3).expect("a histogram"));
        Self { histograms: KINDS.map(histogram).into(), returns: Vec::new(), caught_up: 0 }
    }
}

impl Round {
    /// The latencies of one kind.
    pub(super) fn latencies(&self, kind: Kind) -> &Histogram<u64> {
        &self.histograms[&kind]
    }
}

impl Account {
    pub(super) fn add(&mut self, done: Done) {
        self.missing += done.hearers.len();
        let hearers = done.hearers.into_iter().map(|person| (person, Known::Nothing)).collect();
        let before = self.entries.insert(done.deed, Entry { at: done.at, by: done.by, hearers });
        assert!(before.is_none(), "two deeds of one name");
    }

    /// Takes up what a client tells; its news come in their order, and after what they tell of was added.
    pub(super) fn note(&mut self, news: News, round: &mut Round) {
        match news {
            News::Heard { person, deed, at } => {
                let (committed, before) =
                    self.learn(&deed, person, Known::Heard).expect("a deed of the load");
                assert!(before != Known::Heard, "heard twice");
                let micros = at.saturating_duration_since(committed).as_micros();
                let histogram = round.histograms.get_mut(&deed.0).expect("a histogram of each kind");
                histogram.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
            }
            News::Back(back) => {
                for content in &back.messages {
                    let deed = Deed(Kind::Message, content.clone());
                    // What others than the load's writers have sent is not in the account.
                    let learned = self.learn(&deed, back.person, Known::CaughtUp);
                    round.caught_up +=
                        usize::from(learned.is_some_and(|(_, before)| before == Known::Nothing));
                }
                self.excuse(&back);
                round.returns.push(back);
            }
        }
    }

    /// Notes what a person knows of a deed. Gives when it was committed and what they knew before.
    fn learn(&mut self, deed: &Deed, person: usize, known: Known) -> Option<(Instant, Known)> {
        let entry = self.entries.get_mut(deed)?;
        let hearer = entry.hearers.iter_mut().find(|(hearer, _)| *hearer == person);
        let (_, before) = hearer.expect("somebody of the conversation");
        let was = *before;
        if was == Known::Nothing {
            self.missing -= 1;
        }
        if was != Known::Heard {
            *before = known;
        }
        Some((entry.at, was))
    }

    /// What somebody has not heard of, for a failure's message: the deed, who, and how long ago it was done.
    pub(super) fn open(&self) -> Vec<String> {
        let mut open = Vec::new();
        for (deed, entry) in &self.entries {
            let waiting = entry.hearers.iter().filter(|(_, known)| *known == Known::Nothing);
            open.extend(
                waiting.map(|(person, _)| format!("{deed:?} for {person}, {:?} ago", entry.at.elapsed())),
            );
        }
        open
    }

    /// Typing and the like that happened while somebody was gone is not told later.
    fn excuse(&mut self, back: &Return) {
        let (from, to) = (back.gone.checked_sub(ON_ITS_WAY).unwrap_or(back.gone), back.live);
        for (deed, entry) in &mut self.entries {
            if deed.0 == Kind::Message || entry.by < from || entry.at > to {
                continue;
            }
            let hearers = entry.hearers.iter_mut();
            for (_, known) in
                hearers.filter(|(hearer, known)| (*hearer, *known) == (back.person, Known::Nothing))
            {
                *known = Known::Missed;
                self.missing -= 1;
            }
        }
    }
}

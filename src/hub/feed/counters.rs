//! What the feed counts, and how far behind it is. The feed writes, the metrics page reads.

use std::sync::Arc;

use crate::hub::fanout::{Asked, Tally};
use crate::hub::{Meters, ServerLimits};
use crate::policy::mirror::Census;
use crate::telemetry::metrics as names;
use crate::telemetry::number::{Histogram, Number};
use crate::telemetry::page::Page;
use crate::wal::Lsn;

/// Bounds of durations, in microseconds.
const MICROS: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000,
];

/// The counters of a feed.
#[derive(Debug)]
pub struct Counters {
    /// What the whole server is held to.
    pub meters: Arc<Meters>,
    /// Transactions that were fanned out whole.
    pub transactions: Number,
    /// Their changes.
    pub changes: Number,
    /// Changes that were put into a channel's queue.
    deliveries: Number,
    /// Decisions, each for one change and one role.
    permitted: Number,
    denied: Number,
    refused: Number,
    asked: Number,
    /// What compiled policies decided, each for one change and one group of callers.
    pub program_permitted: Number,
    /// See above.
    pub program_denied: Number,
    /// Questions about one change and one profile, by [`Asked`].
    asked_by: [Number; Asked::ALL.len()],
    /// Deliveries of rows that have moved out of somebody's sight.
    pub moved_out: Number,
    /// Decisions that were put to Postgres too.
    pub shadow: ShadowNumbers,
    /// Channels with bindings, whether they are subscribed yet or not.
    pub subscribers: Number,
    /// Deliveries that wait for Postgres's answers now.
    pub waiting: Number,
    /// Questions put to Postgres, asked again ones included.
    pub questions: Number,
    /// How long Postgres took over a batch of them.
    pub batches: Histogram,
    /// Rows of `realtime.messages` that are broadcasts, with and without anybody to hear them.
    pub broadcasts: Number,
    /// Of those, how many were handed to shards.
    pub published_broadcasts: Number,
    /// Rows of `realtime.messages` that lack something, or name an event that no frame of bytes can hold.
    pub incomplete_broadcasts: Number,
    /// Rows of `realtime.messages` with a payload over the limit.
    pub too_large_broadcasts: Number,
    /// Words to the shards that rights may have changed.
    pub rechecks: Number,
    /// How often a stream was opened.
    pub streams: Number,
    /// How often the stream was interrupted.
    pub interruptions: Number,
    /// How often the stream was read no further because of `db_events_per_second_max`.
    pub throttled: Number,
    /// How far Postgres's log reaches.
    tip: Number,
    /// How far it was received, fanned out and acknowledged.
    positions: [Number; 3],
    /// How long ago the log passed each of them, in milliseconds.
    behind_ms: [Number; 3],
    slot: SlotNumbers,
    /// The mirror of the tables that policies read.
    pub mirror: MirrorNumbers,
}

/// How the mirror does.
#[derive(Debug, Default)]
pub struct MirrorNumbers {
    /// How often a table was loaded.
    pub loads: Number,
    /// How often one was given up, to be loaded again.
    pub losses: Number,
    ready: Number,
    loading: Number,
    unusable: Number,
    rows: Number,
    bytes: Number,
}

impl MirrorNumbers {
    /// Notes what there is now.
    pub(super) fn count(&self, census: &Census) {
        self.ready.set_length(census.ready);
        self.loading.set_length(census.loading);
        self.unusable.set_length(census.unusable);
        self.rows.set(census.rows);
        self.bytes.set_length(census.bytes);
    }

    fn add_to(&self, page: &mut Page) {
        for (state, number) in
            [("ready", &self.ready), ("loading", &self.loading), ("unusable", &self.unusable)]
        {
            page.add_to(&names::MIRRORED, state, number.get());
        }
        page.add(&names::MIRROR_ROWS, self.rows.get());
        page.add(&names::MIRROR_BYTES, self.bytes.get());
        page.add(&names::MIRROR_LOADS, self.loads.get());
        page.add(&names::MIRROR_LOSSES, self.losses.get());
    }
}

/// What became of decisions that were put to Postgres too.
#[derive(Debug, Default)]
pub struct ShadowNumbers {
    /// Postgres came to the same.
    pub agreed: Number,
    /// What was judged changed before it could be compared.
    pub moot: Number,
    /// Postgres could not be asked.
    pub failed: Number,
    /// There were too many.
    pub dropped: Number,
    /// Postgres came to something else.
    pub disagreements: Number,
    /// Tables whose programs are not used for that.
    pub distrusted: Number,
}

/// How the slot does.
#[derive(Debug, Default)]
struct SlotNumbers {
    /// The place of its state in [`SLOT_STATES`], plus one; 0 for unknown.
    state: Number,
    retained_bytes: Number,
    /// How much log may still be written before the slot is invalidated, plus one; 0 for no bound.
    safe_bytes: Number,
}

/// What `wal_status` of a slot can be.
const SLOT_STATES: [&str; 4] = ["reserved", "extended", "unreserved", "lost"];

/// A point on the way of the log through the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Postgres has sent it.
    Received,
    /// It is decided, and encoded for those whose rights are known; others wait for answers.
    FannedOut,
    /// All of it is handed to the shards: Postgres may forget it.
    Acknowledged,
}

impl Stage {
    /// All of them, in the order of the way.
    pub(super) const ALL: [Self; 3] = [Self::Received, Self::FannedOut, Self::Acknowledged];

    fn label(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::FannedOut => "fanned_out",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// A look at Postgres's log and at the slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// How far the log reaches.
    pub(super) tip: u64,
    /// The slot's `wal_status`.
    pub(super) state: Option<String>,
    /// How much log the slot keeps.
    pub(super) retained_bytes: u64,
    /// How much more may be written before it is invalidated, if there is a bound.
    pub(super) safe_bytes: Option<u64>,
}

impl Counters {
    /// Those of a server with these meters.
    pub fn new(meters: Arc<Meters>) -> Self {
        Self {
            meters,
            transactions: Number::new(),
            changes: Number::new(),
            deliveries: Number::new(),
            permitted: Number::new(),
            denied: Number::new(),
            refused: Number::new(),
            asked: Number::new(),
            program_permitted: Number::new(),
            program_denied: Number::new(),
            asked_by: Default::default(),
            moved_out: Number::new(),
            shadow: ShadowNumbers::default(),
            subscribers: Number::new(),
            waiting: Number::new(),
            questions: Number::new(),
            batches: Histogram::new(MICROS),
            broadcasts: Number::new(),
            published_broadcasts: Number::new(),
            incomplete_broadcasts: Number::new(),
            too_large_broadcasts: Number::new(),
            rechecks: Number::new(),
            streams: Number::new(),
            interruptions: Number::new(),
            throttled: Number::new(),
            tip: Number::new(),
            positions: Default::default(),
            behind_ms: Default::default(),
            slot: SlotNumbers::default(),
            mirror: MirrorNumbers::default(),
        }
    }

    /// Takes over what a fan-out has counted.
    pub(super) fn collect(&self, tally: &Tally) {
        self.meters.db_events.add(tally.events);
        for (number, count) in [
            (&self.deliveries, tally.deliveries),
            (&self.permitted, tally.permitted),
            (&self.denied, tally.denied),
            (&self.refused, tally.refused),
            (&self.asked, tally.asked),
            (&self.program_permitted, tally.program_permitted),
            (&self.program_denied, tally.program_denied),
            (&self.moved_out, tally.moved_out),
            (&self.shadow.dropped, tally.samples_dropped),
        ] {
            number.add(count);
        }
        for (number, count) in self.asked_by.iter().zip(tally.asked_by) {
            number.add(count);
        }
    }

    /// How often Postgres was asked about row level security for this reason.
    pub fn asked_for(&self, reason: Asked) -> u64 {
        self.asked_by[reason as usize].get()
    }

    /// The log has come this far.
    pub(super) fn reached(&self, stage: Stage, lsn: Lsn) {
        self.positions[stage as usize].set(lsn.as_u64());
    }

    /// A new stream begins somewhere else.
    pub(super) fn begin_again(&self) {
        self.positions.iter().chain(&self.behind_ms).for_each(|number| number.set(0));
    }

    /// How far the log has come; `None` before it is known.
    pub(super) fn position(&self, stage: Stage) -> Option<u64> {
        Some(self.positions[stage as usize].get()).filter(|position| *position > 0)
    }

    /// Notes a look at Postgres, and how long ago the log passed what each stage has reached.
    pub(super) fn looked(&self, look: &Look, behind_ms: [u64; 3]) {
        self.tip.set(look.tip);
        self.behind_ms.iter().zip(behind_ms).for_each(|(number, millis)| number.set(millis));
        let state = SLOT_STATES.iter().position(|state| Some(*state) == look.state.as_deref());
        self.slot.state.set_length(state.map_or(0, |place| place + 1));
        self.slot.retained_bytes.set(look.retained_bytes);
        self.slot.safe_bytes.set(look.safe_bytes.map_or(0, |bytes| bytes.saturating_add(1)));
    }

    /// Adds all of them to the metrics page.
    pub fn add_to(&self, page: &mut Page) {
        for (metric, number) in [
            (&names::TRANSACTIONS, &self.transactions),
            (&names::CHANGES, &self.changes),
            (&names::CHANGES_DELIVERED, &self.deliveries),
            (&names::SUBSCRIBERS, &self.subscribers),
            (&names::STOCK_SUBSCRIBERS, &self.subscribers),
            (&names::MOVED_OUT, &self.moved_out),
            (&names::POLICY_DISAGREEMENTS, &self.shadow.disagreements),
            (&names::POLICY_TABLES_DISTRUSTED, &self.shadow.distrusted),
            (&names::DELIVERIES_WAITING, &self.waiting),
            (&names::QUESTIONS, &self.questions),
            (&names::DATABASE_BROADCASTS, &self.broadcasts),
            (&names::DATABASE_BROADCASTS_PUBLISHED, &self.published_broadcasts),
            (&names::INTERRUPTIONS, &self.interruptions),
            (&names::RECHECKS, &self.rechecks),
            (&names::THROTTLED, &self.throttled),
        ] {
            page.add(metric, number.get());
        }
        let decisions = [
            ("permit", &self.permitted),
            ("deny", &self.denied),
            ("refuse", &self.refused),
            ("ask", &self.asked),
        ];
        for (decision, number) in decisions {
            page.add_to(&names::DECISIONS, decision, number.get());
        }
        page.add_to(&names::POLICY_DECISIONS, "permit", self.program_permitted.get());
        page.add_to(&names::POLICY_DECISIONS, "deny", self.program_denied.get());
        for reason in Asked::ALL {
            page.add_to(&names::POLICY_QUESTIONS, reason.label(), self.asked_for(reason));
        }
        for (result, number) in [
            ("agreed", &self.shadow.agreed),
            ("moot", &self.shadow.moot),
            ("failed", &self.shadow.failed),
            ("dropped", &self.shadow.dropped),
        ] {
            page.add_to(&names::POLICY_CHECKS, result, number.get());
        }
        page.add_to(&names::DATABASE_BROADCASTS_SKIPPED, "incomplete", self.incomplete_broadcasts.get());
        page.add_to(&names::DATABASE_BROADCASTS_SKIPPED, "too_large", self.too_large_broadcasts.get());
        page.add_histogram(&names::QUESTION_TIME, "", &self.batches);
        for stage in Stage::ALL {
            let behind = self.position(stage).map_or(0, |position| self.tip.get().saturating_sub(position));
            page.add_to(&names::LAG_BYTES, stage.label(), behind);
            let seconds = std::time::Duration::from_millis(self.behind_ms[stage as usize].get());
            page.add_float(&names::LAG_TIME, stage.label(), seconds.as_secs_f64());
        }
        self.slot.add_to(page);
        self.mirror.add_to(page);
    }
}

impl SlotNumbers {
    fn add_to(&self, page: &mut Page) {
        let state = self.state.get();
        for (place, name) in (1..).zip(SLOT_STATES) {
            page.add_to(&names::SLOT_STATE, name, u64::from(place == state));
        }
        page.add(&names::SLOT_RETAINED, self.retained_bytes.get());
        if let Some(bytes) = self.safe_bytes.get().checked_sub(1) {
            page.add(&names::SLOT_SAFE, bytes);
        }
    }
}

/// Of a feed that is held to nothing.
impl Default for Counters {
    fn default() -> Self {
        Self::new(Arc::new(Meters::new(ServerLimits::NONE)))
    }
}

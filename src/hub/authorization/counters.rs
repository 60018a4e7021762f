//! What has been asked and answered, counted for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::metrics as names;
use crate::telemetry::number::Histogram;
use crate::telemetry::page::Page;

/// Bounds of the durations of checks, in microseconds.
const MICROS: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    15_000_000,
];

/// Counts since the start. Every thread may read them at any time.
#[derive(Debug)]
pub struct Counters {
    /// Inquiries that were taken.
    pub inquiries: AtomicU64,
    /// Inquiries that were answered from memory.
    pub cache_hits: AtomicU64,
    /// Batches put to Postgres.
    pub batches: AtomicU64,
    /// Statements sent to Postgres, those about the catalog included.
    pub statements: AtomicU64,
    /// Messages to Postgres that somebody waited for.
    pub round_trips: AtomicU64,
    /// Distinct questions put to Postgres.
    pub questions: AtomicU64,
    /// Questions that had to be answered by a row that was inserted and rolled back.
    pub probes: AtomicU64,
    /// Inquiries that got an error for an answer.
    pub errors: AtomicU64,
    /// Answers that a shard did not take in time.
    pub dropped_answers: AtomicU64,
    /// Changes of policies, roles or rights that were noticed.
    pub policy_changes: AtomicU64,
    /// How long answers about reading took, from taking the inquiry to handing over its answer.
    pub read_checks: Histogram,
    /// The same for writing.
    pub write_checks: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            inquiries: AtomicU64::default(),
            cache_hits: AtomicU64::default(),
            batches: AtomicU64::default(),
            statements: AtomicU64::default(),
            round_trips: AtomicU64::default(),
            questions: AtomicU64::default(),
            probes: AtomicU64::default(),
            errors: AtomicU64::default(),
            dropped_answers: AtomicU64::default(),
            policy_changes: AtomicU64::default(),
            read_checks: Histogram::new(MICROS),
            write_checks: Histogram::new(MICROS),
        }
    }
}

impl Counters {
    /// Adds all of them to the metrics page.
    pub fn add_to(&self, page: &mut Page) {
        for (metric, counter) in [
            (&names::AUTHORIZATIONS, &self.inquiries),
            (&names::AUTHORIZATIONS_CACHED, &self.cache_hits),
            (&names::AUTHORIZATIONS_FAILED, &self.errors),
            (&names::AUTHORIZATIONS_DROPPED, &self.dropped_answers),
            (&names::AUTHORIZATION_BATCHES, &self.batches),
            (&names::AUTHORIZATION_STATEMENTS, &self.statements),
            (&names::AUTHORIZATION_PROBES, &self.probes),
            (&names::POLICY_CHANGES, &self.policy_changes),
        ] {
            page.add(metric, counter.load(Ordering::Relaxed));
        }
        page.add_histogram(&names::STOCK_READ_CHECK, "", &self.read_checks);
        page.add_histogram(&names::STOCK_WRITE_CHECK, "", &self.write_checks);
    }

    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

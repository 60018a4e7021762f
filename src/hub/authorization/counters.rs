//! What has been asked and answered, counted for whoever shows it.

use crate::telemetry::metrics as names;
use crate::telemetry::number::{Histogram, Number};
use crate::telemetry::page::Page;

/// The bounds of the buckets in which checks are counted, in microseconds.
const BOUNDS_MICROS: &[u64] =
    &[100, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000, 8_000_000];

/// Counts since the start. Every thread may read them at any time.
#[derive(Debug)]
pub struct Counters {
    /// Inquiries that were taken.
    pub inquiries: Number,
    /// Inquiries that were answered from memory.
    pub cache_hits: Number,
    /// Batches put to Postgres.
    pub batches: Number,
    /// Distinct questions in them.
    pub questions: Number,
    /// Statements sent to Postgres, those about the catalog included.
    pub statements: Number,
    /// Flights of statements that somebody waited for.
    pub round_trips: Number,
    /// Questions that had to be answered by a row that was inserted and rolled back.
    pub probes: Number,
    /// Inquiries that got an error for an answer.
    pub errors: Number,
    /// Answers that a shard did not take in time.
    pub dropped_answers: Number,
    /// Changes of policies, roles or rights that were noticed.
    pub policy_changes: Number,
    /// How long answers about reading took, from taking the inquiry to handing over its answer.
    pub read_checks: Histogram,
    /// The same for writing.
    pub write_checks: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            inquiries: Number::new(),
            cache_hits: Number::new(),
            batches: Number::new(),
            questions: Number::new(),
            statements: Number::new(),
            round_trips: Number::new(),
            probes: Number::new(),
            errors: Number::new(),
            dropped_answers: Number::new(),
            policy_changes: Number::new(),
            read_checks: Histogram::new(BOUNDS_MICROS),
            write_checks: Histogram::new(BOUNDS_MICROS),
        }
    }
}

impl Counters {
    /// Adds them to the metrics.
    pub fn add_to(&self, page: &mut Page) {
        for (metric, number) in [
            (&names::INQUIRIES, &self.inquiries),
            (&names::INQUIRIES_REMEMBERED, &self.cache_hits),
            (&names::INQUIRIES_FAILED, &self.errors),
            (&names::INQUIRIES_DROPPED, &self.dropped_answers),
            (&names::AUTHORIZATION_BATCHES, &self.batches),
            (&names::AUTHORIZATION_QUESTIONS, &self.questions),
            (&names::AUTHORIZATION_STATEMENTS, &self.statements),
            (&names::AUTHORIZATION_ROUND_TRIPS, &self.round_trips),
            (&names::AUTHORIZATION_PROBES, &self.probes),
            (&names::POLICY_CHANGES, &self.policy_changes),
        ] {
            page.add(metric, number.get());
        }
        page.add_histogram(&names::AUTHORIZATION_TIME, "read", &self.read_checks);
        page.add_histogram(&names::AUTHORIZATION_TIME, "write", &self.write_checks);
        page.add_histogram(&names::STOCK_READ_CHECK, "", &self.read_checks);
        page.add_histogram(&names::STOCK_WRITE_CHECK, "", &self.write_checks);
    }
}

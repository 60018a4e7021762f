//! What has been asked and answered, counted for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets in which checks are counted, in milliseconds; longer ones are in none.
pub const DURATION_BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];

/// Counts since the start. Every thread may read them at any time.
#[derive(Debug, Default)]
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
    pub read_checks: Durations,
    /// The same for writing.
    pub write_checks: Durations,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; DURATION_BUCKETS_MS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Durations {
    pub(super) fn record(&self, duration: Duration) {
        let bucket = DURATION_BUCKETS_MS.iter().position(|bound| duration.as_millis() < u128::from(*bound));
        if let Some(bucket) = bucket.and_then(|place| self.buckets.get(place)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many fell below each of [`DURATION_BUCKETS_MS`] and not below the one before it.
    pub fn buckets(&self) -> [u64; DURATION_BUCKETS_MS.len()] {
        std::array::from_fn(|place| self.buckets[place].load(Ordering::Relaxed))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long they were together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_lowest_bucket_above_it() {
        let durations = Durations::default();
        for micros in [500, 999, 1_000, 4_999_999, 60_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        assert_eq!(durations.buckets(), [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((durations.count(), durations.sum()), (5, Duration::from_micros(65_002_498)));
    }
}

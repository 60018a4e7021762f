//! Numbers that some threads change and others read: plain atomics, so that reading disturbs nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A count or a level.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// One at zero, for statics.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes it larger.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Makes it smaller, by no more than was added before.
    pub fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Makes it this.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Makes it larger by a length.
    pub fn add_length(&self, length: usize) {
        self.add(as_u64(length));
    }

    /// Makes it this length.
    pub fn set_length(&self, length: usize) {
        self.set(as_u64(length));
    }
}

/// How often values were how large: durations in microseconds, or sizes in bytes.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is larger.
    buckets: Box<[Number]>,
    sum: Number,
}

impl Histogram {
    /// An empty one. `bounds` rise, and each bucket holds its own bound.
    pub fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Number::new()).collect();
        Self { bounds, buckets, sum: Number::new() }
    }

    /// Counts one value.
    pub fn record(&self, value: u64) {
        self.buckets[self.bounds.partition_point(|bound| *bound < value)].add(1);
        self.sum.add(value);
    }

    /// Counts one size.
    pub fn record_length(&self, length: usize) {
        self.record(as_u64(length));
    }

    /// Counts one duration, in microseconds.
    pub fn record_duration(&self, took: Duration) {
        self.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Each bound with how many values are no larger; the last has none.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(&self.buckets).scan(0, |sum, (bound, bucket)| {
            *sum += bucket.get();
            Some((bound, *sum))
        })
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// No buffer is larger than a u64 can say.
fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_first_bucket_that_holds_them() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11, 5_000] {
            histogram.record(value);
        }
        let buckets: Vec<_> = histogram.cumulative().collect();
        assert_eq!(buckets, [(Some(1), 2), (Some(10), 4), (None, 6)]);
        assert_eq!(histogram.sum(), 5_024);
    }
}

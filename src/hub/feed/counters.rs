//! What the feed counts about itself, for whoever reads it from another thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wal::Lsn;

/// The counters of one feed. Each is right by itself; two of them may be from different moments.
#[derive(Debug, Default)]
pub struct FeedCounters {
    /// Transactions handed over whole, those without anything for anybody included.
    pub transactions: Counter,
    /// Rows of tables that somebody is subscribed to.
    pub changes: Counter,
    /// Rows of `realtime.messages` that are broadcasts, with and without anybody to hear them.
    pub broadcasts: Counter,
    /// Of those, how many were handed to a shard.
    pub published_broadcasts: Counter,
    /// Rows of `realtime.messages` that lack something, or name an event that no frame can hold.
    pub incomplete_broadcasts: Counter,
    /// Rows of `realtime.messages` with a payload over the limit.
    pub too_large_broadcasts: Counter,
    /// Streams that were opened.
    pub streams: Counter,
    /// Streams that broke.
    pub interruptions: Counter,
    /// Up to where the log is known to reach, by Postgres's own word.
    pub received_lsn: Position,
    /// Up to where Postgres may forget its log.
    pub acknowledged_lsn: Position,
}

impl FeedCounters {
    /// How many bytes of log Postgres keeps for this server, as far as it has heard of them.
    pub fn lag_bytes(&self) -> u64 {
        let acknowledged = self.acknowledged_lsn.get();
        self.received_lsn.get().as_u64().saturating_sub(acknowledged.as_u64())
    }
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// How much was counted.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A position in the log; zero if there is none yet.
#[derive(Debug, Default)]
pub struct Position(AtomicU64);

impl Position {
    /// The position.
    pub fn get(&self) -> Lsn {
        Lsn::new(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, lsn: Lsn) {
        self.0.store(lsn.as_u64(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_is_received_and_not_acknowledged() {
        let counters = FeedCounters::default();
        assert_eq!(counters.lag_bytes(), 0);
        counters.received_lsn.set(Lsn::new(150));
        counters.acknowledged_lsn.set(Lsn::new(100));
        assert_eq!(counters.lag_bytes(), 50);
        counters.acknowledged_lsn.set(Lsn::new(160));
        assert_eq!(counters.lag_bytes(), 0);
    }
}

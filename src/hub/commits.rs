//! Commits that were streamed lately: those with broadcasts from the database, between the feed and whoever replays them,
//! and those with changes, between the feed and whoever fetches what they came too late for.
//!
//! The stream can deliver a commit before new snapshots see it: under synchronous replication for as long as a standby
//! takes to answer. A replay that reads by such a snapshot would miss a broadcast that has already gone by, so it waits
//! until it sees what the feed has noted here.
//!
//! The feed can also be late: it sends what a replay has long read. So each broadcast of the stream carries its
//! [`StreamedCommit`], and each replay what it has [`Seen`].

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::postgres::snapshot::Snapshot;
use crate::wal::Lsn;

/// How many are kept; beyond that the oldest is forgotten, which is visible by then if anything is.
const COMMITS_MAX: usize = 4_096;

/// For how long one is kept. A standby that is away for longer is one that somebody looks after.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Transactions, without their epoch, that were streamed and may not be visible yet. Oldest first.
#[derive(Debug, Default)]
pub struct RecentCommits(Mutex<VecDeque<(u32, Instant)>>);

impl RecentCommits {
    /// Notes one, before anything of it is handed on.
    pub(super) fn note(&self, xid: u32, now: Instant) {
        let mut commits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while commits.len() >= COMMITS_MAX
            || commits.front().is_some_and(|(_, noted)| now.duration_since(*noted) > KEPT_FOR)
        {
            commits.pop_front();
        }
        commits.push_back((xid, now));
    }

    /// All that were noted and are kept.
    pub(super) fn all(&self, now: Instant) -> Vec<u32> {
        let commits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = commits.iter().filter(|(_, noted)| now.duration_since(*noted) <= KEPT_FOR);
        kept.map(|(xid, _)| *xid).collect()
    }

    /// Whether none is kept.
    pub(super) fn is_empty(&self, now: Instant) -> bool {
        let commits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        commits.back().is_none_or(|(_, noted)| now.duration_since(*noted) > KEPT_FOR)
    }

    /// Forgets all: the log has another history, which may lack them.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgets those that a snapshot has been found to see.
    pub(super) fn forget(&self, seen: &[u32]) {
        // The feed waits for the lock meanwhile: each is looked up, not looked for.
        let seen: HashSet<u32> = seen.iter().copied().collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(xid, _)| !seen.contains(xid));
    }
}

/// A commit, as the stream tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamedCommit {
    /// Its transaction, without the epoch.
    pub xid: u32,
    /// Where the log has it. Commits come in the order of their places.
    pub lsn: Lsn,
}

/// What was committed when stored broadcasts were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    snapshot: Snapshot,
    end: Lsn,
}

impl Seen {
    /// By this snapshot, which was taken before the log was found to end at `end`.
    pub const fn new(snapshot: Snapshot, end: Lsn) -> Self {
        Self { snapshot, end }
    }

    /// Whether a commit was seen.
    pub fn has(&self, commit: StreamedCommit) -> bool {
        !self.is_before(commit.lsn) && self.snapshot.sees(commit.xid)
    }

    /// Whether nothing was seen of what the log has at a place, or after it. Identifiers of transactions come again
    /// in time, so none is looked up beyond this.
    pub fn is_before(&self, lsn: Lsn) -> bool {
        self.end < lsn
    }

    /// Whether more of the log was there than up to `lsn`.
    pub fn is_beyond(&self, lsn: Lsn) -> bool {
        self.end > lsn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_seen_by_its_snapshot_and_within_its_log() {
        let seen = Seen::new(Snapshot::parse("100:105:101").unwrap(), Lsn::new(1_000));
        let has = |xid, lsn| seen.has(StreamedCommit { xid, lsn: Lsn::new(lsn) });
        assert!(has(99, 10) && has(104, 1_000));
        assert!(!has(101, 900), "committed in the log, and not yet for others");
        assert!(!has(105, 900), "begun after the snapshot");
        assert!(!has(99, 1_001), "another of the same identifier, an epoch later");
    }

    #[test]
    fn commits_are_kept_until_they_are_seen_or_old_or_too_many() {
        let commits = RecentCommits::default();
        let now = Instant::now();
        (1..=3).for_each(|xid| commits.note(xid, now));
        commits.forget(&[2]);
        assert_eq!(commits.all(now), [1, 3]);
        let later = now + KEPT_FOR + Duration::from_secs(1);
        assert!(commits.all(later).is_empty());
        assert!(commits.is_empty(later) && !commits.is_empty(now));
        (0..5_000).for_each(|xid| commits.note(xid, later));
        assert_eq!(commits.all(later).len(), COMMITS_MAX);
        assert_eq!(commits.all(later).last(), Some(&4_999));
        commits.clear();
        assert!(commits.all(later).is_empty());
    }
}

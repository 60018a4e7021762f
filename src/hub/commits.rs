//! The latest commits with broadcasts from the database, between the feed and whoever replays them.
//!
//! The stream can deliver a commit before new snapshots see it: under synchronous replication for as long as a standby
//! takes to answer. A replay that reads by such a snapshot would miss a broadcast that has already gone by, so it waits
//! until it sees what the feed has noted here.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

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

    /// Forgets those that a snapshot has been found to see.
    pub(super) fn forget(&self, seen: &[u32]) {
        // The feed waits for the lock meanwhile: each is looked up, not looked for.
        let seen: HashSet<u32> = seen.iter().copied().collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(xid, _)| !seen.contains(xid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_kept_until_they_are_seen_or_old_or_too_many() {
        let commits = RecentCommits::default();
        let now = Instant::now();
        (1..=3).for_each(|xid| commits.note(xid, now));
        commits.forget(&[2]);
        assert_eq!(commits.all(now), [1, 3]);
        let later = now + KEPT_FOR + Duration::from_secs(1);
        assert!(commits.all(later).is_empty());
        (0..5_000).for_each(|xid| commits.note(xid, later));
        assert_eq!(commits.all(later).len(), COMMITS_MAX);
        assert_eq!(commits.all(later).last(), Some(&4_999));
    }
}

//! Channels whose join asked for stored broadcasts: what is sent to their room while the database is asked, and
//! which broadcasts are theirs afterwards.
//!
//! The feed reads the log late, now and then much later than a replay reads the table. So a broadcast of the database
//! that was committed when the replay was read is not sent after it, whether it was among the replayed ones, or older
//! than the latest of them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{ConnectionId, Seen, StreamedCommit};
use crate::wal::Lsn;

/// How much one channel may miss while it waits; beyond that its join is refused.
const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 4 << 20;

/// The same for all channels of a shard, in bytes.
const ALL_BYTES_MAX: usize = 64 << 20;

/// A channel of this shard.
type Key = (ConnectionId, u32);

/// All such channels of a shard.
#[derive(Default)]
pub(super) struct Replays {
    channels: HashMap<Key, Replay>,
    bytes: usize,
}

enum Replay {
    /// It waits, and this was sent to its room meanwhile.
    Waiting(Waiting),
    /// It has had what this has seen, until a commit comes that is beyond it: none comes from before it any more.
    Replayed(Arc<Seen>),
}

struct Waiting {
    frames: Vec<(Option<StreamedCommit>, Bytes)>,
    bytes: usize,
    overflowed: bool,
    /// Up to where the log has one history while it waits.
    shared: Lsn,
    /// What it had been replayed before.
    seen: Option<Arc<Seen>>,
}

impl Waiting {
    fn new(seen: Option<Arc<Seen>>) -> Self {
        Self { frames: Vec::new(), bytes: 0, overflowed: false, shared: Lsn::new(u64::MAX), seen }
    }
}

impl Replays {
    /// A channel waits.
    pub(super) fn begin(&mut self, key: Key) {
        self.channels.insert(key, Replay::Waiting(Waiting::new(None)));
    }

    /// A channel that is joined waits.
    pub(super) fn pause(&mut self, key: Key) {
        let replay = self.channels.entry(key).or_insert_with(|| Replay::Waiting(Waiting::new(None)));
        if let Replay::Replayed(seen) = replay {
            let seen = Arc::clone(seen);
            *replay = Replay::Waiting(Waiting::new(Some(seen)));
        }
    }

    /// It waits no longer. Answers what it has missed, in order; `None` if that was too much to keep.
    pub(super) fn resume(&mut self, key: Key) -> Option<Vec<Bytes>> {
        let Some(Replay::Waiting(waiting)) = self.channels.remove(&key) else { return Some(Vec::new()) };
        self.bytes -= waiting.bytes;
        let Waiting { frames, overflowed, seen, .. } = waiting;
        if overflowed {
            return None;
        }
        let is_fresh = |commit: &Option<StreamedCommit>| {
            seen.as_ref().zip(*commit).is_none_or(|(seen, commit)| !seen.has(commit))
        };
        let missed = frames.iter().filter(|(commit, _)| is_fresh(commit));
        let missed = missed.map(|(_, frame)| frame.clone()).collect();
        if let Some(seen) = seen {
            self.channels.insert(key, Replay::Replayed(seen));
        }
        Some(missed)
    }

    /// A broadcast is sent to its room, with its commit if it comes of the database. Answers whether the channel gets
    /// it now; if not, it gets it later or not at all.
    pub(super) fn take(&mut self, key: Key, commit: Option<StreamedCommit>, frame: &Bytes) -> bool {
        match self.channels.get_mut(&key) {
            None => true,
            Some(Replay::Replayed(seen)) => {
                let Some(commit) = commit else { return true };
                let is_fresh = !seen.has(commit);
                if seen.is_before(commit.lsn) {
                    self.channels.remove(&key);
                }
                is_fresh
            }
            Some(Replay::Waiting(waiting)) => {
                let Waiting { frames, bytes, overflowed, .. } = waiting;
                let is_full = frames.len() >= FRAMES_MAX
                    || *bytes + frame.len() > BYTES_MAX
                    || self.bytes + frame.len() > ALL_BYTES_MAX;
                if is_full && !*overflowed {
                    *overflowed = true;
                    self.bytes -= std::mem::take(bytes);
                    frames.clear();
                }
                if !*overflowed {
                    *bytes += frame.len();
                    self.bytes += frame.len();
                    frames.push((commit, frame.clone()));
                }
                false
            }
        }
    }

    /// Its wait is over: it gets a replay that has seen this much. Answers what it has missed beside that, in order;
    /// `None` if that was too much to keep.
    pub(super) fn finish(&mut self, key: Key, seen: Arc<Seen>) -> Option<Vec<Bytes>> {
        let Some(Replay::Waiting(waiting)) = self.channels.remove(&key) else { return Some(Vec::new()) };
        self.bytes -= waiting.bytes;
        if waiting.overflowed {
            return None;
        }
        // What was read of a history that is over, or may have been, says nothing about the one that follows.
        let is_valid = !seen.is_beyond(waiting.shared);
        let is_fresh =
            |commit: Option<StreamedCommit>| commit.is_none_or(|commit| !is_valid || !seen.has(commit));
        let missed = waiting.frames.iter().filter(|(commit, _)| is_fresh(*commit));
        let missed = missed.map(|(_, frame)| frame.clone()).collect();
        let commits = waiting.frames.iter().filter_map(|(commit, _)| *commit);
        if is_valid && !commits.into_iter().any(|commit| seen.is_before(commit.lsn)) {
            self.channels.insert(key, Replay::Replayed(seen));
        }
        Some(missed)
    }

    /// The log has another history after `shared`: what was seen there says nothing about what comes.
    pub(super) fn forked(&mut self, shared: Lsn) {
        self.channels.retain(|_, replay| match replay {
            Replay::Replayed(seen) => !seen.is_beyond(shared),
            Replay::Waiting(waiting) => {
                waiting.shared = waiting.shared.min(shared);
                waiting.seen = waiting.seen.take().filter(|seen| !seen.is_beyond(shared));
                true
            }
        });
    }

    /// Whether anything is known of a channel.
    pub(super) fn knows(&self, key: Key) -> bool {
        self.channels.contains_key(&key)
    }

    /// A channel has left its room.
    pub(super) fn forget(&mut self, key: Key) {
        if let Some(Replay::Waiting(waiting)) = self.channels.remove(&key) {
            self.bytes -= waiting.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::snapshot::Snapshot;

    const KEY: Key = (ConnectionId { slot: 1, generation: 1 }, 1);
    const OTHER: Key = (ConnectionId { slot: 2, generation: 1 }, 1);

    fn commit(xid: u32, lsn: u64) -> Option<StreamedCommit> {
        Some(StreamedCommit { xid, lsn: Lsn::new(lsn) })
    }

    fn seen(snapshot: &str, end: u64) -> Arc<Seen> {
        Arc::new(Seen::new(Snapshot::parse(snapshot).unwrap(), Lsn::new(end)))
    }

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn nothing_is_missed_and_nothing_comes_that_was_seen() {
        let mut replays = Replays::default();
        replays.begin(KEY);
        assert!(!replays.take(KEY, commit(1, 10), &frame("seen")));
        assert!(!replays.take(KEY, commit(12, 20), &frame("in the log, and not seen")));
        assert!(!replays.take(KEY, None, &frame("by a client")));
        assert!(replays.take(OTHER, commit(1, 10), &frame("to another")));
        let missed = replays.finish(KEY, seen("10:15:12", 100));
        assert_eq!(missed, Some(vec![frame("in the log, and not seen"), frame("by a client")]));
        assert!(!replays.take(KEY, commit(2, 30), &frame("seen, and late")));
        assert!(!replays.take(KEY, commit(14, 100), &frame("seen, and late")));
        assert!(replays.take(KEY, commit(15, 90), &frame("committed after the snapshot")));
        assert!(replays.take(KEY, None, &frame("by a client")));
        assert!(replays.knows(KEY));
        assert_eq!(replays.bytes, 0);
        replays.forget(KEY);
        assert!(replays.take(KEY, commit(2, 30), &frame("to another join")));
    }

    #[test]
    fn once_the_stream_is_beyond_a_replay_it_is_forgotten() {
        let mut replays = Replays::default();
        replays.begin(KEY);
        replays.finish(KEY, seen("10:15:", 100));
        assert!(!replays.take(KEY, commit(3, 50), &frame("seen")));
        assert!(replays.take(KEY, commit(3, 101), &frame("of a transaction an epoch later")));
        assert!(!replays.knows(KEY));
        // It may be beyond it while the channel waits.
        replays.begin(OTHER);
        replays.take(OTHER, commit(20, 101), &frame("new"));
        assert_eq!(replays.finish(OTHER, seen("10:15:", 100)), Some(vec![frame("new")]));
        assert!(!replays.knows(OTHER));
    }

    #[test]
    fn what_was_seen_of_another_history_hides_nothing() {
        let mut replays = Replays::default();
        let waits = (KEY.0, 2);
        replays.begin(KEY);
        replays.finish(KEY, seen("10:15:", 100));
        replays.begin(OTHER);
        replays.finish(OTHER, seen("10:15:", 50));
        replays.begin(waits);
        replays.forked(Lsn::new(60));
        assert!(replays.take(KEY, commit(3, 70), &frame("new")));
        assert!(!replays.take(OTHER, commit(3, 40), &frame("seen of what both have")));
        assert!(!replays.take(waits, commit(3, 70), &frame("new")));
        assert_eq!(replays.finish(waits, seen("10:15:", 100)), Some(vec![frame("new")]));
        assert!(!replays.knows(waits));
    }

    #[test]
    fn a_pause_keeps_what_is_sent_and_what_was_seen() {
        let mut replays = Replays::default();
        replays.pause(OTHER);
        assert!(!replays.take(OTHER, None, &frame("kept")));
        assert_eq!(replays.resume(OTHER), Some(vec![frame("kept")]));
        assert!(!replays.knows(OTHER));
        replays.begin(KEY);
        replays.finish(KEY, seen("10:15:", 100));
        replays.pause(KEY);
        replays.pause(KEY);
        assert!(!replays.take(KEY, commit(3, 50), &frame("seen")));
        assert!(!replays.take(KEY, commit(15, 90), &frame("new")));
        assert_eq!(replays.resume(KEY), Some(vec![frame("new")]));
        assert!(!replays.take(KEY, commit(3, 50), &frame("seen")));
        assert_eq!(replays.bytes, 0);
    }

    #[test]
    fn too_much_to_keep_is_nothing_kept() {
        for (count, bytes) in [(FRAMES_MAX + 1, 1), (2, BYTES_MAX / 2 + 1)] {
            let mut replays = Replays::default();
            replays.begin(KEY);
            let frame = Bytes::from(vec![0; bytes]);
            (0..count).for_each(|_| assert!(!replays.take(KEY, None, &frame)));
            assert_eq!(replays.bytes, 0);
            assert_eq!(replays.finish(KEY, seen("1:1:", 1)), None);
        }
    }

    #[test]
    fn all_channels_together_are_bounded() {
        let mut replays = Replays::default();
        let frame = Bytes::from(vec![0; BYTES_MAX]);
        let keys: Vec<Key> = (0..20).map(|join| (KEY.0, join)).collect();
        for key in &keys {
            replays.begin(*key);
            replays.take(*key, None, &frame);
        }
        assert_eq!(replays.bytes, ALL_BYTES_MAX);
        let kept = keys.iter().filter(|key| replays.finish(**key, seen("1:1:", 1)).is_some()).count();
        assert_eq!((kept, replays.bytes), (ALL_BYTES_MAX / BYTES_MAX, 0));
    }
}

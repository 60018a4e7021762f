//! Channels whose join asked for stored broadcasts: what is sent to their room while the database is asked, and
//! which broadcasts they have had.

use std::collections::HashMap;

use bytes::Bytes;
use uuid::Uuid;

use super::ConnectionId;

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
    Waiting { frames: Vec<(Option<Uuid>, Bytes)>, bytes: usize, overflowed: bool },
    /// It has had these.
    Replayed(Box<[Uuid]>),
}

impl Replays {
    /// A channel waits.
    pub(super) fn begin(&mut self, key: Key) {
        let waiting = Replay::Waiting { frames: Vec::new(), bytes: 0, overflowed: false };
        self.channels.insert(key, waiting);
    }

    /// A broadcast is sent to its room. Answers whether the channel gets it now; if not, it gets it later or has
    /// had it.
    pub(super) fn take(&mut self, key: Key, id: Option<Uuid>, frame: &Bytes) -> bool {
        match self.channels.get_mut(&key) {
            None => true,
            Some(Replay::Replayed(ids)) => id.is_none_or(|id| !ids.contains(&id)),
            Some(Replay::Waiting { frames, bytes, overflowed }) => {
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
                    frames.push((id, frame.clone()));
                }
                false
            }
        }
    }

    /// Its wait is over: it has had these broadcasts. Answers what it has missed beside them, in order; `None` if
    /// that was too much to keep.
    pub(super) fn finish(&mut self, key: Key, ids: Box<[Uuid]>) -> Option<Vec<Bytes>> {
        let missed = match self.channels.remove(&key) {
            Some(Replay::Waiting { frames, bytes, overflowed }) => {
                self.bytes -= bytes;
                (!overflowed).then_some(frames)?
            }
            _ => Vec::new(),
        };
        let fresh = missed.into_iter().filter(|(id, _)| id.is_none_or(|id| !ids.contains(&id)));
        let fresh = fresh.map(|(_, frame)| frame).collect();
        if !ids.is_empty() {
            self.channels.insert(key, Replay::Replayed(ids));
        }
        Some(fresh)
    }

    /// Whether anything is known of a channel.
    pub(super) fn knows(&self, key: Key) -> bool {
        self.channels.contains_key(&key)
    }

    /// A channel has left its room.
    pub(super) fn forget(&mut self, key: Key) {
        if let Some(Replay::Waiting { bytes, .. }) = self.channels.remove(&key) {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (ConnectionId { slot: 1, generation: 1 }, 1);
    const OTHER: Key = (ConnectionId { slot: 2, generation: 1 }, 1);

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn nothing_is_missed_and_nothing_comes_twice() {
        let mut replays = Replays::default();
        replays.begin(KEY);
        assert!(!replays.take(KEY, Some(id(1)), &frame("stored and sent")));
        assert!(!replays.take(KEY, Some(id(2)), &frame("sent")));
        assert!(!replays.take(KEY, None, &frame("by a client")));
        assert!(replays.take(OTHER, None, &frame("to another")));
        let missed = replays.finish(KEY, [id(1), id(9)].into());
        assert_eq!(missed, Some(vec![frame("sent"), frame("by a client")]));
        assert!(!replays.take(KEY, Some(id(9)), &frame("again")));
        assert!(replays.take(KEY, Some(id(3)), &frame("new")) && replays.take(KEY, None, &frame("new")));
        assert_eq!(replays.bytes, 0);
        replays.forget(KEY);
        assert!(replays.take(KEY, Some(id(9)), &frame("another join")));
    }

    #[test]
    fn too_much_to_keep_is_nothing_kept() {
        for (count, bytes) in [(FRAMES_MAX + 1, 1), (2, BYTES_MAX / 2 + 1)] {
            let mut replays = Replays::default();
            replays.begin(KEY);
            let frame = Bytes::from(vec![0; bytes]);
            (0..count).for_each(|_| assert!(!replays.take(KEY, None, &frame)));
            assert_eq!(replays.bytes, 0);
            assert_eq!(replays.finish(KEY, Box::default()), None);
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
        let kept = keys.iter().filter(|key| replays.finish(**key, Box::default()).is_some()).count();
        assert_eq!((kept, replays.bytes), (ALL_BYTES_MAX / BYTES_MAX, 0));
    }
}

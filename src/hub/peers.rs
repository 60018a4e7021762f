//! The shards of one server: who may have members of a room, and the queues between them.
//!
//! The only state that shards share is a fixed table of bit masks. A room's name falls
//! into one bucket of the table; each shard sets its bit there while it has members of any room of that bucket.
//! So a broadcast is offered to every shard that has members, and rarely to one that has none.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;

use super::ShardCommand;
use crate::channel::Topic;

/// How many shards a server can have: the bits of a mask.
pub const SHARDS_MAX: u16 = 64;

/// How many buckets the table has. Two rooms that share one cost a needless message now and then.
const BUCKETS: usize = 1 << 14;

/// A room: a topic, public or private. The two never meet. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomName {
    hash: u64,
    private: bool,
    topic: Arc<str>,
}

impl RoomName {
    /// The whole topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    fn bucket(&self) -> usize {
        usize::try_from(self.hash).unwrap_or(usize::MAX) % BUCKETS
    }
}

/// The hash is keyed, so that clients who choose topics cannot choose collisions; it need not be made again.
impl Hash for RoomName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What all shards of a server share.
pub struct Directory {
    shards: u16,
    seed: [u64; 2],
    start: Instant,
    masks: Box<[AtomicU64]>,
}

impl Directory {
    /// A directory of `shards` shards, from 1 to [`SHARDS_MAX`]. `seed` should be random: it keys the hash of
    /// topics and makes this server's presence refs its own. `start` is any moment before the first join.
    pub fn new(shards: u16, seed: [u64; 2], start: Instant) -> Arc<Self> {
        let shards = shards.clamp(1, SHARDS_MAX);
        let masks = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { shards, seed, start, masks })
    }

    /// The room of a topic.
    pub fn room(&self, topic: &Topic, private: bool) -> RoomName {
        let hash = self.keyed(&(topic.as_str(), private));
        RoomName { hash, private, topic: Arc::clone(topic.shared()) }
    }

    /// The shard that owns a room's presence.
    pub fn home(&self, room: &RoomName) -> u16 {
        // The bucket takes the low bits; these are others.
        let home = (room.hash >> 32) % u64::from(self.shards);
        u16::try_from(home).unwrap_or(0)
    }

    /// The shards that may have members of a room.
    pub fn shards_with(&self, room: &RoomName) -> impl Iterator<Item = u16> + use<> {
        let mask = self.masks[room.bucket()].load(Ordering::SeqCst);
        (0..self.shards).filter(move |shard| mask & bit(*shard) != 0)
    }

    /// Whether any shard but this one may have members of a room.
    pub(super) fn is_elsewhere(&self, room: &RoomName, me: u16) -> bool {
        self.masks[room.bucket()].load(Ordering::SeqCst) & !bit(me) != 0
    }

    /// Nanoseconds since the start.
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Any value as a number that cannot be guessed without the seed.
    pub(super) fn keyed(&self, value: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        value.hash(&mut hasher);
        hasher.finish()
    }
}

fn bit(shard: u16) -> u64 {
    1 << (shard % SHARDS_MAX)
}

/// One shard's part in the directory's table: how many rooms it has in each bucket.
pub struct Occupancy {
    me: u16,
    directory: Arc<Directory>,
    rooms: Box<[u32]>,
}

impl Occupancy {
    /// A shard without rooms.
    pub fn new(me: u16, directory: Arc<Directory>) -> Self {
        Self { me, directory, rooms: vec![0; BUCKETS].into() }
    }

    /// A room has its first member.
    pub fn opened(&mut self, room: &RoomName) {
        let count = &mut self.rooms[room.bucket()];
        *count = count.saturating_add(1);
        if *count == 1 {
            self.directory.masks[room.bucket()].fetch_or(bit(self.me), Ordering::SeqCst);
        }
    }

    /// A room has lost its last member.
    pub fn emptied(&mut self, room: &RoomName) {
        let count = &mut self.rooms[room.bucket()];
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.directory.masks[room.bucket()].fetch_and(!bit(self.me), Ordering::SeqCst);
        }
    }
}

/// The bounded queues of all shards, as one of them sees the others.
pub trait Peers: Send {
    /// Puts a command in the queue of a shard. One that is full takes nothing, and the command is dropped: the
    /// caller has kept what must not be lost.
    fn try_send(&self, shard: u16, command: ShardCommand) -> Result<(), PeerFull>;
}

/// A shard takes no command now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard takes no command now")]
pub struct PeerFull;

/// Queues by the numbers of their shards. One that has ended takes everything and does nothing.
impl Peers for Vec<mpsc::Sender<ShardCommand>> {
    fn try_send(&self, shard: u16, command: ShardCommand) -> Result<(), PeerFull> {
        let Some(queue) = self.get(usize::from(shard)) else { return Ok(()) };
        match queue.try_send(command) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(PeerFull),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(shards: u16) -> Arc<Directory> {
        Directory::new(shards, [1, 2], Instant::now())
    }

    fn topic(text: &str) -> Topic {
        Topic::parse(text, 255).unwrap()
    }

    #[test]
    fn a_shard_is_listed_while_it_has_rooms() {
        let directory = directory(2);
        let room = directory.room(&topic("realtime:a"), false);
        let mut occupancy = Occupancy::new(1, Arc::clone(&directory));
        assert!(!directory.is_elsewhere(&room, 0));
        occupancy.opened(&room);
        occupancy.opened(&room);
        assert_eq!(directory.shards_with(&room).collect::<Vec<_>>(), [1]);
        occupancy.emptied(&room);
        assert!(directory.is_elsewhere(&room, 0) && !directory.is_elsewhere(&room, 1));
        occupancy.emptied(&room);
        assert_eq!(directory.shards_with(&room).count(), 0);
    }

    #[test]
    fn public_and_private_rooms_of_a_topic_are_two() {
        let directory = directory(2);
        let topic = topic("realtime:a");
        assert_ne!(directory.room(&topic, false), directory.room(&topic, true));
        assert_eq!(directory.room(&topic, false), directory.room(&topic, false));
    }

    #[test]
    fn homes_are_spread_over_all_shards() {
        let directory = directory(4);
        let home =
            |number: usize| directory.home(&directory.room(&topic(&format!("realtime:{number}")), false));
        let mut homes = [0; 4];
        (0..400).for_each(|number| homes[usize::from(home(number))] += 1);
        assert!(homes.iter().all(|count| *count > 50), "{homes:?}");
    }
}

//! Presence between shards.
//!
//! Each room's presence is owned by one shard, its home, wherever its members are. Shards tell the home what their
//! channels track ([`PresenceUpdate`]); the home makes the diffs and tells every shard with members, and it answers
//! newcomers with the state ([`PresenceNews`]). The home's news travel in one queue to each shard, so a state and
//! the diffs after it arrive in the order they were made.
//!
//! When a queue is full, nothing grows with the number of messages: of each channel only the latest update is kept,
//! and of each room only that its state must be sent whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::peers::{Directory, RoomName};
use super::{ChannelRef, ConnectionId};
use crate::channel::{PhxRef, Presence, Tracked};

/// What a channel tracks now: the whole truth about it, so that the latest replaces all earlier ones.
#[derive(Clone, Debug)]
pub struct PresenceUpdate {
    /// Its room.
    pub room: RoomName,
    /// The channel.
    pub channel: ChannelRef,
    /// Its key, the same for its whole life.
    pub key: Arc<str>,
    /// What it tracks; `None` for nothing.
    pub tracked: Option<Tracked>,
    /// Whether it waits for the state.
    pub wants_state: bool,
}

/// What a room's home tells a shard with members.
#[derive(Clone)]
pub enum PresenceNews {
    /// The payload of a `presence_diff`.
    Diff {
        /// The room.
        room: RoomName,
        /// JSON text.
        payload: Arc<str>,
    },
    /// The payload of a `presence_state`.
    State {
        /// The room.
        room: RoomName,
        /// Who gets it; `None` for every channel that asked for presence, because diffs were lost.
        channel: Option<ChannelRef>,
        /// JSON text.
        payload: Arc<str>,
    },
}

/// Payloads never reach a log: only their size is printed.
impl fmt::Debug for PresenceNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, room, payload) = match self {
            Self::Diff { room, payload } => ("Diff", room, payload),
            Self::State { room, payload, .. } => ("State", room, payload),
        };
        write!(f, "{kind}({room:?}, {} bytes)", payload.len())
    }
}

/// The presences that this shard owns.
pub(super) struct Homes {
    presences: HashMap<RoomName, Presence<ChannelRef>>,
    me: u16,
    instance: [u8; 4],
    refs: u64,
}

impl Homes {
    pub(super) fn new(me: u16, directory: &Directory) -> Self {
        let [a, b, c, d, ..] = directory.keyed(&"presence").to_be_bytes();
        Self { presences: HashMap::new(), me, instance: [a, b, c, d], refs: 0 }
    }

    /// Applies an update. Answers the diff, unless nothing changed.
    pub(super) fn apply(&mut self, update: &PresenceUpdate) -> Option<Arc<str>> {
        if update.tracked.is_none() && !self.presences.contains_key(&update.room) {
            return None;
        }
        let fresh = self.fresh();
        let presence = self.presences.entry(update.room.clone()).or_default();
        let diff = presence.set(&update.key, update.channel, update.tracked.clone(), fresh);
        if presence.is_empty() {
            self.presences.remove(&update.room);
        }
        diff.map(Arc::from)
    }

    /// The state of a room.
    pub(super) fn state(&mut self, room: &RoomName) -> Arc<str> {
        self.presences.get_mut(room).map_or_else(|| Arc::from("{}"), Presence::state)
    }

    /// Unique: the server's number, the shard's, and a count that outlasts any server.
    fn fresh(&mut self) -> PhxRef {
        self.refs = self.refs.wrapping_add(1);
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.instance);
        bytes[4..6].copy_from_slice(&self.me.to_be_bytes());
        bytes[6..].copy_from_slice(&self.refs.to_be_bytes()[2..]);
        PhxRef::new(bytes)
    }
}

/// What could not be sent yet, because a queue was full.
#[derive(Default)]
pub(super) struct Unsent {
    updates: BTreeMap<(ConnectionId, u32), PresenceUpdate>,
    rooms: BTreeSet<(u16, RoomName)>,
}

impl Unsent {
    /// How many updates wait.
    pub(super) fn len(&self) -> usize {
        self.updates.len()
    }

    /// Whether this channel has an update waiting, so that a later one must wait too.
    pub(super) fn has_update(&self, channel: ChannelRef) -> bool {
        self.updates.contains_key(&(channel.connection, channel.join))
    }

    /// Keeps an update in the place of an earlier one.
    pub(super) fn keep_update(&mut self, mut update: PresenceUpdate) {
        let key = (update.channel.connection, update.channel.join);
        update.wants_state |= self.updates.get(&key).is_some_and(|earlier| earlier.wants_state);
        self.updates.insert(key, update);
    }

    /// Forgets a channel whose home has never heard of it.
    pub(super) fn forget(&mut self, channel: ChannelRef) {
        self.updates.remove(&(channel.connection, channel.join));
    }

    /// Whether this shard waits for the whole state of a room, so that it needs no diffs until then.
    pub(super) fn has_room(&self, shard: u16, room: &RoomName) -> bool {
        // Almost always empty, and then not worth a clone.
        !self.rooms.is_empty() && self.rooms.contains(&(shard, room.clone()))
    }

    /// Notes that a shard has missed something of a room.
    pub(super) fn keep_room(&mut self, shard: u16, room: RoomName) {
        self.rooms.insert((shard, room));
    }

    /// Takes all updates out, oldest channel first; those that still cannot be sent must be kept again.
    pub(super) fn take_updates(&mut self) -> BTreeMap<(ConnectionId, u32), PresenceUpdate> {
        std::mem::take(&mut self.updates)
    }

    /// Takes all rooms out likewise.
    pub(super) fn take_rooms(&mut self) -> BTreeSet<(u16, RoomName)> {
        std::mem::take(&mut self.rooms)
    }
}

//! The sockets of one shard and the channels each has joined.

use std::fmt;
use std::sync::Arc;

use super::rooms::RoomId;
use super::{ChannelRef, ConnectionId};
use crate::channel::Channel;
use crate::policy::Claims;
use crate::protocol::Dialect;

/// What is known of a socket when it opens.
#[derive(Clone)]
pub struct Session {
    /// How its messages are written.
    pub dialect: Dialect,
    /// The body of its token.
    pub claims: Arc<Claims>,
    /// The token it opened with, which its channels use unless they bring their own.
    pub token: Arc<str>,
    /// The headers of its request that policies may read, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// Tokens and headers never reach a log.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("dialect", &self.dialect)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

/// One open socket.
pub(super) struct Connection {
    generation: u32,
    pub(super) session: Session,
    /// Joins so far.
    joins: u32,
    /// The state of its bucket of joins.
    pub(super) joins_full_at: u64,
    /// Whether it has joined a channel, and so is counted among the users until it closes.
    pub(super) is_user: bool,
    /// In the order of their joins.
    channels: Vec<Entry>,
}

/// One channel and where it stands.
pub(super) struct Entry {
    pub(super) join: u32,
    pub(super) room: RoomId,
    /// Its place among the room's members.
    pub(super) place: usize,
    /// Whether the feed knows it.
    pub(super) subscribed: bool,
    /// Whether its room's home has been told that it tracks something, or will be.
    pub(super) announced: bool,
    pub(super) channel: Channel,
}

impl Connection {
    /// The number of the next join; `None` after four billion of them.
    pub(super) fn next_join(&mut self) -> Option<u32> {
        self.joins = self.joins.checked_add(1)?;
        Some(self.joins)
    }

    pub(super) fn channels(&self) -> &[Entry] {
        &self.channels
    }

    pub(super) fn into_channels(self) -> Vec<Entry> {
        self.channels
    }

    /// Adds a channel whose join has the latest number.
    pub(super) fn add(&mut self, entry: Entry) {
        self.channels.push(entry);
    }

    pub(super) fn remove(&mut self, join: u32) -> Option<Entry> {
        let place = self.place(join)?;
        Some(self.channels.remove(place))
    }

    /// The channel of a topic; a socket has at most one.
    pub(super) fn by_topic(&mut self, topic: &str) -> Option<&mut Entry> {
        self.channels.iter_mut().find(|entry| entry.channel.topic().as_str() == topic)
    }

    fn place(&self, join: u32) -> Option<usize> {
        self.channels.binary_search_by_key(&join, |entry| entry.join).ok()
    }
}

/// All open sockets, by the slots their owner gave them.
#[derive(Default)]
pub(super) struct Connections(Vec<Option<Connection>>);

impl Connections {
    pub(super) fn open(&mut self, id: ConnectionId, session: Session) {
        let Some(slot) = slot(id) else { return };
        if slot >= self.0.len() {
            self.0.resize_with(slot + 1, || None);
        }
        self.0[slot] = Some(Connection {
            generation: id.generation,
            session,
            joins: 0,
            joins_full_at: 0,
            is_user: false,
            channels: Vec::new(),
        });
    }

    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        self.0[slot(id)?].take()
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.0.get(slot(id)?)?.as_ref().filter(|connection| connection.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.0.get_mut(slot(id)?)?.as_mut().filter(|connection| connection.generation == id.generation)
    }

    /// A channel, if it is still joined: two array look-ups, no hashing.
    pub(super) fn channel(&self, channel: ChannelRef) -> Option<(&Connection, &Entry)> {
        let connection = self.get(channel.connection)?;
        Some((connection, &connection.channels[connection.place(channel.join)?]))
    }

    pub(super) fn entry_mut(&mut self, id: ConnectionId, join: u32) -> Option<&mut Entry> {
        let connection = self.get_mut(id)?;
        let place = connection.place(join)?;
        connection.channels.get_mut(place)
    }

    /// All open sockets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.0.iter().enumerate().filter_map(|(slot, connection)| {
            let connection = connection.as_ref()?;
            let slot = u32::try_from(slot).ok()?;
            Some((ConnectionId { slot, generation: connection.generation }, connection))
        })
    }
}

fn slot(id: ConnectionId) -> Option<usize> {
    usize::try_from(id.slot).ok()
}

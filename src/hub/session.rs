//! The sockets of one shard and the channels each has joined.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::rooms::RoomId;
use super::waiting::{Private, Waiting, WaitingTotal};
use super::{ChannelRef, ConnectionId};
use crate::channel::Channel;
use crate::policy::Claims;
use crate::postgres::messaging::Seat;
use crate::protocol::Dialect;

/// How long the headers that policies may read can be, names and values together, in bytes.
const HEADERS_BYTES_MAX: usize = 16_384;

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
    /// The headers of its request, as policies read them: a JSON object.
    pub(super) headers: Arc<str>,
    /// Whether it has ever tried to join a channel.
    pub(super) has_tried: bool,
    /// Since when it has been found to have no channel.
    pub(super) alone_since: Option<Instant>,
    /// In the order of their joins.
    channels: Vec<Entry>,
    /// Joins that wait, one for each topic at most.
    waiting: Vec<Waiting>,
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
    /// What it waits for, if it is private.
    pub(super) private: Option<Box<Private>>,
    /// The device that it counts as of its person, where messaging is on.
    pub(super) device: Option<Box<Seat>>,
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

    /// How many channels it has, joins that wait included.
    pub(super) fn channel_count(&self) -> usize {
        self.channels.len() + self.waiting.len()
    }

    pub(super) fn into_channels(self) -> (Vec<Entry>, Vec<Waiting>) {
        (self.channels, self.waiting)
    }

    /// Adds a channel. Joins that waited may come after later ones.
    pub(super) fn add(&mut self, entry: Entry) {
        self.alone_since = None;
        let place = self.channels.partition_point(|other| other.join < entry.join);
        self.channels.insert(place, entry);
    }

    pub(super) fn remove(&mut self, join: u32) -> Option<Entry> {
        let place = self.place(join)?;
        Some(self.channels.remove(place))
    }

    /// The channel of a topic; a socket has at most one.
    pub(super) fn by_topic(&mut self, topic: &str) -> Option<&mut Entry> {
        self.channels.iter_mut().find(|entry| entry.channel.topic().as_str() == topic)
    }

    /// The join of a topic that waits.
    pub(super) fn waiting_by_topic(&self, topic: &str) -> Option<&Waiting> {
        self.waiting.iter().find(|waiting| waiting.granted.topic.as_str() == topic)
    }

    fn place(&self, join: u32) -> Option<usize> {
        self.channels.binary_search_by_key(&join, |entry| entry.join).ok()
    }
}

/// All open sockets, by the slots their owner gave them.
#[derive(Default)]
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
    waiting: WaitingTotal,
}

impl Connections {
    pub(super) fn open(&mut self, id: ConnectionId, session: Session) {
        let Some(slot) = slot(id) else { return };
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        let headers = headers_json(&session.headers).into();
        self.slots[slot] = Some(Connection {
            generation: id.generation,
            session: Session { headers: Vec::new(), ..session },
            headers,
            has_tried: false,
            alone_since: None,
            joins: 0,
            joins_full_at: 0,
            is_user: false,
            channels: Vec::new(),
            waiting: Vec::new(),
        });
    }

    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        let connection = self.slots[slot(id)?].take()?;
        connection.waiting.iter().for_each(|waiting| self.waiting.remove(waiting));
        Some(connection)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.slots.get(slot(id)?)?.as_ref().filter(|connection| connection.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(slot(id)?)?.as_mut().filter(|connection| connection.generation == id.generation)
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

    /// Where a channel, or a join that waits, notes its place in its room.
    pub(super) fn room_place_mut(&mut self, id: ConnectionId, join: u32) -> Option<&mut usize> {
        let connection = self.get_mut(id)?;
        if let Some(place) = connection.place(join) {
            return Some(&mut connection.channels[place].place);
        }
        let waiting = connection.waiting.iter_mut().find(|waiting| waiting.join() == join)?;
        waiting.replay.as_mut().map(|(_, seat)| &mut seat.place)
    }

    /// Has a join wait.
    pub(super) fn park(&mut self, waiting: Waiting) {
        let Some(slot) = slot(waiting.attempt.id) else { return };
        if let Some(Some(connection)) = self.slots.get_mut(slot) {
            self.waiting.add(&waiting);
            connection.waiting.push(waiting);
        }
    }

    /// Takes a join out that waits.
    pub(super) fn unpark(&mut self, id: ConnectionId, join: u32) -> Option<Waiting> {
        let connection = self.get_mut(id)?;
        let place = connection.waiting.iter().position(|waiting| waiting.join() == join)?;
        let waiting = connection.waiting.remove(place);
        self.waiting.remove(&waiting);
        Some(waiting)
    }

    /// All joins that wait.
    pub(super) fn all_waiting(&self) -> Vec<(ConnectionId, u32)> {
        let waiting = self.slots.iter().flatten().flat_map(|connection| &connection.waiting);
        waiting.map(|waiting| (waiting.attempt.id, waiting.join())).collect()
    }

    /// A join that waits.
    pub(super) fn waiting(&self, id: ConnectionId, join: u32) -> Option<&Waiting> {
        self.get(id)?.waiting.iter().find(|waiting| waiting.join() == join)
    }

    /// How many joins wait, and how long their payloads are.
    pub(super) fn waiting_total(&self) -> WaitingTotal {
        self.waiting
    }

    /// All channels.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Entry)> {
        self.iter_mut()
            .flat_map(|(id, connection)| connection.channels.iter_mut().map(move |entry| (id, entry)))
    }

    /// All open sockets, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Connection)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, connection)| {
            let connection = connection.as_mut()?;
            let slot = u32::try_from(slot).ok()?;
            Some((ConnectionId { slot, generation: connection.generation }, connection))
        })
    }

    /// All open sockets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.slots.iter().enumerate().filter_map(|(slot, connection)| {
            let connection = connection.as_ref()?;
            let slot = u32::try_from(slot).ok()?;
            Some((ConnectionId { slot, generation: connection.generation }, connection))
        })
    }
}

/// Headers as a JSON object. Those that do not fit are left out, so that no policy reads half of one.
fn headers_json(headers: &[(String, String)]) -> String {
    let mut object = serde_json::Map::new();
    let mut bytes = 0;
    for (name, value) in headers {
        bytes += name.len() + value.len();
        if bytes > HEADERS_BYTES_MAX {
            break;
        }
        object.insert(name.clone(), value.as_str().into());
    }
    serde_json::Value::Object(object).to_string()
}

fn slot(id: ConnectionId) -> Option<usize> {
    usize::try_from(id.slot).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_an_object_and_what_does_not_fit_is_left_out() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers =
            [header("x-tenant", "a\"b"), header("x-large", &"x".repeat(20_000)), header("x-late", "")];
        assert_eq!(headers_json(&headers), r#"{"x-tenant":"a\"b"}"#);
        assert_eq!(headers_json(&[]), "{}");
    }
}

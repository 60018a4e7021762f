//! Who is joined where, and delivery between threads.
//!
//! Two kinds of thread meet here. *Shards* own sockets: one thread each, no shared state. The *feed* owns the
//! replication stream and every `postgres_changes` subscription of this server. They talk through the bounded
//! queues whose messages this module defines: [`FeedCommand`] from shards to the feed, [`FeedEvent`] back, and
//! [`ShardCommand`] to a shard from anybody.
//!
//! A [`Shard`] is synchronous: a message, a command or the time comes in, frames go out through an [`Outbox`]. The feed
//! decides by the compiled policies and the mirror of an [`Engine`], and asks Postgres what they are not certain of.
//! [`explain`] and [`doctor`] are for people: they judge one question, or look at a whole database.
//!
//! **Invariants:** shards do no I/O, and have no clock but the one that is given; a channel gets nothing before its join
//! reply and nothing after its close; a sender's order is kept to every receiver.

pub mod authorization;
mod broadcaster;
mod commits;
mod config;
mod limit;
mod link;
mod meter;
mod meters;
mod peers;
mod presence;
mod renewal;
mod replay;
mod rooms;
mod sent;
mod session;
mod shard;
mod waiting;

pub mod ask;
mod asker;
pub mod audiences;
mod catalogs;
pub mod compute;
pub mod doctor;
pub mod engine;
pub mod explain;
pub mod fanout;
pub mod feed;
pub mod lane;
pub mod mirror;
pub mod profile;
mod progress;
pub mod resolve;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

pub use authorization::{Authorized, Authorizer};
pub use broadcaster::{Broadcaster, Sink};
pub use commits::{RecentCommits, Seen, StreamedCommit};
pub use config::{Config, JoinRate};
pub use engine::{Engine, Knowledge, Recheck};
pub use meter::Meter;
pub use meters::{Meters, ServerLimits, Users};
pub use peers::{Directory, Occupancy, PeerFull, Peers, RoomName, SHARDS_MAX};
pub use presence::{PresenceNews, PresenceUpdate};
pub use sent::Sent;
pub use session::Session;
pub use shard::{Clock, Counters, Links, Shard, TokenRefusal, TokenVerifier};

use crate::channel::Broadcast;
use crate::policy::Claims;
use crate::protocol::Dialect;
use crate::wal::Lsn;

/// What a shard's sockets do for it.
///
/// Neither call fails: a socket that cannot keep up, or is gone, is its owner's business.
pub trait Outbox {
    /// Sends a whole WebSocket frame.
    fn send(&mut self, connection: ConnectionId, frame: Bytes);

    /// Closes a socket after what was sent before.
    fn close(&mut self, connection: ConnectionId, code: u16, reason: &str);
}

/// What a shard can be told by other threads.
#[derive(Debug)]
pub enum ShardCommand {
    /// The feed has something for channels of this shard.
    Feed(FeedEvent),
    /// Send to all members of a room on this shard.
    Broadcast(Arc<RoomBroadcast>),
    /// To the home of a room: what a channel of another shard tracks.
    Presence(PresenceUpdate),
    /// From the home of a room.
    PresenceNews(PresenceNews),
    /// What policies let a channel do, or a join that waits for the answer.
    Authorized(Box<Authorized>),
    /// Policies on `realtime.messages`, roles or rights have changed: what channels may do is to be asked again.
    PoliciesChanged,
    /// What private channels may do is to be judged again in memory, before anything that committed later is sent.
    Recheck(Arc<Recheck>),
    /// Say so to every channel and close every socket; clients come back.
    Disconnect,
    /// The server goes down: refuse joins, and do as for [`ShardCommand::Disconnect`].
    Drain,
}

/// A broadcast on its way to a shard.
#[derive(Debug)]
pub struct RoomBroadcast {
    /// The room.
    pub room: RoomName,
    /// The commit it came with, if it comes of the database. A channel whose replay has seen it does not get it.
    pub commit: Option<StreamedCommit>,
    /// What to send.
    pub message: Broadcast<'static>,
}

/// One connection of one shard. Never reused while the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Its place in the shard's table.
    pub slot: u32,
    /// Tells it from earlier connections in the same place.
    pub generation: u32,
}

/// As the log names it.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.slot, self.generation)
    }
}

/// One joined channel: a topic on a socket, from one join to its close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelRef {
    /// The shard that owns the socket.
    pub shard: u16,
    /// The socket.
    pub connection: ConnectionId,
    /// Counts the joins on this socket, so that a second join of one topic is another channel.
    pub join: u32,
}

/// What a shard tells the feed.
#[derive(Debug)]
pub enum FeedCommand {
    /// A channel with `postgres_changes` bindings has joined; its join reply has been queued.
    Subscribe(Subscribe),
    /// A channel has a new token.
    Refresh {
        /// The channel.
        channel: ChannelRef,
        /// Its new claims.
        claims: Arc<Claims>,
    },
    /// A channel has closed.
    Unsubscribe {
        /// The channel.
        channel: ChannelRef,
    },
}

/// The `postgres_changes` side of a join.
#[derive(Debug)]
pub struct Subscribe {
    /// The channel.
    pub channel: ChannelRef,
    /// The whole topic as the client joined it: `realtime:room`.
    pub topic: Arc<str>,
    /// How frames for this socket are written.
    pub dialect: Dialect,
    /// Whether the client joined without `config`: its changes have events `INSERT`, `UPDATE` and `DELETE`.
    pub legacy: bool,
    /// Whether deleted rows are wanted whole, where the subscriber could see them; stock clients get their keys.
    pub whole_deleted: bool,
    /// Who is asking.
    pub claims: Arc<Claims>,
    /// Each element of `postgres_changes` as the client sent it, with the id it was given, in order.
    pub bindings: Vec<(u32, Map<String, Value>)>,
}

/// What the feed tells a shard.
#[derive(Debug)]
pub enum FeedEvent {
    /// Whether the replication stream is live from now on: what commits reaches subscribers and rooms. It is not until
    /// this says so.
    Live(bool),
    /// The stream has gone over to another history of the log, which is that of before up to this place.
    Forked(Lsn),
    /// Finished WebSocket frames, in order, each with the channels that get it.
    Changes(Vec<Delivery>),
    /// A `system` message of extension `postgres_changes` for one channel.
    System {
        /// The channel.
        channel: ChannelRef,
        /// `true` for status `ok`, `false` for `error`.
        ok: bool,
        /// The words the client reads.
        message: Arc<str>,
    },
}

/// One encoded frame and who gets it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// A whole WebSocket frame, header included, shared by all who get it.
    pub frame: Bytes,
    /// The channels of this shard that get it.
    pub channels: Arc<[ChannelRef]>,
    /// The message that it tells of, where messaging is on.
    pub sent: Option<Arc<Sent>>,
}

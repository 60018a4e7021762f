//! One shard: its sockets, their channels and rooms, and everything that happens to them.
//!
//! In: sockets that open, speak and close, commands of other threads, and the time. Out: frames.

mod access;
mod counters;
mod held;
mod idle;
mod join;
mod judged;
mod limits;
mod person;
mod presence;
mod private;
mod recheck;
mod stream;
mod token;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::limit::Rate;
use super::link::FeedLink;
use super::peers::{Directory, Peers};
use super::presence::{Homes, Unsent};
use super::rooms::{RoomId, Rooms};
use super::session::{Connections, Entry, Session};
use super::waiting::Deadline;
use super::{
    Authorizer, ChannelRef, Config, ConnectionId, Engine, FeedCommand, FeedEvent, Meters, Outbox,
    RoomBroadcast, ShardCommand,
};
use crate::channel::{Broadcast, Effect, MessageRef, Reply, Token};
use crate::policy::Claims;
use crate::postgres::messaging::Messaging;
use crate::protocol::{Dialect, Extension, Incoming, Message, SOCKET_TOPIC, code};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;
use recheck::Recheck;

pub use counters::Counters;

/// Reads the wall clock: seconds since the Unix epoch. Only the expiry of tokens depends on it.
///
/// It is asked rather than worked out from an [`Instant`], which stands still while a machine sleeps: tokens
/// would then live too long.
pub type Clock = Box<dyn Fn() -> i64 + Send>;

/// Checks tokens.
pub trait TokenVerifier: Send + Sync {
    /// The body of a token that is valid at `now_unix`, in seconds since the epoch.
    fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenRefusal>;

    /// Changes when a token that was valid may not be so any more, for another reason than its expiry. It stays
    /// as it is where keys do.
    fn generation(&self) -> u64 {
        0
    }
}

/// Why a token is not valid, in the words of either place where a client reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    /// For a refused join: `Code: text`.
    pub join_reason: String,
    /// For a `system` message.
    pub system_message: String,
}

/// What joins a shard to the rest of the server.
pub struct Links {
    /// Checks tokens.
    pub verifier: Arc<dyn TokenVerifier>,
    /// Tells the time to tokens.
    pub clock: Clock,
    /// The queue of the feed of database changes.
    pub feed: mpsc::Sender<FeedCommand>,
    /// The queues of the other shards.
    pub peers: Box<dyn Peers>,
    /// Answers what private channels may do.
    pub authorizer: Authorizer,
    /// What compiled policies are judged by.
    pub engine: Arc<Engine>,
    /// What the whole server is held to.
    pub meters: Arc<Meters>,
    /// Who is connected, and what was sent to them, where messaging is on.
    pub messaging: Option<Messaging>,
    /// What this shard counts.
    pub counters: Arc<Counters>,
}

/// One thread's sockets and channels.
pub struct Shard {
    me: u16,
    config: Config,
    directory: Arc<Directory>,
    links: Links,
    feed: FeedLink,
    connections: Connections,
    rooms: Rooms,
    homes: Homes,
    unsent: Unsent,
    /// By the second in which the token runs out.
    expiries: BTreeSet<(i64, ConnectionId, u32)>,
    /// By when something must have been answered about a channel, or a join that waits.
    deadlines: BTreeSet<Deadline>,
    /// Channels about which a question is to be put, and from when on.
    unasked: VecDeque<(Instant, ConnectionId, u32)>,
    /// Counts the changes of policies.
    policy_epoch: u64,
    /// How long the messages that wait are, all together.
    held_bytes: usize,
    /// Whether the replication stream is live.
    stream_is_live: bool,
    /// Channels that wait for it, until when.
    awaiting_stream: VecDeque<(Instant, ConnectionId, u32)>,
    /// When sockets without channels were looked for.
    idle_looked_at: Option<Instant>,
    /// In the order in which they are due.
    refusals: VecDeque<HeldRefusal>,
    joins_per_socket: Rate,
    presence_keys: u64,
    recheck: Recheck,
    draining: bool,
    counters: Arc<Counters>,
}

/// The answer to a refused join, held back.
struct HeldRefusal {
    due: Instant,
    connection: ConnectionId,
    frames: Frames,
    /// Whether the socket is closed with it.
    closes: bool,
}

type Frames = SmallVec<[Bytes; 2]>;

impl Shard {
    /// A shard without sockets. `me` is its number in the directory, from 0.
    pub fn new(me: u16, config: Config, directory: Arc<Directory>, links: Links) -> Self {
        Self {
            me,
            feed: FeedLink::new(links.feed.clone(), config.feed_pending_max),
            connections: Connections::default(),
            rooms: Rooms::new(me, Arc::clone(&directory)),
            homes: Homes::new(me, &directory),
            unsent: Unsent::default(),
            expiries: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            unasked: VecDeque::new(),
            policy_epoch: 0,
            held_bytes: 0,
            stream_is_live: false,
            awaiting_stream: VecDeque::new(),
            idle_looked_at: None,
            refusals: VecDeque::new(),
            joins_per_socket: Rate::new(config.joins_per_socket),
            presence_keys: 0,
            recheck: Recheck::new(links.verifier.generation()),
            draining: false,
            counters: Arc::clone(&links.counters),
            config,
            directory,
            links,
        }
    }

    /// What it has counted so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// A socket has opened.
    pub fn opened(&mut self, connection: ConnectionId, session: Session) {
        self.counters.sockets(session.dialect).add(1);
        self.connections.open(connection, session);
    }

    /// A client speaks. A message that cannot be decoded is counted and dropped.
    pub fn message(&mut self, out: &mut dyn Outbox, id: ConnectionId, message: Message<'_>, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        let dialect = connection.session.dialect;
        let Ok(incoming) = dialect.decode(message, self.config.json_depth_max) else {
            self.counters.malformed_messages.add(1);
            report!(debug, Code::MalformedWebSocketMessage, socket = %id, "message dropped");
            return;
        };
        match &*incoming.event {
            "heartbeat" if incoming.topic == SOCKET_TOPIC => {
                out.send(id, dialect.reply(SOCKET_TOPIC, &MessageRef::NULL, &incoming.reference, &Reply::Ok));
            }
            "phx_join" => self.join(out, id, dialect, &incoming, now),
            "phx_leave" => self.leave(out, id, dialect, &incoming, now),
            _ => self.event(out, id, dialect, incoming, now),
        }
    }

    /// A socket is gone; its channels go with it.
    pub fn closed(&mut self, out: &mut dyn Outbox, id: ConnectionId) {
        let Some(connection) = self.connections.close(id) else { return };
        self.counters.sockets(connection.session.dialect).subtract(1);
        if connection.is_user {
            self.links.meters.users.leave();
        }
        let (channels, waiting) = connection.into_channels();
        self.forget_waiting(waiting);
        for entry in channels {
            self.retire(out, id, &entry);
        }
    }

    /// Another thread speaks.
    pub fn command(&mut self, out: &mut dyn Outbox, command: ShardCommand, now: Instant) {
        match command {
            ShardCommand::Feed(event) => self.feed_event(out, event),
            ShardCommand::Broadcast(broadcast) => {
                if let Some(room) = self.rooms.find(&broadcast.room) {
                    let delivered =
                        self.rooms.broadcast(out, room, &broadcast.message, broadcast.commit, None);
                    self.links.meters.events.add(delivered);
                    self.hold_to_event_rate(out, room, None);
                }
            }
            ShardCommand::Presence(update) => self.apply_presence(out, &update),
            ShardCommand::PresenceNews(news) => self.presence_news(out, &news),
            ShardCommand::Disconnect => self.disconnect(out),
            ShardCommand::Authorized(authorized) => self.authorized(out, *authorized, now),
            ShardCommand::Recheck(recheck) => self.rights_changed(out, &recheck, now),
            ShardCommand::PoliciesChanged => self.policies_changed(now),
            ShardCommand::Drain => self.drain(out),
        }
    }

    /// Time has passed: answers held refusals, retries full queues, closes channels whose tokens ran out or
    /// whose keys were withdrawn.
    ///
    /// Call it several times a second, also while there are no connections: other shards may wait for presence
    /// that did not fit into their queues.
    pub fn tick(&mut self, out: &mut dyn Outbox, now: Instant) {
        while self.refusals.front().is_some_and(|held| held.due <= now) {
            if let Some(held) = self.refusals.pop_front() {
                self.answer_refused(out, held);
            }
        }
        self.feed.flush();
        self.flush_presence(out);
        self.expire(out);
        self.recheck(out);
        self.overdue(out, now);
        self.ask_unasked(now);
        self.end_late(out, now);
        self.close_idle(out, now);
    }

    fn send_all(&self, out: &mut dyn Outbox, id: ConnectionId, frames: Frames) {
        if self.connections.get(id).is_some() {
            frames.into_iter().for_each(|frame| out.send(id, frame));
        }
    }

    fn channel_ref(&self, connection: ConnectionId, join: u32) -> ChannelRef {
        ChannelRef { shard: self.me, connection, join }
    }

    /// Events of joined channels.
    fn event(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        dialect: Dialect,
        incoming: Incoming<'_>,
        now: Instant,
    ) {
        let Some(entry) = self.connections.get_mut(id).and_then(|open| open.by_topic(&incoming.topic)) else {
            return unmatched(out, id, dialect, &incoming);
        };
        if let Some(device) = &entry.device {
            device.active();
        }
        let is_overloaded = incoming.event == "presence"
            && self.unsent.len() >= self.config.presence_unsent_max
            && self.directory.home(self.rooms.name(entry.room)) != self.me;
        let effect = if is_overloaded {
            report!(warn, Code::UnableToTrackPresence, socket = %id, "presence of another thread is behind");
            Effect::Reply(Reply::Error)
        } else {
            entry.channel.receive(&incoming.event, incoming.payload, now, &self.config.channel)
        };
        let (join, room) = (entry.join, entry.room);
        let is_asked = entry.private.as_ref().is_some_and(|private| private.write.is_some());
        let tracks = entry.channel.presence_payload().is_some();
        let reply = |entry: &Entry, reply: &Reply| {
            dialect.reply(&incoming.topic, entry.channel.push_ref(), &incoming.reference, reply)
        };
        match effect {
            Effect::Ignore => {}
            Effect::Unknown => self.links.meters.events.add(1),
            Effect::Deny => self.deny(id),
            Effect::Hold => {
                if !is_asked && self.judge_write(id, join, &incoming.event) {
                    return self.event(out, id, dialect, incoming, now);
                }
                let message = (&*incoming.event, incoming.payload, &incoming.reference);
                self.hold(out, id, join, message, now);
            }
            Effect::Reply(answer) => {
                if let Some(code) = code::of_reply(&answer) {
                    report!(debug, code, socket = %id, "message refused");
                }
                out.send(id, reply(entry, &answer));
            }
            Effect::Broadcast { message, to_self, acknowledge } => {
                let acknowledgement = acknowledge.then(|| reply(entry, &Reply::Ok));
                self.counters.broadcasts.add(1);
                self.counters.payload_bytes.record_length(message.payload_bytes());
                let except = (!to_self).then_some((id, join));
                let delivered = self.rooms.broadcast(out, room, &message, None, except);
                self.links.meters.events.add(delivered + 1);
                self.spread(room, message);
                if let Some(frame) = acknowledgement {
                    out.send(id, frame);
                }
                self.hold_to_event_rate(out, room, except);
            }
            Effect::Presence => {
                let answer = reply(entry, &Reply::Ok);
                if !tracks || self.admit_presence(out, id, join) {
                    out.send(id, answer);
                    self.watch_late(id, join);
                    self.present(out, id, join, false);
                }
            }
            Effect::Verify(Token(token)) => self.refresh(out, id, join, token, now),
            Effect::Close(closing) => self.close(out, id, join, &closing),
        }
    }

    /// Hands a broadcast to the other shards that may have members.
    ///
    /// Broadcasts are delivered at most once: a shard whose queue is full misses this one, and it is counted.
    fn spread(&mut self, room: RoomId, message: Broadcast<'_>) {
        let name = self.rooms.name(room);
        if !self.directory.is_elsewhere(name, self.me) {
            return;
        }
        let broadcast =
            Arc::new(RoomBroadcast { room: name.clone(), commit: None, message: message.into_owned() });
        for shard in self.directory.shards_with(&broadcast.room).filter(|shard| *shard != self.me) {
            let command = ShardCommand::Broadcast(Arc::clone(&broadcast));
            if self.links.peers.try_send(shard, command).is_err() {
                self.counters.dropped_broadcasts.add(1);
            }
        }
    }
}

/// The feed of database changes.
impl Shard {
    fn feed_event(&mut self, out: &mut dyn Outbox, event: FeedEvent) {
        match event {
            FeedEvent::Live(is_live) => self.stream_changed(out, is_live),
            FeedEvent::Forked(shared) => self.rooms.forked(shared),
            FeedEvent::Changes(deliveries) => {
                for delivery in &deliveries {
                    for channel in delivery.channels.iter() {
                        if self.connections.channel(*channel).is_some() {
                            out.send(channel.connection, delivery.frame.clone());
                        }
                    }
                    if let Some(sent) = &delivery.sent {
                        self.note_sent(sent, &delivery.channels);
                    }
                }
            }
            FeedEvent::System { channel, ok, message } => {
                let Some((connection, entry)) = self.connections.channel(channel) else { return };
                let (topic, push_ref) = (entry.channel.topic(), entry.channel.push_ref());
                let extension = Extension::PostgresChanges;
                let dialect = connection.session.dialect;
                let frame = dialect.system(topic.as_str(), topic.sub(), push_ref, extension, ok, &message);
                out.send(channel.connection, frame);
            }
        }
    }
}

fn unmatched(out: &mut dyn Outbox, id: ConnectionId, dialect: Dialect, incoming: &Incoming<'_>) {
    report!(debug, Code::UnmatchedTopic, socket = %id, "message refused");
    let reply = Reply::Refused(code::UNMATCHED_TOPIC.into());
    out.send(id, dialect.reply(&incoming.topic, &MessageRef::NULL, &incoming.reference, &reply));
}

fn closed_frame(dialect: Dialect, entry: &Entry) -> Bytes {
    dialect.closed(entry.channel.topic().as_str(), entry.channel.join_ref())
}

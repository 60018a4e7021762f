//! One shard: its sockets, their channels and rooms, and everything that happens to them.
//!
//! In: sockets that open, speak and close, commands of other threads, and the time. Out: frames.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::limit::Rate;
use super::link::FeedLink;
use super::peers::{Directory, Mailbox};
use super::presence::{Homes, PresenceNews, PresenceUpdate, Unsent};
use super::rooms::{Member, RoomId, Rooms, Watch};
use super::session::{Connections, Entry, Session};
use super::{
    ChannelRef, Config, ConnectionId, FeedCommand, FeedEvent, Outbox, RoomBroadcast, ShardCommand, Subscribe,
};
use crate::channel::{
    Broadcast, Channel, Closing, Effect, Grant, JoinRequest, MessageRef, Refusal, Reply, Token, Topic,
    TopicError,
};
use crate::policy::Claims;
use crate::protocol::{Dialect, Extension, Incoming, Message, SOCKET_TOPIC, code};

/// Reads the wall clock: seconds since the Unix epoch. Only the expiry of tokens depends on it.
pub type Clock = Box<dyn Fn() -> i64 + Send>;

/// Checks tokens.
pub trait TokenVerifier: Send + Sync {
    /// The body of a token that is valid at `now_unix`, in seconds since the epoch.
    fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenRefusal>;
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
    /// The queues of all shards by number. This shard's own is there to keep the numbers, and stays unused.
    pub peers: Vec<Box<dyn Mailbox>>,
}

/// What a shard counts about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Client messages that could not be decoded.
    pub malformed_messages: u64,
    /// Joins granted.
    pub joins: u64,
    /// Joins refused.
    pub refused_joins: u64,
    /// Broadcasts accepted from clients.
    pub broadcasts: u64,
    /// Broadcasts that a peer did not get because its queue was full.
    pub dropped_broadcasts: u64,
    /// Presence messages to peers that had to wait because a queue was full.
    pub delayed_presence: u64,
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
    /// Oldest first; the delay is the same for all.
    refusals: VecDeque<HeldRefusal>,
    joins_per_socket: Rate,
    joins_per_server: Rate,
    presence_keys: u64,
    draining: bool,
    counters: Counters,
}

/// The answer to a refused join, held back.
struct HeldRefusal {
    due: Instant,
    connection: ConnectionId,
    frames: Frames,
}

type Frames = SmallVec<[Bytes; 2]>;

/// A join that has passed every check.
struct Granted {
    join: u32,
    request: JoinRequest,
    token: Arc<str>,
    claims: Arc<Claims>,
}

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
            refusals: VecDeque::new(),
            joins_per_socket: Rate::new(config.joins_per_socket),
            joins_per_server: Rate::new(config.joins_per_server),
            presence_keys: 0,
            draining: false,
            counters: Counters::default(),
            config,
            directory,
            links,
        }
    }

    /// What it has counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A socket has opened.
    pub fn opened(&mut self, connection: ConnectionId, session: Session) {
        self.connections.open(connection, session);
    }

    /// A client speaks. A message that cannot be decoded is counted and dropped.
    pub fn message(&mut self, out: &mut dyn Outbox, id: ConnectionId, message: Message<'_>, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        let dialect = connection.session.dialect;
        let Ok(incoming) = dialect.decode(message, self.config.json_depth_max) else {
            self.counters.malformed_messages += 1;
            return;
        };
        match &*incoming.event {
            "heartbeat" if incoming.topic == SOCKET_TOPIC => {
                out.send(id, dialect.reply(SOCKET_TOPIC, &MessageRef::NULL, &incoming.reference, &Reply::Ok));
            }
            "phx_join" => self.join(out, id, dialect, &incoming, now),
            "phx_leave" => self.leave(out, id, dialect, &incoming),
            _ => self.event(out, id, dialect, incoming, now),
        }
    }

    /// A socket is gone; its channels go with it.
    pub fn closed(&mut self, out: &mut dyn Outbox, id: ConnectionId) {
        let Some(connection) = self.connections.close(id) else { return };
        for entry in connection.into_channels() {
            self.retire(out, id, &entry);
        }
    }

    /// Another thread speaks.
    pub fn command(&mut self, out: &mut dyn Outbox, command: ShardCommand, _now: Instant) {
        match command {
            ShardCommand::Feed(event) => self.feed_event(out, event),
            ShardCommand::Broadcast(broadcast) => {
                if let Some(room) = self.rooms.find(&broadcast.room) {
                    self.rooms.broadcast(out, room, &broadcast.message, None);
                }
            }
            ShardCommand::Presence(update) => self.apply_presence(out, &update),
            ShardCommand::PresenceNews(news) => self.presence_news(out, &news),
            ShardCommand::Drain => self.drain(out),
        }
    }

    /// Time has passed: answers held refusals, retries full queues, closes channels whose tokens ran out.
    ///
    /// Call it several times a second.
    pub fn tick(&mut self, out: &mut dyn Outbox, now: Instant) {
        while self.refusals.front().is_some_and(|held| held.due <= now) {
            if let Some(held) = self.refusals.pop_front() {
                self.send_all(out, held.connection, held.frames);
            }
        }
        self.feed.flush();
        self.flush_presence(out);
        self.expire(out);
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
        let is_overloaded = incoming.event == "presence"
            && self.unsent.len() >= self.config.presence_unsent_max
            && self.directory.home(self.rooms.name(entry.room)) != self.me;
        let effect = if is_overloaded {
            Effect::Reply(Reply::Error)
        } else {
            entry.channel.receive(&incoming.event, incoming.payload, now, &self.config.channel)
        };
        let (join, room) = (entry.join, entry.room);
        let reply = |entry: &Entry, reply: &Reply| {
            dialect.reply(&incoming.topic, entry.channel.push_ref(), &incoming.reference, reply)
        };
        match effect {
            Effect::Ignore => {}
            Effect::Reply(answer) => out.send(id, reply(entry, &answer)),
            Effect::Broadcast { message, to_self, acknowledge } => {
                let acknowledgement = acknowledge.then(|| reply(entry, &Reply::Ok));
                self.counters.broadcasts += 1;
                self.rooms.broadcast(out, room, &message, (!to_self).then_some((id, join)));
                self.spread(room, message);
                if let Some(frame) = acknowledgement {
                    out.send(id, frame);
                }
            }
            Effect::Presence => {
                out.send(id, reply(entry, &Reply::Ok));
                self.present(out, id, join, false);
            }
            Effect::Verify(Token(token)) => self.refresh(out, id, join, token),
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
        let broadcast = Arc::new(RoomBroadcast { room: name.clone(), message: message.into_owned() });
        for shard in self.directory.shards_with(&broadcast.room).filter(|shard| *shard != self.me) {
            if self.send_to(shard, ShardCommand::Broadcast(Arc::clone(&broadcast))).is_err() {
                self.counters.dropped_broadcasts += 1;
            }
        }
    }

    fn send_to(&self, shard: u16, command: ShardCommand) -> Result<(), ShardCommand> {
        match self.links.peers.get(usize::from(shard)) {
            Some(peer) => peer.try_send(command),
            None => Ok(()),
        }
    }
}

/// Joining and leaving.
impl Shard {
    fn join(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        dialect: Dialect,
        incoming: &Incoming<'_>,
        now: Instant,
    ) {
        let max = self.config.topic_bytes_max;
        let topic = match Topic::parse(&incoming.topic, max) {
            Ok(topic) => topic,
            Err(TopicError::Unmatched) => return unmatched(out, id, dialect, incoming),
            Err(TopicError::Empty) => {
                return self.refuse(out, id, dialect, incoming, &Refusal::TopicNameRequired, None, now);
            }
            Err(TopicError::TooLong) => {
                return self.refuse(out, id, dialect, incoming, &Refusal::TopicTooLong(max), None, now);
            }
        };
        // A second join ends the first, whatever becomes of the second. The client hears of the end after the
        // answer, so that it is not taken for the end of the second.
        let replaced = self.remove(out, id, topic.as_str()).map(|entry| closed_frame(dialect, &entry));
        let nanos = self.directory.nanos(now);
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !self.joins_per_socket.admits(&mut connection.joins_full_at, nanos) {
            self.counters.refused_joins += 1;
            let frames = refusal_frames(dialect, incoming, &Refusal::TooManyJoins, replaced);
            self.send_all(out, id, frames);
            out.close(id, code::CLOSE_JOIN_RATE.code, code::CLOSE_JOIN_RATE.reason);
            return self.closed(out, id);
        }
        match self.grant(id, &topic, incoming, nanos) {
            Ok(granted) => self.joined(out, id, dialect, topic, incoming, granted, replaced),
            Err(refusal) => self.refuse(out, id, dialect, incoming, &refusal, replaced, now),
        }
    }

    /// Every check that a join must pass.
    fn grant(
        &mut self,
        id: ConnectionId,
        topic: &Topic,
        incoming: &Incoming<'_>,
        nanos: u64,
    ) -> Result<Granted, Refusal> {
        if self.draining {
            return Err(Refusal::Restarting);
        }
        if !self.joins_per_server.admits_shared(self.directory.joins(), nanos) {
            return Err(Refusal::TooManyJoins);
        }
        let connection = self.connections.get_mut(id).ok_or(Refusal::TooManyChannels)?;
        if connection.channels().len() >= self.config.channels_per_socket_max {
            return Err(Refusal::TooManyChannels);
        }
        let request = JoinRequest::parse(topic, incoming.payload, &self.config.join)?;
        let token = match &request.token {
            Some(Token(token)) => Arc::from(token.as_str()),
            None => Arc::clone(&connection.session.token),
        };
        let verified = self.links.verifier.verify(&token, (self.links.clock)());
        let claims = verified.map_err(|refusal| Refusal::Token(refusal.join_reason))?;
        if request.private {
            return Err(Refusal::Unauthorized(topic.sub().into()));
        }
        if !request.bindings.is_empty() && !self.feed.has_room() {
            return Err(Refusal::FeedBusy);
        }
        let join = connection.next_join().ok_or(Refusal::TooManyJoins)?;
        Ok(Granted { join, request, token, claims })
    }

    #[expect(clippy::too_many_arguments, reason = "the whole of one join; nothing else has this shape")]
    fn joined(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        dialect: Dialect,
        topic: Topic,
        incoming: &Incoming<'_>,
        granted: Granted,
        replaced: Option<Bytes>,
    ) {
        let Granted { join, mut request, token, claims } = granted;
        let wants_state = request.presence_enabled || self.config.presence_for_all;
        let watch = if wants_state { Watch::AwaitsState } else { Watch::DiffsOnly };
        let name = self.directory.room(&topic, request.private);
        let (room, place) = self.rooms.enter(name, Member { connection: id, join, dialect, watch });
        let presence_key = match request.presence_key.take() {
            Some(key) => key.into(),
            None => self.fresh_presence_key(),
        };
        let grant = Grant {
            topic: topic.clone(),
            join_ref: &incoming.join_ref,
            reference: &incoming.reference,
            token,
            claims: Arc::clone(&claims),
            presence_key,
        };
        let channel = Channel::new(grant, &request);
        let subscribed = !request.bindings.is_empty();
        self.expiries.insert((claims.expires_at, id, join));
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.add(Entry { join, room, place, subscribed, announced: false, channel });
        self.counters.joins += 1;

        let reply = Reply::Joined(request.bindings_with_ids());
        out.send(id, dialect.reply(topic.as_str(), &incoming.join_ref, &incoming.reference, &reply));
        if let Some(frame) = replaced {
            out.send(id, frame);
        }
        if subscribed {
            self.feed.send(FeedCommand::Subscribe(Subscribe {
                channel: self.channel_ref(id, join),
                topic: Arc::clone(topic.shared()),
                dialect,
                legacy: request.legacy,
                claims,
                bindings: request.bindings,
            }));
        }
        if wants_state {
            self.present(out, id, join, true);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the whole of one refusal; nothing else has this shape")]
    fn refuse(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        dialect: Dialect,
        incoming: &Incoming<'_>,
        refusal: &Refusal,
        replaced: Option<Bytes>,
        now: Instant,
    ) {
        self.counters.refused_joins += 1;
        let frames = refusal_frames(dialect, incoming, refusal, replaced);
        if self.config.refusal_delay.is_zero() || self.refusals.len() >= self.config.refusals_pending_max {
            return self.send_all(out, id, frames);
        }
        let due = now + self.config.refusal_delay;
        self.refusals.push_back(HeldRefusal { due, connection: id, frames });
    }

    fn leave(&mut self, out: &mut dyn Outbox, id: ConnectionId, dialect: Dialect, incoming: &Incoming<'_>) {
        let reply = |join_ref: &MessageRef<'_>| {
            dialect.reply(&incoming.topic, join_ref, &incoming.reference, &Reply::Ok)
        };
        let Some(entry) = self.connections.get_mut(id).and_then(|open| open.by_topic(&incoming.topic)) else {
            return out.send(id, reply(&incoming.join_ref));
        };
        if !entry.channel.is_left_by(&incoming.join_ref) {
            return;
        }
        out.send(id, reply(entry.channel.push_ref()));
        out.send(id, closed_frame(dialect, entry));
        self.remove(out, id, &incoming.topic);
    }

    /// Takes a socket's channel out of everything.
    fn remove(&mut self, out: &mut dyn Outbox, id: ConnectionId, topic: &str) -> Option<Entry> {
        let connection = self.connections.get_mut(id)?;
        let join = connection.by_topic(topic)?.join;
        let entry = connection.remove(join)?;
        self.retire(out, id, &entry);
        Some(entry)
    }

    /// Takes a channel, which its socket no longer has, out of everything else.
    fn retire(&mut self, out: &mut dyn Outbox, id: ConnectionId, entry: &Entry) {
        let channel = self.channel_ref(id, entry.join);
        let name = self.rooms.name(entry.room).clone();
        if let Some(moved) = self.rooms.leave(entry.room, entry.place)
            && let Some(other) = self.connections.entry_mut(moved.connection, moved.join)
        {
            other.place = entry.place;
        }
        self.expiries.remove(&(entry.channel.claims().expires_at, id, entry.join));
        if entry.subscribed {
            self.feed.send(FeedCommand::Unsubscribe { channel });
        }
        if entry.channel.presence_payload().is_some() {
            let key = Arc::clone(entry.channel.presence_key());
            self.announce(
                out,
                PresenceUpdate { room: name, channel, key, tracked: None, wants_state: false },
            );
        } else if !entry.announced {
            self.unsent.forget(channel);
        }
    }

    /// Ends a channel with the reason. The socket stays.
    fn close(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, closing: &Closing) {
        let Some((connection, entry)) = self.connections.channel(self.channel_ref(id, join)) else { return };
        let dialect = connection.session.dialect;
        let topic = entry.channel.topic().clone();
        let message = code::closing_message(closing);
        let push_ref = entry.channel.push_ref();
        out.send(
            id,
            dialect.system(topic.as_str(), topic.sub(), push_ref, Extension::System, false, &message),
        );
        out.send(id, closed_frame(dialect, entry));
        self.remove(out, id, topic.as_str());
    }

    fn drain(&mut self, out: &mut dyn Outbox) {
        self.draining = true;
        for (id, connection) in self.connections.iter() {
            for entry in connection.channels() {
                out.send(id, connection.session.dialect.disconnecting(entry.channel.topic().as_str()));
            }
            out.close(id, code::CLOSE_RESTART.code, code::CLOSE_RESTART.reason);
        }
    }
}

/// Tokens.
impl Shard {
    fn refresh(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, token: String) {
        let claims = match self.links.verifier.verify(&token, (self.links.clock)()) {
            Ok(claims) => claims,
            Err(refusal) => return self.close(out, id, join, &Closing::Token(refusal.system_message)),
        };
        let channel = self.channel_ref(id, join);
        let feed_has_room = self.feed.has_room();
        let Some(connection) = self.connections.get(id) else { return };
        let dialect = connection.session.dialect;
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        if entry.subscribed && !feed_has_room {
            // The old claims must not live on in the feed. Clients join again, with the new token.
            let topic = entry.channel.topic().clone();
            out.send(id, dialect.crashed(topic.as_str(), entry.channel.join_ref()));
            self.remove(out, id, topic.as_str());
            return;
        }
        self.expiries.remove(&(entry.channel.claims().expires_at, id, join));
        self.expiries.insert((claims.expires_at, id, join));
        entry.channel.refresh(token.into(), Arc::clone(&claims));
        if entry.subscribed {
            self.feed.send(FeedCommand::Refresh { channel, claims });
        }
    }

    /// Closes the channels whose tokens have run out.
    fn expire(&mut self, out: &mut dyn Outbox) {
        if self.expiries.is_empty() {
            return;
        }
        let now_unix = (self.links.clock)();
        while let Some(&(expires_at, id, join)) = self.expiries.first() {
            if expires_at > now_unix {
                return;
            }
            self.expiries.pop_first();
            let Some((_, entry)) = self.connections.channel(self.channel_ref(id, join)) else { continue };
            if entry.channel.claims().expires_at > now_unix {
                continue;
            }
            match self.links.verifier.verify(entry.channel.token(), now_unix) {
                Err(refusal) => self.close(out, id, join, &Closing::Token(refusal.system_message)),
                // The verifier allows for clocks that differ: its word counts, and is asked for again.
                Ok(_) => {
                    self.expiries.insert((now_unix.saturating_add(1), id, join));
                }
            }
        }
    }
}

/// The feed of database changes.
impl Shard {
    fn feed_event(&mut self, out: &mut dyn Outbox, event: FeedEvent) {
        match event {
            FeedEvent::Changes(deliveries) => {
                for delivery in &deliveries {
                    for channel in delivery.channels.iter() {
                        if self.connections.channel(*channel).is_some() {
                            out.send(channel.connection, delivery.frame.clone());
                        }
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

/// Presence.
impl Shard {
    /// Tells the room's home what a channel tracks now.
    fn present(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, wants_state: bool) {
        let channel = self.channel_ref(id, join);
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let tracked = entry.channel.presence_payload().cloned();
        entry.announced |= tracked.is_some();
        let key = Arc::clone(entry.channel.presence_key());
        let room = self.rooms.name(entry.room).clone();
        self.announce(out, PresenceUpdate { room, channel, key, tracked, wants_state });
    }

    fn announce(&mut self, out: &mut dyn Outbox, update: PresenceUpdate) {
        let home = self.directory.home(&update.room);
        if self.draining {
            // Everybody is about to go: nobody needs to hear of each.
        } else if home == self.me {
            self.apply_presence(out, &update);
        } else if self.unsent.has_update(update.channel) {
            self.unsent.keep_update(update);
        } else if let Err(ShardCommand::Presence(update)) = self.send_to(home, ShardCommand::Presence(update))
        {
            self.counters.delayed_presence += 1;
            self.unsent.keep_update(update);
        }
    }

    /// As the home of a room: applies an update and tells all shards with members.
    fn apply_presence(&mut self, out: &mut dyn Outbox, update: &PresenceUpdate) {
        let room = &update.room;
        if let Some(payload) = self.homes.apply(update) {
            for shard in self.directory.shards_with(room) {
                self.tell(
                    out,
                    shard,
                    PresenceNews::Diff { room: room.clone(), payload: Arc::clone(&payload) },
                );
            }
        }
        if update.wants_state {
            let payload = self.homes.state(room);
            let state = PresenceNews::State { room: room.clone(), channel: Some(update.channel), payload };
            self.tell(out, update.channel.shard, state);
        }
    }

    /// As the home of a room: tells one shard, or notes that it must get the whole state later.
    fn tell(&mut self, out: &mut dyn Outbox, shard: u16, news: PresenceNews) {
        let (PresenceNews::Diff { room, .. } | PresenceNews::State { room, .. }) = &news;
        if shard == self.me {
            self.presence_news(out, &news);
        } else if self.unsent.has_room(shard, room) {
            self.counters.delayed_presence += 1;
        } else {
            let room = room.clone();
            if self.send_to(shard, ShardCommand::PresenceNews(news)).is_err() {
                self.counters.delayed_presence += 1;
                self.unsent.keep_room(shard, room);
            }
        }
    }

    /// As a shard with members: passes on what the home says.
    fn presence_news(&mut self, out: &mut dyn Outbox, news: &PresenceNews) {
        match news {
            PresenceNews::Diff { room, payload } => {
                if let Some(room) = self.rooms.find(room) {
                    self.rooms.presence_diff(out, room, payload);
                }
            }
            PresenceNews::State { channel: Some(channel), payload, .. } => {
                self.presence_state(out, *channel, payload);
            }
            PresenceNews::State { room, channel: None, payload } => {
                let Some(room) = self.rooms.find(room) else { return };
                let watchers =
                    self.rooms.members(room).iter().filter(|member| member.watch != Watch::DiffsOnly);
                let watchers: Vec<_> =
                    watchers.map(|member| self.channel_ref(member.connection, member.join)).collect();
                for channel in watchers {
                    self.presence_state(out, channel, payload);
                }
            }
        }
    }

    fn presence_state(&mut self, out: &mut dyn Outbox, channel: ChannelRef, payload: &str) {
        let Some((connection, entry)) = self.connections.channel(channel) else { return };
        let topic = entry.channel.topic().as_str();
        let dialect = connection.session.dialect;
        out.send(
            channel.connection,
            dialect.push(topic, entry.channel.push_ref(), "presence_state", payload),
        );
        self.rooms.set_watch(entry.room, entry.place, Watch::Live);
    }

    /// Tries again what did not fit into queues.
    fn flush_presence(&mut self, out: &mut dyn Outbox) {
        for update in self.unsent.take_updates().into_values() {
            self.announce(out, update);
        }
        for (shard, room) in self.unsent.take_rooms() {
            let payload = self.homes.state(&room);
            self.tell(out, shard, PresenceNews::State { room, channel: None, payload });
        }
    }

    /// A key for a channel that brought none, in the shape of a UUID.
    fn fresh_presence_key(&mut self) -> Arc<str> {
        self.presence_keys = self.presence_keys.wrapping_add(1);
        let half = |half: u8| self.directory.keyed(&(self.me, self.presence_keys, half)).to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half(0));
        bytes[8..].copy_from_slice(&half(1));
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string().into()
    }
}

fn unmatched(out: &mut dyn Outbox, id: ConnectionId, dialect: Dialect, incoming: &Incoming<'_>) {
    let reply = Reply::Refused(code::UNMATCHED_TOPIC.into());
    out.send(id, dialect.reply(&incoming.topic, &MessageRef::NULL, &incoming.reference, &reply));
}

fn closed_frame(dialect: Dialect, entry: &Entry) -> Bytes {
    dialect.closed(entry.channel.topic().as_str(), entry.channel.join_ref())
}

fn refusal_frames(
    dialect: Dialect,
    incoming: &Incoming<'_>,
    refusal: &Refusal,
    replaced: Option<Bytes>,
) -> Frames {
    let reply = Reply::Refused(code::join_reason(refusal));
    let reply = dialect.reply(&incoming.topic, &incoming.join_ref, &incoming.reference, &reply);
    std::iter::once(reply).chain(replaced).collect()
}

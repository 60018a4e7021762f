//! Joining and leaving.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Frames, HeldRefusal, Shard, closed_frame, unmatched};
use crate::channel::{Channel, Closing, Grant, JoinRequest, Refusal, Reply, Token, Topic, TopicError};
use crate::hub::rooms::{Hears, Member, Watch};
use crate::hub::session::Entry;
use crate::hub::waiting::{Admission, Attempt, Granted, Private, Seat};
use crate::hub::{ConnectionId, FeedCommand, Outbox, PresenceUpdate, Subscribe};
use crate::protocol::{Dialect, Extension, Incoming, code};
use crate::telemetry::report::report;

/// A larger answer to a refused join is not held back: what makes it large came from the client.
const HELD_BYTES_MAX: usize = 16_384;

/// Joining and leaving.
impl Shard {
    pub(super) fn join(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        dialect: Dialect,
        incoming: &Incoming<'_>,
        now: Instant,
    ) {
        let max = self.config.topic_bytes_max;
        let topic = match Topic::parse(&incoming.topic, max) {
            Ok(topic) => Ok(topic),
            Err(TopicError::Unmatched) => return unmatched(out, id, dialect, incoming),
            Err(TopicError::Empty) => Err(Refusal::TopicNameRequired),
            Err(TopicError::TooLong) => Err(Refusal::TopicTooLong(max)),
        };
        // A second join ends the first, whatever becomes of the second.
        let replaced = self.replace(out, id, dialect, &incoming.topic);
        let attempt = Attempt {
            id,
            dialect,
            topic: incoming.topic.as_ref().into(),
            join_ref: incoming.join_ref.to_static(),
            reference: incoming.reference.to_static(),
            arrived: now,
            replaced,
        };
        let nanos = self.directory.nanos(now);
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.has_tried = true;
        if !self.joins_per_socket.admits(&mut connection.joins_full_at, nanos) {
            self.count_refused(id, &Refusal::TooManyJoins);
            let frames = attempt.refusal_frames(&Refusal::TooManyJoins);
            return self.answer_refused(out, HeldRefusal { due: now, connection: id, frames, closes: true });
        }
        match topic.and_then(|topic| self.grant(id, topic, incoming)) {
            Ok(granted) if granted.request.private => {
                self.wait(out, attempt, granted, incoming.payload.bytes(), now);
            }
            Ok(granted) => match self.prepare(id, &granted) {
                Ok(()) => self.joined(out, attempt, granted, None, now),
                Err(refusal) => self.refuse(out, attempt, &refusal, now),
            },
            Err(refusal) => self.refuse(out, attempt, &refusal, now),
        }
    }

    /// Ends what the socket has on a topic, and answers the end that the client has yet to hear of.
    fn replace(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        dialect: Dialect,
        topic: &str,
    ) -> Option<Bytes> {
        if let Some(earlier) = self.remove_waiting(id, topic) {
            // One end can be kept back, and the older is the less needed.
            self.send_all(out, id, earlier.replaced.into_iter().collect());
            return Some(dialect.closed(topic, &earlier.join_ref));
        }
        self.remove(out, id, topic).map(|entry| closed_frame(dialect, &entry))
    }

    /// Every check that a join must pass, but for what only policies can say.
    fn grant(&mut self, id: ConnectionId, topic: Topic, incoming: &Incoming<'_>) -> Result<Granted, Refusal> {
        if self.draining {
            return Err(Refusal::Restarting);
        }
        self.try_join(id)?;
        let connection = self.connections.get_mut(id).ok_or(Refusal::TooManyChannels)?;
        if connection.channel_count() >= self.config.channels_per_socket_max {
            return Err(Refusal::TooManyChannels);
        }
        let request = JoinRequest::parse(&topic, incoming.payload, &self.config.join)?;
        if self.config.private_only && !request.private {
            return Err(Refusal::PrivateOnly);
        }
        let token = match &request.token {
            Some(Token(token)) => Arc::from(token.as_str()),
            None => Arc::clone(&connection.session.token),
        };
        let verified = self.links.verifier.verify(&token, (self.links.clock)());
        let claims = verified.map_err(|refusal| Refusal::Token(refusal.join_reason))?;
        let join = connection.next_join().ok_or(Refusal::TooManyJoins)?;
        Ok(Granted { join, topic, request, token, claims })
    }

    /// The checks that are made last, when nothing else keeps a join from becoming a channel.
    pub(super) fn prepare(&mut self, id: ConnectionId, granted: &Granted) -> Result<(), Refusal> {
        if !granted.request.bindings.is_empty() && !self.feed.has_room() {
            return Err(Refusal::FeedBusy);
        }
        self.enter_user(id)
    }

    /// Makes a channel of a join. A private one has its admission.
    pub(super) fn joined(
        &mut self,
        out: &mut dyn Outbox,
        attempt: Attempt,
        granted: Granted,
        admission: Option<Admission>,
        now: Instant,
    ) {
        let Attempt { id, dialect, join_ref, reference, replaced, .. } = attempt;
        let Granted { join, topic, mut request, token, claims } = granted;
        let takes_presence = self.takes_presence(&request);
        let presence_key = match request.presence_key.take() {
            Some(key) => key.into(),
            None => self.fresh_presence_key(),
        };
        let grant = Grant {
            topic: topic.clone(),
            join_ref: &join_ref,
            reference: &reference,
            token,
            claims: Arc::clone(&claims),
            presence_key,
            read: admission.as_ref().map(|admission| admission.read),
            takes_presence,
        };
        let channel = Channel::new(grant, &request);
        let watch = match channel.reads().presence {
            false => Watch::Nothing,
            true if takes_presence => Watch::AwaitsState,
            true => Watch::DiffsOnly,
        };
        let hears = if channel.reads().broadcast { Hears::Everything } else { Hears::Nothing };
        let seat = match admission.as_ref().and_then(|admission| admission.seat) {
            Some(seat) => {
                self.rooms.set_watch(seat.room, seat.place, watch);
                seat
            }
            None => {
                self.enter(&topic, request.private, Member { connection: id, join, dialect, watch, hears })
            }
        };
        let subscribed = !request.bindings.is_empty();
        self.expiries.insert((claims.expires_at, id, join));
        let (private, frames) = match admission {
            Some(Admission { source, basis, frames, .. }) => (
                Some(Box::new(Private {
                    source,
                    read_basis: basis,
                    granted_at: Some(now),
                    ..Private::default()
                })),
                frames,
            ),
            None => (None, Vec::new()),
        };
        let Seat { room, place } = seat;
        let device = self.device(&claims);
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.add(Entry { join, room, place, subscribed, announced: false, channel, private, device });
        self.counters.joins.add(1);
        self.counters.channels.add(1);

        let reply = Reply::Joined(request.bindings_with_ids());
        out.send(id, dialect.reply(topic.as_str(), &join_ref, &reference, &reply));
        if let Some(frame) = replaced {
            out.send(id, frame);
        }
        frames.into_iter().for_each(|frame| out.send(id, frame));
        if subscribed {
            self.feed.send(FeedCommand::Subscribe(Subscribe {
                channel: self.channel_ref(id, join),
                topic: Arc::clone(topic.shared()),
                dialect,
                legacy: request.legacy,
                whole_deleted: false,
                claims,
                bindings: request.bindings,
            }));
        }
        if request.replication_ready {
            self.tell_when_live(out, id, join, now);
        }
        if watch == Watch::AwaitsState && self.admit_presence(out, id, join) {
            self.present(out, id, join, true);
        }
    }

    /// Whether a channel takes part in presence from the join on.
    pub(super) fn takes_presence(&self, request: &JoinRequest) -> bool {
        request.presence_enabled || self.config.presence_for_all
    }

    pub(super) fn enter(&mut self, topic: &Topic, private: bool, member: Member) -> Seat {
        let (room, place) = self.rooms.enter(self.directory.room(topic, private), member);
        Seat { room, place }
    }

    pub(super) fn refuse(&mut self, out: &mut dyn Outbox, attempt: Attempt, refusal: &Refusal, now: Instant) {
        let (id, arrived) = (attempt.id, attempt.arrived);
        self.count_refused(id, refusal);
        let frames = attempt.refusal_frames(refusal);
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let is_full = self.refusals.len() >= self.config.refusals_pending_max;
        // Counted from the join, or one that has waited for policies would be answered too late for its client.
        let due = arrived.checked_add(self.config.refusal_delay).unwrap_or(now);
        let closes = matches!(refusal, Refusal::TooManyJoins);
        let held = HeldRefusal { due, connection: id, frames, closes };
        if due <= now || is_full || bytes > HELD_BYTES_MAX {
            return self.answer_refused(out, held);
        }
        let place = self.refusals.partition_point(|other| other.due <= due);
        self.refusals.insert(place, held);
    }

    fn count_refused(&self, id: ConnectionId, refusal: &Refusal) {
        self.counters.refused_joins.add(1);
        report!(info, code::of_refusal(refusal), socket = %id, "join refused");
    }

    /// Answers a refused join, and closes the socket where that goes with it.
    pub(super) fn answer_refused(&mut self, out: &mut dyn Outbox, held: HeldRefusal) {
        let id = held.connection;
        self.send_all(out, id, held.frames);
        if held.closes && self.connections.get(id).is_some() {
            out.close(id, code::CLOSE_JOIN_RATE.code, code::CLOSE_JOIN_RATE.reason);
            self.closed(out, id);
        }
    }

    pub(super) fn leave(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        dialect: Dialect,
        incoming: &Incoming<'_>,
        now: Instant,
    ) {
        let Some(entry) = self.connections.get_mut(id).and_then(|open| open.by_topic(&incoming.topic)) else {
            return self.leave_waiting(out, id, dialect, incoming);
        };
        if !entry.channel.is_left_by(&incoming.join_ref) {
            return;
        }
        let join = entry.join;
        if !self.hold_leave(id, join, &incoming.reference, now) {
            self.end(out, id, join, dialect, &incoming.reference);
        }
    }

    /// Takes a socket's channel out of everything.
    pub(super) fn remove(&mut self, out: &mut dyn Outbox, id: ConnectionId, topic: &str) -> Option<Entry> {
        let connection = self.connections.get_mut(id)?;
        let join = connection.by_topic(topic)?.join;
        let entry = connection.remove(join)?;
        self.retire(out, id, &entry);
        Some(entry)
    }

    /// Takes a channel, which its socket no longer has, out of everything else.
    pub(super) fn retire(&mut self, out: &mut dyn Outbox, id: ConnectionId, entry: &Entry) {
        self.counters.channels.subtract(1);
        let channel = self.channel_ref(id, entry.join);
        let name = self.rooms.name(entry.room).clone();
        self.vacate(Seat { room: entry.room, place: entry.place });
        self.expiries.remove(&(entry.channel.claims().expires_at, id, entry.join));
        self.forget_private(id, entry);
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

    /// Takes a channel out of its room.
    pub(super) fn vacate(&mut self, seat: Seat) {
        if let Some(moved) = self.rooms.leave(seat.room, seat.place)
            && let Some(place) = self.connections.room_place_mut(moved.connection, moved.join)
        {
            *place = seat.place;
        }
    }

    /// Ends a channel with the reason. The socket stays.
    pub(super) fn close(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, closing: &Closing) {
        let Some((connection, entry)) = self.connections.channel(self.channel_ref(id, join)) else { return };
        let dialect = connection.session.dialect;
        let topic = entry.channel.topic().clone();
        report!(info, code::of_closing(closing), socket = %id, "channel ended");
        let message = code::closing_message(closing);
        let push_ref = entry.channel.push_ref();
        out.send(
            id,
            dialect.system(topic.as_str(), topic.sub(), push_ref, Extension::System, false, &message),
        );
        out.send(id, closed_frame(dialect, entry));
        self.remove(out, id, topic.as_str());
    }

    pub(super) fn drain(&mut self, out: &mut dyn Outbox) {
        self.draining = true;
        self.disconnect(out);
    }

    pub(super) fn disconnect(&mut self, out: &mut dyn Outbox) {
        for (id, connection) in self.connections.iter() {
            for entry in connection.channels() {
                out.send(id, connection.session.dialect.disconnecting(entry.channel.topic().as_str()));
            }
            out.close(id, code::CLOSE_RESTART.code, code::CLOSE_RESTART.reason);
        }
        // One by one: those that share a room tell each other when their places change.
        for (id, join) in self.connections.all_waiting() {
            let waiting = self.connections.unpark(id, join);
            self.forget_waiting(waiting);
        }
    }
}

impl Attempt {
    fn refusal_frames(self, refusal: &Refusal) -> Frames {
        let Self { dialect, topic, join_ref, reference, replaced, .. } = self;
        let reply = Reply::Refused(code::join_reason(refusal));
        let reply = dialect.reply(&topic, &join_ref, &reference, &reply);
        std::iter::once(reply).chain(replaced).collect()
    }
}

//! Joining, leaving and the tokens that channels live by.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Frames, HeldRefusal, Shard, closed_frame, unmatched};
use crate::channel::{
    Channel, Closing, Grant, JoinRequest, MessageRef, Refusal, Reply, Token, Topic, TopicError,
};
use crate::hub::rooms::{Member, Watch};
use crate::hub::session::Entry;
use crate::hub::{ConnectionId, FeedCommand, Outbox, PresenceUpdate, Subscribe};
use crate::policy::Claims;
use crate::protocol::{Dialect, Extension, Incoming, code};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// A larger answer to a refused join is not held back: what makes it large came from the client.
const HELD_BYTES_MAX: usize = 16_384;

/// A join that has passed every check.
struct Granted {
    join: u32,
    request: JoinRequest,
    token: Arc<str>,
    claims: Arc<Claims>,
}

/// One `phx_join`, whatever becomes of it.
struct Attempt<'a> {
    id: ConnectionId,
    dialect: Dialect,
    incoming: &'a Incoming<'a>,
    now: Instant,
    /// The end of the channel that the socket had on this topic. The client hears of it after the answer, so
    /// that it is not taken for the end of the new one.
    replaced: Option<Bytes>,
}

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
        let replaced = self.remove(out, id, &incoming.topic).map(|entry| closed_frame(dialect, &entry));
        let attempt = Attempt { id, dialect, incoming, now, replaced };
        let nanos = self.directory.nanos(now);
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !self.joins_per_socket.admits(&mut connection.joins_full_at, nanos) {
            self.count_refused(id, &Refusal::TooManyJoins);
            let frames = attempt.refusal_frames(&Refusal::TooManyJoins);
            return self.answer_refused(out, HeldRefusal { due: now, connection: id, frames, closes: true });
        }
        match topic.and_then(|topic| self.grant(id, &topic, incoming).map(|granted| (topic, granted))) {
            Ok((topic, granted)) => self.joined(out, attempt, topic, granted),
            Err(refusal) => self.refuse(out, attempt, &refusal),
        }
    }

    /// Every check that a join must pass.
    fn grant(
        &mut self,
        id: ConnectionId,
        topic: &Topic,
        incoming: &Incoming<'_>,
    ) -> Result<Granted, Refusal> {
        if self.draining {
            return Err(Refusal::Restarting);
        }
        self.try_join(id)?;
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
        self.enter_user(id)?;
        Ok(Granted { join, request, token, claims })
    }

    fn joined(&mut self, out: &mut dyn Outbox, attempt: Attempt<'_>, topic: Topic, granted: Granted) {
        let Attempt { id, dialect, incoming, replaced, .. } = attempt;
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
        self.counters.joins.add(1);
        self.counters.channels.add(1);

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
        if wants_state && self.admit_presence(out, id, join) {
            self.present(out, id, join, true);
        }
    }

    fn refuse(&mut self, out: &mut dyn Outbox, attempt: Attempt<'_>, refusal: &Refusal) {
        let Attempt { id, now, .. } = attempt;
        self.count_refused(id, refusal);
        let frames = attempt.refusal_frames(refusal);
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let is_full = self.refusals.len() >= self.config.refusals_pending_max;
        let due = now.checked_add(self.config.refusal_delay).unwrap_or(now);
        let closes = matches!(refusal, Refusal::TooManyJoins);
        let held = HeldRefusal { due, connection: id, frames, closes };
        if self.config.refusal_delay.is_zero() || is_full || bytes > HELD_BYTES_MAX {
            return self.answer_refused(out, held);
        }
        self.refusals.push_back(held);
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
    ) {
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
    pub(super) fn retire(&mut self, out: &mut dyn Outbox, id: ConnectionId, entry: &Entry) {
        self.counters.channels.subtract(1);
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
    pub(super) fn refresh(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, token: String) {
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
            report!(warn, Code::InitializingProjectConnection, socket = %id, "channel ended: the feed is behind");
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
    pub(super) fn expire(&mut self, out: &mut dyn Outbox) {
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

impl Attempt<'_> {
    fn refusal_frames(self, refusal: &Refusal) -> Frames {
        let Self { dialect, incoming, replaced, .. } = self;
        let reply = Reply::Refused(code::join_reason(refusal));
        let reply = dialect.reply(&incoming.topic, &incoming.join_ref, &incoming.reference, &reply);
        std::iter::once(reply).chain(replaced).collect()
    }
}

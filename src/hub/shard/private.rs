//! Private joins: each waits for what policies let it read, and nothing waits for it.
//!
//! A join that asks for stored broadcasts enters its room before they are read, so that none falls between what
//! is stored and what is sent; what was committed before they were read is not sent to it after them, however late it
//! comes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Shard;
use crate::channel::{MessageRef, Refusal, Reply, Rights, Unanswered};
use crate::hub::authorization::{
    Answer, AuthorizationError, Authorized, Inquiry, Question, Replayed, ReplyTo, Stored,
};
use crate::hub::engine::Basis;
use crate::hub::rooms::{Hears, Member, Watch};
use crate::hub::waiting::{Admission, Ask, Attempt, Awaited, Granted, Seat, Source, Waiting};
use crate::hub::{ChannelRef, ConnectionId, Outbox};
use crate::policy::Claims;
use crate::protocol::{Dialect, Incoming};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// Joins that wait.
impl Shard {
    /// Has a join wait for what it may read.
    pub(super) fn wait(
        &mut self,
        out: &mut dyn Outbox,
        attempt: Attempt,
        granted: Granted,
        payload_bytes: usize,
        now: Instant,
    ) {
        let due = now.checked_add(self.config.authorization_wait).unwrap_or(now);
        let mut waiting = Waiting {
            attempt,
            granted,
            ask: Ask::new(due, false),
            inquiries: 0,
            replay: None,
            payload_bytes,
            source: Source::Postgres,
            basis: Basis::default(),
        };
        let (read, basis) = self.judge_join(&waiting);
        waiting.basis = basis;
        if let Some(read) = read.filter(|_| waiting.granted.request.replay.is_none()) {
            self.counters.reads_judged.add(1);
            waiting.source = Source::Memory;
            return self.join_may_read(out, waiting, read, now);
        }
        let total = self.connections.waiting_total();
        if total.joins >= self.config.joins_waiting_max
            || total.payload_bytes + payload_bytes > self.config.joins_waiting_bytes_max
        {
            return self.refuse(out, waiting.attempt, &Refusal::Unanswered(Unanswered::Busy), now);
        }
        self.deadlines.insert((due, waiting.attempt.id, waiting.join(), Awaited::Read));
        match read {
            Some(read) => {
                self.counters.reads_judged.add(1);
                waiting.source = Source::Memory;
                self.join_may_read(out, waiting, read, now);
            }
            None => {
                self.counters.reads_asked.add(1);
                self.ask_for_join(out, waiting, Question::Read, now);
            }
        }
    }

    /// Asks for a join, and has it wait; refuses it if it cannot be asked.
    fn ask_for_join(&mut self, out: &mut dyn Outbox, mut waiting: Waiting, question: Question, now: Instant) {
        let (id, join) = (waiting.attempt.id, waiting.join());
        waiting.inquiries = waiting.inquiries.wrapping_add(1);
        waiting.ask.number = Some(waiting.inquiries);
        waiting.ask.epoch = Some(self.policy_epoch);
        let channel = self.channel_ref(id, join);
        let Granted { topic, claims, .. } = &waiting.granted;
        match self.ask(channel, claims, topic.sub(), question, waiting.inquiries) {
            Ok(()) => self.connections.park(waiting),
            Err(error) => self.refuse_waiting(out, waiting, &error, now),
        }
    }

    /// Puts a question about a channel.
    pub(super) fn ask(
        &self,
        channel: ChannelRef,
        claims: &Arc<Claims>,
        sub_topic: &str,
        question: Question,
        inquiry: u32,
    ) -> Result<(), AuthorizationError> {
        let subject = self.subject(channel.connection, claims, sub_topic);
        self.links.authorizer.ask(Inquiry { subject, question, reply: ReplyTo::Channel { channel, inquiry } })
    }

    /// An answer. One that nobody waits for any more is ignored.
    pub(super) fn authorized(&mut self, out: &mut dyn Outbox, authorized: Authorized, now: Instant) {
        let Authorized { channel, inquiry, result, .. } = authorized;
        if let Err(AuthorizationError::Policy(sqlstate)) = &result {
            report!(warn, Code::RlsPolicyError, %sqlstate, "a policy on realtime.messages could not be evaluated");
        }
        let (id, join) = (channel.connection, channel.join);
        let waiting = self.connections.waiting(id, join);
        if waiting.is_some_and(|waiting| waiting.ask.number == Some(inquiry)) {
            if let Some(waiting) = self.connections.unpark(id, join) {
                self.join_answered(out, waiting, result, now);
            }
        } else {
            self.channel_answered(out, channel, inquiry, result, now);
        }
    }

    fn join_answered(
        &mut self,
        out: &mut dyn Outbox,
        mut waiting: Waiting,
        result: Result<Answer, AuthorizationError>,
        now: Instant,
    ) {
        if waiting.ask.epoch != Some(self.policy_epoch) {
            // Policies have changed since it was asked, perhaps before it was answered.
            return self.ask_for_join(out, waiting, Question::Read, now);
        }
        match (result, waiting.replay) {
            (Ok(Answer::Rights(read)), _) => {
                waiting.source = Source::Postgres;
                self.join_may_read(out, waiting, read, now);
            }
            (Ok(Answer::Stored(replayed)), Some((read, seat))) => {
                self.join_replayed(out, waiting, read, seat, replayed, now);
            }
            (Ok(Answer::Stored(_)), None) => {
                self.refuse_waiting(out, waiting, &AuthorizationError::Unavailable, now);
            }
            (Err(error), _) => self.refuse_waiting(out, waiting, &error, now),
        }
    }

    /// It is known what a join may read.
    pub(super) fn join_may_read(
        &mut self,
        out: &mut dyn Outbox,
        mut waiting: Waiting,
        read: Rights,
        now: Instant,
    ) {
        let request = &waiting.granted.request;
        let takes_presence = self.takes_presence(request);
        let needed = request.replay.is_some();
        if !read.broadcast && (needed || !(read.presence && takes_presence)) {
            let refusal = Refusal::Unauthorized(waiting.granted.topic.sub().into());
            let attempt = self.abandon(waiting);
            return self.refuse(out, attempt, &refusal, now);
        }
        let Some(replay) = request.replay else {
            return self.admit(out, waiting, (read, None, Vec::new()), now);
        };
        let Attempt { id, dialect, .. } = waiting.attempt;
        let member = Member {
            connection: id,
            join: waiting.join(),
            dialect,
            watch: Watch::Nothing,
            hears: Hears::Replay,
        };
        let seat = match waiting.replay {
            Some((_, seat)) => seat,
            None => self.enter(&waiting.granted.topic, true, member),
        };
        waiting.replay = Some((read, seat));
        let question = Question::Replay { since_unix_ms: replay.since_unix_ms, limit: replay.limit };
        self.ask_for_join(out, waiting, question, now);
    }

    /// Has what is stored followed by what was sent meanwhile and is not older than the reading.
    fn join_replayed(
        &mut self,
        out: &mut dyn Outbox,
        waiting: Waiting,
        read: Rights,
        seat: Seat,
        replayed: Replayed,
        now: Instant,
    ) {
        let Replayed { rows, seen } = replayed;
        let Some(missed) = self.rooms.finish_replay(seat.room, seat.place, seen) else {
            let attempt = self.abandon(waiting);
            return self.refuse(out, attempt, &Refusal::ReplayFailed, now);
        };
        let Attempt { dialect, topic, join_ref, reference, .. } = &waiting.attempt;
        let push_ref = if join_ref.is_null() { reference } else { join_ref };
        let replayed = rows.iter().filter_map(|message| replayed_frame(*dialect, topic, push_ref, message));
        let frames = replayed.chain(missed).collect();
        self.admit(out, waiting, (read, Some(seat), frames), now);
    }

    /// Makes a channel of a join that has waited long enough for its token to have run out.
    fn admit(
        &mut self,
        out: &mut dyn Outbox,
        waiting: Waiting,
        (read, seat, frames): (Rights, Option<Seat>, Vec<Bytes>),
        now: Instant,
    ) {
        let verified = self.links.verifier.verify(&waiting.granted.token, (self.links.clock)());
        if let Err(refusal) = verified {
            let attempt = self.abandon(waiting);
            return self.refuse(out, attempt, &Refusal::Token(refusal.join_reason), now);
        }
        if let Err(refusal) = self.prepare(waiting.attempt.id, &waiting.granted) {
            let attempt = self.abandon(waiting);
            return self.refuse(out, attempt, &refusal, now);
        }
        self.forget_deadline(&waiting);
        let (source, basis) = (waiting.source, waiting.basis);
        let admission = Admission { read, source, basis, seat, frames };
        self.joined(out, waiting.attempt, waiting.granted, Some(admission), now);
    }

    /// Refuses a join that waited and got no answer.
    pub(super) fn refuse_waiting(
        &mut self,
        out: &mut dyn Outbox,
        waiting: Waiting,
        error: &AuthorizationError,
        now: Instant,
    ) {
        let refusal = match (waiting.replay, unanswered(error)) {
            (Some(_), _) if *error == AuthorizationError::SinceOutOfRange => Refusal::ReplayInvalid,
            (Some(_), _) => Refusal::ReplayFailed,
            (None, Some(why)) => Refusal::Unanswered(why),
            (None, None) => Refusal::Unauthorized(waiting.granted.topic.sub().into()),
        };
        let attempt = self.abandon(waiting);
        self.refuse(out, attempt, &refusal, now);
    }

    /// A join waits no longer, and has come to nothing.
    fn abandon(&mut self, waiting: Waiting) -> Attempt {
        if let Some((_, seat)) = waiting.replay {
            self.vacate(seat);
        }
        self.forget_deadline(&waiting);
        waiting.attempt
    }

    fn forget_deadline(&mut self, waiting: &Waiting) {
        self.deadlines.remove(&(waiting.ask.due, waiting.attempt.id, waiting.join(), Awaited::Read));
    }

    /// Forgets the join of a topic that waits.
    pub(super) fn remove_waiting(&mut self, id: ConnectionId, topic: &str) -> Option<Attempt> {
        let join = self.connections.get(id)?.waiting_by_topic(topic)?.join();
        let waiting = self.connections.unpark(id, join)?;
        Some(self.abandon(waiting))
    }

    /// A leave of a topic that is not joined, or not yet.
    pub(super) fn leave_waiting(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        dialect: Dialect,
        incoming: &Incoming<'_>,
    ) {
        let waiting = self.connections.get(id).and_then(|open| open.waiting_by_topic(&incoming.topic));
        let overtaken = waiting.is_some_and(|waiting| {
            !incoming.join_ref.is_null() && waiting.attempt.join_ref != incoming.join_ref
        });
        if overtaken {
            return;
        }
        let reply = dialect.reply(&incoming.topic, &incoming.join_ref, &incoming.reference, &Reply::Ok);
        out.send(id, reply);
        if let Some(attempt) = self.remove_waiting(id, &incoming.topic) {
            let closed = dialect.closed(&incoming.topic, &attempt.join_ref);
            self.send_all(out, id, std::iter::once(closed).chain(attempt.replaced).collect());
        }
    }

    /// Drops joins without an answer: their socket is gone, or is about to be.
    pub(super) fn forget_waiting(&mut self, waiting: impl IntoIterator<Item = Waiting>) {
        for waiting in waiting {
            self.abandon(waiting);
        }
    }
}

/// A stored broadcast, for one channel; `None` when it cannot be shown in its dialect.
fn replayed_frame(
    dialect: Dialect,
    topic: &str,
    push_ref: &MessageRef<'_>,
    message: &Stored,
) -> Option<Bytes> {
    let meta = format!("{{\"id\":\"{}\",\"replayed\":true}}", message.id);
    dialect.replayed(topic, push_ref, &message.event, &message.body, &meta)
}

/// Why there is no answer, in the words for clients; `None` when it is that policies do not allow it.
pub(super) fn unanswered(error: &AuthorizationError) -> Option<Unanswered> {
    match error {
        AuthorizationError::Busy => Some(Unanswered::Busy),
        AuthorizationError::Unavailable => Some(Unanswered::Unreachable),
        AuthorizationError::NoConnections => Some(Unanswered::NoConnections),
        AuthorizationError::Canceled => Some(Unanswered::Canceled),
        AuthorizationError::MissingPartition => Some(Unanswered::MissingPartition),
        AuthorizationError::Policy(_) | AuthorizationError::SinceOutOfRange => None,
    }
}

//! What joined private channels may do: asked at their first message, after a new token, and after policies have
//! changed.
//!
//! Until the answer is there a channel goes on with what it could read before, but not for long: a question that
//! is not answered in time ends the channel, because doubt denies.

use std::time::{Duration, Instant};

use super::Shard;
use super::private::unanswered;
use crate::channel::{Closing, Rights, Unanswered};
use crate::hub::authorization::{Answer, AuthorizationError, Question};
use crate::hub::rooms::Watch;
use crate::hub::waiting::{Ask, Awaited, Source};
use crate::hub::{ChannelRef, ConnectionId, Outbox};

/// How long to wait before a question that got no answer is put again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What joined channels wait for.
impl Shard {
    /// A channel has a new token: what it may read is asked again, what it may send is forgotten.
    pub(super) fn reauthorize(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, now: Instant) {
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let Some(private) = &mut entry.private else { return };
        // One question at a time: an answer about the old token only lets the next question be put.
        if let Some(write) = &mut private.write {
            write.epoch = None;
        } else {
            entry.channel.set_write(None);
        }
        if self.judge_again(out, id, join, now) {
            return;
        }
        self.counters.reads_asked.add(1);
        let due = now.checked_add(self.config.authorization_wait).unwrap_or(now);
        let Some(private) = self.private_mut(id, join) else { return };
        let earlier = private.read.replace(Ask::new(due, false));
        if let Some(earlier) = earlier {
            let due = due.min(earlier.due);
            private.read = Some(Ask { due, epoch: None, patient: false, ..earlier });
            self.deadlines.remove(&(earlier.due, id, join, Awaited::Read));
            self.deadlines.insert((due, id, join, Awaited::Read));
            return;
        }
        self.deadlines.insert((due, id, join, Awaited::Read));
        if self.ask_read(id, join).is_err() {
            self.unasked.push_back((now, id, join));
        }
    }

    /// Policies, roles or rights have changed: every private channel is asked about again, a few at a time.
    pub(super) fn policies_changed(&mut self, now: Instant) {
        self.policy_epoch += 1;
        let due = now.checked_add(self.config.review_wait).unwrap_or(now);
        for (connection, entry) in self.connections.entries_mut() {
            let Some(private) = &mut entry.private else { continue };
            if private.write.is_none() {
                entry.channel.set_write(None);
            }
            // One that is being asked is asked again when its answer comes, which is too old by then.
            if private.read.is_none() {
                private.read = Some(Ask::new(due, true));
                self.deadlines.insert((due, connection, entry.join, Awaited::Read));
                self.unasked.push_back((now, connection, entry.join));
            }
        }
    }

    /// Puts questions that have not been put, as many as may be in one go.
    pub(super) fn ask_unasked(&mut self, now: Instant) {
        for _ in 0..self.config.reviews_per_tick {
            let Some(&(from, id, join)) = self.unasked.front() else { return };
            if from > now {
                return;
            }
            // A queue that is full will have room another time; whatever else keeps the question from being put
            // is noticed when it is due.
            if self.ask_read(id, join) == Err(AuthorizationError::Busy) {
                return;
            }
            self.unasked.pop_front();
        }
    }

    /// Puts the question what a channel may read, unless it has been put or nobody waits for it.
    pub(super) fn ask_read(&mut self, id: ConnectionId, join: u32) -> Result<(), AuthorizationError> {
        let epoch = self.policy_epoch;
        let Some(private) = self.private_mut(id, join) else { return Ok(()) };
        let Some(read) = private.read.filter(|read| read.number.is_none()) else { return Ok(()) };
        private.inquiries = private.inquiries.wrapping_add(1);
        let inquiry = private.inquiries;
        private.read = Some(Ask { number: Some(inquiry), epoch: Some(epoch), ..read });
        let asked = self.ask_about(id, join, Question::Read, inquiry);
        if let Err(error) = &asked
            && let Some(private) = self.private_mut(id, join)
        {
            private.read = Some(Ask { number: None, failed: unanswered(error), ..read });
        }
        asked
    }

    /// Puts the question what a channel may send; if that cannot be done, nothing that waits is sent.
    pub(super) fn ask_write(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, now: Instant) {
        let epoch = self.policy_epoch;
        let due = now.checked_add(self.config.authorization_wait).unwrap_or(now);
        let Some(private) = self.private_mut(id, join) else { return };
        private.inquiries = private.inquiries.wrapping_add(1);
        let inquiry = private.inquiries;
        // Whoever asks again waits no longer for it.
        let due = private.write.map_or(due, |write| write.due);
        self.counters.writes_asked.add(1);
        let Some(private) = self.private_mut(id, join) else { return };
        private.write = Some(Ask { number: Some(inquiry), epoch: Some(epoch), ..Ask::new(due, false) });
        self.deadlines.insert((due, id, join, Awaited::Write));
        if self.ask_about(id, join, Question::Write, inquiry).is_err() {
            self.write_answered(out, id, join, None);
        }
    }

    fn ask_about(
        &self,
        id: ConnectionId,
        join: u32,
        question: Question,
        inquiry: u32,
    ) -> Result<(), AuthorizationError> {
        let channel = self.channel_ref(id, join);
        let Some((_, entry)) = self.connections.channel(channel) else { return Ok(()) };
        self.ask(channel, entry.channel.claims(), entry.channel.topic().sub(), question, inquiry)
    }

    /// An answer about a joined channel, unless it is one to an earlier question.
    pub(super) fn channel_answered(
        &mut self,
        out: &mut dyn Outbox,
        channel: ChannelRef,
        inquiry: u32,
        result: Result<Answer, AuthorizationError>,
        now: Instant,
    ) {
        let (id, join) = (channel.connection, channel.join);
        let epoch = self.policy_epoch;
        let Some(private) = self.private_mut(id, join) else { return };
        let asked = |ask: Option<Ask>| ask.filter(|ask| ask.number == Some(inquiry));
        if let Some(read) = asked(private.read) {
            if read.epoch == Some(epoch) {
                return self.read_answered(out, channel, read, result, now);
            }
            private.read = Some(Ask { number: None, ..read });
            self.unasked.push_back((now, id, join));
        } else if let Some(write) = asked(private.write) {
            if write.epoch == Some(epoch) {
                let rights = if let Ok(Answer::Rights(rights)) = result { Some(rights) } else { None };
                return self.write_answered(out, id, join, rights);
            }
            self.ask_write(out, id, join, now);
        }
    }

    fn read_answered(
        &mut self,
        out: &mut dyn Outbox,
        channel: ChannelRef,
        read: Ask,
        result: Result<Answer, AuthorizationError>,
        now: Instant,
    ) {
        let (id, join) = (channel.connection, channel.join);
        let why = match result {
            Ok(Answer::Rights(rights)) => {
                self.deadlines.remove(&(read.due, id, join, Awaited::Read));
                return self.answered_review(out, id, join, rights);
            }
            // No answer to this question.
            Ok(Answer::Stored(_)) => Some(Unanswered::Unreachable),
            Err(error) => unanswered(&error),
        };
        match why {
            Some(why) if read.patient => {
                let Some(private) = self.private_mut(id, join) else { return };
                private.read = Some(Ask { number: None, failed: Some(why), ..read });
                self.unasked.push_back((now.checked_add(RETRY_AFTER).unwrap_or(now), id, join));
            }
            Some(why) => self.close(out, id, join, &Closing::Unanswered(why)),
            // A policy that cannot be evaluated allows nothing.
            None => self.answered_review(out, id, join, Rights::default()),
        }
    }

    /// Postgres has said what a channel may read now.
    fn answered_review(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, read: Rights) {
        if let Some(private) = self.private_mut(id, join) {
            private.read = None;
            private.source = Source::Postgres;
        }
        self.take_review(out, id, join, read);
    }

    /// It is known what a channel may read now.
    pub(super) fn take_review(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, read: Rights) {
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let gained = match entry.channel.review(read) {
            Ok(gained) => gained,
            Err(closing) => {
                self.counters.revoked_channels.add(1);
                if entry.private.as_ref().and_then(|private| private.pause).is_some_and(|pause| !pause.keeps)
                {
                    self.counters.revoked_in_order.add(1);
                }
                return self.close(out, id, join, &closing);
            }
        };
        self.resume(out, id, join);
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let (room, place) = (entry.room, entry.place);
        if gained.broadcast {
            self.rooms.hear(room, place);
        }
        if gained.presence && self.admit_presence(out, id, join) {
            self.rooms.set_watch(room, place, Watch::AwaitsState);
            self.present(out, id, join, true);
        }
    }

    /// Something had to have been answered by now.
    pub(super) fn overdue(&mut self, out: &mut dyn Outbox, now: Instant) {
        while let Some(&(due, id, join, awaited)) = self.deadlines.first() {
            if due > now {
                return;
            }
            self.deadlines.pop_first();
            if let Some(waiting) = self.connections.unpark(id, join) {
                self.refuse_waiting(out, waiting, &AuthorizationError::Busy, now);
                continue;
            }
            let Some(private) = self.private_mut(id, join) else { continue };
            match awaited {
                Awaited::Read => {
                    let Some(read) = private.read.filter(|read| read.due <= now) else { continue };
                    self.close(out, id, join, &Closing::Unanswered(read.failed.unwrap_or(Unanswered::Busy)));
                }
                Awaited::Write => self.write_answered(out, id, join, None),
            }
        }
    }
}

//! What compiled policies say of private channels, in memory.
//!
//! A grant is taken at once. A denial is not: whoever was let in a moment ago may be ahead of the stream, so Postgres is
//! asked. What the stream takes away it takes away in its order: the feed's word comes before anything that was
//! committed later, and the channel hears nothing of that, whether it is ended at once or Postgres has to be asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shard;
use crate::channel::{Closing, Rights, Unanswered};
use crate::hub::authorization::{Question, Subject};
use crate::hub::engine::{Basis, Judged, Recheck};
use crate::hub::rooms::Watch;
use crate::hub::waiting::{Ask, Awaited, Pause, Source, Waiting};
use crate::hub::{ConnectionId, Outbox};
use crate::policy::Claims;
use crate::policy::function::Moment;

/// What a commit takes away from a channel that was let in less than this ago may have been given back before it was:
/// Postgres is asked before it is ended.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// From 1970 to 2000, in seconds.
const EPOCH_SECONDS: i64 = 946_684_800;

/// Judging.
impl Shard {
    /// Who asks on a socket.
    pub(super) fn subject(&self, id: ConnectionId, claims: &Arc<Claims>, sub_topic: &str) -> Subject {
        let headers = self.connections.get(id).map(|open| Arc::clone(&open.headers));
        Subject {
            claims: Arc::clone(claims),
            topic: sub_topic.into(),
            headers: headers.unwrap_or_else(|| "{}".into()),
        }
    }

    fn judge(&self, subject: &Subject, question: Question) -> Judged {
        let seconds = (self.links.clock)().saturating_sub(EPOCH_SECONDS);
        let moment = Moment { now_micros: seconds.saturating_mul(1_000_000) };
        self.links.engine.read().judge(subject, question, moment)
    }

    /// What a new question comes to: nothing is granted while the feed is behind.
    fn judge_anew(&self, subject: &Subject, question: Question) -> Judged {
        let judged = self.judge(subject, question);
        let rights = judged.rights.filter(|_| !self.links.engine.is_behind());
        Judged { rights, ..judged }
    }

    fn judge_channel(&self, id: ConnectionId, join: u32, question: Question) -> Judged {
        let Some((_, entry)) = self.connections.channel(self.channel_ref(id, join)) else {
            return Judged::default();
        };
        let subject = self.subject(id, entry.channel.claims(), entry.channel.topic().sub());
        self.judge(&subject, question)
    }

    /// What a join may read, if that is enough for it; and what that was made of.
    pub(super) fn judge_join(&self, waiting: &Waiting) -> (Option<Rights>, Basis) {
        let granted = &waiting.granted;
        let subject = self.subject(waiting.attempt.id, &granted.claims, granted.topic.sub());
        let Judged { rights, basis } = self.judge_anew(&subject, Question::Read);
        let takes_presence = self.takes_presence(&granted.request);
        (rights.filter(|read| read.broadcast && (read.presence || !takes_presence)), basis)
    }

    /// Lets a channel send if that is known in memory. Answers whether what was to be sent may be.
    pub(super) fn judge_write(&mut self, id: ConnectionId, join: u32, event: &str) -> bool {
        let Judged { rights, basis } = self.judge_channel(id, join, Question::Write);
        let Some(entry) = self.connections.entry_mut(id, join) else { return false };
        let Some(private) = &mut entry.private else { return false };
        private.write_basis = basis;
        let rights = rights.filter(|_| !self.links.engine.is_behind()).unwrap_or_default();
        let is_enough = if event == "presence" { rights.presence } else { rights.broadcast };
        if is_enough && private.write.is_none() {
            entry.channel.grant_write(rights);
            self.counters.writes_judged.add(1);
        }
        is_enough && private.write.is_none()
    }

    /// Whether a channel that is to be asked about goes on by what is known in memory.
    pub(super) fn judge_again(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        join: u32,
        now: Instant,
    ) -> bool {
        let Judged { rights, basis } = self.judge_channel(id, join, Question::Read);
        let Some(entry) = self.connections.entry_mut(id, join) else { return false };
        let Some(private) = &mut entry.private else { return false };
        private.read_basis = basis;
        private.granted_at = Some(now);
        let rights = rights.filter(|_| !self.links.engine.is_behind());
        let Some(read) = rights.filter(|read| private.read.is_none() && entry.channel.is_kept_by(*read))
        else {
            return false;
        };
        self.counters.reads_judged.add(1);
        self.judged(out, id, join, read, now);
        true
    }

    /// Rights may have changed by what has just been committed: all that concerns is judged again, and hears nothing
    /// more until it is known that it may.
    pub(super) fn rights_changed(&mut self, out: &mut dyn Outbox, recheck: &Recheck, now: Instant) {
        for (id, join) in self.connections.all_waiting() {
            self.waiting_rights_changed(out, id, join, recheck, now);
        }
        let mut concerned = Vec::new();
        for (id, entry) in self.connections.entries_mut() {
            let Some(private) = &mut entry.private else { continue };
            if recheck.outdates(&private.write_basis) || recheck.concerns(&private.write_basis) {
                // The next message asks again.
                match &mut private.write {
                    Some(write) => write.epoch = None,
                    None => entry.channel.set_write(None),
                }
            }
            if recheck.outdates(&private.read_basis) || recheck.concerns(&private.read_basis) {
                concerned.push((id, entry.join));
            }
        }
        for (id, join) in concerned {
            let Judged { rights, basis } = self.judge_channel(id, join, Question::Read);
            let is_concerned = recheck.concerns(&basis);
            let Some(private) = self.private_mut(id, join) else { continue };
            let was_concerned = recheck.concerns(&private.read_basis);
            let is_judged = basis.has_program() || private.read_basis.has_program();
            private.read_basis = basis;
            // Without a program it is asked about when the authorizer says so.
            if !is_judged || !(is_concerned || was_concerned) {
                continue;
            }
            match rights {
                Some(read) => self.judged(out, id, join, read, now),
                None => self.doubt(id, join, true, now),
            }
        }
    }

    /// A join that waits: what it is answered may be older than the change.
    fn waiting_rights_changed(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        join: u32,
        recheck: &Recheck,
        now: Instant,
    ) {
        let Some(waiting) = self.connections.waiting(id, join) else { return };
        if !recheck.outdates(&waiting.basis) && !recheck.concerns(&waiting.basis) {
            return;
        }
        let (enough, basis) = self.judge_join(waiting);
        let is_concerned = recheck.concerns(&basis) || recheck.concerns(&waiting.basis);
        let has_replay = waiting.replay.is_some();
        let Some(mut waiting) = self.connections.unpark(id, join) else { return };
        waiting.basis = basis;
        match enough {
            Some(read) if is_concerned && !has_replay => {
                waiting.source = Source::Memory;
                return self.join_may_read(out, waiting, read, now);
            }
            _ if is_concerned => waiting.ask.epoch = None,
            _ => {}
        }
        self.connections.park(waiting);
    }

    /// A channel may read this, by what the stream has brought.
    fn judged(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, read: Rights, now: Instant) {
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let Some(private) = &mut entry.private else { return };
        // What is being asked may be answered by what was before.
        if let Some(ask) = &mut private.read {
            ask.epoch = None;
        }
        let is_kept = entry.channel.is_kept_by(read);
        let is_new = private.granted_at.is_some_and(|at| now.saturating_duration_since(at) < SETTLED_AFTER);
        if !is_kept && (is_new || private.source == Source::Postgres) {
            // It may be here by what has been committed since.
            return self.doubt(id, join, false, now);
        }
        private.source = Source::Memory;
        if !is_kept {
            self.counters.revoked_in_order.add(1);
        }
        self.take_review(out, id, join, read);
    }

    /// Has a channel hear nothing until Postgres has said what it may read. `keeps`: it gets it later.
    fn doubt(&mut self, id: ConnectionId, join: u32, keeps: bool, now: Instant) {
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let Some(private) = &mut entry.private else { return };
        match &mut private.pause {
            Some(pause) => pause.keeps &= keeps,
            pause => {
                let watch = self.rooms.pause(entry.room, entry.place);
                *pause = Some(Pause { keeps, watch });
            }
        }
        if let Some(ask) = &mut private.read {
            ask.epoch = None;
            return;
        }
        let due = now.checked_add(self.config.authorization_wait).unwrap_or(now);
        private.read = Some(Ask::new(due, true));
        self.deadlines.insert((due, id, join, Awaited::Read));
        if self.ask_read(id, join).is_err() {
            self.unasked.push_back((now, id, join));
        }
    }

    /// A channel that may go on hears again.
    pub(super) fn resume(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32) {
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let Some(pause) = entry.private.as_mut().and_then(|private| private.pause.take()) else { return };
        let (room, place) = (entry.room, entry.place);
        let missed = self.rooms.resume(room, place);
        match missed {
            _ if !pause.keeps => {}
            Some(frames) => frames.into_iter().for_each(|frame| out.send(id, frame)),
            None => return self.close(out, id, join, &Closing::Unanswered(Unanswered::Busy)),
        }
        match pause.watch {
            Watch::Nothing => {}
            Watch::DiffsOnly => self.rooms.set_watch(room, place, Watch::DiffsOnly),
            Watch::AwaitsState | Watch::Live => {
                self.rooms.set_watch(room, place, Watch::AwaitsState);
                self.present(out, id, join, true);
            }
        }
    }
}

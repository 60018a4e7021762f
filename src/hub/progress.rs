//! How far the stream has been handed over: what Postgres may forget, and what it will send again.
//!
//! In: the transactions that were fanned out, the answers they waited for, keepalives, and the end of sessions.
//! Out: the position that may be acknowledged, and how much of a transaction that comes again is known already.
//!
//! **Invariants:** no I/O; the position never passes a transaction that is not wholly handed over; what was handed
//! over once is never handed over again, as long as the slot is the same.

use std::collections::VecDeque;

use crate::wal::Lsn;

/// The progress of one feed over all its sessions.
#[derive(Debug)]
pub(super) struct Progress {
    /// Numbers the transactions in the order of receipt.
    sequence: u64,
    /// Transactions that are not wholly handed over, oldest first; and the closed one after them, if any.
    in_flight: VecDeque<InFlight>,
    /// The last transaction that was fanned out whole.
    last_commit: Lsn,
    part: Part,
}

/// A transaction that is not wholly handed over, or follows one that is not.
#[derive(Debug)]
struct InFlight {
    sequence: u64,
    /// Whether further parts of it are to come.
    is_open: bool,
    /// What may be acknowledged once this and all before it are handed over; nothing if its session has ended.
    end_lsn: Option<Lsn>,
    waiting_count: usize,
}

/// How much of a transaction that comes in parts is known.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    commit_lsn: Lsn,
    /// How many of its changes this session has sent.
    seen_count: usize,
    /// How many were fanned out, in this session or an earlier one.
    handed_count: usize,
}

impl Progress {
    /// Nothing has been received.
    pub(super) fn new() -> Self {
        Self { sequence: 0, in_flight: VecDeque::new(), last_commit: Lsn::ZERO, part: Part::default() }
    }

    /// The number of the last transaction.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many of the next `change_count` changes of a transaction were handed over in an earlier session; `None`
    /// if the whole transaction was.
    pub(super) fn known_count(&mut self, commit_lsn: Lsn, change_count: usize) -> Option<usize> {
        if commit_lsn <= self.last_commit {
            return None;
        }
        if self.part.commit_lsn != commit_lsn {
            self.part = Part { commit_lsn, ..Part::default() };
        }
        Some(self.part.handed_count.saturating_sub(self.part.seen_count).min(change_count))
    }

    /// Begins to fan out a transaction or its next part; gives its number.
    pub(super) fn begin(&mut self) -> u64 {
        if !self.in_flight.back().is_some_and(|last| last.is_open) {
            self.sequence += 1;
            let sequence = self.sequence;
            self.in_flight.push_back(InFlight { sequence, is_open: true, end_lsn: None, waiting_count: 0 });
        }
        self.sequence
    }

    /// Notes that `change_count` changes, known ones included, were fanned out, of which `waiting_count` deliveries
    /// wait for answers. `end_lsn` is there on the last part.
    pub(super) fn fanned_out(
        &mut self,
        commit_lsn: Lsn,
        change_count: usize,
        waiting_count: usize,
        end_lsn: Option<Lsn>,
    ) {
        self.part.seen_count += change_count;
        self.part.handed_count = self.part.handed_count.max(self.part.seen_count);
        let Some(last) = self.in_flight.back_mut() else { return };
        last.waiting_count += waiting_count;
        let Some(end_lsn) = end_lsn else { return };
        last.is_open = false;
        last.end_lsn = Some(end_lsn);
        self.last_commit = commit_lsn;
        self.part = Part::default();
        // One that waits for nothing joins the one before it, so that no more are kept than wait.
        if last.waiting_count == 0 && self.in_flight.len() > 1 {
            self.in_flight.pop_back();
            self.raise_last(end_lsn);
        }
    }

    /// Notes that a delivery of a transaction no longer waits.
    pub(super) fn answered(&mut self, sequence: u64) {
        if let Ok(place) = self.in_flight.binary_search_by_key(&sequence, |flight| flight.sequence) {
            self.in_flight[place].waiting_count -= 1;
        }
    }

    /// Notes that Postgres has nothing more to send up to `wal_end`; no transaction may be open in the stream.
    pub(super) fn caught_up(&mut self, wal_end: Lsn) {
        if self.in_flight.is_empty() {
            let sequence = self.sequence;
            let end_lsn = Some(wal_end);
            self.in_flight.push_back(InFlight { sequence, is_open: false, end_lsn, waiting_count: 0 });
        } else {
            self.raise_last(wal_end);
        }
    }

    fn raise_last(&mut self, lsn: Lsn) {
        if let Some(last) = self.in_flight.back_mut().filter(|last| !last.is_open) {
            last.end_lsn = last.end_lsn.max(Some(lsn));
        }
    }

    /// What may be acknowledged now that everything fanned out so far has been handed over.
    pub(super) fn take_done(&mut self) -> Option<Lsn> {
        let mut done = None;
        while let Some(first) =
            self.in_flight.front().filter(|first| first.waiting_count == 0 && !first.is_open)
        {
            done = first.end_lsn.or(done);
            self.in_flight.pop_front();
        }
        done
    }

    /// The session has ended. What it left open comes again, or never; what waits is still handed over, and its
    /// position is for a later session to acknowledge.
    pub(super) fn interrupted(&mut self) {
        for flight in &mut self.in_flight {
            flight.is_open = false;
            flight.end_lsn = None;
        }
    }

    /// A session begins whose slot sends again what was not acknowledged. Positions after `shared` mean something
    /// else than they did.
    pub(super) fn resumed(&mut self, shared: Lsn) {
        self.part.seen_count = 0;
        self.last_commit = self.last_commit.min(shared);
        if self.part.commit_lsn > shared {
            self.part = Part::default();
        }
    }

    /// A session begins whose slot is new: it sends nothing that was sent before.
    pub(super) fn restarted(&mut self) {
        self.last_commit = Lsn::ZERO;
        self.part = Part::default();
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(position: u64) -> Lsn {
        Lsn::new(position)
    }

    /// Fans out a whole transaction of one change that commits at `commit` and ends one later.
    fn fan_out(progress: &mut Progress, commit: u64, waiting: usize) -> u64 {
        assert_eq!(progress.known_count(lsn(commit), 1), Some(0));
        let sequence = progress.begin();
        progress.fanned_out(lsn(commit), 1, waiting, Some(lsn(commit + 1)));
        sequence
    }

    #[test]
    fn a_delivery_that_waits_holds_back_everything_after_it() {
        let mut progress = Progress::new();
        fan_out(&mut progress, 10, 0);
        assert_eq!(progress.take_done(), Some(lsn(11)));
        let waiting = fan_out(&mut progress, 20, 2);
        fan_out(&mut progress, 30, 0);
        let last = fan_out(&mut progress, 40, 1);
        progress.caught_up(lsn(50));
        assert_eq!(progress.take_done(), None);
        progress.answered(waiting);
        assert_eq!(progress.take_done(), None);
        progress.answered(waiting);
        assert_eq!(progress.take_done(), Some(lsn(31)));
        progress.answered(last);
        assert_eq!(progress.take_done(), Some(lsn(50)));
        assert_eq!(progress.take_done(), None);
    }

    #[test]
    fn what_waits_for_nothing_takes_no_room() {
        let mut progress = Progress::new();
        fan_out(&mut progress, 10, 1);
        for commit in 20..1_000 {
            fan_out(&mut progress, commit, 0);
        }
        assert_eq!(progress.in_flight.len(), 1);
    }

    #[test]
    fn an_open_transaction_is_not_passed() {
        let mut progress = Progress::new();
        assert_eq!(progress.known_count(lsn(10), 3), Some(0));
        progress.begin();
        progress.fanned_out(lsn(10), 3, 0, None);
        progress.caught_up(lsn(9));
        assert_eq!(progress.take_done(), None);
        assert_eq!(progress.begin(), 1);
        progress.fanned_out(lsn(10), 1, 0, Some(lsn(11)));
        assert_eq!(progress.take_done(), Some(lsn(11)));
    }

    #[test]
    fn an_idle_database_keeps_up() {
        let mut progress = Progress::new();
        progress.caught_up(lsn(7));
        assert_eq!(progress.take_done(), Some(lsn(7)));
    }

    #[test]
    fn a_transaction_handed_over_before_an_interruption_is_known() {
        let mut progress = Progress::new();
        fan_out(&mut progress, 10, 0);
        let waiting = fan_out(&mut progress, 20, 1);
        progress.interrupted();
        progress.resumed(Lsn::new(u64::MAX));
        for commit in [10, 20] {
            assert_eq!(progress.known_count(lsn(commit), 1), None);
        }
        // Its answer is still to come, and only then may its position be left behind.
        progress.caught_up(lsn(25));
        assert_eq!(progress.take_done(), None);
        progress.answered(waiting);
        assert_eq!(progress.take_done(), Some(lsn(25)));
        assert_eq!(fan_out(&mut progress, 30, 0), 3);
    }

    #[test]
    fn parts_handed_over_before_an_interruption_are_known() {
        let mut progress = Progress::new();
        assert_eq!(progress.known_count(lsn(10), 5), Some(0));
        let first = progress.begin();
        progress.fanned_out(lsn(10), 5, 0, None);
        progress.interrupted();
        assert_eq!(progress.take_done(), None);
        progress.resumed(Lsn::new(u64::MAX));
        // Other parts than before: three, three, the rest.
        assert_eq!(progress.known_count(lsn(10), 3), Some(3));
        assert_ne!(progress.begin(), first);
        progress.fanned_out(lsn(10), 3, 0, None);
        assert_eq!(progress.known_count(lsn(10), 3), Some(2));
        progress.begin();
        progress.fanned_out(lsn(10), 3, 0, None);
        assert_eq!(progress.known_count(lsn(10), 1), Some(0));
        progress.begin();
        progress.fanned_out(lsn(10), 1, 0, Some(lsn(11)));
        assert_eq!(progress.take_done(), Some(lsn(11)));
    }

    #[test]
    fn a_new_slot_or_history_knows_nothing_of_the_old() {
        let mut progress = Progress::new();
        fan_out(&mut progress, 10, 0);
        fan_out(&mut progress, 20, 0);
        progress.interrupted();
        progress.resumed(lsn(15));
        assert_eq!(progress.known_count(lsn(10), 1), None);
        assert_eq!(progress.known_count(lsn(20), 1), Some(0), "written on the new timeline");
        progress.restarted();
        assert_eq!(progress.known_count(lsn(5), 1), Some(0));
    }
}

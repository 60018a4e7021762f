//! What one socket has brought: which messages it has sent, and which of them have arrived.
//!
//! The app's protocol has no word for "received", but the WebSocket below has: a pong says that everything before its
//! ping has arrived. So a ping follows messages, and what its pong covers counts as brought. What a socket has sent
//! and nobody has confirmed counts as missed: it may be given again, and is never lost.
//!
//! **Invariants:** no I/O and no clock; a message is sent once on a socket, whether the look at what was missed has
//! found it, the feed has told it, or both.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

use crate::postgres::snapshot::Snapshot;

/// How many messages may wait for their pong, and how many to be noted. Beyond that the oldest count as missed. A look
/// at what was missed finds no more than 100,000.
const KEPT_MAX: usize = 110_000;

/// One socket's.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What the check has seen that the socket continues: its client has it, or it was found.
    seen: Option<Snapshot>,
    /// What was found as missed when the socket opened, and what an earlier socket has brought: the feed may tell it too.
    found: HashSet<Uuid>,
    /// What a check has answered while missed messages were being sent: its client has them.
    given: HashSet<Uuid>,
    /// What was sent, with the number of the ping that follows it. In the order of sending.
    unconfirmed: VecDeque<(u64, Uuid)>,
    /// What has arrived, and is not noted yet.
    confirmed: Vec<Uuid>,
    /// The ping that follows what is sent next.
    next_ping: u64,
    /// The last ping that was sent, while its pong has not come.
    awaited: Option<u64>,
}

impl Ledger {
    /// The socket continues a check, which has seen this.
    pub(super) fn continues(&mut self, seen: Snapshot) {
        self.seen = Some(seen);
    }

    /// The socket's client has asked again: the socket continues that check, which has given this.
    pub(super) fn continues_later(&mut self, seen: Snapshot, given: impl IntoIterator<Item = Uuid>) {
        self.seen = Some(seen);
        self.given.extend(given);
    }

    /// Whether a message that was missed is still to be sent.
    pub(super) fn is_due(&self, id: Uuid) -> bool {
        !self.given.contains(&id)
    }

    /// All that was missed is sent.
    pub(super) fn is_live(&mut self) {
        self.given = HashSet::new();
    }

    /// Whether it has sent this message, and that is not noted yet.
    pub(super) fn has_sent(&self, id: Uuid) -> bool {
        self.confirmed.contains(&id) || self.awaits(id)
    }

    /// Whether it has sent this message, and nobody knows whether that has arrived.
    pub(super) fn awaits(&self, id: Uuid) -> bool {
        self.unconfirmed.iter().any(|(_, sent)| *sent == id)
    }

    /// These were missed, and the socket is about to send them, or an earlier one has brought them.
    pub(super) fn found(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        self.found.extend(ids);
    }

    /// Whether a message that the feed tells, from this transaction, is news. Else the client has it, or it was found
    /// and has been sent: the feed may be later than the database by any time.
    pub(super) fn is_new(&self, id: Uuid, inserted_in: Option<u64>) -> bool {
        let is_seen = self.seen.as_ref().zip(inserted_in).is_some_and(|(seen, xid)| seen.sees_whole(xid));
        !is_seen && !self.found.contains(&id)
    }

    /// It is sent now.
    pub(super) fn sent(&mut self, id: Uuid) {
        if self.unconfirmed.len() >= KEPT_MAX {
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.push_back((self.next_ping, id));
    }

    /// The ping to send now, if one is due: messages have been sent, and no pong is awaited.
    pub(super) fn ping(&mut self) -> Option<u64> {
        let (last, _) = self.unconfirmed.back()?;
        if self.awaited.is_some() || *last < self.next_ping {
            return None;
        }
        let ping = self.next_ping;
        self.next_ping += 1;
        self.awaited = Some(ping);
        Some(ping)
    }

    /// The ping whose pong is awaited.
    pub(super) fn awaited(&self) -> Option<u64> {
        self.awaited
    }

    /// A pong has come: everything before its ping has arrived.
    pub(super) fn pong(&mut self, ping: u64) {
        // One that was never sent confirms nothing.
        if ping >= self.next_ping {
            return;
        }
        while self.unconfirmed.front().is_some_and(|(number, _)| *number <= ping) {
            self.confirmed.extend(self.unconfirmed.pop_front().map(|(_, id)| id));
        }
        if self.awaited.is_some_and(|awaited| awaited <= ping) {
            self.awaited = None;
        }
    }

    /// The ping that follows the last message, if that has not arrived.
    pub(super) fn last_ping(&self) -> Option<u64> {
        self.unconfirmed.back().map(|(ping, _)| *ping)
    }

    /// Whether everything before a ping has arrived.
    pub(super) fn has_arrived(&self, ping: u64) -> bool {
        self.unconfirmed.front().is_none_or(|(first, _)| *first > ping)
    }

    /// How many wait to be noted.
    pub(super) fn unnoted(&self) -> usize {
        self.confirmed.len()
    }

    /// What is to be noted next, so many at most.
    pub(super) fn take(&mut self, max: usize) -> Vec<Uuid> {
        self.confirmed.split_off(self.confirmed.len().saturating_sub(max))
    }

    /// It could not be noted.
    pub(super) fn put_back(&mut self, mut ids: Vec<Uuid>) {
        // What there is no room for counts as missed.
        ids.truncate(KEPT_MAX.saturating_sub(self.confirmed.len()));
        self.confirmed.extend(ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_pong_confirms_what_was_sent_before_its_ping() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.ping(), None);
        ledger.sent(id(1));
        ledger.sent(id(2));
        assert_eq!(ledger.ping(), Some(0));
        ledger.sent(id(3));
        assert_eq!(ledger.ping(), None, "one at a time");
        ledger.pong(0);
        assert_eq!(ledger.take(10), [id(1), id(2)]);
        assert_eq!(ledger.last_ping(), Some(1));
        assert!(ledger.has_arrived(0) && !ledger.has_arrived(1));
        assert_eq!(ledger.ping(), Some(1));
        ledger.pong(1);
        assert_eq!(ledger.take(10), [id(3)]);
        assert_eq!(ledger.last_ping(), None);
        assert!(ledger.has_arrived(1));
        assert_eq!(ledger.ping(), None);
    }

    #[test]
    fn pongs_that_nobody_asked_for_confirm_nothing() {
        let mut ledger = Ledger::default();
        ledger.sent(id(1));
        ledger.pong(0);
        ledger.pong(u64::MAX);
        assert!(ledger.take(10).is_empty());
        assert_eq!(ledger.ping(), Some(0));
        ledger.pong(1);
        assert!(ledger.take(10).is_empty());
        ledger.pong(0);
        ledger.pong(0);
        assert_eq!(ledger.take(10), [id(1)]);
    }

    #[test]
    fn a_later_pong_stands_for_earlier_ones() {
        let mut ledger = Ledger::default();
        ledger.sent(id(1));
        ledger.ping();
        ledger.sent(id(2));
        ledger.pong(0);
        ledger.ping();
        ledger.pong(1);
        assert_eq!(ledger.take(10), [id(1), id(2)]);
    }

    #[test]
    fn what_was_found_is_not_new_when_the_feed_tells_it() {
        let mut ledger = Ledger::default();
        ledger.found([id(1)]);
        assert!(!ledger.is_new(id(1), None));
        assert!(!ledger.is_new(id(1), Some(20)));
        assert!(ledger.is_new(id(2), None));
        assert!(ledger.is_new(id(2), Some(5)), "it continues nothing");
    }

    #[test]
    fn what_the_check_has_seen_is_not_new_when_the_feed_is_late() {
        let mut ledger = Ledger::default();
        ledger.continues(Snapshot::parse("10:15:12").unwrap());
        assert!(!ledger.is_new(id(1), Some(9)));
        assert!(!ledger.is_new(id(1), Some(14)));
        assert!(ledger.is_new(id(1), Some(12)), "in progress then");
        assert!(ledger.is_new(id(1), Some(15)));
        assert!(ledger.is_new(id(1), Some((1 << 32) + 9)), "an epoch later");
        assert!(ledger.is_new(id(1), None));
    }

    #[test]
    fn a_socket_continues_the_later_check_of_its_client() {
        let mut ledger = Ledger::default();
        ledger.continues(Snapshot::parse("10:15:12").unwrap());
        ledger.sent(id(1));
        assert!(ledger.has_sent(id(1)) && ledger.awaits(id(1)) && !ledger.has_sent(id(2)));
        ledger.ping();
        ledger.pong(0);
        assert!(ledger.has_sent(id(1)) && !ledger.awaits(id(1)));
        ledger.continues_later(Snapshot::parse("20:20:").unwrap(), [id(2)]);
        assert!(!ledger.is_due(id(2)) && ledger.is_due(id(3)));
        assert!(!ledger.is_new(id(4), Some(12)), "the later check has seen it");
        assert!(ledger.is_new(id(4), Some(20)));
        ledger.is_live();
        assert!(ledger.is_due(id(2)));
    }

    #[test]
    fn what_could_not_be_noted_is_noted_later() {
        let mut ledger = Ledger::default();
        (0..5).for_each(|number| ledger.sent(id(number)));
        ledger.ping();
        ledger.pong(0);
        let taken = ledger.take(3);
        assert_eq!((taken.len(), ledger.unnoted()), (3, 2));
        ledger.put_back(taken);
        let mut all = ledger.take(10);
        all.sort();
        assert_eq!(all, (0..5).map(id).collect::<Vec<_>>());
    }

    #[test]
    fn a_socket_that_never_answers_is_bounded() {
        let mut ledger = Ledger::default();
        (0..120_000).for_each(|number| ledger.sent(id(number)));
        assert_eq!(ledger.ping(), Some(0));
        ledger.pong(0);
        assert_eq!(ledger.unnoted(), KEPT_MAX);
        let confirmed = ledger.take(200_000);
        assert_eq!(confirmed.last(), Some(&id(119_999)));
        ledger.put_back(confirmed);
        assert_eq!(ledger.unnoted(), KEPT_MAX);
    }
}

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

/// How many confirmed messages may wait to be noted. Whoever keeps a ledger notes them before that.
pub(super) const UNNOTED_MAX: usize = 5_000;

/// How many messages may wait for their pong. Beyond that the oldest count as missed.
const UNCONFIRMED_MAX: usize = 10_000;

/// One socket's.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What was found as missed when the socket opened: the feed may tell it too.
    found: HashSet<Uuid>,
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
    /// These were missed, and the socket is about to send them.
    pub(super) fn found(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        self.found.extend(ids);
    }

    /// Whether the feed tells of this message first: else it was found, and has been or is being sent.
    pub(super) fn is_new(&self, id: Uuid) -> bool {
        !self.found.contains(&id)
    }

    /// It is sent now.
    pub(super) fn sent(&mut self, id: Uuid) {
        if self.unconfirmed.len() >= UNCONFIRMED_MAX {
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

    /// Whether everything that was sent has arrived.
    pub(super) fn is_settled(&self) -> bool {
        self.unconfirmed.is_empty()
    }

    /// How many wait to be noted.
    pub(super) fn unnoted(&self) -> usize {
        self.confirmed.len()
    }

    /// What is to be noted.
    pub(super) fn take(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.confirmed)
    }

    /// It could not be noted.
    pub(super) fn put_back(&mut self, mut ids: Vec<Uuid>) {
        // What there is no room for counts as missed.
        ids.truncate(UNNOTED_MAX.saturating_sub(self.confirmed.len()));
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
        assert_eq!(ledger.take(), [id(1), id(2)]);
        assert!(!ledger.is_settled());
        assert_eq!(ledger.ping(), Some(1));
        ledger.pong(1);
        assert_eq!(ledger.take(), [id(3)]);
        assert!(ledger.is_settled());
        assert_eq!(ledger.ping(), None);
    }

    #[test]
    fn pongs_that_nobody_asked_for_confirm_nothing() {
        let mut ledger = Ledger::default();
        ledger.sent(id(1));
        ledger.pong(0);
        ledger.pong(u64::MAX);
        assert!(ledger.take().is_empty());
        assert_eq!(ledger.ping(), Some(0));
        ledger.pong(1);
        assert!(ledger.take().is_empty());
        ledger.pong(0);
        ledger.pong(0);
        assert_eq!(ledger.take(), [id(1)]);
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
        assert_eq!(ledger.take(), [id(1), id(2)]);
    }

    #[test]
    fn what_was_found_is_not_new_when_the_feed_tells_it() {
        let mut ledger = Ledger::default();
        ledger.found([id(1)]);
        assert!(!ledger.is_new(id(1)));
        assert!(ledger.is_new(id(2)));
    }

    #[test]
    fn a_socket_that_never_answers_is_bounded() {
        let mut ledger = Ledger::default();
        (0..20_000).for_each(|number| ledger.sent(id(number)));
        assert_eq!(ledger.ping(), Some(0));
        ledger.pong(0);
        let confirmed = ledger.take();
        assert_eq!(confirmed.len(), UNCONFIRMED_MAX);
        assert_eq!(confirmed.last(), Some(&id(19_999)));
        ledger.put_back(confirmed);
        assert_eq!(ledger.unnoted(), UNNOTED_MAX);
    }
}

//! The way from a shard to the feed of database changes.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::FeedCommand;

/// A bounded queue to the feed, with a bounded queue of our own before it for when it is full.
pub(super) struct FeedLink {
    sender: mpsc::Sender<FeedCommand>,
    pending: VecDeque<FeedCommand>,
    pending_max: usize,
}

impl FeedLink {
    pub(super) fn new(sender: mpsc::Sender<FeedCommand>, pending_max: usize) -> Self {
        Self { sender, pending: VecDeque::new(), pending_max }
    }

    /// Whether the feed can take another subscription or token.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < self.pending_max
    }

    /// Sends a command, now or later, in order.
    ///
    /// Ask [`FeedLink::has_room`] first, except for an unsubscription: that is always kept, and there are no more
    /// of them than subscriptions that were granted.
    pub(super) fn send(&mut self, command: FeedCommand) {
        self.pending.push_back(command);
        self.flush();
    }

    /// Sends what is pending, as far as the feed takes it. A feed that has ended takes everything.
    pub(super) fn flush(&mut self) {
        while let Some(command) = self.pending.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(command)) = self.sender.try_send(command) {
                self.pending.push_front(command);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{ChannelRef, ConnectionId};

    fn unsubscribe(join: u32) -> FeedCommand {
        let connection = ConnectionId { slot: 0, generation: 0 };
        FeedCommand::Unsubscribe { channel: ChannelRef { shard: 0, connection, join } }
    }

    fn join(command: FeedCommand) -> Option<u32> {
        match command {
            FeedCommand::Unsubscribe { channel } => Some(channel.join),
            _ => None,
        }
    }

    #[test]
    fn a_full_queue_delays_and_keeps_the_order() {
        let (sender, mut feed) = mpsc::channel(1);
        let mut link = FeedLink::new(sender, 2);
        (0..3).for_each(|number| link.send(unsubscribe(number)));
        assert!(!link.has_room());
        for number in 0..3 {
            assert_eq!(feed.try_recv().ok().and_then(join), Some(number));
            link.flush();
        }
        assert!(link.has_room() && feed.try_recv().is_err());
    }

    #[test]
    fn a_feed_that_has_ended_takes_everything() {
        let (sender, feed) = mpsc::channel(1);
        drop(feed);
        let mut link = FeedLink::new(sender, 2);
        (0..9).for_each(|number| link.send(unsubscribe(number)));
        assert!(link.has_room());
    }
}

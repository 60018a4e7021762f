//! Sockets without channels, which nobody needs any more.
//!
//! They are closed with 1000, after which stock clients stay away until they want a channel; after any other end
//! they would come back, for nothing.

use std::time::{Duration, Instant};

use super::Shard;
use crate::hub::{ConnectionId, Outbox};
use crate::protocol::code::CLOSE_NO_CHANNEL;

/// How often sockets are looked at, at most. Whoever has a channel in between has one.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Sockets without channels.
impl Shard {
    /// Closes the sockets that have tried to join and have had no channel for too long.
    pub(super) fn close_idle(&mut self, out: &mut dyn Outbox, now: Instant) {
        let timeout = self.config.no_channel_timeout;
        if self.idle_looked_at.is_some_and(|last| now < last + LOOK_EVERY.min(timeout)) {
            return;
        }
        self.idle_looked_at = Some(now);
        let mut idle: Vec<ConnectionId> = Vec::new();
        for (id, connection) in self.connections.iter_mut() {
            if !connection.has_tried || connection.channel_count() > 0 {
                connection.alone_since = None;
            } else if now >= *connection.alone_since.get_or_insert(now) + timeout {
                idle.push(id);
            }
        }
        for id in idle {
            out.close(id, CLOSE_NO_CHANNEL.code, CLOSE_NO_CHANNEL.reason);
            self.closed(out, id);
        }
    }
}

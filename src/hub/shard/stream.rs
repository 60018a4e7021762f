//! Channels that want to be told when broadcasts from the database will reach them: once the replication stream
//! is live.

use std::time::Instant;

use super::Shard;
use crate::channel::Closing;
use crate::hub::{ChannelRef, ConnectionId, Outbox};
use crate::protocol::Extension;

/// What clients read when it is.
const ESTABLISHED: &str = "Replication connection established";

/// Word of the replication stream.
impl Shard {
    /// A channel has joined and wants to be told.
    pub(super) fn tell_when_live(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, now: Instant) {
        if self.stream_is_live {
            self.tell_live(out, self.channel_ref(id, join));
        } else {
            let due = now.checked_add(self.config.replication_wait).unwrap_or(now);
            self.awaiting_stream.push_back((due, id, join));
        }
    }

    /// The stream is live, or is not any more; nobody is told of that by this way.
    pub(super) fn stream_changed(&mut self, out: &mut dyn Outbox, is_live: bool) {
        self.stream_is_live = is_live;
        if is_live {
            for (_, id, join) in std::mem::take(&mut self.awaiting_stream) {
                self.tell_live(out, self.channel_ref(id, join));
            }
        }
    }

    fn tell_live(&self, out: &mut dyn Outbox, channel: ChannelRef) {
        let Some((connection, entry)) = self.connections.channel(channel) else { return };
        let (topic, push_ref) = (entry.channel.topic(), entry.channel.push_ref());
        let dialect = connection.session.dialect;
        let frame =
            dialect.system(topic.as_str(), topic.sub(), push_ref, Extension::System, true, ESTABLISHED);
        out.send(channel.connection, frame);
    }

    /// Ends the channels that have waited too long.
    pub(super) fn end_late(&mut self, out: &mut dyn Outbox, now: Instant) {
        // All wait equally long, so the first has waited longest.
        while let Some(&(due, id, join)) = self.awaiting_stream.front() {
            if due > now {
                return;
            }
            self.awaiting_stream.pop_front();
            self.close(out, id, join, &Closing::ReplicationLate);
        }
    }
}

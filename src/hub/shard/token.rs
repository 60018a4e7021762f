//! The tokens that channels live by.

use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use crate::channel::Closing;
use crate::hub::{ConnectionId, FeedCommand, Outbox};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// Tokens.
impl Shard {
    pub(super) fn refresh(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        join: u32,
        token: String,
        now: Instant,
    ) {
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
        let subscribed = entry.subscribed;
        self.change_device(id, join, &claims);
        if subscribed {
            self.feed.send(FeedCommand::Refresh { channel, claims });
        }
        self.reauthorize(out, id, join, now);
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

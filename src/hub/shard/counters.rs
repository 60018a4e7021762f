//! What a shard counts about itself. The shard writes, the metrics page reads.

use crate::protocol::Dialect;
use crate::telemetry::metrics as names;
use crate::telemetry::number::{Histogram, Number};
use crate::telemetry::page::Page;

/// Bounds of payload sizes, in bytes.
const PAYLOAD_BYTES: &[u64] =
    &[250, 500, 1_000, 3_000, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000, 3_000_000];

/// The counters of one shard.
#[derive(Debug)]
pub struct Counters {
    /// Sockets open now, by dialect.
    sockets: [Number; 2],
    /// Channels joined now.
    pub channels: Number,
    /// Client messages that could not be decoded.
    pub malformed_messages: Number,
    /// Joins granted.
    pub joins: Number,
    /// Joins refused.
    pub refused_joins: Number,
    /// Broadcasts accepted from clients.
    pub broadcasts: Number,
    /// Sizes of their payloads.
    pub payload_bytes: Histogram,
    /// Broadcasts that a peer did not get because its queue was full.
    pub dropped_broadcasts: Number,
    /// Presence messages to peers that had to wait because a queue was full.
    pub delayed_presence: Number,
    /// Messages of private channels that were not sent because policies did not allow it, or could not be asked in
    /// time.
    pub denied_messages: Number,
    /// Private channels that were closed because they may read less than before.
    pub revoked_channels: Number,
    /// Of those, how many were by what a commit has changed, before anything that was committed later.
    pub revoked_in_order: Number,
    /// Joins and new tokens of private channels that compiled policies have decided.
    pub reads_judged: Number,
    /// Those that Postgres was asked about.
    pub reads_asked: Number,
    /// The same for what they may send.
    pub writes_judged: Number,
    /// See above.
    pub writes_asked: Number,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            sockets: Default::default(),
            channels: Number::default(),
            malformed_messages: Number::default(),
            joins: Number::default(),
            refused_joins: Number::default(),
            broadcasts: Number::default(),
            payload_bytes: Histogram::new(PAYLOAD_BYTES),
            dropped_broadcasts: Number::default(),
            delayed_presence: Number::default(),
            denied_messages: Number::default(),
            revoked_channels: Number::default(),
            revoked_in_order: Number::default(),
            reads_judged: Number::default(),
            reads_asked: Number::default(),
            writes_judged: Number::default(),
            writes_asked: Number::default(),
        }
    }
}

impl Counters {
    /// Sockets open now that speak a dialect.
    pub fn sockets(&self, dialect: Dialect) -> &Number {
        match dialect {
            Dialect::V1 => &self.sockets[0],
            Dialect::V2 => &self.sockets[1],
        }
    }

    /// Adds all of them to the metrics page.
    pub fn add_to(&self, page: &mut Page) {
        page.add_to(&names::SOCKETS_OPEN, "1.0.0", self.sockets(Dialect::V1).get());
        page.add_to(&names::SOCKETS_OPEN, "2.0.0", self.sockets(Dialect::V2).get());
        for (metric, number) in [
            (&names::CHANNELS_OPEN, &self.channels),
            (&names::MESSAGES_MALFORMED, &self.malformed_messages),
            (&names::JOINS_GRANTED, &self.joins),
            (&names::STOCK_CHANNELS_JOINED, &self.joins),
            (&names::JOINS_REFUSED, &self.refused_joins),
            (&names::BROADCASTS_ACCEPTED, &self.broadcasts),
            (&names::BROADCASTS_DROPPED, &self.dropped_broadcasts),
            (&names::PRESENCE_DELAYED, &self.delayed_presence),
            (&names::MESSAGES_DENIED, &self.denied_messages),
            (&names::CHANNELS_REVOKED, &self.revoked_channels),
            (&names::CHANNELS_REVOKED_IN_ORDER, &self.revoked_in_order),
        ] {
            page.add(metric, number.get());
        }
        for (metric, judged, asked) in [
            (&names::CHANNEL_READS, &self.reads_judged, &self.reads_asked),
            (&names::CHANNEL_WRITES, &self.writes_judged, &self.writes_asked),
        ] {
            page.add_to(metric, "memory", judged.get());
            page.add_to(metric, "postgres", asked.get());
        }
        for metric in [&names::TENANT_PAYLOAD_SIZE, &names::PAYLOAD_SIZE] {
            page.add_histogram(metric, "broadcast", &self.payload_bytes);
        }
    }
}

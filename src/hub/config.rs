//! The hub's limits and delays.

use std::time::Duration;

use crate::channel;

/// Settings of a shard's channels and rooms. The defaults are those of the reference server where it has them.
#[derive(Clone, Debug)]
pub struct Config {
    /// What one channel may do.
    pub channel: channel::Limits,
    /// Bounds on a join's payload.
    pub join: channel::JoinLimits,
    /// The longest topic that may be joined, in bytes, prefix included.
    ///
    /// Topics over 255 bytes do not fit in version 2's binary frames; broadcasts on them go as text, and those
    /// of bytes go nowhere.
    pub topic_bytes_max: usize,
    /// How deep a client's JSON may be nested. At most 120.
    pub json_depth_max: usize,
    /// How many channels one socket may have.
    pub channels_per_socket_max: usize,
    /// How many joins one socket may try. One that tries more is closed.
    pub joins_per_socket: JoinRate,
    /// How long the reply to a refused join is held back, because clients join again at once.
    pub refusal_delay: Duration,
    /// How many such replies a shard holds back. Beyond that they go out without delay.
    pub refusals_pending_max: usize,
    /// How many commands a shard keeps for a feed whose queue is full. Beyond that, joins with bindings are
    /// refused, and channels that want to change their token end with `phx_error`, so that they join again.
    pub feed_pending_max: usize,
    /// How many presence updates a shard keeps for other shards whose queues are full. Beyond that, presence
    /// messages of clients are answered with an error.
    pub presence_unsent_max: usize,
    /// Whether joins of public channels are refused.
    pub private_only: bool,
    /// How long policies may take to say what a private join may read, or what a channel may send. Stock clients
    /// give up on a join after 10 seconds.
    pub authorization_wait: Duration,
    /// How long a private channel goes on as it was while what it may read after a change of policies cannot be
    /// found out. Then it is closed.
    pub review_wait: Duration,
    /// How many questions about joined channels a shard puts in a tick, so that a change of policies does not
    /// crowd out joins.
    pub reviews_per_tick: usize,
    /// How many private joins may wait in a shard. Beyond that, they are refused.
    pub joins_waiting_max: usize,
    /// How long their payloads may be, all together, in bytes.
    pub joins_waiting_bytes_max: usize,
    /// How many messages a channel may send before it is known what it may send. Those beyond are dropped like
    /// denied ones.
    pub held_messages_max: usize,
    /// How long they may be, together, in bytes.
    pub held_bytes_max: usize,
    /// The same for all channels of a shard.
    pub held_bytes_shard_max: usize,
    /// How long a channel that asked for it waits for the stream of broadcasts from the database to be live.
    pub replication_wait: Duration,
    /// How long a socket that has tried to join may have no channel before it is closed.
    pub no_channel_timeout: Duration,
    /// Whether every channel gets the state of its topic's presence, asked for or not. Clients too old to know
    /// the switch get it anyway.
    pub presence_for_all: bool,
}

/// A rate of joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinRate {
    /// Joins a second in the long run; 0 means no limit.
    pub per_second: u32,
    /// Joins at once after a pause; at least 1.
    pub burst: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            channel: channel::Limits::default(),
            join: channel::JoinLimits::default(),
            topic_bytes_max: 4_096,
            json_depth_max: 100,
            channels_per_socket_max: 100,
            joins_per_socket: JoinRate { per_second: 100, burst: 200 },
            refusal_delay: Duration::from_millis(5_000),
            refusals_pending_max: 10_000,
            feed_pending_max: 10_000,
            presence_unsent_max: 65_536,
            private_only: false,
            authorization_wait: Duration::from_secs(8),
            review_wait: Duration::from_secs(30),
            reviews_per_tick: 256,
            joins_waiting_max: 10_000,
            joins_waiting_bytes_max: 64 << 20,
            held_messages_max: 256,
            held_bytes_max: 4 << 20,
            held_bytes_shard_max: 64 << 20,
            replication_wait: Duration::from_secs(60),
            no_channel_timeout: Duration::from_secs(600),
            presence_for_all: false,
        }
    }
}

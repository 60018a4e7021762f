//! What the fan-out hands to shards, and what it counts.

use std::sync::Arc;

use bytes::Bytes;

use crate::hub::{ChannelRef, Delivery, FeedEvent, Sent};
use crate::policy::Decision;
use crate::policy::function::Doubt;
use crate::wal::Lsn;

/// What the fan-out hands to shards, collected until it is flushed.
#[derive(Debug, Default)]
pub struct Outbox {
    by_shard: Vec<Vec<Delivery>>,
    systems: Vec<(u16, FeedEvent)>,
    /// About how much memory the deliveries have.
    pub(super) bytes: usize,
    /// What has been counted since the last [`Self::take_tally`].
    pub(super) tally: Tally,
}

/// Why Postgres is asked in place of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The policies are not compiled, or not all that matter.
    NotCompiled,
    /// The catalog or the mirror are not those of the stream now.
    NotCurrent,
    /// Postgres has contradicted a program of the table.
    Distrusted,
    /// What the policies make of the claims alone may be an error.
    Params,
    /// What became of the row later in its transaction is not known.
    Outcome,
    /// Postgres may raise an error.
    Raises,
    /// The log lacks a value.
    Absent,
    /// A table that the policies read is not mirrored, or not yet.
    NotMirrored,
    /// It depends on something that is not known here.
    Unknown,
    /// It would take too long.
    TooLong,
}

impl Asked {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NotCompiled,
        Self::NotCurrent,
        Self::Distrusted,
        Self::Params,
        Self::Outcome,
        Self::Raises,
        Self::Absent,
        Self::NotMirrored,
        Self::Unknown,
        Self::TooLong,
    ];

    /// As metrics name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotCompiled => "not_compiled",
            Self::NotCurrent => "not_current",
            Self::Distrusted => "distrusted",
            Self::Params => "params",
            Self::Outcome => "outcome",
            Self::Raises => "raises",
            Self::Absent => "absent",
            Self::NotMirrored => "not_mirrored",
            Self::Unknown => "unknown",
            Self::TooLong => "too_long",
        }
    }
}

impl From<Doubt> for Asked {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Raises => Self::Raises,
            Doubt::Absent => Self::Absent,
            Doubt::NotMirrored => Self::NotMirrored,
            Doubt::Unknown => Self::Unknown,
            Doubt::TooLong => Self::TooLong,
        }
    }
}

/// What a fan-out counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How many times a change was put into a frame for somebody.
    pub deliveries: u64,
    /// The same, each as often as bindings of the channel match.
    pub events: u64,
    /// Decisions for one change and one role, by what they were.
    pub permitted: u64,
    /// See above.
    pub denied: u64,
    /// See above.
    pub refused: u64,
    /// See above.
    pub asked: u64,
    /// Groups of callers whom a program lets see a row.
    pub program_permitted: u64,
    /// Those it does not, as far as it looked at them.
    pub program_denied: u64,
    /// Questions to Postgres about one change and one profile, by [`Asked`].
    pub asked_by: [u64; Asked::ALL.len()],
    /// Deliveries of rows that have moved out of somebody's sight.
    pub moved_out: u64,
    /// Decisions that were to be put to Postgres too, but there were too many.
    pub samples_dropped: u64,
}

impl Tally {
    /// Notes a question to Postgres.
    pub(super) fn asks(&mut self, asked: Asked) {
        self.asked_by[asked as usize] += 1;
    }

    pub(super) fn decided(&mut self, decision: &Decision) {
        let count = match decision {
            Decision::Permit(_) => &mut self.permitted,
            Decision::Deny => &mut self.denied,
            Decision::Refuse(_) => &mut self.refused,
            Decision::Ask(_) => &mut self.asked,
        };
        *count += 1;
    }
}

impl Outbox {
    /// For this many shards.
    pub fn new(shard_count: usize) -> Self {
        Self {
            by_shard: vec![Vec::new(); shard_count],
            systems: Vec::new(),
            bytes: 0,
            tally: Tally::default(),
        }
    }

    /// Adds a frame for some channels, and the message that it tells of.
    pub(super) fn deliver(&mut self, frame: &Bytes, recipients: &[ChannelRef], sent: Option<&Arc<Sent>>) {
        self.tally.deliveries += recipients.len() as u64;
        self.bytes += frame.len() + size_of_val(recipients);
        for (shard, deliveries) in self.by_shard.iter_mut().enumerate() {
            let is_here = |channel: &&ChannelRef| usize::from(channel.shard) == shard;
            // Counted first, so that those of one shard are copied once.
            let channels: Arc<[ChannelRef]> = match recipients.iter().filter(is_here).count() {
                0 => continue,
                count if count == recipients.len() => recipients.into(),
                _ => recipients.iter().filter(is_here).copied().collect(),
            };
            deliveries.push(Delivery { frame: frame.clone(), channels, sent: sent.cloned() });
        }
    }

    /// Adds a `system` message for one channel.
    pub fn system(&mut self, channel: ChannelRef, ok: bool, message: &Arc<str>) {
        let event = FeedEvent::System { channel, ok, message: Arc::clone(message) };
        self.systems.push((channel.shard, event));
    }

    /// Tells every shard whether the stream is live.
    pub fn live(&mut self, is_live: bool) {
        self.tell_all(|| FeedEvent::Live(is_live));
    }

    /// Tells every shard that the log has another history after `shared`.
    pub fn forked(&mut self, shared: Lsn) {
        self.tell_all(|| FeedEvent::Forked(shared));
    }

    fn tell_all(&mut self, event: impl Fn() -> FeedEvent) {
        let shards = (0..self.by_shard.len()).filter_map(|shard| u16::try_from(shard).ok());
        self.systems.extend(shards.map(|shard| (shard, event())));
    }

    /// Takes what was counted.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.systems.is_empty() && self.by_shard.iter().all(Vec::is_empty)
    }

    /// Takes what was collected, by shard.
    pub fn take(&mut self) -> Vec<(u16, FeedEvent)> {
        self.bytes = 0;
        let mut events = Vec::new();
        for (shard, deliveries) in self.by_shard.iter_mut().enumerate() {
            if !deliveries.is_empty()
                && let Ok(shard) = u16::try_from(shard)
            {
                events.push((shard, FeedEvent::Changes(std::mem::take(deliveries))));
            }
        }
        events.append(&mut self.systems);
        events
    }
}

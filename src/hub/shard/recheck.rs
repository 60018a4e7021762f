//! Keys that are withdrawn: the tokens of joined channels are verified again whenever keys have changed.
//!
//! A token that expires says so from the start; a key that is withdrawn does not. All tokens at once would hold the
//! shard up, so each tick takes some of them, socket by socket, until none is left that only older keys have seen.

use super::Shard;
use crate::channel::Closing;
use crate::hub::Outbox;

/// How many channels one tick looks at, give or take those of one socket: some 10 ms of the slowest signatures.
const CHANNELS_PER_TICK: usize = 200;

/// How far a round has come.
pub(super) struct Recheck {
    /// The keys that the round is about.
    generation: u64,
    /// The first socket that is still to be looked at; `None` between two rounds.
    next_slot: Option<u32>,
}

impl Recheck {
    /// Nothing to do as long as the keys are of this generation.
    pub(super) fn new(generation: u64) -> Self {
        Self { generation, next_slot: None }
    }
}

impl Shard {
    /// Goes on with the round, or begins one if keys have changed; ends the channels whose tokens no key verifies
    /// any more.
    ///
    /// Sockets that open meanwhile in places that were passed need no look: their tokens are verified by new keys.
    pub(super) fn recheck(&mut self, out: &mut dyn Outbox) {
        let generation = self.links.verifier.generation();
        if generation != self.recheck.generation {
            self.recheck = Recheck { generation, next_slot: Some(0) };
        }
        let Some(first) = self.recheck.next_slot.take() else { return };
        let now_unix = (self.links.clock)();
        let mut looked_at = 0;
        let mut refused = Vec::new();
        for (id, connection) in self.connections.iter().skip_while(|(id, _)| id.slot < first) {
            if looked_at >= CHANNELS_PER_TICK {
                self.recheck.next_slot = Some(id.slot);
                break;
            }
            for entry in connection.channels() {
                if let Err(refusal) = self.links.verifier.verify(entry.channel.token(), now_unix) {
                    refused.push((id, entry.join, Closing::Token(refusal.system_message)));
                }
            }
            looked_at += connection.channels().len();
        }
        for (id, join, closing) in refused {
            self.close(out, id, join, &closing);
        }
    }
}

//! The shards, as others see them.

use std::sync::{Arc, OnceLock};

use super::Shards;
use crate::adapter::live::LiveSink;
use crate::auth::Verifier;
use crate::hub::{PeerFull, Peers, Shard, ShardCommand, Sink, TokenRefusal, TokenVerifier};
use crate::policy::Claims;
use crate::socket::ShardHandle;
use crate::socket::shard::Refused;

/// The shards, as one of them sees the others.
pub(super) struct OtherShards(pub(super) Arc<OnceLock<Shards>>);

impl Peers for OtherShards {
    fn try_send(&self, shard: u16, command: ShardCommand) -> Result<(), PeerFull> {
        let shard = self.0.get().and_then(|all| all.get(usize::from(shard))).ok_or(PeerFull)?;
        match shard.try_send(command) {
            // One that has ended has no sockets left to hear it.
            Ok(()) | Err(Refused::Gone(_)) => Ok(()),
            Err(Refused::Full(_)) => Err(PeerFull),
        }
    }
}

/// A shard, as those see it who can wait.
#[derive(Clone)]
pub(super) struct ShardSink(pub(super) ShardHandle<Shard>);

impl Sink for ShardSink {
    async fn send(&self, command: ShardCommand) -> bool {
        self.0.send(command).await.is_ok()
    }
}

/// What the feed tells its news: a shard, or the task of live events, which stands for one.
#[derive(Clone)]
pub(super) enum FeedSink {
    Shard(ShardSink),
    Live(LiveSink),
}

impl Sink for FeedSink {
    async fn send(&self, command: ShardCommand) -> bool {
        match self {
            Self::Shard(shard) => shard.send(command).await,
            Self::Live(live) => live.send(command).await,
        }
    }
}

impl TokenVerifier for Verifier {
    fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenRefusal> {
        Self::verify(self, token, now_unix).map_err(|error| TokenRefusal {
            join_reason: error.join_reason(),
            system_message: error.system_message(),
        })
    }

    fn generation(&self) -> u64 {
        Self::generation(self)
    }
}

//! Broadcasts that come from outside the shards: of HTTP requests and of the database.

use std::future::Future;
use std::sync::Arc;

use super::{Directory, RoomBroadcast, ShardCommand};

/// One shard, as those see it who have time to wait for room in its inbox.
pub trait Sink {
    /// Hands over a command, waiting for room; `false` once the shard has ended.
    fn send(&self, command: ShardCommand) -> impl Future<Output = bool> + Send;
}

/// The way to all members of a room, wherever they are. Cheap to clone if its sinks are.
#[derive(Clone)]
pub struct Broadcaster<S> {
    directory: Arc<Directory>,
    shards: Vec<S>,
}

impl<S: Sink> Broadcaster<S> {
    /// One for these shards, in the order of their numbers.
    pub fn new(directory: Arc<Directory>, shards: Vec<S>) -> Self {
        Self { directory, shards }
    }

    /// The shards, in the order of their numbers.
    pub fn shards(&self) -> &[S] {
        &self.shards
    }

    /// The rooms of the server.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Hands a broadcast to every shard that may have members of its room, waiting for those whose inbox is full.
    /// Those of one caller keep their order.
    pub async fn publish(&self, broadcast: RoomBroadcast) {
        let broadcast = Arc::new(broadcast);
        for shard in self.directory.shards_with(&broadcast.room) {
            if let Some(shard) = self.shards.get(usize::from(shard)) {
                // A shard that has ended has no members left.
                let _ = shard.send(ShardCommand::Broadcast(Arc::clone(&broadcast))).await;
            }
        }
    }

    /// Has every socket closed; clients come back.
    pub async fn disconnect_all(&self) {
        for shard in &self.shards {
            // A shard that has ended has no sockets left.
            let _ = shard.send(ShardCommand::Disconnect).await;
        }
    }
}

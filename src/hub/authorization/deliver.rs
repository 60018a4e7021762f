//! The way of answers back to those who asked.
//!
//! Each shard has a queue of its own here, so that one whose inbox is full holds up nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::{Authorized, Counters, Question, ReplyTo, probe::Outcome};
use crate::hub::{ShardCommand, Sink};

/// How many answers may wait for one shard. What comes beyond is dropped: the joins that it answers run out of
/// patience by themselves.
const UNDELIVERED_MAX: usize = 16_384;

/// The ways to all who ask.
pub(super) struct Deliveries {
    queues: Vec<Queue>,
    counters: Arc<Counters>,
}

struct Queue {
    sender: mpsc::Sender<ShardCommand>,
    /// Whether the shard is still to be told of a change for which the queue had no room.
    changed: Arc<AtomicBool>,
}

impl Deliveries {
    /// Ways to these shards, and what carries the answers until they are dropped.
    pub(super) fn new<S: Sink>(shards: Vec<S>, counters: Arc<Counters>) -> (Self, impl Future<Output = ()>) {
        let mut queues = Vec::new();
        let mut carriers = Vec::new();
        for shard in shards {
            let (sender, commands) = mpsc::channel(UNDELIVERED_MAX);
            let changed = Arc::<AtomicBool>::default();
            carriers.push(carry(shard, commands, Arc::clone(&changed)));
            queues.push(Queue { sender, changed });
        }
        let carried = async {
            join_all(carriers).await;
            // Shards that have ended ask no more; others may.
            std::future::pending().await
        };
        (Self { queues, counters }, carried)
    }

    /// Answers one inquiry, without waiting.
    pub(super) fn deliver(&self, reply: ReplyTo, question: Question, outcome: &Outcome) {
        if outcome.is_err() {
            Counters::add(&self.counters.errors, 1);
        }
        match reply {
            ReplyTo::Channel { channel, inquiry } => {
                let authorized = Authorized { channel, inquiry, question, result: outcome.clone() };
                let command = ShardCommand::Authorized(Box::new(authorized));
                let queue = self.queues.get(usize::from(channel.shard));
                if queue.is_none_or(|queue| queue.sender.try_send(command).is_err()) {
                    Counters::add(&self.counters.dropped_answers, 1);
                }
            }
            // Whoever has gone needs no answer.
            ReplyTo::Caller(caller) => drop(caller.send(outcome.clone())),
        }
    }

    /// Tells every shard that what its channels may do is to be asked again.
    pub(super) fn policies_changed(&self) {
        for queue in &self.queues {
            if queue.sender.try_send(ShardCommand::PoliciesChanged).is_err() {
                queue.changed.store(true, Ordering::Relaxed);
            }
        }
    }
}

async fn carry<S: Sink>(shard: S, mut commands: mpsc::Receiver<ShardCommand>, changed: Arc<AtomicBool>) {
    while let Some(command) = commands.recv().await {
        let mut is_open = shard.send(command).await;
        if changed.swap(false, Ordering::Relaxed) {
            is_open = shard.send(ShardCommand::PoliciesChanged).await;
        }
        if !is_open {
            return;
        }
    }
}

//! Live events: what the feed says about the messaging schema's rows, handed to the sockets of apps.
//!
//! To the feed this is one more shard, the last one ([`LiveSink`]); each socket of an app is a channel of it, which
//! subscribes to the tables that its app wants, without filters: row level security decides what it hears.
//! A change is read once, whoever gets it.
//!
//! **Invariants:** the task never waits for a socket: one whose queue is full is ended, and comes back; a socket hears
//! "live" before its first event; events of one socket keep the order of their commits.

mod queue;
mod subscription;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::conversation::{self, Event, Table};
use super::counters::Counters;
use crate::hub::{ChannelRef, ConnectionId, Delivery, FeedCommand, FeedEvent, ShardCommand, Sink, Subscribe};
use crate::policy::Claims;
use crate::protocol::Dialect;
use crate::protocol::frame::payload_of;
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

pub use queue::{End, Signal};
pub use subscription::Subscription;

use queue::Queue;

/// How many commands may wait for the task. The feed waits for room, sockets do too.
const INBOX_MAX: usize = 4096;

/// What the task is told.
enum Word {
    /// By the feed, as every shard is.
    Shard(ShardCommand),
    /// There is a new socket, which is about to subscribe.
    Open(ConnectionId, Queue),
    /// A socket has gone.
    Closed(ConnectionId),
}

/// The task. It ends when nobody can tell it anything any more.
pub struct Live {
    inbox: mpsc::Receiver<Word>,
    sockets: HashMap<ConnectionId, Queue>,
    /// Sockets that have events of the present command.
    touched: Vec<ConnectionId>,
    counters: Arc<Counters>,
    is_draining: bool,
}

/// The task as the feed sees it: a shard.
#[derive(Clone)]
pub struct LiveSink(mpsc::Sender<Word>);

/// The task as sockets see it. Cheap to clone.
#[derive(Clone)]
pub struct LiveHandle {
    inbox: mpsc::Sender<Word>,
    feed: mpsc::Sender<FeedCommand>,
    shard: u16,
    opened: Arc<AtomicU64>,
}

/// The server is going down, or has lost what tells live events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("live events have ended")]
pub struct Gone;

impl Live {
    /// A task that is to be the feed's shard of this number.
    pub fn new(
        shard: u16,
        feed: mpsc::Sender<FeedCommand>,
        counters: Arc<Counters>,
    ) -> (Self, LiveSink, LiveHandle) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let handle = LiveHandle { inbox: sender.clone(), feed, shard, opened: Arc::default() };
        let live = Self { inbox, sockets: HashMap::new(), touched: Vec::new(), counters, is_draining: false };
        (live, LiveSink(sender), handle)
    }

    /// Hands events on until nobody can tell it anything any more.
    pub async fn run(mut self) {
        while let Some(word) = self.inbox.recv().await {
            match word {
                Word::Shard(command) => self.command(command),
                Word::Open(_, queue) if self.is_draining => queue.end(End::Restart),
                Word::Open(connection, queue) => {
                    self.sockets.insert(connection, queue);
                }
                Word::Closed(connection) => {
                    self.sockets.remove(&connection);
                }
            }
        }
    }

    fn command(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Feed(FeedEvent::Changes(deliveries)) => self.changes(&deliveries),
            ShardCommand::Feed(FeedEvent::System { channel, ok, .. }) => self.told(channel.connection, ok),
            ShardCommand::Disconnect => self.end_all(End::Restart),
            ShardCommand::Drain => {
                self.is_draining = true;
                self.end_all(End::Restart);
            }
            // Each subscriber is told by itself whether it is live, and of a break. There are no rooms here, and no
            // private channels.
            ShardCommand::Feed(FeedEvent::Live(_) | FeedEvent::Forked(_))
            | ShardCommand::Broadcast(_)
            | ShardCommand::Presence(_)
            | ShardCommand::PresenceNews(_)
            | ShardCommand::Authorized(_)
            | ShardCommand::PoliciesChanged
            | ShardCommand::Recheck(_) => {}
        }
    }

    /// A subscription works, or no longer does. Its words repeat names of tables, so they are for nobody.
    fn told(&mut self, connection: ConnectionId, ok: bool) {
        if ok {
            self.signal(connection, Queue::live);
        } else if let Some(queue) = self.sockets.remove(&connection) {
            queue.unsubscribed();
        }
    }

    fn changes(&mut self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            let Some(event) = self.read(delivery) else { continue };
            self.counters.events.add_length(delivery.channels.len());
            for channel in &*delivery.channels {
                let Some(queue) = self.sockets.get_mut(&channel.connection) else { continue };
                if queue.add(Arc::clone(&event), delivery.frame.len()) {
                    self.touched.push(channel.connection);
                }
            }
        }
        for connection in std::mem::take(&mut self.touched) {
            self.signal(connection, Queue::flush);
        }
    }

    /// Tells a socket something; one that has too much to hear already is ended.
    fn signal(&mut self, connection: ConnectionId, tell: impl FnOnce(&mut Queue) -> bool) {
        let is_told = self.sockets.get_mut(&connection).is_none_or(tell);
        if !is_told && let Some(queue) = self.sockets.remove(&connection) {
            self.counters.behind.add(1);
            queue.end(End::Behind);
        }
    }

    /// What a frame of the feed says; nothing where it is not understood.
    fn read(&self, delivery: &Delivery) -> Option<Arc<Event>> {
        let text = payload_of(&delivery.frame).and_then(|payload| std::str::from_utf8(payload).ok());
        match text.ok_or(conversation::Unreadable).and_then(conversation::read) {
            Ok(event) => event.map(Arc::new),
            Err(error) => {
                self.counters.unreadable.add(1);
                report!(warn, Code::UnableToBroadcastChanges, %error, "a change is not handed to apps");
                None
            }
        }
    }

    fn end_all(&mut self, end: End) {
        for (_, queue) in self.sockets.drain() {
            queue.end(end);
        }
    }
}

impl Sink for LiveSink {
    async fn send(&self, command: ShardCommand) -> bool {
        self.0.send(Word::Shard(command)).await.is_ok()
    }
}

impl LiveHandle {
    /// Subscribes a socket of an app to these tables, as the holder of these claims.
    pub async fn open(
        &self,
        app: &'static str,
        claims: Arc<Claims>,
        tables: &[Table],
    ) -> Result<Subscription, Gone> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let connection = ConnectionId { slot: half(number), generation: half(number >> 32) };
        let (queue, subscription) = Queue::new(self.clone(), connection);
        self.inbox.send(Word::Open(connection, queue)).await.map_err(|_| Gone)?;
        let subscribe = Subscribe {
            channel: self.channel(connection),
            topic: format!("adapter:{app}").into(),
            dialect: Dialect::V1,
            legacy: false,
            whole_deleted: true,
            claims,
            bindings: (1..).zip(tables.iter().map(|table| binding(*table))).collect(),
        };
        self.feed.send(FeedCommand::Subscribe(subscribe)).await.map_err(|_| Gone)?;
        Ok(subscription)
    }

    /// Ends every socket, and those that come: the server goes down.
    pub async fn drain(&self) {
        // A task that has ended has no sockets left.
        let _ = self.inbox.send(Word::Shard(ShardCommand::Drain)).await;
    }

    fn channel(&self, connection: ConnectionId) -> ChannelRef {
        ChannelRef { shard: self.shard, connection, join: 0 }
    }

    /// A socket has gone. Neither the task nor the feed is waited for here; a full queue is waited for elsewhere.
    fn close(&self, connection: ConnectionId) {
        let unsubscribe = FeedCommand::Unsubscribe { channel: self.channel(connection) };
        let unsent = self.feed.try_send(unsubscribe).err().map(mpsc::error::TrySendError::into_inner);
        let untold = self.inbox.try_send(Word::Closed(connection)).is_err();
        if unsent.is_none() && !untold {
            return;
        }
        let handle = self.clone();
        // Without a runtime the server has ended.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Some(unsubscribe) = unsent {
                    let _ = handle.feed.send(unsubscribe).await;
                }
                if untold {
                    let _ = handle.inbox.send(Word::Closed(connection)).await;
                }
            });
        }
    }
}

fn binding(table: Table) -> serde_json::Map<String, serde_json::Value> {
    let fields = [("event", table.event()), ("schema", "public"), ("table", table.name())];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

#[cfg(test)]
mod tests;

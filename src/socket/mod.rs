//! Everything between TCP and a decoded WebSocket message.
//!
//! In: HTTP requests that ask for a socket ([`upgrade`]). Then the raw TCP stream moves to a [`shard`], one
//! thread that owns its connections, where a [`Handler`] turns messages and commands into frames. Out: those
//! frames, joined into as few writes as possible ([`connection`]).
//!
//! **Invariants:** a connection lives on one shard for its whole life; nothing there is shared or locked; a
//! handler never waits; every queue has a bound and an answer when it is reached; one connection that cannot
//! keep up, misbehaves or makes a handler panic harms itself only.

mod bridge;
pub mod connection;
pub mod frame;
pub mod metrics;
pub mod options;
pub mod shard;
pub mod upgrade;

use std::time::Instant;

pub use connection::Outbox;
pub use metrics::{CloseReason, ShardMetrics};
pub use options::ShardConfig;
pub use shard::{ShardHandle, spawn};
pub use upgrade::{Gate, GateConfig};

pub use crate::hub::Session;
pub use crate::protocol::Message;

use crate::hub::ConnectionId;

/// What runs on a shard.
///
/// All calls are synchronous and on the shard's thread; none may block, since every connection of the shard
/// waits meanwhile. Frames queued on the [`Outbox`] are written after the call returns.
///
/// A panic in a call for one connection closes that connection with 1011. A panic in [`Self::command`] or
/// [`Self::tick`] may have lost something for anyone, so it closes every connection of the shard with 1011:
/// clients come back to a fresh state, and nothing is lost without a word.
pub trait Handler: 'static {
    /// What other threads tell the handler.
    type Command: Send + 'static;
    /// What the upgrade hands over.
    type Session: Send + 'static;

    /// A connection is open. Called once, before any other call that names it.
    fn opened(&mut self, out: &mut Outbox, connection: ConnectionId, session: Self::Session);

    /// A whole message has arrived.
    fn message(&mut self, out: &mut Outbox, connection: ConnectionId, message: Message<'_>, now: Instant);

    /// A connection has ended, for whatever reason, [`Outbox::close`] included. Called once for each that was
    /// opened; nothing can be sent to it any more.
    fn closed(&mut self, out: &mut Outbox, connection: ConnectionId);

    /// A command has arrived. Commands of one sender keep their order.
    fn command(&mut self, out: &mut Outbox, command: Self::Command, now: Instant);

    /// Time has passed. Called every [`ShardConfig::tick`] or a little later, connections or not: a handler may owe
    /// something to other threads.
    fn tick(&mut self, out: &mut Outbox, now: Instant);
}

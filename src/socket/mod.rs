//! Sockets: the upgrade, the frames and the shards that own them.

pub mod bridge;

use std::time::Instant;

use bytes::Bytes;

use crate::hub::ConnectionId;

/// One message of a client.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// What a shard's sockets do for its handler.
#[derive(Debug, Default)]
pub struct Outbox {
    sent: Vec<(ConnectionId, Bytes)>,
    closed: Vec<(ConnectionId, u16)>,
}

impl Outbox {
    /// Sends a whole WebSocket frame.
    pub fn send(&mut self, connection: ConnectionId, frame: Bytes) {
        self.sent.push((connection, frame));
    }

    /// Closes a connection.
    pub fn close(&mut self, connection: ConnectionId, code: u16, _reason: &str) {
        self.closed.push((connection, code));
    }

    /// Whether a connection is open.
    pub fn is_open(&self, connection: ConnectionId) -> bool {
        !self.closed.iter().any(|(closed, _)| *closed == connection)
    }
}

/// What happens on a shard's sockets.
pub trait Handler: 'static {
    /// What other threads may tell it.
    type Command: Send + 'static;
    /// What is known of a connection when it opens.
    type Session: Send + 'static;
    /// A connection has opened.
    fn opened(&mut self, out: &mut Outbox, connection: ConnectionId, session: Self::Session);
    /// A message has come.
    fn message(&mut self, out: &mut Outbox, connection: ConnectionId, message: Message<'_>, now: Instant);
    /// A connection is gone.
    fn closed(&mut self, out: &mut Outbox, connection: ConnectionId);
    /// Another thread says something.
    fn command(&mut self, out: &mut Outbox, command: Self::Command, now: Instant);
    /// Time has passed.
    fn tick(&mut self, out: &mut Outbox, now: Instant);
}

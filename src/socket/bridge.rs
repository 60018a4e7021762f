//! Joins the hub to the sockets: the hub knows nothing of them, they know nothing of channels.

use std::time::Instant;

use bytes::Bytes;

use super::{Handler, Outbox};
use crate::hub::{self, ConnectionId, Session, Shard, ShardCommand};
use crate::protocol::Message;

impl hub::Outbox for Outbox {
    fn send(&mut self, connection: ConnectionId, frame: Bytes) {
        Self::send(self, connection, frame);
    }

    fn close(&mut self, connection: ConnectionId, code: u16, reason: &str) {
        Self::close(self, connection, code, reason);
    }
}

impl Handler for Shard {
    type Command = ShardCommand;
    type Session = Session;

    fn opened(&mut self, _out: &mut Outbox, connection: ConnectionId, session: Session) {
        Self::opened(self, connection, session);
    }

    fn message(&mut self, out: &mut Outbox, connection: ConnectionId, message: Message<'_>, now: Instant) {
        Self::message(self, out, connection, message, now);
    }

    fn closed(&mut self, out: &mut Outbox, connection: ConnectionId) {
        Self::closed(self, out, connection);
    }

    fn command(&mut self, out: &mut Outbox, command: ShardCommand, now: Instant) {
        Self::command(self, out, command, now);
    }

    fn tick(&mut self, out: &mut Outbox, now: Instant) {
        Self::tick(self, out, now);
    }
}

//! Messages of private channels that wait for what policies let them send. They are sent in their order, or not.

use std::time::Instant;

use super::{Shard, closed_frame};
use crate::channel::{Held, HeldMessage, HeldPayload, MessageRef, Payload, Reply, Rights};
use crate::hub::session::Entry;
use crate::hub::waiting::{Awaited, Private};
use crate::hub::{ConnectionId, Outbox};
use crate::protocol::{Dialect, Incoming};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// The events that can wait, by the names that outlive their frames.
const EVENTS: [&str; 2] = ["broadcast", "presence"];

/// Messages that wait.
impl Shard {
    /// Keeps a message, and asks what its channel may send unless that has been asked. One that cannot be kept is
    /// dropped like one that is denied.
    pub(super) fn hold(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        join: u32,
        (event, payload, reference): (&str, Payload<'_>, &MessageRef<'_>),
        now: Instant,
    ) {
        let Some(event) = EVENTS.into_iter().find(|name| *name == event) else { return };
        // Measured before it is copied.
        if !self.has_room_for(id, join, payload.bytes()) {
            if event == "presence" {
                self.counters.denied_messages.add(1);
                self.reply(out, id, join, reference, &Reply::Error);
            } else {
                self.deny(id);
            }
        } else {
            let message = HeldMessage::Event(event, HeldPayload::new(payload));
            self.keep(id, join, Held { reference: reference.to_static(), at: now, message });
        }
        if self.private_mut(id, join).is_some_and(|private| private.write.is_none()) {
            self.ask_write(out, id, join, now);
        }
    }

    /// Has a leave wait behind the messages before it. Answers whether it does.
    pub(super) fn hold_leave(
        &mut self,
        id: ConnectionId,
        join: u32,
        reference: &MessageRef<'_>,
        now: Instant,
    ) -> bool {
        let waits = self.private_mut(id, join).is_some_and(|private| !private.held.is_empty());
        if !waits || !self.has_room_for(id, join, 0) {
            return false;
        }
        let message = HeldMessage::Leave;
        self.keep(id, join, Held { reference: reference.to_static(), at: now, message });
        true
    }

    /// A broadcast is dropped, and its sender is not told.
    pub(super) fn deny(&self, id: ConnectionId) {
        self.counters.denied_messages.add(1);
        report!(info, Code::UnableToHandleBroadcast, socket = %id, "broadcast not sent: no policy allows it");
    }

    fn has_room_for(&mut self, id: ConnectionId, join: u32, bytes: usize) -> bool {
        let (messages_max, bytes_max) = (self.config.held_messages_max, self.config.held_bytes_max);
        let has_room_here = self.held_bytes + bytes <= self.config.held_bytes_shard_max;
        self.private_mut(id, join).is_some_and(|private| {
            has_room_here && private.held.len() < messages_max && private.held_bytes + bytes <= bytes_max
        })
    }

    fn keep(&mut self, id: ConnectionId, join: u32, held: Held) {
        let bytes = held.bytes();
        let Some(private) = self.private_mut(id, join) else { return };
        private.held_bytes += bytes;
        private.held.push_back(held);
        self.held_bytes += bytes;
    }

    /// It is known what a channel may send; `None`: it is not, and nothing that waits is sent.
    pub(super) fn write_answered(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        join: u32,
        rights: Option<Rights>,
    ) {
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let Some(private) = &mut entry.private else { return };
        let asked = private.write.take();
        let held = std::mem::take(&mut private.held);
        self.held_bytes = self.held_bytes.saturating_sub(std::mem::take(&mut private.held_bytes));
        entry.channel.set_write(Some(rights.unwrap_or_default()));
        let topic = entry.channel.topic().clone();
        if let Some(asked) = asked {
            self.deadlines.remove(&(asked.due, id, join, Awaited::Write));
        }
        let Some(dialect) = self.connections.get(id).map(|open| open.session.dialect) else { return };
        for held in held {
            // One of them may have ended the channel.
            if self.connections.entry_mut(id, join).is_none() {
                return;
            }
            match &held.message {
                HeldMessage::Event(event, payload) => {
                    let incoming = Incoming {
                        join_ref: MessageRef::NULL,
                        reference: held.reference.clone(),
                        topic: topic.as_str().into(),
                        event: (*event).into(),
                        payload: payload.get(),
                    };
                    self.event(out, id, dialect, incoming, held.at);
                }
                HeldMessage::Leave => return self.end(out, id, join, dialect, &held.reference),
            }
        }
        if rights.is_none()
            && let Some(entry) = self.connections.entry_mut(id, join)
        {
            // The next message asks again.
            entry.channel.set_write(None);
        }
    }

    /// Ends a channel because its client leaves it.
    pub(super) fn end(
        &mut self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        join: u32,
        dialect: Dialect,
        reference: &MessageRef<'_>,
    ) {
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let topic = entry.channel.topic().clone();
        out.send(id, dialect.reply(topic.as_str(), entry.channel.push_ref(), reference, &Reply::Ok));
        out.send(id, closed_frame(dialect, entry));
        self.remove(out, id, topic.as_str());
    }

    /// Answers a message of a joined channel.
    fn reply(
        &self,
        out: &mut dyn Outbox,
        id: ConnectionId,
        join: u32,
        reference: &MessageRef<'_>,
        reply: &Reply,
    ) {
        let Some((connection, entry)) = self.connections.channel(self.channel_ref(id, join)) else { return };
        let topic = entry.channel.topic().as_str();
        out.send(id, connection.session.dialect.reply(topic, entry.channel.push_ref(), reference, reply));
    }

    /// What a private channel waits for.
    pub(super) fn private_mut(&mut self, id: ConnectionId, join: u32) -> Option<&mut Private> {
        self.connections.entry_mut(id, join)?.private.as_deref_mut()
    }

    /// A channel is gone, and what it waited for is not needed any more.
    pub(super) fn forget_private(&mut self, id: ConnectionId, entry: &Entry) {
        let Some(private) = &entry.private else { return };
        self.held_bytes = self.held_bytes.saturating_sub(private.held_bytes);
        for (ask, awaited) in [(private.read, Awaited::Read), (private.write, Awaited::Write)] {
            if let Some(ask) = ask {
                self.deadlines.remove(&(ask.due, id, entry.join, awaited));
            }
        }
    }
}

//! The people behind channels, where messaging is on: each channel counts as a device of the person that its token is
//! about, and what it is sent counts as sent to them.

use super::Shard;
use crate::hub::{ChannelRef, ConnectionId, Sent};
use crate::policy::Claims;
use crate::postgres::messaging::{Person, Seat};

/// People.
impl Shard {
    /// A device of the person that these claims are about.
    pub(super) fn device(&self, claims: &Claims) -> Option<Box<Seat>> {
        let messaging = self.links.messaging.as_ref()?;
        Some(Box::new(messaging.people.enter(Person::of(claims)?)))
    }

    /// A channel has a new token, which may be about somebody else.
    pub(super) fn change_device(&mut self, id: ConnectionId, join: u32, claims: &Claims) {
        let Some(messaging) = &self.links.messaging else { return };
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let person = Person::of(claims);
        if entry.device.as_ref().map(|device| device.person()) != person {
            entry.device = person.map(|person| Box::new(messaging.people.enter(person)));
        }
    }

    /// A message has been queued for these channels.
    pub(super) fn note_sent(&self, sent: &Sent, channels: &[ChannelRef]) {
        let Some(messaging) = &self.links.messaging else { return };
        let devices =
            channels.iter().filter_map(|channel| self.connections.channel(*channel)?.1.device.as_ref());
        for person in devices.map(|device| device.person()) {
            if Some(person) != sent.sender {
                messaging.deliveries.note(sent.message_id, person);
            }
        }
    }
}

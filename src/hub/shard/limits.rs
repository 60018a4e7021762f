//! What the whole server allows, as one shard meets it.

use super::Shard;
use crate::channel::{Closing, Refusal};
use crate::hub::rooms::{Hears, RoomId};
use crate::hub::{ConnectionId, Outbox};

/// Limits of the whole server.
impl Shard {
    /// Whether a socket may try a join now, and counts it as tried.
    pub(super) fn try_join(&self, id: ConnectionId) -> Result<(), Refusal> {
        let meters = &self.links.meters;
        let is_user = self.connections.get(id).is_some_and(|connection| connection.is_user);
        if !is_user && meters.users.is_full() {
            return Err(Refusal::TooManyUsers);
        }
        if meters.joins.is_reached() {
            return Err(Refusal::TooManyJoins);
        }
        meters.joins.add(1);
        Ok(())
    }

    /// Counts a socket with its first channel as a user, until it closes.
    pub(super) fn enter_user(&mut self, id: ConnectionId) -> Result<(), Refusal> {
        match self.connections.get_mut(id) {
            Some(connection) if !connection.is_user => {
                connection.is_user = self.links.meters.users.enter();
                connection.is_user.then_some(()).ok_or(Refusal::TooManyUsers)
            }
            _ => Ok(()),
        }
    }

    /// Ends the channels that have just got a broadcast, if the server is over its rate of events.
    ///
    /// Nothing is lost on the way there: whoever is ended has the message, and is told why.
    pub(super) fn hold_to_event_rate(
        &mut self,
        out: &mut dyn Outbox,
        room: RoomId,
        except: Option<(ConnectionId, u32)>,
    ) {
        if !self.links.meters.events.is_reached() {
            return;
        }
        let members = self.rooms.members(room).iter().filter(|member| member.hears != Hears::Nothing);
        let members = members.map(|member| (member.connection, member.join));
        let receivers: Vec<_> = members.filter(|member| Some(*member) != except).collect();
        for (id, join) in receivers {
            self.close(out, id, join, &Closing::TooManyEvents);
        }
    }

    /// Whether one more presence message of a client fits; counts it if so, and ends the channel if not.
    pub(super) fn admit_presence(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32) -> bool {
        let is_over = self.links.meters.presence_events.is_exceeded();
        if is_over {
            self.close(out, id, join, &Closing::TooManyPresenceEvents);
        } else {
            self.links.meters.presence_events.add(1);
        }
        !is_over
    }
}

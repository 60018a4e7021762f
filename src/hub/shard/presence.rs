//! A shard's two parts in presence: home of some rooms, and with members in others.

use std::sync::Arc;

use super::Shard;
use crate::hub::rooms::Watch;
use crate::hub::{ChannelRef, ConnectionId, Outbox, PresenceNews, PresenceUpdate, ShardCommand};

/// Presence.
impl Shard {
    /// Tells the room's home what a channel tracks now.
    pub(super) fn present(&mut self, out: &mut dyn Outbox, id: ConnectionId, join: u32, wants_state: bool) {
        let channel = self.channel_ref(id, join);
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let tracked = entry.channel.presence_payload().cloned();
        entry.announced |= tracked.is_some();
        let key = Arc::clone(entry.channel.presence_key());
        let room = self.rooms.name(entry.room).clone();
        self.announce(out, PresenceUpdate { room, channel, key, tracked, wants_state });
    }

    /// A private channel that joined without presence and tracks all the same gets diffs from then on.
    pub(super) fn watch_late(&mut self, id: ConnectionId, join: u32) {
        let Some(entry) = self.connections.entry_mut(id, join) else { return };
        let (room, place) = (entry.room, entry.place);
        let is_paused = entry.private.as_ref().is_some_and(|private| private.pause.is_some());
        let tracks = entry.channel.is_private() && !is_paused && entry.channel.presence_payload().is_some();
        if tracks && entry.channel.reads().presence && self.rooms.members(room)[place].watch == Watch::Nothing
        {
            self.rooms.set_watch(room, place, Watch::DiffsOnly);
        }
    }

    pub(super) fn announce(&mut self, out: &mut dyn Outbox, update: PresenceUpdate) {
        let home = self.directory.home(&update.room);
        if self.draining {
            // Everybody is about to go: nobody needs to hear of each.
        } else if home == self.me {
            self.apply_presence(out, &update);
        } else if self.unsent.has_update(update.channel) {
            self.unsent.keep_update(update);
        } else if self.links.peers.try_send(home, ShardCommand::Presence(update.clone())).is_err() {
            self.counters.delayed_presence.add(1);
            self.unsent.keep_update(update);
        }
    }

    /// As the home of a room: applies an update and tells all shards with members.
    pub(super) fn apply_presence(&mut self, out: &mut dyn Outbox, update: &PresenceUpdate) {
        let room = &update.room;
        if let Some(payload) = self.homes.apply(update) {
            for shard in self.directory.shards_with(room) {
                self.tell(
                    out,
                    shard,
                    PresenceNews::Diff { room: room.clone(), payload: Arc::clone(&payload) },
                );
            }
        }
        if update.wants_state {
            let payload = self.homes.state(room);
            let state = PresenceNews::State { room: room.clone(), channel: Some(update.channel), payload };
            self.tell(out, update.channel.shard, state);
        }
    }

    /// As the home of a room: tells one shard, or notes that it must get the whole state later.
    fn tell(&mut self, out: &mut dyn Outbox, shard: u16, news: PresenceNews) {
        let (PresenceNews::Diff { room, .. } | PresenceNews::State { room, .. }) = &news;
        if shard == self.me {
            self.presence_news(out, &news);
        } else if self.unsent.has_room(shard, room) {
            self.counters.delayed_presence.add(1);
        } else {
            let room = room.clone();
            if self.links.peers.try_send(shard, ShardCommand::PresenceNews(news)).is_err() {
                self.counters.delayed_presence.add(1);
                self.unsent.keep_room(shard, room);
            }
        }
    }

    /// As a shard with members: passes on what the home says.
    pub(super) fn presence_news(&mut self, out: &mut dyn Outbox, news: &PresenceNews) {
        match news {
            PresenceNews::Diff { room, payload } => {
                if let Some(room) = self.rooms.find(room) {
                    let delivered = self.rooms.presence_diff(out, room, payload);
                    self.links.meters.presence_events.add(delivered);
                }
            }
            PresenceNews::State { channel: Some(channel), payload, .. } => {
                self.presence_state(out, *channel, payload);
            }
            PresenceNews::State { room, channel: None, payload } => {
                let Some(room) = self.rooms.find(room) else { return };
                let wants_state = |watch: Watch| matches!(watch, Watch::AwaitsState | Watch::Live);
                let watchers = self.rooms.members(room).iter().filter(|member| wants_state(member.watch));
                let watchers: Vec<_> =
                    watchers.map(|member| self.channel_ref(member.connection, member.join)).collect();
                for channel in watchers {
                    self.presence_state(out, channel, payload);
                }
            }
        }
    }

    fn presence_state(&mut self, out: &mut dyn Outbox, channel: ChannelRef, payload: &str) {
        let Some((connection, entry)) = self.connections.channel(channel) else { return };
        // It may have lost the right to see it since it asked.
        let is_paused = entry.private.as_ref().is_some_and(|private| private.pause.is_some());
        if is_paused || !entry.channel.reads().presence {
            return;
        }
        let topic = entry.channel.topic().as_str();
        let dialect = connection.session.dialect;
        out.send(
            channel.connection,
            dialect.push(topic, entry.channel.push_ref(), "presence_state", payload),
        );
        self.rooms.set_watch(entry.room, entry.place, Watch::Live);
    }

    /// Tries again what did not fit into queues.
    pub(super) fn flush_presence(&mut self, out: &mut dyn Outbox) {
        for update in self.unsent.take_updates().into_values() {
            self.announce(out, update);
        }
        for (shard, room) in self.unsent.take_rooms() {
            let payload = self.homes.state(&room);
            self.tell(out, shard, PresenceNews::State { room, channel: None, payload });
        }
    }

    /// A key for a channel that brought none, in the shape of a UUID.
    pub(super) fn fresh_presence_key(&mut self) -> Arc<str> {
        self.presence_keys = self.presence_keys.wrapping_add(1);
        let half = |half: u8| self.directory.keyed(&(self.me, self.presence_keys, half)).to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half(0));
        bytes[8..].copy_from_slice(&half(1));
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string().into()
    }
}

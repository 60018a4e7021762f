//! The rooms of one shard: which of its channels are in which, and sending to all of them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use slab::Slab;

use super::peers::{Directory, Occupancy, RoomName};
use super::replay::Replays;
use super::{ConnectionId, Outbox, Seen, StreamedCommit};
use crate::channel::{Broadcast, MessageRef};
use crate::protocol::Dialect;
use crate::wal::Lsn;

/// A room's place in its shard, valid while it has members.
pub(super) type RoomId = usize;

/// One channel in a room: what sending to it takes, and no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) connection: ConnectionId,
    pub(super) join: u32,
    pub(super) dialect: Dialect,
    pub(super) watch: Watch,
    pub(super) hears: Hears,
}

/// Which broadcasts a channel gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hears {
    /// None: policies do not let it.
    Nothing,
    /// All.
    Everything,
    /// None yet, and what comes meanwhile later; or all but those that its replay has seen.
    Replay,
}

/// How a channel takes part in its topic's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// It gets none of it: policies do not let it, or it is private and takes no part.
    Nothing,
    /// It did not ask for presence. A public channel gets diffs all the same, as clients that start to track late
    /// need them; a private one that has tracked.
    DiffsOnly,
    /// It has asked for the state. The diffs until then are in that state.
    AwaitsState,
    /// It has its state and gets every diff since.
    Live,
}

struct Room {
    name: RoomName,
    members: Vec<Member>,
}

/// All rooms that have members on this shard.
pub(super) struct Rooms {
    ids: HashMap<RoomName, RoomId>,
    rooms: Slab<Room>,
    occupancy: Occupancy,
    replays: Replays,
}

impl Rooms {
    pub(super) fn new(me: u16, directory: Arc<Directory>) -> Self {
        Self {
            ids: HashMap::new(),
            rooms: Slab::new(),
            occupancy: Occupancy::new(me, directory),
            replays: Replays::default(),
        }
    }

    pub(super) fn find(&self, name: &RoomName) -> Option<RoomId> {
        self.ids.get(name).copied()
    }

    pub(super) fn name(&self, room: RoomId) -> &RoomName {
        &self.rooms[room].name
    }

    pub(super) fn members(&self, room: RoomId) -> &[Member] {
        &self.rooms[room].members
    }

    /// Adds a member. Answers the room and the member's place in it.
    pub(super) fn enter(&mut self, name: RoomName, member: Member) -> (RoomId, usize) {
        let id = match self.ids.get(&name) {
            Some(id) => *id,
            None => {
                self.occupancy.opened(&name);
                let id = self.rooms.insert(Room { name: name.clone(), members: Vec::new() });
                self.ids.insert(name, id);
                id
            }
        };
        if member.hears == Hears::Replay {
            self.replays.begin((member.connection, member.join));
        }
        let members = &mut self.rooms[id].members;
        members.push(member);
        (id, members.len() - 1)
    }

    /// Removes the member in `place`. Answers the member who has that place now, if another moved there.
    pub(super) fn leave(&mut self, room: RoomId, place: usize) -> Option<Member> {
        let members = &mut self.rooms[room].members;
        let left = members.swap_remove(place);
        if left.hears == Hears::Replay {
            self.replays.forget((left.connection, left.join));
        }
        let moved = members.get(place).copied();
        if members.is_empty() {
            let Room { name, .. } = self.rooms.remove(room);
            self.occupancy.emptied(&name);
            self.ids.remove(&name);
        }
        moved
    }

    pub(super) fn set_watch(&mut self, room: RoomId, place: usize, watch: Watch) {
        self.rooms[room].members[place].watch = watch;
    }

    /// Has a member get all broadcasts from now on.
    pub(super) fn hear(&mut self, room: RoomId, place: usize) {
        self.rooms[room].members[place].hears = Hears::Everything;
    }

    /// Keeps broadcasts from a member until [`Self::resume`], and presence; answers how it took part in that.
    pub(super) fn pause(&mut self, room: RoomId, place: usize) -> Watch {
        let member = &mut self.rooms[room].members[place];
        if member.hears != Hears::Nothing {
            member.hears = Hears::Replay;
            self.replays.pause((member.connection, member.join));
        }
        std::mem::replace(&mut member.watch, Watch::Nothing)
    }

    /// A member gets broadcasts again. Answers what it has missed, in order; `None` if that was too much to keep.
    pub(super) fn resume(&mut self, room: RoomId, place: usize) -> Option<Vec<Bytes>> {
        let member = &mut self.rooms[room].members[place];
        if member.hears == Hears::Nothing {
            return Some(Vec::new());
        }
        let key = (member.connection, member.join);
        let missed = self.replays.resume(key);
        member.hears = if self.replays.knows(key) { Hears::Replay } else { Hears::Everything };
        missed
    }

    /// A member that waited gets a replay that has seen this much. Answers what it has missed meanwhile, in order;
    /// `None` if that was too much to keep.
    pub(super) fn finish_replay(
        &mut self,
        room: RoomId,
        place: usize,
        seen: Arc<Seen>,
    ) -> Option<Vec<Bytes>> {
        let member = &mut self.rooms[room].members[place];
        let key = (member.connection, member.join);
        let missed = self.replays.finish(key, seen)?;
        if !self.replays.knows(key) {
            member.hears = Hears::Everything;
        }
        Some(missed)
    }

    /// The log has another history after `shared`: what replays have seen of it there says nothing any more.
    pub(super) fn forked(&mut self, shared: Lsn) {
        self.replays.forked(shared);
    }

    /// Sends a broadcast to all members who may hear it but one. `commit` is the one it came with, of the database.
    /// Answers how many got it.
    pub(super) fn broadcast(
        &mut self,
        out: &mut dyn Outbox,
        room: RoomId,
        message: &Broadcast<'_>,
        commit: Option<StreamedCommit>,
        except: Option<(ConnectionId, u32)>,
    ) -> u64 {
        let Room { name, members } = &self.rooms[room];
        let replays = &mut self.replays;
        let receivers = members.iter().filter(|member| {
            member.hears != Hears::Nothing && Some((member.connection, member.join)) != except
        });
        send_to_all(
            out,
            receivers,
            |dialect| dialect.broadcast(name.topic(), message),
            |member, frame| {
                member.hears == Hears::Everything
                    || replays.take((member.connection, member.join), commit, frame)
            },
        )
    }

    /// Sends a presence diff to all who can make sense of it. Answers how many got it.
    pub(super) fn presence_diff(&self, out: &mut dyn Outbox, room: RoomId, payload: &str) -> u64 {
        let Room { name, members } = &self.rooms[room];
        let receivers =
            members.iter().filter(|member| matches!(member.watch, Watch::DiffsOnly | Watch::Live));
        let encode =
            |dialect: Dialect| Some(dialect.push(name.topic(), &MessageRef::NULL, "presence_diff", payload));
        send_to_all(out, receivers, encode, |_, _| true)
    }
}

/// Encodes once for each dialect that somebody has, and sends to whoever takes it now. Answers how many got it.
fn send_to_all<'a>(
    out: &mut dyn Outbox,
    receivers: impl Iterator<Item = &'a Member>,
    encode: impl Fn(Dialect) -> Option<Bytes>,
    mut takes: impl FnMut(&Member, &Bytes) -> bool,
) -> u64 {
    let (mut v1, mut v2) = (None, None);
    let mut sent = 0;
    for member in receivers {
        let frame = match member.dialect {
            Dialect::V1 => &mut v1,
            Dialect::V2 => &mut v2,
        };
        if let Some(frame) = frame.get_or_insert_with(|| encode(member.dialect))
            && takes(member, frame)
        {
            out.send(member.connection, frame.clone());
            sent += 1;
        }
    }
    sent
}

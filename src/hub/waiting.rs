//! What waits for an answer of the authorizer: joins on their way, and private channels that were joined.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::ConnectionId;
use super::engine::Basis;
use super::rooms::{RoomId, Watch};
use crate::channel::{Held, JoinRequest, MessageRef, Rights, Topic, Unanswered};
use crate::policy::Claims;
use crate::protocol::Dialect;

/// One `phx_join`, whatever becomes of it.
pub(super) struct Attempt {
    pub(super) id: ConnectionId,
    pub(super) dialect: Dialect,
    /// The whole topic, which may be none that can be joined.
    pub(super) topic: Arc<str>,
    pub(super) join_ref: MessageRef<'static>,
    pub(super) reference: MessageRef<'static>,
    pub(super) arrived: Instant,
    /// The end of the channel that the socket had on this topic. The client hears of it after the answer, so
    /// that it is not taken for the end of the new one.
    pub(super) replaced: Option<Bytes>,
}

/// A join that has passed every check that can be made at once.
pub(super) struct Granted {
    pub(super) join: u32,
    pub(super) topic: Topic,
    pub(super) request: JoinRequest,
    pub(super) token: Arc<str>,
    pub(super) claims: Arc<Claims>,
}

/// A place in a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) room: RoomId,
    pub(super) place: usize,
}

/// What the answers have made of a private join.
pub(super) struct Admission {
    /// What it may read.
    pub(super) read: Rights,
    /// Who has said so.
    pub(super) source: Source,
    /// What the answer in memory was made of, if there was one.
    pub(super) basis: Basis,
    /// Its place in the room, where it has one already.
    pub(super) seat: Option<Seat>,
    /// What follows its reply: stored broadcasts, and what was sent while they were read.
    pub(super) frames: Vec<Bytes>,
}

/// One question at the authorizer's, or on the way there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// Its number; `None` while it has not been put.
    pub(super) number: Option<u32>,
    /// The state of the policies when it was put; `None` once there is a newer token to ask for.
    pub(super) epoch: Option<u64>,
    /// Until when there must be an answer.
    pub(super) due: Instant,
    /// Whether it is put again, until it is due, when there was no answer.
    pub(super) patient: bool,
    /// Why there was no answer the last time.
    pub(super) failed: Option<Unanswered>,
}

impl Ask {
    /// A question that has not been put.
    pub(super) fn new(due: Instant, patient: bool) -> Self {
        Self { number: None, epoch: None, due, patient, failed: None }
    }
}

/// A private join that waits.
pub(super) struct Waiting {
    pub(super) attempt: Attempt,
    pub(super) granted: Granted,
    pub(super) ask: Ask,
    pub(super) inquiries: u32,
    /// What it may read and its place in the room, once it waits for stored broadcasts.
    pub(super) replay: Option<(Rights, Seat)>,
    /// How long its payload was.
    pub(super) payload_bytes: usize,
    /// Who has said what it may read, as far as that is known.
    pub(super) source: Source,
    /// What the answer in memory was made of, if there was one.
    pub(super) basis: Basis,
}

/// Who has said what a channel may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    /// Postgres, which may know of commits that the stream has yet to bring.
    #[default]
    Postgres,
    /// Compiled policies, by what the stream has brought.
    Memory,
}

/// A channel that hears nothing until it is known what it may read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    /// Whether it gets later what it does not hear.
    pub(super) keeps: bool,
    /// How it took part in presence.
    pub(super) watch: Watch,
}

impl Waiting {
    pub(super) fn join(&self) -> u32 {
        self.granted.join
    }
}

/// What a private channel waits for.
#[derive(Default)]
pub(super) struct Private {
    pub(super) inquiries: u32,
    /// What it may read, after a new token or new policies.
    pub(super) read: Option<Ask>,
    /// What it may send.
    pub(super) write: Option<Ask>,
    /// The messages that wait for that.
    pub(super) held: VecDeque<Held>,
    pub(super) held_bytes: usize,
    /// Who has said what it may read.
    pub(super) source: Source,
    /// When it was let in, or went on with a new token.
    pub(super) granted_at: Option<Instant>,
    /// What answers in memory about reading and writing were made of.
    pub(super) read_basis: Basis,
    pub(super) write_basis: Basis,
    pub(super) pause: Option<Pause>,
}

/// Joins that wait, all together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WaitingTotal {
    pub(super) joins: usize,
    pub(super) payload_bytes: usize,
}

impl WaitingTotal {
    pub(super) fn add(&mut self, waiting: &Waiting) {
        self.joins += 1;
        self.payload_bytes += waiting.payload_bytes;
    }

    pub(super) fn remove(&mut self, waiting: &Waiting) {
        self.joins = self.joins.saturating_sub(1);
        self.payload_bytes = self.payload_bytes.saturating_sub(waiting.payload_bytes);
    }
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    /// What it may read; for a join, whatever it waits for.
    Read,
    /// What it may send.
    Write,
}

/// By when an answer about a channel must be there.
pub(super) type Deadline = (Instant, ConnectionId, u32, Awaited);

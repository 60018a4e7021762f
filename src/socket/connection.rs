//! The writing side of a shard's connections.
//!
//! In: frames for connections, shared and finished. Out: as few writes as possible. A frame is queued on its
//! connection; once the handler has returned, each connection with a queue is written once, its frames
//! joined. What the kernel does not take stays queued, as the connection's *backlog*, until it does.
//!
//! ```text
//!          send            kernel takes all
//!   ┌─ Idle ───▶ Dirty ─────────────────────▶ Idle
//!   │              │ kernel is full               ▲
//!   │              ▼                              │ backlog is empty
//!   │           Blocked ──────────────────────────┘
//!   │              │ too much, or too old: 1008
//!   └──── close ───┴────▶ Closing ─▶ gone
//! ```
//!
//! **Invariants:** the frames of a connection leave in the order they were queued; a close frame never splits
//! another frame; the handler hears of each end once.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use slab::Slab;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::metrics::{CloseReason, ShardMetrics};
use super::options::ShardConfig;
use crate::hub::ConnectionId;
use crate::protocol::code::{CLOSE_IDLE, CLOSE_SLOW};
use crate::protocol::frame::close_frame;
use crate::telemetry::report::report;

/// Frames are joined into one write up to this size. Larger frames are written alone.
const JOINED_BYTES_MAX: usize = 64 * 1024;
/// A connection with this many queued frames is written before another is queued, which bounds what one call
/// of a handler can pile up.
const QUEUED_FRAMES_MAX: usize = 64;
/// An empty queue gives its memory back above this capacity, in frames.
const IDLE_QUEUE_CAPACITY: usize = 4;

/// A place on a shard for one connection, counted from the moment it is taken until the connection is gone.
#[derive(Debug)]
pub struct Place {
    metrics: Arc<ShardMetrics>,
    /// Its share of a bound on connections, if there is one.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    pub(super) fn new(metrics: Arc<ShardMetrics>, permit: Option<OwnedSemaphorePermit>) -> Self {
        metrics.connections.add(1);
        Self { metrics, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.subtract(1);
    }
}

/// Where a handler leaves frames, and closes connections.
pub struct Outbox {
    config: ShardConfig,
    metrics: Arc<ShardMetrics>,
    /// When the current turn of the shard began.
    now: Instant,
    connections: Slab<Connection>,
    generation_next: u32,
    /// Connections with frames to write, in the order they got their first one.
    dirty: VecDeque<usize>,
    /// Connections whose kernel buffer became full in this turn; each needs a flush task.
    blocked: Vec<ConnectionId>,
    /// Connections that have ended; the handler is to be told.
    ended: VecDeque<ConnectionId>,
    /// The bytes of all backlogs.
    backlog_bytes: usize,
    /// Where frames are joined.
    joined: Vec<u8>,
}

struct Connection {
    generation: u32,
    phase: Phase,
    dirty: bool,
    /// Whether a flush task waits for the kernel; the queue is then the backlog.
    blocked: bool,
    /// Whether a part of the first queued frame has been written.
    head_started: bool,
    /// Whether the client's close frame has come; once ours is written, both sides are done.
    client_closed: bool,
    stream: Rc<TcpStream>,
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    last_read: Instant,
    _place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// A close frame is queued or written; of what the client sends, only its close frame matters.
    Closing {
        /// When the stream is dropped, whatever the client does.
        until: Instant,
    },
}

struct Queued {
    frame: Bytes,
    since: Instant,
}

impl Outbox {
    pub(super) fn new(config: ShardConfig, metrics: Arc<ShardMetrics>, now: Instant) -> Self {
        Self {
            config,
            metrics,
            now,
            connections: Slab::new(),
            generation_next: 0,
            dirty: VecDeque::new(),
            blocked: Vec::new(),
            ended: VecDeque::new(),
            backlog_bytes: 0,
            joined: Vec::new(),
        }
    }

    /// Queues a finished frame, as [`crate::protocol::frame`] makes them. Without effect once the connection is
    /// not open any more. A client that does not read is closed instead, see [`ShardConfig`].
    pub fn send(&mut self, connection: ConnectionId, frame: Bytes) {
        let Some((slot, entry)) = self.open_entry(connection) else { return };
        if !entry.blocked && (entry.queue_bytes >= JOINED_BYTES_MAX || entry.queue.len() >= QUEUED_FRAMES_MAX)
        {
            self.write(slot);
        }
        // Writing may have ended it, or blocked it.
        let backlog_bytes_max = self.config.backlog_bytes_max;
        let Some((slot, entry)) = self.open_entry(connection) else { return };
        if entry.blocked && entry.queue_bytes >= backlog_bytes_max {
            self.close_slow(slot, CloseReason::SlowConsumer);
        } else {
            self.push(slot, frame);
            self.shed();
        }
    }

    /// Ends a connection: what is queued is written, then a close frame with this code and reason. At once it
    /// is not open any more.
    pub fn close(&mut self, connection: ConnectionId, code: u16, reason: &str) {
        self.close_as(connection, Some(code), reason, CloseReason::Handler);
    }

    /// [`Self::close`] for every connection of the shard.
    pub fn close_all(&mut self, code: u16, reason: &str) {
        self.close_all_as(code, reason, CloseReason::Handler);
    }

    /// Whether frames for this connection still go anywhere.
    pub fn is_open(&self, connection: ConnectionId) -> bool {
        usize::try_from(connection.slot)
            .ok()
            .and_then(|slot| self.connections.get(slot))
            .is_some_and(|entry| entry.generation == connection.generation && entry.phase == Phase::Open)
    }

    /// How many bytes wait for this connection's client to read: zero while it keeps up.
    pub fn backlog_bytes(&self, connection: ConnectionId) -> usize {
        usize::try_from(connection.slot)
            .ok()
            .and_then(|slot| self.connections.get(slot))
            .filter(|entry| entry.generation == connection.generation && entry.blocked)
            .map_or(0, |entry| entry.queue_bytes)
    }

    /// How many connections the shard holds, closing ones included.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// The counters of the shard.
    pub fn metrics(&self) -> &Arc<ShardMetrics> {
        &self.metrics
    }

    /// When the current turn of the shard began.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    pub(super) fn open(&mut self, stream: Rc<TcpStream>, place: Place) -> ConnectionId {
        let generation = self.generation_next;
        self.generation_next = generation.wrapping_add(1);
        let slot = self.connections.insert(Connection {
            generation,
            phase: Phase::Open,
            dirty: false,
            blocked: false,
            head_started: false,
            client_closed: false,
            stream,
            queue: VecDeque::new(),
            queue_bytes: 0,
            last_read: self.now,
            _place: place,
        });
        self.metrics.opened.add(1);
        self.id(slot)
    }

    pub(super) fn close_as(
        &mut self,
        connection: ConnectionId,
        code: Option<u16>,
        reason: &str,
        why: CloseReason,
    ) {
        if let Some((slot, _)) = self.open_entry(connection) {
            self.begin_close(slot, close_frame(code, reason), why);
        }
    }

    pub(super) fn close_all_as(&mut self, code: u16, reason: &str, why: CloseReason) {
        let frame = close_frame(Some(code), reason);
        for slot in self.slots(|entry| entry.phase == Phase::Open) {
            self.begin_close(slot, frame.clone(), why);
        }
    }

    /// The client has sent something.
    pub(super) fn heard(&mut self, connection: ConnectionId, bytes: usize) {
        self.metrics.bytes_in.add_length(bytes);
        let now = self.now;
        if let Some((_, entry)) = self.open_entry(connection) {
            entry.last_read = now;
        }
    }

    /// The client has sent its close frame. It is answered with its own code, unless ours went before it.
    pub(super) fn client_closed(&mut self, connection: ConnectionId, code: Option<u16>) {
        self.close_as(connection, code, "", CloseReason::Client);
        let Some(slot) = self.slot(connection) else { return };
        let Some(entry) = self.connections.get_mut(slot) else { return };
        entry.client_closed = true;
        if entry.queue.is_empty() {
            self.remove(slot, CloseReason::Client);
        }
    }

    /// The stream has ended or failed.
    pub(super) fn lost(&mut self, connection: ConnectionId) {
        if let Some(slot) = self.slot(connection) {
            self.remove(slot, CloseReason::Lost);
        }
    }

    /// The stream of a connection that is still here, open or closing.
    pub(super) fn stream(&self, connection: ConnectionId) -> Option<&Rc<TcpStream>> {
        self.slot(connection).and_then(|slot| self.connections.get(slot)).map(|entry| &entry.stream)
    }

    /// Connections that need a flush task.
    pub(super) fn take_blocked(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.blocked)
    }

    /// The next connection whose end the handler has not heard of.
    pub(super) fn next_ended(&mut self) -> Option<ConnectionId> {
        self.ended.pop_front()
    }

    /// How many connections have frames to write.
    pub(super) fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// How many bytes wait for clients to read, all connections together.
    pub(super) fn backlog_bytes_total(&self) -> usize {
        self.backlog_bytes
    }

    /// Writes connections that have frames until about `writes_max` writes are made; returns how many
    /// connections had their turn.
    pub(super) fn flush(&mut self, writes_max: usize) -> usize {
        let mut writes = 0;
        let mut served = 0;
        while writes < writes_max {
            let Some(slot) = self.dirty.pop_front() else { break };
            served += 1;
            // The connection may be gone, or another may have its slot.
            let Some(entry) = self.connections.get_mut(slot) else { continue };
            if std::mem::take(&mut entry.dirty) && !entry.blocked {
                writes += self.write(slot);
            }
        }
        served
    }

    /// Goes on with a blocked connection; returns whether it is still blocked.
    pub(super) fn resume(&mut self, connection: ConnectionId) -> bool {
        let Some(slot) = self.slot(connection) else { return false };
        self.write(slot);
        self.slot(connection).and_then(|slot| self.connections.get(slot)).is_some_and(|entry| entry.blocked)
    }

    /// Ends what has taken too long.
    pub(super) fn sweep(&mut self) {
        let now = self.now;
        let (idle_timeout, age_max) = (self.config.idle_timeout, self.config.backlog_age_max);
        let passed = |since: Instant| now.saturating_duration_since(since);
        for slot in self.slots(|entry| matches!(entry.phase, Phase::Closing { until } if until <= now)) {
            self.remove(slot, CloseReason::Lost);
        }
        let old = |entry: &Connection| entry.queue.front().is_some_and(|head| passed(head.since) >= age_max);
        for slot in self.slots(|entry| entry.phase == Phase::Open && entry.blocked && old(entry)) {
            self.close_slow(slot, CloseReason::SlowConsumer);
        }
        for slot in self.slots(|entry| entry.phase == Phase::Open && passed(entry.last_read) >= idle_timeout)
        {
            self.begin_close(slot, close_frame(Some(CLOSE_IDLE.code), CLOSE_IDLE.reason), CloseReason::Idle);
        }
    }

    /// Drops every connection at once.
    pub(super) fn remove_all(&mut self) {
        for slot in self.slots(|_| true) {
            self.remove(slot, CloseReason::Drain);
        }
    }

    fn id(&self, slot: usize) -> ConnectionId {
        let generation = self.connections.get(slot).map_or(0, |entry| entry.generation);
        // Four billion connections at once need more descriptors than a process can have.
        ConnectionId { slot: u32::try_from(slot).unwrap_or(u32::MAX), generation }
    }

    fn slot(&self, connection: ConnectionId) -> Option<usize> {
        let slot = usize::try_from(connection.slot).ok()?;
        self.connections.get(slot).filter(|entry| entry.generation == connection.generation).map(|_| slot)
    }

    fn open_entry(&mut self, connection: ConnectionId) -> Option<(usize, &mut Connection)> {
        let slot = usize::try_from(connection.slot).ok()?;
        self.connections
            .get_mut(slot)
            .filter(|entry| entry.generation == connection.generation && entry.phase == Phase::Open)
            .map(|entry| (slot, entry))
    }

    fn slots(&self, which: impl Fn(&Connection) -> bool) -> Vec<usize> {
        self.connections.iter().filter(|(_, entry)| which(entry)).map(|(slot, _)| slot).collect()
    }

    fn push(&mut self, slot: usize, frame: Bytes) {
        let Some(entry) = self.connections.get_mut(slot) else { return };
        let bytes = frame.len();
        entry.queue_bytes += bytes;
        entry.queue.push_back(Queued { frame, since: self.now });
        if entry.blocked {
            self.set_backlog(self.backlog_bytes + bytes);
        } else if !entry.dirty {
            entry.dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// Writes a queue until it is empty or the kernel is full; returns how many writes that took.
    fn write(&mut self, slot: usize) -> usize {
        let mut writes = 0;
        let full = loop {
            let Some(entry) = self.connections.get_mut(slot) else { return writes };
            let Some(head) = entry.queue.front() else { break false };
            let alone = entry.queue.len() == 1 || head.frame.len() >= JOINED_BYTES_MAX;
            let bytes: &[u8] = if alone {
                &head.frame
            } else {
                self.joined.clear();
                for queued in &entry.queue {
                    if self.joined.len() + queued.frame.len() > JOINED_BYTES_MAX && !self.joined.is_empty() {
                        break;
                    }
                    self.joined.extend_from_slice(&queued.frame);
                }
                &self.joined
            };
            let offered = bytes.len();
            writes += 1;
            match entry.stream.try_write(bytes) {
                Ok(taken) => {
                    let frames = entry.advance(taken);
                    let was_blocked = entry.blocked;
                    self.metrics.frames_out.add(frames);
                    self.metrics.bytes_out.add_length(taken);
                    if was_blocked {
                        self.set_backlog(self.backlog_bytes - taken);
                    }
                    if taken < offered {
                        break true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => {
                    self.metrics.writes.add_length(writes);
                    self.remove(slot, CloseReason::Lost);
                    return writes;
                }
            }
        };
        self.metrics.writes.add_length(writes);
        if full {
            self.block(slot)
        } else {
            self.written(slot)
        }
        writes
    }

    /// The kernel takes no more: what is queued becomes the backlog, and a flush task is asked for.
    fn block(&mut self, slot: usize) {
        let id = self.id(slot);
        let Some(entry) = self.connections.get_mut(slot) else { return };
        if !entry.blocked {
            entry.blocked = true;
            let queue_bytes = entry.queue_bytes;
            self.blocked.push(id);
            self.set_backlog(self.backlog_bytes + queue_bytes);
            self.shed();
        }
    }

    /// The queue is empty.
    fn written(&mut self, slot: usize) {
        let Some(entry) = self.connections.get_mut(slot) else { return };
        entry.blocked = false;
        if entry.queue.capacity() > IDLE_QUEUE_CAPACITY {
            entry.queue = VecDeque::new();
        }
        match (entry.phase, entry.client_closed) {
            (Phase::Open, _) => {}
            (Phase::Closing { .. }, true) => self.remove(slot, CloseReason::Client),
            // The client sees the end of the stream behind the close frame and closes its side. Waiting for
            // that keeps bytes it still sends from resetting the stream, and with it the close frame.
            (Phase::Closing { .. }, false) => {
                let _ = SockRef::from(&*entry.stream).shutdown(Shutdown::Write);
            }
        }
    }

    /// Queues the close frame; from here on the connection is not open.
    fn begin_close(&mut self, slot: usize, frame: Bytes, why: CloseReason) {
        let until = self.now + self.config.close_timeout;
        let id = self.id(slot);
        let Some(entry) = self.connections.get_mut(slot) else { return };
        entry.phase = Phase::Closing { until };
        self.count_closed(id, why);
        self.ended.push_back(id);
        self.push(slot, frame);
    }

    fn count_closed(&self, id: ConnectionId, why: CloseReason) {
        self.metrics.count_closed(why);
        if let Some(code) = why.code() {
            report!(info, code, socket = %id, reason = why.label(), "socket closed");
        }
    }

    /// Closes a client that does not read. It gets the rest of the frame it has begun, then the close frame.
    fn close_slow(&mut self, slot: usize, why: CloseReason) {
        let Some(entry) = self.connections.get_mut(slot) else { return };
        let before = entry.queue_bytes;
        entry.queue.truncate(usize::from(entry.head_started));
        entry.queue_bytes = entry.queue.iter().map(|queued| queued.frame.len()).sum();
        entry.queue.shrink_to_fit();
        let dropped = before - entry.queue_bytes;
        if entry.blocked {
            self.set_backlog(self.backlog_bytes - dropped);
        }
        self.begin_close(slot, close_frame(Some(CLOSE_SLOW.code), CLOSE_SLOW.reason), why);
    }

    /// Ends the connections with the largest backlogs until all together are within their bound. Where much
    /// is left of a frame that was begun, the stream ends without a close frame, which could only follow it.
    fn shed(&mut self) {
        while self.backlog_bytes > self.config.backlogs_bytes_max {
            let largest = self
                .connections
                .iter()
                .filter(|(_, entry)| entry.blocked)
                .max_by_key(|(_, entry)| entry.queue_bytes)
                .map(|(slot, entry)| (slot, entry.phase));
            let Some((slot, phase)) = largest else { break };
            if phase == Phase::Open {
                self.close_slow(slot, CloseReason::Overload);
            }
            let left = self.connections.get(slot).map_or(0, |entry| entry.queue_bytes);
            if phase != Phase::Open || left > JOINED_BYTES_MAX {
                self.remove(slot, CloseReason::Overload);
            }
        }
    }

    fn remove(&mut self, slot: usize, why: CloseReason) {
        let id = self.id(slot);
        let Some(entry) = self.connections.try_remove(slot) else { return };
        if entry.blocked {
            self.set_backlog(self.backlog_bytes - entry.queue_bytes);
        }
        if entry.phase == Phase::Open {
            self.count_closed(id, why);
            self.ended.push_back(id);
        }
        // Wakes the tasks that wait on the stream; they see that the connection is gone and let go of it.
        let _ = SockRef::from(&*entry.stream).shutdown(Shutdown::Both);
    }

    fn set_backlog(&mut self, bytes: usize) {
        self.backlog_bytes = bytes;
        self.metrics.backlog_bytes.set_length(bytes);
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("connections", &self.connections.len())
            .field("dirty", &self.dirty.len())
            .field("backlog_bytes", &self.backlog_bytes)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Takes written bytes off the queue; returns how many frames they completed.
    fn advance(&mut self, mut taken: usize) -> u64 {
        self.queue_bytes -= taken;
        let mut frames = 0;
        while taken > 0 {
            let Some(head) = self.queue.front_mut() else { break };
            if taken < head.frame.len() {
                head.frame.advance(taken);
                self.head_started = true;
                break;
            }
            taken -= head.frame.len();
            self.queue.pop_front();
            self.head_started = false;
            frames += 1;
        }
        frames
    }
}

//! What one socket has to hear: the task's end of it.
//!
//! Bounded twice: by hand-overs, and by the bytes of what they hold. One commit counts once however many rows it has,
//! so that reading a long conversation ends nobody's socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::{Event, LiveHandle, Subscription};
use crate::hub::ConnectionId;

/// How many hand-overs may wait for one socket.
pub(super) const BATCHES_MAX: usize = 1024;

/// How many bytes of changes may wait for one socket, counted as the feed writes them. What comes at once may be more.
pub(super) const BACKLOG_BYTES_MAX: usize = 4 << 20;

/// What a socket hears.
#[derive(Clone, Debug)]
pub enum Signal {
    /// Every commit from now on is told.
    Live,
    /// What one hand-over of the feed has for it, in commit order.
    Events(Vec<Arc<Event>>),
}

/// Why a socket hears nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It does not take what it is told.
    Behind,
    /// Its tables cannot be subscribed to, or not with its claims.
    Refused,
    /// The replication stream has broken, or a change could not be judged.
    Interrupted,
    /// The server goes down.
    Restart,
}

/// The task's end.
pub(super) struct Queue {
    signals: mpsc::Sender<(Signal, usize)>,
    end: oneshot::Sender<End>,
    backlog_bytes: Arc<AtomicUsize>,
    is_live: bool,
    /// What the present hand-over has for it.
    batch: Vec<Arc<Event>>,
    batch_bytes: usize,
}

impl Queue {
    /// Both ends.
    pub(super) fn new(live: LiveHandle, connection: ConnectionId) -> (Self, Subscription) {
        let (signals, receiver) = mpsc::channel(BATCHES_MAX);
        let (end, ended) = oneshot::channel();
        let backlog_bytes = Arc::<AtomicUsize>::default();
        let subscription = Subscription::new(live, connection, receiver, ended, Arc::clone(&backlog_bytes));
        (
            Self { signals, end, backlog_bytes, is_live: false, batch: Vec::new(), batch_bytes: 0 },
            subscription,
        )
    }

    /// Adds to the present hand-over; whether it is the first of it.
    pub(super) fn add(&mut self, event: Arc<Event>, bytes: usize) -> bool {
        self.batch.push(event);
        self.batch_bytes = self.batch_bytes.saturating_add(bytes);
        self.batch.len() == 1
    }

    /// Hands over what was added; whether there was room. What comes together with the word that it is live comes
    /// before it here, and waits for it.
    pub(super) fn flush(&mut self) -> bool {
        if !self.is_live {
            return self.batch_bytes <= BACKLOG_BYTES_MAX;
        }
        let (batch, bytes) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.batch_bytes));
        if self.backlog_bytes.load(Ordering::Relaxed) > BACKLOG_BYTES_MAX {
            return false;
        }
        self.backlog_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.signals.try_send((Signal::Events(batch), bytes)).is_ok()
    }

    /// Says that it is live; whether there was room.
    pub(super) fn live(&mut self) -> bool {
        self.is_live = true;
        self.signals.try_send((Signal::Live, 0)).is_ok() && (self.batch.is_empty() || self.flush())
    }

    /// Has the socket end because it is not subscribed, or no longer is.
    pub(super) fn unsubscribed(self) {
        let end = if self.is_live { End::Interrupted } else { End::Refused };
        self.end(end);
    }

    /// Has the socket end, whatever it has not heard.
    pub(super) fn end(self, end: End) {
        // One that has gone by itself hears nothing.
        let _ = self.end.send(end);
    }
}

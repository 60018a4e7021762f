//! What one socket has to hear: the socket's end of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::{End, LiveHandle, Signal};
use crate::hub::ConnectionId;

/// A socket's subscription, which ends when it is dropped.
pub struct Subscription {
    live: LiveHandle,
    connection: ConnectionId,
    signals: mpsc::Receiver<(Signal, usize)>,
    ended: oneshot::Receiver<End>,
    backlog_bytes: Arc<AtomicUsize>,
    /// Why there is no more.
    over: Option<End>,
}

impl Subscription {
    pub(super) fn new(
        live: LiveHandle,
        connection: ConnectionId,
        signals: mpsc::Receiver<(Signal, usize)>,
        ended: oneshot::Receiver<End>,
        backlog_bytes: Arc<AtomicUsize>,
    ) -> Self {
        Self { live, connection, signals, ended, backlog_bytes, over: None }
    }

    /// What comes next, in order; `Err` says that this was all. Nothing is lost if it is not waited for to the end.
    pub async fn next(&mut self) -> Result<Signal, End> {
        if let Some(end) = self.over {
            return Err(end);
        }
        let end = tokio::select! {
            biased;
            end = &mut self.ended => end.ok(),
            signal = self.signals.recv() => match signal {
                Some((signal, bytes)) => {
                    self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    return Ok(signal);
                }
                None => self.ended.try_recv().ok(),
            },
        };
        // A task that is gone has told nobody why.
        let end = end.unwrap_or(End::Restart);
        self.over = Some(end);
        Err(end)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.live.close(self.connection);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("connection", &self.connection).finish_non_exhaustive()
    }
}

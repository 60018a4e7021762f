//! The sessions of all calls: so many at most, opened when they are needed, and a bounded queue of those who wait.
//!
//! The session that was used last is used next, so that the others may be idle and its statements are warm. One that
//! has failed is closed, and another takes its place when it is needed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::session::Session;
use super::{Config, Counters, Error};
use crate::postgres::opening::Opener;

/// What the sessions are called in `pg_stat_activity`.
const APPLICATION_NAME: &str = "rowcast_rpc";

pub(super) struct Pool {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    timeout: Duration,
}

struct Shared {
    opener: Opener,
    idle: Mutex<Vec<Session>>,
    counters: Arc<Counters>,
}

/// The right to use one session, and that session once it is open. Dropping it closes the session.
pub(super) struct Lease {
    shared: Arc<Shared>,
    session: Option<Session>,
    _permit: OwnedSemaphorePermit,
}

/// One that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(super) fn new(config: Config, counters: Arc<Counters>) -> Self {
        let Config { database, connections, waiting_max, timeout } = config;
        let opener = Opener::new(database, APPLICATION_NAME, "calling functions");
        let shared = Shared { opener, idle: Mutex::default(), counters };
        Self {
            shared: Arc::new(shared),
            permits: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            waiting_max,
            timeout,
        }
    }

    /// How many calls wait.
    pub(super) fn waiting(&self) -> u64 {
        u64::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u64::MAX)
    }

    /// Waits for its turn; those who came first have theirs first.
    pub(super) async fn lease(&self) -> Result<Lease, Error> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = Waiting(&self.waiting);
                if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
                    return Err(Error::Busy);
                }
                let permit = timeout(self.timeout, Arc::clone(&self.permits).acquire_owned()).await;
                drop(waiting);
                permit.map_err(|_| Error::NoSession)?.map_err(|_| Error::Unavailable)?
            }
        };
        let shared = Arc::clone(&self.shared);
        shared.counters.busy.add(1);
        Ok(Lease { shared, session: None, _permit: permit })
    }
}

impl Lease {
    /// Takes an idle session, or opens one.
    pub(super) async fn open(&mut self) -> Result<(), Error> {
        while let Some(session) = self.shared.idle().pop() {
            if !session.client().is_closed() {
                self.session = Some(session);
                return Ok(());
            }
        }
        let opened = self.shared.opener.open(Session::new).await;
        self.session = Some(opened.map_err(|_| Error::Unavailable)?);
        self.shared.counters.opened.add(1);
        Ok(())
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }

    /// Lets the next call have the session, if it is as it was.
    pub(super) fn give_back(mut self) {
        if let Some(session) = self.session.take_if(|session| session.is_reusable()) {
            self.shared.idle().push(session);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.counters.busy.subtract(1);
        if self.session.is_some() {
            self.shared.counters.lost.add(1);
        }
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

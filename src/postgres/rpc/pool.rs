//! The sessions of all calls: so many at most, opened when they are needed, and a bounded queue of those who wait.
//!
//! The session that was used last is used next, so that the others may be idle and its statements are warm. One that
//! has failed is closed, and another takes its place when it is needed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::session::Session;
use super::{Config, Counters, Error};
use crate::postgres::connect::{self, Database};
use crate::telemetry::code::Code;
use crate::telemetry::log::chain;
use crate::telemetry::report::report;

/// What the sessions are called in `pg_stat_activity`.
const APPLICATION_NAME: &str = "rowcast_rpc";

/// How long opening a session may take.
const OPEN_WITHIN: Duration = Duration::from_secs(4);

/// For how long nobody tries again to open a session after that has failed: who calls meanwhile hears so at once.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Pool {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    timeout: Duration,
}

struct Shared {
    database: Database,
    idle: Mutex<Vec<Session>>,
    failed_at: Mutex<Option<Instant>>,
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
        let shared = Shared { database, idle: Mutex::default(), failed_at: Mutex::default(), counters };
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
        if self.shared.failed_at().is_some_and(|failed_at| failed_at.elapsed() < FAILURE_PAUSE) {
            return Err(Error::Unavailable);
        }
        match timeout(OPEN_WITHIN, self.shared.connect()).await {
            Ok(Ok(session)) => {
                *self.shared.failed_at() = None;
                self.session = Some(session);
                return Ok(());
            }
            Ok(Err(error)) => {
                report!(
                    warn,
                    Code::UnableToConnectToTenantDatabase,
                    error = chain(&error),
                    remedy = error.remedy(),
                    "functions cannot be called"
                );
            }
            Err(_) => {
                report!(
                    warn,
                    Code::UnableToConnectToTenantDatabase,
                    "functions cannot be called: the database does not answer"
                );
            }
        }
        *self.shared.failed_at() = Some(Instant::now());
        Err(Error::Unavailable)
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
    async fn connect(&self) -> Result<Session, connect::Error> {
        let (client, _) = self.database.connect(APPLICATION_NAME).await?;
        let session = Session::new(client).await;
        self.counters.opened.add(1);
        session.map_err(|source| connect::Error::Connect { target: self.database.to_string(), source })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Catalog readings, one at a time, over sessions that are made anew when they are lost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::policy::Catalog;
use crate::postgres::catalog::CatalogReader;
use crate::postgres::connect;
use crate::postgres::snapshot::{Snapshot, is_visible};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;
use crate::wal::stream::{Backoff, SESSION_SETTINGS};

use super::feed::Config;

pub(super) use crate::telemetry::log::chain;

/// How many roles' rights are kept; tokens with further role names are refused.
const ROLES_MAX: usize = 1_000;

/// The roles that nearly every token names.
const STOCK_ROLES: [&str; 3] = ["anon", "authenticated", "service_role"];

/// The longest name that a role can have.
pub(super) const ROLE_BYTES_MAX: usize = 63;

/// How long a catalog reading may take before its session is given up.
pub(super) const CATALOG_WITHIN: Duration = Duration::from_secs(10);

/// How long nothing is compared for a hint after the last comparison for one.
const HINT_DISTANCE: Duration = Duration::from_millis(20);

/// The catalog readings of one feed.
pub(super) struct Catalogs {
    config: Rc<Config>,
    state: tokio::sync::Mutex<CatalogState>,
    /// Apart from the rest, so that a check does not wait for a reading.
    client: tokio::sync::Mutex<Option<Rc<Client>>>,
    current: RefCell<Arc<Catalog>>,
    /// What the last comparison saw.
    compared: RefCell<Option<Snapshot>>,
    /// When the last comparison ended that was hinted at.
    hinted_at: Cell<Option<Instant>>,
    refused: Notify,
}

struct CatalogState {
    reader: Option<CatalogReader>,
    roles: BTreeSet<Arc<str>>,
    fingerprint: String,
    /// When the last comparison began that found the reading current, or renewed it.
    compared_at: Option<Instant>,
    version: u64,
}

impl Catalogs {
    pub(super) fn new(config: Rc<Config>) -> Self {
        let state = CatalogState {
            reader: None,
            // Known from the start, so that the first join of each need not wait for a reading.
            roles: STOCK_ROLES.into_iter().map(Arc::from).collect(),
            fingerprint: String::new(),
            compared_at: None,
            version: 0,
        };
        let state = tokio::sync::Mutex::new(state);
        let client = tokio::sync::Mutex::default();
        Self {
            config,
            state,
            client,
            current: RefCell::default(),
            compared: RefCell::default(),
            hinted_at: Cell::default(),
            refused: Notify::new(),
        }
    }

    /// Resolves when Postgres refuses a session because it shuts down.
    ///
    /// It ends its walsenders last, once they have been told that all was received. Whoever needs a session to say so
    /// waits in vain, and holds up the shutdown.
    pub(super) async fn shutting_down(&self) {
        self.refused.notified().await;
    }

    pub(super) async fn open_session(&self, application_name: &str) -> Result<Client, SessionError> {
        let session = open_session(&self.config, application_name).await;
        if session.as_ref().is_err_and(SessionError::is_shutting_down) {
            self.refused.notify_waiters();
        }
        session
    }

    /// The last reading.
    pub(super) fn current(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.borrow())
    }

    /// A session for single statements, shared by all who have any. Waits until Postgres can be reached.
    pub(super) async fn client(&self) -> Rc<Client> {
        let mut current = self.client.lock().await;
        if let Some(client) = current.as_ref().filter(|client| !client.is_closed()) {
            return Rc::clone(client);
        }
        // Boxed, as the types of futures nest only so deep.
        let open = async || Box::pin(self.open_session("rowcast_check")).await;
        let client = Rc::new(
            persist(
                Code::UnableToConnectToTenantDatabase,
                "session could not be opened",
                SessionError::remedy,
                open,
            )
            .await,
        );
        *current = Some(Rc::clone(&client));
        client
    }

    /// Gives up a session that does not answer: the next who needs one gets another.
    pub(super) async fn give_up(&self, client: &Rc<Client>) {
        let mut current = self.client.lock().await;
        if current.as_ref().is_some_and(|current| Rc::ptr_eq(current, client)) {
            *current = None;
        }
    }

    /// Waits until readings see a committed transaction.
    pub(super) async fn see(&self, xid: u32) {
        loop {
            let client = self.client().await;
            match is_visible(&client, xid, CATALOG_WITHIN).await {
                Ok(true) => return,
                Ok(false) => {
                    report!(
                        warn,
                        Code::CheckOidsError,
                        "a commit that the stream has sent is not visible yet"
                    );
                }
                Err(error) => {
                    let error = chain(&error);
                    report!(warn, Code::CheckOidsError, error, "visibility of a commit could not be checked");
                    self.give_up(&client).await;
                }
            }
        }
    }

    /// The catalog as it was at some moment after this call, with the rights of one more role if given. Waits
    /// until Postgres can be reached.
    pub(super) async fn read(&self, role: Option<&Arc<str>>) -> Arc<Catalog> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        let is_new = role.is_some_and(|role| self.add_role(&mut state, role));
        // While this call waited for its turn, somebody else may have compared.
        if is_new || state.compared_at.is_none_or(|at| at < asked) {
            let read = async || Box::pin(self.refresh(&mut state, is_new)).await;
            persist(Code::CheckOidsError, "catalog could not be read", Unreadable::remedy, read).await;
        }
        self.current()
    }

    /// The catalog as a transaction has left it, or later, that is said to have changed it.
    ///
    /// Anybody may say so, so it is a hint: what a comparison has seen is not compared again, however many
    /// transactions say it, and comparisons that were hinted at keep a distance.
    pub(super) async fn read_seeing(&self, xid: u32) -> Arc<Catalog> {
        if self.has_compared(xid) {
            return self.current();
        }
        let last = self.hinted_at.get();
        if let Some(last) = last {
            tokio::time::sleep_until(last + HINT_DISTANCE).await;
        }
        self.see(xid).await;
        let catalog = self.read(None).await;
        self.hinted_at.set(Some(Instant::now()));
        catalog
    }

    /// Whether the last comparison saw a transaction.
    fn has_compared(&self, xid: u32) -> bool {
        self.compared.borrow().as_ref().is_some_and(|snapshot| snapshot.sees(xid))
    }

    /// Whether this role's rights are to be read, and were not until now.
    fn add_role(&self, state: &mut CatalogState, role: &Arc<str>) -> bool {
        if state.roles.contains(role) || !(1..=ROLE_BYTES_MAX).contains(&role.len()) || role.contains('\0') {
            return false;
        }
        if state.roles.len() >= ROLES_MAX {
            // Names of roles that do not exist make room first.
            let current = self.current();
            state.roles.retain(|role| current.roles.get(role).is_some_and(Option::is_some));
        }
        state.roles.len() < ROLES_MAX && state.roles.insert(Arc::clone(role))
    }

    /// A new reading if anything in the catalog has changed since the last one. `Err` if that cannot be told now;
    /// before the first reading there is nothing to compare.
    pub(super) async fn read_if_changed(&self) -> Result<Option<Arc<Catalog>>, Unreadable> {
        let mut state = self.state.lock().await;
        let version = state.version;
        if version == 0 {
            return Ok(None);
        }
        self.refresh(&mut state, false).await?;
        Ok((state.version > version).then(|| self.current()))
    }

    /// Compares the last reading with the catalog as it is now, and reads again where they differ, or if told to.
    async fn refresh(&self, state: &mut CatalogState, must_read: bool) -> Result<(), Unreadable> {
        let began = Instant::now();
        let mut reader = self.take_reader(state).await?;
        // Taken first: what changes during the reading is found by the next comparison.
        let (fingerprint, snapshot) = in_time(reader.fingerprint()).await?;
        if must_read || fingerprint != state.fingerprint {
            let mut catalog = in_time(reader.read(&state.roles)).await?;
            let besides = self.config.mirrored_besides.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for needed in besides {
                catalog.needed.entry(needed.table.id).or_insert(needed);
            }
            state.version += 1;
            state.fingerprint = fingerprint;
            #[cfg_attr(not(feature = "postgres-tests"), expect(unused_mut, reason = "tests amend it"))]
            let mut catalog = Catalog { version: state.version, ..catalog };
            #[cfg(feature = "postgres-tests")]
            if let Some(amend) = self.config.amend {
                amend(&mut catalog);
            }
            *self.current.borrow_mut() = Arc::new(catalog);
        }
        state.compared_at = Some(began);
        *self.compared.borrow_mut() = snapshot;
        state.reader = Some(reader);
        Ok(())
    }

    /// The session of the last reading, or a new one. Whoever fails on it does not put it back.
    async fn take_reader(&self, state: &mut CatalogState) -> Result<CatalogReader, Unreadable> {
        if let Some(reader) = state.reader.take().filter(|reader| !reader.is_closed()) {
            return Ok(reader);
        }
        let client = self.open_session("rowcast_catalog").await?;
        // Names come out qualified, whatever the role's own path, so that texts change when what they name does.
        in_time(client.batch_execute("set search_path = ''")).await?;
        Ok(CatalogReader::new(client, vec![self.config.publication.clone()]))
    }
}

/// Tries until it works, with growing pauses; the log has what went wrong.
async fn persist<T, E: std::error::Error>(
    code: Code,
    failure: &'static str,
    remedy: fn(&E) -> Option<&'static str>,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut backoff = Backoff::new();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                report!(warn, code, error = chain(&error), remedy = remedy(&error), "{failure}");
            }
        }
        tokio::time::sleep(backoff.pause(rand::random())).await;
    }
}

async fn in_time<T>(query: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Unreadable> {
    Ok(tokio::time::timeout(CATALOG_WITHIN, query).await.map_err(|_| Unreadable::Timeout)??)
}

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("could not read the catalog")]
    Query(#[from] tokio_postgres::Error),
    #[error("could not read the catalog within {} seconds", CATALOG_WITHIN.as_secs())]
    Timeout,
}

impl Unreadable {
    /// Whether Postgres lets nobody in since it stops or starts.
    pub(super) fn is_shutting_down(&self) -> bool {
        matches!(self, Self::Session(error) if error.is_shutting_down())
    }

    /// What an operator can do about it; `None` where waiting is the remedy.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Session(error) => error.remedy(),
            Self::Query(_) | Self::Timeout => None,
        }
    }
}

/// A session for ordinary SQL with the text settings of the stream.
pub(super) async fn open_session(config: &Config, application_name: &str) -> Result<Client, SessionError> {
    let (client, _) = config.database.connect(application_name).await?;
    let timeout = config.ask_timeout.as_millis();
    let settings = format!("{SESSION_SETTINGS}; set statement_timeout = {timeout}");
    tokio::time::timeout(CATALOG_WITHIN, client.batch_execute(&settings))
        .await
        .map_err(|_| SessionError::Timeout)??;
    Ok(client)
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Connect(#[from] connect::Error),
    #[error("could not set up a session")]
    Settings(#[from] tokio_postgres::Error),
    #[error("could not set up a session within {} seconds", CATALOG_WITHIN.as_secs())]
    Timeout,
}

impl SessionError {
    /// Whether Postgres lets nobody in since it stops or starts.
    fn is_shutting_down(&self) -> bool {
        let Self::Connect(connect::Error::Connect { source, .. }) = self else { return false };
        source.code() == Some(&SqlState::CANNOT_CONNECT_NOW)
    }

    /// What an operator can do about it; `None` where waiting is the remedy.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Connect(error) => Some(error.remedy()),
            Self::Settings(_) | Self::Timeout => None,
        }
    }
}

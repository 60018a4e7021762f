//! Catalog readings, one at a time, over sessions that are made anew when they are lost.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use crate::policy::Catalog;
use crate::postgres::catalog::CatalogReader;
use crate::postgres::connect;
use crate::wal::stream::{Backoff, SESSION_SETTINGS};

use super::feed::Config;

/// How many roles' rights are kept; tokens with further role names are refused.
const ROLES_MAX: usize = 1_000;

/// The longest name that a role can have.
const ROLE_BYTES_MAX: usize = 63;

/// How long a catalog reading may take before its session is given up.
pub(super) const CATALOG_WITHIN: Duration = Duration::from_secs(10);

/// The catalog readings of one feed.
pub(super) struct Catalogs {
    config: Rc<Config>,
    state: tokio::sync::Mutex<CatalogState>,
    current: RefCell<Arc<Catalog>>,
}

struct CatalogState {
    reader: Option<CatalogReader>,
    client: Option<Rc<Client>>,
    roles: BTreeSet<Arc<str>>,
    fingerprint: String,
    version: u64,
}

impl Catalogs {
    pub(super) fn new(config: Rc<Config>) -> Self {
        let state = CatalogState {
            reader: None,
            client: None,
            roles: BTreeSet::new(),
            fingerprint: String::new(),
            version: 0,
        };
        Self { config, state: tokio::sync::Mutex::new(state), current: RefCell::default() }
    }

    /// The last reading.
    pub(super) fn current(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.borrow())
    }

    /// A session for single statements, shared by all who have any. Waits until Postgres can be reached.
    pub(super) async fn client(&self) -> Rc<Client> {
        let mut state = self.state.lock().await;
        if let Some(client) = state.client.as_ref().filter(|client| !client.is_closed()) {
            return Rc::clone(client);
        }
        let mut backoff = Backoff::new();
        loop {
            match open_session(&self.config, "rowcast_check").await {
                Ok(client) => {
                    let client = Rc::new(client);
                    state.client = Some(Rc::clone(&client));
                    return client;
                }
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        remedy = error.remedy(),
                        "session could not be opened"
                    )
                }
            }
            tokio::time::sleep(backoff.pause(rand::random())).await;
        }
    }

    /// Gives up a session that does not answer: the next who needs one gets another.
    pub(super) async fn give_up(&self, client: &Rc<Client>) {
        let mut state = self.state.lock().await;
        if state.client.as_ref().is_some_and(|current| Rc::ptr_eq(current, client)) {
            state.client = None;
        }
    }

    /// A new reading, with the rights of one more role if given. Waits until Postgres can be reached.
    pub(super) async fn read(&self, role: Option<&Arc<str>>) -> Arc<Catalog> {
        let mut state = self.state.lock().await;
        if let Some(role) = role
            && state.roles.len() < ROLES_MAX
            && (1..=ROLE_BYTES_MAX).contains(&role.len())
            && !role.contains('\0')
        {
            state.roles.insert(Arc::clone(role));
        }
        let mut backoff = Backoff::new();
        loop {
            match self.try_read(&mut state).await {
                Ok(catalog) => return catalog,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        remedy = error.remedy(),
                        "catalog could not be read"
                    )
                }
            }
            tokio::time::sleep(backoff.pause(rand::random())).await;
        }
    }

    /// A new reading if anything in the catalog has changed since the last one. `Err` if that cannot be told now;
    /// before the first reading there is nothing to compare.
    pub(super) async fn read_if_changed(&self) -> Result<Option<Arc<Catalog>>, Unreadable> {
        let mut state = self.state.lock().await;
        if state.version == 0 {
            return Ok(None);
        }
        let reader = self.take_reader(&mut state).await?;
        let fingerprint = in_time(reader.fingerprint()).await?;
        state.reader = Some(reader);
        if fingerprint == state.fingerprint {
            return Ok(None);
        }
        self.try_read(&mut state).await.map(Some)
    }

    async fn try_read(&self, state: &mut CatalogState) -> Result<Arc<Catalog>, Unreadable> {
        let mut reader = self.take_reader(state).await?;
        let (fingerprint, catalog) = in_time(async {
            // Taken first: what changes during the reading is found by the next comparison.
            let fingerprint = reader.fingerprint().await?;
            Ok((fingerprint, reader.read(&state.roles).await?))
        })
        .await?;
        state.version += 1;
        state.fingerprint = fingerprint;
        state.reader = Some(reader);
        let catalog = Arc::new(Catalog { version: state.version, ..catalog });
        *self.current.borrow_mut() = Arc::clone(&catalog);
        Ok(catalog)
    }

    /// The session of the last reading, or a new one. Whoever fails on it does not put it back.
    async fn take_reader(&self, state: &mut CatalogState) -> Result<CatalogReader, Unreadable> {
        if let Some(reader) = state.reader.take().filter(|reader| !reader.is_closed()) {
            return Ok(reader);
        }
        let client = open_session(&self.config, "rowcast_catalog").await?;
        Ok(CatalogReader::new(client, self.config.stream.publications.clone()))
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
    /// What an operator can do about it; `None` where waiting is the remedy.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Connect(error) => Some(error.remedy()),
            Self::Settings(_) | Self::Timeout => None,
        }
    }
}

/// The error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

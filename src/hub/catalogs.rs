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

    /// A session for single statements, shared by all who have any.
    pub(super) async fn client(&self) -> Rc<Client> {
        let mut state = self.state.lock().await;
        if let Some(client) = state.client.as_ref().filter(|client| !client.is_closed()) {
            return Rc::clone(client);
        }
        let client = Rc::new(self.connect("rowcast_check").await);
        state.client = Some(Rc::clone(&client));
        client
    }

    async fn connect(&self, application_name: &str) -> Client {
        let mut backoff = Backoff::new();
        loop {
            match open_session(&self.config, application_name).await {
                Ok(client) => return client,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "session could not be opened");
                    tokio::time::sleep(backoff.pause(rand::random())).await;
                }
            }
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
        loop {
            if let Some(catalog) = self.try_read(&mut state).await {
                *self.current.borrow_mut() = Arc::clone(&catalog);
                return catalog;
            }
        }
    }

    async fn try_read(&self, state: &mut CatalogState) -> Option<Arc<Catalog>> {
        let mut reader = match state.reader.take().filter(|reader| !reader.is_closed()) {
            Some(reader) => reader,
            None => {
                let client = self.connect("rowcast_catalog").await;
                CatalogReader::new(client, self.config.stream.publications.clone())
            }
        };
        let reading = async {
            // Taken first: what changes during the reading is found by the next comparison.
            let fingerprint = reader.fingerprint().await?;
            Ok::<_, tokio_postgres::Error>((fingerprint, reader.read(&state.roles).await?))
        };
        match tokio::time::timeout(CATALOG_WITHIN, reading).await {
            Ok(Ok((fingerprint, catalog))) => {
                state.version += 1;
                state.fingerprint = fingerprint;
                state.reader = Some(reader);
                Some(Arc::new(Catalog { version: state.version, ..catalog }))
            }
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "catalog could not be read");
                tokio::time::sleep(Duration::from_millis(200)).await;
                None
            }
            Err(_) => {
                tracing::warn!("catalog could not be read in time");
                None
            }
        }
    }

    /// A new reading if anything in the catalog has changed since the last one.
    pub(super) async fn read_if_changed(&self) -> Option<Arc<Catalog>> {
        let mut state = self.state.lock().await;
        let reader = state.reader.as_ref().filter(|reader| !reader.is_closed())?;
        let fingerprint = tokio::time::timeout(CATALOG_WITHIN, reader.fingerprint()).await.ok()?.ok()?;
        if fingerprint == state.fingerprint {
            return None;
        }
        let catalog = self.try_read(&mut state).await?;
        *self.current.borrow_mut() = Arc::clone(&catalog);
        Some(catalog)
    }
}

/// A session for ordinary SQL with the text settings of the stream.
pub(super) async fn open_session(config: &Config, application_name: &str) -> Result<Client, SessionError> {
    let (client, _) = config.database.connect(application_name).await?;
    let timeout = config.ask_timeout.as_millis();
    client.batch_execute(&format!("{SESSION_SETTINGS}; set statement_timeout = {timeout}")).await?;
    Ok(client)
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Connect(#[from] connect::Error),
    #[error("could not set up a session")]
    Settings(#[from] tokio_postgres::Error),
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

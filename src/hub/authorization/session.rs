//! The sessions in which policies are asked: opened when needed, made anew when lost.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::AuthorizationError;
use super::round::Memory;
use crate::postgres::connect::{self, Database};
use crate::telemetry::code::Code;
use crate::telemetry::log::chain;
use crate::telemetry::report::report;
use crate::wal::stream::SESSION_SETTINGS;

/// What the sessions are called in `pg_stat_activity`.
const APPLICATION_NAME: &str = "rowcast_authorization";

/// How long opening a session may take. Clients give up a join after 10 seconds.
const OPEN_WITHIN: Duration = Duration::from_secs(4);

/// How long a statement may take at most, whatever is configured: others wait behind it, and clients give up a join
/// after 10 seconds.
const STATEMENT_WITHIN: Duration = Duration::from_secs(2);

/// For how long nobody tries again to open a session after that has failed: who asks meanwhile hears so at once.
const PAUSE: Duration = Duration::from_millis(500);

/// The session of one worker.
pub(super) struct Session {
    database: Database,
    settings: String,
    client: Option<Client>,
    memory: Memory,
    was_open: bool,
    failed: Option<(Instant, AuthorizationError)>,
}

impl Session {
    /// One that is not open yet.
    pub(super) fn new(database: Database, query_timeout: Duration) -> Self {
        // Plans are kept by role, and never made for one caller's values: see `judge.rs`.
        let settings = format!(
            "{SESSION_SETTINGS}; set plan_cache_mode = force_generic_plan; set statement_timeout = {}",
            query_timeout.min(STATEMENT_WITHIN).as_millis()
        );
        Self { database, settings, client: None, memory: Memory::default(), was_open: false, failed: None }
    }

    /// The session and what it knows, opened if it is not. Its transactions are the caller's to end.
    pub(super) async fn client(&mut self) -> Result<(&mut Client, &mut Memory), AuthorizationError> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.close();
            if let Some((until, error)) = &self.failed
                && Instant::now() < *until
            {
                return Err(error.clone());
            }
            match self.open().await {
                Ok(client) => {
                    self.failed = None;
                    self.was_open = true;
                    self.client = Some(client);
                }
                Err(error) => {
                    self.failed = Some((Instant::now() + PAUSE, error.clone()));
                    return Err(error);
                }
            }
        }
        let client = self.client.as_mut().ok_or(AuthorizationError::Unavailable)?;
        Ok((client, &mut self.memory))
    }

    /// Whether it is open now, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.is_closed())
    }

    /// Gives the session up: it does not answer, or is in an unknown state.
    pub(super) fn close(&mut self) {
        self.client = None;
        self.memory = Memory::default();
    }

    /// Whether it has ever been open, so that somebody may have been answered on it.
    pub(super) fn was_open(&self) -> bool {
        self.was_open
    }

    async fn open(&self) -> Result<Client, AuthorizationError> {
        let open = async {
            let (client, _) = self.database.connect(APPLICATION_NAME).await?;
            client
                .batch_execute(&self.settings)
                .await
                .map_err(|source| connect::Error::Connect { target: self.database.to_string(), source })?;
            Ok::<_, connect::Error>(client)
        };
        match timeout(OPEN_WITHIN, open).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => {
                report!(
                    warn,
                    Code::UnableToConnectToTenantDatabase,
                    error = chain(&error),
                    remedy = error.remedy(),
                    "private channels cannot be authorized"
                );
                Err(unreachable(&error))
            }
            Err(_) => {
                report!(
                    warn,
                    Code::UnableToConnectToTenantDatabase,
                    "private channels cannot be authorized: the database does not answer"
                );
                Err(AuthorizationError::Unavailable)
            }
        }
    }
}

fn unreachable(error: &connect::Error) -> AuthorizationError {
    match error {
        connect::Error::Connect { source, .. } if source.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
            AuthorizationError::NoConnections
        }
        _ => AuthorizationError::Unavailable,
    }
}

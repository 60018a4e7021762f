//! The sessions in which policies are asked: opened when needed, made anew when lost.

use std::time::Duration;

use tokio_postgres::Client;

use super::AuthorizationError;
use super::round::Memory;
use crate::postgres::connect::Database;
use crate::postgres::opening::{Opener, Unopened};
use crate::wal::stream::SESSION_SETTINGS;

/// What the sessions are called in `pg_stat_activity`.
const APPLICATION_NAME: &str = "rowcast_authorization";

/// How long a statement may take at most, whatever is configured: others wait behind it, and clients give up a join
/// after 10 seconds.
const STATEMENT_WITHIN: Duration = Duration::from_secs(2);

/// The session of one worker.
pub(super) struct Session {
    opener: Opener,
    settings: String,
    client: Option<Client>,
    memory: Memory,
    was_open: bool,
}

impl Session {
    /// One that is not open yet.
    pub(super) fn new(database: Database, query_timeout: Duration) -> Self {
        // Plans are kept by role, and never made for one caller's values: see `judge.rs`.
        let settings = format!(
            "{SESSION_SETTINGS}; set plan_cache_mode = force_generic_plan; set statement_timeout = {}",
            query_timeout.min(STATEMENT_WITHIN).as_millis()
        );
        let opener = Opener::new(database, APPLICATION_NAME, "authorizing private channels");
        Self { opener, settings, client: None, memory: Memory::default(), was_open: false }
    }

    /// The session and what it knows, opened if it is not. Its transactions are the caller's to end.
    pub(super) async fn client(&mut self) -> Result<(&mut Client, &mut Memory), AuthorizationError> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.close();
            self.client = Some(self.open().await?);
            self.was_open = true;
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
        let ready = async |client: Client| client.batch_execute(&self.settings).await.map(|()| client);
        self.opener.open(ready).await.map_err(|unopened| match unopened {
            Unopened::NoConnections => AuthorizationError::NoConnections,
            Unopened::Unavailable => AuthorizationError::Unavailable,
        })
    }
}

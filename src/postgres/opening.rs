//! Opens the sessions that callers wait for: within a bound, and after a failure not again at once, so that who asks
//! meanwhile hears so without delay. A failure is logged with its remedy.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::{Database, Error};
use crate::telemetry::code::Code;
use crate::telemetry::log::chain;
use crate::telemetry::report::report;

/// How long opening a session may take. Clients give up a join after 10 seconds.
const OPEN_WITHIN: Duration = Duration::from_secs(4);

/// For how long nobody tries again after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Opens sessions of one kind.
pub struct Opener {
    database: Database,
    /// What they are called in `pg_stat_activity`.
    application_name: &'static str,
    /// What cannot be done without them, for the log.
    purpose: &'static str,
    failed: Mutex<Option<(Instant, Unopened)>>,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// Postgres takes no more of them.
    NoConnections,
    /// Anything else.
    Unavailable,
}

impl Opener {
    /// One that has not failed yet.
    pub fn new(database: Database, application_name: &'static str, purpose: &'static str) -> Self {
        Self { database, application_name, purpose, failed: Mutex::default() }
    }

    /// A session that is ready for its work, which `ready` makes it.
    pub async fn open<T, R: Future<Output = Result<T, tokio_postgres::Error>>>(
        &self,
        ready: impl FnOnce(Client) -> R,
    ) -> Result<T, Unopened> {
        if let Some(unopened) = self.failed_lately() {
            return Err(unopened);
        }
        let opened = async {
            let (client, _) = self.database.connect(self.application_name).await?;
            let target = || self.database.to_string();
            ready(client).await.map_err(|source| Error::Connect { target: target(), source })
        };
        let opened = match timeout(OPEN_WITHIN, opened).await {
            Ok(opened) => opened.map_err(|error| self.failed(&error)),
            Err(_) => {
                let purpose = self.purpose;
                let code = Code::UnableToConnectToTenantDatabase;
                report!(warn, code, purpose, "the database does not answer");
                Err(Unopened::Unavailable)
            }
        };
        *self.last() = opened.as_ref().err().map(|unopened| (Instant::now(), *unopened));
        opened
    }

    fn failed(&self, error: &Error) -> Unopened {
        let (purpose, remedy) = (self.purpose, error.remedy());
        let code = Code::UnableToConnectToTenantDatabase;
        report!(warn, code, error = chain(error), remedy, purpose, "a session could not be opened");
        match error {
            Error::Connect { source, .. } if source.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
                Unopened::NoConnections
            }
            _ => Unopened::Unavailable,
        }
    }

    fn failed_lately(&self) -> Option<Unopened> {
        let failed = *self.last();
        failed.filter(|(failed_at, _)| failed_at.elapsed() < PAUSE).map(|(_, unopened)| unopened)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Unopened)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

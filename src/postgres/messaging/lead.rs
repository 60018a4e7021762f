//! What one server does for all of a database: it removes what has expired.
//!
//! Who leads is whoever holds an advisory lock, on a session of its own. The others look for it every `lead_poll`;
//! Postgres frees it when the leader's session ends, and ends that session when the leader falls silent.

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::error::Error;
use super::presence::{passed, seconds};
use super::session::{Prepared, Session};
use super::typing::Typing;
use super::{Config, Counters};

const LOCK: &str = "select pg_catalog.pg_try_advisory_lock(
    pg_catalog.hashtext('rowcast'), pg_catalog.hashtext('messaging')
)";

const EXPIRE_PRESENCE: &str = "select rowcast.expire_presence($1)";

/// Nobody's lock keeps typing from ending: what is locked now is looked for again at the next poll. A leader that says
/// nothing for so long is no leader.
const SETTINGS: &str = "set lock_timeout = '200ms'; set idle_session_timeout = '5s'";

/// A server that leads, or would.
pub(super) struct Leader<'a> {
    config: &'a Config,
    session: Session,
    lock: Prepared,
    typing: Typing,
    expire_presence: Prepared,
}

impl<'a> Leader<'a> {
    pub(super) async fn open(config: &'a Config) -> Result<Self, Error> {
        let session = Session::open(&config.database, "rowcast_messaging_lead").await?;
        session.set(SETTINGS).await?;
        let lock = session.prepare("look who keeps messaging up", LOCK).await?;
        let typing = Typing::prepare(&session).await?;
        let expire_presence =
            session.prepare("end the presence of people who are gone", EXPIRE_PRESENCE).await?;
        Ok(Self { config, session, lock, typing, expire_presence })
    }

    /// Leads as soon as nobody else does, until a statement fails for good.
    pub(super) async fn keep_up(self, counters: &Counters) -> Result<(), Error> {
        while !self.session.asks(&self.lock).await? {
            tokio::time::sleep(self.config.lead_poll).await;
        }
        let _leading = Leading::begin(counters);
        let mut polls = interval(self.config.typing_poll);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut presence_due = Instant::now();
        loop {
            let now = polls.tick().await;
            passed(self.typing.expire(&self.session, counters).await, counters)?;
            if now >= presence_due {
                presence_due = now + self.config.presence_poll;
                passed(self.expire_presence(counters).await, counters)?;
            }
        }
    }

    async fn expire_presence(&self, counters: &Counters) -> Result<(), Error> {
        let idle = seconds(self.config.idle);
        counters.presence_expired.add(self.session.count(&self.expire_presence, &[&idle]).await?);
        Ok(())
    }
}

/// Shown on the metrics page for as long as this server leads.
struct Leading<'a>(&'a Counters);

impl<'a> Leading<'a> {
    fn begin(counters: &'a Counters) -> Self {
        counters.leads.set(1);
        tracing::info!("this server ends typing and presence that have expired");
        Self(counters)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.leads.set(0);
    }
}

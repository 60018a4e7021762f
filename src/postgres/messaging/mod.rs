//! What the messaging schema needs of a server that runs all the time.
//!
//! In: who is connected ([`People`]), and what has been sent to them ([`Deliveries`]). Out: rows. Typing that has
//! expired is removed, presence follows connections, and messages become delivered. Whoever wants to see it subscribes
//! to the tables: nothing here talks to a socket.
//!
//! The rules are functions of the database (`rowcast.expire_typing` and others), so several servers, and the clients'
//! own calls, come to the same; what is here is when they are called. `lead` does what is done once for a database,
//! `presence` and `writer` what every server does for its own sockets.
//!
//! **Invariant:** nothing here is needed for a message to arrive. A database that is gone, or was not migrated, is
//! looked for again, and said once.

mod deliveries;
mod error;
mod ids;
mod lead;
mod people;
mod person;
mod presence;
mod session;
mod typing;
mod writer;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use deliveries::{Deliveries, NOTES_MAX, Note, Notes};
pub use error::{Error, Retry};
pub use people::{News, PEOPLE_MAX, People, Present, Seat};
pub use person::Person;

use lead::Leader;
use presence::Keeper;
use writer::Writer;

use super::connect::Database;
use crate::telemetry::log::chain;
use crate::telemetry::metrics as names;
use crate::telemetry::number::Number;
use crate::telemetry::page::{Counts, Page};
use crate::telemetry::report::report;
use crate::wal::stream::Backoff;

/// How long the last deliveries may take to be written when the server goes down.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// A run that went on for so long was a good one: the pauses after it are short again.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// When things are done.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub database: Database,
    /// After how long without activity a connected person is away.
    pub idle: Duration,
    /// How long a person stays as they are after their last device has gone, in whole seconds.
    pub grace: Duration,
    /// Time between two renewals of everybody's lease; less where people are idle soon.
    pub touch_every: Duration,
    /// How long a lease lasts that nobody renews, in whole seconds.
    pub lease: Duration,
    /// Time between two looks for typing that has expired, by the server that leads; and so how late typing ends at
    /// most, but for the time that a statement takes.
    pub typing_poll: Duration,
    /// The same for presence.
    pub presence_poll: Duration,
    /// Time between two looks whether somebody leads, by the others.
    pub lead_poll: Duration,
    /// How many deliveries are written in one statement.
    pub batch_max: usize,
    /// How long the first of them waits for the others.
    pub batch_wait: Duration,
    /// The pause after a failure that needs somebody to do something, such as to migrate.
    pub operator_pause: Duration,
}

impl Config {
    /// Everything but the database as it is by default.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            idle: Duration::from_secs(300),
            grace: Duration::from_secs(10),
            touch_every: Duration::from_secs(5),
            lease: Duration::from_secs(15),
            typing_poll: Duration::from_millis(100),
            presence_poll: Duration::from_secs(1),
            lead_poll: Duration::from_millis(500),
            batch_max: 1024,
            batch_wait: Duration::from_millis(100),
            operator_pause: Duration::from_secs(15),
        }
    }
}

/// What the server knows for messaging, as the rest of it sees it. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct Messaging {
    /// Who is connected.
    pub people: People,
    /// What has been sent to them.
    pub deliveries: Deliveries,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// What the upkeep has done since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// 1 while this server does what is done once for a database.
    pub leads: Number,
    /// Rows of typing that had expired.
    pub typing_expired: Number,
    /// People who became away or offline by rule.
    pub presence_expired: Number,
    /// Statements that failed, and sessions that could not be had.
    pub failures: Number,
}

impl Messaging {
    /// Nobody and nothing yet, and the other end of the queue of deliveries.
    pub fn new() -> (Self, Notes) {
        let (deliveries, notes) = Deliveries::queue(NOTES_MAX);
        (Self { people: People::default(), deliveries, counters: Arc::default() }, notes)
    }
}

impl Counts for Messaging {
    fn add_to(&self, page: &mut Page) {
        let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let (counters, noted) = (&self.counters, self.deliveries.counters());
        for (metric, number) in [
            (&names::MESSAGING_LEADS, counters.leads.get()),
            (&names::MESSAGING_PEOPLE, length(self.people.count())),
            (&names::MESSAGING_PEOPLE_REFUSED, self.people.refused()),
            (&names::MESSAGING_TYPING_EXPIRED, counters.typing_expired.get()),
            (&names::MESSAGING_PRESENCE_EXPIRED, counters.presence_expired.get()),
            (&names::MESSAGING_DELIVERIES, noted.delivered.get()),
            (&names::MESSAGING_DELIVERIES_WAITING, length(self.deliveries.waiting())),
            (&names::MESSAGING_DELIVERIES_DROPPED, noted.dropped.get()),
            (&names::MESSAGING_FAILURES, counters.failures.get()),
        ] {
            page.add(metric, number);
        }
    }
}

/// Keeps messaging up until `stopped` resolves; then writes the deliveries that are left.
///
/// People are left as they are: their clients come back to this server or another one, or their leases run out.
pub async fn keep_up(
    config: Config,
    messaging: Messaging,
    mut notes: Notes,
    stopped: impl Future<Output = ()>,
) {
    tokio::select! {
        () = stopped => {}
        () = run(&config, &messaging, &mut notes) => {}
    }
    // A database that is gone has been said to be.
    let _ = tokio::time::timeout(FINISH_WITHIN, writer::finish(&config, &mut notes)).await;
}

async fn run(config: &Config, messaging: &Messaging, notes: &mut Notes) {
    let mut backoff = Backoff::new();
    let mut told = None;
    loop {
        let began = Instant::now();
        let Err(error) = run_once(config, messaging, notes, &mut told).await else { return };
        messaging.counters.failures.add(1);
        tell(&error, &mut told);
        if began.elapsed() >= GOOD_AFTER {
            backoff = Backoff::new();
        }
        let pause = backoff.pause(rand::random());
        let pause = if error.retry() == Retry::AfterOperator { config.operator_pause } else { pause };
        tokio::time::sleep(pause).await;
    }
}

/// All of it, each on a session of its own, so that none waits for another; until one of them fails for good.
async fn run_once(
    config: &Config,
    messaging: &Messaging,
    notes: &mut Notes,
    told: &mut Option<String>,
) -> Result<(), Error> {
    let Messaging { people, counters, .. } = messaging;
    // One after the other: where there is no schema, the first finds that out for all.
    let leader = Leader::open(config).await?;
    let keeper = Keeper::open(config, people).await?;
    let writer = Writer::open(config).await?;
    if told.take().is_some() {
        tracing::info!("messaging is kept up again");
    }
    tokio::try_join!(leader.keep_up(counters), keeper.keep_up(counters), writer.keep_up(notes))?;
    Ok(())
}

/// Logs a failure, unless it was the one `told` last.
fn tell(error: &Error, told: &mut Option<String>) {
    let text = chain(error);
    if told.as_ref() != Some(&text) {
        report!(warn, error.code(), error = text, remedy = error.remedy(), "messaging is not kept up now");
    }
    *told = Some(text);
}

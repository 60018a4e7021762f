//! The presence of those who are connected to this server.
//!
//! In: [`People`]. Out: leases in `user_presence`, which are renewed for everybody in one statement every
//! `touch_every`, taken at once by those who come, and cut to the grace for those whose last device goes. What nobody
//! renews runs out by itself (see [`super::lead`]), so nothing is lost by a statement that fails: those who are here are
//! touched again with all others, and those who are gone become offline with their lease.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::error::{Error, Retry};
use super::ids::Ids;
use super::people::{People, Present};
use super::session::{Prepared, Session};
use super::{Config, Counters};

/// Database time, so that clocks which differ do no harm.
const TOUCH: &str = "select rowcast.touch_presence($1, $2, array(
    select now() - make_interval(secs => told.idle)
    from unnest($3::float8[]) with ordinality as told (idle, place)
    order by told.place
), $4, $5)";

const LEAVE: &str = "select rowcast.leave_presence($1, $2, $3)";

/// How many people one statement concerns.
const PEOPLE_PER_STATEMENT: usize = 16_384;

/// How long those who come and go are gathered before they are written.
const GATHERED: Duration = Duration::from_millis(50);

/// Lets failures that pass by themselves pass.
pub(super) fn passed(done: Result<(), Error>, counters: &Counters) -> Result<(), Error> {
    match done {
        Err(error) if error.retry() == Retry::Soon => {
            counters.failures.add(1);
            Ok(())
        }
        done => done,
    }
}

/// Keeps the presence of those up who are connected to this server.
pub(super) struct Keeper<'a> {
    config: &'a Config,
    people: &'a People,
    session: Session,
    touch: Prepared,
    leave: Prepared,
}

impl<'a> Keeper<'a> {
    pub(super) async fn open(config: &'a Config, people: &'a People) -> Result<Self, Error> {
        let session = Session::open(&config.database, "rowcast_messaging_presence").await?;
        let touch = session.prepare("renew the presence of connected people", TOUCH).await?;
        let leave = session.prepare("end the presence of people who left", LEAVE).await?;
        Ok(Self { config, people, session, touch, leave })
    }

    /// Goes on until a statement fails for good.
    pub(super) async fn keep_up(self, counters: &Counters) -> Result<(), Error> {
        // What somebody does is known to lie between two looks: within two of them nobody who does something is idle.
        let mut rounds = interval(self.config.touch_every.min(self.config.idle / 3));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                _ = rounds.tick() => self.touch_all().await,
                () = self.people.changed() => {
                    tokio::time::sleep(GATHERED).await;
                    self.take_news().await
                }
            };
            passed(done, counters)?;
        }
    }

    async fn touch_all(&self) -> Result<(), Error> {
        self.touch(&self.people.present(self.config.idle, Instant::now())).await
    }

    async fn take_news(&self) -> Result<(), Error> {
        let news = self.people.take_news(PEOPLE_PER_STATEMENT, Instant::now());
        self.touch(&news.present).await?;
        if news.left.is_empty() {
            return Ok(());
        }
        let ids = Ids::of(news.left.iter().copied());
        self.session.run(&self.leave, &[&ids.users, &ids.customers, &seconds(self.config.grace)]).await
    }

    async fn touch(&self, present: &[Present]) -> Result<(), Error> {
        for present in present.chunks(PEOPLE_PER_STATEMENT) {
            let ids = Ids::of(present.iter().map(|present| present.person));
            let idle: Vec<f64> = present.iter().map(|present| present.idle.as_secs_f64()).collect();
            let (lease, idle_after) = (seconds(self.config.lease), seconds(self.config.idle));
            self.session.run(&self.touch, &[&ids.users, &ids.customers, &idle, &lease, &idle_after]).await?;
        }
        Ok(())
    }
}

/// Whole seconds, not fewer than it was.
pub(super) fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

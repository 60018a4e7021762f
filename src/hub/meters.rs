//! What the whole server is held to: rates of joins and messages, and a number of users.
//!
//! Every thread counts here and looks here. Counting is one atomic addition, whatever the number of receivers;
//! what is seen of a rate is as old as its last tick.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Meter;
use crate::telemetry::metrics as names;
use crate::telemetry::page::Page;

/// How often the rates of joins and messages are looked at, and how many such ticks make a window of a minute.
const TICK: Duration = Duration::from_secs(5);
const TICKS_MAX: usize = 12;

/// The same for HTTP requests.
const REQUEST_TICK: Duration = Duration::from_secs(1);
const REQUEST_TICKS_MAX: usize = 60;

/// How much of everything the whole server allows. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Sockets that have joined a channel, at a time.
    pub concurrent_users_max: u64,
    /// Joins a second that were tried.
    pub joins_per_second_max: u64,
    /// Broadcasts a second, each counted once when it is accepted and once for each channel that gets it. HTTP
    /// requests are held to the same number, on their own meter, but for those under `/rest/v1`.
    pub events_per_second_max: u64,
    /// Presence messages a second: each state and each `track`, and each diff once for each channel that gets it.
    pub presence_events_per_second_max: u64,
    /// Database changes a second, each counted once for each channel that gets it.
    pub db_events_per_second_max: u64,
    /// HTTP requests under `/rest/v1` a second that are let through.
    pub rest_requests_per_second_max: u64,
}

impl ServerLimits {
    /// No limit on anything.
    pub const NONE: Self = Self {
        concurrent_users_max: 0,
        joins_per_second_max: 0,
        events_per_second_max: 0,
        presence_events_per_second_max: 0,
        db_events_per_second_max: 0,
        rest_requests_per_second_max: 0,
    };
}

/// Those of the stock server, but for changes: more of them are no reason to make everybody wait. PostgREST has none.
impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            concurrent_users_max: 200,
            joins_per_second_max: 100,
            events_per_second_max: 100,
            presence_events_per_second_max: 1_000,
            db_events_per_second_max: 0,
            rest_requests_per_second_max: 0,
        }
    }
}

/// The meters of a server, shared by all of its threads. Somebody must call [`Meter::tick`] of each.
#[derive(Debug)]
pub struct Meters {
    /// Joins that were tried: those that passed the number of users, whatever became of them.
    pub joins: Meter,
    /// Broadcasts accepted, of clients, of HTTP requests and of the database; their deliveries; unknown events.
    pub events: Meter,
    /// Presence states sent, `track`s, and deliveries of diffs.
    pub presence_events: Meter,
    /// Deliveries of database changes.
    pub db_events: Meter,
    /// HTTP requests to the routes that are limited.
    pub requests: Meter,
    /// Those under `/rest/v1` that were let through.
    pub rest_requests: Meter,
    /// Sockets that have joined a channel.
    pub users: Users,
}

impl Meters {
    /// Meters that have counted nothing.
    pub fn new(limits: ServerLimits) -> Self {
        let meter = |limit| Meter::new(limit, TICK, TICKS_MAX);
        let requests = |limit| Meter::new(limit, REQUEST_TICK, REQUEST_TICKS_MAX);
        Self {
            joins: meter(limits.joins_per_second_max),
            events: meter(limits.events_per_second_max),
            presence_events: meter(limits.presence_events_per_second_max),
            db_events: meter(limits.db_events_per_second_max),
            requests: requests(limits.events_per_second_max),
            rest_requests: requests(limits.rest_requests_per_second_max),
            users: Users { limit: limits.concurrent_users_max, count: AtomicU64::new(0) },
        }
    }

    /// Every meter, to be ticked.
    pub fn all(&self) -> [&Meter; 6] {
        [
            &self.joins,
            &self.events,
            &self.presence_events,
            &self.db_events,
            &self.requests,
            &self.rest_requests,
        ]
    }

    /// Adds all of them to the metrics page.
    pub fn add_to(&self, page: &mut Page) {
        let names = ["joins", "events", "presence_events", "db_events", "requests", "rest_requests"];
        for (name, meter) in names.into_iter().zip(self.all()) {
            page.add_float(&names::RATE, name, meter.average());
            page.add_to(&names::RATE_LIMIT, name, meter.limit());
        }
        for (metrics, meter) in [
            ([&names::STOCK_JOINS, &names::STOCK_GLOBAL_JOINS], &self.joins),
            ([&names::STOCK_EVENTS, &names::STOCK_GLOBAL_EVENTS], &self.events),
            ([&names::STOCK_PRESENCE_EVENTS, &names::STOCK_GLOBAL_PRESENCE_EVENTS], &self.presence_events),
            ([&names::STOCK_DB_EVENTS, &names::STOCK_GLOBAL_DB_EVENTS], &self.db_events),
        ] {
            metrics.into_iter().for_each(|metric| page.add(metric, meter.total()));
        }
        for metric in [
            &names::USERS,
            &names::STOCK_CONNECTED,
            &names::STOCK_CONNECTED_CLUSTER,
            &names::STOCK_GLOBAL_CONNECTED,
            &names::STOCK_GLOBAL_CONNECTED_CLUSTER,
        ] {
            page.add(metric, self.users.count());
        }
    }
}

/// A number of sockets with a bound.
#[derive(Debug)]
pub struct Users {
    limit: u64,
    count: AtomicU64,
}

impl Users {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.limit > 0 && self.count() >= self.limit
    }

    /// Takes one in, or answers `false` when there is no room.
    pub fn enter(&self) -> bool {
        let fits = |count: u64| (self.limit == 0 || count < self.limit).then(|| count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// One that was taken in is gone.
    pub fn leave(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_enter_until_there_is_no_room() {
        let meters = Meters::new(ServerLimits { concurrent_users_max: 2, ..ServerLimits::NONE });
        assert!(meters.users.enter() && meters.users.enter());
        assert!(meters.users.is_full() && !meters.users.enter());
        assert_eq!(meters.users.count(), 2);
        meters.users.leave();
        assert!(!meters.users.is_full() && meters.users.enter());
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let meters = Meters::new(ServerLimits::NONE);
        assert!((0..1_000).all(|_| meters.users.enter()) && !meters.users.is_full());
    }

    #[test]
    fn requests_are_held_to_the_rate_of_events_and_looked_at_each_second() {
        let meters = Meters::new(ServerLimits::default());
        assert_eq!(meters.requests.limit(), meters.events.limit());
        assert_eq!(meters.requests.interval(), Duration::from_secs(1));
        assert_eq!(meters.rest_requests.interval(), Duration::from_secs(1));
        assert_eq!(meters.rest_requests.limit(), 0);
        let slow = meters.all().iter().filter(|meter| meter.interval() == Duration::from_secs(5)).count();
        assert_eq!(slow, 4);
    }
}

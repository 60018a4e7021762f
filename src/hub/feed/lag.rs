//! How far the feed is behind Postgres, looked at every few seconds on a session of ordinary SQL.
//!
//! The stream itself does not say how far the log reaches, and clocks of two machines differ. So the log's end is
//! remembered with the time of each look, and a stage is as late as the oldest end that it has not reached.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::counters::{Counters, Look, Stage};
use crate::hub::Engine;
use crate::hub::catalogs::{Catalogs, chain};
use crate::postgres::rows::rows_of;
use crate::wal::sql::literal;

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How far behind the log the feed may be for rights to be granted by what it knows.
const GRANTS_WITHIN: Duration = Duration::from_secs(1);

/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// How many ends of the log are remembered: for an hour. A feed that is later is that late at least.
const ENDS_MAX: usize = 720;

/// Looks until it is dropped. `slot` is the name of the slot that is streamed from.
pub(super) async fn watch_lag(
    catalogs: Rc<Catalogs>,
    counters: Arc<Counters>,
    engine: Arc<Engine>,
    slot: String,
) {
    let mut ends = Ends::default();
    let mut tip = None;
    loop {
        let client = catalogs.client().await;
        match tokio::time::timeout(LOOK_WITHIN, look(&client, &slot)).await {
            Ok(Ok(look)) => {
                let now = Instant::now();
                tip = Some(look.tip);
                ends.add(now, look.tip);
                let behind = Stage::ALL.map(|stage| ends.behind(now, counters.position(stage)));
                counters
                    .looked(&look, behind.map(|behind| behind.as_millis().try_into().unwrap_or(u64::MAX)));
            }
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "the end of the log is not known"),
            Err(_) => catalogs.give_up(&client).await,
        }
        tokio::time::sleep(GRANTS_WITHIN).await;
        // Whatever the log had by the look is to have been taken in by now.
        engine.set_late(counters.position(Stage::FannedOut).zip(tip).is_some_and(|(at, tip)| at < tip));
        tokio::time::sleep(LOOK_EVERY.saturating_sub(GRANTS_WITHIN)).await;
    }
}

async fn look(client: &Client, slot: &str) -> Result<Look, tokio_postgres::Error> {
    let query = format!(
        "select pg_catalog.pg_wal_lsn_diff(tip, '0/0')::bigint, wal_status,
                greatest(pg_catalog.pg_wal_lsn_diff(tip, restart_lsn), 0)::bigint, safe_wal_size
           from (select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
                             else pg_catalog.pg_current_wal_lsn() end as tip) as log
           left join pg_catalog.pg_replication_slots on slot_name = {}",
        literal(slot)
    );
    let mut found = Look::default();
    for row in rows_of(&client.simple_query(&query).await?) {
        let number = |column: usize| row.get(column).and_then(|text| text.parse::<u64>().ok());
        found = Look {
            tip: number(0).unwrap_or(0),
            state: row.get(1).map(str::to_owned),
            retained_bytes: number(2).unwrap_or(0),
            // A slot past its bound has a negative number.
            safe_bytes: row.get(3).map(|_| number(3).unwrap_or(0)),
        };
    }
    Ok(found)
}

/// Ends of the log with the time of the look that found each, oldest first.
#[derive(Debug, Default)]
struct Ends(VecDeque<(Instant, u64)>);

impl Ends {
    fn add(&mut self, at: Instant, end: u64) {
        if self.0.back().is_some_and(|(_, last)| *last == end) {
            return;
        }
        if self.0.len() == ENDS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((at, end));
    }

    /// How long ago the log passed this position; nothing if it has not, or if the position is not known.
    fn behind(&self, now: Instant, position: Option<u64>) -> Duration {
        let Some(position) = position else { return Duration::ZERO };
        let passed = self.0.iter().find(|(_, end)| *end > position);
        passed.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_as_late_as_the_oldest_end_it_has_not_reached() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut ends = Ends::default();
        for (seconds, end) in [(0, 100), (5, 200), (10, 200), (15, 300)] {
            ends.add(at(seconds), end);
        }
        for (position, expected) in
            [(None, 0), (Some(300), 0), (Some(299), 5), (Some(200), 5), (Some(150), 15), (Some(1), 20)]
        {
            assert_eq!(ends.behind(at(20), position), Duration::from_secs(expected), "{position:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let start = Instant::now();
        let mut ends = Ends::default();
        (0..10_000).for_each(|end| ends.add(start + Duration::from_secs(end), end));
        assert_eq!(ends.0.len(), ENDS_MAX);
        assert_eq!(ends.behind(start + Duration::from_secs(9_999), Some(0)), Duration::from_secs(719));
    }
}

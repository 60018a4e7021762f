//! The rate of deliveries: counted as the stock server counts, slowed without a loss; and what the feed says of
//! itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rowcast::hub::{Meters, ServerLimits, feed};
use rowcast::telemetry::page::{Page, Place};
use serde_json::json;

use super::{TestFeed, WITHIN, anon, on_each_major, user};

const TABLE: &str = "create table t (id int primary key); select publish('t')";

/// Counters of a feed that may make so many deliveries a second.
fn limited(db_events_per_second_max: u64) -> Arc<feed::Counters> {
    let limits = ServerLimits { db_events_per_second_max, ..ServerLimits::NONE };
    Arc::new(feed::Counters::new(Arc::new(Meters::new(limits))))
}

/// Waits for something that nothing announces to a test.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn five_inserts_for_two_who_watch_are_ten_events() {
    on_each_major(async |major| {
        let counters = limited(0);
        let feed = TestFeed::start_with(major, TABLE, |config| config.counters = Arc::clone(&counters)).await;
        let mut watching = [feed.watch(&anon(), "t").await, feed.watch(&user(1), "t").await];
        for id in 0..5 {
            feed.execute(&format!("insert into t values ({id})")).await;
        }
        for subscriber in &mut watching {
            for _ in 0..5 {
                subscriber.change().await;
            }
        }
        assert_eq!(counters.meters.db_events.total(), 10);
        // One channel with two bindings that match gets one frame, and is counted twice.
        let both = json!([{"event": "*", "schema": "public", "table": "t"},
                          {"event": "INSERT", "schema": "public", "table": "t", "filter": "id=gt.5"}]);
        let mut twice = feed.subscribe(&anon(), both).await;
        feed.execute("insert into t values (6)").await;
        assert_eq!(twice.change().await.ids, json!([2, 1]));
        assert_eq!(counters.meters.db_events.total(), 14);
    })
    .await;
}

#[tokio::test]
async fn changes_over_the_rate_wait_and_none_is_lost() {
    on_each_major(async |major| {
        let counters = limited(10);
        let feed = TestFeed::start_with(major, TABLE, |config| config.counters = Arc::clone(&counters)).await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("insert into t select generate_series(1, 100)").await;
        for id in 1..=100 {
            assert_eq!(ann.change().await.data["record"]["id"], id);
        }
        counters.meters.db_events.tick();
        until("the feed has stopped reading", || counters.throttled.get() == 1).await;
        for id in 101..=150 {
            feed.execute(&format!("insert into t values ({id})")).await;
        }
        // It still answers those who join, and reads nothing for them either.
        let mut bob = feed.watch(&user(1), "t").await;
        assert!(ann.events.try_recv().is_err() && bob.events.try_recv().is_err());
        // The minute is over.
        (0..12).for_each(|_| counters.meters.db_events.tick());
        for id in 101..=150 {
            assert_eq!(ann.change().await.data["record"]["id"], id);
            assert_eq!(bob.change().await.data["record"]["id"], id, "who joined meanwhile gets them too");
        }
        assert_eq!(counters.throttled.get(), 1, "it is said once");
    })
    .await;
}

#[tokio::test]
async fn the_feed_says_how_far_it_is_and_how_its_slot_does() {
    on_each_major(async |major| {
        let counters = limited(0);
        let feed = TestFeed::start_with(major, TABLE, |config| config.counters = Arc::clone(&counters)).await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("insert into t values (1)").await;
        ann.change().await;
        let sample = |name: &str| {
            let mut page = Page::new();
            counters.add_to(&mut page);
            let page = page.render(&Place::default());
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
            line.parse::<f64>().unwrap()
        };
        let is = |name: &str, value: f64| (sample(name) - value).abs() < 1e-9;
        until("a look at the slot", || is(r#"rowcast_slot_state{state="reserved"}"#, 1.0)).await;
        assert!(is("rowcast_subscribers_joined", 1.0) && is("rowcast_changes_delivered_total", 1.0));
        assert!(is(r#"rowcast_decisions_total{decision="permit"}"#, 1.0));
        assert!(sample("rowcast_transactions_total") >= 1.0);
        for stage in ["received", "fanned_out", "acknowledged"] {
            until("the feed has caught up", || {
                is(&format!("rowcast_feed_lag_bytes{{stage=\"{stage}\"}}"), 0.0)
            })
            .await;
            assert!(is(&format!("rowcast_feed_lag_seconds{{stage=\"{stage}\"}}"), 0.0));
        }
    })
    .await;
}

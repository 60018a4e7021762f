//! The position that Postgres may forget.

use std::time::Duration;

use super::harness::Heard::{Change, Subscribed};
use super::harness::{Feed, Options, Server, durable};
use crate::support::{connect, majors};

#[tokio::test]
async fn acknowledgement_waits_for_a_full_inbox() {
    for major in majors() {
        let server = Server::start(major, "").await;
        let options = Options { inbox: 1, ..Options::on(durable()) };
        let mut feed = Feed::start_on(&server.cluster.url("postgres"), options);
        let ann = feed.subscribe("ann", "messages").await;
        feed.hears(ann, [Subscribed]).await;

        // The first fills the inbox, so the second cannot be handed over.
        server.write([1]).await;
        let first = server.end().await;
        server.acknowledged_to(first).await;
        server.write(2..=50).await;
        let last = server.end().await;
        server.until(&format!("select sent_lsn >= '{last}' from pg_stat_replication")).await;
        // Twice as long as progress takes to be reported.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let acknowledged = server.acknowledged().await;
        assert!(acknowledged >= first && acknowledged < last, "{first} {acknowledged} {last}");

        feed.hears(ann, (1..=50).map(Change)).await;
        server.acknowledged_to(last).await;
        feed.stop().await;
    }
}

#[tokio::test]
async fn idle_database_beside_a_busy_one_holds_nothing_back() {
    let server = Server::start(18, "").await;
    server.client().await.batch_execute("create database busy").await.unwrap();
    let mut feed = Feed::start(&server, durable());
    let ann = feed.subscribe("ann", "messages").await;
    feed.hears(ann, [Subscribed]).await;
    let busy = connect(&server.cluster.url("busy")).await;
    busy.batch_execute("create table t as select generate_series(1, 100000)").await.unwrap();
    let end = server.end().await;
    server.acknowledged_to(end).await;
    feed.stop().await;
}

//! Durable slots: lost, invalidated, shared, handed over.

use super::harness::Heard::{Change, Interrupted, Subscribed};
use super::harness::{Feed, Options, Server, durable};
use crate::support::majors;

#[tokio::test]
async fn slot_dropped_while_postgres_is_down_is_made_anew() {
    for major in majors() {
        let mut server = Server::start(major, "").await;
        let mut feed = Feed::start(&server, durable());
        let ann = feed.subscribe("ann", "messages").await;
        feed.hears(ann, [Subscribed]).await;
        server.write([1]).await;
        feed.hears(ann, [Change(1)]).await;
        server.stop();
        std::fs::remove_dir_all(server.cluster.data().join("pg_replslot/rowcast")).unwrap();
        server.cluster.restart().unwrap();
        feed.hears(ann, [Interrupted, Subscribed]).await;
        server.write([2]).await;
        feed.hears(ann, [Change(2)]).await;
        feed.stop().await;
        assert_eq!(server.value("select count(*) from pg_replication_slots").await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn invalidated_slot_is_made_anew() {
    for major in majors() {
        let server = Server::start(major, "max_slot_wal_keep_size = 1MB\nmin_wal_size = 32MB").await;
        // The first row fills the inbox; the next is held, and nothing is acknowledged any more.
        let options = Options { inbox: 1, ..Options::on(durable()) };
        let mut feed = Feed::start_on(&server.cluster.url("postgres"), options);
        let ann = feed.subscribe("ann", "messages").await;
        feed.hears(ann, [Subscribed]).await;
        server.write([1]).await;
        let first = server.end().await;
        server.acknowledged_to(first).await;
        server.write(2..=5).await;
        let client = server.client().await;
        for _ in 0..5 {
            client
                .batch_execute("select pg_switch_wal(); create table flood (); drop table flood")
                .await
                .unwrap();
        }
        client.batch_execute("checkpoint").await.unwrap();
        server.until("select wal_status = 'lost' from pg_replication_slots").await;
        // What had been received before is still delivered.
        feed.hears_mixed(ann, 1..=5, &[]).await;
        feed.hears(ann, [Interrupted, Subscribed]).await;
        assert_ne!(
            server.value("select wal_status from pg_replication_slots").await.as_deref(),
            Some("lost")
        );
        server.write([6]).await;
        feed.hears(ann, [Change(6)]).await;
        feed.stop().await;
    }
}

#[tokio::test]
async fn slot_is_handed_over_from_server_to_server() {
    for major in majors() {
        let server = Server::start(major, "").await;
        let mut old = Feed::start(&server, durable());
        let ann = old.subscribe("ann", "messages").await;
        old.hears(ann, [Subscribed]).await;
        server.write(1..=3).await;
        old.hears(ann, (1..=3).map(Change)).await;

        // The next server waits for the slot, and its clients with it.
        let mut new = Feed::start(&server, durable());
        new.down("another server streams from this slot").await;
        let ben = new.subscribe("ben", "messages").await;
        old.stop().await;
        server.write(4..=6).await;
        // What the old one delivered does not come again; what was written meanwhile does.
        new.hears(ben, [Subscribed, Change(4), Change(5), Change(6)]).await;
        new.stop().await;

        // Nobody is there, and a client that is there before the stream is read misses nothing.
        server.write(7..=9).await;
        let slot = server.value("select count(*) from pg_replication_slots where not active").await;
        assert_eq!(slot.as_deref(), Some("1"), "a durable slot stays");
        let mut last = Feed::start(&server, durable());
        let cyd = last.subscribe("cyd", "messages").await;
        last.hears(cyd, [Subscribed, Change(7), Change(8), Change(9)]).await;
        last.stop().await;
    }
}

#[tokio::test]
async fn somebody_elses_slot_is_left_alone() {
    let server = Server::start(18, "").await;
    let client = server.client().await;
    client.batch_execute("select pg_create_physical_replication_slot('rowcast')").await.unwrap();
    let mut feed = Feed::start(&server, durable());
    feed.down("choose another slot name").await;
    let ann = feed.subscribe("ann", "messages").await;
    client.batch_execute("select pg_drop_replication_slot('rowcast')").await.unwrap();
    feed.hears(ann, [Subscribed]).await;
    feed.stop().await;
}

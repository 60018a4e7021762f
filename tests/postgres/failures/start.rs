//! What may be missing when a server starts, and comes later.

use super::harness::Heard::{Change, Refused, Subscribed};
use super::harness::{Feed, Options, Server};
use crate::support::{connect, majors};
use rowcast::wal::Slot;

#[tokio::test]
async fn database_may_be_created_later() {
    for major in majors() {
        let server = Server::start(major, "").await;
        let url = server.cluster.url("later");
        let mut feed = Feed::start_on(&url, Options::on(Slot::Temporary));
        feed.down("create the database").await;
        let ann = feed.subscribe("ann", "messages").await;
        server.client().await.batch_execute("create database later").await.unwrap();
        // The stream is live, and there is no such table yet.
        let refusal = feed.next(ann).await;
        assert!(matches!(&refusal, Refused(text) if text.contains("Unable to subscribe")), "{refusal:?}");
        feed.live().await;
        let client = connect(&url).await;
        client
            .batch_execute(
                "create table messages (id int primary key); grant select on messages to anon;
                 alter publication supabase_realtime add table messages",
            )
            .await
            .unwrap();
        feed.hears(ann, [Subscribed]).await;
        client.batch_execute("insert into messages values (1)").await.unwrap();
        feed.hears(ann, [Change(1)]).await;
        feed.stop().await;
    }
}

#[tokio::test]
async fn walsenders_may_be_taken_at_first() {
    let server = Server::start(18, "max_wal_senders = 1").await;
    let first = Feed::start(&server, Slot::Temporary);
    first.live().await;
    let mut second = Feed::start(&server, Slot::Temporary);
    second.down("max_wal_senders").await;
    let ann = second.subscribe("ann", "messages").await;
    first.stop().await;
    second.hears(ann, [Subscribed]).await;
    server.write([1]).await;
    second.hears(ann, [Change(1)]).await;
    second.stop().await;
}

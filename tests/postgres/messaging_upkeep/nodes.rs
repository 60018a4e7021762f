//! Several servers on one database.

use std::time::Duration;

use rowcast::postgres::messaging::Config;

use super::{ANN, BOB, Node, TALK, config, create, is, statuses, until, until_is, user};
use crate::feed::on_each_major;

/// The lease is the one of somebody who is connected.
const CONNECTED: &str = "status = 'online' and expires_at = last_seen_at + interval '60 seconds'";

async fn type_and_expire(database: &crate::support::TestDatabase) {
    let insert = format!(
        "insert into public.message_typing_indicators (conversation_id, user_id, expires_at)
         values ('{TALK}', '{ANN}', now())"
    );
    database.execute(&insert).await;
    until("end of typing", async || {
        super::text(database, "select count(*)::text from public.message_typing_indicators").await == "0"
    })
    .await;
}

#[tokio::test]
async fn one_server_leads_and_another_takes_over() {
    on_each_major(async |major| {
        let database = create(major).await;
        let first = Node::start(config(&database));
        until("leader", async || first.leads()).await;
        let second = Node::start(config(&database));
        // It has looked for the lead, in vain.
        let _bob = second.messaging.people.enter(user(BOB));
        until_is(&database, BOB, CONNECTED).await;
        assert!(first.leads() && !second.leads(), "on {major}");
        type_and_expire(&database).await;
        assert_eq!(first.messaging.counters.typing_expired.get(), 1, "on {major}");
        first.crash().await;
        until("other leader", async || second.leads()).await;
        type_and_expire(&database).await;
        assert_eq!(second.messaging.counters.typing_expired.get(), 1, "on {major}");
        // One that ends in order makes room as well.
        let third = Node::start(config(&database));
        second.end().await;
        until("third leader", async || third.leads()).await;
    })
    .await;
}

#[tokio::test]
async fn a_person_is_there_as_long_as_any_server_has_a_device_of_theirs() {
    on_each_major(async |major| {
        let database = create(major).await;
        let grace = Duration::from_secs(1);
        let first = Node::start(Config { grace, ..config(&database) });
        let second = Node::start(Config { grace, ..config(&database) });
        let phone = first.messaging.people.enter(user(ANN));
        let laptop = second.messaging.people.enter(user(ANN));
        until_is(&database, ANN, CONNECTED).await;
        drop(phone);
        // The first server has said that Ann has left it, before it says that Bob has come.
        let _bob = first.messaging.people.enter(user(BOB));
        until_is(&database, BOB, CONNECTED).await;
        until_is(&database, ANN, CONNECTED).await;
        drop(laptop);
        until_is(&database, ANN, "status = 'offline'").await;
        assert_eq!(statuses(&database, ANN).await, "online offline", "on {major}");
        assert!(is(&database, BOB, "status = 'online'").await, "on {major}");
    })
    .await;
}

#[tokio::test]
async fn activity_on_one_server_counts_on_all() {
    on_each_major(async |major| {
        let database = create(major).await;
        let idle = Duration::from_secs(1);
        let first = Node::start(Config { idle, ..config(&database) });
        let second = Node::start(Config { idle, ..config(&database) });
        let _phone = first.messaging.people.enter(user(ANN));
        let laptop = second.messaging.people.enter(user(ANN));
        until_is(&database, ANN, "status = 'away'").await;
        laptop.active();
        until_is(&database, ANN, "status = 'online'").await;
        assert!(statuses(&database, ANN).await.starts_with("online away online"), "on {major}");
    })
    .await;
}

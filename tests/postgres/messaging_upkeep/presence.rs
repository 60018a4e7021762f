//! Presence follows connections.

use std::time::Duration;

use rowcast::postgres::messaging::Config;

use super::{ANN, BOB, KIM, Node, config, create, customer, is, statuses, until_is, user};
use crate::feed::on_each_major;

/// The lease is the one of somebody who is connected.
const CONNECTED: &str = "status = 'online' and expires_at = last_seen_at + interval '60 seconds'";

/// The lease is the one of somebody who has left.
const LEFT: &str = "status = 'online' and expires_at = last_seen_at + interval '20 seconds'";

#[tokio::test]
async fn who_connects_is_online_and_who_leaves_is_offline_after_the_grace() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(Config { grace: Duration::from_secs(1), ..config(&database) });
        let (ann, kim) = (node.messaging.people.enter(user(ANN)), node.messaging.people.enter(customer(KIM)));
        until_is(&database, ANN, CONNECTED).await;
        until_is(&database, KIM, CONNECTED).await;
        assert!(!is(&database, BOB, "true").await, "on {major}: Bob has never been here");
        drop((ann, kim));
        until_is(&database, ANN, "status = 'offline' and is_automatic").await;
        until_is(&database, KIM, "status = 'offline'").await;
        // Nobody was made offline before the grace was over.
        assert!(
            is(&database, ANN, "expires_at = last_seen_at + interval '1 second' and expires_at <= now()")
                .await
        );
        assert_eq!(statuses(&database, ANN).await, "online offline", "on {major}");
        let _again = node.messaging.people.enter(user(ANN));
        until_is(&database, ANN, CONNECTED).await;
        assert_eq!(statuses(&database, ANN).await, "online offline online", "on {major}");
    })
    .await;
}

#[tokio::test]
async fn who_comes_back_within_the_grace_has_never_been_away() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(config(&database));
        for _ in 0..3 {
            let seat = node.messaging.people.enter(user(ANN));
            until_is(&database, ANN, CONNECTED).await;
            drop(seat);
            until_is(&database, ANN, LEFT).await;
        }
        let _seat = node.messaging.people.enter(user(ANN));
        until_is(&database, ANN, CONNECTED).await;
        assert_eq!(statuses(&database, ANN).await, "online", "on {major}");
    })
    .await;
}

#[tokio::test]
async fn a_person_leaves_with_the_last_device() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(config(&database));
        let (phone, laptop) =
            (node.messaging.people.enter(user(ANN)), node.messaging.people.enter(user(ANN)));
        until_is(&database, ANN, CONNECTED).await;
        drop(phone);
        // Somebody else who comes is written after what there was to write of Ann.
        let _bob = node.messaging.people.enter(user(BOB));
        until_is(&database, BOB, CONNECTED).await;
        assert!(is(&database, ANN, CONNECTED).await, "on {major}");
        drop(laptop);
        until_is(&database, ANN, LEFT).await;
    })
    .await;
}

#[tokio::test]
async fn connected_people_are_seen_all_the_time() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(config(&database));
        let _seat = node.messaging.people.enter(user(ANN));
        until_is(&database, ANN, CONNECTED).await;
        let seen = super::text(&database, "select last_seen_at::text from public.user_presence").await;
        until_is(
            &database,
            ANN,
            &format!("last_seen_at > '{seen}'::timestamptz + interval '300 milliseconds'"),
        )
        .await;
        assert_eq!(statuses(&database, ANN).await, "online", "on {major}");
    })
    .await;
}

#[tokio::test]
async fn who_does_nothing_is_away_until_they_do_something() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(Config { idle: Duration::from_secs(1), ..config(&database) });
        let seat = node.messaging.people.enter(user(ANN));
        until_is(&database, ANN, "status = 'online'").await;
        until_is(&database, ANN, "status = 'away' and is_automatic and expires_at > now()").await;
        // Renewed leases do not make active.
        let seen = super::text(&database, "select last_seen_at::text from public.user_presence").await;
        until_is(
            &database,
            ANN,
            &format!("last_seen_at > '{seen}'::timestamptz + interval '300 milliseconds'"),
        )
        .await;
        assert_eq!(statuses(&database, ANN).await, "online away", "on {major}");
        seat.active();
        until_is(&database, ANN, "status = 'online'").await;
        assert_eq!(statuses(&database, ANN).await, "online away online", "on {major}");
    })
    .await;
}

#[tokio::test]
async fn what_people_say_of_themselves_stays() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(Config { idle: Duration::from_secs(1), ..config(&database) });
        let _ann = node.messaging.people.enter(user(ANN));
        let _bob = node.messaging.people.enter(user(BOB));
        until_is(&database, ANN, CONNECTED).await;
        until_is(&database, BOB, "true").await;
        database
            .execute("update public.user_presence set status = 'busy', is_automatic = false where status = 'online' or status = 'away'")
            .await;
        let seen = super::text(&database, "select max(last_seen_at)::text from public.user_presence").await;
        for person in [ANN, BOB] {
            let later = format!("last_seen_at > '{seen}'::timestamptz + interval '1500 milliseconds'");
            until_is(&database, person, &later).await;
            assert!(is(&database, person, "status = 'busy'").await, "on {major}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_crash_leaves_no_ghost() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(Config { lease: Duration::from_secs(2), ..config(&database) });
        let seats = [node.messaging.people.enter(user(ANN)), node.messaging.people.enter(user(BOB))];
        for person in [ANN, BOB] {
            until_is(&database, person, "status = 'online'").await;
        }
        node.crash().await;
        drop(seats);
        // Only Bob comes back.
        let node = Node::start(config(&database));
        let _bob = node.messaging.people.enter(user(BOB));
        until_is(&database, ANN, "status = 'offline'").await;
        until_is(&database, BOB, CONNECTED).await;
    })
    .await;
}

//! Messages that were sent to somebody become delivered.

use rowcast::postgres::messaging::{Deliveries, Messaging};
use uuid::Uuid;

use super::{ANN, BOB, KIM, Node, TALK, config, create, customer, text, until, user};
use crate::feed::on_each_major;
use crate::support::TestDatabase;

/// Ann sends a message.
async fn send(database: &TestDatabase) -> Uuid {
    let sql = format!(
        "insert into public.messages (conversation_id, sender_id, content) values ('{TALK}', '{ANN}', 'hello')
         returning id::text"
    );
    Uuid::try_parse(&text(database, &sql).await).unwrap()
}

/// What has become of a message for each person but its sender.
async fn ladder(database: &TestDatabase, message: Uuid) -> String {
    let sql = format!(
        "select string_agg(concat_ws(' ', case recipient_id when '{BOB}' then 'Bob' when '{KIM}' then 'Kim' end, status),
             ', ' order by recipient_id)
         from public.message_delivery_status where message_id = '{message}'"
    );
    text(database, &sql).await
}

async fn until_ladder(database: &TestDatabase, message: Uuid, expected: &str) {
    until(expected, async || ladder(database, message).await == expected).await;
}

#[tokio::test]
async fn what_was_sent_becomes_delivered_and_never_less() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(config(&database));
        let (first, second) = (send(&database).await, send(&database).await);
        assert_eq!(ladder(&database, first).await, "Bob sent, Kim sent", "on {major}");
        let deliveries = &node.messaging.deliveries;
        deliveries.note(first, customer(KIM));
        until_ladder(&database, first, "Bob sent, Kim delivered").await;
        database
            .execute(&format!(
                "update public.message_delivery_status set status = 'read' where recipient_id = '{BOB}'"
            ))
            .await;
        // Those who are no recipients, and messages that are none, do no harm.
        deliveries.note(first, user(ANN));
        deliveries.note(Uuid::nil(), user(BOB));
        deliveries.note(first, user(BOB));
        deliveries.note(second, customer(KIM));
        until_ladder(&database, second, "Bob read, Kim delivered").await;
        assert_eq!(ladder(&database, first).await, "Bob read, Kim delivered", "on {major}");
        assert_eq!(deliveries.counters().delivered.get(), 2, "on {major}");
        assert_eq!(deliveries.counters().dropped.get(), 0, "on {major}");
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    on_each_major(async |major| {
        let database = create(major).await;
        let mut messages = Vec::new();
        for _ in 0..3 {
            messages.push(send(&database).await);
        }
        let (deliveries, notes) = Deliveries::queue(2);
        let messaging = Messaging { deliveries, ..Messaging::new().0 };
        messages.iter().for_each(|message| messaging.deliveries.note(*message, user(BOB)));
        assert_eq!(messaging.deliveries.counters().dropped.get(), 1, "on {major}");
        let node = Node::with(config(&database), messaging, notes);
        until_ladder(&database, messages[1], "Bob delivered, Kim sent").await;
        until_ladder(&database, messages[0], "Bob delivered, Kim sent").await;
        node.end().await;
        assert_eq!(ladder(&database, messages[2]).await, "Bob sent, Kim sent", "on {major}");
    })
    .await;
}

#[tokio::test]
async fn what_was_noted_last_is_written_before_the_end() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(rowcast::postgres::messaging::Config {
            // So long that only the end can be what has it written.
            batch_wait: std::time::Duration::from_secs(3_600),
            ..config(&database)
        });
        until("leader", async || node.leads()).await;
        let message = send(&database).await;
        node.messaging.deliveries.note(message, user(BOB));
        node.end().await;
        assert_eq!(ladder(&database, message).await, "Bob delivered, Kim sent", "on {major}");
    })
    .await;
}

#[tokio::test]
async fn a_lost_session_loses_no_delivery() {
    on_each_major(async |major| {
        let database = create(major).await;
        let node = Node::start(config(&database));
        until("leader", async || node.leads()).await;
        let ended = text(
            &database,
            "select count(pg_terminate_backend(pid))::text from pg_stat_activity
             where datname = current_database() and application_name like 'rowcast_messaging%'",
        )
        .await;
        assert_eq!(ended, "3", "on {major}");
        let message = send(&database).await;
        node.messaging.deliveries.note(message, user(BOB));
        until_ladder(&database, message, "Bob delivered, Kim sent").await;
        until("leader again", async || node.leads()).await;
        assert!(node.messaging.counters.failures.get() > 0, "on {major}");
        assert_eq!(node.messaging.deliveries.counters().dropped.get(), 0, "on {major}");
    })
    .await;
}

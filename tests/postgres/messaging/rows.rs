//! Which rows of each table each caller sees.

use super::{Case, Stage, cases};
use crate::support::majors;

const DENIED: &str = "42501";

#[tokio::test]
async fn people_see_the_rows_of_conversations_that_they_take_part_in_and_staff_all() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.check(&seeing()).await;
    }
}

#[tokio::test]
async fn customer_sees_the_staff_that_has_joined_and_is_seen() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("select public.add_participant('{support}', '{bob}')").await;
        let seen =
            "select count(*) from public.user_presence where user_id = '{bob}' or customer_id = '{cus}'";
        stage.check(&[(seen, ["1", "2", "0", "0", "2", "0", "2", "42501", "2"])]).await;
        stage.call(super::Bob, "select public.leave_conversation('{support}')").await.unwrap();
        stage.check(&[(seen, ["1", "1", "0", "0", "1", "0", "2", "42501", "2"])]).await;
    }
}

#[tokio::test]
async fn former_participant_who_is_brought_back_sees_everything_again() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let seen = "select count(*) from public.messages where conversation_id = '{group}'";
        assert_eq!(stage.probe(super::Carl, seen).await, "0");
        stage.call(super::Ann, "select public.add_participant('{group}', '{carl}')").await.unwrap();
        assert_eq!(stage.probe(super::Carl, seen).await, "2");
        let listed = "select participants @> array['{carl}'] from public.conversations where id = '{group}'";
        assert_eq!(stage.probe(super::Carl, listed).await, "t");
        stage.call(super::Carl, "select public.leave_conversation('{group}')").await.unwrap();
        assert_eq!(stage.probe(super::Carl, seen).await, "0");
        assert_eq!(stage.probe(super::Ann, listed).await, "f");
    }
}

/// Rows of each table.
pub(super) fn seeing() -> Vec<Case> {
    //   Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service
    cases([
        ("select count(*) from public.conversations", ["2", "2", "0", "1", "1", "0", "4", DENIED, "4"]),
        (
            "select count(*) from public.conversation_participants",
            ["5", "5", "0", "2", "1", "0", "8", DENIED, "8"],
        ),
        ("select count(*) from public.messages", ["4", "4", "0", "1", "1", "0", "6", DENIED, "6"]),
        ("select count(*) from public.message_reactions", ["2", "2", "0", "0", "0", "0", "2", DENIED, "2"]),
        (
            "select count(*) from public.message_read_receipts",
            ["1", "1", "0", "1", "0", "0", "2", DENIED, "2"],
        ),
        (
            "select count(*) from public.message_typing_indicators",
            ["2", "2", "0", "0", "1", "0", "3", DENIED, "3"],
        ),
        // Ann's and Bob's messages have one recipient in the direct conversation and two in the group, Carl's
        // has two; nobody else takes part where the customer writes.
        (
            "select count(*) from public.message_delivery_status",
            ["6", "6", "0", "1", "0", "0", "7", DENIED, "7"],
        ),
        // Carl shares nothing any more, but sees himself, and nobody sees him.
        ("select count(*) from public.user_presence", ["2", "2", "1", "1", "1", "0", "5", DENIED, "5"]),
        ("select count(*) from public.users", ["2", "2", "1", "2", "0", "0", "6", DENIED, "6"]),
        ("select count(*) from public.customers", ["0", "0", "0", "0", "1", "1", "2", DENIED, "2"]),
        (
            "select count(*) from public.notification_preferences",
            ["1", "0", "0", "1", "0", "0", "0", DENIED, "2"],
        ),
        (
            "select count(*) from rowcast.messaging_settings",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "6"],
        ),
        (
            "select count(*) from rowcast.messaging_rates",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED],
        ),
    ])
}

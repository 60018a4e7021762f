//! Calls that come at the same moment: once is once, and times grow in the order of commits.

use std::time::Duration;

use tokio_postgres::Client;

use super::{Ann, Bob, Caller, Dan, Stage, answer, call, with_ids};
use crate::support::majors;

/// Begins a transaction of a caller and runs `sql` in it.
async fn begin(client: &Client, caller: Caller, sql: &str) -> Result<String, String> {
    client.batch_execute("begin").await.unwrap();
    client.batch_execute(&caller.prologue()).await.unwrap();
    answer(client, &with_ids(sql)).await
}

/// Waits until a session of this database waits for a lock.
async fn somebody_waits(stage: &Stage) {
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    for _ in 0..2000 {
        if stage.value(waits).await != "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits for a lock");
}

/// What the second of two calls is answered that comes while the first has not ended, which then ends as `end` says.
async fn race(
    stage: &Stage,
    first: (Caller, &str),
    second: (Caller, &str),
    end: &str,
) -> [Result<String, String>; 2] {
    let (one, two) = (stage.connect().await, stage.connect().await);
    let before = begin(&one, first.0, first.1).await;
    let (after, ()) = tokio::join!(call(&two, second.0, second.1, "commit"), async {
        somebody_waits(stage).await;
        one.batch_execute(end).await.unwrap();
    });
    [before, after]
}

#[tokio::test]
async fn message_that_is_sent_twice_at_once_is_sent_once() {
    const SEND: &str = "select id from public.send_message('{direct}', 'x', client_message_id => 'k')";
    for major in majors() {
        let stage = Stage::create(major).await;
        let [first, second] = race(&stage, (Ann, SEND), (Ann, SEND), "commit").await;
        assert!(first.is_ok(), "on {major}: {first:?}");
        assert_eq!(first, second, "on {major}");
        let sent = "select count(*) from public.messages where client_message_id = 'k'";
        assert_eq!(stage.value(sent).await, "1", "on {major}");
        assert_eq!(stage.call(Ann, SEND).await, first, "on {major}");
        // Another person's id is another's, and so is one that the first call did not keep.
        assert_ne!(stage.call(Bob, SEND).await, first, "on {major}");
        let again = SEND.replace("'k'", "'l'");
        let [first, second] = race(&stage, (Ann, &again), (Ann, &again), "rollback").await;
        assert!(second.is_ok() && first != second, "on {major}: {second:?}");
        let elsewhere = "select id from public.send_message('{group}', 'x', client_message_id => 'k')";
        assert_eq!(stage.call(Ann, elsewhere).await, Err("22023".to_owned()), "on {major}");
    }
}

#[tokio::test]
async fn direct_conversation_that_two_start_at_once_is_one() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let start = "select public.start_conversation('{{dan}}') ->> 'id'";
        let other = "select public.start_conversation('{{ann}}') ->> 'id'";
        let [first, second] = race(&stage, (Ann, start), (Dan, other), "commit").await;
        assert!(first.is_ok(), "on {major}: {first:?}");
        assert_eq!(first, second, "on {major}");
        let again = "select public.start_conversation('{{bob},{dan}}', first_message => 'x', client_message_id => 'k') ->> 'id'";
        let [first, second] = race(&stage, (Ann, again), (Ann, again), "commit").await;
        assert!(first.is_ok(), "on {major}: {first:?}");
        assert_eq!(first, second, "on {major}");
    }
}

#[tokio::test]
async fn times_grow_in_the_order_of_commits() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let send = "select created_at from public.send_message('{direct}', 'x')";
        let [first, second] = race(&stage, (Ann, send), (Bob, send), "commit").await;
        assert!(first.unwrap() < second.unwrap(), "on {major}");
        // Also where clocks go back.
        stage
            .execute("update public.conversations set last_message_at = now() + interval '1 hour' where id = '{direct}'")
            .await;
        let later =
            "select created_at > now() + interval '59 minutes' from public.send_message('{direct}', 'x')";
        assert_eq!(stage.call(Ann, later).await, Ok("t".to_owned()), "on {major}");
        let many = "insert into public.messages (conversation_id, content) select '{direct}', i::text from generate_series(1, 50) i";
        stage.execute("update public.conversations set last_message_at = null where id = '{direct}'").await;
        stage.call(Ann, many).await.unwrap();
        let times = "select count(distinct created_at) = count(*) from public.messages where conversation_id = '{direct}'";
        assert_eq!(stage.value(times).await, "t", "on {major}");
    }
}

#[tokio::test]
async fn message_that_is_read_twice_at_once_has_one_receipt() {
    const READ: &str = "select id from public.mark_message_as_read('{d2}')";
    for major in majors() {
        let stage = Stage::create(major).await;
        let [first, second] = race(&stage, (Ann, READ), (Ann, READ), "commit").await;
        assert!(first.is_ok(), "on {major}: {first:?}");
        assert_eq!(first, second, "on {major}");
    }
}

#[tokio::test]
async fn who_leaves_while_a_message_of_theirs_waits_does_not_send_it() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let leave = "select public.leave_conversation('{direct}')";
        let send = "select id from public.send_message('{direct}', 'x')";
        let [_, sent] = race(&stage, (Ann, leave), (Ann, send), "commit").await;
        assert_eq!(sent, Err("PT404".to_owned()), "on {major}");
        let [_, sent] = race(&stage, (Bob, leave), (Bob, send), "rollback").await;
        assert!(sent.is_ok(), "on {major}: {sent:?}");
    }
}

#[tokio::test]
async fn people_who_join_and_leave_at_once_are_all_counted() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let add = "select 1 from public.add_participant('{group}', '{dan}')";
        let leave = "select public.leave_conversation('{group}')";
        let answers = race(&stage, (Ann, add), (Bob, leave), "commit").await;
        assert_eq!(answers, [Ok("1".to_owned()), Ok("t".to_owned())], "on {major}");
        let ids = "select participants from public.conversations where id = '{group}'";
        assert_eq!(stage.value(ids).await, with_ids("{{ann},{dan}}"), "on {major}");
    }
}

//! Order and completeness: large transactions, several tables, many writers.

use std::collections::HashMap;

use serde_json::json;

use super::{TestFeed, anon, brief, on_each_major, user, uuid};

#[tokio::test]
async fn a_large_transaction_arrives_whole_and_in_order() {
    on_each_major(async |major| {
        let feed = TestFeed::start_with(
            major,
            "create table t (id int primary key, body text); select publish('t')",
            |config| config.transaction_bytes_max = 1 << 20,
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("insert into t select n, repeat('x', 50) from generate_series(1, 100000) n").await;
        let seen = ann.until(feed.mark().await).await;
        assert!(
            seen.iter().map(|change| &change.data["record"]["id"]).eq(&(1..=100_000).collect::<Vec<_>>())
        );
    })
    .await;
}

#[tokio::test]
async fn a_large_transaction_under_policies_arrives_whole_with_little_waiting_at_once() {
    on_each_major(async |major| {
        let feed = TestFeed::start_with(
            major,
            "create table t (id int primary key, owner uuid);
             alter table t enable row level security;
             create policy own on t using (owner = auth.uid());
             select publish('t')",
            |config| {
                config.transaction_bytes_max = 256 << 10;
                config.waiting_max = 100;
            },
        )
        .await;
        let mut users = Vec::new();
        for number in 1..=3 {
            users.push((number, feed.watch(&user(number), "t").await));
        }
        feed.execute(&format!(
            "insert into t select n, ('{}' || n % 3 + 1)::uuid from generate_series(1, 6000) n",
            &uuid(0)[..35]
        ))
        .await;
        let mark = feed.mark().await;
        for (number, subscriber) in &mut users {
            let seen = subscriber.until(mark).await;
            let expected: Vec<usize> = (1..=6000).filter(|id| id % 3 + 1 == *number).collect();
            assert!(seen.iter().map(|change| &change.data["record"]["id"]).eq(&expected), "user {number}");
        }
    })
    .await;
}

#[tokio::test]
async fn tables_of_one_transaction_keep_their_write_order() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table a (id int primary key); create table b (id int primary key);
             alter table b enable row level security; create policy p on b using (id % 2 = 0);
             select publish('a', 'b')",
        )
        .await;
        let mut ann = feed.subscribe(&anon(), json!([{"event": "*", "schema": "public"}])).await;
        // One of the two is decided at once and the other by Postgres; neither overtakes.
        feed.execute(
            "do $$ begin for n in 1..50 loop
                 insert into a values (n); insert into b values (n); commit;
                 insert into b values (n + 100); insert into a values (n + 100);
             end loop; end $$",
        )
        .await;
        let seen: Vec<String> = ann
            .until(feed.mark().await)
            .await
            .iter()
            .map(|change| {
                format!("{}{}", change.data["table"].as_str().unwrap(), change.data["record"]["id"])
            })
            .collect();
        let mut expected = Vec::new();
        for n in 1..=50 {
            let written = [("a", n), ("b", n), ("b", n + 100), ("a", n + 100)];
            let visible = written.iter().filter(|(table, id)| *table == "a" || id % 2 == 0);
            expected.extend(visible.map(|(table, id)| format!("{table}{id}")));
        }
        assert_eq!(seen, expected);
    })
    .await;
}

#[tokio::test]
async fn concurrent_writers_arrive_in_commit_order() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table counter (id int primary key, n int); insert into counter values (1, 0);
             create table t (id int primary key, writer int);
             alter table t enable row level security; create policy p on t using (true);
             select publish('counter', 't')",
        )
        .await;
        let mut ann = feed.subscribe(&user(1), json!([{"event": "*", "schema": "public"}])).await;
        // The row lock on the counter makes its numbers the order of commits.
        let mut writers = Vec::new();
        for writer in 1..=4 {
            let session = feed.session().await;
            writers.push(tokio::spawn(async move {
                for _ in 0..50 {
                    let sql = format!(
                        "begin; with next as (update counter set n = n + 1 returning n)
                         insert into t select n, {writer} from next; commit"
                    );
                    session.batch_execute(&sql).await.unwrap();
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let seen = ann.until(feed.mark().await).await;
        let mut next: HashMap<&str, u64> = HashMap::new();
        for change in &seen {
            let (table, column) =
                if change.data["table"] == "counter" { ("counter", "n") } else { ("t", "id") };
            let last = next.entry(table).or_default();
            *last += 1;
            assert_eq!(change.data["record"][column], *last, "{table}");
        }
        assert_eq!(next, HashMap::from([("counter", 200), ("t", 200)]));
    })
    .await;
}

#[tokio::test]
async fn a_new_token_neither_loses_nor_reorders_what_is_on_its_way() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int generated always as identity primary key);
             alter table t enable row level security;
             create policy slow on t using (pg_sleep((auth.jwt() ->> 'delay')::float) is not null);
             select publish('t')",
        )
        .await;
        // What is asked with a slow token is still on its way when that with the next, quick one is answered.
        let token = |number: usize| {
            let delay = if number.is_multiple_of(2) { 0.1 } else { 0.0 };
            super::claims("authenticated", json!({"sub": uuid(1), "token": number, "delay": delay}))
        };
        let mut ann = feed.watch(&token(0), "t").await;
        let mut server = feed.watch(&super::service(), "t").await;
        for number in 1..=8 {
            feed.run(&["insert into t default values"; 3]).await;
            // The server's role is not asked about: when it has the rows, Ann's are being asked about.
            server.until(feed.mark().await).await;
            let claims = token(number);
            feed.command(super::FeedCommand::Refresh { channel: ann.channel, claims }).await;
            ann.subscribed().await;
        }
        let mark = feed.mark().await;
        let mut seen = std::mem::take(&mut ann.skipped);
        seen.retain(|change| change.data["table"] == "t");
        seen.extend(ann.until(mark).await);
        let ids: Vec<u64> = seen.iter().map(|change| change.data["record"]["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (1..=24).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn what_is_decided_at_once_does_not_wait_for_others() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key);
             alter table t enable row level security;
             create policy slow on t to authenticated using (pg_sleep(1) is not null);
             create table u (id int primary key);
             select publish('t', 'u')",
        )
        .await;
        let bindings = || json!([{"event": "*", "schema": "public"}]);
        let mut slow = feed.subscribe(&user(1), bindings()).await;
        let mut fast = feed.subscribe(&super::service(), bindings()).await;
        feed.execute("insert into t values (1); insert into u values (1)").await;
        let mark = feed.mark().await;
        assert_eq!(brief(&fast.until(mark).await).as_array().unwrap().len(), 2);
        assert!(slow.events.try_recv().is_err(), "still being asked");
        let seen = slow.until(mark).await;
        assert_eq!((&seen[0].data["table"], &seen[1].data["table"]), (&json!("t"), &json!("u")));
    })
    .await;
}

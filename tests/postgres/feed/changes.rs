//! What a change looks like: events, old rows, sizes, bindings and frames.

use rowcast::hub::FeedCommand;
use serde_json::{Value, json};

use super::{Change, TestFeed, anon, brief, claims, on_each_major, user};

#[tokio::test]
async fn each_event_has_its_rows() {
    on_each_major(async |major| {
        let schema = "create table t (id int primary key, body text); select publish('t')";
        let feed = TestFeed::start(major, schema).await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("insert into t values (1, 'a')").await;
        let insert = ann.change().await;
        assert_eq!((&*insert.topic, &*insert.event), ("realtime:room", "postgres_changes"));
        let time = insert.data["commit_timestamp"].as_str().unwrap();
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
        let written: bool = feed
            .database
            .client
            .query_one("select $1::text::timestamptz between now() - interval '30 s' and now()", &[&time])
            .await
            .unwrap()
            .get(0);
        assert!(written, "{time}");
        assert_eq!(
            insert.data,
            json!({
                "schema": "public", "table": "t", "type": "INSERT", "commit_timestamp": time, "errors": null,
                "columns": [{"name": "id", "type": "int4"}, {"name": "body", "type": "text"}],
                "record": {"id": 1, "body": "a"},
            })
        );
        assert_eq!(insert.ids, json!([1]));
        let seen = feed.after(&mut ann, "update t set body = 'b'; delete from t").await;
        assert_eq!(seen, json!([["UPDATE", {"id": 1, "body": "b"}, {"id": 1}], ["DELETE", {"id": 1}]]));
    })
    .await;
}

#[tokio::test]
async fn a_truncation_is_no_event_and_ends_nothing() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, "create table t (id int primary key); select publish('t')").await;
        let mut ann = feed.watch(&anon(), "t").await;
        let seen =
            feed.after(&mut ann, "insert into t values (1); truncate t; insert into t values (1)").await;
        assert_eq!(seen, json!([["INSERT", {"id": 1}], ["INSERT", {"id": 1}]]));
    })
    .await;
}

#[tokio::test]
async fn only_wanted_events_are_sent() {
    on_each_major(async |major| {
        let feed =
            TestFeed::start(major, "create table t (id int primary key, n int); select publish('t')").await;
        let binding = |event| json!([{"event": event, "schema": "public", "table": "t"}]);
        let mut wanted = Vec::new();
        for event in ["INSERT", "UPDATE", "DELETE"] {
            wanted.push((event, feed.subscribe(&anon(), binding(event)).await));
        }
        feed.execute("insert into t values (1); update t set n = 1; delete from t").await;
        let mark = feed.mark().await;
        for (event, subscriber) in &mut wanted {
            let seen: Vec<Change> = subscriber.until(mark).await;
            let types: Vec<&Value> = seen.iter().map(|change| &change.data["type"]).collect();
            assert_eq!(types, [*event]);
        }
    })
    .await;
}

#[tokio::test]
async fn old_rows_follow_the_replica_identity() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table keyed (id int primary key, code text not null unique, body text);
             create table whole (like keyed including all);
             create table coded (like keyed including all);
             alter table whole replica identity full;
             alter table coded replica identity using index coded_code_key;
             select publish('keyed', 'whole', 'coded')",
        )
        .await;
        let mut ann = feed.subscribe(&anon(), json!([{"event": "*", "schema": "public"}])).await;
        let cases = [
            ("keyed", json!({"id": 1}), json!({"id": 1}), json!({"id": 2})),
            (
                "whole",
                json!({"id": 1, "code": "c", "body": "a"}),
                json!({"id": 1, "code": "d", "body": "b"}),
                json!({"id": 2, "code": "d", "body": "b"}),
            ),
            ("coded", json!({"code": "c"}), json!({"code": "d"}), json!({"code": "d"})),
        ];
        for (table, updated, moved, deleted) in cases {
            feed.execute(&format!("insert into {table} values (1, 'c', 'a')")).await;
            let seen = feed
                .after(
                    &mut ann,
                    &format!(
                        "update {table} set code = 'd', body = 'b'; update {table} set id = 2; delete from {table}"
                    ),
                )
                .await;
            assert_eq!(
                seen,
                json!([
                    ["INSERT", {"id": 1, "code": "c", "body": "a"}],
                    ["UPDATE", {"id": 1, "code": "d", "body": "b"}, updated],
                    ["UPDATE", {"id": 2, "code": "d", "body": "b"}, moved],
                    ["DELETE", deleted],
                ]),
                "{table}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn unchanged_toast_is_omitted_unless_the_old_row_has_it() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table keyed (id int primary key, n int, body text);
             alter table keyed alter body set storage external;
             create table whole (like keyed including all);
             alter table whole replica identity full;
             select publish('keyed', 'whole')",
        )
        .await;
        let mut ann = feed.subscribe(&anon(), json!([{"event": "UPDATE", "schema": "public"}])).await;
        let body = "x".repeat(10_000);
        for table in ["keyed", "whole"] {
            feed.execute(&format!("insert into {table} values (1, 1, repeat('x', 10000))")).await;
            feed.execute(&format!("update {table} set n = 2; update {table} set body = 'short'")).await;
        }
        let seen = brief(&ann.until(feed.mark().await).await);
        assert_eq!(
            seen,
            json!([
                ["UPDATE", {"id": 1, "n": 2}, {"id": 1}],
                ["UPDATE", {"id": 1, "n": 2, "body": "short"}, {"id": 1}],
                ["UPDATE", {"id": 1, "n": 2, "body": body}, {"id": 1, "n": 1, "body": body}],
                ["UPDATE", {"id": 1, "n": 2, "body": "short"}, {"id": 1, "n": 2, "body": body}],
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn without_a_primary_key_inserts_are_errors() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (n int); alter table t replica identity full; select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("insert into t values (1); update t set n = 2; delete from t").await;
        let seen = ann.until(feed.mark().await).await;
        let error = "Error 400: Bad Request, no primary key";
        assert_eq!(
            brief(&seen),
            json!([["INSERT", {}, [error]], ["UPDATE", {}, {}, [error]], ["DELETE", {"n": 2}]])
        );
        assert_eq!((&seen[0].data["columns"], &seen[0].data["commit_timestamp"]), (&json!([]), &Value::Null));
    })
    .await;
}

#[tokio::test]
async fn a_record_over_the_bound_keeps_its_short_values() {
    on_each_major(async |major| {
        let feed = TestFeed::start_with(
            major,
            "create table t (id int primary key, edge text, long text, body text); select publish('t')",
            |config| config.record_bytes_max = 1000,
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        // With its quotes, a JSON string of 62 characters has 64 bytes.
        let edge = "e".repeat(62);
        let seen = feed
            .after(
                &mut ann,
                "insert into t values (1, repeat('e', 62), repeat('l', 63), repeat('b', 900));
                 update t set body = 'small'",
            )
            .await;
        assert_eq!(
            seen,
            json!([
                ["INSERT", {"id": 1, "edge": edge}, ["Error 413: Payload Too Large"]],
                ["UPDATE", {"id": 1, "edge": edge, "long": "l".repeat(63), "body": "small"}, {"id": 1}],
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn ids_stand_from_the_last_binding_to_the_first() {
    on_each_major(async |major| {
        let feed =
            TestFeed::start(major, "create table t (id int primary key, n int); select publish('t')").await;
        let binding = |event: &str, filter: &str| {
            let mut binding = json!({"event": event, "schema": "public", "table": "t"});
            if !filter.is_empty() {
                binding["filter"] = filter.into();
            }
            binding
        };
        let bindings = json!([
            binding("*", ""),
            binding("INSERT", "n=eq.1"),
            binding("UPDATE", ""),
            binding("*", "n=gt.0")
        ]);
        let mut ann = feed.subscribe(&anon(), bindings).await;
        feed.execute("insert into t values (1, 1), (2, 2), (3, 0); update t set n = -1").await;
        let ids: Vec<Value> =
            ann.until(feed.mark().await).await.into_iter().map(|change| change.ids).collect();
        assert_eq!(json!(ids), json!([[4, 2, 1], [4, 1], [1], [3, 1], [3, 1], [3, 1]]));
    })
    .await;
}

#[tokio::test]
async fn each_selection_has_a_frame_of_its_own() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, a int, b int);
             alter table t replica identity full; select publish('t')",
        )
        .await;
        let on = |select: &[&str]| json!({"event": "*", "schema": "public", "table": "t", "select": select});
        let bindings = json!([on(&["a"]), on(&["b"]), on(&["a"]), on(&[])]);
        let mut ann = feed.subscribe(&anon(), bindings).await;
        feed.execute("insert into t values (1, 2, 3); update t set a = 4; delete from t").await;
        let seen = ann.until(feed.mark().await).await;
        let frames: Vec<Value> = seen.iter().map(|change| json!([change.ids, change.brief()])).collect();
        let full = |a: i32| json!({"id": 1, "a": a, "b": 3});
        assert_eq!(
            json!(frames),
            json!([
                [[4], ["INSERT", full(2)]],
                [[3, 1], ["INSERT", {"id": 1, "a": 2}]],
                [[2], ["INSERT", {"id": 1, "b": 3}]],
                [[4], ["UPDATE", full(4), full(2)]],
                [[3, 1], ["UPDATE", {"id": 1, "a": 4}, {"id": 1, "a": 2}]],
                [[2], ["UPDATE", {"id": 1, "b": 3}, {"id": 1, "b": 3}]],
                [[4], ["DELETE", full(4)]],
                [[3, 1], ["DELETE", {"id": 1, "a": 4}]],
                [[2], ["DELETE", {"id": 1, "b": 3}]],
            ])
        );
        assert_eq!(seen[2].data["columns"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn wildcards_cover_all_tables_and_only_published_ones() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create schema other; grant usage on schema other to anon;
             create table other.t (id int primary key); grant select on other.t to anon;
             create table a (id int primary key); create table b (id int primary key);
             create table hidden (id int primary key);
             select publish('a', 'b', 'other.t')",
        )
        .await;
        let mut any = feed.subscribe(&anon(), json!([{"event": "*", "schema": "*"}])).await;
        let mut public =
            feed.subscribe(&anon(), json!([{"event": "*", "schema": "public", "table": "*"}])).await;
        feed.execute(
            "insert into a values (1); insert into hidden values (1); insert into other.t values (1);
             insert into b values (1)",
        )
        .await;
        let mark = feed.mark().await;
        let tables = |changes: Vec<Change>| -> Vec<Value> {
            changes.iter().map(|change| change.data["table"].clone()).collect()
        };
        assert_eq!(tables(any.until(mark).await), ["a", "t", "b"]);
        assert_eq!(tables(public.until(mark).await), ["a", "b"]);
    })
    .await;
}

#[tokio::test]
async fn a_join_without_config_gets_bare_changes() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, "create table t (id int primary key); select publish('t')").await;
        let Value::Object(binding) = json!({"schema": "public", "table": "t"}) else { unreachable!() };
        let mut ann = feed.join_as("public:t", &anon(), vec![(1, binding)], true).await;
        ann.subscribed().await;
        feed.execute("insert into t values (1); delete from t").await;
        let (insert, delete) = (ann.change().await, ann.change().await);
        assert_eq!((&*insert.topic, &*insert.event), ("realtime:public:t", "INSERT"));
        assert_eq!(insert.data["record"], json!({"id": 1}));
        assert_eq!((&*delete.event, &delete.data["old_record"]), ("DELETE", &json!({"id": 1})));
    })
    .await;
}

#[tokio::test]
async fn equal_subscriptions_share_one_frame() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table open (id int primary key); create table ruled (id int primary key);
             alter table ruled enable row level security; create policy p on ruled using (true);
             select publish('open', 'ruled')",
        )
        .await;
        let bindings = || json!([{"event": "*", "schema": "public"}]);
        let ann = user(1);
        let mut first = feed.subscribe(&ann, bindings()).await;
        let mut second = feed.subscribe(&ann, bindings()).await;
        let mut bob = feed.subscribe(&user(2), bindings()).await;
        feed.execute("insert into open values (1); insert into ruled values (1)").await;
        for table in ["open", "ruled"] {
            let frames = [first.change().await, second.change().await, bob.change().await];
            assert!(frames.iter().all(|change| change.data["table"] == table));
            let place = frames[0].frame.as_ptr();
            assert!(frames.iter().all(|change| change.frame.as_ptr() == place), "{table}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_channel_gets_nothing_once_it_has_left() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, "create table t (id int primary key); select publish('t')").await;
        let mut stays = feed.watch(&anon(), "t").await;
        let mut leaves = feed.watch(&anon(), "t").await;
        feed.execute("insert into t values (1)").await;
        assert_eq!(leaves.change().await.data["record"], json!({"id": 1}));
        feed.command(FeedCommand::Unsubscribe { channel: leaves.channel }).await;
        // The answer to a later command proves that the earlier one was taken.
        let other = claims("anon", json!({"other": true}));
        feed.watch(&other, "t").await;
        feed.execute("insert into t values (2)").await;
        assert_eq!(brief(&stays.until(feed.mark().await).await).as_array().unwrap().len(), 2);
        assert!(leaves.events.try_recv().is_err());
    })
    .await;
}

#[tokio::test]
async fn a_new_token_takes_the_place_of_the_old_one() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, owner uuid);
             alter table t enable row level security;
             create policy own on t using (owner = auth.uid());
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        let rows = |id: i32| {
            format!("insert into t values ({id}, '{}'), ({}, '{}')", super::uuid(1), id + 1, super::uuid(2))
        };
        assert_eq!(feed.after(&mut ann, &rows(1)).await[0][1]["id"], 1);
        feed.command(FeedCommand::Refresh { channel: ann.channel, claims: user(2) }).await;
        ann.subscribed().await;
        let seen = feed.after(&mut ann, &rows(3)).await;
        assert_eq!(seen, json!([["INSERT", {"id": 4, "owner": super::uuid(2)}]]));
        let nobody = claims("no_such_role", json!({}));
        feed.command(FeedCommand::Refresh { channel: ann.channel, claims: nobody }).await;
        ann.refused("role \"no_such_role\" does not exist").await;
        feed.execute(&rows(5)).await;
        let mut other = feed.watch(&user(1), "t").await;
        other.until(feed.mark().await).await;
        assert!(ann.events.try_recv().is_err());
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_in_known_words() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, secret int); create table hidden (id int primary key);
             revoke select on t from anon; grant select (id) on t to anon; select publish('t')",
        )
        .await;
        let on = |table: &str, rest: Value| {
            let mut binding = json!({"event": "*", "schema": "public", "table": table});
            for (name, value) in rest.as_object().unwrap() {
                binding[name] = value.clone();
            }
            json!([binding])
        };
        for (bindings, words) in [
            (on("hidden", json!({})), "Please check Realtime is enabled for the given connect parameters"),
            (on("t", json!({"filter": "secret=eq.1"})), "invalid column for filter secret"),
            (on("t", json!({"filter": "missing=eq.1"})), "invalid column for filter missing"),
            (on("t", json!({"select": ["secret"]})), "invalid column for select secret"),
            (on("t", json!({"filter": "id=eq.x"})), "invalid input syntax for type integer"),
            (on("t", json!({"filter": "nonsense"})), "Error parsing `filter` params"),
        ] {
            feed.join("room", &anon(), bindings).await.refused(words).await;
        }
        let nobody = claims("no_such_role", json!({}));
        let mut refused = feed.join("room", &nobody, on("t", json!({}))).await;
        refused.refused("role \"no_such_role\" does not exist").await;
        let named_none = claims("none", json!({}));
        let mut refused = feed.join("room", &named_none, on("t", json!({}))).await;
        refused.refused("role \"none\" does not exist").await;
    })
    .await;
}

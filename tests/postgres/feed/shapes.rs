//! Tables of every shape, and tables that change their shape while the stream runs.

use serde_json::{Value, json};

use super::{TestFeed, anon, brief, on_each_major, user, uuid};

#[tokio::test]
async fn partitions_appear_as_themselves_or_as_their_root() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, body text) partition by range (id);
             create table t_low partition of t for values from (0) to (100);
             -- Its columns stand in another order.
             create table t_high (body text, id int primary key);
             alter table t attach partition t_high for values from (100) to (200);
             select publish('t')",
        )
        .await;
        let rows = [
            "insert into t values (1, 'a'), (100, 'b')",
            "update t set body = 'c' where id = 100",
            // A row that moves to another partition is deleted here and inserted there.
            "update t set id = id + 100 where id = 1",
            "delete from t where id = 100",
        ];
        let events = json!([
            ["INSERT", {"id": 1, "body": "a"}],
            ["INSERT", {"id": 100, "body": "b"}],
            ["UPDATE", {"id": 100, "body": "c"}, {"id": 100}],
            ["DELETE", {"id": 1}],
            ["INSERT", {"id": 101, "body": "a"}],
            ["DELETE", {"id": 100}],
        ]);
        let mut ann = feed.subscribe(&anon(), json!([{"event": "*", "schema": "public"}])).await;
        feed.run(&rows).await;
        let seen = ann.until(feed.mark().await).await;
        assert_eq!(brief(&seen), events);
        let tables: Vec<&Value> = seen.iter().map(|change| &change.data["table"]).collect();
        assert_eq!(tables, ["t_low", "t_high", "t_high", "t_low", "t_high", "t_high"]);
        let root = json!([{"event": "*", "schema": "public", "table": "t"}]);
        let mut bob = feed.join("room", &anon(), root).await;
        bob.refused("Please check Realtime is enabled").await;

        feed.execute(
            "truncate t; alter publication supabase_realtime set (publish_via_partition_root = true)",
        )
        .await;
        ann.subscribed().await;
        bob.subscribed().await;
        feed.run(&rows).await;
        let mark = feed.mark().await;
        for subscriber in [&mut ann, &mut bob] {
            let seen = subscriber.until(mark).await;
            assert_eq!(brief(&seen), events);
            assert!(seen.iter().all(|change| change.data["table"] == "t"));
        }
    })
    .await;
}

#[tokio::test]
async fn policies_of_a_published_root_decide_for_its_partitions() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, owner uuid) partition by range (id);
             create table t_low partition of t for values from (0) to (100);
             alter table t enable row level security;
             create policy own on t using (owner = auth.uid());
             alter publication supabase_realtime set (publish_via_partition_root = true);
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        let mut bob = feed.watch(&user(2), "t").await;
        feed.execute(&format!("insert into t values (1, '{}'), (2, '{}')", uuid(1), uuid(2))).await;
        let mark = feed.mark().await;
        assert_eq!(brief(&ann.until(mark).await), json!([["INSERT", {"id": 1, "owner": uuid(1)}]]));
        assert_eq!(brief(&bob.until(mark).await), json!([["INSERT", {"id": 2, "owner": uuid(2)}]]));
    })
    .await;
}

#[tokio::test]
async fn stored_generated_columns_have_their_values() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (
                 id int primary key, n int, body text,
                 twice int generated always as (n * 2) stored,
                 large boolean generated always as (n > 10) stored,
                 price numeric(10,2) generated always as (n / 4.0) stored,
                 length int generated always as (char_length(body)) stored);
             alter table t alter body set storage external;
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        let filtered = json!([
            {"event": "*", "schema": "public", "table": "t", "filter": "twice=eq.40"},
            {"event": "*", "schema": "public", "table": "t", "filter": "large=is.true"},
            {"event": "*", "schema": "public", "table": "t", "filter": "length=gt.100"},
        ]);
        let mut bob = feed.subscribe(&anon(), filtered).await;
        let mut seen = Vec::new();
        for sql in [
            "insert into t (id, n, body) values (1, 3, 'ab'), (2, null, null)",
            "update t set n = 20, body = repeat('x', 5000) where id = 1",
            "update t set n = 30 where id = 1",
            "delete from t where id = 1",
        ] {
            // One after the other: what reads a value that was not logged needs the row as it was written.
            feed.execute(sql).await;
            seen.extend(ann.until(feed.mark().await).await);
        }
        // JSON numbers lose their trailing zeros in comparisons, but not on the wire.
        for (place, price) in [(0, "0.75"), (2, "5.00"), (3, "7.50")] {
            let frame = String::from_utf8_lossy(&seen[place].frame);
            assert!(frame.contains(&format!(r#""price":{price}"#)), "{price} in {frame}");
        }
        let computed = |n: i32, price: f64| json!({"id": 1, "n": n, "twice": n * 2, "large": n > 10, "price": price, "length": 5000});
        let mut whole = computed(20, 5.0);
        whole["body"] = "x".repeat(5000).into();
        assert_eq!(
            brief(&seen),
            json!([
                ["INSERT", {"id": 1, "n": 3, "body": "ab", "twice": 6, "large": false, "price": 0.75, "length": 2}],
                ["INSERT", {"id": 2, "n": null, "body": null, "twice": null, "large": null, "price": null, "length": null}],
                ["UPDATE", whole, {"id": 1}],
                ["UPDATE", computed(30, 7.5), {"id": 1}],
                ["DELETE", {"id": 1}],
            ])
        );
        let ids: Vec<Value> =
            bob.until(feed.mark().await).await.into_iter().map(|change| change.ids).collect();
        assert_eq!(json!(ids), json!([[3, 2, 1], [3, 2]]));
    })
    .await;
}

#[tokio::test]
async fn a_value_computed_from_a_later_row_is_left_out() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, n int, body text,
                             length int generated always as (char_length(body)) stored);
             alter table t alter body set storage external;
             insert into t (id, body) values (1, repeat('x', 5000)); select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        // Both are committed before the first is read.
        let seen = feed.after(&mut ann, &["update t set n = 1; update t set body = repeat('x', 6000)"]).await;
        let body = "x".repeat(6000);
        assert_eq!(
            seen,
            json!([
                ["UPDATE", {"id": 1, "n": 1}, {"id": 1}],
                ["UPDATE", {"id": 1, "n": 1, "body": body, "length": 6000}, {"id": 1}],
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn virtual_generated_columns_have_their_values() {
    on_each_major(async |major| {
        if major < 18 {
            return;
        }
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, n int, twice int generated always as (n * 2) virtual,
                             thrice int generated always as (n * 3) stored);
             alter publication supabase_realtime set (publish_generated_columns = stored);
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        let filter = json!([{"event": "*", "schema": "public", "table": "t", "filter": "twice=eq.4"}]);
        let mut bob = feed.subscribe(&anon(), filter).await;
        feed.run(&["insert into t values (1, 1), (2, 2)", "update t set n = 2 where id = 1"]).await;
        let mark = feed.mark().await;
        let seen = brief(&ann.until(mark).await);
        assert_eq!(
            seen,
            json!([
                ["INSERT", {"id": 1, "n": 1, "twice": 2, "thrice": 3}],
                ["INSERT", {"id": 2, "n": 2, "twice": 4, "thrice": 6}],
                ["UPDATE", {"id": 1, "n": 2, "twice": 4, "thrice": 6}, {"id": 1}],
            ])
        );
        assert_eq!(bob.until(mark).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_computation_that_fails_costs_its_own_column_only() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create function fragile(n int) returns int immutable language plpgsql as
                 $$ begin if n = 13 and current_setting('rowcast.test', true) is null
                          then raise 'unlucky'; end if; return n; end $$;
             create table t (id int primary key, n int, f int generated always as (fragile(n)) stored);
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("set rowcast.test = 'here'").await;
        let seen = feed.after(&mut ann, &["insert into t values (1, 12), (2, 13), (3, 14)"]).await;
        assert_eq!(
            seen,
            json!([
                ["INSERT", {"id": 1, "n": 12, "f": 12}],
                ["INSERT", {"id": 2, "n": 13}],
                ["INSERT", {"id": 3, "n": 14, "f": 14}],
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn types_that_render_themselves_are_rendered_by_postgres() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create extension hstore schema public;
             create table t (id int primary key, h hstore, hs hstore[]);
             alter table t replica identity full; select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        let seen = feed
            .after(
                &mut ann,
                &[
                    "insert into t values (1, 'a=>1,b=>NULL', array['c=>2'::hstore]), (2, null, null)",
                    "update t set h = 'a=>3' where id = 1",
                ],
            )
            .await;
        let first = json!({"id": 1, "h": {"a": "1", "b": null}, "hs": [{"c": "2"}]});
        assert_eq!(
            seen,
            json!([
                ["INSERT", first],
                ["INSERT", {"id": 2, "h": null, "hs": null}],
                ["UPDATE", {"id": 1, "h": {"a": "3"}, "hs": [{"c": "2"}]}, first],
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn a_table_may_change_its_shape_at_any_time() {
    on_each_major(async |major| {
        let feed =
            TestFeed::start(major, "create table t (id int primary key, a int, b text); select publish('t')")
                .await;
        let mut ann = feed.watch(&anon(), "t").await;
        let steps = [
            ("insert into t values (1, 1, 'x')", json!({"id": 1, "a": 1, "b": "x"})),
            ("alter table t drop a; insert into t values (2, 'x')", json!({"id": 2, "b": "x"})),
            (
                "alter table t add c int default 7; insert into t values (3, 'x')",
                json!({"id": 3, "b": "x", "c": 7}),
            ),
            (
                "alter table t alter c type text using 'c' || c; insert into t values (4, 'x', 'y')",
                json!({"id": 4, "b": "x", "c": "y"}),
            ),
            (
                "begin; alter table t rename b to \"B b\"; alter table t add a uuid;
                 insert into t values (5, 'x', 'y', null); commit",
                json!({"id": 5, "B b": "x", "c": "y", "a": null}),
            ),
            (
                "alter table t drop constraint t_pkey; alter table t add primary key (id, c);
                 insert into t values (6, 'x', 'y', null)",
                json!({"id": 6, "B b": "x", "c": "y", "a": null}),
            ),
        ];
        for (sql, record) in &steps {
            assert_eq!(feed.after(&mut ann, &[sql]).await, json!([["INSERT", record]]), "{sql}");
        }
        feed.execute("update t set c = 'z' where id = 6").await;
        let update = ann.change().await;
        assert_eq!(update.data["old_record"], json!({"id": 6, "c": "y"}));
        assert_eq!(
            update.data["columns"],
            json!([
                {"name": "id", "type": "int4"}, {"name": "B b", "type": "text"},
                {"name": "c", "type": "text"}, {"name": "a", "type": "uuid"}
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn rows_written_before_a_change_of_shape_keep_their_values() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, a int, b int, c int); select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.after(&mut ann, &["insert into t values (1, 1, 1, 1)"]).await;
        // All of it is committed before the first of it is read.
        let seen = feed
            .after(
                &mut ann,
                &["begin;
                 insert into t values (2, 20, 21, 22);
                 alter table t rename a to d;
                 insert into t values (3, 30, 31, 32);
                 alter table t rename b to a;
                 insert into t values (4, 40, 41, 42);
                 alter table t drop c;
                 insert into t values (5, 50, 51);
                 alter table t add e int;
                 insert into t values (6, 60, 61, 62);
                 commit"],
            )
            .await;
        assert_eq!(
            seen,
            json!([
                ["INSERT", {"id": 2, "d": 20, "a": 21}],
                ["INSERT", {"id": 3, "d": 30, "a": 31}],
                ["INSERT", {"id": 4, "d": 40, "a": 41}],
                ["INSERT", {"id": 5, "d": 50, "a": 51}],
                ["INSERT", {"id": 6, "d": 60, "a": 61, "e": 62}],
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn odd_names_are_kept() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            r#"create schema "Odd ""schema"; grant usage on schema "Odd ""schema" to authenticated;
             create table "Odd ""schema"."sélect * from \t" (
                 "ID" int primary key, ":owner" uuid, "back\slash" text, "quote""d" int, "select" bool);
             grant select on all tables in schema "Odd ""schema" to authenticated;
             alter table "Odd ""schema"."sélect * from \t" enable row level security, replica identity full;
             create policy p on "Odd ""schema"."sélect * from \t" using (":owner" = auth.uid() and "select");
             select publish('"Odd ""schema"."sélect * from \t"')"#,
        )
        .await;
        let on = json!([{"event": "*", "schema": "Odd \"schema", "table": r"sélect * from \t", "filter": "select=is.true"}]);
        let mut ann = feed.subscribe(&user(1), on).await;
        let seen = feed
            .after(
                &mut ann,
                &[&format!(
                    r#"insert into "Odd ""schema"."sélect * from \t"
                       values (1, '{}', 'a\b', 1, true), (2, '{}', 'a\b', 1, true), (3, '{0}', 'a\b', 1, false);
                       update "Odd ""schema"."sélect * from \t" set "quote""d" = 2 where "ID" = 1"#,
                    uuid(1),
                    uuid(2)
                )],
            )
            .await;
        let row = |n: i32| {
            json!({"ID": 1, ":owner": uuid(1), r"back\slash": r"a\b", "quote\"d": n, "select": true})
        };
        assert_eq!(seen, json!([["INSERT", row(1)], ["UPDATE", row(2), row(1)]]));
    })
    .await;
}

#[tokio::test]
async fn keys_of_any_type_find_their_rows() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create type mood as enum ('sad', 'happy');
             create domain code as text not null check (value <> '');
             create table bools (id boolean primary key, v text);
             create table chars (id char(10) primary key, v text);
             create table inets (id inet primary key, v text);
             create table floats (id float8 primary key, v text);
             create table times (id timestamptz primary key, v text);
             create table moods (id mood primary key, v text);
             create table codes (id code primary key, v text);
             create table arrays (id text[] primary key, v text);
             create table pairs (id int, part boolean, v text, primary key (part, id));
             do $$ declare t text; begin
                 foreach t in array array['bools','chars','inets','floats','times','moods','codes','arrays','pairs'] loop
                     execute format('alter table %I alter v set storage external', t);
                     execute format('alter table %I enable row level security', t);
                     execute format('create policy p on %I using (v like ''a%%'')', t);
                     execute format('select publish(%L)', t);
                 end loop; end $$",
        )
        .await;
        let mut ann = feed.subscribe(&anon(), json!([{"event": "*", "schema": "public"}])).await;
        for (table, key, json) in [
            ("bools", "true", json!({"id": true})),
            ("chars", "'abc'", json!({"id": "abc       "})),
            ("inets", "'1.2.3.4'", json!({"id": "1.2.3.4"})),
            ("floats", "0.1", json!({"id": 0.1})),
            ("times", "'2026-01-01 12:00:00.5+02'", json!({"id": "2026-01-01T10:00:00.5+00:00"})),
            ("moods", "'sad'", json!({"id": "sad"})),
            ("codes", "'it''s'", json!({"id": "it's"})),
            ("arrays", "'{\"a b\",NULL,\"c\\\\\"}'", json!({"id": ["a b", null, "c\\"]})),
            ("pairs", "7, true", json!({"id": 7, "part": true})),
        ] {
            let mut seen = Vec::new();
            for sql in [
                format!("insert into {table} values ({key}, repeat('a', 5000))"),
                // What the policy reads is not logged with these updates, so that the stored row must be found.
                format!("update {table} set v = v"),
                // In a savepoint, the row has another number than its transaction.
                format!("begin; savepoint s; update {table} set v = v; commit"),
                format!("update {table} set v = repeat('b', 5000)"),
                format!("update {table} set v = v"),
            ] {
                feed.execute(&sql).await;
                seen.extend(ann.until(feed.mark().await).await);
            }
            let mut inserted = json.clone();
            inserted["v"] = "a".repeat(5000).into();
            let update = json!(["UPDATE", json, json]);
            assert_eq!(brief(&seen), json!([["INSERT", inserted], update, update]), "{table}");
        }
    })
    .await;
}

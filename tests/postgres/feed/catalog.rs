//! Tables, publications and roles that come and go while the stream runs.

use serde_json::json;

use super::{TestFeed, anon, brief, claims, on_each_major, service, user, uuid};

/// What a client reads that asks for a table which is not published.
const NOT_PUBLISHED: &str = "Please check Realtime is enabled for the given connect parameters";

#[tokio::test]
async fn a_table_may_be_published_and_taken_back() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key); create table other (id int primary key); select publish('other')",
        )
        .await;
        let on = |table: &str| json!([{"event": "*", "schema": "public", "table": table}]);
        let mut ann = feed.join("room", &anon(), on("t")).await;
        ann.refused(NOT_PUBLISHED).await;
        let mut any = feed.subscribe(&anon(), on("*")).await;
        feed.execute("select publish('t')").await;
        ann.subscribed().await;
        any.subscribed().await;
        feed.run(&["insert into t values (1)", "insert into other values (1)"]).await;
        let mark = feed.mark().await;
        assert_eq!(ann.until(mark).await.len(), 1);
        assert_eq!(any.until(mark).await.len(), 2);
        feed.execute("alter publication supabase_realtime drop table t").await;
        ann.refused(NOT_PUBLISHED).await;
        any.subscribed().await;
        feed.run(&["insert into t values (2)", "insert into other values (2)"]).await;
        assert_eq!(any.until(feed.mark().await).await.len(), 1);
        assert!(ann.events.try_recv().is_err());
        // And again, with what is written at once.
        feed.run(&["select publish('t')", "insert into t values (3)"]).await;
        ann.subscribed().await;
        let mut seen = std::mem::take(&mut ann.skipped);
        seen.extend(ann.until(feed.mark().await).await);
        assert_eq!(brief(&seen), json!([["INSERT", {"id": 3}]]));
    })
    .await;
}

#[tokio::test]
async fn a_table_may_be_made_anew_under_its_name() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, old_column int); select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("insert into t values (1, 1)").await;
        assert_eq!(ann.change().await.data["record"], json!({"id": 1, "old_column": 1}));
        feed.run(&[
            "begin; drop table t; create table t (new_column text, id int primary key); select publish('t'); commit",
            "insert into t values ('x', 2)",
        ])
        .await;
        assert_eq!(brief(&ann.until(feed.mark().await).await), json!([["INSERT", {"new_column": "x", "id": 2}]]));
        feed.execute("drop table t").await;
        loop {
            let (ok, message) = ann.system().await;
            if !ok {
                assert!(message.contains(NOT_PUBLISHED), "{message}");
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn row_filters_and_column_lists_of_the_publication_hold() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, n int, secret text);
             alter publication supabase_realtime add table t (id, n) where (id > 10)",
        )
        .await;
        let mut server = feed.watch(&super::service(), "t").await;
        let seen = feed
            .after(
                &mut server,
                &[
                    "insert into t values (1, 1, 's'), (11, 1, 's')",
                    "update t set n = 2",
                    // Into the filter, and out of it.
                    "update t set id = 12 where id = 1",
                    "update t set id = 2 where id = 11",
                    "delete from t",
                ],
            )
            .await;
        assert_eq!(
            seen,
            json!([
                ["INSERT", {"id": 11, "n": 1}],
                ["UPDATE", {"id": 11, "n": 2}, {"id": 11}],
                ["INSERT", {"id": 12, "n": 2}],
                ["DELETE", {"id": 11}],
                ["DELETE", {"id": 12}],
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn policies_may_read_columns_that_are_not_published() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, n int, owner uuid);
             alter table t enable row level security; create policy own on t using (owner = auth.uid());
             alter publication supabase_realtime add table t (id, n)",
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        let mut bob = feed.watch(&user(2), "t").await;
        feed.execute(&format!("insert into t values (1, 1, '{}')", uuid(1))).await;
        feed.execute("update t set n = 2").await;
        let mark = feed.mark().await;
        ann.until(mark).await;
        assert_eq!(brief(&bob.until(mark).await), json!([]));
        // Whoever owned a row that has changed since is not known, so that nobody is shown what it was.
        feed.execute(&format!("update t set n = 3; commit; update t set n = 4, owner = '{}'", uuid(2))).await;
        let mark = feed.mark().await;
        assert_eq!(brief(&ann.until(mark).await), json!([]));
        assert_eq!(brief(&bob.until(mark).await), json!([["UPDATE", {"id": 1, "n": 4}, {"id": 1}]]));
    })
    .await;
}

#[tokio::test]
async fn drafts_stay_hidden_where_updates_are_not_published() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, open bool, body text);
             alter table t enable row level security; create policy p on t using (open);
             alter publication supabase_realtime set (publish = 'insert'); select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        let seen = feed
            .after(
                &mut ann,
                &[
                    "insert into t values (1, false, 'draft'); update t set open = true, body = 'said'",
                    "insert into t values (2, true, 'said')",
                ],
            )
            .await;
        assert_eq!(seen, json!([["INSERT", {"id": 2, "open": true, "body": "said"}]]));
    })
    .await;
}

#[tokio::test]
async fn a_role_may_be_made_at_run_time() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, "create table t (id int primary key); select publish('t')").await;
        let role = claims("feed_newcomer", json!({}));
        let mut late =
            feed.join("room", &role, json!([{"event": "*", "schema": "public", "table": "t"}])).await;
        late.refused("role \"feed_newcomer\" does not exist").await;
        feed.execute(
            "create role feed_newcomer; grant usage on schema public to feed_newcomer;
             grant select on t, marks to feed_newcomer",
        )
        .await;
        late.subscribed().await;
        assert_eq!(
            feed.after(&mut late, &["insert into t values (1)"]).await,
            json!([["INSERT", {"id": 1}]])
        );
        feed.execute("drop owned by feed_newcomer; drop role feed_newcomer").await;
        late.refused("role \"feed_newcomer\" does not exist").await;
    })
    .await;
}

#[tokio::test]
async fn memberships_and_attributes_of_roles_are_followed() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create role feed_team; create role feed_person inherit; grant usage on schema public to feed_person;
             create table t (id int primary key); grant select on t, marks to feed_person;
             alter table t enable row level security; create policy p on t to feed_team using (true);
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&claims("feed_person", json!({})), "t").await;
        let mut id = 0;
        for (sql, visible) in [
            ("select 1", false),
            ("grant feed_team to feed_person", true),
            ("revoke feed_team from feed_person", false),
            ("alter role feed_person bypassrls", true),
            ("alter role feed_person nobypassrls", false),
        ] {
            feed.execute(sql).await;
            // Roles are no part of the stream: they are polled.
            let began = std::time::Instant::now();
            loop {
                id += 1;
                let seen = feed.after(&mut ann, &[&format!("insert into t values ({id})")]).await;
                if (seen != json!([])) == visible {
                    break;
                }
                assert!(began.elapsed() < super::WITHIN, "{sql}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_policies_name_may_be_renamed() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table people (who uuid); insert into people values ('00000000-0000-0000-0000-000000000001');
             create table t (id int primary key, n int); alter table t enable row level security, replica identity full;
             create policy p on t using (exists (select from people where who = auth.uid()));
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        feed.after(&mut ann, &["insert into t values (1, 1)"]).await;
        feed.execute("alter table people rename to members; alter table members rename who to member").await;
        // Old rows are judged by the policy's text, which is polled: nothing in the stream tells of its new words.
        for n in 2..200 {
            feed.execute(&format!("update t set n = {n}")).await;
            let seen = ann.until(feed.mark().await).await;
            if seen.first().is_some_and(|change| change.data["old_record"]["n"] == n - 1) {
                return;
            }
        }
        panic!("old rows are not judged any more");
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_says_nothing_permits_nothing() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key); alter table t replica identity full;
             alter table t enable row level security; create policy p on t for select; select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        let mut server = feed.watch(&service(), "t").await;
        feed.run(&["insert into t values (1); delete from t", "insert into t values (2)", "delete from t"])
            .await;
        let mark = feed.mark().await;
        assert_eq!(brief(&ann.until(mark).await), json!([]));
        assert_eq!(server.until(mark).await.len(), 4);
    })
    .await;
}

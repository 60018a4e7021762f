//! Who gets what: grants, row level security, and what happens to both at run time.

use serde_json::{Value, json};

use super::{Subscriber, TestFeed, anon, brief, claims, on_each_major, service, user, uuid};

/// Conversations, who takes part in them, and messages that only they may see.
const CHAT: &str = "
    create table participants (conversation int, user_id uuid, primary key (conversation, user_id));
    create table messages (id int primary key, conversation int, body text);
    alter table participants enable row level security;
    alter table messages enable row level security;
    create policy own on participants for select to authenticated using (user_id = auth.uid());
    create policy theirs on messages for select to authenticated
        using (exists (select from participants p
                       where p.conversation = messages.conversation and p.user_id = auth.uid()));
    insert into participants values
        (1, '00000000-0000-0000-0000-000000000001'), (2, '00000000-0000-0000-0000-000000000002'),
        (3, '00000000-0000-0000-0000-000000000001'), (3, '00000000-0000-0000-0000-000000000002');
    select publish('messages');";

/// The ids of the records that each gets, before a mark.
async fn ids(feed: &TestFeed, subscribers: &mut [&mut Subscriber]) -> Vec<Vec<u64>> {
    let mark = feed.mark().await;
    let mut all = Vec::new();
    for subscriber in subscribers {
        let changes = subscriber.until(mark).await;
        all.push(changes.iter().map(|change| change.data["record"]["id"].as_u64().expect("an id")).collect());
    }
    all
}

#[tokio::test]
async fn column_grants_mask_rows() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, shown int, secret int);
             alter table t replica identity full;
             revoke all on t from anon, authenticated;
             grant select (id, shown) on t to anon;
             grant select (shown) on t to authenticated;
             select publish('t')",
        )
        .await;
        let mut whole = feed.watch(&service(), "t").await;
        let mut masked = feed.watch(&anon(), "t").await;
        let mut keyless = feed.watch(&user(1), "t").await;
        feed.run(&["insert into t values (1, 2, 3)", "update t set secret = 4", "delete from t"]).await;
        let mark = feed.mark().await;
        let row = |secret: i32| json!({"id": 1, "shown": 2, "secret": secret});
        assert_eq!(
            brief(&whole.until(mark).await),
            json!([["INSERT", row(3)], ["UPDATE", row(4), row(3)], ["DELETE", row(4)]])
        );
        let seen = masked.until(mark).await;
        let row = json!({"id": 1, "shown": 2});
        assert_eq!(brief(&seen), json!([["INSERT", row], ["UPDATE", row, row], ["DELETE", row]]));
        assert!(!String::from_utf8_lossy(&seen[0].frame).contains("secret"));
        let error = json!(["Error 401: Unauthorized"]);
        assert_eq!(
            brief(&keyless.until(mark).await),
            json!([["INSERT", {}, error], ["UPDATE", {}, {}, error], ["DELETE", {"shown": 2}]])
        );
    })
    .await;
}

#[tokio::test]
async fn without_usage_of_the_schema_nothing_is_seen() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create schema inner_circle; create table inner_circle.t (id int primary key);
             grant select on inner_circle.t to anon, authenticated; grant usage on schema inner_circle to anon;
             select publish('inner_circle.t')",
        )
        .await;
        let on = || json!([{"event": "*", "schema": "inner_circle", "table": "t"}]);
        let mut inside = feed.subscribe(&anon(), on()).await;
        let mut outside = feed.subscribe(&user(1), on()).await;
        feed.run(&["insert into inner_circle.t values (1)", "delete from inner_circle.t"]).await;
        let mark = feed.mark().await;
        assert_eq!(inside.until(mark).await.len(), 2);
        assert_eq!(brief(&outside.until(mark).await), json!([]));
    })
    .await;
}

#[tokio::test]
async fn owners_and_bypassing_roles_are_not_bound_unless_forced() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create role feed_owner; create role feed_member inherit in role feed_owner;
             create role feed_idle noinherit in role feed_owner;
             grant usage on schema public to feed_owner, feed_member, feed_idle;
             grant select on marks to feed_owner, feed_member, feed_idle;
             create table t (id int primary key); grant select on t to feed_idle;
             alter table t owner to feed_owner; alter table t enable row level security;
             create table forced (id int primary key); grant select on forced to feed_idle;
             alter table forced owner to feed_owner;
             alter table forced enable row level security, force row level security;
             select publish('t', 'forced')",
        )
        .await;
        let any = || json!([{"event": "*", "schema": "public"}]);
        let role = |name: &str| claims(name, json!({}));
        let mut subscribers = Vec::new();
        for claims in [service(), role("feed_owner"), role("feed_member"), role("feed_idle"), anon()] {
            subscribers.push(feed.subscribe(&claims, any()).await);
        }
        feed.run(&["insert into t values (1)", "insert into forced values (2)"]).await;
        let seen = ids(&feed, &mut subscribers.iter_mut().collect::<Vec<_>>()).await;
        assert_eq!(json!(seen), json!([[1, 2], [1], [1], [], []]));
    })
    .await;
}

/// One shape of policy: what to create, rows, and what user 1, user 2 and anon see of them.
struct Shape {
    schema: &'static str,
    rows: &'static str,
    seen: [&'static [u64]; 3],
}

/// The shapes that messaging applications really use.
const SHAPES: [Shape; 9] = [
    // A join table.
    Shape {
        schema: "create table people (conversation int, who uuid, left_at timestamptz);
                 insert into people values (1, '{1}', null), (2, '{2}', null), (3, '{1}', now());
                 create table t (id int primary key, conversation int);
                 create policy p on t for select using (exists (
                     select 1 from people where conversation = t.conversation and who = auth.uid() and left_at is null));",
        rows: "insert into t values (1, 1), (2, 2), (3, 3), (4, null)",
        seen: [&[1], &[2], &[]],
    },
    // Two parties.
    Shape {
        schema: "create table t (id int primary key, sender uuid, receiver uuid);
                 create policy p on t for select to authenticated
                     using (auth.uid() = sender or (select auth.uid()) = receiver);",
        rows: "insert into t values (1, '{1}', '{2}'), (2, '{2}', null), (3, '{3}', '{1}'), (4, '{3}', '{3}')",
        seen: [&[1, 3], &[1, 2], &[]],
    },
    // A parent row with two columns and policies of its own.
    Shape {
        schema: "create table parents (id int primary key, one uuid, two uuid, hidden bool);
                 alter table parents enable row level security;
                 create policy p on parents using (not hidden);
                 insert into parents values (1, '{1}', '{2}', false), (2, '{1}', '{2}', true), (3, '{2}', '{3}', false);
                 create table t (id int primary key, parent int);
                 create policy p on t for select using (parent in (
                     select id from parents where one = auth.uid() or two = auth.uid()));",
        rows: "insert into t values (1, 1), (2, 2), (3, 3)",
        seen: [&[1], &[1, 3], &[]],
    },
    // Arrays.
    Shape {
        schema: "create table t (id int primary key, members uuid[], deleted_for text[]);
                 create policy p on t for select using (
                     auth.uid() = any (coalesce(members, '{}')) and not (auth.uid()::text = any (deleted_for)));",
        rows: "insert into t values (1, array['{1}','{2}']::uuid[], '{}'), (2, array['{2}']::uuid[], array['{2}']),
                                    (3, null, '{}'), (4, array['{1}',null]::uuid[], array[]::text[])",
        seen: [&[1, 4], &[1], &[]],
    },
    // A helper that cures recursion.
    Shape {
        schema: "create table people (conversation int, who uuid); alter table people enable row level security;
                 create function takes_part(conversation int) returns boolean language plpgsql security definer
                     set search_path = '' as $$ begin return exists (
                         select 1 from public.people p where p.conversation = takes_part.conversation and p.who = auth.uid()); end $$;
                 create policy p on people using (takes_part(conversation));
                 insert into people values (1, '{1}'), (1, '{2}'), (2, '{2}');
                 create table t (id int primary key, conversation int);
                 create policy p on t using (takes_part(conversation));",
        rows: "insert into t values (1, 1), (2, 2), (3, 3)",
        seen: [&[1], &[1, 2], &[]],
    },
    // Staff and customers.
    Shape {
        schema: "create type duty as enum ('agent', 'customer');
                 create table staff (id uuid, duty duty); insert into staff values ('{1}', 'agent'), ('{2}', 'customer');
                 create table t (id int primary key, customer uuid);
                 create policy own on t for select to authenticated using (customer = auth.uid());
                 create policy staff on t for select to authenticated using (exists (
                     select 1 from staff where id = auth.uid() and duty in ('agent')));",
        rows: "insert into t values (1, '{2}'), (2, '{3}')",
        seen: [&[1, 2], &[1], &[]],
    },
    // A tenant claim, and a fence around all of it.
    Shape {
        schema: "create table t (id int primary key, org uuid, level int);
                 create policy tenant on t for select to authenticated using (org = (auth.jwt() ->> 'org')::uuid);
                 create policy fence on t as restrictive for select to authenticated using (level < 3);",
        rows: "insert into t values (1, '{7}', 1), (2, '{8}', 1), (3, '{7}', 5)",
        seen: [&[1], &[2], &[]],
    },
    // Everything at once.
    Shape {
        schema: "create table people (conversation int, who uuid); insert into people values (1, '{1}'), (1, '{2}');
                 create table t (id int primary key, conversation int, sender uuid, status text, deleted_at timestamptz);
                 create policy p on t for select to authenticated using (
                     exists (select 1 from people where people.conversation = t.conversation and who = auth.uid())
                     and (sender = auth.uid() or coalesce(status, 'ready') <> 'processing') and deleted_at is null);",
        rows: "insert into t values (1, 1, '{1}', 'processing', null), (2, 1, '{1}', null, null), (3, 1, '{2}', 'x', now()),
                                    (4, 2, '{1}', null, null)",
        seen: [&[1, 2], &[2], &[]],
    },
    // Anybody who is signed in, or anybody at all.
    Shape {
        schema: "create table t (id int primary key, open bool);
                 create policy signed_in on t using (auth.uid() is not null and auth.role() = 'authenticated');
                 create policy open on t using (open);",
        rows: "insert into t values (1, true), (2, false), (3, null)",
        seen: [&[1, 2, 3], &[1, 2, 3], &[1]],
    },
];

#[tokio::test]
async fn policies_of_common_shapes_decide_as_postgres_does() {
    on_each_major(async |major| {
        let tests = SHAPES.iter().map(async |shape| {
            let fill = |sql: &str| {
                (1..=9)
                    .fold(sql.to_owned(), |sql, number| sql.replace(&format!("{{{number}}}"), &uuid(number)))
            };
            let schema = format!(
                "{} alter table t enable row level security; select publish('t')",
                fill(shape.schema)
            );
            let feed = TestFeed::start(major, &schema).await;
            let org = |number: usize| json!({"sub": uuid(number), "org": uuid(number + 6)});
            let mut ann = feed.watch(&claims("authenticated", org(1)), "t").await;
            let mut bob = feed.watch(&claims("authenticated", org(2)), "t").await;
            let mut nobody = feed.watch(&anon(), "t").await;
            let mut server = feed.watch(&service(), "t").await;
            feed.execute(&fill(shape.rows)).await;
            let seen = ids(&feed, &mut [&mut ann, &mut bob, &mut nobody, &mut server]).await;
            assert_eq!(seen[..3], shape.seen, "{}", shape.schema);
            let stored = feed.database.client.query_one("select count(*) from t", &[]).await.unwrap();
            assert_eq!(i64::try_from(seen[3].len()).unwrap(), stored.get::<_, i64>(0));
        });
        futures_util::future::join_all(tests).await;
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_is_told_once_and_harms_nobody_else() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table endless (id int primary key); alter table endless enable row level security;
             create policy p on endless to authenticated using (exists (select from endless e where e.id = endless.id));
             create policy q on endless to anon using (true);
             create table t (id int primary key); alter table t enable row level security;
             create policy p on t using (true);
             select publish('endless', 't')",
        )
        .await;
        let any = || json!([{"event": "*", "schema": "public"}]);
        let mut bound = feed.subscribe(&user(1), any()).await;
        let mut free = feed.subscribe(&anon(), any()).await;
        feed.execute("insert into endless values (1); insert into t values (2); insert into endless values (3)").await;
        feed.execute("insert into t values (4)").await;
        assert_eq!(
            ids(&feed, &mut [&mut bound, &mut free]).await,
            [vec![2, 4], vec![1, 2, 3, 4]]
        );
        bound
            .refused("Unable to check row level security of public.endless for this subscription: ERROR 42P17")
            .await;
        assert!(bound.told.is_empty() && free.told.is_empty());
    })
    .await;
}

#[tokio::test]
async fn malformed_claims_are_denied_and_told_once() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, CHAT).await;
        let mut bad = feed.watch(&claims("authenticated", json!({"sub": "bad"})), "messages").await;
        let mut ann = feed.watch(&user(1), "messages").await;
        feed.run(&["insert into messages values (1, 1, 'a')", "insert into messages values (2, 1, 'b')"])
            .await;
        assert_eq!(ids(&feed, &mut [&mut bad, &mut ann]).await, [vec![], vec![1, 2]]);
        bad.refused("public.messages for this subscription: ERROR 22P02").await;
        assert!(bad.told.is_empty() && ann.told.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_row_that_raises_costs_its_own_delivery_only() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, n int); alter table t enable row level security;
             create policy p on t using (10 / n > 0); select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("insert into t values (1, 1), (2, 0), (3, 20), (4, 2)").await;
        assert_eq!(ids(&feed, &mut [&mut ann]).await, [[1, 4]]);
        ann.refused("ERROR 22012").await;
        assert!(ann.told.is_empty());
    })
    .await;
}

#[tokio::test]
async fn drafts_within_a_transaction_are_not_shown() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, CHAT).await;
        let mut ann = feed.watch(&user(1), "messages").await;
        let mut bob = feed.watch(&user(2), "messages").await;
        let mut server = feed.watch(&service(), "messages").await;
        // Bob's draft becomes Ann's message, and one of Ann's Bob's.
        feed.run(&[
            "insert into messages values (1, 2, 'draft'); update messages set conversation = 1, body = 'said'",
            "begin; savepoint s; insert into messages values (2, 1, 'draft'); release s;
             update messages set conversation = 2, body = 'said' where id = 2; commit",
            "insert into messages values (3, 3, 'shared'); update messages set body = 'again' where id = 3",
            "insert into messages values (4, 3, 'gone'); delete from messages where id = 4",
            "begin; insert into messages values (5, 3, 'kept'); savepoint s; delete from messages where id = 5;
             rollback to s; commit",
            "begin; savepoint s; insert into messages values (6, 3, 'undone'); rollback to s; commit",
            "insert into messages values (7, 3, 'moved'); update messages set id = 8, conversation = 2 where id = 7",
        ])
        .await;
        let mark = feed.mark().await;
        let message = |id: i32, conversation: i32, body: &str| json!({"id": id, "conversation": conversation, "body": body});
        assert_eq!(
            brief(&ann.until(mark).await),
            json!([
                ["UPDATE", message(1, 1, "said"), {"id": 1}],
                ["INSERT", message(3, 3, "shared")],
                ["UPDATE", message(3, 3, "again"), {"id": 3}],
                ["DELETE", {"id": 4}],
                ["INSERT", message(5, 3, "kept")],
            ])
        );
        assert_eq!(
            brief(&bob.until(mark).await),
            json!([
                ["UPDATE", message(2, 2, "said"), {"id": 2}],
                ["INSERT", message(3, 3, "shared")],
                ["UPDATE", message(3, 3, "again"), {"id": 3}],
                ["DELETE", {"id": 4}],
                ["INSERT", message(5, 3, "kept")],
                ["INSERT", message(7, 3, "moved")],
                ["UPDATE", message(8, 2, "moved"), {"id": 7}],
            ])
        );
        assert_eq!(server.until(mark).await.len(), 11);
    })
    .await;
}

#[tokio::test]
async fn a_truncated_draft_is_not_shown() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, CHAT).await;
        let mut ann = feed.watch(&user(1), "messages").await;
        feed.execute(
            "insert into messages values (1, 1, 'gone'); truncate messages; insert into messages values (2, 1, 'kept')",
        )
        .await;
        assert_eq!(ids(&feed, &mut [&mut ann]).await, [[2]]);
    })
    .await;
}

#[tokio::test]
async fn each_version_is_judged_by_itself() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, CHAT).await;
        let mut ann = feed.watch(&user(1), "messages").await;
        let mut bob = feed.watch(&user(2), "messages").await;
        // Read and judged together, when all but the last versions are gone.
        feed.execute(
            "insert into messages values (1, 1, 'a'); commit; delete from messages; commit;
             insert into messages values (2, 1, 'b'); commit;
             update messages set conversation = 2, body = 'hidden'; commit;
             update messages set conversation = 1, body = 'shown'; commit",
        )
        .await;
        let mark = feed.mark().await;
        let message = |id: i32, conversation: i32, body: &str| json!({"id": id, "conversation": conversation, "body": body});
        assert_eq!(
            brief(&ann.until(mark).await),
            json!([
                ["INSERT", message(1, 1, "a")],
                ["DELETE", {"id": 1}],
                ["INSERT", message(2, 1, "b")],
                ["UPDATE", message(2, 1, "shown"), {"id": 2}],
            ])
        );
        assert_eq!(
            brief(&bob.until(mark).await),
            json!([["DELETE", {"id": 1}], ["UPDATE", message(2, 2, "hidden"), {"id": 2}]])
        );
    })
    .await;
}

#[tokio::test]
async fn old_rows_show_only_what_could_be_seen() {
    on_each_major(async |major| {
        let feed =
            TestFeed::start(major, &format!("{CHAT} alter table messages replica identity full")).await;
        let mut ann = feed.watch(&user(1), "messages").await;
        let mut bob = feed.watch(&user(2), "messages").await;
        let mut server = feed.watch(&service(), "messages").await;
        feed.run(&[
            "insert into messages values (1, 1, 'a')",
            "update messages set body = 'b'",
            "update messages set conversation = 2, body = 'c'",
            "delete from messages",
            "insert into messages values (2, 3, 'd')",
            "delete from messages",
        ])
        .await;
        let mark = feed.mark().await;
        let message = |id: i32, conversation: i32, body: &str| json!({"id": id, "conversation": conversation, "body": body});
        assert_eq!(
            brief(&ann.until(mark).await),
            json!([
                ["INSERT", message(1, 1, "a")],
                ["UPDATE", message(1, 1, "b"), message(1, 1, "a")],
                ["INSERT", message(2, 3, "d")],
                ["DELETE", {"id": 2}],
            ])
        );
        assert_eq!(
            brief(&bob.until(mark).await),
            json!([
                ["UPDATE", message(1, 2, "c"), {"id": 1}],
                ["DELETE", {"id": 1}],
                ["INSERT", message(2, 3, "d")],
                ["DELETE", {"id": 2}],
            ])
        );
        assert_eq!(
            brief(&server.until(mark).await),
            json!([
                ["INSERT", message(1, 1, "a")],
                ["UPDATE", message(1, 1, "b"), message(1, 1, "a")],
                ["UPDATE", message(1, 2, "c"), message(1, 1, "b")],
                ["DELETE", {"id": 1}],
                ["INSERT", message(2, 3, "d")],
                ["DELETE", {"id": 2}],
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn after_a_revocation_nothing_more_arrives() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, CHAT).await;
        let mut ann = feed.watch(&user(1), "messages").await;
        let mut bob = feed.watch(&user(2), "messages").await;
        feed.run(&["insert into messages values (1, 3, 'a')"]).await;
        assert_eq!(ids(&feed, &mut [&mut ann, &mut bob]).await, [[1], [1]]);
        let revoke = format!("delete from participants where user_id = '{}'", uuid(2));
        feed.run(&[&revoke, "insert into messages values (2, 3, 'b')", "update messages set body = 'c'"])
            .await;
        assert_eq!(ids(&feed, &mut [&mut ann, &mut bob]).await, [vec![2, 1, 2], vec![]]);
        let grant = format!("insert into participants values (3, '{}')", uuid(2));
        feed.run(&[&grant, "insert into messages values (3, 3, 'd')"]).await;
        assert_eq!(ids(&feed, &mut [&mut ann, &mut bob]).await, [[3], [3]]);
    })
    .await;
}

#[tokio::test]
async fn what_is_changed_about_rights_holds_for_the_next_change() {
    on_each_major(async |major| {
        // Nothing is polled: what matters comes with the stream.
        let feed = TestFeed::start_with(
            major,
            "create table t (id int primary key, owner uuid, secret int);
             create table u (id int primary key); alter table u enable row level security;
             select publish('t', 'u')",
            |config| config.catalog_poll = std::time::Duration::from_secs(3600),
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        let row = |id: i32, user: usize| format!("insert into t values ({id}, '{}', 7)", uuid(user));
        let steps = [
            ("select 1", json!({"id": 1, "owner": uuid(2), "secret": 7})),
            ("alter table t enable row level security", Value::Null),
            ("create policy own on t using (owner = auth.uid())", Value::Null),
            ("create policy everybody on t using (true)", json!({"id": 1, "owner": uuid(2), "secret": 7})),
            (
                "revoke select on t from authenticated; grant select (id, owner) on t to authenticated",
                json!({"id": 1, "owner": uuid(2)}),
            ),
            ("alter policy everybody on t using (owner is null)", Value::Null),
            ("drop policy everybody on t; drop policy own on t; create policy everybody on t to authenticated using (true)",
             json!({"id": 1, "owner": uuid(2)})),
            ("grant select on t to authenticated", json!({"id": 1, "owner": uuid(2), "secret": 7})),
            ("alter policy everybody on t to anon", Value::Null),
            ("alter table t disable row level security", json!({"id": 1, "owner": uuid(2), "secret": 7})),
            ("revoke select on t from authenticated", json!({})),
        ];
        for (sql, expected) in steps {
            // In the same transaction as the row, too.
            feed.run(&[sql, &row(1, 2)]).await;
            let seen = ann.until(feed.mark().await).await;
            let records: Vec<&Value> = seen.iter().map(|change| &change.data["record"]).collect();
            let expected: Vec<&Value> = Some(&expected).into_iter().filter(|record| !record.is_null()).collect();
            assert_eq!(records, expected, "{sql}");
            feed.execute("delete from t").await;
            ann.until(feed.mark().await).await;
        }
    })
    .await;
}

#[tokio::test]
async fn rights_changed_within_a_transaction_hold_for_its_rows() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, "create table t (id int primary key); select publish('t')").await;
        let mut ann = feed.watch(&anon(), "t").await;
        feed.execute("insert into t values (1)").await;
        assert_eq!(ids(&feed, &mut [&mut ann]).await, [[1]]);
        feed.run(&[
            "insert into t values (2); alter table t enable row level security; insert into t values (3)",
            "insert into t values (4)",
        ])
        .await;
        assert_eq!(ids(&feed, &mut [&mut ann]).await, [[0_u64; 0]]);
    })
    .await;
}

#[tokio::test]
async fn a_filter_on_a_column_that_is_hidden_ends_with_the_right_to_it() {
    on_each_major(async |major| {
        let feed =
            TestFeed::start(major, "create table t (id int primary key, secret int); select publish('t')")
                .await;
        let on = json!([{"event": "*", "schema": "public", "table": "t", "filter": "secret=eq.1"}]);
        let mut ann = feed.subscribe(&anon(), on).await;
        feed.execute("insert into t values (1, 1)").await;
        assert_eq!(ids(&feed, &mut [&mut ann]).await, [[1]]);
        feed.execute("revoke select on t from anon; grant select (id) on t to anon").await;
        ann.refused("invalid column for filter secret").await;
        // The mark cannot be seen either: all bindings of a channel stand or fall together.
        let mut bob = feed.watch(&anon(), "t").await;
        feed.execute("insert into t values (2, 1), (3, 2)").await;
        assert_eq!(ids(&feed, &mut [&mut bob]).await, [[2, 3]]);
        assert!(ann.events.try_recv().is_err());
        feed.execute("grant select on t to anon").await;
        ann.subscribed().await;
        feed.execute("insert into t values (4, 1), (5, 2)").await;
        assert_eq!(ids(&feed, &mut [&mut ann]).await, [[4]]);
    })
    .await;
}

#[tokio::test]
async fn long_columns_of_policies_are_looked_up() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, members text, n int);
             alter table t alter members set storage external;
             alter table t enable row level security;
             create policy p on t using (members like '%' || (auth.jwt() ->> 'name') || '%');
             select publish('t')",
        )
        .await;
        let named = |name: &str| claims("authenticated", json!({"name": name}));
        let mut ann = feed.watch(&named("ann"), "t").await;
        let mut bob = feed.watch(&named("bob"), "t").await;
        feed.execute("insert into t values (1, repeat('ann ', 2000), 0)").await;
        feed.execute("update t set n = 1").await;
        assert_eq!(ids(&feed, &mut [&mut ann, &mut bob]).await, [vec![1, 1], vec![]]);
        // An update that Bob may not see, then one that lets him in: read together, the first stays hidden.
        feed.execute("update t set n = 2; commit; update t set n = 3, members = repeat('bob ', 2000)").await;
        let mark = feed.mark().await;
        ann.until(mark).await;
        let seen = bob.until(mark).await;
        assert_eq!(seen.iter().map(|change| &change.data["record"]["n"]).collect::<Vec<_>>(), [3]);
    })
    .await;
}

#[tokio::test]
async fn many_users_get_what_postgres_would_show_each() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table people (conversation int, who uuid, left_at timestamptz, primary key (conversation, who));
             create table t (id int primary key, conversation int, sender uuid, status text, n int);
             alter table people enable row level security; alter table t enable row level security;
             create function fixed_uuid(n int) returns uuid language sql immutable return lpad(n::text, 32, '0')::uuid;
             create policy own on people for select using (who = (select auth.uid()) and left_at is null);
             create policy theirs on t for select to authenticated using (
                 exists (select from people p where p.conversation = t.conversation and p.who = auth.uid())
                 and (sender = auth.uid() or coalesce(status, 'ready') <> 'draft'));
             create policy staff on t for select using ((auth.jwt() ->> 'staff')::boolean and n % 7 = 0);
             create policy fence on t as restrictive using (n % 5 <> 0);
             insert into people select c, fixed_uuid(u), case when (c + u) % 11 = 0 then now() end
                 from generate_series(1, 60) c, generate_series(1, 200) u where (c * 7 + u * 13) % 20 < 2;
             select publish('t')",
        )
        .await;
        let users: Vec<_> = (1..=200)
            .map(|n| claims("authenticated", json!({"sub": uuid(n), "staff": (n % 50 == 0).to_string()})))
            .collect();
        let mut subscribers = Vec::new();
        for user in &users {
            let on = json!([{"event": "INSERT", "schema": "public", "table": "t"}]);
            subscribers.push(feed.join("room", user, on).await);
        }
        for subscriber in &mut subscribers {
            subscriber.subscribed().await;
        }
        feed.execute(
            "insert into t select n, n % 60, fixed_uuid(n % 200), case when n % 3 = 0 then 'draft' end, n
                 from generate_series(1, 300) n",
        )
        .await;
        let seen = ids(&feed, &mut subscribers.iter_mut().collect::<Vec<_>>()).await;
        let mut visible = 0;
        for (user, seen) in users.iter().zip(&seen) {
            let rows = feed
                .database
                .client
                .simple_query(&format!(
                    "begin; set local role authenticated; select set_config('request.jwt.claims', '{}', true);
                     select id from t order by id; rollback",
                    user.json
                ))
                .await
                .unwrap();
            let ids: Vec<u64> = rows
                .iter()
                .filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.try_get("id").ok()??.parse().ok(),
                    _ => None,
                })
                .collect();
            assert_eq!(*seen, ids);
            visible += ids.len();
        }
        assert!((1_000..20_000).contains(&visible), "{visible} of 60,000 are visible");
    })
    .await;
}

//! Policies, functions, owners, roles and relations that change while the stream runs.

use serde_json::json;

use crate::feed::on_each_major;

use super::{Stage, signed, user, uuid};

#[tokio::test]
async fn case_50_what_is_changed_about_policies_holds_from_that_commit_on() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(
            major,
            "create function may(int) returns bool language sql stable security definer set search_path = public
                 as $$ select exists (select from people where room = $1 and who = auth.uid()) $$",
        )
        .await;
        stage.step(&["insert into t values (1, 1, 'a'), (2, 2, 'a'), (3, 3, 'a'), (4, null, 'a')"]).await;
        for change in [
            "alter policy theirs on t using (may(room))",
            "create or replace function may(int) returns bool language sql stable as $$ select $1 = 2 $$",
            "create or replace function may(place int) returns bool language plpgsql stable security definer
                 set search_path = public as $$ begin return exists (select from people where room = place and who = auth.uid()); end $$",
            "alter function may(int) security invoker",
            "drop policy own on people",
            "create policy own on people using (true)",
            "alter policy own on people to anon",
            "alter function may(int) security definer; alter table people force row level security",
            "alter table people no force row level security",
            "revoke execute on function may(int) from public; grant execute on function may(int) to anon",
            "grant execute on function may(int) to authenticated",
            "create policy fence on t as restrictive using (room <> 3)",
            "alter policy fence on t to authenticated",
            "alter table people disable row level security; alter function may(int) security invoker",
            "revoke select on people from authenticated",
            "grant select (room, who) on people to authenticated",
            "alter function may(int) rename to could; create function may(int) returns bool language sql as $$ select true $$",
            "alter table people rename column who to user_id",
            "alter policy theirs on t using (room in (select room from people where user_id = auth.uid()))",
            "alter table people add column more int default 1; alter policy theirs on t using (
                 exists (select from people p where p.room = t.room and p.user_id = auth.uid() and p.more = 1))",
            "update people set more = 2 where user_id = '{1}'",
            "drop policy fence on t; create policy all_of_it on t using (true)",
            "alter table t disable row level security",
            "alter table t enable row level security; drop policy all_of_it on t",
        ] {
            stage.step(&[change, "update t set body = body"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn case_50b_what_is_changed_within_a_transaction_holds_for_all_of_its_rows() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        let step = stage
            .step(&["insert into t values (1, 1, 'a'); alter policy theirs on t using (room = 2);
                insert into t values (2, 2, 'a'), (3, 1, 'a')"])
            .await;
        assert_eq!(step.ids()[0], [2]);
        stage
            .step(&["insert into t values (4, 1, 'a');
                create function may(int) returns bool language sql stable as $$ select $1 = 1 $$;
                alter policy theirs on t using (may(room)); insert into t values (5, 2, 'a')"])
            .await;
        stage
            .step(&[
                "create or replace function may(int) returns bool language sql stable as $$ select $1 = 3 $$;
                insert into t values (6, 1, 'a'), (7, 3, 'a')",
            ])
            .await;
        // And what is rolled back does not.
        stage
            .step(&["begin; savepoint s; alter policy theirs on t using (true); rollback to s;
                insert into t values (8, 1, 'a'); commit"])
            .await;
    })
    .await;
}

#[tokio::test]
async fn case_50c_what_is_changed_about_roles_and_owners_is_noticed() {
    on_each_major(async |major| {
        let member = signed("live_50_member", json!({"sub": uuid(2)}));
        let mut stage = Stage::open(
            major,
            &format!(
                "create role live_50_group; create role live_50_member; create role live_50_owner;
                 grant usage on schema public, auth to live_50_group, live_50_member, live_50_owner;
                 grant select on marks to live_50_group, live_50_member, live_50_owner; {}
                 grant select on people, t to live_50_member, live_50_group, live_50_owner;
                 create policy groups on t to live_50_group using (id = 1);
                 insert into t values (1, 1, 'a'), (2, 2, 'a'), (3, 3, 'a')",
                super::ROOMS
            ),
            &[user(1), member],
        )
        .await;
        for change in [
            "grant live_50_group to live_50_member",
            "revoke live_50_group from live_50_member",
            "alter role live_50_member bypassrls",
            "alter role live_50_member nobypassrls",
            "alter table t owner to live_50_owner",
            "grant live_50_owner to live_50_member",
            "alter table t force row level security",
            "revoke live_50_owner from live_50_member",
            "alter role live_50_member superuser",
            "alter role live_50_member nosuperuser",
        ] {
            stage.feed.execute(change).await;
            stage.settle(change).await;
        }
    })
    .await;
}

#[tokio::test]
async fn case_51b_rows_of_partitions_are_judged_as_they_are_published() {
    on_each_major(async |major| {
        for by_root in [true, false] {
            let mut stage = Stage::open(
                major,
                &format!(
                    "create table people (room int, who uuid) partition by range (room);
                     create table people_1 partition of people for values from (1) to (2);
                     create table people_2 partition of people for values from (2) to (9);
                     alter table people_1 replica identity full; alter table people_2 replica identity full;
                     alter table people replica identity full;
                     insert into people values (1, '{{1}}'), (2, '{{2}}'), (3, '{{1}}');
                     create table t (id int, room int, body text, primary key (id)) partition by range (id);
                     create table t_1 partition of t for values from (1) to (9);
                     alter table t enable row level security; alter table t_1 enable row level security;
                     create policy p on t using (exists (select from people p where p.room = t.room and p.who = auth.uid()));
                     create policy leaf on t_1 using (room = 2);
                     alter publication supabase_realtime set (publish_via_partition_root = {by_root});
                     select publish('t')"
                ),
                &[user(1), user(2)],
            )
            .await;
            let name = if by_root { "t" } else { "t_1" };
            for transaction in [
                "insert into t values (1, 1, 'a'), (2, 2, 'a'), (3, 3, 'a')",
                "update people set room = 3 where room = 1; update t set body = 'b'",
                "update people set room = 1 where room = 2; update t set body = 'c'",
                "insert into people_2 values (2, '{1}'); update t set body = 'd'",
                "truncate people_1; update t set body = 'e'",
                "alter table people detach partition people_2; update t set body = 'f'",
            ] {
                let mut step = stage.run(&[transaction]).await;
                for heard in step.all.iter_mut().chain(step.each.iter_mut().flatten()) {
                    assert_eq!(heard.table, name);
                    heard.table = "t".to_owned();
                }
                // A leaf that is published by itself has policies of its own.
                let table = if by_root { "public.t" } else { "public.t_1" };
                let expected = stage.expected_of(table, &step.all).await;
                assert_eq!(step.ids(), expected, "{transaction}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn case_52b_rows_of_children_count_where_their_parent_is_read() {
    on_each_major(async |major| {
        let mut stage = Stage::open(
            major,
            "create table people (room int, who uuid); create table guests (since int) inherits (people);
             alter table people replica identity full; alter table guests replica identity full;
             insert into people values (1, '{1}'); insert into guests values (2, '{1}', 1);
             create table t (id int primary key, room int, body text); alter table t enable row level security;
             create policy p on t using (exists (select from people p where p.room = t.room and p.who = auth.uid()));
             select publish('t'); insert into t values (1, 1, 'a'), (2, 2, 'a')",
            &[user(1), user(2)],
        )
        .await;
        for change in [
            "select 1",
            "insert into guests values (1, '{2}', 1)",
            "update guests set who = '{2}'",
            "delete from only people",
            "truncate guests",
            "alter table guests no inherit people; insert into guests values (1, '{1}', 1)",
            "alter table guests inherit people",
        ] {
            stage.step(&[change, "update t set body = body"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn case_53b_views_show_what_their_tables_hold_now() {
    on_each_major(async |major| {
        for options in ["", "with (security_invoker = true)"] {
            let mut stage = Stage::open(
                major,
                &format!(
                    "create table people (room int, who uuid, hidden bool, primary key (room, who));
                     insert into people values (1, '{{1}}', false), (2, '{{1}}', true), (2, '{{2}}', false);
                     alter table people enable row level security; create policy p on people using (who = auth.uid());
                     create view seats {options} as select room, who from people where not hidden;
                     create table t (id int primary key, room int, body text); alter table t enable row level security;
                     create policy p on t using (exists (select from seats s where s.room = t.room and s.who = auth.uid()));
                     select publish('t'); insert into t values (1, 1, 'a'), (2, 2, 'a')"
                ),
                &[user(1), user(2)],
            )
            .await;
            for change in [
                "select 1",
                "update people set hidden = not hidden",
                "create or replace view seats as select room, who from people",
                "delete from people where room = 2",
                "alter policy p on people using (true)",
                "alter view seats set (security_invoker = true)",
                "revoke select on people from authenticated",
                "alter view seats set (security_invoker = false)",
            ] {
                stage.step(&[change, "update t set body = body"]).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn case_54b_relations_that_are_not_in_the_log_are_read_as_they_are() {
    on_each_major(async |major| {
        for kind in ["unlogged", ""] {
            // Without a key, and without an identity, old rows are not in the log either.
            let mut stage = Stage::open(
                major,
                &format!(
                    "create {kind} table people (room int, who uuid); insert into people values (1, '{{1}}'), (2, '{{2}}');
                     create table t (id int primary key, room int, body text); alter table t enable row level security;
                     create policy p on t using (exists (select from people p where p.room = t.room and p.who = auth.uid()));
                     select publish('t'); insert into t values (1, 1, 'a'), (2, 2, 'a')"
                ),
                &[user(1), user(2)],
            )
            .await;
            for change in [
                "select 1",
                "insert into people values (2, '{1}')",
                "update people set who = '{2}' where room = 1",
                "delete from people where who = '{2}'",
                "truncate people",
            ] {
                // The application's own writes go on, whatever policies read.
                stage.step(&[change, "update t set body = body"]).await;
            }
        }
    })
    .await;
}

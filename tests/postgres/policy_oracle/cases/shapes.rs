//! Shapes of tables and relations: what a row is, and where a policy may look.

use super::super::callers::usual;
use super::{By, GUARDED, Seen, Session, case, case_for};

#[tokio::test]
async fn case_39_what_only_a_stored_row_has_is_asked_of_postgres() {
    let mut session = Session::open().await;
    for policy in [
        "t.tableoid = 't'::regclass and own = auth.uid()",
        "t.ctid is not null and own = auth.uid()",
        "t.xmin is not null and own = auth.uid()",
        "t is not null and own = auth.uid()",
        "(to_jsonb(t) ->> 'own') = auth.uid()::text",
        "whole(t)",
    ] {
        let schema = format!(
            "create table t (id int primary key, own uuid); insert into t values (1, '{{1}}'), (2, '{{2}}'), (3, null);
             create function whole(t) returns boolean language sql stable as $$ select $1.own = auth.uid() $$;
             create policy p on t using ({policy})"
        );
        session.case(Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_40_generated_columns_are_not_in_the_stream() {
    let mut session = Session::open().await;
    for policy in
        ["twice = 4", "own = auth.uid() and twice > 0", "n = 1 and own = auth.uid()", "twice is null"]
    {
        let schema = format!(
            "create table t (id int primary key, own uuid, n int, twice int generated always as (n * 2) stored);
             insert into t (id, own, n) values (1, '{{1}}', 1), (2, '{{2}}', 2), (3, null, null), (4, '{{1}}', 0);
             create policy p on t using ({policy})"
        );
        session.case(Seen::Some, By::Anyone, &schema).await;
        let virtual_schema = format!(
            "do $$ begin
                 execute 'create table t (id int primary key, own uuid, n int, twice int generated always as (n * 2) '
                     || case when current_setting('server_version_num')::int >= 180000 then 'virtual)' else 'stored)' end;
             end $$;
             insert into t (id, own, n) values (1, '{{1}}', 1), (2, '{{2}}', 2), (3, null, null), (4, '{{1}}', 0);
             create policy p on t using ({policy})"
        );
        session.case(Seen::Some, By::Anyone, &virtual_schema).await;
    }
}

#[tokio::test]
async fn case_41_columns_that_went_came_and_changed() {
    case(
        Seen::Some,
        By::Memory,
        "create table people (gone int, room int, more int, who uuid, n serial primary key);
         alter table people drop column gone; insert into people values (1, 1, '{1}'), (2, 2, '{2}');
         alter table people drop column more, add column left_at timestamptz, add column active bool default true;
         insert into people (room, who, left_at, active) values (3, '{1}', now(), true), (3, '{2}', null, false);
         create table t (gone text, id int primary key, away int, room int, own uuid); alter table t drop column gone;
         insert into t values (1, 0, 1, null), (2, 0, 2, '{1}');
         alter table t drop column away, add column state text default 'open';
         insert into t (id, room, own, state) values (3, 3, null, 'open'), (4, null, '{2}', null), (5, 3, '{1}', 'shut');
         alter table t alter column room type bigint;
         create policy p on t using (state = 'open' and exists (select from people p
             where p.room = t.room and p.who = auth.uid() and p.left_at is null and p.active) or own = auth.uid());
         alter table t rename column state to status;
         alter table people rename to members; alter table members rename column who to user_id",
    )
    .await;
}

#[tokio::test]
async fn case_43_keys_of_several_columns_and_none() {
    let schema = "create table t (a int, b text, own uuid, primary key (b, a));
        insert into t values (1, 'x', '{1}'), (1, 'it''s \\ \"', '{2}'), (2, 'x', null);
        create policy p on t using (own = auth.uid());
        create table keyless (own uuid); insert into keyless values ('{1}'); alter table keyless enable row level security;
        create policy p on keyless using (own = auth.uid());
        select publish('keyless')";
    case_for(usual(), Seen::Some, By::Memory, &format!("{schema}; {GUARDED}")).await;
}

#[tokio::test]
async fn case_51_partitions_are_judged_by_what_is_published() {
    let mut session = Session::open().await;
    let tables = "create table people (room int, who uuid) partition by range (room);
        create table people_1 partition of people for values from (1) to (2);
        create table people_2 partition of people for values from (2) to (9);
        insert into people values (1, '{1}'), (2, '{2}'), (3, '{1}'); grant select on people to authenticated, anon;
        create table t (id int, room int, primary key (id)) partition by range (id);
        create table t_1 partition of t for values from (1) to (3);
        create table t_2 (room int, id int not null); alter table t attach partition t_2 for values from (3) to (9);
        insert into t values (1, 1), (2, 2), (3, 3), (4, 1);
        create policy p on t using (exists (select from people p where p.room = t.room and p.who = auth.uid()));
        create policy leaf on t_1 using (id = 2); alter table t_1 enable row level security;";
    for by_root in [true, false] {
        let schema = format!(
            "{tables} alter publication supabase_realtime set (publish_via_partition_root = {by_root}); {GUARDED}"
        );
        session.case_for(&usual(), Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_52_a_table_with_children_includes_their_rows() {
    case(
        Seen::Some,
        By::Anyone,
        "create table people (room int, who uuid); create table guests (since int) inherits (people);
         insert into people values (1, '{1}'); insert into guests values (2, '{1}', 1), (3, '{2}', 2);
         create table t (id int primary key, room int, how text);
         insert into t select row_number() over (), room, how from generate_series(1, 3) room, (values ('all'), ('only')) how(how);
         create policy p on t using (how = 'all' and exists (select from people p where p.room = t.room and p.who = auth.uid())
             or how = 'only' and exists (select from only people p where p.room = t.room and p.who = auth.uid()))",
    )
    .await;
}

#[tokio::test]
async fn case_53_views_read_with_their_owners_rights_or_their_callers() {
    let mut session = Session::open().await;
    for view in [
        "create view seats as select room, who from people where not hidden",
        "create view seats with (security_invoker = true) as select room, who from people where not hidden",
        "create view seats with (security_barrier = true) as select room, who from people where not hidden",
        "create view seats as select room, who from people union all select 3, auth.uid()",
        "create view seats as select distinct room, who from people",
        "create view inside as select * from people; create view seats as select room, who from inside where who is not null",
        "create materialized view seats as select room, who from people",
    ] {
        let schema = format!(
            "create table people (room int, who uuid, hidden bool);
             insert into people values (1, '{{1}}', false), (2, '{{1}}', true), (2, '{{2}}', false), (3, null, null);
             alter table people enable row level security; create policy p on people using (who = auth.uid());
             {view}; grant select on seats to public;
             create table t (id int primary key, room int); insert into t values (1, 1), (2, 2), (3, 3), (4, null);
             create policy p on t using (exists (select from seats s where s.room = t.room and s.who = auth.uid()))"
        );
        session.case(Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_54_relations_that_are_not_in_the_log_are_asked_of_postgres() {
    let mut session = Session::open().await;
    for (kind, key) in [("unlogged", "primary key (room, who)"), ("", "check (true)")] {
        let schema = format!(
            "create {kind} table people (room int not null, who uuid not null, {key});
             insert into people values (1, '{{1}}'), (2, '{{2}}');
             create table t (id int primary key, room int); insert into t values (1, 1), (2, 2), (3, null);
             create policy p on t using (exists (select from people p where p.room = t.room and p.who = auth.uid()))"
        );
        session.case(Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_55_names_that_need_quotes() {
    let schema = r#"
        create schema "My \ Schema:"; grant usage on schema "My \ Schema:" to public;
        create table "My \ Schema:"."Pe""ople {x}" (":room" int primary key, "Who (is)" uuid, "select" bool);
        grant select on "My \ Schema:"."Pe""ople {x}" to public;
        insert into "My \ Schema:"."Pe""ople {x}" values (1, '{1}', true), (2, '{2}', false), (3, '{1}', null);
        create function "My \ Schema:"."is $1 in?"(":place }" int) returns boolean language sql stable
            as $$ select exists (select from "My \ Schema:"."Pe""ople {x}" where ":room" = ":place }" and "select") $$;
        create table t ("ID" int primary key, ":room" int, "a\b" text);
        insert into t values (1, 1, 'x'), (2, 2, E'\\'), (3, 3, '}'), (4, null, '{ :'), (5, 9, '(');
        create policy ":p }" on t using (exists (select from "My \ Schema:"."Pe""ople {x}" "p x"
            where "p x".":room" = t.":room" and "p x"."Who (is)" = auth.uid()));
        create policy "q\" on t to anon using ("My \ Schema:"."is $1 in?"(":room") or "a\b" in (E'\\', '{ :', '('))"#;
    case_for(usual(), Seen::Some, By::Memory, &format!("{schema}; {GUARDED}")).await;
}

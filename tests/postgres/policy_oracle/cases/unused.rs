//! What a condition does not need and Postgres may evaluate or check all the same: an error there hides the row.

use super::{By, Seen, Session};

/// `people` have a number that divides, and zero among them.
const PEOPLE: &str = "
    create table people (id serial primary key, room int, n int, who uuid); grant select on people to public;
    insert into people (room, n, who) values (1, 1, '{1}'), (2, 2, '{2}'), (3, 0, '{3}');
    create table secret (id int primary key); insert into secret values (1); revoke all on secret from anon, authenticated;
    create function hidden(int) returns int language sql immutable as $$ select $1 $$;
    revoke execute on function hidden(int) from public;
    create function hidden_volatile(int) returns int language sql as $$ select $1 $$;
    revoke execute on function hidden_volatile(int) from public;
    create function raises(int) returns int language plpgsql as $$ begin perform 10 / $1; return 1; end $$;
    create function raises_in_sql(int) returns int language sql as $$ select 10 / $1 $$;
    create view v as select distinct room, 10 / n from people; grant select on v to public;
    create table t (id int primary key, room int, own uuid);
    insert into t values (1, 1, '{1}'), (2, 2, '{2}'), (3, 3, '{3}'), (4, 4, null);";

async fn tried(session: &mut Session, seen: Seen, policies: &[&str]) {
    for policy in policies {
        session.case(seen, By::Anyone, &format!("{PEOPLE} {policy}")).await;
    }
}

async fn each(seen: Seen, conditions: &[&str]) {
    let policies: Vec<String> =
        conditions.iter().map(|condition| format!("create policy p on t using ({condition})")).collect();
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    tried(&mut Session::open().await, seen, &policies).await;
}

#[tokio::test]
async fn what_a_function_gives_besides_what_is_read_of_it_is_evaluated() {
    let mut session = Session::open().await;
    tried(
        &mut session,
        Seen::Nothing,
        &[
            "create function members() returns table (room int, share int) language sql stable security definer
                 set search_path = public as $$ select room, 10 / n from people $$;
             create policy p on t using (room in (select room from members()))",
            "create function members() returns table (room int, share int) language sql stable
                 set search_path = public as $$ select room, hidden(n) from people $$;
             create policy p on t using (room in (select room from members()))",
            "create function members() returns table (room int, share int) language sql volatile
                 as $$ select room, (select count.id from people, secret count limit 1) from people $$;
             create policy p on t using (exists (select from members() m where m.room = t.room))",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_rows_are_sorted_by_or_told_apart_by_is_evaluated() {
    each(
        Seen::Nothing,
        &[
            "exists (select from (select distinct room, 10 / n from people) s where s.room = t.room)",
            "room in (select s.room from (select distinct room, hidden(n) from people) s)",
            "room in (select s.room from v s)",
            "room in (select room from (select room, hidden(n) from people order by 2) s)",
            "room in (select s.room from (select room, 10 / n as share from people) s order by s.share)",
            "room = any (array(select s.room from (select room, 10 / n as share from people) s order by s.share))",
        ],
    )
    .await;
    each(
        Seen::Some,
        &[
            "exists (select from (select room, 10 / n as share from people order by 2) s where s.room = t.room)",
            "room = (select s.room from (select room, 10 / n as share from people) s where s.room = t.room
                     order by s.share limit 1)",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_volatile_or_in_from_is_evaluated() {
    each(
        Seen::Nothing,
        &[
            "exists (select from people p, lateral hidden(p.n) s where p.room = t.room)",
            "exists (select from (select room, hidden_volatile(n) from people) s where s.room = t.room)",
            "room in (select s.room from (select room, raises(n) from people) s)",
        ],
    )
    .await;
    each(
        Seen::Some,
        &[
            "exists (select from people p, lateral int4div(10, p.n) s where p.room = t.room)",
            "exists (select from (select room, raises(n) from people) s where s.room = t.room)",
            "exists (select from (select room, raises_in_sql(n) from people) s where s.room = t.room)",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_else_nothing_reads_is_not_evaluated() {
    let mut session = Session::open().await;
    for policy in [
        "exists (select distinct 10 / n from people where people.room = t.room)",
        "exists (select raises(n) from people where people.room = t.room)",
        "exists (select hidden(n) from people where people.room = t.room)",
        "exists (select (select id from secret) from people where people.room = t.room)",
        "exists (select from (select room, hidden(n), (select id from secret) from people) s where s.room = t.room)",
        "exists (select from people p, lateral (select 10 / p.n) s where p.room = t.room)",
    ] {
        session
            .case(Seen::Some, By::Memory, &format!("{PEOPLE} create policy p on t using ({policy})"))
            .await;
    }
}

#[tokio::test]
async fn constants_are_evaluated_though_no_row_needs_them() {
    let mut session = Session::open().await;
    tried(
        &mut session,
        Seen::Nothing,
        &[
            "create policy p on t using (case when own = auth.uid() then true else 'x'::text::int = 1 end)",
            "create policy p on t using (coalesce(own = auth.uid(), 1 / 0 = 1))",
            "create function is_on(text) returns boolean language sql immutable as $$ select $1::int = 1 $$;
             create policy p on t using (case when own = auth.uid() then true else is_on('x') end)",
        ],
    )
    .await;
}

#[tokio::test]
async fn built_in_functions_that_an_owner_may_not_call_are_an_error() {
    let mut session = Session::open().await;
    tried(
        &mut session,
        Seen::Nothing,
        &["do $$ begin create role plain_owner; exception when duplicate_object then null; end $$;
             revoke execute on function pg_catalog.abs(int) from public;
             grant execute on function pg_catalog.abs(int) to anon, authenticated, service_role;
             create function positive(n int) returns boolean language sql stable security definer
                 as $$ select abs(n) > 0 $$;
             alter function positive(int) owner to plain_owner;
             create policy p on t using (abs(id) > 0 and positive(id))"],
    )
    .await;
}

#[tokio::test]
async fn the_role_setting_is_the_callers_in_a_helper_too() {
    let mut session = Session::open().await;
    session
        .case(
            Seen::Some,
            By::Anyone,
            "create function who_asks() returns text language sql stable security definer
                 as $$ select current_setting('role', true) $$;
             create function who_runs() returns text language sql stable security definer
                 as $$ select current_user::text $$;
             create table t (id int primary key, n text); insert into t values (1, 'anon'), (2, 'authenticated'), (3, 'postgres');
             create policy p on t using (who_asks() = n); create policy q on t to anon using (who_runs() = n and n <> 'anon')",
        )
        .await;
}

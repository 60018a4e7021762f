//! How policies are joined, whom they bind, and what goes round them.

use serde_json::json;

use super::super::callers::{Caller, signed, user, usual, uuid};
use super::{By, GUARDED, Seen, case, case_for};

#[tokio::test]
async fn case_01_without_a_policy_nothing_is_seen() {
    case(Seen::Nothing, By::Memory, "create table t (id int primary key); insert into t values (1), (2)")
        .await;
}

#[tokio::test]
async fn case_02_restrictive_policies_alone_show_nothing() {
    case(
        Seen::Nothing,
        By::Memory,
        "create table t (id int primary key); insert into t values (1), (2);
         create policy p on t as restrictive using (true)",
    )
    .await;
}

#[tokio::test]
async fn case_03_one_permissive_policy_that_holds_is_enough() {
    case(
        Seen::Some,
        By::Memory,
        "create table t (id int primary key, a bool, b bool);
         insert into t select row_number() over (), a, b
             from (values (true), (false), (null)) x(a), (values (true), (false), (null)) y(b);
         create policy a on t using (a); create policy b on t using (b);
         create policy c on t using (null::bool)",
    )
    .await;
}

#[tokio::test]
async fn case_04_a_restrictive_policy_that_is_null_hides() {
    case(
        Seen::Some,
        By::Memory,
        "create table t (id int primary key, a bool, b bool);
         insert into t values (1, true, null), (2, null, true), (3, true, true), (4, null, null), (5, false, true);
         create policy p on t using (true);
         create policy a on t as restrictive using (a); create policy b on t as restrictive using (b)",
    )
    .await;
}

#[tokio::test]
async fn case_05_policies_for_other_commands_show_nothing() {
    case(
        Seen::Some,
        By::Memory,
        "create table t (id int primary key); insert into t select generate_series(1, 5);
         create policy a on t for all using (id = 1) with check (id = 2);
         create policy s on t for select using (id = 3);
         create policy u on t for update using (id = 4); create policy d on t for delete using (id = 5);
         create policy i on t for insert with check (true);
         create policy ru on t as restrictive for update using (false)",
    )
    .await;
}

#[tokio::test]
async fn case_06_a_policy_binds_those_who_have_the_rights_of_its_roles() {
    let schema = "
        create role case_06_heir inherit in role authenticated;
        create role case_06_far inherit in role case_06_heir;
        create role case_06_cold noinherit in role authenticated;
        create role case_06_other;
        do $$ begin
            if current_setting('server_version_num')::int >= 160000 then
                create role case_06_declined inherit; create role case_06_accepted noinherit;
                execute 'grant authenticated to case_06_declined with inherit false';
                execute 'grant authenticated to case_06_accepted with inherit true';
            else
                create role case_06_declined noinherit in role authenticated;
                create role case_06_accepted inherit in role authenticated;
            end if;
        end $$;
        create table t (id int primary key); insert into t select generate_series(1, 6);
        grant select on t to case_06_heir, case_06_far, case_06_cold, case_06_other, case_06_declined, case_06_accepted;
        create policy everybody on t to public using (id = 1);
        create policy one on t to authenticated using (id = 2);
        create policy two on t to anon, case_06_other using (id = 3);
        create policy heir on t to case_06_heir using (id = 4);
        create policy fence on t as restrictive to authenticated using (id <> 1)";
    let roles = ["heir", "far", "cold", "other", "declined", "accepted"];
    let mut callers = usual();
    callers.extend(roles.map(|role| signed(&format!("case_06_{role}"), json!({"sub": uuid(1)}))));
    case_for(callers, Seen::Some, By::Memory, &format!("{schema}; {GUARDED}")).await;
}

#[tokio::test]
async fn case_07_owners_and_bypassing_roles_are_not_bound_unless_forced() {
    let schema = "
        create role case_07_owner; create role case_07_heir inherit in role case_07_owner;
        create role case_07_cold noinherit in role case_07_owner;
        create role case_07_free bypassrls; create role case_07_heir_of_free inherit in role case_07_free;
        create role case_07_super superuser;
        create table t (id int primary key, own uuid); insert into t values (1, '{1}'), (2, '{2}'), (3, null);
        create table forced as select * from t; alter table forced add primary key (id);
        alter table t owner to case_07_owner; alter table forced owner to case_07_owner;
        alter table forced enable row level security, force row level security;
        grant select on t, forced to case_07_cold, case_07_free, case_07_heir_of_free;
        create policy p on t using (own = auth.uid()); create policy p on forced using (own = auth.uid());
        select publish('forced')";
    let mut callers = usual();
    for role in ["owner", "heir", "cold", "free", "heir_of_free", "super"] {
        callers.push(signed(&format!("case_07_{role}"), json!({"sub": uuid(2)})));
    }
    callers.push(Caller::new("postgres", "{}"));
    case_for(callers, Seen::Some, By::Memory, &format!("{schema}; {GUARDED}")).await;
}

#[tokio::test]
async fn case_08_without_row_level_security_grants_decide() {
    let schema = "
        create table t (id int primary key, a int, b int); insert into t values (1, 2, 3), (2, null, null);
        revoke all on t from anon, authenticated; grant select (id, a) on t to authenticated;
        create table closed (id int primary key); insert into closed values (1);
        revoke all on closed from anon, authenticated;
        select publish('t', 'closed')";
    case_for(usual(), Seen::Some, By::Memory, schema).await;
}

#[tokio::test]
async fn case_09_a_key_that_may_not_be_read_hides_the_row() {
    let schema = "
        create table t (id int, part int, a int, primary key (id, part)); insert into t values (1, 2, 3), (2, 3, 4);
        revoke all on t from anon, authenticated; grant select (id, a) on t to authenticated;
        grant select (id, part) on t to anon;
        create policy p on t using (true)";
    case_for(usual(), Seen::Some, By::Memory, &format!("{schema}; {GUARDED}")).await;
}

#[tokio::test]
async fn case_10_a_column_of_another_table_that_may_not_be_read_is_an_error() {
    case(
        Seen::Some,
        By::Asking,
        "create table people (room int, who uuid, secret int);
         insert into people values (1, '{1}', 1), (2, '{2}', null);
         revoke all on people from anon, authenticated;
         grant select (room, who) on people to authenticated; grant select (room) on people to anon;
         create table t (id int primary key, room int); insert into t values (1, 1), (2, 2), (3, null);
         create policy p on t using (exists (select from people p where p.room = t.room and p.who = auth.uid()));
         create table u (id int primary key, room int); insert into u values (1, 1), (2, 2);
         alter table u enable row level security;
         create policy p on u using (exists (select from people p where p.room = u.room and p.secret = 1));
         select publish('u')",
    )
    .await;
}

#[tokio::test]
async fn case_11_another_table_that_may_not_be_read_is_an_error() {
    case(
        Seen::Nothing,
        By::Asking,
        "create table people (room int, who uuid); insert into people values (1, '{1}'), (2, '{2}');
         revoke all on people from anon, authenticated;
         create table t (id int primary key, room int); insert into t values (1, 1), (2, 2), (3, null);
         create policy p on t using (room in (select room from people where who = auth.uid()));
         create policy q on t using (id = 1)",
    )
    .await;
}

#[tokio::test]
async fn case_12_a_function_that_may_not_be_called_is_an_error() {
    case(
        Seen::Some,
        By::Asking,
        "create function known(n int) returns boolean language sql stable as $$ select n = 1 $$;
         revoke execute on function known(int) from public; grant execute on function known(int) to authenticated;
         create table t (id int primary key); insert into t values (1), (2);
         create policy p on t using (known(id))",
    )
    .await;
}

#[tokio::test]
async fn case_13_a_schema_that_may_not_be_used_hides_its_tables_but_not_what_policies_name() {
    let schema = "
        create schema inner_circle; grant usage on schema inner_circle to authenticated;
        create table inner_circle.u (id int primary key); insert into inner_circle.u values (1), (2);
        grant select on inner_circle.u to public;
        create table inner_circle.people (room int, who uuid); insert into inner_circle.people values (1, '{1}'), (2, '{2}');
        grant select on inner_circle.people to public;
        create function inner_circle.takes_part(int) returns boolean language sql stable
            return exists (select from inner_circle.people where room = $1 and who = auth.uid());
        create function takes_part_by_text(int) returns boolean language sql stable
            as $$ select exists (select from inner_circle.people where room = $1) $$;
        create table t (id int primary key, room int); insert into t values (1, 1), (2, 2), (3, null);
        create policy p on t using (inner_circle.takes_part(room)
            or exists (select from inner_circle.people p where p.room = t.id and p.who = auth.uid()));
        create table v (id int primary key); insert into v values (1), (2); alter table v enable row level security;
        create policy p on v using (takes_part_by_text(id));
        select publish('inner_circle.u', 'v')";
    let mut callers = usual();
    callers.push(signed("anon", json!({"sub": uuid(1)})));
    case_for(callers, Seen::Some, By::Anyone, &format!("{schema}; {GUARDED}")).await;
}

#[tokio::test]
async fn case_14_a_row_that_the_caller_may_not_see_proves_nothing() {
    case(
        Seen::Some,
        By::Memory,
        "create table people (room int, who uuid, left_at timestamptz, n serial primary key);
         insert into people values (1, '{1}', null), (1, '{2}', null), (2, '{1}', now()), (3, '{2}', null), (3, null, null);
         alter table people enable row level security;
         create policy p on people using (who = auth.uid() and left_at is null);
         create table t (id int primary key, room int); insert into t values (1, 1), (2, 2), (3, 3), (4, null);
         create policy mine on t using (exists (select from people p where p.room = t.room and p.who = auth.uid()));
         create policy pairs on t to anon using (exists (select from people p where p.room = t.room))",
    )
    .await;
}

#[tokio::test]
async fn case_15_policies_of_policies_of_policies_apply() {
    case(
        Seen::Some,
        By::Memory,
        "create table grandparents (id int primary key, own uuid); create table parents (id int primary key, up int, hidden bool);
         create table t (id int primary key, up int);
         insert into grandparents values (1, '{1}'), (2, '{2}'), (3, null);
         insert into parents values (1, 1, false), (2, 1, true), (3, 2, null), (4, 2, false), (5, 3, false);
         insert into t values (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, null);
         alter table grandparents enable row level security; alter table parents enable row level security;
         create policy p on grandparents using (own = auth.uid());
         create policy p on parents using (up in (select id from grandparents));
         create policy r on parents as restrictive using (not hidden);
         create policy p on t using (up in (select id from parents))",
    )
    .await;
}

#[tokio::test]
async fn case_16_policies_that_lead_back_to_themselves_are_an_error() {
    case(
        Seen::Nothing,
        By::Asking,
        "create table people (room int, who uuid); insert into people values (1, '{1}'), (1, '{2}');
         alter table people enable row level security;
         create policy p on people using (exists (select from people p where p.room = people.room and p.who = auth.uid()));
         create table t (id int primary key, room int); insert into t values (1, 1), (2, 2);
         create policy p on t using (exists (select from people p where p.room = t.room));
         create policy q on t using (true)",
    )
    .await;
}

#[tokio::test]
async fn case_17_a_helper_with_its_owners_rights_ends_recursion() {
    case(
        Seen::Some,
        By::Memory,
        "create table people (room int, who uuid, n serial primary key);
         insert into people values (1, '{1}'), (1, '{2}'), (2, '{2}'), (3, null);
         alter table people enable row level security;
         create function takes_part(place int) returns boolean language sql stable security definer set search_path = public
             as $$ select exists (select from people where room = place and who = auth.uid()) $$;
         create policy p on people using (takes_part(room));
         create table t (id int primary key, room int); insert into t values (1, 1), (2, 2), (3, 3), (4, null);
         create policy p on t using (takes_part(room));
         create policy q on t using (exists (select from people p where p.room = t.room))",
    )
    .await;
}

#[tokio::test]
async fn case_18_a_helper_sees_what_its_owner_sees() {
    case_for(
        vec![user(1), user(2), user(3)],
        Seen::Some,
        By::Memory,
        &format!(
            "create role case_18_keeper; create role case_18_other;
             grant usage on schema public, auth to case_18_keeper, case_18_other;
             create table people (room int, who uuid, hidden bool, n serial primary key);
             insert into people values (1, '{{1}}', false), (2, '{{1}}', true), (2, '{{2}}', false), (3, '{{2}}', null);
             alter table people owner to case_18_keeper; alter table people enable row level security;
             grant select on people to case_18_other;
             create policy p on people to case_18_other using (not hidden);
             create policy q on people to authenticated using (who = auth.uid());
             create function by_owner(int) returns boolean language sql stable security definer
                 as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
             create function by_other(int) returns boolean language sql stable security definer
                 as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
             create function by_super(int) returns boolean language sql stable security definer
                 as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
             alter function by_owner(int) owner to case_18_keeper; alter function by_other(int) owner to case_18_other;
             create table t (id int primary key, room int, how text);
             insert into t select row_number() over (), room, how from generate_series(1, 3) room,
                 (values ('owner'), ('other'), ('super'), ('caller')) how(how);
             create policy p on t using (how = 'owner' and by_owner(room) or how = 'other' and by_other(room)
                 or how = 'super' and by_super(room)
                 or how = 'caller' and exists (select from people p where p.room = t.room));
             {GUARDED}"
        ),
    )
    .await;
}

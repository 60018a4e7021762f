//! Functions that policies call.

use super::{By, Seen, Session, case};

#[tokio::test]
async fn case_19_names_in_a_helper_mean_what_its_search_path_makes_of_them() {
    case(
        Seen::Some,
        By::Anyone,
        "create schema elsewhere; grant usage on schema elsewhere to public;
         create table people (room int, who uuid); create table elsewhere.people (room int, who uuid);
         grant select on people, elsewhere.people to public;
         insert into people values (1, '{1}'); insert into elsewhere.people values (2, '{1}'), (3, '{2}');
         create function missing(int) returns boolean language sql stable security definer
             as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
         create function here(int) returns boolean language sql stable security definer set search_path = public
             as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
         create function there(int) returns boolean language sql stable security definer set search_path = elsewhere, public
             as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
         create function nowhere(int) returns boolean language sql stable security definer set search_path = ''
             as $$ select exists (select from public.people where room = $1 and who = auth.uid()) $$;
         create table t (id int primary key, how text, room int);
         insert into t select row_number() over (), how, room
             from (values ('missing'), ('here'), ('there'), ('nowhere')) how(how), generate_series(1, 3) room;
         create policy p on t using (how = 'missing' and missing(room) or how = 'here' and here(room)
             or how = 'there' and there(room) or how = 'nowhere' and nowhere(room))",
    )
    .await;
}

#[tokio::test]
async fn case_19b_a_helper_whose_names_lead_nowhere_is_an_error() {
    case(
        Seen::Nothing,
        By::Asking,
        "create table people (room int, who uuid); insert into people values (1, '{1}');
         set check_function_bodies = off;
         create function lost(int) returns boolean language sql stable security definer set search_path = ''
             as $$ select exists (select from people where room = $1) $$;
         reset check_function_bodies;
         create table t (id int primary key, room int); insert into t values (1, 1), (2, 2);
         create policy p on t using (lost(room))",
    )
    .await;
}

#[tokio::test]
async fn case_20_a_function_returns_the_first_of_its_rows_or_null() {
    case(
        Seen::Some,
        By::Anyone,
        "create table people (room int, who uuid, likes bool);
         insert into people values (1, '{1}', true), (2, '{1}', true), (2, '{2}', true), (3, '{2}', null), (5, '{1}', false);
         create function likes(place int) returns boolean language sql stable
             as $$ select likes from people where room = place $$;
         create table t (id int primary key, room int); insert into t select n, n from generate_series(1, 5) n;
         insert into t values (6, null);
         create policy p on t using (likes(room));
         create policy q on t to anon using (likes(room) is null)",
    )
    .await;
}

#[tokio::test]
async fn case_21_a_strict_function_of_null_is_null() {
    case(
        Seen::Some,
        By::Memory,
        "create function strictly(a int, b int) returns boolean language sql immutable strict as $$ select a is null or b = 1 $$;
         create function loosely(a int, b int) returns boolean language sql immutable as $$ select a is null or b = 1 $$;
         create function strict_definer(a int) returns boolean language sql stable strict security definer
             as $$ select a is null or a = 2 $$;
         create table t (id int primary key, a int, b int);
         insert into t select row_number() over (), a, b from (values (1), (2), (null)) x(a), (values (1), (2), (null)) y(b);
         create policy strictly on t to authenticated using (strictly(a, b));
         create policy loosely on t to anon using (loosely(a, b));
         create policy definer on t using (strict_definer(a)); create policy negated on t using (not strictly(a, b))",
    )
    .await;
}

#[tokio::test]
async fn case_22_an_argument_with_the_name_of_a_column_is_the_column_in_sql_and_an_error_in_plpgsql() {
    case(
        Seen::Some,
        By::Anyone,
        "create table people (room int, who uuid); insert into people values (1, '{1}'), (2, '{2}');
         create function collides(room int) returns boolean language sql stable security definer
             as $$ select exists (select from people where room = room and who = auth.uid()) $$;
         create function qualified(room int) returns boolean language sql stable security definer
             as $$ select exists (select from people p where p.room = qualified.room and who = auth.uid()) $$;
         create function numbered(room int) returns boolean language sql stable security definer
             as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
         create function by_statement(place int) returns boolean language plpgsql stable security definer
             as $$ begin return exists (select from people where room = place and who = auth.uid()); end $$;
         create table t (id int primary key, how text, room int);
         insert into t select row_number() over (), how, room from (values ('collides'), ('qualified'), ('numbered'),
             ('statement')) how(how), generate_series(1, 3) room;
         create policy p on t using (case how when 'collides' then collides(room) when 'qualified' then qualified(room)
             when 'numbered' then numbered(room) when 'statement' then by_statement(room) end)",
    )
    .await;
    case(
        Seen::Nothing,
        By::Asking,
        "create table people (room int, who uuid); insert into people values (1, '{1}'), (2, '{2}');
         create function ambiguous(room int) returns boolean language plpgsql stable security definer
             as $$ begin return exists (select from people where room = room and who = auth.uid()); end $$;
         create table t (id int primary key, room int); insert into t values (1, 1), (2, 2);
         create policy p on t using (ambiguous(room))",
    )
    .await;
}

#[tokio::test]
async fn case_56_settings_and_names_of_the_session() {
    let mut session = Session::open().await;
    session.case(Seen::Some,
        By::Anyone,
        "create table t (id int primary key, n text); insert into t values (1, 'anon'), (2, 'authenticated'), (3, 'postgres');
         create policy cu on t using (current_user::text = n); create policy su on t to anon using (session_user::text = n);
         create policy ro on t to authenticated using (current_role::text = n)",
    )
    .await;
    session
        .case(
            Seen::Nothing,
            By::Anyone,
            "create table t (id int primary key, n text); insert into t values (1, 'x'), (2, '');
         create policy p on t using (current_setting('app.nothing_sets_this', true) = n)",
        )
        .await;
    session.case(Seen::Nothing,
        By::Asking,
        "create table t (id int primary key, n text); insert into t values (1, 'x');
         create policy p on t using (current_setting('app.nothing_sets_this') = n); create policy q on t using (n = 'x')",
    )
    .await;
    session.case(Seen::Some,
        By::Anyone,
        "create table t (id int primary key, own uuid); insert into t values (1, '{1}'), (2, '{2}'), (3, null);
         create function me() returns uuid language sql stable
             as $$ select nullif(current_setting('request.jwt.claims', true)::json ->> 'sub', '')::uuid $$;
         create policy p on t using (own = (select me()) and current_setting('request.headers', true) is null)",
    )
    .await;
}

#[tokio::test]
async fn case_57_a_volatile_function_is_asked_of_postgres() {
    case(
        Seen::Some,
        By::Asking,
        "create function chance() returns boolean language sql volatile as $$ select random() >= 0 $$;
         create table t (id int primary key, own uuid); insert into t values (1, '{1}'), (2, '{2}');
         create policy p on t using (own = auth.uid() and chance())",
    )
    .await;
    case(
        Seen::Nothing,
        By::Asking,
        "create sequence seen; grant usage on seen to public; create table t (id int primary key); insert into t values (1), (2);
         create policy p on t using (nextval('seen') < 0)",
    )
    .await;
}

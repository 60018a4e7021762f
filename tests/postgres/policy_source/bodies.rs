//! Bodies of functions: what is looked into, under whose names, and what is not.

use rowcast::policy::source::NoBody;

use super::{Subject, connect, on_each_major};

/// A table `t` whose policy calls `f(id)`, made like this.
fn calling(function: &str) -> String {
    format!(
        "create table people (conversation int, who uuid, primary key (conversation, who));
         {function};
         create table t (id int primary key); alter table t enable row level security;
         create policy p on t using (f(id))"
    )
}

#[tokio::test]
async fn bodies_are_looked_into_whatever_their_form() {
    on_each_major(async |major| {
        for function in [
            "create function f(int) returns boolean language sql as 'select exists (select from public.people where conversation = $1)'",
            "create function f(c int) returns boolean language sql as 'select true from public.people where conversation = c and who = auth.uid();'",
            "create function f(c int) returns boolean language sql as 'select true from public.people where conversation = f.c -- that'",
            "create function f(c int) returns boolean language sql begin atomic select true from public.people; end",
            "create function f(c int) returns boolean language sql return exists (select from public.people)",
            "create function f(c int) returns boolean language plpgsql as 'begin return exists (select 1 from public.people where conversation = c); end'",
            "create function f(c int) returns boolean language plpgsql as 'begin return (select true from public.people where conversation = f.c); end;'",
            "create function f(c int, out ok boolean) language sql as 'select true from public.people'",
            "create function f(c int, variadic more int[]) returns boolean language sql as 'select true from public.people where conversation = any (more)'",
            "create function f(c int, \"Odd \"\"name\" int default 1) returns boolean language sql as 'select true from public.people where conversation = \"Odd \"\"name\"'",
            "create function f(c int) returns boolean language sql security definer as 'select true from public.people'",
        ] {
            let subject = Subject::create(major, &calling(function)
                .replace("(f(id))", if function.contains("variadic") { "(f(id, 1, 2))" } else { "(f(id))" })).await;
            let reading = subject.read("t").await;
            assert!(reading.reads("f", "people"), "{function}: {:?} on {major}", reading.body("f"));
            assert!(reading.may_call(&subject.names.user, "f"), "{function} on {major}");
            assert_eq!(reading.relation("people").unwrap().1.columns.len(), 2);
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_looked_into_says_why() {
    on_each_major(async |major| {
        for (function, why) in [
            ("create function f(c int) returns boolean language plpgsql as 'begin if c > 1 then return true; end if; return false; end'", NoBody::Statements),
            ("create function f(c int) returns boolean language plpgsql as 'declare x int; begin return true; end'", NoBody::Statements),
            ("create function f(conversation int) returns boolean language plpgsql as 'begin return exists (select from public.people where who is null); end'", NoBody::AmbiguousName),
            ("create function f(p int) returns boolean language plpgsql as 'begin return exists (select from public.people as p); end'", NoBody::AmbiguousName),
            ("create function f(c int) returns boolean language sql as 'select ''now''::timestamptz > now()'", NoBody::Refused),
            ("create function f(c anyelement) returns boolean language sql as 'select true'", NoBody::Refused),
            ("create function f(c int) returns boolean language internal immutable strict as 'int4abs'", NoBody::Language),
            ("set check_function_bodies = off; create function f(c int) returns boolean language sql as 'select nobody.knows(c)'", NoBody::Refused),
            ("set check_function_bodies = off; create function f(c int) returns boolean language sql as 'return true'", NoBody::Refused),
            ("set check_function_bodies = off; create function f(c int) returns boolean language sql as 'select ''text'''", NoBody::Refused),
            ("set check_function_bodies = off; create function f(c int) returns boolean language plpgsql as 'begin return select true; end'", NoBody::Statements),
        ] {
            let subject = Subject::create(major, &calling(function)).await;
            assert_eq!(subject.read("t").await.body("f"), &Err(why), "{function} on {major}");
        }
    })
    .await;
}

#[tokio::test]
async fn no_body_is_ever_run() {
    on_each_major(async |major| {
        // Each would leave a trace: a table that is gone, another role, a value of a sequence, which no rollback takes back.
        for body in [
            "select true; end; drop table public.victim; create function pg_temp.g() returns boolean language sql begin atomic select true",
            "select true; end; select nextval('public.trace'); --",
            "select true; end; commit; drop table public.victim; begin",
            "select true; end /* ; drop table public.victim; */; rollback",
            "select nextval('public.trace') > 0",
            "select public.traced(1)",
            "select '(1)'::public.pair is null",
            "select '{1}'::public.checked[] is null",
            "select 1::public.checked is null",
        ] {
            let subject = Subject::create(
                major,
                &calling(&format!(
                    "create sequence trace; create table victim (id int);
                     create function traced(int) returns boolean language plpgsql as $$ begin
                         perform set_config('rowcast.ran', current_user || ' ' || session_user, false);
                         perform set_config('role', 'none', false);
                         drop table public.victim; perform nextval('public.trace'); return true; end $$;
                     create domain checked as int check (traced(value));
                     create type pair as (n checked);
                     set check_function_bodies = off;
                     create function f(c int) returns boolean language sql as $f$ {body} $f$"
                )),
            )
            .await;
            let client = connect(&subject.database.url).await;
            let before: i32 = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
            let reading = subject.read_on(&client, "t").await;
            let row = client
                .query_one(
                    "select to_regclass('public.victim') is not null, is_called, pg_backend_pid(), current_user = session_user,
                         current_setting('search_path'), current_setting('lock_timeout')
                     from trace",
                    &[],
                )
                .await
                .unwrap();
            assert!(row.get::<_, bool>(0), "{body}");
            assert!(!row.get::<_, bool>(1), "{body}");
            assert_eq!(row.get::<_, i32>(2), before);
            assert!(row.get::<_, bool>(3), "{body}");
            assert_eq!((row.get::<_, &str>(4), row.get::<_, &str>(5)), ("\"$user\", public", "0"), "{body}");
            let is_plain = !body.contains("end") && !body.contains("::public.pair") && !body.contains("[]");
            assert_eq!(reading.body("f").is_ok(), is_plain, "{body}: {:?}", reading.body("f"));
        }
    })
    .await;
}

#[tokio::test]
async fn names_mean_what_the_search_path_says() {
    on_each_major(async |major| {
        let tables = "create schema private; grant usage on schema private to {user}, {other}, {owner};
             create table private.people (id int); create table people (id int);
             create function f(c int) returns boolean language sql stable PATH as 'select exists (select from people)';
             create table t (id int); alter table t enable row level security; create policy p on t using (f(id))";
        let subject = Subject::create(major, &tables.replace("PATH", "")).await;
        let reading = subject.read("t").await;
        assert_eq!(&*reading.relation("people").unwrap().1.schema, "public");
        for (path, schema) in [
            ("set search_path = private, public", Some("private")),
            ("set search_path = public, private", Some("public")),
            ("set search_path = public, pg_temp", Some("public")),
            ("set search_path = pg_catalog, private", Some("private")),
            ("set search_path = private, pg_catalog", None),
            ("set search_path = ''", None),
            ("set search_path = nowhere", None),
        ] {
            let subject = Subject::create(
                major,
                &tables.replace("PATH", path).replace("create function", "set check_function_bodies = off; create function"),
            )
            .await;
            let reading = subject.read("t").await;
            let found = reading.relation("people").map(|(_, relation)| &*relation.schema);
            assert_eq!(found, schema, "{path} on {major}");
            assert_eq!(reading.body("f").is_ok(), schema.is_some(), "{path} on {major}");
        }
        // Somebody may not look into the schema that comes first: the name means something else to him.
        let subject = Subject::create(major, &tables.replace("PATH", "set search_path = private, public")).await;
        subject.execute("revoke usage on schema private from {other}").await;
        let reading = subject.read("t").await;
        let schema = reading.relation("people").map(|(_, relation)| relation.schema.to_string());
        let may = [&subject.names.user, &subject.names.other].map(|role| reading.may_call(role, "f"));
        assert!(may[0] != may[1], "{schema:?} {may:?} on {major}");
        // A role's own schema comes first in a path that says so.
        let subject = Subject::create(major, &tables.replace("PATH", "")).await;
        subject.execute("create schema {user} authorization {user}; create table {user}.people (id int)").await;
        let reading = subject.read("t").await;
        let may = [&subject.names.user, &subject.names.other].map(|role| reading.may_call(role, "f"));
        assert!(may[0] != may[1], "{may:?} on {major}");
    })
    .await;
}

#[tokio::test]
async fn a_path_holds_for_what_is_called_under_it() {
    on_each_major(async |major| {
        let schema = "create schema private; grant usage on schema private to {user}, {other};
             create table private.people (id int); create table people (id int);
             create function g() returns boolean language sql stable as 'select exists (select from people)';
             create function f(c int) returns boolean language sql stable set search_path = private as 'select public.g()';
             create table t (id int); alter table t enable row level security;";
        let subject = Subject::create(major, &format!("{schema} create policy p on t using (f(id))")).await;
        let reading = subject.read("t").await;
        assert!(reading.body("f").is_ok());
        assert!(!reading.may_call(&subject.names.user, "g"), "it means another table there");
        let subject = Subject::create(major, &format!("{schema} create policy p on t using (g())")).await;
        assert!(subject.read("t").await.may_call(&subject.names.user, "g"));
        // What means the same everywhere is no matter.
        let same = schema.replace("(select from people)", "(select from public.people)");
        let subject = Subject::create(major, &format!("{same} create policy p on t using (f(id) and g())")).await;
        assert!(subject.read("t").await.may_call(&subject.names.user, "g"));
    })
    .await;
}

#[tokio::test]
async fn overloaded_and_quoted_names_are_told_apart() {
    on_each_major(async |major| {
        let subject = Subject::create(
            major,
            "create table one (id int); create table two (id int);
             create function \"F; x\"(int) returns boolean language sql as 'select exists (select from public.one)';
             create function \"F; x\"(text) returns boolean language sql as 'select exists (select from public.two)';
             create table t (id int, name text); alter table t enable row level security;
             create policy p on t using (\"F; x\"(id) or \"F; x\"(name))",
        )
        .await;
        let reading = subject.read("t").await;
        let functions = reading.functions("F; x");
        assert_eq!(functions.len(), 2);
        for (_, function) in functions {
            let table = if function.arguments[0] == 23 { "one" } else { "two" };
            let id = reading.relation(table).unwrap().0.0;
            assert!(function.body.as_ref().unwrap().contains(&format!(":relid {id} ")), "{table} on {major}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_make_functions_none_is_looked_into() {
    on_each_major(async |major| {
        let function =
            "create function f(c int) returns boolean language sql as 'select true from public.people'";
        let subject = Subject::create(major, &calling(function)).await;
        subject
            .execute(&format!(
                "revoke temporary on database {} from public",
                subject.names.user.replace("_user", "")
            ))
            .await;
        assert_eq!(subject.read("t").await.body("f"), &Err(NoBody::NoProbe), "on {major}");
        let client = connect(&subject.database.url).await;
        client.batch_execute("set default_transaction_read_only = on").await.unwrap();
        subject
            .execute(&format!(
                "grant temporary on database {} to public",
                subject.names.user.replace("_user", "")
            ))
            .await;
        assert_eq!(subject.read_on(&client, "t").await.body("f"), &Err(NoBody::NoProbe), "on {major}");
        assert!(subject.read("t").await.body("f").is_ok());
    })
    .await;
}

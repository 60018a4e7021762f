//! Whose rights apply, and what the relations that policies read demand.

use rowcast::policy::compile::{self, Command};
use rowcast::policy::uncompiled::Reason;

use super::{Expected, Subject, check, registry, rules};
use crate::support::majors;

const IN: &str = "create policy p on public.messages using
    (conversation_id in (select conversation_id from participants where user_id = auth.uid()))";
const HELPER: &str = "create policy p on public.messages using (is_participant(conversation_id, auth.uid()))";

/// What `IN` comes to without more conditions.
const PLAIN: &str = "any[uuid_eq(@0.0.1, #0)]([0, 1] where and(uuid_eq(@0.0.1, UID)) gives @0.0.0)";
/// The same with a condition on the rows of `participants`.
fn guarded(condition: &str) -> String {
    format!("any[uuid_eq(@0.0.1, #0)]([0, 1] where and({condition}, uuid_eq(@0.0.1, UID)) gives @0.0.0)")
}

/// Each of these, before a policy.
async fn check_before(policy: &str, expected: &[(&str, Expected<'_>)]) {
    let all: Vec<_> =
        expected.iter().map(|(sql, expected)| (format!("{sql}; {policy}"), *expected)).collect();
    let all: Vec<_> = all.iter().map(|(sql, expected)| (sql.as_str(), *expected)).collect();
    check(&all).await;
}

#[tokio::test]
async fn row_security_of_what_is_read_is_part_of_the_condition() {
    let none = guarded("false");
    let own = guarded("or(uuid_eq(@0.0.1, UID))");
    let both = guarded("or(uuid_eq(@0.0.1, UID)), isnull(@0.0.1)");
    let enable = "alter table participants enable row level security";
    let mine = "create policy own on participants using (user_id = auth.uid())";
    let row = |more: &str| format!("{enable}; {more}");
    check_before(
        IN,
        &[
            ("select", Ok(PLAIN)),
            (mine, Ok(PLAIN)),
            (enable, Ok(&none)),
            (&row(mine), Ok(&own)),
            (&row("create policy own on participants for update using (true)"), Ok(&none)),
            (&row("create policy own on participants to keeper using (true)"), Ok(&none)),
            (
                &row(&format!("{mine}; create policy fence on participants as restrictive using (user_id is null)")),
                Ok(&both),
            ),
            (&row("alter table participants owner to reader"), Ok(PLAIN)),
            (
                &row("alter table participants owner to reader; alter table participants force row level security"),
                Ok(&none),
            ),
            (&row("grant keeper to reader; alter table participants owner to keeper"), Ok(PLAIN)),
            (&row("alter role reader noinherit; grant keeper to reader; alter table participants owner to keeper"), Ok(&none)),
            (&row("grant keeper to reader; create policy own on participants to keeper using (user_id = auth.uid())"), Ok(&own)),
        ],
    )
    .await;
}

#[tokio::test]
async fn policies_that_lead_back_to_themselves_are_refused_and_helpers_cure_them() {
    let enable = "alter table participants enable row level security";
    let itself = "create policy own on participants using (exists (select from participants))";
    let helper = "create policy own on participants using (is_participant(conversation_id, auth.uid()))";
    let message = "create policy own on participants using (exists (select from messages))";
    let cured =
        guarded("or(exists([0, 1] where and(and(uuid_eq(@0.0.0, @1.0.0), uuid_eq(@0.0.1, UID))) gives ))");
    let refused = |about| Err((Reason::Recursion, about));
    check_before(
        IN,
        &[
            (&format!("{enable}; {itself}"), refused("public.participants")),
            (&format!("{enable}; {message}"), refused("public.messages")),
            (&format!("{enable}; {helper}"), Ok(&cured)),
            (
                &format!("{enable}; {helper}; alter function is_participant set search_path = public; alter function is_participant security invoker"),
                refused("public.participants"),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_definer_reads_with_its_own_rights() {
    let plain = "exists([0, 1] where and(and(uuid_eq(@0.0.0, @1.0.1), uuid_eq(@0.0.1, UID))) gives )";
    let none = "exists([0, 1] where and(false, and(uuid_eq(@0.0.0, @1.0.1), uuid_eq(@0.0.1, UID))) gives )";
    let keepers = "alter function is_participant owner to keeper";
    let enable = "alter table participants enable row level security";
    check_before(
        HELPER,
        &[
            (enable, Ok(plain)),
            (&format!("{enable}; {keepers}"), Ok(none)),
            (&format!("{enable}; {keepers}; alter table participants owner to keeper"), Ok(plain)),
            (
                &format!("{enable}; {keepers}; alter table participants owner to keeper; alter table participants force row level security"),
                Ok(none),
            ),
            ("revoke select on participants from reader", Ok(plain)),
            (
                &format!("revoke select on participants from keeper; {keepers}"),
                Err((Reason::Privilege, "SELECT on public.participants")),
            ),
            (
                "alter function is_participant security invoker; revoke select on participants from reader",
                Err((Reason::Privilege, "SELECT on public.participants")),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn privileges_decide() {
    let lacks = |about| Err((Reason::Privilege, about));
    check_before(
        IN,
        &[
            ("revoke select on participants from reader", lacks("SELECT on public.participants")),
            (
                "revoke select on participants from reader;
                grant select (conversation_id, user_id) on participants to reader",
                Ok(PLAIN),
            ),
            (
                "revoke select on participants from reader;
                grant select (conversation_id, left_at) on participants to reader",
                lacks("SELECT on public.participants"),
            ),
            ("revoke execute on function auth.uid() from public", lacks("EXECUTE on auth.uid")),
            (
                "revoke execute on function auth.uid() from public; grant execute on function auth.uid() to reader",
                Ok(PLAIN),
            ),
            // The names in a policy were resolved when it was made.
            ("revoke usage on schema public, auth from public", Ok(PLAIN)),
        ],
    )
    .await;
    let text = "create function f() returns boolean language sql stable as
        $$ select exists (select from public.participants) $$; create policy p on public.messages using (f())";
    let atomic = "create function f() returns boolean language sql stable
        begin atomic select exists (select from public.participants); end;
        create policy p on public.messages using (f())";
    let exists = "exists([] where true gives )";
    check_before(
        text,
        &[
            ("select", Ok(exists)),
            ("revoke usage on schema public from public", lacks("USAGE on schema public")),
            ("revoke select on participants from reader", lacks("SELECT on public.participants")),
            (
                "revoke select on participants from reader; grant select (note) on participants to reader",
                Ok(exists),
            ),
        ],
    )
    .await;
    check_before(atomic, &[("revoke usage on schema public from public", Ok(exists))]).await;
}

#[tokio::test]
async fn relations_that_cannot_be_mirrored_are_named() {
    let lacks = |about| Err((Reason::Relation, about));
    let over = |table: &str| {
        format!(
            "{table}; grant select on x to reader;
        create policy p on public.messages using (exists (select from x))"
        )
    };
    let all = [
        (over("create table x (a int primary key)"), Ok("exists([] where true gives )")),
        (over("create table x (a int)"), lacks("public.x, which has no primary key or replica identity,")),
        (
            over("create table x (a int); alter table x replica identity full"),
            Ok("exists([] where true gives )"),
        ),
        (over("create unlogged table x (a int primary key)"), lacks("public.x, which is unlogged,")),
        (
            over("create table x (a int primary key) partition by list (a)"),
            lacks("public.x, which is partitioned,"),
        ),
        (
            over("create table x (a int primary key); create table y () inherits (x)"),
            lacks("public.x, which is part of a hierarchy of tables,"),
        ),
        (over("create materialized view x as select 1"), lacks("public.x, which is a materialized view,")),
        (over("create view x as select 1 as a"), Ok("exists( where true gives )")),
        (over("create view x as select note from participants"), Ok("exists([] where true gives )")),
        (
            over("create view x as select user_id from participants group by 1"),
            Err((Reason::Query, "GROUP BY")),
        ),
        (
            over("create view x as select random() as a, user_id from participants"),
            Err((Reason::Volatile, "random")),
        ),
    ];
    let all: Vec<_> = all.iter().map(|(sql, expected)| (sql.as_str(), *expected)).collect();
    check(&all).await;
    let catalog = "create policy p on public.messages using (exists (select from pg_roles))";
    for major in majors() {
        let found = Subject::create(major).await.policy(catalog).await;
        assert!(matches!(found, Err((Reason::Relation, _))), "on {major}: {found:?}");
    }
}

#[tokio::test]
async fn a_view_reads_as_its_owner_and_calls_as_its_caller() {
    let policy = "create policy p on public.messages using (sender_id in (select user_id from active))";
    let plain = "any[uuid_eq(@0.0.2, #0)]([1, 2] where and(isnull(@0.0.2)) gives @0.0.1)";
    let none = "any[uuid_eq(@0.0.2, #0)]([1, 2] where and(false, isnull(@0.0.2)) gives @0.0.1)";
    let own =
        "any[uuid_eq(@0.0.2, #0)]([1, 2] where and(or(nameeq('reader', 'a')), isnull(@0.0.2)) gives @0.0.1)";
    let enable = "alter table participants enable row level security";
    let lacks = |about| Err((Reason::Privilege, about));
    check_before(
        policy,
        &[
            ("select", Ok(plain)),
            ("revoke select on participants from reader", Ok(plain)),
            ("revoke select on participants from keeper", lacks("SELECT on public.participants")),
            ("revoke select on active from reader", lacks("SELECT on public.active")),
            (enable, Ok(none)),
            (&format!("{enable}; alter table participants owner to keeper"), Ok(plain)),
            (&format!("{enable}; create policy own on participants to reader using (true)"), Ok(none)),
            (
                &format!("{enable}; create policy own on participants to keeper using (current_user = 'a')"),
                Ok(own),
            ),
            (
                "alter view active set (security_invoker = true); revoke select on participants from keeper",
                Ok(plain),
            ),
            (
                "alter view active set (security_invoker = true); revoke select on participants from reader",
                lacks("SELECT on public.participants"),
            ),
            (
                &format!(
                    "{enable}; alter view active set (security_invoker = true);
                    create policy own on participants to reader using (current_user = 'a')"
                ),
                Ok(own),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn functions_are_looked_into_where_that_is_certain() {
    let f = |options: &str, body: &str| {
        format!(
            "create function f(a text) returns text {options} as $$ {body} $$; create policy p on public.messages using (f(body) = 'x')"
        )
    };
    let shown = |inner: &str| format!("texteq({inner}, 'x')");
    let strict = shown("case(or(isnull(@0.0.7)) => null; @0.0.7)");
    let plain = shown("@0.0.7");
    let first = shown("first([1] where and(texteq(@0.0.1, @1.0.7)) gives @0.0.1)");
    let scalar = shown("scalar([1] where and(texteq(@0.0.1, @1.0.7)) gives @0.0.1)");
    let user = shown("case(texteq(@0.0.7, 'y') => upper(name_text('postgres')); null)");
    let caller = shown("case(texteq(@0.0.7, 'y') => upper(name_text('reader')); null)");
    let joined = shown("textcat(@0.0.7, 23->text(1))");
    let body = Err((Reason::Body, "public.f"));
    let all = [
        (f("language sql", "select a"), Ok(plain.as_str())),
        (f("language sql volatile", "select $1"), Ok(&plain)),
        (f("language sql strict", "select a"), Ok(&strict)),
        (f("language plpgsql", "begin return a; end"), Ok(&plain)),
        (f("language sql", "select role from profiles where role = a"), Ok(&first)),
        (
            f("language plpgsql", "begin return (select p.role from profiles p where p.role = a); end"),
            Ok(&scalar),
        ),
        (f("language plpgsql", "begin a := 'b'; return a; end"), body),
        (f("language sql", "select 'b'::text; select a"), body),
        (f("language sql set row_security = off", "select a"), Err((Reason::Setting, "row_security"))),
        (f("language sql set search_path = public", "select a"), Ok(&plain)),
        (f("language sql", "select a || clock_timestamp()"), Err((Reason::Volatile, "clock_timestamp"))),
        (f("language plpgsql", "begin return f(a); end"), Err((Reason::TooLarge, "public.f"))),
        (
            f("language sql security definer", "select case when a = 'y' then upper(current_user) end"),
            Ok(&user),
        ),
        (f("language sql", "select case when a = 'y' then upper(current_user) end"), Ok(&caller)),
        (f("language sql", "select a || 1"), Ok(&joined)),
    ];
    let all: Vec<_> = all.iter().map(|(sql, expected)| (sql.as_str(), *expected)).collect();
    check(&all).await;
}

#[tokio::test]
async fn a_text_under_a_foreign_search_path_is_not_looked_into() {
    let outer = |options: &str| {
        format!(
            "create function f() returns boolean language sql {options} as $$ select public.g() $$;
            create policy p on public.messages using (f())"
        )
    };
    let inner = "create function g() returns boolean language sql as
        $$ select exists (select from participants) $$";
    let builtin = "create function g() returns boolean language sql as $$ select upper('a') = 'A' $$";
    let exists = "exists([] where true gives )";
    let all = [
        (format!("{inner}; {}", outer("")), Ok(exists)),
        (format!("{inner}; {}", outer("set search_path = public")), Err((Reason::Body, "public.g"))),
        (
            format!("{inner}; alter function g set search_path = public; {}", outer("set search_path = ''")),
            Ok(exists),
        ),
        (format!("{builtin}; {}", outer("set search_path = ''")), Ok("texteq(upper('a'), 'A')")),
    ];
    let all: Vec<_> = all.iter().map(|(sql, expected)| (sql.as_str(), *expected)).collect();
    check(&all).await;
}

#[tokio::test]
async fn what_raises_over_other_rows_is_refused_and_over_the_judged_row_not() {
    check(&[
        ("body::uuid = sender_id", Ok("uuid_eq(text->uuid(@0.0.7), @0.0.2)")),
        (
            "exists (select from participants where note::uuid = user_id)",
            Err((Reason::Raises, "1043->uuid")),
        ),
        (
            "exists (select from participants where user_id = body::uuid)",
            Ok("and(or(isnull(text->uuid(@0.0.7)), not(isnull(text->uuid(@0.0.7)))), exists([1] where and(uuid_eq(@0.0.1, text->uuid(@1.0.7))) gives ))"),
        ),
        ("ignores(body::uuid) and ignores(auth.uid()) and ignores(sender_id)", Ok("and(or(isnull(text->uuid(@0.0.7)), not(isnull(text->uuid(@0.0.7)))), or(isnull(UID), not(isnull(UID))), and(true, true, true))")),
        (
            "not is_participant(conversation_id, body::uuid)",
            Ok("and(or(isnull(text->uuid(@0.0.7)), not(isnull(text->uuid(@0.0.7)))), not(exists([0, 1] where and(and(uuid_eq(@0.0.0, @1.0.1), uuid_eq(@0.0.1, text->uuid(@1.0.7)))) gives )))"),
        ),
        (
            "sender_id in (select note::uuid from participants)",
            Err((Reason::Raises, "1043->uuid")),
        ),
        (
            "(select role from profiles where id = sender_id)::uuid = sender_id",
            Ok("uuid_eq(text->uuid(scalar([0, 1] where and(uuid_eq(@0.0.0, @1.0.2)) gives @0.0.1)), @0.0.2)"),
        ),
        (
            "exists (select from participants p where (select org_id from profiles where id = p.user_id) = org_id)",
            Err((Reason::Raises, "a subquery that gives one value")),
        ),
    ])
    .await;
}

#[tokio::test]
async fn functions_that_repeat_their_arguments_end_at_a_bound() {
    let mut sql =
        String::from("create function f0(a boolean) returns boolean language sql as $$ select a and a $$;");
    for depth in 1..14 {
        let inner = depth - 1;
        sql += &format!(
            "create function f{depth}(a boolean) returns boolean language sql as
            $$ select public.f{inner}(a and a) $$;"
        );
    }
    let policy = |depth| format!("{sql} create policy p on public.messages using (f{depth}(n = 1))");
    for major in majors() {
        let subject = Subject::create(major).await;
        assert!(subject.policy(&policy(5)).await.is_ok(), "on {major}");
        let found = subject.policy(&policy(13)).await;
        assert_eq!(found, Err((Reason::TooLarge, "the policy".to_owned())), "on {major}");
        let deep = format!("{}n = 1{}", "not (".repeat(150), ")".repeat(150));
        let found = subject.using(&deep).await;
        assert_eq!(found, Err((Reason::TooLarge, "the policy".to_owned())), "on {major}");
    }
}

#[tokio::test]
async fn policies_are_those_that_bind_the_role_for_the_command() {
    let sql = "create policy a on messages using (true);
        create policy b on messages to keeper using (true);
        create policy c on messages for update using (true);
        create policy d on messages as restrictive for select to reader, keeper using (n = 1);
        create policy e on messages for insert with check (n = 2);
        create policy f on messages using (n = 3) with check (n = 4);
        create policy g on messages for all with check (n = 5)";
    for major in majors() {
        let subject = Subject::create(major).await;
        let source = subject.source(sql).await;
        let select = rules(&source, "public.messages");
        let names = |named: &[rowcast::policy::program::Rule]| -> Vec<String> {
            let shown = |rule: &rowcast::policy::program::Rule| {
                format!("{}: {}", rule.policy, registry::brief(rule.condition.as_ref().unwrap()))
            };
            named.iter().map(shown).collect()
        };
        assert_eq!(names(&select.permissive), ["a: true", "f: int4eq(@0.0.13, 3)"], "on {major}");
        assert_eq!(names(&select.restrictive), ["d: int4eq(@0.0.13, 1)"], "on {major}");
        assert_eq!(*select.program().columns, [13]);
        let id = *source.relations.iter().find(|(_, found)| &*found.name == "messages").unwrap().0;
        let role = *source.roles.iter().find(|(_, role)| &*role.name == "reader").unwrap().0;
        let insert = compile::rules(&source, id, role, Command::Insert, registry::find);
        let expected = ["a: true", "e: int4eq(@0.0.13, 2)", "f: int4eq(@0.0.13, 4)", "g: int4eq(@0.0.13, 5)"];
        assert_eq!(names(&insert.permissive), expected, "on {major}");
        assert!(insert.restrictive.is_empty());

        let unknown = compile::rules(&source, id, 1, Command::Select, registry::find);
        assert!(unknown.program().is_partial(), "a role that was not read is asked about");
        let newer = rowcast::policy::source::Source { major: 19, ..source };
        let newer = rules(&newer, "public.messages");
        assert!(
            newer
                .permissive
                .iter()
                .all(|rule| rule.condition.as_ref().is_err_and(|it| it.reason == Reason::Version))
        );
    }
}

#[tokio::test]
async fn the_relations_that_are_read_are_listed_with_their_columns() {
    for major in majors() {
        let subject = Subject::create(major).await;
        let source = subject.source(IN).await;
        let program = rules(&source, "public.messages").program();
        assert_eq!(*program.columns, [1]);
        let [(relation, columns)] = &program.relations[..] else { panic!("{program:?}") };
        assert_eq!(&*source.relations[relation].name, "participants");
        assert_eq!(**columns, [0, 1]);
    }
}

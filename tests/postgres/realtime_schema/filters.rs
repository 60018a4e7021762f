//! Filters of subscriptions: `check_equality_op` against Postgres's own operators, and what is refused.

use super::{Listener, list, prepared, value};
use crate::support::majors;

/// Values of one type each, some equal, some not, and null; a list, and patterns where the type has them.
const VALUES: &[(&str, &[&str], &str)] = &[
    ("integer", &["1", "2", "-1"], "{1,3}"),
    ("bigint", &["9007199254740993", "9007199254740992"], "{9007199254740993}"),
    ("numeric", &["1.0", "1.00", "NaN"], "{1,NaN}"),
    ("double precision", &["0", "-0", "NaN"], "{0}"),
    ("boolean", &["t", "false"], "{true}"),
    ("text", &["a", "A", "a_c", "", "it''s"], "{a,\"it''s\"}"),
    ("varchar", &["a", "ab"], "{ab}"),
    ("char(3)", &["abc", "ab ", "ab"], "{ab}"),
    ("uuid", &["a0000000-0000-4000-8000-000000000001", "A0000000-0000-4000-8000-000000000001"], "{}"),
    ("timestamptz", &["2026-01-01 00:00+00", "2026-01-01 01:00+01"], "{2026-01-01 00:00+00}"),
    ("jsonb", &["{\"a\":1}", "{ \"a\": 1 }", "1"], "{1}"),
    ("integer[]", &["{1,2}", "{1}"], "{}"),
    ("public.mood", &["sad", "happy"], "{sad}"),
    ("public.\"Odd name\"", &["x", "y"], "{x}"),
];

#[tokio::test]
async fn comparisons_are_those_of_postgres() {
    let comparisons = [("eq", "="), ("neq", "<>"), ("lt", "<"), ("lte", "<="), ("gt", ">"), ("gte", ">=")];
    for major in majors() {
        let database = prepared(major).await;
        database
            .execute(
                "create type public.mood as enum ('sad', 'happy'); create domain public.\"Odd name\" as text",
            )
            .await;
        for &(kind, values, set) in VALUES {
            let quoted = values.iter().map(|value| format!("'{value}'")).chain(["null".to_owned()]);
            let quoted: Vec<_> = quoted.collect();
            for (one, two) in quoted.iter().flat_map(|one| quoted.iter().map(move |two| (one, two))) {
                let typed = |value: &str| format!("({value})::{kind}");
                let mut cases: Vec<(&str, &str, String)> = comparisons
                    .iter()
                    .map(|&(op, operator)| {
                        (op, two.as_str(), format!("{} {operator} {}", typed(one), typed(two)))
                    })
                    .collect();
                cases.push(("isdistinct", two, format!("{} is distinct from {}", typed(one), typed(two))));
                let list = format!("'{set}'");
                if kind != "integer[]" {
                    cases.push(("in", &list, format!("{} = any ({list}::{kind}[])", typed(one))));
                }
                cases.push(("is", "'null'", format!("{} is null", typed(one))));
                for (op, operand, expected) in cases {
                    check(&database.client, op, kind, one, operand, &expected).await;
                }
            }
        }
        for (op, operator) in [("like", "like"), ("ilike", "ilike"), ("match", "~"), ("imatch", "~*")] {
            for kind in ["text", "varchar", "char(3)", "name"] {
                for pattern in ["a%", "A%", "a_c", "^a", "C$", "\\%"] {
                    for one in ["'abc'", "'ABC'", "''", "null"] {
                        let expected = format!("{one}::{kind}::text {operator} '{pattern}'");
                        check(&database.client, op, kind, one, &format!("'{pattern}'"), &expected).await;
                    }
                }
            }
        }
        for word in ["true", "false", "unknown", "null"] {
            for one in ["'t'", "'f'", "null"] {
                check(
                    &database.client,
                    "is",
                    "boolean",
                    one,
                    &format!("'{word}'"),
                    &format!("{one}::boolean is {word}"),
                )
                .await;
            }
        }
        check(&database.client, "like", "bytea", "'\\x6162'", "'a%'", "'\\x6162'::bytea like 'a%'::bytea")
            .await;
    }
}

/// Both forms, negated and not, against the expression itself.
async fn check(client: &tokio_postgres::Client, op: &str, kind: &str, one: &str, two: &str, expected: &str) {
    let call = |rest: &str| format!("realtime.check_equality_op('{op}', '{kind}', {one}, {two}{rest})");
    let row = client
        .query_one(
            &format!(
                "select {}, {}, {}, {expected}, not ({expected})",
                call(""),
                call(", false"),
                call(", true")
            ),
            &[],
        )
        .await
        .unwrap_or_else(|error| panic!("{op} {kind} {one} {two}: {error:?}"));
    let found: [Option<bool>; 5] = std::array::from_fn(|column| row.get(column));
    assert_eq!(found[..3], [found[3], found[3], found[4]], "{op} {kind} {one} {two}");
}

#[tokio::test]
async fn a_row_is_visible_if_every_filter_surely_holds() {
    for major in majors() {
        let database = prepared(major).await;
        for (filters, expected) in [
            ("null", true),
            ("'{}'", true),
            ("array[('id', 'eq', '1', false)]", true),
            ("array[('id', 'eq', '2', false)]", false),
            ("array[('id', 'eq', '2', true)]", true),
            ("array[('id', 'eq', '1', false), ('body', 'eq', 'b', false)]", false),
            ("array[('gone', 'eq', '1', false)]", false),
            ("array[('gone', 'is', 'null', false)]", false),
            ("array[('body', 'eq', 'a', false)]", false),
            ("array[('body', 'eq', 'a', true)]", false),
            ("array[('body', 'is', 'null', false)]", true),
            ("array[('body', 'isdistinct', 'a', null)]", true),
        ] {
            let query = format!(
                "select realtime.is_visible_through_filters(
                     array[('id', 'int4', 23, '1', true, true), ('body', 'text', null, 'null', false, true)]::realtime.wal_column[],
                     {filters}::realtime.user_defined_filter[]
                 )::text"
            );
            assert_eq!(
                value(&database.client, &query).await.unwrap(),
                expected.to_string(),
                "{filters} on {major}"
            );
        }
    }
}

#[tokio::test]
async fn subscriptions_are_checked_and_sorted() {
    for major in majors() {
        let database = prepared(major).await;
        let session = Listener::connect(&database).await;
        session
            .run(
                "create table public.things (id int primary key, open boolean, title varchar(9), doc json, secret text);
                 grant select (id, open, title, doc) on public.things to anon;",
            )
            .await;
        let insert = |role: &str, filters: &str, selected: &str| {
            format!(
                "insert into realtime.subscription (subscription_id, entity, claims, filters, selected_columns)
                 values (gen_random_uuid(), 'public.things', '{{\"role\":\"{role}\"}}',
                     array[{filters}]::realtime.user_defined_filter[], {selected})"
            )
        };
        let many = format!("('id', 'in', '{{{}}}', false)", vec!["1"; 101].join(","));
        for (filters, expected) in [
            ("('none', 'eq', '1', false)", "invalid column for filter none"),
            ("('secret', 'eq', '1', false)", "invalid column for filter secret"),
            ("('id', 'eq', 'x', false)", "invalid input syntax for type integer: \"x\""),
            ("('id', 'in', '{x}', false)", "invalid input syntax for type integer: \"x\""),
            (&*many, "too many values for `in` filter. Maximum 100"),
            (
                "('id', 'like', '1', false)",
                "operator like requires a text-compatible column type, got integer",
            ),
            ("('id', 'is', 'true', false)", "is true filter requires a boolean column, got integer"),
            (
                "('open', 'is', 'maybe', false)",
                "invalid value for is filter: must be null, true, false, or unknown",
            ),
            (
                "('title', 'match', '[', false)",
                "invalid regular expression for match filter: invalid regular expression: brackets [] not balanced",
            ),
            ("('doc', 'eq', '1', false)", "operator does not exist: json = json"),
        ] {
            assert_eq!(session.fail(&insert("anon", filters, "null")).await, expected, "on {major}");
        }
        assert_eq!(
            session.fail(&insert("nobody_here", "", "null")).await,
            "role \"nobody_here\" does not exist"
        );
        assert_eq!(session.fail(&insert("anon", "", "'{secret}'")).await, "invalid column for select secret");
        let filters = "('title', 'like', 'a%', false), ('id', 'in', '{1,2}', false), ('id', 'eq', '1', true)";
        session.run(&insert("anon", filters, "'{title,id}'")).await;
        let stored = value(
            &session.client,
            "select concat_ws(' ', filters, selected_columns, claims_role, action_filter) from realtime.subscription",
        )
        .await;
        let expected = r#"{"(id,eq,1,t)","(id,in,\"{1,2}\",f)","(title,like,a%,f)"} {id,title} anon *"#;
        assert_eq!(stored.as_deref(), Some(expected), "on {major}");
        // Its rows hold other people's claims.
        for (role, expected) in [("anon", "0"), ("authenticated", "0"), ("service_role", "1")] {
            session.run(&format!("set role {role}")).await;
            let count = "select count(*)::text from realtime.subscription";
            assert_eq!(value(&session.client, count).await.unwrap(), expected, "{role} on {major}");
            let denied = session.fail(&insert("anon", "", "null")).await;
            assert_eq!(denied, "permission denied for table subscription", "{role} on {major}");
        }
    }
}

#[tokio::test]
async fn names_and_values_are_told_as_they_are_elsewhere() {
    for major in majors() {
        let database = prepared(major).await;
        database.execute("create table public.\"a b,c.d\\e\" ()").await;
        let told = list(
            &database.client,
            r#"select unnest(array[
                realtime.wal2json_escape_identifier(E'a b,c.d\\e\tf'),
                realtime.quote_wal2json('public."a b,c.d\e"'),
                realtime.to_regrole('anon')::text,
                realtime.cast('1', 'integer')::text,
                realtime.cast('abc', 'char(3)')::text,
                realtime.cast('{1,2}', 'integer[]')::text,
                realtime.cast('\x01', 'bytea')::text
            ])"#,
        )
        .await;
        let escaped = "a\\ b\\,c\\.d\\\\e";
        let expected = [
            &*format!("{escaped}\\\tf"),
            &*format!("public.{escaped}"),
            "anon",
            "1",
            r#""abc""#,
            "[1, 2]",
            r#""\\x01""#,
        ];
        assert_eq!(told, expected, "on {major}");
    }
}

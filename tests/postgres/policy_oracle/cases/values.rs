//! Values: arrays, text, numbers, times, and the operators over them.

use super::{By, Seen, Session};

/// Not every build has the extension.
const CITEXT: &str = "do $$ begin create extension citext schema public;
    exception when undefined_file or feature_not_supported then create domain citext as text; end $$";

/// Tries each policy by itself on a table of these columns and rows.
async fn each(by: By, columns: &str, rows: &str, policies: &[&str]) {
    let table =
        format!("{CITEXT}; create table t (id int primary key, {columns}); insert into t values {rows}");
    Session::open().await.each(by, &table, policies).await;
}

#[tokio::test]
async fn case_28_arrays_with_nulls_dimensions_and_bounds() {
    each(
        By::Anyone,
        "m uuid[], n text[]",
        "(1, array['{1}','{2}']::uuid[], array['a']), (2, array['{2}',null]::uuid[], array['b', null]), (3, '{}', '{}'),
         (4, null, null), (5, array[['{1}','{3}'],['{2}',null]]::uuid[], array[['a','b'],['c','d']]),
         (6, '[0:1]={{1},{2}}'::uuid[], '[3:4]={a,b}'), (7, array[null]::uuid[], array[null]::text[])",
        &[
            "auth.uid() = any (m)",
            "not (auth.uid() = any (m))",
            "auth.uid() <> all (m)",
            "auth.uid() <> any (m)",
            "not (auth.uid() <> all (m))",
            "auth.uid() = any (coalesce(m, '{}'))",
            "m @> array[auth.uid()]",
            "array[auth.uid()] <@ m",
            "m && array[auth.uid(), null]",
            "not (m && array[auth.uid()])",
            "'a' = any (n)",
            "n @> array['a']",
            "n <@ array['a', 'b', 'c']",
            "n = array['a']",
            "(auth.uid() = any (m)) is null",
            "cardinality(m) = 2",
            "array_length(m, 1) = 2",
        ],
    )
    .await;
}

#[tokio::test]
async fn case_28b_membership_in_lists_and_queries_with_nulls() {
    let mut session = Session::open().await;
    each(
        By::Anyone,
        "a int, b int",
        "(1, 1, 1), (2, 2, null), (3, null, 3), (4, 4, 4), (5, null, null)",
        &[
            "a in (1, null)",
            "a not in (1, 2)",
            "a not in (1, null) is null",
            "(a not in (1, 2)) is not true",
            "a in (select b from (values (1), (4)) x(b))",
            "b is not null and a = any (array[b, 1])",
        ],
    )
    .await;
    for policy in [
        "a in (select v from lists where k = 1)",
        "a not in (select v from lists where k = 1)",
        "a not in (select v from lists where k = 2)",
        "(a not in (select v from lists where k = 2)) is null",
        "a not in (select v from lists where k = 3)",
        "(a in (select v from lists where k = 2)) is not true",
        "a = all (select v from lists where k = 3)",
        "a >= all (select v from lists where k = 1)",
        "a < any (select v from lists where k = 1)",
        "a = (select v from lists where k = 4)",
        "(select v from lists where k = 3) is null and a = 1",
        "exists (select from lists where k = a)",
        "not exists (select from lists where k = a)",
    ] {
        let schema = format!(
            "create table lists (k int, v int); insert into lists values (1, 1), (1, 4), (2, 1), (2, null), (4, 4);
             create table t (id int primary key, a int);
             insert into t values (1, 1), (2, 2), (3, null), (4, 4), (5, 3); create policy p on t using ({policy})"
        );
        let seen =
            if policy == "a not in (select v from lists where k = 3)" { Seen::All } else { Seen::Some };
        let seen = match policy {
            "a = all (select v from lists where k = 3)" => Seen::All,
            // One that is NULL throughout, or that a NULL spoils.
            "a not in (select v from lists where k = 2)" => Seen::Nothing,
            _ => seen,
        };
        session.case(seen, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_29_identifiers_as_text_are_lower_case() {
    each(
        By::Anyone,
        "n text[], s text, u uuid",
        "(1, array['00000000-0000-0000-0000-00000000000a'], '{1}', '{1}'), (2, array['{1}'], '{2}', '{2}'),
         (3, array[upper('{2}')], upper('{1}'), null), (4, null, null, '{1}'), (5, array['{1}', null], '{' || '{1}' || '}', '{3}')",
        &[
            "auth.uid()::text = any (n)",
            "auth.uid()::text = s",
            "(auth.jwt() ->> 'sub') = s",
            "u::text = s",
            "upper(auth.uid()::text) = s",
            "lower(s) = auth.uid()::text",
            "auth.uid()::text like left(s, 36) || '%'",
        ],
    )
    .await;
}

#[tokio::test]
async fn case_30_text_of_either_case_is_compared_as_its_type_says() {
    each(
        By::Anyone,
        "e text, x citext",
        "(1, 'ann@x.test', 'ann@x.test'), (2, 'Ann@x.test', 'Ann@x.test'), (3, 'bob@x.test', 'ANN@X.TEST'), (4, null, null), (5, 'é', 'É')",
        &[
            "x = auth.jwt() ->> 'email'",
            "x = (auth.jwt() ->> 'email')::citext",
            "e::citext = 'ANN@X.TEST'::citext",
            "x = 'É'::citext or x = 'é'",
            "lower(e) = lower(auth.jwt() ->> 'email')",
            "x::text = e",
            "x <> 'ann@x.test'",
        ],
    )
    .await;
}

#[tokio::test]
async fn case_31_collations_decide_what_is_equal_and_what_comes_first() {
    let mut session = Session::open().await;
    for policy in [
        "s = 'abc'",
        "i = 'abc'",
        "i <> 'abc'",
        "i in ('ABC', 'x')",
        "s < 'abd'",
        "c < 'b'",
        "c collate \"C\" > 'Z'",
        "s collate insensitive = 'ABC'",
        "lower(i) = 'abc'",
    ] {
        let schema = format!(
            "do $$ begin
                 create collation insensitive (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             -- Not every build has ICU.
             exception when others then create collation insensitive from \"C\"; end $$;
             create table t (id int primary key, s text, c text collate \"C\", i text collate insensitive);
             insert into t values (1, 'abc', 'abc', 'abc'), (2, 'ABC', 'ABC', 'ABC'), (3, null, null, null), (4, 'é', 'é', 'É'), (5, 'x', 'x', 'x');
             create policy p on t using ({policy})"
        );
        session.case(Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_32_blanks_at_the_end_count_for_some_types() {
    each(
        By::Anyone,
        "v varchar(4), b char(4), n name, c \"char\", s text",
        "(1, 'a', 'a', 'a', 'a', 'a'), (2, 'a ', 'a ', 'a ', 'b', 'a '), (3, null, null, null, null, null), (4, 'ab', 'ab', 'ab', 'a', 'a   ')",
        &[
            "v = 'a'", "b = 'a'", "b = s", "b::text = s", "v = s", "n = 'a'", "n = s", "c = 'a'", "b = v", "b in ('a', 'x')",
            "length(b) = 1", "v || '' = s", "b <> 'a'", "v = any (array['a', 'b'])",
        ],
    )
    .await;
}

#[tokio::test]
async fn case_33_numbers_of_every_type_are_compared_by_value() {
    each(
        By::Anyone,
        "a int2, b int4, c int8, n numeric, f float8, g float4",
        "(1, 1, 1, 1, 1.0, 1, 1), (2, 1, 2, 3, 1.00, '-0', 0.1), (3, null, null, null, null, null, null),
         (4, -1, 2147483647, 9007199254740993, 'NaN', 'NaN', 'NaN'), (5, 0, 0, 9007199254740992, 0.10, 0.1, '-0'), (6, 3, 3, 3, 3, 'Infinity', '-Infinity')",
        &[
            "a = b", "b = c", "a < c", "n = 1", "n = 1.0", "n = b", "c = 9007199254740993", "f = 0", "n > 5", "f = 'NaN'",
            "c = f", "g = 0.1::float4", "f = 0.1", "n = 0.1", "n in (1, 0.100)", "b + 1 = c", "b between 1 and 3", "abs(a) = 1",
            "c % 2 = 1", "n::int = 1 and n <> 'NaN'", "a <> b", "f >= 3", "n is distinct from 1.000",
        ],
    )
    .await;
}

#[tokio::test]
async fn case_34_labels_of_an_enum_are_equal_and_ordered_as_they_were_made() {
    let mut session = Session::open().await;
    let enums =
        "create type mood as enum ('sad', 'ok', 'happy'); alter type mood add value 'fine' before 'happy';
        alter type mood rename value 'ok' to 'well'; commit";
    for policy in [
        "m = 'happy'",
        "m in ('sad', 'well')",
        "m > 'well'",
        "m <= 'fine'",
        "m::text = 'well'",
        "m <> 'sad'",
        "m = (auth.jwt() ->> 'mood')::mood or m = 'sad'",
        "m = any (array['sad', 'fine']::mood[])",
        "m is null",
        "m between 'well' and 'fine'",
    ] {
        let schema = format!(
            "{enums}; create table t (id int primary key, m mood);
             insert into t values (1, 'sad'), (2, 'well'), (3, 'fine'), (4, 'happy'), (5, null);
             create policy p on t using ({policy})"
        );
        session.case(Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_35_a_domain_is_compared_as_its_base() {
    let mut session = Session::open().await;
    for policy in ["u = auth.uid()", "u = auth.uid()::userid", "u in (select auth.uid())", "e = 'a'", "n > 1"]
    {
        let schema = format!(
            "create domain userid as uuid; create domain mail as text check (value <> ''); create domain few as int4;
             create table t (id int primary key, u userid, e mail, n few);
             insert into t values (1, '{{1}}', 'a', 1), (2, '{{2}}', 'b', 2), (3, null, null, null);
             create policy p on t using ({policy})"
        );
        session.case(Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_36_moments_against_now() {
    each(
        By::Anyone,
        "at timestamptz, local timestamp, day date",
        "(1, now() - interval '1 hour', now() - interval '1 hour', current_date), (2, now() + interval '1 day', now() + interval '1 day', current_date + 1),
         (3, 'infinity', 'infinity', 'infinity'), (4, '-infinity', '-infinity', '-infinity'), (5, null, null, null),
         (6, now() - interval '40 days', now() - interval '40 days', current_date - 40)",
        &[
            "at > now() - interval '1 day'", "at < now()", "now() < at", "at between now() - interval '1 month' and now() + interval '1 week'",
            "at is null or at > now()", "local < now()", "local > (now() at time zone 'utc')", "day = current_date", "day > '2020-01-01'",
            "at = 'infinity'", "at < '2020-01-01 00:00:00+02'", "at > current_timestamp - interval '2 hours 30 minutes'",
            "at::date = current_date", "extract(year from at) > 2000", "local::timestamptz < now()", "at > localtimestamp",
            "age(now(), at) < interval '2 days'", "date_trunc('day', at) < now()",
        ],
    )
    .await;
}

#[tokio::test]
async fn case_37_conditions_in_three_values() {
    let policies = [
        "case when a then b else not b end",
        "case when a then true when b then null else false end",
        "case a when true then b when false then not b end",
        "coalesce(a, b)",
        "coalesce(a, b, true)",
        "nullif(a, b)",
        "nullif(a, b) is null",
        "a is true",
        "a is not true",
        "a is false",
        "a is not false",
        "a is unknown",
        "a is not unknown",
        "a is distinct from b",
        "a is not distinct from b",
        "not a",
        "not (a and b)",
        "not (a or b)",
        "(a and b) is null",
        "(a or b) is null",
        "a = b",
        "a <> b",
        "a < b",
        "not (a is distinct from true) or b",
        "greatest(a, b)",
        "a is null",
        "b is not null",
        "(a, b) is null",
        "(a, b) is not null",
    ];
    let rows = "(1, true, true), (2, true, false), (3, true, null), (4, false, true), (5, false, false), (6, false, null),
        (7, null, true), (8, null, false), (9, null, null)";
    each(By::Anyone, "a bool, b bool", rows, &policies).await;
}

#[tokio::test]
async fn case_38_rows_are_compared_column_by_column() {
    let mut session = Session::open().await;
    for policy in [
        "(a, b) = (1, 2)",
        "(a, b) in ((1, 2), (2, null))",
        "(a, b) in (select x, y from pairs)",
        "(a, b) not in (select x, y from pairs where y is not null)",
        "(a, b) < (1, 3)",
        "(a, b) is distinct from (1, 2)",
        "row(a, b) = row(1, 2)",
        "(a, b) <> (1, 2)",
    ] {
        let schema = format!(
            "create table pairs (x int, y int); insert into pairs values (1, 2), (2, null);
             create table t (id int primary key, a int, b int);
             insert into t values (1, 1, 2), (2, 2, 1), (3, 2, null), (4, null, 2), (5, null, null), (6, 3, 3); create policy p on t using ({policy})"
        );
        session.case(Seen::Some, By::Anyone, &schema).await;
    }
}

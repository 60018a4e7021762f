//! What is not compiled, and why.

use rowcast::policy::uncompiled::Reason;

use super::check;

#[tokio::test]
async fn what_cannot_be_known_has_its_reason() {
    check(&[
        ("random() < 1", Err((Reason::Volatile, "random"))),
        ("clock_timestamp() > created_at", Err((Reason::Volatile, "clock_timestamp"))),
        ("abs(n) = 1", Err((Reason::Function, "abs"))),
        ("n + 1 = 2", Err((Reason::Function, "int4pl"))),
        ("body < 'a'", Err((Reason::Collation, "text_lt"))),
        ("current_setting('app.tenant', true) = 'a'", Err((Reason::Setting, "app.tenant"))),
        ("current_setting('request.jwt.claims') = 'a'", Err((Reason::Setting, "request.jwt.claims"))),
        ("session_user = 'a'", Err((Reason::Setting, "SESSION_USER"))),
        ("messages is not null", Err((Reason::Row, "a row as a value"))),
        ("messages.ctid is null", Err((Reason::Row, "a system column of messages"))),
        ("messages.tableoid = 1", Err((Reason::Row, "a system column of messages"))),
        ("twice = 2", Err((Reason::Row, "the generated column messages.twice"))),
        ("to_jsonb(messages) ? 'a'", Err((Reason::Row, "the whole row of messages"))),
        ("title = 'a'::short", Err((Reason::Type, "public.short (a domain)"))),
        ("created_at::date = current_date", Err((Reason::Function, "date"))),
        ("participant_ids[1] = sender_id", Err((Reason::Syntax, "the node SUBSCRIPTINGREF"))),
        ("row(n, n) < row(1, 2)", Err((Reason::Row, "a row as a value"))),
        ("array[[n]] is null", Err((Reason::Type, "an array of arrays"))),
    ])
    .await;
}

#[tokio::test]
async fn queries_of_other_shapes_are_refused() {
    let refused = |about| Err((Reason::Query, about));
    check(&[
        ("exists (with q as (select 1) select from q)", refused("WITH")),
        ("(select count(*) from participants) > 0", refused("an aggregate")),
        ("exists (select from participants group by user_id)", refused("GROUP BY")),
        ("exists (select 1 union select 2)", refused("UNION, INTERSECT or EXCEPT")),
        ("exists (select from participants offset 1)", refused("OFFSET")),
        ("exists (select from participants limit 0)", refused("LIMIT")),
        ("sender_id in (select user_id from participants limit 1)", refused("LIMIT")),
        ("sender_id = (select user_id from participants limit 2)", refused("LIMIT")),
        ("exists (select from participants p left join profiles on true)", refused("an outer join")),
        ("exists (select from participants tablesample system (10))", refused("TABLESAMPLE")),
        ("exists (select from participants for update)", refused("FOR UPDATE")),
        ("sender_id in (values (receiver_id))", refused("VALUES")),
        ("exists (select rank() over () from participants)", refused("WINDOW")),
        ("exists (select distinct on (user_id) 1 from participants)", refused("DISTINCT ON")),
        ("(sender_id, n) = (select id, 1 from profiles)", refused("a comparison of rows")),
        ("n in (select generate_series(1, 3))", Err((Reason::Function, "generate_series"))),
        (
            "participant_ids = array(select user_id from participants)",
            refused("the order of ARRAY(SELECT …)"),
        ),
        ("exists (select from participants order by random())", refused("ORDER BY an expression")),
        ("exists (select from participants, (select user_id from participants limit 1) x)", refused("LIMIT")),
    ])
    .await;
}

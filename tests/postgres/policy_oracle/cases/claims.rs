//! Claims, errors in them, and what they do to callers who are otherwise alike.

use serde_json::json;

use super::super::callers::{Caller, odd, signed, user, usual, uuid};
use super::{By, GUARDED, Seen, Session, case_for};

const OWN: &str = "create table t (id int primary key, own uuid, org uuid, open bool);
    insert into t values (1, '{1}', '{7}', false), (2, '{2}', '{8}', null), (3, null, null, true), (4, '{1}', '{8}', true);";

fn everybody() -> Vec<Caller> {
    let mut callers = usual();
    callers.extend(odd("authenticated", 1));
    callers.extend(odd("anon", 2));
    callers
}

#[tokio::test]
async fn case_23_claims_of_every_kind_mean_what_postgres_makes_of_them() {
    let mut session = Session::open().await;
    for policy in [
        "own = auth.uid()",
        "own = (select auth.uid())",
        "own::text = auth.jwt() ->> 'sub'",
        "own::text = (auth.jwt()::json ->> 'sub')",
        "auth.uid() is not null",
        "auth.role() is null",
        "(auth.jwt() -> 'sub') is not null and open",
    ] {
        let schema = format!("{OWN} create policy p on t using ({policy}); {GUARDED}");
        session.case_for(&everybody(), Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_24_a_claim_that_is_malformed_and_not_needed_is_an_error_all_the_same() {
    let schema = format!(
        "{OWN} create policy mine on t using (own = auth.uid());
         create policy org on t using (org = (auth.jwt() ->> 'org_id')::uuid); {GUARDED}"
    );
    case_for(everybody(), Seen::Some, By::Anyone, &schema).await;
}

#[tokio::test]
async fn case_25_an_error_behind_what_is_already_decided_never_shows_a_row() {
    let mut session = Session::open().await;
    for policy in [
        "open or org = (auth.jwt() ->> 'org_id')::uuid",
        "org = (auth.jwt() ->> 'org_id')::uuid or open",
        "open or org = (select (auth.jwt() ->> 'org_id')::uuid)",
        "not open and org = (auth.jwt() ->> 'org_id')::uuid",
        "id > 1 or (auth.jwt() ->> 'org_id')::uuid is null",
        "case when open then true else org = (auth.jwt() ->> 'org_id')::uuid end",
        "coalesce(open, org = (auth.jwt() ->> 'org_id')::uuid)",
        "open or 1 / (id - 3) > 0",
        "id = 4 or own::text::int = 1",
    ] {
        let mut callers = everybody();
        callers.push(signed("authenticated", json!({"sub": uuid(1), "org_id": "bad"})));
        let schema = format!("{OWN} create policy p on t using ({policy}); {GUARDED}");
        session.case_for(&callers, Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_26_members_of_claims_that_are_null_missing_or_nested() {
    let mut session = Session::open().await;
    let values = [
        json!(null),
        json!("admin"),
        json!(7),
        json!(true),
        json!({"role": "admin"}),
        json!({"role": null}),
        json!({"role": {"role": "admin"}}),
        json!(["admin"]),
        json!([]),
        json!(""),
    ];
    let mut callers = vec![user(1)];
    callers
        .extend(values.map(|value| signed("authenticated", json!({"sub": uuid(1), "app_metadata": value}))));
    for policy in [
        "(auth.jwt() -> 'app_metadata' ->> 'role') = n",
        "(auth.jwt() ->> 'app_metadata') = n",
        "(auth.jwt() -> 'app_metadata') is null and n = 'admin'",
        "(auth.jwt() ->> 'app_metadata') is null and n = 'admin'",
        "(auth.jwt() -> 'app_metadata' -> 'role' ->> 'role') = n",
        "(auth.jwt() -> 'app_metadata' ->> 0) = n",
        "(auth.jwt() #>> '{app_metadata,role}') = n",
        "((auth.jwt() -> 'app_metadata') ->> 'role') is distinct from n",
        "(auth.jwt() -> 'app_metadata') = to_jsonb(n)",
    ] {
        let schema = format!(
            "create table t (id int primary key, n text); insert into t values (1, 'admin'), (2, '7'), (3, null), (4, '');
             create policy p on t using ({policy}); {GUARDED}"
        );
        session.case_for(&callers, Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_27_json_keys_and_numbers_keep_their_text() {
    let mut session = Session::open().await;
    let bodies = [
        r#"{"x": ["a", "b"], "n": 1.0}"#,
        r#"{"x": {"a": 1}, "n": 1e2}"#,
        r#"{"x": "a", "n": 9007199254740993}"#,
        r#"{"x": 7, "n": 9007199254740992}"#,
        r#"{"x": null, "n": -0}"#,
        r#"{"x": [["a"]], "n": 0.10}"#,
        r#"{"x": ["a", null, 1], "n": "100"}"#,
        r#"{"x": "a\u0000b", "n": 100}"#,
        r#"{"x": "\ud83d\ude00", "n": 1E+2}"#,
        r#"{"x": ["\u0061"], "n": 12345678901234567890123}"#,
    ];
    let callers: Vec<Caller> = bodies.iter().map(|body| Caller::new("authenticated", body)).collect();
    for policy in [
        "(auth.jwt() -> 'x') ? n",
        "(auth.jwt() -> 'x') ?| array[n, 'b']",
        "(auth.jwt() -> 'x') ?& array[n]",
        "(auth.jwt() ->> 'n') = n",
        "(auth.jwt()::json ->> 'n') = n",
        "(auth.jwt() ->> 'n')::numeric = 100",
        "(auth.jwt() -> 'n') = '100'::jsonb",
        "(auth.jwt() -> 'x') @> to_jsonb(n)",
        "(auth.jwt() -> 'x') <@ '[\"a\", \"b\"]'::jsonb",
        "auth.jwt() ? n",
    ] {
        let schema = format!(
            "create table t (id int primary key, n text); insert into t values (1, 'a'), (2, 'x'), (3, '1.0'), (4, '100'),
                 (5, '9007199254740993'), (6, '1'), (7, null), (8, '0'), (9, '0.10'), (10, '1e2'), (11, '12345678901234567890123');
             create policy p on t using ({policy}); {GUARDED}"
        );
        session.case_for(&callers, Seen::Some, By::Anyone, &schema).await;
    }
}

#[tokio::test]
async fn case_58_callers_who_differ_in_nothing_that_is_read_are_one() {
    let mut session = Session::open().await;
    let mut callers = Vec::new();
    for number in 0..6 {
        let members = json!({"sub": uuid(1 + number % 2), "session_id": number.to_string(), "exp": number});
        callers.push(signed("authenticated", members));
    }
    callers.push(signed("authenticated", json!({"sub": uuid(3), "session_id": "0"})));
    let schema = format!("{OWN} create policy p on t using (own = auth.uid()); {GUARDED}");
    session.case_for(&callers, Seen::Some, By::Memory, &schema).await;
    let schema = format!(
        "{OWN} create policy p on t using (own = auth.uid() and id::text = auth.jwt() ->> 'session_id'); {GUARDED}"
    );
    session.case_for(&callers, Seen::Some, By::Memory, &schema).await;
}

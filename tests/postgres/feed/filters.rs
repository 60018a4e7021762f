//! Filters on live rows: each operator lets through what it should, and nothing else.

use serde_json::{Value, json};

use super::{TestFeed, anon, on_each_major, user, uuid};

const SCHEMA: &str = "
    create type mood as enum ('sad', 'ok', 'happy');
    create table t (id int primary key, n int, body text, mood mood, done bool, at timestamptz, tags text[]);
    alter table t replica identity full;
    select publish('t');";

/// Rows 1 to 4, the last of NULLs.
const ROWS: &str = "
    insert into t values
        (1, 10, 'apple', 'sad', true, '2026-01-01 00:00:00+00', '{a,b}'),
        (2, 20, 'Banana', 'ok', false, '2026-06-01 00:00:00+00', '{c}'),
        (3, 30, 'cherry, (red)', 'happy', true, '2026-12-01 00:00:00+00', '{}'),
        (4, null, null, null, null, null, null)";

const CASES: [(&str, &[u64]); 30] = [
    ("id=eq.2", &[2]),
    ("n=neq.20", &[1, 3]),
    ("n=gt.10", &[2, 3]),
    ("n=gte.10", &[1, 2, 3]),
    ("n=lt.30", &[1, 2]),
    ("n=lte.30", &[1, 2, 3]),
    ("n=in.(10,30,99)", &[1, 3]),
    ("n=not.in.(10,30)", &[2]),
    ("n=is.null", &[4]),
    ("n=not.is.null", &[1, 2, 3]),
    ("n=isdistinct.20", &[1, 3, 4]),
    ("n=not.eq.20", &[1, 3]),
    ("body=eq.apple", &[1]),
    ("body=like.%an%", &[2]),
    ("body=not.like.%an%", &[1, 3]),
    // These are asked of Postgres.
    ("body=ilike.%AN%", &[2]),
    ("body=not.ilike.%AN%", &[1, 3]),
    ("body=match.^[a-c]", &[1, 3]),
    ("body=imatch.^[A-C]", &[1, 2, 3]),
    ("body=not.imatch.^B", &[1, 3]),
    ("body=in.(apple,\"cherry, (red)\")", &[1, 3]),
    ("mood=eq.happy", &[3]),
    ("mood=gt.sad", &[2, 3]),
    ("done=is.true", &[1, 3]),
    ("done=is.unknown", &[4]),
    ("at=gte.2026-06-01T02:00:00+02:00", &[2, 3]),
    ("at=lt.2026-06-01", &[1]),
    ("tags=eq.{c}", &[2]),
    ("n=gt.10,done=is.true", &[3]),
    ("n=gt.10,body=ilike.b%", &[2]),
];

#[tokio::test]
async fn each_operator_lets_through_what_it_should() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, SCHEMA).await;
        let binding =
            |filter: &str| json!({"event": "INSERT", "schema": "public", "table": "t", "filter": filter});
        // All in one channel, so that answers and decisions meet in each frame; and each by itself.
        let all: Vec<Value> = CASES.iter().map(|(filter, _)| binding(filter)).collect();
        let mut all = feed.subscribe(&user(1), all.into()).await;
        let mut each = Vec::new();
        for (filter, _) in CASES {
            each.push(feed.subscribe(&anon(), json!([binding(filter)])).await);
        }
        feed.execute(ROWS).await;
        let mark = feed.mark().await;
        for ((filter, expected), subscriber) in CASES.iter().zip(&mut each) {
            let seen = subscriber.until(mark).await;
            let ids: Vec<&Value> = seen.iter().map(|change| &change.data["record"]["id"]).collect();
            assert_eq!(ids, *expected, "{filter}");
        }
        for change in all.until(mark).await {
            let id = change.data["record"]["id"].as_u64().unwrap();
            let matching = (1_u64..).zip(CASES).filter(|(_, (_, expected))| expected.contains(&id));
            let mut expected: Vec<u64> = matching.map(|(place, _)| place).collect();
            expected.reverse();
            assert_eq!(change.ids, json!(expected), "row {id}");
        }
    })
    .await;
}

#[tokio::test]
async fn updates_are_filtered_by_the_new_row_and_deletes_by_the_old_one() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, SCHEMA).await;
        let on = |filter: &str| json!([{"event": "*", "schema": "public", "table": "t", "filter": filter}]);
        let mut low = feed.subscribe(&anon(), on("n=lt.20")).await;
        let mut like = feed.subscribe(&anon(), on("body=ilike.APP%")).await;
        feed.run(&[
            ROWS,
            "update t set n = 25, body = 'apply' where id = 1",
            "update t set n = 5, body = 'x' where id = 2",
            "delete from t",
        ])
        .await;
        let mark = feed.mark().await;
        let kinds = |changes: Vec<super::Change>| -> Value {
            changes
                .iter()
                .map(|change| {
                    let row = if change.data["type"] == "DELETE" { "old_record" } else { "record" };
                    json!([change.data["type"], change.data[row]["id"]])
                })
                .collect()
        };
        assert_eq!(kinds(low.until(mark).await), json!([["INSERT", 1], ["UPDATE", 2], ["DELETE", 2]]));
        assert_eq!(kinds(like.until(mark).await), json!([["INSERT", 1], ["UPDATE", 1], ["DELETE", 1]]));
    })
    .await;
}

#[tokio::test]
async fn filters_narrow_what_policies_allow() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, owner uuid, body text);
             alter table t enable row level security; create policy own on t using (owner = auth.uid());
             select publish('t')",
        )
        .await;
        for filter in ["body=eq.yes", "body=ilike.YES", "body=match.^y"] {
            let on = json!([{"event": "*", "schema": "public", "table": "t", "filter": filter}]);
            let mut ann = feed.subscribe(&user(1), on).await;
            let rows = format!(
                "insert into t values (1, '{0}', 'yes'), (2, '{0}', 'no'), (3, '{1}', 'yes'), (4, '{1}', 'no')",
                uuid(1),
                uuid(2)
            );
            let seen = feed.after(&mut ann, &[&rows]).await;
            assert_eq!(seen, json!([["INSERT", {"id": 1, "owner": uuid(1), "body": "yes"}]]), "{filter}");
            feed.execute("truncate t").await;
        }
    })
    .await;
}

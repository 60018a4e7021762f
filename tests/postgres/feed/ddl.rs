//! Changes of what decides who may see a row: each holds for the transaction that makes it, and for all after it.
//!
//! The catalog is not compared by itself here, unless a test says so.

use std::time::Duration;

use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;
use serde_json::json;

use super::{TestFeed, anon, on_each_major};
use crate::support::{TestDatabase, majors};

const NEVER: Duration = Duration::from_secs(600);

/// A table that anybody may see all of, in ways that a test takes away.
const SCHEMA: &str = "
    create table t (id int primary key, secret int); select publish('t');
    create table ruled (id int primary key); select publish('ruled');
    alter table ruled enable row level security; create policy p on ruled using (true);
    create table owned (id int primary key); select publish('owned');
    alter table owned enable row level security, owner to anon;
    create table others (id int primary key); insert into others values (1), (7);
    alter table others enable row level security; create policy p on others using (true);
    create function allowed() returns boolean language sql stable as 'select true';
    create table called (id int primary key); select publish('called');
    alter table called enable row level security;
    create policy p on called using (allowed() and id in (select id from others));";

/// Takes rights away in the transaction that writes a row; each with the table that it is about.
const TAKEN: [(&str, &str); 8] = [
    ("called", "create or replace function allowed() returns boolean language sql stable as 'select false'"),
    ("called", "drop policy p on others"),
    ("t", "alter table t enable row level security"),
    ("t", "revoke select on t from anon"),
    ("owned", "alter table owned owner to current_user"),
    ("ruled", "alter policy p on ruled using (false)"),
    ("ruled", "drop policy p on ruled"),
    ("ruled", "drop policy p on ruled; create policy p on ruled to service_role using (true)"),
];

/// Writes a row, takes rights away, commits, and takes the row away: it is judged as it was logged.
fn written(table: &str, taken: &str) -> String {
    format!("begin; insert into {table} (id) values (1); {taken}; commit; delete from {table}")
}

#[tokio::test]
async fn a_row_is_decided_by_what_its_own_transaction_left() {
    on_each_major(async |major| {
        for (table, taken) in TAKEN {
            let feed = TestFeed::start_with(major, SCHEMA, |config| config.catalog_poll = NEVER).await;
            let mut ann = feed.watch(&anon(), table).await;
            assert_eq!(
                feed.after(&mut ann, &[&format!("insert into {table} (id) values (7)")])
                    .await
                    .as_array()
                    .unwrap()
                    .len(),
                1
            );
            feed.execute(&written(table, taken)).await;
            let seen = ann.until(feed.mark().await).await;
            // Of a row that may not be read at all, nothing but that is told.
            let inserts = seen.iter().filter(|change| change.data["record"]["id"] == 1).count();
            assert_eq!(inserts, 0, "{taken} on {major}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_change_without_rows_is_found_by_its_announcement_or_by_comparing() {
    on_each_major(async |major| {
        for (is_announced, poll) in [(true, NEVER), (false, Duration::from_millis(100))] {
            let feed = TestFeed::start_with(major, SCHEMA, |config| config.catalog_poll = poll).await;
            if !is_announced {
                feed.execute("drop event trigger rowcast_ddl; drop event trigger rowcast_drop").await;
            }
            let on = json!([{"event": "*", "schema": "public", "table": "t", "filter": "secret=eq.1"}]);
            let mut ann = feed.subscribe(&anon(), on).await;
            feed.execute("revoke select on t from anon; grant select (id) on t to anon").await;
            ann.refused("invalid column for filter secret").await;
        }
    })
    .await;
}

#[tokio::test]
async fn announcements_that_are_none_change_nothing() {
    on_each_major(async |major| {
        let feed = TestFeed::start_with(major, SCHEMA, |config| config.catalog_poll = NEVER).await;
        let mut ann = feed.watch(&anon(), "t").await;
        let shout = "select pg_logical_emit_message(true, 'rowcast_ddl', 'x')";
        let rows: String = (0..200)
            .map(|id| format!("begin; {shout}; insert into t (id) values ({id}); commit; "))
            .collect();
        let seen =
            feed.after(&mut ann, &[&rows, "select pg_logical_emit_message(false, 'rowcast_ddl', 'x')"]).await;
        assert_eq!(seen.as_array().unwrap().len(), 200, "on {major}");
    })
    .await;
}

#[tokio::test]
async fn what_matters_is_announced_and_nothing_else() {
    const STATEMENTS: [(&str, bool); 26] = [
        ("create table t (id int primary key)", true),
        ("alter table t add n int", true),
        ("alter table t enable row level security", true),
        ("alter table t replica identity full", true),
        ("create policy p on t using (true)", true),
        ("alter policy p on t using (false)", true),
        ("alter policy p on t rename to q", true),
        ("grant select on t to anon", true),
        ("revoke select on t from anon", true),
        ("create function f() returns int language sql as 'select 1'", true),
        ("create or replace function f() returns int language sql as 'select 2'", true),
        ("alter function f() owner to supabase_realtime_admin", true),
        ("create view v as select * from t", true),
        ("create or replace view v as select *, 1 as one from t", true),
        ("create type mood as enum ('a')", true),
        ("alter type mood add value 'b'", true),
        ("create publication everything for all tables", true),
        ("drop owned by supabase_realtime_admin", true),
        ("drop policy q on t", true),
        ("insert into t values (1); update t set id = 2", false),
        ("create index on t (n)", false),
        ("comment on table t is 'x'", false),
        (
            "create temp table passing (id int primary key); create temp view w as select 1; drop table passing",
            false,
        ),
        (
            "create function pg_temp.g() returns int language sql as 'select 1'; drop function pg_temp.g()",
            false,
        ),
        ("analyze t", false),
        ("drop table t cascade", true),
    ];
    for major in majors() {
        let database = TestDatabase::create(major).await;
        migrate(&Database::parse(&database.url).unwrap(), &[]).await.unwrap();
        // What is not flushed is not decoded.
        database.execute("set synchronous_commit = on").await;
        let slot = "select pg_create_logical_replication_slot('ddl_' || current_database(), 'pgoutput')";
        database.execute(slot).await;
        for (statement, expected) in STATEMENTS {
            database.execute(statement).await;
            let taken = "select count(*) from pg_logical_slot_get_binary_changes('ddl_' || current_database(), null, null,
                    'proto_version', '1', 'publication_names', 'supabase_realtime', 'messages', 'true')
                where get_byte(data, 0) = ascii('M') and position('rowcast_ddl'::bytea in data) > 0";
            let count: i64 = database.client.query_one(taken, &[]).await.unwrap().get(0);
            assert_eq!(count > 0, expected, "{statement} on {major}: {count}");
        }
        database.execute("select pg_drop_replication_slot('ddl_' || current_database())").await;
    }
}

//! Tables that cannot be mirrored, and why.

use rowcast::policy::mirror::Status;
use rowcast::postgres::connect::Database;

use super::{TestMirror, on_each_major};

#[tokio::test]
async fn tables_that_cannot_be_followed_are_left_alone() {
    on_each_major(async |major| {
        let schema = "
            create table no_identity (id int, v text);
            create table nothing (id int primary key); alter table nothing replica identity nothing;
            create unlogged table unlogged (id int primary key);
            create table root (id int primary key) partition by range (id);
            create table leaf partition of root for values from (0) to (10);
            create table deferred (id int primary key deferrable);
            create table filtered (id int primary key);
            create table cut (id int primary key, v text, w text);
            create table generated (id int primary key, g int generated always as (id + 1) stored);
            create table inserts (id int primary key);
            create publication inserts for table inserts with (publish = 'insert');
            alter publication supabase_realtime add table filtered where (id > 1), cut (id, v);
            create table odd (id int primary key, p point);";
        let tables: [(&str, &[&str]); 11] = [
            ("no_identity", &["id"]),
            ("nothing", &["id"]),
            ("unlogged", &["id"]),
            ("root", &["id"]),
            ("leaf", &["id"]),
            ("deferred", &["id"]),
            ("filtered", &["id"]),
            ("cut", &["id", "w"]),
            ("generated", &["g"]),
            ("inserts", &["id"]),
            ("odd", &["p"]),
        ];
        let mirror = TestMirror::start_with(major, schema, &tables, |config| {
            config.stream.publications.push("inserts".to_owned());
        })
        .await;
        for (table, words) in [
            ("no_identity", "primary key"),
            ("nothing", "replica identity full"),
            ("unlogged", "not logged"),
            ("root", "no ordinary table"),
            ("leaf", "partition"),
            ("deferred", "tell its rows apart"),
            ("filtered", "row filter"),
            ("cut", "column list"),
            ("generated", "generated"),
            ("inserts", "insert, update and delete"),
            ("odd", "type of column p"),
        ] {
            let why = mirror.hindered(table).await;
            assert!(why.contains(words), "{table}: {why}");
        }
        let query = "select count(*) from pg_publication_tables where pubname = 'rowcast'";
        let count: i64 = mirror.database.client.query_one(query, &[]).await.unwrap().get(0);
        assert_eq!(count, 0, "nothing was published");
        mirror.execute("insert into no_identity values (1); update no_identity set v = 'x'").await;
        // Once it has an identity it is followed.
        mirror.execute("alter table no_identity add primary key (id)").await;
        mirror.need(&[("no_identity", &["*id"])]).await;
        mirror.reread().await;
        mirror.check("no_identity").await;
    })
    .await;
}

#[tokio::test]
async fn a_table_that_clients_may_subscribe_to_needs_no_adding() {
    on_each_major(async |major| {
        let schema = "create table t (id int primary key);
                      alter publication supabase_realtime add table t; insert into t values (1)";
        let mirror = TestMirror::start(major, schema, &[("t", &["*id"])]).await;
        mirror.check("t").await;
        let query = "select count(*) from pg_publication_tables where pubname = 'rowcast'";
        assert_eq!(mirror.database.client.query_one(query, &[]).await.unwrap().get::<_, i64>(0), 0);
        mirror.execute("insert into t values (2)").await;
        mirror.settle().await;
        mirror.check("t").await;
    })
    .await;
}

#[tokio::test]
async fn without_rights_the_remedy_is_told_and_helps() {
    on_each_major(async |major| {
        let database = format!("server_{}_{}", std::process::id(), major);
        let schema = format!(
            "create role {database} login replication;
             create table t (id int primary key); insert into t values (1);
             create table hidden (id int primary key); alter table hidden enable row level security;
             grant select on all tables in schema public to {database};
             grant usage on schema realtime to {database}; grant select on all tables in schema realtime to {database};"
        );
        let tables: [(&str, &[&str]); 2] = [("t", &["*id"]), ("hidden", &["id"])];
        let mirror = TestMirror::start_with(major, &schema, &tables, |config| {
            // A publication of another role's, as `rowcast migrate` makes it.
            let url = config.database.clone();
            let url = format!(
                "postgres://{database}@{}:{}/{}",
                url.host(),
                url.port(),
                url.name()
            );
            let server = Database::parse(&url).unwrap();
            config.stream.connection = server.replication("unused", "supabase_realtime");
            config.database = server;
        })
        .await;
        let why = mirror.hindered("hidden").await;
        assert!(why.contains("BYPASSRLS"), "{why}");
        let why = mirror.hindered("t").await;
        let (_, statement) = why.split_once(": ").expect("a statement");
        assert_eq!(statement, "alter publication \"rowcast\" add table only \"public\".\"t\"");
        mirror.execute(statement).await;
        mirror.check("t").await;
        mirror.execute("insert into t values (2)").await;
        mirror.settle().await;
        mirror.check("t").await;
    })
    .await;
}

#[tokio::test]
async fn a_table_without_room_is_let_go() {
    on_each_major(async |major| {
        let schema = "create table small (id int primary key, v text); insert into small values (1, 'a');
                      create table large (id int primary key, v text);
                      create table growing (id int primary key, v text);
                      insert into large select n, n::text from generate_series(1, 5000) n;";
        let tables: [(&str, &[&str]); 3] =
            [("small", &["*id", "v"]), ("large", &["*id", "v"]), ("growing", &["*id", "v"])];
        let mirror =
            TestMirror::start_with(major, schema, &tables, |config| config.mirror_bytes_max = 100_000).await;
        mirror.check("small").await;
        mirror.check("growing").await;
        let why = mirror.hindered("large").await;
        assert!(why.contains("policy_mirror_bytes_max"), "{why}");
        mirror.execute("insert into growing select n, n::text from generate_series(1, 5000) n").await;
        mirror.settle().await;
        assert!(matches!(mirror.status("growing").await, Status::Unusable(_) | Status::Loading));
        mirror.check("small").await;
    })
    .await;
}

#[tokio::test]
async fn a_table_that_can_be_followed_no_more_leaves_the_publication() {
    on_each_major(async |major| {
        let schema = "create table t (id int primary key, v text); insert into t values (1, 'a')";
        let tables: [(&str, &[&str]); 1] = [("t", &["*id", "v"])];
        let mirror = TestMirror::start(major, schema, &tables).await;
        let left = async || {
            let query = "select count(*) from pg_publication_tables where pubname = 'rowcast'";
            super::within(
                async {
                    while mirror.database.client.query_one(query, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                        tokio::time::sleep(super::LOOK).await;
                    }
                },
                "the table to leave",
            )
            .await;
        };
        for (change, then, undo) in [
            // Its own updates would fail.
            (
                "alter table t drop constraint t_pkey",
                "update t set v = 'b'",
                "alter table t add primary key (id)",
            ),
            // The stream would break at it, or show more of it than it did.
            (
                "alter publication supabase_realtime add table t (id)",
                "insert into t values (2, 'c')",
                "alter publication supabase_realtime drop table t",
            ),
            (
                "alter publication supabase_realtime add table t where (id > 100)",
                "insert into t values (3, 'd')",
                "alter publication supabase_realtime drop table t",
            ),
        ] {
            mirror.check("t").await;
            mirror.execute(change).await;
            left().await;
            mirror.execute(then).await;
            mirror.settle().await;
            mirror.hindered("t").await;
            mirror.execute(undo).await;
            mirror.need(&tables).await;
            mirror.reread().await;
            mirror.ready("t").await;
        }
    })
    .await;
}

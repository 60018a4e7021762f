//! When relations are loaded, and loaded again.

use rowcast::policy::mirror::Status;

use super::{TestMirror, on_each_major};

const SCHEMA: &str = "create table t (id int primary key, v text); insert into t values (1, 'a')";
const TABLES: [(&str, &[&str]); 1] = [("t", &["*id", "v"])];

#[tokio::test]
async fn a_load_waits_for_transactions_that_began_before_it() {
    on_each_major(async |major| {
        let mirror = TestMirror::start(major, SCHEMA, &[]).await;
        let slow = mirror.session().await;
        slow.batch_execute("begin; insert into t values (2, 'slow')").await.unwrap();
        mirror.need(&TABLES).await;
        mirror.reread().await;
        let id = mirror.id("t").await;
        mirror.until("the load", || mirror.engine.read().mirror.status(id) == Status::Loading).await;
        mirror.execute("insert into t values (3, 'meanwhile'); update t set v = 'b' where id = 1").await;
        mirror.settle().await;
        // What the old transaction wrote before the table was published is in no stream.
        assert_eq!(mirror.status("t").await, Status::Loading);
        slow.batch_execute("insert into t values (4, 'slow'); commit").await.unwrap();
        mirror.check("t").await;
        assert_eq!(mirror.stored("t").await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn another_stream_has_it_loaded_again() {
    on_each_major(async |major| {
        let mirror = TestMirror::start(major, SCHEMA, &TABLES).await;
        mirror.check("t").await;
        let streams = mirror.counters.streams.get();
        mirror
            .execute("select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()")
            .await;
        mirror.execute("insert into t values (2, 'b')").await;
        mirror.until("another stream", || mirror.counters.streams.get() > streams).await;
        mirror.settle().await;
        mirror.check("t").await;
        mirror.execute("update t set v = 'c'").await;
        mirror.settle().await;
        mirror.check("t").await;
    })
    .await;
}

#[tokio::test]
async fn a_table_that_is_written_anew_is_loaded_again() {
    on_each_major(async |major| {
        let mirror = TestMirror::start(major, SCHEMA, &TABLES).await;
        for (change, then) in [
            ("alter table t alter v type text using v || '!'", "insert into t values (2, 'b')"),
            // Nothing is written after it.
            ("alter table t alter v type text using v || '?'", "select 1"),
            ("truncate t", "insert into t values (3, 'c')"),
        ] {
            mirror.check("t").await;
            let loads = mirror.counters.mirror.loads.get();
            mirror.execute(change).await;
            mirror.execute(then).await;
            mirror.until("another load", || mirror.counters.mirror.loads.get() > loads).await;
            mirror.settle().await;
            mirror.check("t").await;
        }
    })
    .await;
}

#[tokio::test]
async fn other_columns_have_it_loaded_again_and_fewer_do_not() {
    on_each_major(async |major| {
        let schema = "create table t (id int primary key, v text, w uuid default gen_random_uuid());
                      insert into t values (1, 'a')";
        let mirror = TestMirror::start(major, schema, &TABLES).await;
        mirror.check("t").await;
        mirror.need(&[("t", &["*id", "v", "*w"])]).await;
        mirror.reread().await;
        let id = mirror.id("t").await;
        mirror.until("the catalog", || mirror.engine.read().catalog.needed[&id].columns.len() == 3).await;
        mirror.check("t").await;
        let loads = mirror.counters.mirror.loads.get();
        mirror.need(&[("t", &["*w"])]).await;
        mirror.reread().await;
        mirror.until("the catalog", || mirror.engine.read().catalog.needed[&id].columns.len() == 1).await;
        mirror.execute("insert into t values (2, 'b')").await;
        mirror.settle().await;
        mirror.check("t").await;
        assert_eq!(mirror.counters.mirror.loads.get(), loads);
        // Another column takes the place of one.
        mirror.execute("alter table t drop v; alter table t add v text default 'new'").await;
        mirror.execute("insert into t values (3)").await;
        mirror.need(&[("t", &["*id", "v"])]).await;
        mirror.reread().await;
        mirror.until("the catalog", || mirror.engine.read().catalog.needed[&id].columns.len() == 2).await;
        mirror.settle().await;
        mirror.check("t").await;
    })
    .await;
}

#[tokio::test]
async fn a_table_that_is_needed_no_longer_leaves_the_publication() {
    on_each_major(async |major| {
        let mirror = TestMirror::start(major, SCHEMA, &TABLES).await;
        mirror.check("t").await;
        let published = async || {
            let query =
                "select count(*) from pg_publication_tables where pubname = 'rowcast' and tablename = 't'";
            mirror.database.client.query_one(query, &[]).await.unwrap().get::<_, i64>(0)
        };
        assert_eq!(published().await, 1);
        mirror.need(&[]).await;
        mirror.reread().await;
        super::within(
            async {
                while published().await > 0 {
                    tokio::time::sleep(super::LOOK).await;
                }
            },
            "its end",
        )
        .await;
        assert_eq!(mirror.status("t").await, Status::Missing);
        mirror.need(&TABLES).await;
        mirror.reread().await;
        mirror.check("t").await;
    })
    .await;
}

#[tokio::test]
async fn a_large_transaction_has_it_loaded_again() {
    on_each_major(async |major| {
        let mirror =
            TestMirror::start_with(major, SCHEMA, &TABLES, |config| config.transaction_bytes_max = 10_000)
                .await;
        mirror.check("t").await;
        let loads = mirror.counters.mirror.loads.get();
        mirror.execute("insert into t select n, n::text from generate_series(2, 1000) n").await;
        mirror.until("another load", || mirror.counters.mirror.loads.get() > loads).await;
        mirror.settle().await;
        mirror.check("t").await;
    })
    .await;
}

//! A server that goes in order: what its clients see, what Postgres keeps, and how long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rowcast::wal::Lsn;
use serde_json::{Value, json};

use crate::stage::{ANN, BOB, RawClient, Stage, TestServer, Vsn, major, server};
use crate::support::{TestDatabase, connect};

const NOTES: &str = "
    create table notes (id int primary key, body text);
    grant select on notes to authenticated;
    alter publication supabase_realtime add table notes;";

fn inserts() -> Value {
    json!([{ "event": "INSERT", "schema": "public", "table": "notes" }])
}

/// Somebody who writes a row after another until told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<(i64, Lsn)>>,
}

impl Writer {
    async fn start(url: &str, first: i32) -> Self {
        let session = connect(url).await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut written = Vec::new();
            for id in first.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                session.execute("insert into notes (id) values ($1)", &[&id]).await.unwrap();
                let row = session.query_one("select pg_current_wal_insert_lsn()::text", &[]).await.unwrap();
                written.push((i64::from(id), row.get::<_, String>(0).parse().unwrap()));
            }
            written
        });
        Self { stop, task }
    }

    /// Every row it wrote, each with a position that its commit lies before.
    async fn stop(self) -> Vec<(i64, Lsn)> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// The slots of this database, each with whether it is in use and up to where it is acknowledged.
async fn slots(database: &TestDatabase) -> Vec<(bool, Lsn)> {
    let sql = "select active, confirmed_flush_lsn::text from pg_replication_slots
                where database = current_database()";
    let rows = database.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get::<_, String>(1).parse().unwrap())).collect()
}

async fn stage(flags: &[&str]) -> (TestDatabase, TestServer) {
    let database = TestDatabase::create(major()).await;
    server::migrate(&database.url);
    database.execute(NOTES).await;
    let server = TestServer::start_with(&database.url, flags).await;
    (database, server)
}

async fn subscriber(server: &TestServer, vsn: Vsn) -> RawClient {
    let token = server::token("authenticated", Some(ANN));
    let mut client = RawClient::connect(server, vsn, &token).await;
    client.subscribed("1", "realtime:notes", inserts()).await;
    client
}

/// All rows up to the close, which must be announced and have the code for coming back.
async fn rows_before_the_close(client: &mut RawClient) -> Vec<i64> {
    let mut ids = Vec::new();
    loop {
        let frame = client.next().await;
        if frame[3] == "system" {
            let payload =
                json!({ "extension": "system", "status": "ok", "message": "Server requested disconnect" });
            assert_eq!(frame, json!([null, null, "realtime:notes", "system", payload]));
            client.expect(json!({ "closed": 1012 })).await;
            client.gone().await;
            return ids;
        }
        ids.push(frame[4]["data"]["record"]["id"].as_i64().unwrap());
    }
}

#[tokio::test]
async fn what_was_acknowledged_was_delivered_before_the_close() {
    for vsn in [Vsn::V1, Vsn::V2] {
        let (database, mut server) = stage(&["--slot", "durable"]).await;
        let mut client = subscriber(&server, vsn).await;
        let writer = Writer::start(&database.url, 1).await;
        // In the middle of it.
        while client.next().await[4]["data"]["record"]["id"] != 20 {}
        let (status, rest) = tokio::join!(server.end(Signal::SIGTERM), rows_before_the_close(&mut client));
        assert_eq!(status.code(), Some(0));
        let written = writer.stop().await;
        let found = slots(&database).await;
        let [(false, acknowledged)] = found[..] else { panic!("a durable slot, not in use: {found:?}") };
        let delivered: Vec<i64> = (1..=20).chain(rest).collect();
        let owed: Vec<i64> =
            written.iter().filter(|(_, lsn)| *lsn <= acknowledged).map(|(id, _)| *id).collect();
        // In order and without a hole, and at least what Postgres need not keep.
        assert_eq!(delivered, (1..=delivered.len()).map(|id| i64::try_from(id).unwrap()).collect::<Vec<_>>());
        assert!(delivered.len() >= owed.len(), "delivered {}, owed {}", delivered.len(), owed.len());
        assert!(owed.len() >= 10, "something was acknowledged: {acknowledged:?} {written:?}");
        database.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()").await;
    }
}

#[tokio::test]
async fn transaction_in_hand_is_delivered_whole() {
    const ROWS: i64 = 3000;
    // What a temporary slot has not delivered by then is gone.
    let (database, mut server) = stage(&[]).await;
    let mut client = subscriber(&server, Vsn::V2).await;
    database
        .execute(&format!("insert into notes select n, repeat('x', 500) from generate_series(1, {ROWS}) n"))
        .await;
    assert_eq!(client.next().await[4]["data"]["record"]["id"], 1);
    let (status, rest) = tokio::join!(server.end(Signal::SIGTERM), rows_before_the_close(&mut client));
    assert_eq!(status.code(), Some(0));
    assert_eq!(rest, (2..=ROWS).collect::<Vec<_>>());
}

#[tokio::test]
async fn row_that_postgres_is_asked_about_is_decided_before_the_close() {
    let (database, mut server) = stage(&[]).await;
    database
        .execute(
            "alter table notes enable row level security;
             create policy slow on notes for select to authenticated
               using (pg_sleep(0.3) is not null and body = (select auth.uid())::text)",
        )
        .await;
    let mut client = subscriber(&server, Vsn::V2).await;
    database.execute(&format!("insert into notes values (1, '{BOB}'), (2, '{ANN}')")).await;
    // The question has reached Postgres.
    let asked = "select count(*) from pg_stat_activity
                  where datname = current_database() and application_name = 'rowcast_ask' and wait_event = 'PgSleep'";
    while database.client.query_one(asked, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::time::sleep(server::LOOK_AGAIN).await;
    }
    let (status, rows) = tokio::join!(server.end(Signal::SIGTERM), rows_before_the_close(&mut client));
    assert_eq!(status.code(), Some(0));
    assert_eq!(rows, [2], "hers, and not the other");
}

#[tokio::test]
async fn temporary_slot_is_gone_with_its_server() {
    let (database, mut server) = stage(&[]).await;
    let mut client = subscriber(&server, Vsn::V1).await;
    let found = slots(&database).await;
    assert!(matches!(found[..], [(true, _)]), "{found:?}");
    let writer = Writer::start(&database.url, 1).await;
    client.next().await;
    let (status, _) = tokio::join!(server.end(Signal::SIGTERM), rows_before_the_close(&mut client));
    assert_eq!(status.code(), Some(0));
    writer.stop().await;
    let found = slots(&database).await;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn stock_clients_come_back_by_themselves_while_rows_are_written() {
    let mut stage = Stage::set(NOTES).await;
    let token = server::token("authenticated", Some(ANN));
    stage.connect("ann", ANN).await;
    stage.subscribe("ann", "notes", inserts()).await;
    let writer = Writer::start(&stage.database.url, 1).await;
    for client in &stage.clients {
        client.ids_up_to("ann", "notes", 20).await;
    }
    assert_eq!(stage.server.end(Signal::SIGTERM).await.code(), Some(0));
    stage.server.start_again().await;
    for client in &stage.clients {
        client.recover("ann", &stage.server.url(), &token, "notes", inserts()).await;
    }
    for client in &stage.clients {
        client.expect_subscribed("ann", "notes").await;
    }
    let written = writer.stop().await;
    let last = i32::try_from(written.len()).unwrap();
    stage.database.execute(&format!("insert into notes values ({})", last + 1)).await;
    for client in &stage.clients {
        let ids = client.ids_up_to("ann", "notes", i64::from(last + 1)).await;
        assert!(ids.is_sorted_by(|a, b| a < b), "each once and in order: {:?} {ids:?}", client.stock);
        // What an application is told: that its channel is interrupted, and that it is back. Every one of these
        // clients says so at any close of its socket, whatever its code.
        let told: Vec<Value> =
            client.seen(&json!({ "kind": "status" })).iter().map(|seen| seen["status"].clone()).collect();
        assert_eq!(told, ["SUBSCRIBED", "CHANNEL_ERROR", "SUBSCRIBED"], "{:?}", client.stock);
    }
}

/// A client that takes no part in closing its socket, so that an orderly end has to wait for it.
async fn deaf(server: &TestServer) -> RawClient {
    let mut client = RawClient::connect(server, Vsn::V2, &server::token("anon", None)).await;
    client.expect_nothing().await;
    client
}

#[tokio::test]
async fn client_that_does_not_go_holds_nobody_up_for_long() {
    let (_database, mut server) = stage(&[]).await;
    let _deaf = deaf(&server).await;
    let started = Instant::now();
    assert_eq!(server.end(Signal::SIGTERM).await.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}

#[tokio::test]
async fn second_signal_ends_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let (_database, mut server) = stage(&[]).await;
        let _deaf = deaf(&server).await;
        server.signal(Signal::SIGTERM);
        server.until_logged("shutting down").await;
        let started = Instant::now();
        let status = server.end(second).await;
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!(status.code(), Some(1), "an end that was not in order says so");
    }
}

//! What clients live through: a cut wire, a server that starts again, a Postgres that starts again.

use nix::sys::signal::Signal;
use rowcast::postgres::cluster::Cluster;
use serde_json::json;

use crate::stage::{ANN, Proxy, Stage, Stock, StockClient, TestServer, major, server};
use crate::support::{binaries, connect, scratch};

const NOTES: &str = "
    create table notes (id int primary key);
    grant select on notes to authenticated;
    alter publication supabase_realtime add table notes;";

fn inserts() -> serde_json::Value {
    json!([{ "event": "INSERT", "schema": "public", "table": "notes" }])
}

#[tokio::test]
async fn cut_wire_heals_and_later_rows_arrive() {
    let stage = Stage::set(NOTES).await;
    let proxy = Proxy::start(stage.server.address).await;
    let token = server::token("authenticated", Some(ANN));
    for client in &stage.clients {
        client.connect("ann", &proxy.url(), Some(&token)).await;
    }
    stage.subscribe("ann", "notes", inserts()).await;
    stage.database.execute("insert into notes values (1)").await;
    for client in &stage.clients {
        client.ids_up_to("ann", "notes", 1).await;
    }
    proxy.cut();
    for client in &stage.clients {
        client.recover("ann", &proxy.url(), &token, "notes", inserts()).await;
        client.expect_subscribed("ann", "notes").await;
    }
    stage.database.execute("insert into notes values (2)").await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 2).await, [1, 2], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn restarted_or_killed_server_is_found_again() {
    let mut stage = Stage::set(NOTES).await;
    let token = server::token("authenticated", Some(ANN));
    stage.connect("ann", ANN).await;
    stage.subscribe("ann", "notes", inserts()).await;
    for (id, signal) in [(1, Signal::SIGTERM), (2, Signal::SIGKILL)] {
        let status = stage.server.end(signal).await;
        assert_eq!(status.code(), (signal == Signal::SIGTERM).then_some(0));
        stage.server.start_again().await;
        for client in &stage.clients {
            client.recover("ann", &stage.server.url(), &token, "notes", inserts()).await;
        }
        for client in &stage.clients {
            client.expect_subscribed("ann", "notes").await;
        }
        stage.database.execute(&format!("insert into notes values ({id})")).await;
        for client in &stage.clients {
            client.ids_up_to("ann", "notes", id).await;
        }
    }
    for client in &stage.clients {
        assert_eq!(client.changes("ann", "notes"), [("INSERT".to_owned(), 1), ("INSERT".to_owned(), 2)]);
    }
}

#[tokio::test]
async fn restarted_postgres_is_announced_and_later_rows_arrive() {
    let directory = scratch("restart");
    let mut cluster = Cluster::start(binaries(major()), &directory, false).unwrap();
    let url = cluster.url("postgres");
    server::migrate(&url);
    connect(&url).await.batch_execute(NOTES).await.unwrap();
    let mut server = TestServer::start(&url).await;
    let clients = StockClient::start_all().await;
    let token = server::token("authenticated", Some(ANN));
    for client in &clients {
        client.connect("ann", &server.url(), Some(&token)).await;
        client.subscribe("ann", "notes", inserts()).await;
        client.expect_subscribed("ann", "notes").await;
    }
    for id in [1, 2] {
        // In order, and as a crash would.
        let ended = if id == 1 { cluster.stop() } else { cluster.crash() };
        ended.unwrap();
        for client in &clients {
            if client.stock == Stock::Python {
                client.expect(json!({ "kind": "status", "status": "CHANNEL_ERROR" })).await;
            } else {
                client.expect(json!({ "kind": "system", "status": "error" })).await;
            }
        }
        assert_eq!(server.health(), Some(503));
        cluster.restart().unwrap();
        server.live().await;
        for client in &clients {
            client.expect(json!({ "kind": "system", "extension": "postgres_changes", "status": "ok" })).await;
        }
        connect(&url).await.batch_execute(&format!("insert into notes values ({id})")).await.unwrap();
        for client in &clients {
            client.ids_up_to("ann", "notes", id).await;
        }
    }
    for client in &clients {
        assert_eq!(client.changes("ann", "notes"), [("INSERT".to_owned(), 1), ("INSERT".to_owned(), 2)]);
        if client.stock != Stock::Python {
            // The socket has stayed open throughout.
            assert_eq!(client.seen(&json!({ "kind": "status" })).len(), 1, "{:?}", client.stock);
        }
    }
    drop(server);
    cluster.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn server_that_starts_before_its_database_serves_once_it_is_there() {
    let directory = scratch("late");
    let mut cluster = Cluster::start(binaries(major()), &directory, false).unwrap();
    let url = cluster.url("postgres");
    server::migrate(&url);
    connect(&url).await.batch_execute(NOTES).await.unwrap();
    cluster.stop().unwrap();

    let mut server = TestServer::start_without_database(&url).await;
    let clients = StockClient::start_all().await;
    let token = server::token("authenticated", Some(ANN));
    for client in &clients {
        client.connect("ann", &server.url(), Some(&token)).await;
        client.subscribe("ann", "notes", inserts()).await;
        // What needs no database works without.
        client.expect(json!({ "kind": "status", "status": "SUBSCRIBED" })).await;
    }
    cluster.restart().unwrap();
    server.live().await;
    for client in &clients {
        client.expect(json!({ "kind": "system", "extension": "postgres_changes", "status": "ok" })).await;
    }
    connect(&url).await.batch_execute("insert into notes values (1)").await.unwrap();
    for client in &clients {
        assert_eq!(client.ids_up_to("ann", "notes", 1).await, [1], "{:?}", client.stock);
    }
    drop(server);
    cluster.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

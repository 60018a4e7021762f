//! What every test here stands on: the server's process, the stock clients' processes, and the wire between them.

use std::io::Write;
use std::time::Duration;

use crate::support::{TestDatabase, majors};

pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod server;
pub(crate) mod stock;

pub(crate) use proxy::Proxy;
pub(crate) use raw::{BOTH, RawClient, Vsn};
pub(crate) use server::TestServer;
pub(crate) use stock::{Stock, StockClient};

/// How long an awaited event may take. Long enough for a client that connects again in its third attempt.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The subject of the first user.
pub(crate) const ANN: &str = "a0000000-0000-4000-8000-000000000001";
/// The subject of the second.
pub(crate) const BOB: &str = "b0000000-0000-4000-8000-000000000001";

/// A migrated database with a test's own tables, the server on it, and all stock clients.
pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) server: TestServer,
    pub(crate) clients: Vec<StockClient>,
}

impl Stage {
    /// Sets it; `sql` runs after the migrations and before the server.
    pub(crate) async fn set(sql: &str) -> Self {
        Self::set_with(sql, &[]).await
    }

    /// Sets it, with further arguments for the server.
    pub(crate) async fn set_with(sql: &str, arguments: &[&str]) -> Self {
        let database = TestDatabase::create(major()).await;
        // Starting a client takes as long as starting the server.
        let served = async {
            server::migrate(&database.url);
            database.execute(sql).await;
            TestServer::start_with(&database.url, arguments).await
        };
        let (server, clients) = tokio::join!(served, StockClient::start_all());
        Self { database, server, clients }
    }

    /// Runs each of these as a transaction of its own, as several statements at once are one.
    pub(crate) async fn commit(&self, transactions: &[&str]) {
        for sql in transactions {
            self.database.execute(sql).await;
        }
    }

    /// Connects `who` in every client, with a token of the role `authenticated`.
    pub(crate) async fn connect(&self, who: &str, sub: &str) {
        let token = server::token("authenticated", Some(sub));
        for client in &self.clients {
            client.connect(who, &self.server.url(), Some(&token)).await;
        }
    }

    /// Joins `who` to `topic` in every client, with these bindings, and waits until the database's changes flow.
    pub(crate) async fn subscribe(&self, who: &str, topic: &str, changes: serde_json::Value) {
        for client in &self.clients {
            client.subscribe(who, topic, changes.clone()).await;
        }
        for client in &self.clients {
            client.expect_subscribed(who, topic).await;
        }
    }
}

/// The newest of the major versions under test: what clients see does not depend on it.
pub(crate) fn major() -> u32 {
    majors().into_iter().max().expect("a major version")
}

/// Says why a test looks at nothing, past the harness, which shows no output of tests that pass.
pub(crate) fn skip(reason: &str) {
    // Whoever reads it may have gone.
    let _ = writeln!(std::io::stderr(), "{reason}");
}

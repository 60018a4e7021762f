//! The folders under `examples/`: each runs as its page says and prints what its page shows, and whoever has no part
//! in it sees nothing and is refused.
//!
//! `tests/tools/fetch-clients.sh` fetches what they need.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::stage::server::{self, TestServer, program, stderr, stdout};
use crate::stage::{ANN, BOB, major};
use crate::support::TestDatabase;

mod ipec_own_tables;
mod pages;
mod tutorconnect_own_tables;

/// Who has no part in any example.
const EVE: &str = "e0000000-0000-4000-8000-000000000001";

/// How long an example may take, beginning with its translation to JavaScript.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database, and the server on it.
struct Stage {
    database: TestDatabase,
    server: TestServer,
}

impl Stage {
    /// Sets it with the schema that an example brings along.
    async fn with_schema_of(name: &str) -> Self {
        let database = TestDatabase::create(major()).await;
        server::migrate(&database.url);
        database.execute(&std::fs::read_to_string(folder(name).join("schema.sql")).unwrap()).await;
        let server = TestServer::start(&database.url).await;
        Self { database, server }
    }

    /// Runs an example with these settings besides the server's address and the key that anybody may have.
    async fn run(&self, name: &str, settings: &[(&str, &str)]) -> Run {
        let modules = examples().join("node_modules");
        assert!(modules.is_dir(), "what the examples need is not here: run tests/tools/fetch-clients.sh");
        let key = server::token("anon", None);
        let run = tokio::process::Command::new(modules.join(".bin/tsx"))
            .arg(folder(name).join("main.ts"))
            .envs([("SUPABASE_URL", self.server.url().as_str()), ("SUPABASE_ANON_KEY", &key)])
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run).await.expect("an example that ends").unwrap();
        Run { printed: stdout(&output), complained: stderr(&output), code: output.status.code() }
    }

    /// How many rows there are.
    async fn count(&self, rows: &str) -> i64 {
        let sql = format!("select count(*) from {rows}");
        self.database.client.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// Expects of `rowcast doctor` that it finds no fault, and that all policies are decided in memory.
    fn expect_compiled_policies(&self) {
        let output = program(&["doctor", "--json", "--database-url", &self.database.url]).output().unwrap();
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let faults: Vec<&Value> = checks.iter().filter(|check| check["state"] != "ok").collect();
        assert_eq!(faults, [] as [&Value; 0]);
        let decided = |check: &&Value| check["text"].as_str().unwrap().contains("decided in memory");
        assert_ne!(checks.iter().filter(decided).count(), 0, "{checks:#?}");
    }
}

/// What became of an example.
struct Run {
    printed: String,
    complained: String,
    code: Option<i32>,
}

impl Run {
    /// Expects that it did all it should, and printed what its page shows.
    fn expect_page(&self, name: &str) {
        assert_eq!(self.printed, shown(name), "{}", self.complained);
        assert_eq!(self.code, Some(0), "{}", self.complained);
    }

    /// Expects that it printed only this, and ended with a failure.
    fn expect_refusal(&self, printed: &str) {
        assert_eq!(self.printed, printed, "{}", self.complained);
        assert_eq!(self.code, Some(1), "{}", self.complained);
    }
}

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn folder(name: &str) -> PathBuf {
    examples().join(name)
}

/// What a reader is told to see: the first block of plain text on an example's page.
fn shown(name: &str) -> String {
    let page = std::fs::read_to_string(folder(name).join("README.md")).unwrap();
    let (_, rest) = page.split_once("```text\n").unwrap_or_else(|| panic!("{name}: no block of text"));
    rest.split_once("```").unwrap().0.to_owned()
}

/// A token of somebody with an account.
fn token(sub: &str) -> String {
    server::token("authenticated", Some(sub))
}

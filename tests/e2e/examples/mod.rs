//! The folders under `examples/`: each runs as its page says and prints what its page shows, and whoever has no part
//! in it sees nothing and is refused.
//!
//! `tests/tools/fetch-clients.sh` fetches what they need.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rowcast::telemetry::clock::unix_seconds;
use serde_json::{Value, json};
use tokio_postgres::SimpleQueryMessage;

use crate::app_socket::Socket;
use crate::stage::server::{self, TestServer, program, stderr, stdout};
use crate::stage::{ANN, BOB, RawClient, Vsn, major};
use crate::support::TestDatabase;

mod beside_dev;
mod ipec;
mod ipec_own_tables;
mod messaging_infrastructure;
mod pages;
mod pitchey;
mod school;
mod tutorconnect;
mod tutorconnect_own_tables;

/// Who has no part in any example.
const EVE: &str = "e0000000-0000-4000-8000-000000000001";

/// Who is one of the staff.
const STAFF: &str = "50000000-0000-4000-8000-000000000001";

/// Who is a customer.
const CUSTOMER: &str = "d0000000-0000-4000-8000-000000000001";

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

    /// Sets it with the messaging tables, and perhaps the adapter of an app.
    async fn with_messaging(adapter: Option<&str>) -> Self {
        let database = TestDatabase::create(major()).await;
        let output =
            program(&["migrate", "--with", "messaging", "--database-url", &database.url]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let arguments = adapter.map(|adapter| vec!["--adapters", adapter]).unwrap_or_default();
        let server = TestServer::start_with(&database.url, &arguments).await;
        Self { database, server }
    }

    /// The id of a conversation of ann's and bob's.
    async fn conversation(&self) -> String {
        let claims = json!({ "sub": ANN, "role": "authenticated" });
        let sql = format!(
            "insert into public.users (id) values ('{ANN}'), ('{BOB}');
             select set_config('request.jwt.claims', '{claims}', false);
             select public.start_conversation(participant_ids => array['{BOB}']::uuid[]) ->> 'id'"
        );
        let answers = self.database.client.simple_query(&sql).await.unwrap();
        let rows = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        rows.last().expect("a conversation").to_owned()
    }

    /// Runs an example as the people whom `rowcast dev` knows; `settings` are others besides, or in place of theirs.
    async fn run(&self, name: &str, settings: &[(&str, &str)]) -> Run {
        let key = server::token("anon", None);
        let mut command = tokio::process::Command::new(tsx());
        command
            .arg(folder(name).join("main.ts"))
            .envs([("SUPABASE_URL", self.server.url().as_str()), ("SUPABASE_ANON_KEY", &key)])
            .envs([("ANN_TOKEN", token(ANN)), ("BOB_TOKEN", token(BOB))])
            .envs([("STAFF_TOKEN", staff()), ("CUSTOMER_TOKEN", customer(CUSTOMER))])
            .envs(settings.iter().copied());
        finish(&mut command).await
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

    /// Expects that it printed nothing but that it was refused, in these words, and ended with a failure.
    fn expect_refusal(&self, words: &str) {
        assert_eq!(self.printed.lines().count(), 1, "{}{}", self.printed, self.complained);
        assert!(
            self.printed.starts_with(&format!("refused: {words}")),
            "{}{}",
            self.printed,
            self.complained
        );
        assert_eq!(self.code, Some(1), "{}", self.complained);
    }
}

/// What runs TypeScript.
fn tsx() -> PathBuf {
    let modules = examples().join("node_modules");
    assert!(modules.is_dir(), "what the examples need is not here: run tests/tools/fetch-clients.sh");
    modules.join(".bin/tsx")
}

/// Waits until an example has ended.
async fn finish(command: &mut tokio::process::Command) -> Run {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("an example that ends").unwrap();
    Run { printed: stdout(&output), complained: stderr(&output), code: output.status.code() }
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

/// A token of one of the staff.
fn staff() -> String {
    sign(json!({ "sub": STAFF, "app_metadata": { "role": "staff" } }))
}

/// A token of a customer, who has no account.
fn customer(id: &str) -> String {
    sign(json!({ "customer_id": id }))
}

fn sign(mut claims: Value) -> String {
    claims["role"] = "authenticated".into();
    claims["exp"] = (unix_seconds() + 3600).into();
    let key = jsonwebtoken::EncodingKey::from_secret(server::SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// Somebody who subscribes to all rows there are.
async fn listen_to_rows(stage: &Stage, token: &str) -> RawClient {
    let mut client = RawClient::connect(&stage.server, Vsn::V2, token).await;
    let changes = json!([{ "event": "*", "schema": "public", "table": "*" }]);
    client.subscribed("1", "realtime:anything", changes).await;
    client
}

/// Somebody's socket of an app's own protocol, which has been greeted.
async fn listen_to_app(stage: &Stage, path: &str, token: &str, greeting: &str) -> Socket {
    let mut socket = Socket::connect(stage.server.address, &format!("{path}?token={token}")).await;
    assert_eq!(socket.next().await["type"], greeting);
    socket
}

/// Expects that nothing has come, and that the socket works: the next frame answers a ping.
async fn expect_nothing(mut socket: Socket) {
    socket.send(json!({ "type": "ping" })).await;
    let frame = socket.next().await;
    assert_eq!(frame["type"], "pong", "{frame}");
}

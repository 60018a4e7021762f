//! Stock clients as processes: orders go in, what they saw comes out, both as JSON lines.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Notify;

use super::{PATIENCE, server};

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stock {
    /// supabase-js 2.39: version 1 frames, and tokens set by hand.
    Js39,
    /// supabase-js 2.49: version 1 frames.
    Js49,
    /// supabase-js 2.119: version 2 frames, and binary broadcasts.
    Js119,
    /// supabase-js 3.0, before its release: version 2 frames, and binary broadcasts.
    Js3,
    /// The Python package `realtime`.
    Python,
}

impl Stock {
    const ALL: [Self; 5] = [Self::Js39, Self::Js49, Self::Js119, Self::Js3, Self::Python];

    fn command(self) -> Command {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let clients = root.join("tests/e2e/clients");
        let (program, script, version) = match self {
            Self::Js39 => ("node".into(), "client.mjs", Some("2-39")),
            Self::Js49 => ("node".into(), "client.mjs", Some("2-49")),
            Self::Js119 => ("node".into(), "client.mjs", Some("2-119")),
            Self::Js3 => ("node".into(), "client.mjs", Some("3-next")),
            Self::Python => (root.join(".rowcast/python/bin/python"), "client.py", None),
        };
        assert!(
            clients.join("node_modules").is_dir() && root.join(".rowcast/python").is_dir(),
            "the stock clients are not here: run tests/tools/fetch-clients.sh"
        );
        let mut command = Command::new(program);
        command.arg(clients.join(script)).args(version).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// One process, which plays any number of users.
pub(crate) struct StockClient {
    pub(crate) stock: Stock,
    seen: Arc<Seen>,
    orders: AtomicU64,
    input: tokio::sync::Mutex<ChildStdin>,
    _process: Child,
}

/// What the client has told so far, in order, each with whether a wait has taken it.
#[derive(Default)]
struct Seen {
    lines: Mutex<Vec<(Value, bool)>>,
    complaints: Mutex<String>,
    arrived: Notify,
}

impl StockClient {
    /// Starts one of each.
    pub(crate) async fn start_all() -> Vec<Self> {
        futures_util::future::join_all(Stock::ALL.map(Self::start)).await
    }

    /// Starts one.
    pub(crate) async fn start(stock: Stock) -> Self {
        let mut process = stock.command().spawn().unwrap();
        let seen = Arc::new(Seen::default());
        let told = Arc::clone(&seen);
        tokio::spawn(read(process.stdout.take().unwrap(), move |line| {
            let value =
                serde_json::from_str(&line).unwrap_or_else(|_| json!({ "kind": "noise", "line": line }));
            told.lines.lock().unwrap().push((value, false));
            told.arrived.notify_waiters();
        }));
        let told = Arc::clone(&seen);
        tokio::spawn(read(process.stderr.take().unwrap(), move |line| {
            // Far more than a failure needs to be understood, and bounded.
            let mut complaints = told.complaints.lock().unwrap();
            if complaints.len() < 16_384 {
                let _ = writeln!(complaints, "{line}");
            }
        }));
        let input = tokio::sync::Mutex::new(process.stdin.take().unwrap());
        let client = Self { stock, seen, orders: AtomicU64::new(1), input, _process: process };
        client.expect(json!({ "kind": "ready" })).await;
        client
    }

    /// Has `who` make a client, with the anonymous key and perhaps a token.
    pub(crate) async fn connect(&self, who: &str, url: &str, token: Option<&str>) {
        let key = server::token("anon", None);
        self.order(json!({ "do": "connect", "as": who, "url": url, "key": key, "token": token })).await;
    }

    /// Has `who` use another token from now on.
    pub(crate) async fn authorize(&self, who: &str, token: &str) {
        self.order(json!({ "do": "authorize", "as": who, "token": token })).await;
    }

    /// Has `who` join `topic` with these postgres_changes bindings, not waiting for the outcome.
    pub(crate) async fn subscribe(&self, who: &str, topic: &str, changes: Value) {
        self.order(json!({ "do": "subscribe", "as": who, "topic": topic, "config": {}, "changes": changes }))
            .await;
    }

    /// Waits until the join is answered and the database's changes flow.
    pub(crate) async fn expect_subscribed(&self, who: &str, topic: &str) {
        self.expect(json!({ "as": who, "topic": topic, "kind": "status", "status": "SUBSCRIBED" })).await;
        self.expect(
            json!({ "as": who, "topic": topic, "kind": "system", "extension": "postgres_changes", "status": "ok" }),
        )
        .await;
    }

    /// Does what an application must do about a lost connection: for all but one version nothing, as they connect and
    /// join again by themselves. 2.49 connects again, but in doing so tears its channels down for good.
    pub(crate) async fn recover(&self, who: &str, url: &str, token: &str, topic: &str, changes: Value) {
        self.expect(json!({ "as": who, "topic": topic, "kind": "status", "status": "CHANNEL_ERROR" })).await;
        if self.stock == Stock::Js49 {
            self.connect(who, url, Some(token)).await;
            self.subscribe(who, topic, changes).await;
        }
    }

    /// Has it do something, and waits until it is done; the result of the client's own call.
    pub(crate) async fn order(&self, order: Value) -> Value {
        let done = self.answer(&order).await;
        assert!(done.get("error").is_none(), "{:?} failed at {order}: {done}", self.stock);
        done["result"].clone()
    }

    async fn answer(&self, order: &Value) -> Value {
        let number = self.orders.fetch_add(1, Ordering::Relaxed);
        let mut line = order.clone();
        line["order"] = number.into();
        self.input.lock().await.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        self.expect(json!({ "kind": "done", "order": number })).await
    }

    /// Has it do something that must fail; its own words for why.
    pub(crate) async fn refused(&self, order: Value) -> String {
        let done = self.answer(&order).await;
        done["error"].as_str().unwrap_or_else(|| panic!("{:?} did {order}", self.stock)).to_owned()
    }

    /// Waits for the first thing seen that holds all of `pattern` and that no wait before has taken.
    pub(crate) async fn expect(&self, pattern: Value) -> Value {
        let wait = async {
            loop {
                let arrived = self.seen.arrived.notified();
                tokio::pin!(arrived);
                // Registered before the look, so that nothing falls between the two.
                arrived.as_mut().enable();
                let found = self
                    .seen
                    .lines
                    .lock()
                    .unwrap()
                    .iter_mut()
                    .find(|(line, taken)| !taken && holds(line, &pattern))
                    .map(|(line, taken)| {
                        *taken = true;
                        line.clone()
                    });
                match found {
                    Some(line) => return line,
                    None => arrived.await,
                }
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(line) => line,
            Err(_) => panic!("{:?} never saw {pattern}\n{}", self.stock, self.account()),
        }
    }

    /// All that was seen so far and holds `pattern`, taken or not, in order.
    pub(crate) fn seen(&self, pattern: &Value) -> Vec<Value> {
        let lines = self.seen.lines.lock().unwrap();
        lines.iter().filter(|(line, _)| holds(line, pattern)).map(|(line, _)| line.clone()).collect()
    }

    /// As [`Self::seen`]; what is taken out is seen no more.
    pub(crate) fn take(&self, pattern: &Value) -> Vec<Value> {
        let mut lines = self.seen.lines.lock().unwrap();
        let (held, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *lines).into_iter().partition(|(line, _)| holds(line, pattern));
        *lines = rest;
        held.into_iter().map(|(line, _)| line).collect()
    }

    /// The changes `who` has got on `topic` so far: type, and id of the new row or else of the old one.
    pub(crate) fn changes(&self, who: &str, topic: &str) -> Vec<(String, i64)> {
        self.seen(&json!({ "as": who, "topic": topic, "kind": "change" }))
            .iter()
            .map(|change| {
                let id = change["new"].get("id").or_else(|| change["old"].get("id"));
                (change["type"].as_str().unwrap().to_owned(), id.and_then(Value::as_i64).unwrap_or(-1))
            })
            .collect()
    }

    /// Waits for the change of row `id` on `topic`; then all ids `who` has got there, in order.
    pub(crate) async fn ids_up_to(&self, who: &str, topic: &str, id: i64) -> Vec<i64> {
        self.expect(json!({ "as": who, "topic": topic, "kind": "change", "new": { "id": id } })).await;
        self.changes(who, topic).into_iter().map(|(_, id)| id).collect()
    }

    /// All it has said, for a failure's message.
    fn account(&self) -> String {
        let mut text = String::from("--- it saw\n");
        for (line, taken) in self.seen.lines.lock().unwrap().iter().rev().take(60).rev() {
            let _ = writeln!(text, "{} {line}", if *taken { ' ' } else { '*' });
        }
        let complaints = self.seen.complaints.lock().unwrap();
        let _ = write!(text, "--- its errors\n{complaints}---");
        text
    }
}

/// Hands on each line until the process ends.
async fn read(output: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        take(line);
    }
}

/// Whether every key of `pattern` is in `value` with the same content; further keys do not matter, except that an
/// empty object is meant as one.
fn holds(value: &Value, pattern: &Value) -> bool {
    match (value, pattern) {
        (Value::Object(value), Value::Object(pattern)) if !pattern.is_empty() => {
            pattern.iter().all(|(key, inner)| value.get(key).is_some_and(|found| holds(found, inner)))
        }
        _ => value == pattern,
    }
}

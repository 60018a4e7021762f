//! The program as a process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rowcast::telemetry::clock::unix_seconds;
use serde_json::json;

use super::PATIENCE;
use crate::support::scratch;

/// Signs every token here.
pub(crate) const SECRET: &str = "a-secret-of-end-to-end-tests-of-32-bytes-and-more";

/// Limits that clients would meet who do in seconds what others do in hours.
const LIMITS: [&str; 4] = [
    "--concurrent-users-max",
    "--joins-per-second-max",
    "--events-per-second-max",
    "--presence-events-per-second-max",
];

/// Arguments that lift all limits but those that are given.
fn no_limits_but(given: &[String]) -> impl Iterator<Item = &'static str> + use<'_> {
    LIMITS
        .into_iter()
        .filter(|limit| !given.iter().any(|other| other == limit))
        .flat_map(|limit| [limit, "0"])
}

/// The pause between two looks at something that tells nobody when it changes.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running `rowcast serve`; killed when dropped, and its log is shown if the test has failed.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    database_url: String,
    arguments: Vec<String>,
    log: PathBuf,
    process: Option<(Child, Reaper)>,
}

impl TestServer {
    /// Starts it on a free port, and waits until it says that changes flow.
    pub(crate) async fn start(database_url: &str) -> Self {
        Self::start_with(database_url, &[]).await
    }

    /// Starts it with further arguments.
    pub(crate) async fn start_with(database_url: &str, arguments: &[&str]) -> Self {
        let mut server = Self::new(database_url);
        server.arguments = arguments.iter().map(ToString::to_string).collect();
        server.start_again().await;
        server
    }

    /// Starts it on a free port, and waits until it answers at all.
    pub(crate) async fn start_without_database(database_url: &str) -> Self {
        let mut server = Self::new(database_url);
        server.spawn();
        server.until(|health| health.is_some()).await;
        server
    }

    fn new(database_url: &str) -> Self {
        let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap();
        let (database_url, log) = (database_url.to_owned(), scratch("server-log"));
        Self { address, database_url, arguments: Vec::new(), log, process: None }
    }

    /// Starts it once more on the same port, after it was stopped or killed.
    pub(crate) async fn start_again(&mut self) {
        self.spawn();
        self.live().await;
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        // Slots share one name space in all databases of a cluster.
        let slot = format!("rowcast_{}_{}", std::process::id(), self.address.port());
        let child = program(&["serve", "--listen", &self.address.to_string()])
            .args(["--database-url", &self.database_url, "--jwt-secret", SECRET, "--slot-name", &slot])
            // Refusals are answered soon, and every core's worth of shards is two.
            .args(["--join-error-delay-ms", "50", "--connect-error-delay-ms", "50", "--shard-count", "2"])
            .args(["--catalog-poll-ms", "100", "--log-level", "debug"])
            .args(no_limits_but(&self.arguments))
            .args(&self.arguments)
            .stderr(log)
            .spawn()
            .unwrap();
        let reaper = Reaper::of(&child);
        self.process = Some((child, reaper));
    }

    /// Waits until changes flow.
    pub(crate) async fn live(&mut self) {
        self.until(|health| health == Some(200)).await;
    }

    async fn until(&mut self, wanted: impl Fn(Option<u16>) -> bool) {
        let started = Instant::now();
        while !wanted(self.health()) {
            let (child, _) = self.process.as_mut().expect("a server that runs");
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}");
            }
            assert!(started.elapsed() < PATIENCE, "the server is not healthy: {:?}", self.health());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What `GET /healthcheck` says; `None` if there is no answer.
    pub(crate) fn health(&self) -> Option<u16> {
        http_get(self.address, "/healthcheck").map(|(status, _)| status)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Where clients connect to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has logged.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it as `signal` does, and waits for that.
    pub(crate) async fn end(&mut self, signal: Signal) -> ExitStatus {
        let (mut child, reaper) = self.process.take().expect("a server that runs");
        send(&child, signal);
        let status = wait(&mut child).await;
        drop(reaper);
        status
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some((mut child, _reaper)) = self.process.take() {
            // Only what has ended already cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            let _ = writeln!(std::io::stderr(), "--- the server's log\n{}\n---", tail.join("\n"));
        }
        // It may never have been made.
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Kills a process should this one end without doing so: it waits on a pipe that only this process holds open.
pub(crate) struct Reaper(Child);

impl Reaper {
    pub(crate) fn of(child: &Child) -> Self {
        let script = format!("cat >/dev/null; kill -9 {} 2>/dev/null", child.id());
        let mut reaper = Command::new("setsid");
        reaper.args(["sh", "-c", &script]).stdin(Stdio::piped());
        reaper.stdout(Stdio::null()).stderr(Stdio::null());
        Self(reaper.spawn().unwrap())
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program with these arguments, and with no settings from outside.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    // Programs of Postgres are found, and temporary files go, where they do outside.
    for name in ["PATH", "HOME", "TMPDIR", "PGBIN"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Sends a signal.
pub(crate) fn send(child: &Child, signal: Signal) {
    kill(pid(child), signal).unwrap();
}

/// A process's id, as signals want it.
pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

/// Waits for a process to end, but not for ever.
pub(crate) async fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(started.elapsed() < PATIENCE, "process {} does not end", child.id());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Brings a database to the program's schema.
pub(crate) fn migrate(database_url: &str) {
    let output = program(&["migrate", "--database-url", database_url]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// What a program printed on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a program printed on standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A token that is valid for an hour.
pub(crate) fn token(role: &str, sub: Option<&str>) -> String {
    token_signed(SECRET, role, sub, 3600)
}

/// A token with a key and a remaining life of one's own choice.
pub(crate) fn token_signed(secret: &str, role: &str, sub: Option<&str>, ttl_s: i64) -> String {
    let exp = unix_seconds() + ttl_s;
    let claims = json!({ "role": role, "sub": sub, "exp": exp });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// The status and body of one request; `None` if nobody answers.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let (status, _, body) = http(address, "GET", path, &[], b"")?;
    Some((status, body))
}

/// The status, head and body of one request; `None` if nobody answers.
pub(crate) fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(&[request.as_bytes(), body].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((status, head.to_owned(), body.to_owned()))
}

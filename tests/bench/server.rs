//! The server under measurement: the real binary, as users run it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process;
use crate::support::scratch;

const JWT_SECRET: &str = "a-secret-of-the-benchmarks-that-protects-nothing";
/// Who the clients are.
pub(crate) const SUBJECT: &str = "6f0c1d2e-3a4b-4c5d-8e6f-7a8b9c0d1e2f";
/// How long it may take to become ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `rowcast serve`, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it shows what it counts.
    metrics: SocketAddr,
    /// A token of an ordinary user.
    pub(crate) token: String,
}

impl Server {
    /// Starts one on `database_url` and waits until it is ready. Limits on what one machine may do at once are
    /// raised, since all clients come from here; everything else is as it is by default.
    pub(crate) fn start(database_url: &str) -> Self {
        Self::start_with(database_url, &[])
    }

    /// As [`Server::start`], with further arguments.
    pub(crate) fn start_with(database_url: &str, arguments: &[&str]) -> Self {
        let (address, metrics) = (free_address(), free_address());
        let log_path = scratch("bench-serve").with_extension("log");
        let log = File::create(&log_path).expect("a log file");
        let child = rowcast()
            .args(["serve", "--listen", &address.to_string(), "--metrics-listen", &metrics.to_string()])
            .args(["--database-url", database_url, "--jwt-secret", JWT_SECRET])
            .args([
                "--joins-per-second-max",
                "0",
                "--concurrent-users-max",
                "0",
                "--events-per-second-max",
                "0",
            ])
            .args(["--presence-events-per-second-max", "0", "--idle-timeout-ms", "3600000"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the server");
        let mut server = Self { child, address, metrics, token: token(SUBJECT) };
        let deadline = Instant::now() + PATIENCE;
        while !server.is_healthy() {
            let ended = server.child.try_wait().expect("the server's state");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                panic!("the server did not become ready:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// What it has counted under this name.
    pub(crate) fn counted(&self, metric: &str) -> f64 {
        let page = self.metrics_page();
        let line = page.lines().find(|line| line.split_whitespace().next() == Some(metric));
        let value = line.and_then(|line| line.split_whitespace().nth(1)).expect("a metric of that name");
        value.parse().expect("a number")
    }

    /// The same, of all labels.
    pub(crate) fn counted_all(&self, metric: &str) -> f64 {
        let page = self.metrics_page();
        let of_metric = |line: &&str| line.split(['{', ' ']).next() == Some(metric);
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        page.lines().filter(of_metric).filter_map(value).sum()
    }

    fn metrics_page(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).expect("a connection");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("a request");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("the metrics");
        page
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn is_healthy(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        let request = "GET /healthcheck HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = [0; 12];
        stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
            && stream.write_all(request.as_bytes()).is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && &answer == b"HTTP/1.1 200"
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        process::terminate(self.child.id());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A token of the user with this subject.
pub(crate) fn token(subject: &str) -> String {
    command(&["token", "--sub", subject, "--ttl", "1d", "--jwt-secret", JWT_SECRET])
}

/// The same, made here: a thousand at once.
pub(crate) fn signed(subject: &str) -> String {
    let claims = serde_json::json!({ "sub": subject, "role": "authenticated", "exp": 4_102_444_800_u64 });
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}

/// Runs a subcommand to its end and returns what it printed.
pub(crate) fn command(arguments: &[&str]) -> String {
    let output = rowcast().args(arguments).output().expect("the program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rowcast {} failed:\n{errors}", arguments[0]);
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn rowcast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    // The settings of whoever runs this are none of the measurement's.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("ROWCAST_") || name.starts_with("DB_") || name == "DATABASE_URL" || name == "PORT"
        {
            command.env_remove(&*name);
        }
    }
    command
}

/// An address on loopback where nobody listens now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

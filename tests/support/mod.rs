//! What tests share: a Postgres cluster a major version, and a database a test.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use rowcast::postgres::cluster::{Binaries, Cluster};
use tokio_postgres::{Client, NoTls};

/// The major versions every Postgres test runs on; `ROWCAST_TEST_MAJORS=14,16` overrides them.
pub fn majors() -> Vec<u32> {
    match std::env::var("ROWCAST_TEST_MAJORS") {
        Ok(list) => list.split(',').map(|major| major.trim().parse().expect("a major version")).collect(),
        Err(_) => vec![15, 18],
    }
}

/// The programs of one major version: the system's, or those that `make postgres-18` unpacked.
pub fn binaries(major: u32) -> Binaries {
    let unpacked = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".rowcast/postgres");
    Binaries::all(&unpacked)
        .into_iter()
        .find(|found| found.major == major)
        .unwrap_or_else(|| panic!("PostgreSQL {major} is not here: run `make postgres-{major}`"))
}

/// A cluster of this test binary, stopped and deleted when the binary ends, however it ends.
struct Shared {
    major: u32,
    port: u16,
    _reaper: Child,
}

static SHARED: LazyLock<Mutex<Vec<Shared>>> = LazyLock::new(Mutex::default);

/// A fresh directory that Postgres's own user can reach.
pub fn scratch(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("rowcast-{name}-{}-{count}", std::process::id()))
}

fn shared_port(major: u32) -> u16 {
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = shared.iter().find(|cluster| cluster.major == major) {
        return found.port;
    }
    let directory = scratch(&format!("pg{major}"));
    let cluster = Cluster::start(binaries(major), &directory, false).expect("a test cluster");
    // The reaper waits on a pipe that only this process holds open.
    let pid_file = cluster.data().join("postmaster.pid");
    let script = format!(
        "cat >/dev/null; kill -QUIT $(head -1 '{}') 2>/dev/null; sleep 1; rm -rf '{}'",
        pid_file.display(),
        directory.display()
    );
    let reaper = Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the reaper");
    let port = cluster.port;
    std::mem::forget(cluster);
    shared.push(Shared { major, port, _reaper: reaper });
    port
}

/// An empty database of its own on the shared cluster of one major version.
pub struct TestDatabase {
    /// The major version it runs on.
    pub major: u32,
    /// Its URL, as a superuser.
    pub url: String,
    /// A session of a superuser.
    pub client: Client,
}

impl TestDatabase {
    /// Makes one.
    pub async fn create(major: u32) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let port = tokio::task::spawn_blocking(move || shared_port(major)).await.expect("the cluster");
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&format!("postgres://postgres@127.0.0.1:{port}/postgres")).await;
        admin.batch_execute(&format!("create database {name}")).await.expect("a database");
        let url = format!("postgres://postgres@127.0.0.1:{port}/{name}");
        let client = connect(&url).await;
        Self { major, url, client }
    }

    /// Runs statements, one after another.
    pub async fn execute(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}\n{error:?}");
        }
    }
}

/// A session on `url`, without TLS.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

/// Numbers that are the same in each run.
pub struct Dice(pub u64);

impl Dice {
    /// From zero to one less than `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

//! The program itself: what it logs, what `/healthcheck` says, and how it ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rowcast::auth::{Secret, sign};
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::harness::{PATIENCE, Server, write_file};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// How long an orderly end may take, whatever clients do.
const END_WITHIN: Duration = Duration::from_secs(9);

/// A running `rowcast serve`.
struct Program {
    child: Child,
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts it and waits until it serves.
    fn start(database_url: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rowcast"))
            .args(["serve", "--listen", "127.0.0.1:0", "--shard-count", "2", "--log-level", "debug"])
            .args(["--concurrent-users-max", "0", "--joins-per-second-max", "0"])
            .args(arguments)
            .env("DATABASE_URL", database_url)
            .env("ROWCAST_JWT_SECRET", SECRET)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended: {:?}", lines.lock().unwrap());
            let address = line.split("address=").nth(1).map(|address| address.trim().parse().unwrap());
            lines.lock().unwrap().push(line);
            if let Some(address) = address {
                break address;
            }
        };
        let its_lines = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                its_lines.lock().unwrap().push(line);
            }
        });
        Self { child, address, lines }
    }

    fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// The answer to `GET /healthcheck`, head and body.
    async fn healthcheck(&self) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = "GET /healthcheck HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Waits until `/healthcheck` answers so.
    async fn answers(&self, status: &str, words: &str) {
        let started = Instant::now();
        loop {
            let answer = self.healthcheck().await;
            if answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{answer}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a line of the log has these words.
    async fn logs(&self, words: &str) {
        let started = Instant::now();
        while !self.log().contains(words) {
            assert!(started.elapsed() < PATIENCE, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn client(&self) -> Client {
        let claims = json!({ "role": "anon", "exp": 4_000_000_000_u64 });
        let token = sign(&Secret::new(SECRET.as_bytes()).unwrap(), claims.as_object().unwrap());
        let url = format!("ws://{}/socket/websocket?vsn=1.0.0&apikey={token}", self.address);
        Client(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    /// Asks it to end; gives its exit code.
    async fn terminate(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < END_WITHIN, "it does not end\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Joins a channel that follows the table of the tests.
    async fn join(&mut self) {
        let binding = json!({ "event": "*", "schema": "public", "table": "messages" });
        let join = json!({
            "topic": "realtime:room", "event": "phx_join", "ref": "1", "join_ref": "1",
            "payload": { "config": { "postgres_changes": [binding] } },
        });
        self.0.send(Message::text(join.to_string())).await.unwrap();
        self.hears(|message| message["payload"]["message"] == "Subscribed to PostgreSQL").await;
    }

    async fn next(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap()
    }

    /// Reads until there is a message like this.
    async fn hears(&mut self, wanted: impl Fn(&Value) -> bool) {
        loop {
            match self.next().await {
                Message::Text(text) if wanted(&serde_json::from_str(&text).unwrap()) => return,
                Message::Close(frame) => panic!("closed with {frame:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn sigterm_ends_it_in_order_whatever_clients_do() {
    let server = Server::start(18, "").await;
    let sql = "alter table messages add body text; alter table messages alter body set storage external";
    server.client().await.batch_execute(sql).await.unwrap();
    for (slot, remaining) in [("temporary", "0"), ("durable", "1")] {
        let program = Program::start(&server.cluster.url("postgres"), &["--slot", slot]);
        program.answers("200", "ok").await;
        let mut reading = program.client().await;
        reading.join().await;
        let mut stalled = program.client().await;
        stalled.join().await;
        // More than its connection holds, and less than it is closed for.
        let sql = "truncate messages; insert into messages
                     select id, repeat('x', 100000) from generate_series(1, 8) id";
        server.client().await.batch_execute(sql).await.unwrap();
        reading.hears(|message| message["payload"]["data"]["record"]["id"] == 8).await;

        let end = tokio::spawn(program.terminate());
        reading.hears(|message| message["payload"]["message"] == "Server requested disconnect").await;
        match reading.next().await {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1012),
            other => panic!("{other:?}"),
        }
        assert_eq!(end.await.unwrap(), Some(0));
        drop(stalled);
        let slots = server.value("select count(*) from pg_replication_slots").await;
        assert_eq!(slots.as_deref(), Some(remaining), "{slot}");
        server
            .until("not exists (select from pg_stat_activity where application_name like 'rowcast%')")
            .await;
    }
}

#[tokio::test]
async fn password_may_be_corrected_later_and_is_never_logged() {
    const WRONG: &str = "correct-horse-battery";
    let mut server = Server::start(18, "").await;
    let client = server.client().await;
    client.batch_execute("create role rowcaster superuser login password 'staple'").await.unwrap();
    let hba = server.cluster.data().join("pg_hba.conf");
    let trusting = std::fs::read_to_string(&hba).unwrap();
    let asking = "host all,replication rowcaster 127.0.0.1/32 scram-sha-256\n";
    write_file(&hba, &format!("{asking}{trusting}"));
    client.batch_execute("select pg_reload_conf()").await.unwrap();

    let url = server.cluster.url("postgres").replace("postgres@", &format!("rowcaster:{WRONG}@"));
    let program = Program::start(&url, &[]);
    program.answers("503", "check the user name and password of the database URL").await;
    let mut early = program.client().await;
    client.batch_execute(&format!("alter role rowcaster password '{WRONG}'")).await.unwrap();
    program.answers("200", "ok").await;
    early.join().await;
    server.write([1]).await;
    early.hears(|message| message["payload"]["data"]["record"]["id"] == 1).await;

    server.stop();
    program.answers("503", "Postgres cannot be reached").await;
    early.hears(|message| message["payload"]["status"] == "error").await;
    server.cluster.restart().unwrap();
    early.hears(|message| message["payload"]["message"] == "Subscribed to PostgreSQL").await;
    program.answers("200", "ok").await;
    drop(early);

    let lines = Arc::clone(&program.lines);
    assert_eq!(program.terminate().await, Some(0));
    let log = lines.lock().unwrap().join("\n");
    assert!(log.contains("28P01") && log.contains("remedy=\"check the user name and password"), "{log}");
    assert!(!log.contains(WRONG) && !log.contains(SECRET), "{log}");
}

#[tokio::test]
async fn sigterm_ends_it_while_postgres_is_gone() {
    let mut server = Server::start(18, "").await;
    let program = Program::start(&server.cluster.url("postgres"), &[]);
    program.answers("200", "ok").await;
    let mut client = program.client().await;
    client.join().await;
    server.stop();
    client.hears(|message| message["payload"]["status"] == "error").await;
    let end = tokio::spawn(program.terminate());
    client.hears(|message| message["payload"]["message"] == "Server requested disconnect").await;
    drop(client);
    assert_eq!(end.await.unwrap(), Some(0));
}

/// How many partitions `realtime.messages` has.
const PARTITIONS: &str = "select count(*) from pg_inherits where inhparent = 'realtime.messages'::regclass";

#[tokio::test]
async fn it_is_live_once_the_messages_have_their_partitions() {
    let server = Server::start(18, "").await;
    let url = server.cluster.url("postgres");
    migrate(&Database::parse(&url).unwrap(), &[]).await.unwrap();
    let holder = server.client().await;
    holder
        .batch_execute(
            "do $$ declare name text; begin
                 for name in select inhrelid::regclass from pg_inherits where inhparent = 'realtime.messages'::regclass
                 loop execute 'drop table ' || name; end loop;
             end $$",
        )
        .await
        .unwrap();
    let hold = "begin; lock table realtime.messages in share update exclusive mode";
    holder.batch_execute(hold).await.unwrap();
    let program = Program::start(&url, &[]);
    server
        .until(
            "exists (select from pg_stat_activity where application_name = 'rowcast_maintenance' and wait_event_type = 'Lock')
             and exists (select from pg_replication_slots where active)",
        )
        .await;
    program.answers("503", "starting").await;
    holder.batch_execute("commit").await.unwrap();
    program.answers("200", "ok").await;
    assert_eq!(server.value(PARTITIONS).await.as_deref(), Some("5"));
    assert_eq!(program.terminate().await, Some(0));
}

/// Nothing else needs the migrations; what does says so once, and goes on when they are there.
#[tokio::test]
async fn it_is_live_without_messages_and_says_what_is_missing() {
    let server = Server::start(18, "").await;
    let url = server.cluster.url("postgres");
    let program = Program::start(&url, &["--messages-maintenance-ms", "1000"]);
    program.answers("200", "ok").await;
    program.logs("PartitionCreationFailed").await;
    assert!(program.log().contains("run `rowcast migrate`"), "{}", program.log());
    migrate(&Database::parse(&url).unwrap(), &[]).await.unwrap();
    program.logs("realtime.messages is kept up again").await;
    assert_eq!(program.log().matches("upkeep failed").count(), 1, "{}", program.log());
    assert_eq!(program.terminate().await, Some(0));
}

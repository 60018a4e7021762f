//! A whole server around a handler that echoes, and clients for it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rowcast::auth::{self, Secret, Verifier, sign};
use rowcast::hub::{ConnectionId, Meters, ServerLimits};
use rowcast::protocol::frame::{binary_frame, text_frame};
use rowcast::rest::{Additions, HttpConfig, router, serve};
use rowcast::socket::{
    Gate, GateConfig, Handler, Message, Outbox, Session, ShardConfig, ShardHandle, ShardMetrics, spawn,
};
use rowcast::telemetry::clock::unix_seconds;
use rowcast::telemetry::health::Health;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What tests tell the echo handler.
pub(crate) enum Command {
    /// Sends these frames, in order, to every connection.
    ToAll(Vec<Bytes>),
    /// Closes every connection.
    CloseAll(u16, &'static str),
    /// Panics.
    Panic,
}

/// What the echo handler has seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) opened: usize,
    pub(crate) closed: usize,
    pub(crate) ticks: usize,
    pub(crate) sessions: Vec<String>,
}

/// Echoes; panics on the text `panic`; closes on `close`.
pub(crate) struct Echo {
    open: BTreeSet<ConnectionId>,
    log: Arc<Mutex<Log>>,
}

impl Handler for Echo {
    type Command = Command;
    type Session = Session;

    fn opened(&mut self, out: &mut Outbox, connection: ConnectionId, session: Session) {
        assert!(self.open.insert(connection), "opened twice");
        assert!(out.is_open(connection));
        let mut log = self.log.lock().unwrap();
        log.opened += 1;
        log.sessions.push(format!("{:?} {} {:?}", session.dialect, session.claims.role, session.headers));
    }

    fn message(&mut self, out: &mut Outbox, connection: ConnectionId, message: Message<'_>, _now: Instant) {
        match message {
            Message::Text("panic") => panic!("asked for"),
            Message::Text("close") => {
                out.close(connection, 4000, "asked for");
                assert!(!out.is_open(connection));
                out.send(connection, text_frame(b"never"));
            }
            Message::Text(text) => out.send(connection, text_frame(text.as_bytes())),
            Message::Binary(bytes) => out.send(connection, binary_frame(bytes)),
        }
    }

    fn closed(&mut self, out: &mut Outbox, connection: ConnectionId) {
        assert!(self.open.remove(&connection), "closed twice, or never opened");
        assert!(!out.is_open(connection));
        self.log.lock().unwrap().closed += 1;
    }

    fn command(&mut self, out: &mut Outbox, command: Command, _now: Instant) {
        match command {
            Command::ToAll(frames) => {
                for connection in &self.open {
                    for frame in &frames {
                        out.send(*connection, frame.clone());
                    }
                }
            }
            Command::CloseAll(code, reason) => out.close_all(code, reason),
            Command::Panic => panic!("asked for"),
        }
    }

    fn tick(&mut self, _out: &mut Outbox, _now: Instant) {
        self.log.lock().unwrap().ticks += 1;
    }
}

/// Bounds of a test server; the defaults are those of the real one, but refusals are quick.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) shard: ShardConfig,
    pub(crate) gate: Option<GateConfig>,
    pub(crate) http: HttpConfig,
    pub(crate) limits: ServerLimits,
}

/// A server with one shard.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) shard: ShardHandle<Echo>,
    pub(crate) gate: Gate<Echo>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) health: Health,
    pub(crate) log: Arc<Mutex<Log>>,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) http: tokio::task::JoinHandle<()>,
    pub(crate) thread: JoinHandle<()>,
}

pub(crate) fn secret() -> Secret {
    Secret::new("a secret of at least thirty-two characters").unwrap()
}

/// A token of ours with these claims.
pub(crate) fn token(claims: &serde_json::Value) -> String {
    sign(&secret(), claims.as_object().unwrap())
}

pub(crate) fn valid_token() -> String {
    token(&serde_json::json!({"role": "anon", "exp": unix_seconds() + 600}))
}

impl TestServer {
    pub(crate) async fn start(options: Options) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let seen = Arc::clone(&log);
        let make = move || Echo { open: BTreeSet::new(), log: seen };
        let (shard, thread) = spawn(0, options.shard, make).unwrap();
        let gate = options
            .gate
            .unwrap_or(GateConfig { refusal_delay: Duration::from_millis(1), ..GateConfig::default() });
        let meters = Arc::new(Meters::new(options.limits));
        let verifier = Verifier::new(auth::Config { secrets: vec![secret()], ..auth::Config::default() });
        let gate = Gate::new(gate, Arc::new(verifier), Arc::clone(&meters), vec![shard.clone()]);
        let health = Health::starting();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let routes =
            router(gate.clone(), Arc::new(crate::rest::nowhere(health.clone())), Additions::default());
        let http = tokio::spawn(serve(listener, routes, options.http, async {
            let _ = stopped.await;
        }));
        Self { address, shard, gate, meters, health, log, stop, http, thread }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/socket/websocket?apikey={}&vsn=2.0.0", self.address, valid_token())
    }

    pub(crate) async fn connect(&self) -> Client {
        tokio_tungstenite::connect_async(self.url()).await.unwrap().0
    }

    pub(crate) fn metrics(&self) -> &Arc<ShardMetrics> {
        self.shard.metrics()
    }

    /// Waits until `condition` holds. For states that nothing announces to a test.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition(self) {
            assert!(Instant::now() < deadline, "never happened: {what}; {:?}", self.metrics());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops everything in order and waits for it.
    pub(crate) async fn stop(self) {
        self.gate.shut();
        let _ = self.stop.send(());
        self.http.await.unwrap();
        self.gate.handed_over().await;
        // Clients of a test need not read any more, so there is nobody to wait for.
        self.shard.drain(1001, "", Duration::from_millis(50)).await;
        tokio::task::spawn_blocking(move || self.thread.join().unwrap()).await.unwrap();
        let log = self.log.lock().unwrap();
        assert_eq!(log.opened, log.closed, "the handler heard of every end");
        assert_eq!(self.shard.metrics().connections.get(), 0);
        assert_eq!(self.shard.metrics().backlog_bytes.get(), 0);
    }
}

/// The next message of a client, which must come.
pub(crate) async fn next(client: &mut Client) -> tungstenite::Message {
    tokio::time::timeout(Duration::from_secs(20), client.next()).await.expect("a message").unwrap().unwrap()
}

/// The code and reason of the close frame that must come next.
pub(crate) async fn next_close(client: &mut Client) -> (u16, String) {
    match next(client).await {
        tungstenite::Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("expected a close, got {other:?}"),
    }
}

/// Sends a text and expects it back.
pub(crate) async fn assert_echo(client: &mut Client, text: &str) {
    client.send(tungstenite::Message::text(text)).await.unwrap();
    assert_eq!(next(client).await, tungstenite::Message::text(text));
}

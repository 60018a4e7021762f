//! A whole server with real shards, whose policies are decided by the name of the topic.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use rowcast::auth::{AdminVerifier, Config, Rules, Verifier, sign};
use rowcast::hub::authorization::{Answer, AuthorizationError, Inquiry, ReplyTo, Rights, Subject};
use rowcast::hub::{
    self, Authorizer, Broadcaster, Directory, Links, Meters, PeerFull, Peers, ServerLimits, Shard,
    ShardCommand, Sink, TokenRefusal, TokenVerifier,
};
use rowcast::policy::Claims;
use rowcast::postgres::connect::Database;
use rowcast::postgres::rpc::{self, Rpc};
use rowcast::rest::{
    Additions, Api, BodyLimits, BodyReader, BroadcastLimits, Forwarder, HttpConfig, Readers, Scrape,
    Services, Sources, Tenant, TenantField, TenantValue, Upstream, router, serve,
};
use rowcast::socket::{Gate, GateConfig, ShardConfig, ShardHandle, spawn};
use rowcast::telemetry::clock::unix_seconds;
use rowcast::telemetry::health::Health;
use rowcast::telemetry::page::Place;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

use crate::echo::{Client, secret, token};

/// The largest payload here.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 100_000;

/// What a server may be told to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) limits: ServerLimits,
    pub(crate) bodies: BodyLimits,
    pub(crate) connections_max: usize,
    /// Where everything else under `/rest/v1` goes.
    pub(crate) postgrest: Option<SocketAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: ServerLimits::NONE,
            bodies: BodyLimits::default(),
            connections_max: 100,
            postgrest: None,
        }
    }
}

pub(crate) struct RestServer {
    pub(crate) address: SocketAddr,
    pub(crate) services: Arc<Services<ShardSink>>,
    /// Everybody who was asked about.
    pub(crate) asked: Arc<Mutex<Vec<Subject>>>,
    shards: Vec<ShardHandle<Shard>>,
    stop: oneshot::Sender<()>,
    http: tokio::task::JoinHandle<()>,
}

/// Everything that a router needs, without shards.
pub(crate) fn nowhere(health: Health) -> Services<ShardSink> {
    let directory = Directory::new(2, [3, 4], Instant::now());
    let (authorizer, _) = Authorizer::queue(1);
    let meters = Arc::new(Meters::new(ServerLimits::NONE));
    with(Broadcaster::new(directory, Vec::new()), authorizer, meters, health, Options::default())
}

fn with<S: Sink>(
    broadcaster: Broadcaster<S>,
    authorizer: Authorizer,
    meters: Arc<Meters>,
    health: Health,
    options: Options,
) -> Services<S> {
    let forwarder = options.postgrest.map(|address| {
        let upstream = Upstream::parse(&format!("http://{address}/base/")).unwrap();
        Forwarder::new(upstream).unwrap()
    });
    let rpc = Rpc::new(rpc::Config::new(Database::parse("postgres://nobody@127.0.0.1:1/none").unwrap()));
    let sources = Arc::new(Sources {
        place: Place::default(),
        started_unix: 0,
        health: health.clone(),
        meters: Arc::clone(&meters),
        connections_max: 0,
        sockets: Vec::new(),
        channels: Vec::new(),
        feed: Arc::default(),
        authorizations: Arc::default(),
        rpc: rpc.clone(),
        http: Arc::default(),
        others: Vec::new(),
    });
    Services {
        broadcaster,
        verifier: Arc::new(verifier()),
        admins: AdminVerifier::new(&[secret()], [], Rules::default()),
        authorizer,
        meters,
        health,
        tenant: tenant(),
        scrape: Scrape::new(sources, Readers::Bearers(AdminVerifier::new(&[secret()], [], Rules::default()))),
        header_bytes_max: 4_096,
        broadcasts: BroadcastLimits {
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            json_depth_max: 100,
            topic_bytes_max: 4096,
        },
        bodies: BodyReader::new(options.bodies),
        api: Api { rpc, schemas: vec!["public".to_owned()], rows_max: None, forwarder },
        counters: Arc::default(),
    }
}

fn verifier() -> Verifier {
    Verifier::new(Config { secrets: vec![secret()], ..Config::default() })
}

fn tenant() -> Tenant {
    let field = |key, setting, value| TenantField { key, setting, value };
    Tenant {
        id: "realtime-dev".to_owned(),
        inserted_at: "2026-01-01T00:00:00.000Z".to_owned(),
        node: "rowcast@test".to_owned(),
        fields: vec![
            field("jwt_secret", "jwt_secret", TenantValue::Secret(Some(secret()))),
            field("max_events_per_second", "events_per_second_max", TenantValue::Shown(100.into())),
        ],
        database: vec![field("publication", "publication", TenantValue::Shown("supabase_realtime".into()))],
    }
}

/// What the policies say of a topic, which is its name.
fn decide(topic: &str) -> Result<Answer, AuthorizationError> {
    let rights = |broadcast| Ok(Answer::Rights(Rights { broadcast, presence: true }));
    match topic {
        "raises" => Err(AuthorizationError::Policy("P0001".into())),
        "slow" => Err(AuthorizationError::Canceled),
        "no-partition" => Err(AuthorizationError::MissingPartition),
        "no-connections" => Err(AuthorizationError::NoConnections),
        "unavailable" => Err(AuthorizationError::Unavailable),
        "busy" => Err(AuthorizationError::Busy),
        granted => rights(granted.starts_with("granted")),
    }
}

impl RestServer {
    pub(crate) async fn start(options: Options) -> Self {
        let directory = Directory::new(2, [1, 2], Instant::now());
        let meters = Arc::new(Meters::new(options.limits));
        let (authorizer, inquiries) = Authorizer::queue(1000);
        let asked = Arc::default();
        tokio::spawn(answer(inquiries, Arc::clone(&asked)));
        let shards = shards(&directory, &authorizer, &meters);
        let sinks = shards.iter().cloned().map(ShardSink).collect();
        let health = Health::starting();
        let broadcaster = Broadcaster::new(directory, sinks);
        let services = Arc::new(with(broadcaster, authorizer, meters, health, options));
        let gate_config = GateConfig {
            connections_max: options.connections_max,
            refusal_delay: Duration::ZERO,
            ..GateConfig::default()
        };
        let gate = Gate::new(
            gate_config,
            Arc::clone(&services.verifier),
            Arc::clone(&services.meters),
            shards.clone(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let app = router(gate, Arc::clone(&services), Additions::default());
        let http = tokio::spawn(serve(listener, app, HttpConfig::default(), async {
            let _ = stopped.await;
        }));
        Self { address, services, asked, shards, stop, http }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.http.await.unwrap();
        for shard in &self.shards {
            shard.drain(1001, "", Duration::from_millis(50)).await;
        }
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn ask(&self, request: &Ask) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that has heard enough may stop reading.
        let _ = stream.write_all(&request.bytes()).await;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        let read = async {
            loop {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) => answer.extend_from_slice(&buffer[..length]),
                }
                // What follows an upgrade is no answer.
                if answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer");
        Answered::read(&answer)
    }

    /// A client that has joined `realtime:<topic>`, in version 1 or 2.
    pub(crate) async fn join(&self, version: u8, topic: &str) -> Client {
        let url =
            format!("ws://{}/socket/websocket?apikey={}&vsn={version}.0.0", self.address, project_token());
        let (mut client, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let topic = format!("realtime:{topic}");
        let payload = json!({ "config": { "broadcast": {}, "presence": {}, "postgres_changes": [] } });
        let join = match version {
            1 => json!({ "topic": topic, "event": "phx_join", "payload": payload, "ref": "1" }),
            _ => json!(["1", "1", topic, "phx_join", payload]),
        };
        client.send(Message::text(join.to_string())).await.unwrap();
        let reply = next(&mut client).await;
        assert!(reply.to_text().unwrap().contains(r#""status":"ok""#), "{reply}");
        client
    }
}

/// Puts every inquiry's subject on record and answers it.
async fn answer(mut inquiries: mpsc::Receiver<Inquiry>, asked: Arc<Mutex<Vec<Subject>>>) {
    while let Some(Inquiry { subject, reply, .. }) = inquiries.recv().await {
        let answer = decide(&subject.topic);
        asked.lock().unwrap().push(subject);
        if let ReplyTo::Caller(caller) = reply {
            // Whoever asked may have gone.
            let _ = caller.send(answer);
        }
    }
}

/// The next message that is no state of presence.
pub(crate) async fn next(client: &mut Client) -> Message {
    loop {
        let message = crate::echo::next(client).await;
        if !message.to_text().is_ok_and(|text| text.contains("presence_state")) {
            return message;
        }
    }
}

/// The next message as JSON.
pub(crate) async fn next_json(client: &mut Client) -> Value {
    serde_json::from_str(next(client).await.to_text().unwrap()).unwrap()
}

pub(crate) fn project_token() -> String {
    token(&json!({ "role": "anon", "exp": unix_seconds() + 600 }))
}

/// A token with neither role nor expiry.
pub(crate) fn operator_token() -> String {
    sign(&secret(), &serde_json::Map::new())
}

/// A request in the making.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// With a client's token.
    pub(crate) fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target).bearer(&project_token())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, media: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", media)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nhost: realtime-dev.localhost\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let named = |wanted: &str| self.headers.iter().any(|(name, _)| name == wanted);
        if !named("connection") {
            head.push_str("connection: close\r\n");
        }
        if !named("content-length") && !named("transfer-encoding") {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        [head.into_bytes(), self.body.clone()].concat()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answered {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head[9..12].parse().unwrap();
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

type Handles = Vec<ShardHandle<Shard>>;

fn shards(directory: &Arc<Directory>, authorizer: &Authorizer, meters: &Arc<Meters>) -> Handles {
    let all: Arc<OnceLock<Handles>> = Arc::default();
    // Nobody follows a database.
    let (feed, _) = mpsc::channel(1);
    let start = |index| {
        let links = Links {
            verifier: Arc::new(Tokens(verifier())),
            clock: Box::new(unix_seconds),
            feed: feed.clone(),
            peers: Box::new(Others(Arc::clone(&all))),
            authorizer: authorizer.clone(),
            engine: Arc::default(),
            meters: Arc::clone(meters),
            messaging: None,
            counters: Arc::default(),
        };
        let directory = Arc::clone(directory);
        let make = move || Shard::new(index, hub::Config::default(), directory, links);
        spawn(index, ShardConfig::default(), make).unwrap().0
    };
    let handles: Handles = (0..2).map(start).collect();
    let _ = all.set(handles.clone());
    handles
}

struct Tokens(Verifier);

impl TokenVerifier for Tokens {
    fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenRefusal> {
        self.0.verify(token, now_unix).map_err(|error| TokenRefusal {
            join_reason: error.join_reason(),
            system_message: error.system_message(),
        })
    }
}

struct Others(Arc<OnceLock<Handles>>);

impl Peers for Others {
    fn try_send(&self, shard: u16, command: ShardCommand) -> Result<(), PeerFull> {
        let shard = self.0.get().and_then(|all| all.get(usize::from(shard))).ok_or(PeerFull)?;
        shard.try_send(command).map_err(|_| PeerFull)
    }
}

/// The way to one shard.
pub(crate) struct ShardSink(ShardHandle<Shard>);

impl Sink for ShardSink {
    async fn send(&self, command: ShardCommand) -> bool {
        self.0.send(command).await.is_ok()
    }
}

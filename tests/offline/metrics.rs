//! Who may read the metrics, and what is on the page.

use std::net::SocketAddr;
use std::sync::Arc;

use rowcast::auth::{AdminVerifier, Rules, Secret, sign};
use rowcast::hub::{Config, Counters, Meters, ServerLimits};
use rowcast::postgres::connect::Database;
use rowcast::postgres::rpc::{self, Rpc};
use rowcast::protocol::Dialect::V2;
use rowcast::rest::{HttpConfig, Readers, Sources, metrics_routes, serve};
use rowcast::socket::ShardMetrics;
use rowcast::telemetry::clock::unix_seconds;
use rowcast::telemetry::health::Health;
use rowcast::telemetry::page::Place;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::script::Server;

fn secret(text: &str) -> Secret {
    Secret::new(format!("{text} secret of at least thirty-two characters")).unwrap()
}

fn bearer(by: &str, claims: &Value) -> String {
    format!("Authorization: Bearer {}\r\n", sign(&secret(by), claims.as_object().unwrap()))
}

fn sources(meters: Arc<Meters>, channels: Vec<Arc<Counters>>) -> Arc<Sources> {
    let place =
        Place { tenant: "realtime-dev".to_owned(), region: String::new(), host: "machine".to_owned() };
    Arc::new(Sources {
        place,
        started_unix: unix_seconds(),
        health: Health::starting(),
        meters,
        connections_max: 7,
        sockets: vec![Arc::<ShardMetrics>::default()],
        channels,
        feed: Arc::default(),
        authorizations: Arc::default(),
        rpc: Rpc::new(rpc::Config::new(Database::parse("postgres://nobody@127.0.0.1:1/none").unwrap())),
        http: Arc::default(),
        others: Vec::new(),
    })
}

/// Serves the page until the set is dropped.
async fn start(readers: Readers) -> (SocketAddr, JoinSet<()>) {
    let meters = Arc::new(Meters::new(ServerLimits::default()));
    let routes = metrics_routes(sources(meters, vec![Arc::default()]), readers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener, routes, HttpConfig::default(), std::future::pending()));
    (address, serving)
}

async fn request(address: SocketAddr, line: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn a_token_of_the_operators_reads_the_page_and_nothing_else_does() {
    let verifier = AdminVerifier::new(&[secret("operator")], [], Rules::default());
    let (address, _serving) = start(Readers::Bearers(verifier)).await;
    let now = unix_seconds();
    let good = bearer("operator", &json!({}));
    for path in ["/metrics", "/metrics/eu-west-1"] {
        let (status, head, body) = request(address, &format!("GET {path}"), &good).await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(body.starts_with("# HELP rowcast_build_info "), "{body}");
    }
    let (status, _, body) = request(address, "HEAD /metrics", &good).await;
    assert_eq!((status, body.as_str()), (200, ""));
    let (status, ..) = request(address, "POST /metrics", &good).await;
    assert_eq!(status, 405);
    for refused in [
        String::new(),
        bearer("another", &json!({})),
        bearer("operator", &json!({"exp": now - 1})),
        good.replace("Bearer", "bearer"),
        good.replace("Authorization", "apikey"),
    ] {
        let (status, _, body) = request(address, "GET /metrics", &refused).await;
        assert_eq!((status, body.as_str()), (403, ""), "{refused}");
    }
}

#[tokio::test]
async fn without_a_secret_nobody_reads_the_page() {
    let nobody = AdminVerifier::new(&[], [], Rules::default());
    let (address, _serving) = start(Readers::Bearers(nobody)).await;
    for headers in [String::new(), bearer("operator", &json!({}))] {
        assert_eq!(request(address, "GET /metrics", &headers).await.0, 403);
    }
}

#[tokio::test]
async fn an_address_for_the_metrics_alone_asks_for_no_token() {
    let (address, _serving) = start(Readers::Anybody).await;
    assert_eq!(request(address, "GET /metrics", "").await.0, 200);
    assert_eq!(request(address, "GET /healthcheck", "").await.0, 404);
}

/// The value of the sample with this name and these labels.
fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not on the page:\n{page}")).parse().unwrap()
}

#[test]
fn the_page_counts_what_happened_and_names_no_topic() {
    let mut server = Server::limited(2, Config::default(), ServerLimits::default());
    let clients = [server.connect(0, 0, V2), server.connect(1, 0, V2)];
    for client in clients {
        server.join(client, "1", "planted-topic", json!({"broadcast": {"self": true}}));
    }
    let message = json!({"type": "broadcast", "event": "e", "payload": {"planted": "payload"}});
    server.push(clients[0], "1", "2", "realtime:planted-topic", "broadcast", message);
    server.push(clients[0], "1", "3", "realtime:planted-topic", "phx_leave", json!({}));
    server.push(clients[1], "2", "2", "realtime:", "phx_join", json!({}));
    server.advance_to(5_000);
    server.disconnect(clients[0]);
    let channels = server.shards.iter().map(|shard| Arc::clone(shard.counters())).collect();
    let page = sources(Arc::clone(&server.meters), channels).page();
    let stock = r#"{tenant="realtime-dev",region="",host="machine",id="machine"}"#;
    for (name, expected) in [
        (r#"rowcast_sockets_open{dialect="2.0.0"}"#.to_owned(), 1.0),
        (r#"rowcast_sockets_open{dialect="1.0.0"}"#.to_owned(), 0.0),
        ("rowcast_channels_open".to_owned(), 1.0),
        ("rowcast_users_joined".to_owned(), 1.0),
        ("rowcast_joins_granted_total".to_owned(), 2.0),
        ("rowcast_joins_refused_total".to_owned(), 1.0),
        ("rowcast_broadcasts_accepted_total".to_owned(), 1.0),
        (r#"rowcast_rate_per_second{of="events"}"#.to_owned(), 0.6),
        (r#"rowcast_rate_limit_per_second{of="joins"}"#.to_owned(), 100.0),
        (format!("realtime_channel_events{stock}"), 3.0),
        (format!("realtime_channel_joins{stock}"), 2.0),
        (format!("realtime_connections_connected{stock}"), 1.0),
        (r#"phoenix_connections_max{region="",host="machine",id="machine"}"#.to_owned(), 7.0),
    ] {
        assert!((sample(&page, &name) - expected).abs() < 1e-9, "{name}");
    }
    assert!(sample(&page, r#"rowcast_errors_total{code="TopicNameRequired"}"#) >= 1.0);
    assert!(sample(&page, "process_resident_memory_bytes") > 1_000_000.0);
    assert!(!page.contains("planted"));
}

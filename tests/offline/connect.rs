//! Who gets a socket, and the words for those who do not.

use std::time::{Duration, Instant};

use rowcast::auth::{Secret, sign};
use rowcast::hub::ServerLimits;
use rowcast::rest::HttpConfig;
use rowcast::socket::GateConfig;
use rowcast::telemetry::clock::unix_seconds;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::echo::{Options, TestServer, assert_echo, token, valid_token};

/// Status, content type and body of the answer to a raw request.
async fn request(server: &TestServer, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    (status, content_type.to_owned(), body.to_owned())
}

const UPGRADE: &str = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

async fn upgrade(server: &TestServer, target: &str, headers: &str) -> (u16, String, String) {
    // HTTP/1.1 answers to a refused upgrade keep the connection; the 101 case is read elsewhere.
    let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{UPGRADE}{headers}\r\n");
    request(server, &head).await
}

fn refused(text: &str) -> (u16, String, String) {
    (401, "application/json; charset=utf-8".to_owned(), json!({ "error": text }).to_string())
}

#[tokio::test]
async fn bad_tokens_are_refused_in_known_words() {
    let server = TestServer::start(Options::default()).await;
    let now = unix_seconds();
    let claims = json!({"role": "anon", "exp": now + 60});
    let foreign = sign(&Secret::new("another").unwrap(), claims.as_object().unwrap());
    for (apikey, words) in [
        ("".to_owned(), "The token provided is not a valid JWT"),
        ("not-a-token".to_owned(), "The token provided is not a valid JWT"),
        (foreign, "Failed to validate JWT signature"),
        (token(&json!({"role": "anon", "exp": now - 5})), "Token has expired"),
        (token(&json!({"exp": now + 60})), "Fields `role` and `exp` are required in JWT"),
        (token(&json!({"role": "anon"})), "Fields `role` and `exp` are required in JWT"),
        (
            "eyJhbGciOiJub25lIn0.e30.".to_owned(),
            "Failed to generate JWT signer, check your JWT secret or JWKS configuration",
        ),
    ] {
        for path in ["/socket/websocket", "/realtime/v1/websocket"] {
            let answer = upgrade(&server, &format!("{path}?apikey={apikey}&vsn=2.0.0"), "").await;
            assert_eq!(answer, refused(words));
        }
        let answer = upgrade(&server, "/socket/websocket", &format!("x-api-key: {apikey}\r\n")).await;
        assert_eq!(answer, refused(words));
    }
    assert_eq!(upgrade(&server, "/socket/websocket", "").await, refused("API key is missing"));
    let odd = token(&json!({"role": "anon", "exp": "soon"}));
    let (status, _, body) = upgrade(&server, &format!("/socket/websocket?apikey={odd}"), "").await;
    assert_eq!((status, body.as_str()), (500, r#"{"error":"Error connecting to Realtime"}"#));
    server.stop().await;
}

#[tokio::test]
async fn limits_of_the_whole_server_refuse_connections_after_a_pause() {
    let delay = Duration::from_millis(100);
    let gate = Some(GateConfig { refusal_delay: delay, ..GateConfig::default() });
    let limits = ServerLimits { concurrent_users_max: 1, joins_per_second_max: 1, ..ServerLimits::NONE };
    let server = TestServer::start(Options { gate, limits, ..Options::default() }).await;
    let target = format!("/socket/websocket?apikey={}", valid_token());
    let refusal = async || {
        let started = Instant::now();
        let (status, content_type, body) = upgrade(&server, &target, "").await;
        assert_eq!((status, content_type.as_str()), (429, "application/json; charset=utf-8"));
        assert!(started.elapsed() >= delay);
        body
    };
    server.meters.joins.add(1_000);
    server.meters.joins.tick();
    assert_eq!(refusal().await, r#"{"error":"Too many joins per second"}"#);
    // Users are looked at first.
    assert!(server.meters.users.enter());
    assert_eq!(refusal().await, r#"{"error":"Too many connected users"}"#);
    // And before both, the token.
    let answer = upgrade(&server, "/socket/websocket?apikey=bad", "").await;
    assert_eq!(answer, refused("The token provided is not a valid JWT"));
    server.meters.users.leave();
    (0..12).for_each(|_| server.meters.joins.tick());
    assert_echo(&mut server.connect().await, "in").await;
    server.stop().await;
}

#[tokio::test]
async fn the_header_wins_over_the_query() {
    let server = TestServer::start(Options::default()).await;
    let good = valid_token();
    let answer = upgrade(&server, &format!("/socket/websocket?apikey={good}"), "x-api-key: bad\r\n").await;
    assert_eq!(answer, refused("The token provided is not a valid JWT"));
    let answer = upgrade(&server, &format!("/socket/websocket?apikey={good}"), "x-api-key:\r\n").await;
    assert_eq!(answer, refused("The token provided is not a valid JWT"));
    let target = format!("ws://{}/realtime/v1/websocket?apikey=bad&vsn=1.0.0", server.address);
    let mut request = target.into_client_request().unwrap();
    request.headers_mut().insert("X-Api-Key", good.parse().unwrap());
    request.headers_mut().insert("X-Client-Info", "test/1".parse().unwrap());
    let (mut client, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_echo(&mut client, "in").await;
    let seen = server.log.lock().unwrap().sessions.clone();
    assert!(seen[0].starts_with("V1 anon [(\"x-"), "{seen:?}");
    assert!(seen[0].contains(&format!(r#"("x-api-key", "{good}")"#)));
    assert!(seen[0].contains(r#"("x-client-info", "test/1")"#));
    server.stop().await;
}

#[tokio::test]
async fn unsupported_versions_and_methods_are_refused_at_once() {
    let gate = Some(GateConfig { refusal_delay: Duration::from_secs(600), ..GateConfig::default() });
    let server = TestServer::start(Options { gate, ..Options::default() }).await;
    for vsn in ["", "3.0.0", "1.1.0", "two"] {
        let (status, _, body) =
            upgrade(&server, &format!("/socket/websocket?apikey=bad&vsn={vsn}"), "").await;
        assert_eq!((status, body.as_str()), (403, ""));
    }
    for method in ["POST", "PUT", "DELETE"] {
        let head = format!("{method} /socket/websocket HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (status, _, body) = request(&server, &head).await;
        assert_eq!((status, body.as_str()), (400, ""));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_good_token_without_a_good_handshake_is_refused() {
    let server = TestServer::start(Options::default()).await;
    let target = format!("/socket/websocket?apikey={}", valid_token());
    for (headers, expected) in [
        ("Connection: close\r\n".to_owned(), 426),
        (UPGRADE.replace("websocket", "h2c"), 426),
        (UPGRADE.replace(": 13", ": 8"), 426),
        (UPGRADE.replace("AAAA", ""), 400),
        (UPGRADE.replace("Sec-WebSocket-Key", "Other"), 400),
    ] {
        let (status, ..) =
            request(&server, &format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
        assert_eq!(status, expected, "{headers}");
    }
    server.stop().await;
}

#[tokio::test]
async fn refusals_wait_but_only_so_many_at_once() {
    let delay = Duration::from_millis(300);
    let gate = Some(GateConfig { refusal_delay: delay, refusals_waiting_max: 2, ..GateConfig::default() });
    let server = TestServer::start(Options { gate, ..Options::default() }).await;
    let started = Instant::now();
    let one = async || {
        upgrade(&server, "/socket/websocket?apikey=bad", "").await;
        started.elapsed()
    };
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    let late = [a, b, c, d].iter().filter(|took| **took >= delay).count();
    assert_eq!(late, 2, "{a:?} {b:?} {c:?} {d:?}");
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_refused_until_one_ends() {
    let gate = Some(GateConfig { connections_max: 1, ..GateConfig::default() });
    let server = TestServer::start(Options { gate, ..Options::default() }).await;
    let mut client = server.connect().await;
    let target = format!("/socket/websocket?apikey={}", valid_token());
    let (status, _, body) = upgrade(&server, &target, "").await;
    assert_eq!((status, body.as_str()), (503, r#"{"error":"Too many connections"}"#));
    client.close(None).await.unwrap();
    drop(client);
    server.until("it is gone", |server| server.metrics().connections.get() == 0).await;
    assert_echo(&mut server.connect().await, "in").await;
    server.stop().await;
}

#[tokio::test]
async fn clients_that_leave_during_the_handshake_leave_nothing_behind() {
    let server = TestServer::start(Options::default()).await;
    let target = format!("/socket/websocket?apikey={}", valid_token());
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Closing with unread data resets the stream.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
    }
    assert_echo(&mut server.connect().await, "in").await;
    server.until("they are gone", |server| server.metrics().connections.get() <= 1).await;
    server.stop().await;
}

#[tokio::test]
async fn health_is_told_to_anybody() {
    let server = TestServer::start(Options::default()).await;
    let ask = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    };
    let (status, _, body) = request(&server, &ask("GET", "/healthcheck")).await;
    assert_eq!((status, body.as_str()), (503, "starting"));
    server.health.set_live();
    let (status, _, body) = request(&server, &ask("GET", "/healthcheck")).await;
    assert_eq!((status, body.as_str()), (200, "ok"));
    let (status, _, body) = request(&server, &ask("HEAD", "/healthcheck")).await;
    assert_eq!((status, body.as_str()), (200, ""));
    server.health.set_down("the stream is down");
    let (status, ..) = request(&server, &ask("HEAD", "/healthcheck")).await;
    assert_eq!(status, 503);
    for path in ["/nowhere", "/realtime/v1/healthcheck", "/socket", "/socket/websocket/x"] {
        let (status, _, body) = request(&server, &ask("GET", path)).await;
        assert_eq!((status, body.as_str()), (404, r#"{"message":"Not Found"}"#));
    }
    server.stop().await;
}

#[tokio::test]
async fn half_a_request_neither_stays_nor_delays_a_stop() {
    let http = HttpConfig { head_timeout: Duration::from_millis(200), ..HttpConfig::default() };
    let server = TestServer::start(Options { http, ..Options::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthcheck HTTP/1.1\r\nHo").await.unwrap();
    let mut rest = Vec::new();
    // Whether it ends with an answer or a reset, it ends.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.unwrap();
    server.stop().await;

    let http = HttpConfig {
        head_timeout: Duration::from_secs(600),
        drain_timeout: Duration::from_millis(100),
        ..HttpConfig::default()
    };
    let server = TestServer::start(Options { http, ..Options::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthcheck HTTP/1.1\r\nHo").await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), server.stop()).await.unwrap();
}

#[tokio::test]
async fn a_connection_without_a_request_ends_after_a_while() {
    let http = HttpConfig { head_timeout: Duration::from_millis(200), ..HttpConfig::default() };
    let server = TestServer::start(Options { http, ..Options::default() }).await;
    for (said, answer) in [("", ""), ("GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut read)).await;
        ended.expect("an end").unwrap();
        let read = String::from_utf8(read).unwrap();
        assert!(read.starts_with(answer) && read.is_empty() == answer.is_empty(), "{read}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_header_over_its_bound_is_refused_on_every_path() {
    let server = TestServer::start(Options::default()).await;
    for path in ["/healthcheck", "/socket/websocket", "/nowhere"] {
        for (length, refused) in [(4_096, false), (4_097, true)] {
            let header = format!("x-api-key: {}\r\n", "x".repeat(length));
            let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
            let (status, _, body) = request(&server, &head).await;
            assert_eq!((status == 431, refused && !body.is_empty()), (refused, false), "{path} {length}");
        }
    }
    server.stop().await;
}

//! Forwarding to a real server, which says what it was asked.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::server::{Ask, Options, RestServer, project_token};

const WITHIN: Duration = Duration::from_secs(20);

/// What it was asked, as JSON; bodies of `/base/echo` come back as they come, and `/base/broken` breaks off.
async fn told(request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        "/base/echo" => return Response::new(Body::from_stream(body.into_data_stream())),
        "/base/broken" => {
            let parts = futures_util::stream::iter([Ok("begun"), Err(std::io::Error::other("broken"))]);
            return Response::new(Body::from_stream(parts));
        }
        _ => {}
    }
    let headers =
        parts.headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())));
    let headers: serde_json::Map<String, Value> = headers.collect();
    let mut bytes = 0;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        bytes += chunk.unwrap().len();
    }
    let told = json!({ "method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers, "bytes": bytes });
    Response::builder()
        .status(StatusCode::IM_A_TEAPOT)
        .header("content-range", "0-1/2")
        .header("access-control-allow-origin", "https://only.example.com")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .body(Body::from(told.to_string()))
        .unwrap()
}

/// A server that has another one behind it, until the set is dropped.
async fn start() -> (RestServer, SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    let routes = axum::Router::new().fallback(told);
    serving.spawn(rowcast::rest::serve(
        listener,
        routes,
        rowcast::rest::HttpConfig::default(),
        std::future::pending(),
    ));
    let options = Options { postgrest: Some(address), ..Options::default() };
    (RestServer::start(options).await, address, serving)
}

#[tokio::test]
async fn requests_arrive_as_they_were_sent_and_answers_come_back_so() {
    let (server, upstream, _serving) = start().await;
    for (method, target, uri) in [
        ("GET", "/rest/v1/todos?select=*,a(b)&id=in.(1,2)", "/base/todos?select=*,a(b)&id=in.(1,2)"),
        ("PATCH", "/rest/v1/t%C3%A4%2Fx", "/base/t%C3%A4%2Fx"),
        ("DELETE", "/rest/v1/todos", "/base/todos"),
        ("PUT", "/rest/v1/rpc/a/b", "/base/rpc/a/b"),
        ("GET", "/rest/v1/", "/base/"),
        // What goes beyond calls of functions.
        ("POST", "/rest/v1/rpc/f?id=eq.5", "/base/rpc/f?id=eq.5"),
        ("GET", "/rest/v1/rpc/f?select=a(b)", "/base/rpc/f?select=a(b)"),
    ] {
        let ask = Ask::new(method, target)
            .bearer(&project_token())
            .header("prefer", "count=exact")
            .header("te", "trailers")
            .header("proxy-authorization", "secret")
            .body("application/json", "{\"a\":1}");
        let answer = server.ask(&ask).await;
        assert_eq!(answer.status, 418, "{method} {target}");
        let told = answer.json();
        assert_eq!((&told["method"], &told["uri"], &told["bytes"]), (&json!(method), &json!(uri), &json!(7)));
        let headers = &told["headers"];
        assert_eq!(headers["authorization"], format!("Bearer {}", project_token()));
        assert_eq!(
            (&headers["prefer"], &headers["host"]),
            (&json!("count=exact"), &json!(upstream.to_string()))
        );
        assert!(headers.get("te").is_none() && headers.get("proxy-authorization").is_none(), "{headers}");
        assert_eq!(answer.header("content-range"), Some("0-1/2"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("x-hop"), None);
        assert!(answer.header("x-request-id").is_some());
    }
    // A key is put where PostgREST looks for a token.
    let answer = server.ask(&Ask::get("/rest/v1/todos").header("apikey", &project_token())).await;
    assert_eq!(answer.json()["headers"]["authorization"], format!("Bearer {}", project_token()));
    // What is done here is not handed on.
    assert_eq!(server.ask(&Ask::get("/rest/v1/rpc/f")).await.status, 503);
    assert_eq!(server.ask(&Ask::get("/realtime/v1/api/ping")).await.status, 200);
    server.stop().await;
}

/// Reads until `wanted` has come.
async fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let read = async {
        while !seen.contains(wanted) {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(length > 0, "it ended before {wanted:?}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    tokio::time::timeout(WITHIN, read).await.unwrap_or_else(|_| panic!("{wanted:?} never came"));
}

#[tokio::test]
async fn bodies_go_through_piece_by_piece_in_both_directions() {
    let (server, _, _serving) = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /rest/v1/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}5\r\nfirst\r\n").as_bytes()).await.unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "first").await;
    stream.write_all(b"6\r\nsecond\r\n").await.unwrap();
    read_until(&mut stream, &mut seen, "second").await;
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut stream, &mut seen, "0\r\n\r\n").await;
    drop(stream);
    // Far more than any buffer on the way holds.
    let large = Ask::new("POST", "/rest/v1/todos").body("application/json", vec![b' '; 20_000_000]);
    assert_eq!(server.ask(&large).await.json()["bytes"], 20_000_000);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_away_or_breaks_off_is_no_harm() {
    let (server, _, mut serving) = start().await;
    let broken = server.ask(&Ask::get("/rest/v1/broken")).await;
    // By then its head may have gone out, or not.
    assert!([200, 502].contains(&broken.status), "{broken:?}");
    assert_eq!(server.ask(&Ask::get("/rest/v1/todos")).await.status, 418);
    serving.shutdown().await;
    let away = async {
        loop {
            let answer = server.ask(&Ask::get("/rest/v1/todos")).await;
            if answer.status != 418 {
                return answer;
            }
        }
    };
    let away = tokio::time::timeout(WITHIN, away).await.unwrap();
    assert_eq!((away.status, away.json()["code"].as_str()), (502, Some("PGRST000")));
    assert_eq!(away.header("retry-after"), Some("1"));
    assert_eq!(server.ask(&Ask::get("/api/ping")).await.status, 200);
    server.stop().await;
}

//! What answers have in common: names, rates, methods, and what browsers need.

use std::time::Duration;

use rowcast::hub::ServerLimits;
use serde_json::json;

use super::server::{Answered, Ask, Options, RestServer};

#[tokio::test]
async fn every_answer_has_the_name_of_its_request() {
    let server = RestServer::start(Options::default()).await;
    for path in ["/healthcheck", "/api/ping", "/nowhere", "/api/tenants", "/socket/websocket", "/"] {
        let fresh = server.ask(&Ask::get(path)).await;
        assert_eq!(fresh.header("x-request-id").map(str::len), Some(32), "{path}");
        let given = Ask::get(path).header("x-request-id", "given-by-the-client");
        assert_eq!(server.ask(&given).await.header("x-request-id"), Some("given-by-the-client"), "{path}");
        let both = given.header("baggage", "request-id=given-in-baggage");
        assert_eq!(server.ask(&both).await.header("x-request-id"), Some("given-in-baggage"), "{path}");
    }
    server.stop().await;
}

fn rates(answer: &Answered) -> [Option<&str>; 3] {
    ["x-rate-rolling", "x-rate-limit", "x-rate-limit-remaining"].map(|name| answer.header(name))
}

#[tokio::test]
async fn the_rate_of_requests_is_told_and_held_to() {
    let limits = ServerLimits { events_per_second_max: 3, ..ServerLimits::NONE };
    let server = RestServer::start(Options { limits, ..Options::default() }).await;
    let ping = server.ask(&Ask::get("/api/ping")).await;
    assert_eq!((ping.status, ping.json()), (200, json!({ "message": "Success" })));
    assert_eq!(rates(&ping), [Some("0"), Some("3"), Some("3")]);
    server.services.meters.requests.tick();
    let post = server.ask(&Ask::new("POST", "/realtime/v1/api/broadcast")).await;
    assert_eq!((post.status, rates(&post)), (401, [Some("1"), Some("3"), Some("2")]));
    server.services.meters.requests.add(10);
    server.services.meters.requests.tick();
    for path in ["/api/ping", "/realtime/v1/api/ping"] {
        let refused = server.ask(&Ask::get(path)).await;
        assert_eq!((refused.status, refused.json()), (429, json!({ "message": "Too many requests" })));
        assert_eq!(rates(&refused), [Some("6"), Some("3"), Some("0")]);
        // Twelve events in two ticks; after five of them they are fewer than three each.
        assert_eq!(refused.header("retry-after"), Some("3"));
    }
    // Calls, and what is forwarded, are no part of it: here there is neither a database nor a PostgREST.
    let counted = server.services.meters.requests.total();
    for (ask, status) in api() {
        let answer = server.ask(&ask).await;
        assert_eq!((answer.status, rates(&answer)), (status, [None; 3]), "{ask:?}");
    }
    assert_eq!(server.services.meters.requests.total(), counted);
    // Even before the token is looked at.
    let post = server.ask(&Ask::new("POST", "/api/broadcast")).await;
    assert_eq!(post.status, 429);
    let health = server.ask(&Ask::get("/healthcheck")).await;
    assert_eq!((health.status, rates(&health)), (503, [None; 3]));
    server.stop().await;
}

/// Requests under `/rest/v1`, and what they get where nobody answers them.
fn api() -> [(Ask, u16); 3] {
    let call = Ask::new("POST", "/rest/v1/rpc/f").json(&json!({}));
    [(call, 503), (Ask::get("/rest/v1/todos"), 404), (Ask::get("/rest/v1/"), 404)]
}

#[tokio::test]
async fn under_rest_v1_a_rate_of_its_own_is_held_to_where_there_is_one() {
    let limits = ServerLimits { rest_requests_per_second_max: 3, ..ServerLimits::NONE };
    let server = RestServer::start(Options { limits, ..Options::default() }).await;
    let meter = &server.services.meters.rest_requests;
    for (ask, status) in api() {
        let answer = server.ask(&ask).await;
        assert_eq!((answer.status, rates(&answer)), (status, [Some("0"), Some("3"), Some("3")]), "{ask:?}");
    }
    assert_eq!(meter.total(), 3);
    meter.tick();
    let counted = meter.total();
    for _ in 0..2 {
        for (ask, _) in api() {
            let refused = server.ask(&ask).await;
            let body =
                json!({ "code": "PT429", "message": "Too many requests", "details": null, "hint": null });
            assert_eq!((refused.status, refused.json()), (429, body), "{ask:?}");
            assert_eq!(rates(&refused), [Some("3"), Some("3"), Some("0")]);
            assert_eq!(refused.header("retry-after"), Some("1"));
        }
    }
    let preflight = Ask::new("OPTIONS", "/rest/v1/rpc/f").header("origin", "https://app.example.com");
    let preflight = server.ask(&preflight.header("access-control-request-method", "POST")).await;
    assert_eq!((preflight.status, rates(&preflight)), (200, [None; 3]));
    assert_eq!(server.ask(&Ask::get("/api/ping")).await.status, 200);
    assert_eq!(meter.total(), counted, "what was refused does not count");
    meter.tick();
    for (ask, status) in api() {
        assert_eq!(server.ask(&ask).await.status, status, "a second later: {ask:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn without_a_limit_no_rate_is_told() {
    let server = RestServer::start(Options::default()).await;
    assert_eq!(rates(&server.ask(&Ask::get("/api/ping")).await), [None; 3]);
    server.stop().await;
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = RestServer::start(Options::default()).await;
    for path in ["/healthcheck", "/api/ping", "/", "/api/openapi"] {
        let (get, head) = (server.ask(&Ask::get(path)).await, server.ask(&Ask::new("HEAD", path)).await);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = RestServer::start(Options::default()).await;
    for (method, path, allow) in [
        ("GET", "/api/broadcast", "POST"),
        ("PUT", "/api/broadcast/a/events/b", "POST"),
        ("GET", "/realtime/v1/api/broadcast/a/events/b", "POST"),
        ("POST", "/api/ping", "GET,HEAD"),
        ("DELETE", "/healthcheck", "GET,HEAD"),
        ("OPTIONS", "/api/tenants", "GET,HEAD,POST"),
    ] {
        let answer = server.ask(&Ask::new(method, path)).await;
        assert_eq!((answer.status, answer.json()), (405, json!({ "message": "Method Not Allowed" })));
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_of_any_origin_may_ask() {
    let server = RestServer::start(Options::default()).await;
    let headers = "authorization,apikey,content-type,x-client-info";
    for path in ["/api/broadcast", "/realtime/v1/api/broadcast/a/events/b", "/api/ping", "/healthcheck"] {
        let preflight = Ask::new("OPTIONS", path)
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", headers);
        let preflight = server.ask(&preflight).await;
        assert_eq!((preflight.status, preflight.body.as_str()), (200, ""), "{path}");
        assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
        assert_eq!(preflight.header("access-control-allow-headers"), Some(headers));
        assert_eq!(preflight.header("access-control-allow-methods"), Some("GET,HEAD,POST"));
        assert_eq!(preflight.header("access-control-max-age"), Some("7200"));
        // Refusals can be read as well: by a wrong method, and without a token.
        for method in ["DELETE", "POST", "GET"] {
            let answer = server.ask(&Ask::new(method, path).header("origin", "https://app.example")).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{method} {path}");
            let exposed = "x-request-id,retry-after,x-rate-rolling,x-rate-limit,x-rate-limit-remaining";
            assert_eq!(answer.header("access-control-expose-headers"), Some(exposed));
        }
    }
    for path in ["/api/tenants", "/"] {
        let answer = server.ask(&Ask::get(path).header("origin", "https://app.example")).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another_whatever_the_answers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = RestServer::start(Options::default()).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let refused = "POST /api/broadcast HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n".to_owned()
        + &"x".repeat(100_000);
    stream.write_all(refused.as_bytes()).await.unwrap();
    stream.write_all(b"GET /api/ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    let read = stream.read_to_string(&mut answers);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    assert!(answers.starts_with("HTTP/1.1 401"), "{answers}");
    assert!(answers.ends_with(r#"{"message":"Success"}"#), "{answers}");
    server.stop().await;
}

//! What is refused under `/rest/v1` before any database is asked, and what browsers are told.

use rowcast::telemetry::clock::unix_seconds;
use serde_json::{Value, json};

use super::server::{Answered, Ask, Options, RestServer, project_token};
use crate::echo::token;

const CALL: &str = "/rest/v1/rpc/f";

fn post(target: &str) -> Ask {
    Ask::new("POST", target).bearer(&project_token())
}

fn code(answer: &Answered) -> Value {
    let body = answer.json();
    for key in ["code", "message", "details", "hint"] {
        assert!(body.get(key).is_some(), "{key} is missing: {body}");
    }
    body["code"].clone()
}

#[tokio::test]
async fn bad_requests_are_refused_as_postgrest_refuses_them() {
    let server = RestServer::start(Options::default()).await;
    let expired = token(&json!({ "role": "anon", "exp": unix_seconds() - 9 }));
    let object = "application/vnd.pgrst.object+json";
    for (ask, status, expected) in [
        (Ask::new("POST", CALL).bearer(&expired).json(&json!({})), 401, "PGRST301"),
        (Ask::new("POST", CALL).bearer("no token").json(&json!({})), 401, "PGRST301"),
        (Ask::new("POST", CALL).header("authorization", "Bearer ").json(&json!({})), 401, "PGRST301"),
        (
            Ask::new("POST", CALL).header("apikey", "sb_publishable_unknown_0123456789").json(&json!({})),
            401,
            "PGRST301",
        ),
        (post(CALL).body("application/json", "{"), 400, "PGRST102"),
        (post(CALL).body("application/json", vec![0xff]), 400, "PGRST102"),
        (post(CALL).body("text/plain", "x"), 400, "PGRST102"),
        (post(CALL).header("content-profile", "other").json(&json!({})), 406, "PGRST106"),
        (Ask::get(CALL).header("accept-profile", "other"), 406, "PGRST106"),
        (post(CALL).header("accept", "text/csv").json(&json!({})), 406, "PGRST107"),
        (post(&format!("{CALL}?id=eq.5")).json(&json!({})), 400, "PGRST100"),
        (post(&format!("{CALL}?select=a(b)")).json(&json!({})), 400, "PGRST100"),
        (Ask::get(format!("{CALL}?limit=-1")), 400, "PGRST100"),
        (Ask::get(format!("{CALL}?or=(a.eq.1)")), 400, "PGRST100"),
        (Ask::new("PUT", CALL), 405, "PGRST101"),
        (Ask::get("/rest/v1/todos?select=*"), 404, "PGRST125"),
        (Ask::new("PATCH", "/rest/v1/todos?id=eq.1"), 404, "PGRST125"),
        (Ask::get("/rest/v1/"), 404, "PGRST125"),
        (Ask::get("/rest/v1/rpc/%ff"), 404, "PGRST125"),
        (Ask::get("/rest/v1/rpc/a/b"), 404, "PGRST125"),
        (post(CALL).body("application/json", vec![b' '; 8_000_001]), 413, "HttpClientError"),
        // Nobody is anonymous, and here there is no database.
        (Ask::new("POST", CALL).json(&json!({})), 503, "PGRST001"),
        (Ask::new("POST", CALL).header("authorization", "Basic eDp5").json(&json!({})), 503, "PGRST001"),
        (post(CALL).header("accept", object).json(&json!({})), 503, "PGRST001"),
        (Ask::get(format!("{CALL}?a=1&a=2&select=*")), 503, "PGRST001"),
    ] {
        let answer = server.ask(&ask).await;
        assert_eq!((answer.status, code(&answer)), (status, json!(expected)), "{ask:?}");
        if status == 401 {
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
        }
        if status == 503 {
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    }
    let body = server.ask(&Ask::get("/rest/v1/todos")).await.json();
    assert!(body["hint"].as_str().unwrap().contains("postgrest_url"), "{body}");
    let head = server.ask(&Ask::new("HEAD", CALL)).await;
    assert_eq!((head.status, head.body.as_str()), (503, ""));
    server.stop().await;
}

#[tokio::test]
async fn pages_of_any_origin_may_call() {
    let server = RestServer::start(Options::default()).await;
    for (target, methods) in
        [(CALL, "GET,HEAD,POST,OPTIONS"), ("/rest/v1/todos", "GET,HEAD,POST,OPTIONS,PATCH,PUT,DELETE")]
    {
        let preflight = Ask::new("OPTIONS", target)
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "apikey,content-profile,x-client-info");
        let answer = server.ask(&preflight).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-methods"), Some(methods));
        let allowed = answer.header("access-control-allow-headers").unwrap();
        assert_eq!(allowed, "apikey,content-profile,x-client-info");
        let refused = server.ask(&Ask::get(target).header("origin", "https://app.example.com")).await;
        let exposed = refused.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("content-range"), "{exposed}");
    }
    server.stop().await;
}

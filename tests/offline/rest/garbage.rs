//! Whatever is sent, the answer is a documented one, and the server goes on.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rowcast::rest::route::{Access, Endpoint, OPERATIONS};
use serde_json::json;

use super::server::{Ask, Options, PAYLOAD_BYTES_MAX, RestServer, operator_token, project_token};

/// Bodies that look like what is asked for, and those that do not.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| format!("{value:e}")),
        "\"[a-z\\\\u\" ]{0,12}\"",
        Just("1e999999".to_owned()),
        Just("\"\\ud800\"".to_owned()),
    ];
    let keys = prop_oneof![
        "messages|topic|event|payload|private|id|tenant|external_id|extensions|settings|type|name",
        ".{0,4}"
    ];
    let json = json.prop_recursive(6, 40, 5, move |inner| {
        let pair = (keys.clone(), inner.clone()).prop_map(|(key, value)| format!("{}:{value}", json!(key)));
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec(pair, 0..6).prop_map(|pairs| format!("{{{}}}", pairs.join(","))),
        ]
    });
    prop_oneof![
        4 => json.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (1_usize..5000).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_gets_an_answer_that_is_not_documented() {
    let server = RestServer::start(Options::default()).await;
    let handle = tokio::runtime::Handle::current();
    let taking: Vec<_> = OPERATIONS.iter().filter(|operation| !operation.requests.is_empty()).collect();
    let media = prop_oneof![
        6 => Just("application/json".to_owned()),
        1 => Just("application/octet-stream".to_owned()),
        1 => "[ -~]{0,20}",
    ];
    let target = prop_oneof![Just("room/events/said".to_owned()), "[!-~&&[^#?]]{1,20}"];
    let strategy = (0..taking.len(), media, target, bodies());
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let check = |(index, media, target, body): (usize, String, String, Vec<u8>)| {
        let operation = taking[index];
        let path =
            operation.path.replace("{topic}/events/{event}", &target).replace("{tenant_id}", "realtime-dev");
        let token = if operation.access == Access::Operator { operator_token() } else { project_token() };
        let ask = Ask::new(operation.method, path).bearer(&token).body(&media, body);
        let answer = tokio::task::block_in_place(|| handle.block_on(server.ask(&ask)));
        let documented = operation.answers.iter().any(|known| known.status == answer.status);
        // There is no database for a function to be in.
        let is_call = operation.endpoint == Endpoint::Call && answer.status == 503;
        if documented && (answer.status < 500 || is_call) {
            Ok(())
        } else {
            Err(TestCaseError::fail(format!("{ask:?}: {answer:?}")))
        }
    };
    runner.run(&strategy, check).unwrap();
    assert_eq!(server.ask(&Ask::get("/api/ping")).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn bodies_made_to_hurt_are_refused_in_words() {
    let server = RestServer::start(Options::default()).await;
    let deep = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels) + "1", "}".repeat(levels));
    let message =
        |payload: &str| format!(r#"{{"messages":[{{"topic":"a","event":"b","payload":{payload}}}]}}"#);
    let invalid = |field: &str, words: &str| json!({ "errors": { field: [words] } });
    let in_batch = |words: &str| json!({ "errors": { "messages": [{ "payload": [words] }] } });
    let no_json = json!({ "message": "The body is not valid JSON" });
    let (deeply, large) = ("is nested too deeply", "Payload size exceeds tenant limit");
    let long = json!({ "x": "y".repeat(PAYLOAD_BYTES_MAX) }).to_string();
    let single = "/api/broadcast/a/events/b";
    let cases = [
        (single, deep(101).into_bytes(), 422, invalid("payload", deeply)),
        (single, deep(1_000_000).into_bytes(), 422, invalid("payload", large)),
        (single, "[".repeat(1_000_000).into_bytes(), 400, no_json.clone()),
        (single, b"{\"a\":\"\xff\"}".to_vec(), 400, no_json.clone()),
        (single, long.clone().into_bytes(), 422, invalid("payload", large)),
        ("/api/broadcast", message(&deep(101)).into_bytes(), 422, in_batch(deeply)),
        ("/api/broadcast", message(&long).into_bytes(), 422, in_batch(large)),
        ("/api/broadcast", b"{\"messages\":[\xc3]}".to_vec(), 400, no_json.clone()),
        ("/api/broadcast", "[".repeat(8_000_000).into_bytes(), 400, no_json.clone()),
        ("/api/broadcast", message("{").into_bytes(), 400, no_json),
    ];
    for (path, body, status, expected) in cases {
        let answer = server.ask(&Ask::post(path).body("application/json", body)).await;
        assert_eq!((answer.status, answer.json()), (status, expected), "{path}");
    }
    for body in [deep(100), r#"{"n":1e400,"n":123456789012345678901234567890}"#.to_owned()] {
        assert_eq!(server.ask(&Ask::post(single).body("application/json", body.clone())).await.status, 202);
        let batch = server.ask(&Ask::post("/api/broadcast").body("application/json", message(&body))).await;
        assert_eq!(batch.status, 202);
    }
    // A batch of a million little things is one too many.
    let many = format!(r#"{{"messages":[{}]}}"#, vec!["0"; 1_000_000].join(","));
    let many = server.ask(&Ask::post("/api/broadcast").body("application/json", many)).await;
    assert_eq!(many.status, 429);
    let statuses: BTreeSet<_> = ["/api/broadcast//events/x", "/api/broadcast/a", "/api/broadcast/a/b/c/d"]
        .map(|path| path.to_owned())
        .into();
    for path in statuses {
        assert_eq!(server.ask(&Ask::post(&path)).await.status, 422, "{path}: 404 would mean an old server");
    }
    server.stop().await;
}

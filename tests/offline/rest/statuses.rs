//! The OpenAPI document tells the truth: it has every route, and each of their answers is given here.

use std::collections::BTreeSet;
use std::time::Duration;

use rowcast::hub::ServerLimits;
use rowcast::rest::BodyLimits;
use rowcast::rest::openapi::{Part, document};
use rowcast::rest::route::{OPERATIONS, Operation};
use rowcast::telemetry::clock::unix_seconds;
use serde_json::{Value, json};

use super::server::{Ask, Options, RestServer, operator_token, project_token};
use crate::echo::token;

/// A method, a path of the table, a status.
type Documented = (String, String, u16);

/// All routes but those under `/rest/v1`: what functions and another server answer is asked for where these are.
fn own_operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(|operation| !operation.path.starts_with("/rest/v1"))
}

fn documented() -> BTreeSet<Documented> {
    let statuses = own_operations().flat_map(|operation| {
        let documented = |status| (operation.method.to_owned(), operation.path.to_owned(), status);
        operation.answers.iter().map(move |answer| documented(answer.status))
    });
    statuses.collect()
}

/// A request to a route of the table, and how it is answered.
struct Case {
    method: &'static str,
    path: &'static str,
    status: u16,
    ask: Ask,
}

fn case(method: &'static str, path: &'static str, status: u16, change: impl Fn(Ask) -> Ask) -> Case {
    let target = path
        .replace("{topic}/events/{event}", "room/events/said")
        .replace("{tenant_id}", if status == 404 { "other" } else { "realtime-dev" });
    Case { method, path, status, ask: change(Ask::new(method, target)) }
}

const BATCH: &str = "/api/broadcast";
const SINGLE: &str = "/api/broadcast/{topic}/events/{event}";
const TENANTS: &str = "/api/tenants";
const TENANT: &str = "/api/tenants/{tenant_id}";
const SOCKET: &str = "/socket/websocket";

fn as_client(ask: Ask) -> Ask {
    ask.bearer(&project_token())
}

fn as_operator(ask: Ask) -> Ask {
    ask.bearer(&operator_token())
}

fn upgrade(ask: Ask) -> Ask {
    let ask = ask.header("connection", "Upgrade, close").header("upgrade", "websocket");
    let ask =
        ask.header("sec-websocket-version", "13").header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
    ask.header("x-api-key", &project_token())
}

/// More than the server of [`small`] has room for; it says that as much is still to come.
fn large(ask: Ask) -> Ask {
    ask.body("application/json", vec![b' '; 3000])
}

fn unfinished(ask: Ask) -> Ask {
    ask.header("content-length", "100").body("application/json", "{")
}

fn sockets() -> Vec<Case> {
    let with = |claims: Value| move |ask: Ask| ask.header("x-api-key", &token(&claims));
    vec![
        case("GET", SOCKET, 101, upgrade),
        case("GET", SOCKET, 400, |_| Ask::new("POST", SOCKET)),
        case("GET", SOCKET, 401, |ask| ask),
        case("GET", SOCKET, 403, |_| Ask::get("/realtime/v1/websocket?vsn=9.0.0")),
        case("GET", SOCKET, 426, |ask| ask.header("x-api-key", &project_token())),
        case("GET", SOCKET, 500, with(json!({ "role": "anon", "exp": "soon" }))),
        case("GET", "/socket/longpoll", 404, |ask| ask),
    ]
}

fn pages() -> Vec<Case> {
    let paths = ["/", "/status", "/api/openapi", "/api/ping"];
    let mut pages: Vec<_> = paths.into_iter().map(|path| case("GET", path, 200, |ask| ask)).collect();
    pages.push(case("GET", "/healthcheck", 503, |ask| ask));
    for path in ["/metrics", "/metrics/{region}"] {
        pages.push(case("GET", path, 200, as_operator));
        pages.push(case("GET", path, 403, |ask| ask));
    }
    pages
}

fn broadcasts() -> Vec<Case> {
    let batch = json!({ "messages": [{ "topic": "room", "event": "said", "payload": {} }] });
    let expired = token(&json!({ "role": "anon", "exp": unix_seconds() - 9 }));
    let mut cases = vec![
        case("POST", BATCH, 202, |ask| as_client(ask).json(&batch)),
        case("POST", BATCH, 422, |ask| as_client(ask).json(&json!({}))),
        case("POST", BATCH, 415, |ask| as_client(ask).body("application/octet-stream", "x")),
        case("POST", SINGLE, 202, |ask| as_client(ask).json(&json!({ "n": 1 }))),
        case("POST", SINGLE, 403, |_| {
            as_client(Ask::new("POST", "/api/broadcast/denied/events/said?private=true"))
        }),
        case("POST", SINGLE, 415, |ask| as_client(ask).body("application/x-www-form-urlencoded", "a=b")),
        case("POST", SINGLE, 422, |_| as_client(Ask::new("POST", "/api/broadcast/%ff/events/said"))),
    ];
    for path in [BATCH, SINGLE] {
        cases.extend([
            case("POST", path, 400, |ask| as_client(ask).body("application/json", "{")),
            case("POST", path, 401, |ask| ask.bearer(&expired).json(&batch)),
            case("POST", path, 413, |ask| as_client(ask).body("application/json", vec![b' '; 8_000_001])),
        ]);
    }
    cases
}

fn tenants() -> Vec<Case> {
    let same = json!({ "tenant": { "external_id": "realtime-dev" } });
    let other = json!({ "tenant": { "external_id": "other" } });
    let mut cases = vec![
        case("GET", TENANTS, 200, as_operator),
        case("GET", TENANT, 200, as_operator),
        case("GET", TENANT, 404, as_operator),
        case("DELETE", TENANT, 409, as_operator),
        case("DELETE", TENANT, 204, |_| as_operator(Ask::new("DELETE", "/api/tenants/other"))),
        case("POST", "/api/tenants/{tenant_id}/reload", 204, as_operator),
        case("POST", "/api/tenants/{tenant_id}/reload", 404, as_operator),
        case("POST", "/api/tenants/{tenant_id}/shutdown", 409, as_operator),
        case("POST", "/api/tenants/{tenant_id}/shutdown", 404, as_operator),
        case("GET", "/api/tenants/{tenant_id}/health", 200, as_client),
        case("GET", "/api/tenants/{tenant_id}/health", 404, as_client),
    ];
    for (method, path) in [("POST", TENANTS), ("PUT", TENANT), ("PATCH", TENANT)] {
        cases.extend([
            case(method, path, 200, |ask| as_operator(ask).json(&same)),
            case(method, path, 400, |ask| as_operator(ask).body("application/json", "{")),
            case(method, path, 413, |ask| as_operator(ask).body("application/json", vec![b' '; 8_000_001])),
            case(method, path, 422, |_| {
                as_operator(Ask::new(method, path.replace("{tenant_id}", "other"))).json(&other)
            }),
        ]);
    }
    let guarded = OPERATIONS.iter().filter(|operation| operation.path.starts_with(TENANTS));
    cases.extend(guarded.map(|operation| case(operation.method, operation.path, 403, |ask| ask)));
    cases
}

/// Of a server that has little room and no patience.
fn small() -> Vec<Case> {
    let taking =
        own_operations().filter(|operation| operation.answers.iter().any(|answer| answer.status == 408));
    let cases = taking.flat_map(|operation| {
        let as_either = if operation.path.starts_with(TENANTS) { as_operator } else { as_client };
        let case = |status, change: fn(Ask) -> Ask| {
            case(operation.method, operation.path, status, |ask| change(as_either(ask)))
        };
        [case(408, unfinished), case(503, large)]
    });
    cases.collect()
}

/// Of a server that has had too many requests and joins.
fn busy() -> Vec<Case> {
    let held =
        own_operations().filter(|operation| operation.answers.iter().any(|answer| answer.status == 429));
    let ask = |path| if path == SOCKET { upgrade } else { as_client };
    held.map(|operation| case(operation.method, operation.path, 429, ask(operation.path))).collect()
}

/// Asks all, checks the statuses, and takes them off the list.
async fn ask_all(
    options: Options,
    prepare: impl Fn(&RestServer),
    cases: Vec<Case>,
    missing: &mut BTreeSet<Documented>,
) {
    let server = RestServer::start(options).await;
    prepare(&server);
    for Case { method, path, status, ask } in cases {
        let answer = server.ask(&ask).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let known = (method.to_owned(), path.to_owned(), status);
        assert!(documented().contains(&known), "not documented: {known:?}");
        missing.remove(&known);
    }
    server.stop().await;
}

#[tokio::test]
async fn every_documented_answer_is_given() {
    let mut missing = documented();
    let usual = [sockets(), pages(), broadcasts(), tenants()].into_iter().flatten().collect();
    ask_all(Options::default(), |_| {}, usual, &mut missing).await;
    let live = vec![case("GET", "/healthcheck", 200, |ask| ask)];
    ask_all(Options::default(), |server| server.services.health.set_live(), live, &mut missing).await;
    let bodies =
        BodyLimits { total_bytes_max: 2000, timeout: Duration::from_millis(100), ..BodyLimits::default() };
    ask_all(Options { bodies, ..Options::default() }, |_| {}, small(), &mut missing).await;
    let full = vec![case("GET", SOCKET, 503, upgrade)];
    ask_all(Options { connections_max: 0, ..Options::default() }, |_| {}, full, &mut missing).await;
    let limits = ServerLimits { events_per_second_max: 1, joins_per_second_max: 1, ..ServerLimits::NONE };
    let make_busy = |server: &RestServer| {
        for meter in [&server.services.meters.requests, &server.services.meters.joins] {
            meter.add(1000);
            meter.tick();
        }
    };
    ask_all(Options { limits, ..Options::default() }, make_busy, busy(), &mut missing).await;
    assert!(missing.is_empty(), "never given: {missing:?}");
}

#[tokio::test]
async fn the_document_has_every_route_and_no_other() {
    let server = RestServer::start(Options::default()).await;
    let served = server.ask(&Ask::get("/api/openapi")).await.json();
    assert_eq!(served, document(&Part::default()));
    let paths = served["paths"].as_object().unwrap();
    let mut listed = BTreeSet::new();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            listed.insert((method.to_ascii_uppercase(), path.clone()));
        }
    }
    let table = OPERATIONS.iter().flat_map(|operation| {
        let paths = [Some(operation.path), operation.public_path].into_iter().flatten();
        paths.map(|path| (operation.method.to_owned(), path.to_owned()))
    });
    assert_eq!(listed, table.collect());
    // Every path that the document has is served, and says so if only the method is wrong.
    for path in paths.keys() {
        let target = path.replace(['{', '}'], "");
        let answer = server.ask(&Ask::new("TRACE", target)).await;
        let expected = if path.ends_with("websocket") {
            400
        } else if path.ends_with("longpoll") || ["/rest/v1/", "/rest/v1/{path}"].contains(&path.as_str()) {
            404
        } else {
            405
        };
        assert_eq!(answer.status, expected, "{path}");
    }
    server.stop().await;
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = document(&Part::default());
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    for operation in OPERATIONS {
        assert!(!operation.summary.is_empty() && !operation.answers.is_empty(), "{}", operation.path);
    }
}

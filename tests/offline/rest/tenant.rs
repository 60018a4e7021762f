//! The administrative routes, and who may use which.

use serde_json::{Value, json};

use super::server::{Ask, Options, RestServer, next_json, operator_token, project_token};
use crate::echo::{next_close, token};

fn operator(method: &'static str, path: &str) -> Ask {
    Ask::new(method, path).bearer(&operator_token())
}

const TENANT: &str = "/api/tenants/realtime-dev";

#[tokio::test]
async fn the_stock_health_check_is_answered() {
    let server = RestServer::start(Options::default()).await;
    let path = format!("{TENANT}/health");
    // The key that the stock container's compose file has for it is the anonymous one.
    let head = server.ask(&Ask::new("HEAD", &path).bearer(&project_token())).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let health = async || server.ask(&Ask::get(&path).bearer(&project_token())).await.json();
    let mut expected = json!({ "data": {
        "healthy": false,
        "db_connected": false,
        "replication_connected": false,
        "connected_cluster": 0,
        "region": null,
        "node": "rowcast@test",
    } });
    assert_eq!(health().await, expected);
    server.services.health.set_live();
    for key in ["healthy", "db_connected", "replication_connected"] {
        expected["data"][key] = true.into();
    }
    assert_eq!(health().await, expected);
    let other = server.ask(&Ask::get("/api/tenants/other/health").bearer(&project_token())).await;
    assert_eq!((other.status, other.json()), (404, json!({ "message": "not found" })));
    server.stop().await;
}

#[tokio::test]
async fn only_an_operator_sees_and_does_more() {
    let server = RestServer::start(Options::default()).await;
    let service = token(&json!({ "role": "service_role" }));
    let routes = [
        ("GET", "/api/tenants".to_owned()),
        ("POST", "/api/tenants".to_owned()),
        ("GET", TENANT.to_owned()),
        ("PUT", TENANT.to_owned()),
        ("PATCH", TENANT.to_owned()),
        ("DELETE", TENANT.to_owned()),
        ("POST", format!("{TENANT}/reload")),
        ("POST", format!("{TENANT}/shutdown")),
    ];
    for (method, path) in &routes {
        for refused in [
            Ask::new(method, path),
            Ask::new(method, path).bearer(&project_token()),
            Ask::new(method, path).bearer("a.b.c"),
            Ask::new(method, path).header("authorization", &format!("bearer {}", operator_token())),
            Ask::new(method, path).header("apikey", &operator_token()),
        ] {
            let answer = server.ask(&refused).await;
            assert_eq!((answer.status, answer.body.as_str()), (403, ""), "{method} {path}");
        }
        for token in [&operator_token(), &service] {
            assert_ne!(
                server.ask(&Ask::new(method, path).bearer(token)).await.status,
                403,
                "{method} {path}"
            );
        }
    }
    let health = server.ask(&Ask::get(format!("{TENANT}/health"))).await;
    assert_eq!((health.status, health.body.as_str()), (403, ""));
    server.stop().await;
}

#[tokio::test]
async fn the_tenant_is_listed_and_shown_without_secrets() {
    let server = RestServer::start(Options::default()).await;
    let one = server.ask(&operator("GET", TENANT)).await.json();
    let list = server.ask(&operator("GET", "/api/tenants")).await.json();
    assert_eq!(list, json!({ "data": [one["data"]] }));
    assert_eq!(one["data"]["external_id"], "realtime-dev");
    assert_eq!(one["data"]["max_events_per_second"], 100);
    assert_eq!(one["data"]["extensions"][0]["settings"], json!({ "publication": "supabase_realtime" }));
    assert!(!one.to_string().contains("secret"), "{one}");
    server.stop().await;
}

#[tokio::test]
async fn an_upsert_that_changes_nothing_is_accepted() {
    let server = RestServer::start(Options::default()).await;
    let tenant = |changes: Value| {
        let mut tenant = json!({ "external_id": "realtime-dev", "name": "realtime-dev" });
        tenant.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({ "tenant": tenant })
    };
    let same = tenant(json!({
        "max_events_per_second": 100,
        "extensions": [{ "type": "postgres_cdc_rls", "settings": { "region": "us-east-1", "poll_interval_ms": 100 } }],
    }));
    for (method, path) in [("POST", "/api/tenants"), ("PUT", TENANT), ("PATCH", TENANT)] {
        let answer = server.ask(&operator(method, path).json(&same)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("location"), Some(TENANT));
        assert_eq!(answer.json()["data"]["external_id"], "realtime-dev");
        let other = tenant(json!({ "max_events_per_second": 7 }));
        let refused = server.ask(&operator(method, path).json(&other)).await;
        let words = "cannot be changed while the server runs, set events_per_second_max and restart it";
        let expected = json!({ "errors": { "max_events_per_second": [words] } });
        assert_eq!((refused.status, refused.json()), (422, expected));
    }
    let elsewhere = server.ask(&operator("PUT", "/api/tenants/other").json(&same)).await;
    assert_eq!((elsewhere.status, elsewhere.json()["errors"]["external_id"].is_array()), (422, true));
    for (body, words) in [(json!({}), "can't be blank"), (json!({ "tenant": 1 }), "is invalid")] {
        let answer = server.ask(&operator("POST", "/api/tenants").json(&body)).await;
        assert_eq!((answer.status, answer.json()), (422, json!({ "errors": { "tenant": [words] } })));
    }
    server.stop().await;
}

#[tokio::test]
async fn the_only_tenant_cannot_be_ended() {
    let server = RestServer::start(Options::default()).await;
    let words = json!({ "message": "This server has one tenant, which lives as long as the server" });
    for request in [operator("DELETE", TENANT), operator("POST", &format!("{TENANT}/shutdown"))] {
        let answer = server.ask(&request).await;
        assert_eq!((answer.status, answer.json()), (409, words.clone()));
    }
    let gone = server.ask(&operator("DELETE", "/api/tenants/other")).await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    server.stop().await;
}

#[tokio::test]
async fn a_reload_disconnects_every_socket_and_lets_all_come_back() {
    let server = RestServer::start(Options::default()).await;
    let mut clients = Vec::new();
    for version in [1, 2, 2] {
        clients.push((version, server.join(version, "room").await));
    }
    let answer = server.ask(&operator("POST", &format!("{TENANT}/reload"))).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    for (version, client) in &mut clients {
        let told = next_json(client).await;
        let payload = if *version == 1 { &told["payload"] } else { &told[4] };
        assert_eq!(payload["message"], "Server requested disconnect");
        assert_eq!(next_close(client).await.0, 1012);
    }
    drop(server.join(2, "room").await);
    server.stop().await;
}

#[tokio::test]
async fn what_the_gateway_hides_is_hidden() {
    let server = RestServer::start(Options::default()).await;
    for path in [
        "/realtime/v1/api/tenants",
        "/realtime/v1/api/tenants/realtime-dev",
        "/realtime/v1/api/tenants/realtime-dev/health",
        "/realtime/v1/api/openapi",
        "/realtime/v1/api/openapi/x",
    ] {
        for method in ["GET", "POST", "OPTIONS", "DELETE"] {
            let answer = server.ask(&operator(method, path)).await;
            assert_eq!(answer.status, 403, "{method} {path}");
            assert_eq!(answer.json(), json!({ "message": "Access is forbidden." }));
        }
    }
    server.stop().await;
}

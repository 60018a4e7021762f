//! What the OpenAPI document says of apps: those that are on, and no others.

use std::collections::BTreeSet;

use rowcast::adapter;
use rowcast::rest::openapi;
use rowcast::rest::route::OPERATIONS;
use serde_json::Value;

use crate::support::majors;
use crate::table::fits;
use crate::whole::{ANN, BOB, Stage, token};

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(|method| (method.to_ascii_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

#[test]
fn the_document_has_the_routes_of_the_apps_that_are_on() {
    let own = operations(&openapi::document(&openapi::Part::default()));
    assert!(OPERATIONS.iter().all(|one| own.contains(&(one.method.to_owned(), one.path.to_owned()))));
    let mut together = own.clone();
    for app in adapter::App::all() {
        let routes: BTreeSet<_> =
            app.routes().iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
        let document = openapi::document(&adapter::described(&[app]));
        assert_eq!(operations(&document), own.union(&routes).cloned().collect(), "{app:?}");
        together.extend(routes);
    }
    assert_eq!(operations(&openapi::document(&adapter::described(&adapter::App::all()))), together);
}

#[test]
fn every_reference_leads_somewhere() {
    let document = openapi::document(&adapter::described(&adapter::App::all()));
    let text = document.to_string();
    let mut names = BTreeSet::new();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        names.insert(reference.split('"').next().unwrap().to_owned());
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(schemas.keys().cloned().collect::<BTreeSet<_>>(), names, "and none is left over");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_school_app_look_as_the_document_says() {
    let stage = Stage::set(majors()[0]).await;
    stage.enrol(&[ANN, BOB]).await;
    let thread = stage.conversation(ANN, BOB).await;
    stage.call(BOB, &format!("public.send_message('{thread}', 'Hello')")).await;
    let document = openapi::document(&adapter::described(&[adapter::App::named("school").unwrap()]));
    for (method, path, target) in [
        ("POST", "/api/chat/subscribe", "/api/chat/subscribe"),
        (
            "GET",
            "/api/chat/offline-messages",
            "/api/chat/offline-messages?last_check_time=2024-01-01T00:00:00Z",
        ),
        ("GET", "/api/chat/unread-count", "/api/chat/unread-count"),
        ("POST", "/api/chat/mark-read/{thread_id}", &format!("/api/chat/mark-read/{thread}")),
        ("POST", "/api/chat/unsubscribe", "/api/chat/unsubscribe"),
    ] {
        let responses = &document["paths"][path][method.to_ascii_lowercase()]["responses"];
        for (token, status) in [(Some(token(ANN)), 200), (None, 401)] {
            let answer = stage.ask(method, target, token.as_deref(), None).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            let schema = &responses[status.to_string()]["content"]["application/json"]["schema"];
            fits(&document, schema, &answer.body, path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_the_document_of_its_own_apps() {
    let stage = Stage::set_with(majors()[0], &[("adapters", "pitchey,tutorconnect")]).await;
    let apps = ["pitchey", "tutorconnect"].map(|name| adapter::App::named(name).unwrap());
    let served = stage.get("/api/openapi", None).await;
    assert_eq!((served.status, &served.body), (200, &openapi::document(&adapter::described(&apps))));
    assert!(served.body["paths"]["/api/messages/ws"].is_object());
    assert!(served.body["paths"]["/api/messages/realtime/subscribe"].is_null());
}

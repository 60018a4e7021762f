//! What the OpenAPI document says of apps: those that are on, and no others.

use std::collections::BTreeSet;

use rowcast::adapter;
use rowcast::rest::openapi;
use rowcast::rest::route::OPERATIONS;
use serde_json::Value;

use crate::support::majors;
use crate::whole::Stage;

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
async fn a_server_shows_the_document_of_its_own_apps() {
    let stage = Stage::set_with(majors()[0], &[("adapters", "pitchey,tutorconnect")]).await;
    let apps = ["pitchey", "tutorconnect"].map(|name| adapter::App::named(name).unwrap());
    let served = stage.get("/api/openapi", None).await;
    assert_eq!((served.status, &served.body), (200, &openapi::document(&adapter::described(&apps))));
    assert!(served.body["paths"]["/api/messages/ws"].is_object());
    assert!(served.body["paths"]["/api/messages/realtime/subscribe"].is_null());
}

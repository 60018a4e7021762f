//! `GET /`: a small page for people who wonder what answers here.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;

use super::route::OPERATIONS;
use super::services::Services;
use crate::telemetry::health::Liveness;

/// Answers with the page: the state of health, and every route.
pub(super) async fn page<S>(State(services): State<Arc<Services<S>>>) -> Html<String> {
    let state = match services.health.get() {
        Liveness::Live => "changes flow".into(),
        Liveness::Down(reason) => reason,
    };
    let mut routes = String::new();
    for operation in OPERATIONS {
        let path = operation.public_path.unwrap_or(operation.path);
        // Writing to a string cannot fail.
        let _ =
            writeln!(routes, "<tr><td>{}<td><code>{path}</code><td>{}", operation.method, operation.summary);
    }
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Rowcast</title>\n\
         <h1>Rowcast</h1>\n<p>Realtime for Postgres. State: {}.</p>\n<table>\n{routes}</table>\n</html>\n",
        escaped(&state)
    ))
}

/// A reason is our own sentence, but what may be shown to anybody is not yet markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

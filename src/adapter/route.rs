//! The routes of an app: one table, which its router is made of.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use axum::middleware::map_response;
use axum::routing::{MethodFilter, MethodRouter};

use super::{App, Error, Services};
use crate::rest::route::{Access, Operation};

/// Who answers a route, given its method.
pub type Handler = fn(MethodFilter) -> MethodRouter<Arc<Services>>;

/// A route of an app.
pub type Route = Operation<Handler>;

/// A route for people with a token.
pub(super) const fn route(method: &'static str, path: &'static str, endpoint: Handler) -> Route {
    Operation {
        endpoint,
        method,
        path,
        public_path: None,
        access: Access::App,
        summary: "",
        query: &[],
        requests: &[],
        answers: &[],
    }
}

/// The router of an app's table.
pub(super) fn router(app: App, services: Arc<Services>) -> Router {
    let add =
        |router: Router<_>, route: &Route| router.route(route.path, (route.endpoint)(filter(route.method)));
    app.routes()
        .iter()
        .fold(Router::new(), add)
        .method_not_allowed_fallback(async || Error::Method)
        .layer(map_response(move |response| shaped(app, response)))
        .with_state(services)
}

/// Who answers sockets of an app at `/`, if anybody.
pub(super) fn root(app: App, services: Arc<Services>) -> Option<MethodRouter> {
    let root = app.0.root()?;
    Some(root.layer(map_response(move |response| shaped(app, response))).with_state(services))
}

/// A refusal gets the shape that it has in this app.
async fn shaped(app: App, mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Error>() {
        Some(error) => error.answer(&app.0.refusal(&error)),
        None => response,
    }
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "GET" => MethodFilter::GET,
        "PUT" => MethodFilter::PUT,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::POST,
    }
}

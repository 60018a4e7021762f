//! The routes of an app: one table, which its router and its part of the OpenAPI document are made of.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use axum::middleware::map_response;
use axum::routing::{MethodFilter, MethodRouter};

use super::{App, Error, Services};
use crate::rest::openapi::Part;
use crate::rest::route::{Access, Answer, Content, Operation, answer};

/// Who answers a route.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    /// Given its method.
    answers: fn(MethodFilter) -> MethodRouter<Arc<Services>>,
    /// The statuses of its refusals, besides those that every route has.
    refuses: &'static [u16],
}

/// A route of an app.
pub type Route = Operation<Handler>;

/// A route for people with a token.
pub(super) const fn route(
    method: &'static str,
    path: &'static str,
    answers: fn(MethodFilter) -> MethodRouter<Arc<Services>>,
    refuses: &'static [u16],
) -> Route {
    Operation {
        endpoint: Handler { answers, refuses },
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

/// What the document says of apps.
pub(super) fn described(apps: &[App]) -> Part {
    let mut part = Part::default();
    for app in apps {
        let name = app.0.refusal_schema();
        for route in app.routes() {
            let refusals = route.endpoint.refuses.iter().chain(EVERY).map(|status| refusal(*status, name));
            part.add(route, &route.answers.iter().copied().chain(refusals).collect::<Vec<_>>());
        }
        part.schemas.extend(app.0.schemas());
    }
    part
}

/// What every route may answer.
const EVERY: &[u16] = &[401, 403, 500, 503, 504];

fn refusal(status: u16, schema: &'static str) -> Answer {
    let when = match status {
        400 => "a parameter, the body or one of its fields is wrong",
        401 => "there is no token in `Authorization`, or it is refused",
        403 => "the token is nobody's, or may not do this",
        404 => "it does not exist, or the caller cannot see it",
        413 => "the body or a text in it is too long",
        415 => "the body is of another type than JSON",
        426 => "the request asks for no WebSocket",
        429 => "the caller has done it too often",
        503 => "the server is busy, or the database cannot be asked",
        504 => "the database has not answered in time",
        _ => "something is wrong in the database",
    };
    answer(status, Content::Json(schema), when)
}

/// The router of an app's table.
pub(super) fn router(app: App, services: Arc<Services>) -> Router {
    let add = |router: Router<_>, route: &Route| {
        router.route(route.path, (route.endpoint.answers)(filter(route.method)))
    };
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

//! Every path and who answers it. Paths exist as the stock server serves them behind its gateway (`/socket/…`,
//! `/api/…`), and as clients ask for them (`/realtime/v1/…`), so that no gateway is needed.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::handler::Handler as _;
use axum::http::{HeaderMap, HeaderName, Method, Response, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::error::Error;
use super::openapi::Part;
use super::rate::Held;
use super::route::{Access, Endpoint, OPERATIONS, Operation};
use super::rpc::refusal::Refusal;
use super::services::{Services, Shards};
use super::{
    broadcast, forward, headers, healthcheck, metrics, openapi, page, ping, rate, request_id, rpc, tenant,
};
use crate::socket::{Gate, Handler, Session};

/// How long a browser may remember what it was allowed; most cut it down to this.
const PREFLIGHT_AGE: Duration = Duration::from_secs(7200);

/// The same under `/rest/v1`, as PostgREST has it.
const API_PREFLIGHT_AGE: Duration = Duration::from_secs(86_400);

/// What other stages answer besides: under the same bounds of headers and the same rate, for pages of any origin.
#[derive(Default)]
pub struct Additions {
    /// Their paths.
    pub routes: Router,
    /// Who answers those who ask for a WebSocket at `/`; without one they get the page.
    pub root: Option<MethodRouter>,
    /// What the document says of them.
    pub described: Part,
}

/// The routes of this server.
pub fn router<H, S>(gate: Gate<H>, services: Arc<Services<S>>, additions: Additions) -> Router
where
    H: Handler<Session = Session>,
    S: Shards,
{
    let document: Arc<str> = openapi::document(&additions.described).to_string().into();
    let routes = |accesses: &[Access]| {
        let operations = OPERATIONS.iter().filter(|operation| accesses.contains(&operation.access));
        let mut router = Router::new();
        for operation in operations {
            for pattern in operation.patterns() {
                router = router.route(&pattern, handler(operation, &gate, &services, &document));
            }
        }
        router
    };
    let own = |accesses: &[Access]| routes(accesses).method_not_allowed_fallback(async || Error::Method);
    let meters = || Arc::clone(&services.meters);
    let hold_api = Held {
        meters: meters(),
        meter: |meters| &meters.rest_requests,
        counts_refused: false,
        refuse: || Refusal::RequestRate.into_response(),
    };
    let hold = Held {
        meters: meters(),
        meter: |meters| &meters.requests,
        counts_refused: true,
        refuse: || Error::RequestRate.into_response(),
    };
    let hold_api = from_fn_with_state(hold_api, rate::hold);
    let hold = from_fn_with_state(hold, rate::hold);
    let api = if services.api.schemas.is_empty() {
        Router::new()
    } else {
        let routes = routes(&[Access::Api]).method_not_allowed_fallback(rpc::refuse_method);
        routes.layer(hold_api.clone()).layer(api_cors(&[]))
    };
    let forwarded = routes(&[Access::Forwarded]).layer(hold_api).layer(api_cors(&[
        Method::PATCH,
        Method::PUT,
        Method::DELETE,
    ]));
    let metered = own(&[Access::Metered, Access::Project]).layer(hold.clone());
    let exposed = [header::RETRY_AFTER];
    let browser = metered.merge(own(&[Access::Browser])).layer(cors(&METHODS, &exposed));
    let Additions { routes: added, root, described: _ } = additions;
    let root = root.map(|root| root.layer(hold.clone()));
    let open = own(&[Access::Open, Access::Operator]).layer(from_fn_with_state(root, root_socket));
    browser
        .merge(added.layer(hold).layer(cors(&ADDED_METHODS, &exposed)))
        .merge(open)
        .merge(blocked())
        .merge(api)
        .merge(forwarded)
        .fallback(async || Error::NotFound)
        .layer(from_fn_with_state(services.header_bytes_max, headers::bound))
        .layer(from_fn(request_id::name))
}

/// Who answers a route.
fn handler<H, S>(
    operation: &Operation,
    gate: &Gate<H>,
    services: &Arc<Services<S>>,
    document: &Arc<str>,
) -> MethodRouter
where
    H: Handler<Session = Session>,
    S: Shards,
{
    let answered: MethodRouter<Arc<Services<S>>> = match operation.endpoint {
        // Any method: the gate answers those it does not take.
        Endpoint::Socket => return any(Gate::<H>::upgrade).with_state(gate.clone()),
        Endpoint::OpenApi => {
            let document = Arc::clone(document);
            return get(async move || openapi::openapi(&document));
        }
        Endpoint::Metrics => return get(metrics::answer).with_state(Arc::clone(&services.scrape)),
        Endpoint::LongPoll => any(async || Error::LongPoll),
        Endpoint::Healthcheck => get(healthcheck::healthcheck::<S>),
        Endpoint::Page => get(page::page::<S>),
        Endpoint::Ping => get(ping::ping),
        Endpoint::Batch => post(broadcast::batch::<S>),
        Endpoint::Single => post(broadcast::single::<S>),
        Endpoint::ListTenants => get(tenant::list::<S>),
        Endpoint::CreateTenant => post(tenant::create::<S>),
        Endpoint::ShowTenant => get(tenant::show::<S>),
        Endpoint::PutTenant => put(tenant::upsert::<S>),
        Endpoint::PatchTenant => patch(tenant::upsert::<S>),
        Endpoint::DeleteTenant => delete(tenant::delete),
        Endpoint::ReloadTenant => post(tenant::reload::<S>),
        Endpoint::ShutdownTenant => post(tenant::shutdown),
        Endpoint::TenantHealth => get(tenant::health::<S>),
        Endpoint::Call if operation.method == "POST" => post(rpc::call::<S>),
        Endpoint::Call => get(rpc::call::<S>),
        Endpoint::Forward => any(forward::answer::<S>),
    };
    answered.with_state(Arc::clone(services))
}

/// What the stock gateway does not let through to the public.
fn blocked() -> Router {
    let refused = || any(async || Error::Blocked);
    let mut router = Router::new();
    for path in ["/realtime/v1/api/tenants", "/realtime/v1/api/openapi"] {
        router = router.route(path, refused()).route(&format!("{path}/{{*rest}}"), refused());
    }
    router
}

/// Who asks for a WebSocket at `/` gets it, if there is somebody to answer.
async fn root_socket(
    State(root): State<Option<MethodRouter>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    match root.filter(|_| request.uri().path() == "/" && is_upgrade(request.headers())) {
        Some(root) => root.call(request, ()).await,
        None => next.run(request).await,
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What pages may do on our own routes, and on those that are added.
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];
const ADDED_METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Any page may ask, with any header; what it may do depends on its token alone.
fn cors(methods: &[Method], exposed: &[HeaderName]) -> CorsLayer {
    let exposed = exposed.iter().cloned().chain(rate::HEADERS);
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(methods.to_vec())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([request_id::HEADER].into_iter().chain(exposed).collect::<Vec<_>>())
        .max_age(PREFLIGHT_AGE)
}

/// The same under `/rest/v1`, as PostgREST has it.
fn api_cors(more: &[Method]) -> CorsLayer {
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS];
    let exposed = [
        header::CONTENT_ENCODING,
        header::CONTENT_LOCATION,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::DATE,
        header::LOCATION,
        header::SERVER,
        header::TRANSFER_ENCODING,
        HeaderName::from_static("range-unit"),
        HeaderName::from_static("preference-applied"),
        header::RETRY_AFTER,
        request_id::HEADER,
    ];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(methods.into_iter().chain(more.iter().cloned()).collect::<Vec<_>>())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed)
        .max_age(API_PREFLIGHT_AGE)
}

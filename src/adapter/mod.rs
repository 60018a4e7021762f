//! Apps that speak a protocol of their own, over requests and sockets, on the messaging schema.
//!
//! In: an app's requests and frames. Out: its answers and frames, made of what functions of the schema return and of
//! live events ([`live`]).
//!
//! **Invariants:** an adapter renames fields and holds no rules: it has no SQL, every read and write is a call of a
//! function in Postgres as the caller ([`Services::call`]), and every event has passed row level security for the
//! socket that gets it. Names that apps give to things stand in the app's folder and nowhere else.

mod answer;
pub mod conversation;
mod counters;
mod error;
mod fields;
pub mod infrastructure;
pub mod live;
pub mod pitchey;
pub mod request;
pub mod route;
mod schema;
pub mod school;
pub mod socket;
pub mod tutorconnect;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;
use serde_json::Value;

pub use counters::Counters;
pub use error::Error;
pub use request::Asker;

use crate::auth::Verifier;
use crate::postgres::messaging::{Deliveries, People};
use crate::postgres::rpc::Rpc;
use crate::rest::openapi::Part;
use crate::rest::{BodyLimits, BodyReader};
use live::LiveHandle;
use route::Route;
use schema::Schemas;
use socket::Sockets;

/// Every adapter there is, in the order of their names.
static ADAPTERS: &[&dyn Adapter] =
    &[&infrastructure::Infrastructure, &pitchey::Pitchey, &school::School, &tutorconnect::TutorConnect];

/// Bytes of one request's body: a message of the longest length fits, escaped.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// What an app is to the server.
pub trait Adapter: Send + Sync + 'static {
    /// Its name in the setting `adapters`.
    fn name(&self) -> &'static str;

    /// Its routes, those of sockets included. No two adapters have one in common.
    fn routes(&self) -> &'static [Route];

    /// Who answers those who ask for a WebSocket at `/`, where the app's clients do; of several such, the first counts.
    fn root(&self) -> Option<MethodRouter<Arc<Services>>> {
        None
    }

    /// The body that a refusal has.
    fn refusal(&self, error: &Error) -> Value;

    /// What such a body looks like, by its name among the schemas.
    fn refusal_schema(&self) -> &'static str;

    /// What bodies of requests and answers look like.
    fn schemas(&self) -> Schemas;
}

/// An adapter that there is.
#[derive(Clone, Copy)]
pub struct App(&'static dyn Adapter);

impl App {
    /// All of them.
    pub fn all() -> Vec<Self> {
        ADAPTERS.iter().map(|adapter| Self(*adapter)).collect()
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|app| app.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Its routes.
    pub fn routes(self) -> &'static [Route] {
        self.0.routes()
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for App {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for App {}

/// The parts of the server that adapters reach.
pub struct Services {
    /// Calls functions in Postgres.
    pub rpc: Rpc,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// Reads bodies.
    pub bodies: BodyReader,
    /// Where apps reach this server, for answers that tell them.
    pub place: PublicPlace,
    /// Where sockets subscribe.
    pub live: LiveHandle,
    /// Who is connected.
    pub people: People,
    /// What has been sent to whom.
    pub deliveries: Deliveries,
    /// The sockets of all apps.
    pub sockets: Sockets,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// Where apps reach this server and by which key, as far as the settings say.
#[derive(Clone, Debug, Default)]
pub struct PublicPlace {
    /// Without a slash at its end.
    pub url: Option<String>,
    /// A key that everybody may know.
    pub api_key: Option<String>,
}

impl Services {
    /// A reader of bodies with the bounds of apps.
    pub fn bodies() -> BodyReader {
        BodyReader::new(BodyLimits { bytes_max: BODY_BYTES_MAX, ..BodyLimits::default() })
    }
}

/// The paths of these apps, and who answers sockets at `/`, if anybody.
pub fn routes(apps: &[App], services: &Arc<Services>) -> (Router, Option<MethodRouter>) {
    let routers = apps.iter().map(|app| route::router(*app, Arc::clone(services)));
    let root = apps.iter().find_map(|app| route::root(*app, Arc::clone(services)));
    (routers.fold(Router::new(), Router::merge), root)
}

/// What the OpenAPI document says of these apps.
pub fn described(apps: &[App]) -> Part {
    route::described(apps)
}

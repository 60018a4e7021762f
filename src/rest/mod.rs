//! HTTP: the listener, the routes, and what is answered without a socket.
//!
//! `route.rs` is the table of all routes; one file each says how they are answered, and `error.rs` how they are not.
//! Requests meet the rest of the server in [`Services`] only, and enter the hub as what sockets send does.
//!
//! **Invariants:** a body is read after its sender has been admitted, and within bounds; every answer has a
//! `x-request-id`; no path, payload or header but that one reaches the log.

mod body;
mod broadcast;
mod caller;
pub mod error;
mod field;
mod forward;
mod headers;
mod healthcheck;
pub mod listener;
pub mod metrics;
pub mod openapi;
mod page;
mod ping;
mod rate;
mod request_id;
pub mod route;
pub mod router;
mod rpc;
mod services;
mod tenant;

pub use body::{BodyLimits, BodyReader, is_json};
pub use broadcast::BroadcastLimits;
pub use caller::bearer;
pub use forward::{Forwarder, Upstream};
pub use listener::{HttpConfig, serve};
pub use metrics::{Readers, Scrape, Sources, metrics_routes};
pub use router::{Additions, router};
pub use rpc::Api;
pub use services::{Counters, Services, Shards};
pub use tenant::{Tenant, TenantField, TenantValue};

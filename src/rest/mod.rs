//! HTTP: the listener, the routes, and what is answered without a socket.

pub mod error;
pub mod headers;
pub mod healthcheck;
pub mod listener;
pub mod metrics;
pub mod router;

pub use headers::bound_headers;
pub use listener::{HttpConfig, serve};
pub use metrics::{Readers, Sources, metrics_routes};
pub use router::router;

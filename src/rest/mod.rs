//! HTTP: the listener, the routes, and what is answered without a socket.

pub mod error;
pub mod headers;
pub mod healthcheck;
pub mod listener;
pub mod router;

pub use headers::bound_headers;
pub use listener::{HttpConfig, serve};
pub use router::router;

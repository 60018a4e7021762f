//! Every path and who answers it. Paths exist as the stock server serves them behind its gateway
//! (`/socket/…`), and as clients ask for them (`/realtime/v1/…`), so that no gateway is needed.

use axum::Router;
use axum::routing::{any, get};

use super::error::Error;
use super::healthcheck::healthcheck;
use crate::socket::{Gate, Handler, Session};
use crate::telemetry::health::Health;

/// The routes of this server.
pub fn router<H: Handler<Session = Session>>(gate: Gate<H>, health: Health) -> Router {
    // Any method: the gate answers those it does not take.
    let socket = any(Gate::<H>::upgrade);
    Router::new()
        .route("/socket/websocket", socket.clone())
        .route("/realtime/v1/websocket", socket)
        .with_state(gate)
        .route("/healthcheck", get(healthcheck).with_state(health))
        .fallback(async || Error::NotFound)
}

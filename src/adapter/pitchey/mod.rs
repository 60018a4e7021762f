//! Pitchey: messages over a JSON protocol of its own at `/api/messages/ws`, and requests beside it.

mod convert;
mod model;
mod routes;
mod socket;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;

use super::{Adapter, Services};

/// The adapter.
#[derive(Debug)]
pub struct Pitchey;

impl Adapter for Pitchey {
    fn name(&self) -> &'static str {
        "pitchey"
    }

    fn routes(&self, services: Arc<Services>) -> Router {
        routes::routes(services)
    }
}

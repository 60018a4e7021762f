//! Pitchey: messages over a JSON protocol of its own at `/api/messages/ws`, and requests.

use std::sync::Arc;

use axum::Router;

use super::{Adapter, Services};

/// The adapter.
pub struct Pitchey;

impl Adapter for Pitchey {
    fn name(&self) -> &'static str {
        "pitchey"
    }

    fn routes(&self, _services: Arc<Services>) -> Router {
        Router::new()
    }
}

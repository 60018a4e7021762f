//! The school app: threads over a JSON protocol of its own at `/`, requests under `/api/chat`, and a check of what was
//! missed that leaves no gap to the socket after it.
//!
//! A check keeps a snapshot in Postgres under the time that it answers (`rowcast.catch_up`); a socket with the same
//! token brings what the snapshot does not see before it goes on with what happens (`socket`), and what has arrived is
//! noted with the check (`sessions`, `ledger`).

mod catch_up;
mod convert;
mod ledger;
mod model;
mod routes;
mod schema;
mod sessions;
mod socket;

use std::sync::Arc;

use axum::routing::{MethodRouter, any};
use serde_json::Value;

use super::route::Route;
use super::schema::Schemas;
use super::{Adapter, Error, Services};

/// The adapter.
pub struct School;

impl Adapter for School {
    fn name(&self) -> &'static str {
        "school"
    }

    fn routes(&self) -> &'static [Route] {
        routes::ROUTES
    }

    fn root(&self) -> Option<MethodRouter<Arc<Services>>> {
        Some(any(routes::open))
    }

    fn refusal(&self, error: &Error) -> Value {
        convert::refusal(error)
    }

    fn refusal_schema(&self) -> &'static str {
        "SchoolRefusal"
    }

    fn schemas(&self) -> Schemas {
        schema::schemas()
    }
}

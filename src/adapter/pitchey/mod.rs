//! Pitchey: messages over a JSON protocol of its own at `/api/messages/ws`, and requests beside it.

mod convert;
mod model;
mod routes;
mod schema;
mod socket;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::route::Route;
use super::schema::Schemas;
use super::{Adapter, Error};

/// The adapter.
#[derive(Debug)]
pub struct Pitchey;

impl Adapter for Pitchey {
    fn name(&self) -> &'static str {
        "pitchey"
    }

    fn routes(&self) -> &'static [Route] {
        routes::ROUTES
    }

    fn refusal(&self, error: &Error) -> Value {
        convert::refusal(error)
    }

    fn refusal_schema(&self) -> &'static str {
        "PitcheyRefusal"
    }

    fn schemas(&self) -> Schemas {
        schema::schemas()
    }
}

//! Messaging infrastructure: customers of a portal and staff subscribe to conversations with supabase-js.
//!
//! `routes.rs` is the table of its paths, `model.rs` its wire shapes, `convert.rs` what they are to the messaging
//! functions. All else the app does with the channels of this server and `/rest/v1/rpc`.

mod convert;
mod model;
mod routes;
mod schema;

use serde_json::Value;

use super::route::Route;
use super::schema::Schemas;
use super::{Adapter, Error, answer};

/// The app.
pub struct Infrastructure;

impl Adapter for Infrastructure {
    fn name(&self) -> &'static str {
        "infrastructure"
    }

    fn routes(&self) -> &'static [Route] {
        routes::ROUTES
    }

    fn refusal(&self, error: &Error) -> Value {
        convert::stamped(answer::refused(error), routes::now())
    }

    fn refusal_schema(&self) -> &'static str {
        "InfrastructureRefusal"
    }

    fn schemas(&self) -> Schemas {
        schema::schemas()
    }
}

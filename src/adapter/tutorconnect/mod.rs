//! TutorConnect: REST for what is written, and the names of the channels on which supabase-js hears of it.
//!
//! `routes.rs` is the table of its paths, `model.rs` its wire shapes, `convert.rs` what they are to the messaging
//! functions. It has no socket of its own, no state and no SQL.

mod convert;
mod model;
mod routes;
mod schema;

use serde_json::Value;

use super::route::Route;
use super::schema::Schemas;
use super::{Adapter, Error, answer};

/// The app.
pub struct TutorConnect;

impl Adapter for TutorConnect {
    fn name(&self) -> &'static str {
        "tutorconnect"
    }

    fn routes(&self) -> &'static [Route] {
        routes::ROUTES
    }

    fn refusal(&self, error: &Error) -> Value {
        answer::refused(error)
    }

    fn refusal_schema(&self) -> &'static str {
        "TutorConnectRefusal"
    }

    fn schemas(&self) -> Schemas {
        schema::schemas()
    }
}

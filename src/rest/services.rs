//! What requests are answered with: the parts of the server that HTTP reaches.

use std::sync::Arc;

use super::body::BodyReader;
use super::broadcast::BroadcastLimits;
use super::metrics::Scrape;
use super::rpc::Api;
use super::tenant::Tenant;
use crate::auth::{AdminVerifier, Verifier};
use crate::hub::{Authorizer, Broadcaster, Meters, Sink};
use crate::telemetry::health::Health;
use crate::telemetry::metrics as names;
use crate::telemetry::number::Number;
use crate::telemetry::page::Page;

/// The way to a shard that any thread may use.
pub trait Shards: Sink + Send + Sync + 'static {}

impl<S: Sink + Send + Sync + 'static> Shards for S {}

/// All of them.
pub struct Services<S> {
    /// The way to all rooms.
    pub broadcaster: Broadcaster<S>,
    /// Checks the tokens of clients.
    pub verifier: Arc<Verifier>,
    /// Checks the tokens of operators.
    pub admins: AdminVerifier,
    /// Answers what may be sent to private topics.
    pub authorizer: Authorizer,
    /// What the whole server is held to.
    pub meters: Arc<Meters>,
    /// Whether changes flow.
    pub health: Health,
    /// The only tenant.
    pub tenant: Tenant,
    /// What everybody has counted, and who may read it.
    pub scrape: Arc<Scrape>,
    /// Bytes of one header's value.
    pub header_bytes_max: usize,
    /// The bounds of what is broadcast.
    pub broadcasts: BroadcastLimits,
    /// Reads bodies.
    pub bodies: BodyReader,
    /// Answers what is asked of the REST API.
    pub api: Api,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// What has happened to broadcasts over HTTP since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Those that were handed on.
    pub broadcasts: Number,
    /// Private ones of batches that the caller may not send, or that could not be judged.
    pub dropped_broadcasts: Number,
}

impl Counters {
    pub(super) fn add_to(&self, page: &mut Page) {
        page.add(&names::HTTP_BROADCASTS, self.broadcasts.get());
        page.add(&names::HTTP_BROADCASTS_DROPPED, self.dropped_broadcasts.get());
    }
}

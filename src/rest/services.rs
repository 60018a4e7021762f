//! What requests are answered with: the parts of the server that HTTP reaches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::body::BodyReader;
use super::broadcast::BroadcastLimits;
use super::tenant::Tenant;
use crate::auth::{AdminVerifier, Verifier};
use crate::hub::{Authorizer, Broadcaster, Meters, Sink};
use crate::telemetry::health::Health;

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
    /// Bytes of one header's value.
    pub header_bytes_max: usize,
    /// The bounds of what is broadcast.
    pub broadcasts: BroadcastLimits,
    /// Reads bodies.
    pub bodies: BodyReader,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// What has happened to broadcasts over HTTP since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Those that were handed on.
    pub broadcasts: Count,
    /// Private ones of batches that the caller may not send, or that could not be judged.
    pub dropped_broadcasts: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

//! `/metrics`: what everybody has counted, for those who may read it.
//!
//! Reading takes no lock that a shard or the feed could wait for.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::routing::get;

use super::error::Error;
use super::services;
use crate::auth::AdminVerifier;
use crate::hub::{Counters, Meters, authorization, feed};
use crate::postgres::rpc::Rpc;
use crate::socket::ShardMetrics;
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::health::{Health, Liveness};
use crate::telemetry::metrics as names;
use crate::telemetry::page::{CONTENT_TYPE, Counts, Page, Place};
use crate::telemetry::{process, report};

/// Everything that is counted in this process.
pub struct Sources {
    /// Where it runs.
    pub place: Place,
    /// When it began, in seconds since 1970.
    pub started_unix: i64,
    /// Whether changes flow.
    pub health: Health,
    /// What the whole server is held to.
    pub meters: Arc<Meters>,
    /// How many sockets may be open.
    pub connections_max: usize,
    /// The sockets of each shard.
    pub sockets: Vec<Arc<ShardMetrics>>,
    /// The channels of each shard.
    pub channels: Vec<Arc<Counters>>,
    /// The feed of database changes.
    pub feed: Arc<feed::Counters>,
    /// What private channels ask.
    pub authorizations: Arc<authorization::Counters>,
    /// Calls of functions.
    pub rpc: Rpc,
    /// The broadcasts over HTTP.
    pub http: Arc<services::Counters>,
    /// What stages after this one count.
    pub others: Vec<Arc<dyn Counts>>,
}

impl Sources {
    /// The page as it is now.
    pub fn page(&self) -> String {
        let mut page = Page::new();
        page.add_to(&names::BUILD_INFO, env!("CARGO_PKG_VERSION"), 1);
        page.add(&names::FEED_LIVE, u64::from(self.health.get() == Liveness::Live));
        page.add(&names::STOCK_TENANTS, 1);
        page.add(&names::STOCK_SOCKETS_MAX, u64::try_from(self.connections_max).unwrap_or(u64::MAX));
        page.add(&names::PROCESS_START, u64::try_from(self.started_unix).unwrap_or(0));
        self.meters.add_to(&mut page);
        self.sockets.iter().for_each(|shard| shard.add_to(&mut page));
        self.channels.iter().for_each(|shard| shard.add_to(&mut page));
        self.feed.add_to(&mut page);
        self.authorizations.add_to(&mut page);
        self.rpc.add_to(&mut page);
        self.http.add_to(&mut page);
        self.others.iter().for_each(|counted| counted.add_to(&mut page));
        report::add_to(&mut page);
        process::add_to(&mut page);
        page.render(&self.place)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Who may read the page.
pub enum Readers {
    /// Whoever brings a token that this admits.
    Bearers(AdminVerifier),
    /// Whoever can connect.
    Anybody,
}

/// The page and its readers.
#[derive(Debug)]
pub struct Scrape {
    sources: Arc<Sources>,
    readers: Readers,
}

impl Scrape {
    /// The page for these readers.
    pub fn new(sources: Arc<Sources>, readers: Readers) -> Arc<Self> {
        Arc::new(Self { sources, readers })
    }
}

/// The routes of the page alone. The stock server takes a region in the path, too; here there is one.
pub fn metrics_routes(sources: Arc<Sources>, readers: Readers) -> Router {
    let page = get(answer);
    Router::new()
        .route("/metrics", page.clone())
        .route("/metrics/{region}", page)
        .with_state(Scrape::new(sources, readers))
}

/// Answers with the page.
pub(super) async fn answer(
    State(scrape): State<Arc<Scrape>>,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 1], String), Error> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let may_read = match &scrape.readers {
        Readers::Bearers(verifier) => verifier.admits(authorization, unix_seconds()),
        Readers::Anybody => true,
    };
    if may_read {
        Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], scrape.sources.page()))
    } else {
        Err(Error::NotAdmin)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearers(_) => "Bearers",
            Self::Anybody => "Anybody",
        })
    }
}

//! The composition root: builds every stage, joins them with bounded queues, and takes them down in path order.
//!
//! Threads: one for each shard of sockets, one for the feed of database changes, one for what private channels ask,
//! and the caller's runtime for HTTP. What they share is listed here and nowhere else: the queues, the room directory, the verifier and the
//! state of health.
//!
//! The feed is not restarted if it ends by itself: subscribers would be missing changes and not know. The server
//! says so, closes every socket in order and ends with an error; whoever started it starts it again.

mod adapters;
mod part;
mod sink;
#[cfg(test)]
mod tests;
mod thread;
mod upkeep;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::interval_at;

use crate::auth::{KeySource, Verifier, jwks};
use crate::config::Settings;
use crate::hub::feed;
use crate::hub::{
    self, Authorizer, Broadcaster, Counters, Directory, Engine, FeedCommand, Links, Meters, RecentCommits,
    Shard, ShardCommand, TokenVerifier,
};
use crate::postgres::maintenance;
use crate::postgres::messaging::Messaging;
use crate::protocol::code::{CLOSE_RESTART, CloseCode};
use crate::rest::{self, BodyLimits, BodyReader, HttpConfig, Readers, Scrape, Services, Sources};
use crate::socket::{self, Gate, GateConfig, ShardConfig, ShardHandle};
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::health::{Health, Hold};
use crate::telemetry::report;

use adapters::Adapters;
use part::{api, broadcast_limits, feed_config, hub_config, place, server_limits, shard_count, started_at};
use sink::{FeedSink, OtherShards, ShardSink};
use thread::{FeedThread, join, start_authorizations};
use upkeep::Upkeep;

/// How many commands from all shards may wait for the feed.
const FEED_COMMANDS_MAX: usize = 65_536;

/// How many deliveries may wait for Postgres's answers before the stream is read no further.
const WAITING_MAX: usize = 50_000;

/// How many inquiries about private channels may wait for Postgres; a join beyond that is refused.
const INQUIRIES_MAX: usize = 16_384;

/// The publication that is ours alone, for what the server itself wants to follow.
const OWN_PUBLICATION: &str = hub::mirror::PUBLICATION;

/// HTTP connections at once where only the metrics are served.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// How long sockets get to take their close frames at shutdown.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// How long shards get to take the word that the server goes down.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How long the feed gets to hand over and acknowledge what it has read. It may wait for a Postgres that is gone.
const FEED_END_WITHIN: Duration = Duration::from_secs(3);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The slot's name is none.
    #[error("could not use slot_name")]
    SlotName(#[from] crate::wal::slot::InvalidSlotName),
    /// The keys of tokens cannot be had.
    #[error(transparent)]
    Keys(#[from] jwks::Error),
    /// The cryptography lacks what a PostgREST is asked by.
    #[error("could not set up TLS for postgrest_url")]
    Tls(#[source] rustls::Error),
    /// The system gives no more threads.
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
    /// The feed of database changes has panicked: a bug. The panic's message is in the log.
    #[error("the feed of database changes ended by itself")]
    FeedEnded,
}

impl Error {
    /// What an operator can do about it, where the error itself does not say.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Keys(jwks::Error::File(error)) => Some(error.remedy()),
            Self::Listen { .. } => {
                Some("choose another address by `listen` or `metrics_listen`, or end the program that has it")
            }
            Self::Thread(_) => Some("raise the limit on threads (ulimit -u, or pids_limit of the container)"),
            _ => None,
        }
    }
}

/// Serves until `shutdown` resolves; calls `ready` with the bound address once clients may connect.
///
/// A database that cannot be reached is no error: sockets are served, `/healthcheck` says why, and the stream is
/// opened as soon as it can be.
pub async fn run(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    // Both before anything runs that would have to be ended in order.
    let (listener, address) = bind(settings.listen).await?;
    let metrics_listener = match settings.metrics_listen {
        Some(address) => Some(bind(address).await?.0),
        None => None,
    };

    let api = api(&settings)?;
    let verifier = Arc::new(Verifier::new(settings.auth.verifier_config()));
    jwks::warn_of_skipped(KeySource::Settings, &settings.auth.key_set);
    // Before anybody connects: a client takes the refusal of its token for the last word.
    let _follower = jwks::Follower::start(settings.auth.key_sources(), &verifier).await?;
    let health = Health::starting();
    let meters = Arc::new(Meters::new(server_limits(&settings)));
    let feed_counters = Arc::new(feed::Counters::new(Arc::clone(&meters)));
    let feed_config = feed_config(&settings, &feed_counters)?;
    let (feed_commands, commands) = mpsc::channel(FEED_COMMANDS_MAX);
    let (authorizer, inquiries) = Authorizer::queue(INQUIRIES_MAX);
    let commits = Arc::<RecentCommits>::default();
    let _ticking = tick(&meters);
    let directory = Directory::new(shard_count(&settings), rand::random(), Instant::now());
    let counters: Vec<_> = (0..shard_count(&settings)).map(|_| Arc::default()).collect();
    let engine = Arc::<Engine>::default();
    let (messaging, notes) = Messaging::new();
    let upkeep = Upkeep::start(&settings, &messaging, notes);
    let adapters = Adapters::start(&settings, &verifier, &feed_commands, &api.rpc, &messaging);
    let messaging = settings.adapter.messaging.then_some(messaging);
    let neighbours =
        Neighbours { feed: feed_commands, authorizer: &authorizer, engine: &engine, messaging: &messaging };
    let (shards, mut threads) =
        start_shards(&settings, &directory, &verifier, neighbours, &meters, &counters)?;
    let sinks: Vec<ShardSink> = shards.iter().cloned().map(ShardSink).collect();
    let authorizations = Arc::default();
    // Dropped to have it end.
    let (stop_authorizations, stopped) = oneshot::channel::<()>();
    threads.push(start_authorizations(
        &settings,
        inquiries,
        &commits,
        &authorizations,
        sinks.clone(),
        stopped,
    )?);
    let maintenance = tokio::spawn(maintain(&settings, health.hold()));
    // To the feed, live events for apps are one more shard.
    let all_sinks: Vec<_> = sinks.into_iter().map(FeedSink::Shard).chain(adapters.sink()).collect();
    let feed_links = feed::Links {
        broadcaster: Broadcaster::new(Arc::clone(&directory), all_sinks.clone()),
        commands,
        health: health.clone(),
        commits,
        engine,
    };
    // No room is theirs, but what ends all sockets ends them, too.
    let broadcaster = Broadcaster::new(directory, all_sinks);
    let mut feed = FeedThread::start(feed_config, feed_links)?;

    let gate_config = GateConfig {
        connections_max: settings.socket.connections_max,
        refusal_delay: settings.socket.connect_error_delay,
        ..GateConfig::default()
    };
    let gate = Gate::new(gate_config, Arc::clone(&verifier), Arc::clone(&meters), shards.clone());
    let http_counters = Arc::default();
    let sources = Arc::new(Sources {
        place: place(&settings),
        started_unix: unix_seconds(),
        health: health.clone(),
        meters: Arc::clone(&meters),
        connections_max: settings.socket.connections_max,
        sockets: shards.iter().map(|shard| Arc::clone(shard.metrics())).collect(),
        channels: counters,
        feed: feed_counters,
        authorizations,
        rpc: api.rpc.clone(),
        http: Arc::clone(&http_counters),
        others: adapters.counts().into_iter().chain(upkeep.counts()).collect(),
    });
    let services = Services {
        broadcaster,
        verifier,
        admins: settings.auth.admin_verifier(),
        authorizer,
        meters,
        health: health.clone(),
        tenant: settings.tenant(format!("rowcast@{address}"), started_at()),
        scrape: Scrape::new(Arc::clone(&sources), Readers::Bearers(settings.auth.metrics_verifier())),
        header_bytes_max: settings.socket.header_bytes_max,
        broadcasts: broadcast_limits(&settings),
        bodies: BodyReader::new(BodyLimits::default()),
        api,
        counters: http_counters,
    };
    let router = rest::router(gate.clone(), Arc::new(services), adapters.additions(&settings));
    let _metrics = metrics_listener.map(|listener| serve_metrics(listener, sources));
    ready(address);
    let ended = serve_until(listener, router, shutdown, &mut feed, &health).await;
    maintenance.abort();

    gate.shut();
    // A stream between its upgrade and its shard is waited for, but not for ever.
    let _ = tokio::time::timeout(DRAIN_WITHIN, gate.handed_over()).await;
    // First, so that nothing is acknowledged that no socket can take any more.
    feed.end().await;
    // A shard that has ended has no sockets left, and one that takes no command is drained of its sockets below.
    let told = shards.iter().map(|shard| shard.send(ShardCommand::Drain));
    let _ = tokio::time::timeout(TOLD_WITHIN, futures_util::future::join_all(told)).await;
    let CloseCode { code, reason, .. } = CLOSE_RESTART;
    let drains = shards.iter().map(|shard| shard.drain(code, reason, DRAIN_WITHIN));
    let (cut_off, apps) = tokio::join!(futures_util::future::join_all(drains), adapters.end());
    let cut_off = cut_off.into_iter().sum::<u64>() + apps;
    if cut_off > 0 {
        tracing::info!(cut_off, "sockets did not close in time");
    }
    drop((gate, shards, stop_authorizations));
    join(threads).await;
    // Last, when nothing is sent to anybody any more.
    upkeep.end().await;
    ended
}

/// Keeps `realtime.messages` up. The server is not live before the first run is over, so that nobody who waits for it
/// finds a partition missing; a database that refuses, such as one that was not migrated, is live without.
fn maintain(settings: &Settings, hold: Hold) -> impl Future<Output = ()> + use<> {
    let config = maintenance::Config {
        database: settings.database.clone(),
        interval: settings.postgres.messages_maintenance,
        retention: settings.postgres.messages_retention,
    };
    let mut hold = Some(hold);
    maintenance::keep_up(config, move |result| {
        if result.as_ref().err().is_none_or(maintenance::Error::is_refusal) {
            drop(hold.take());
        }
    })
}

/// Listens at an address, and says which it came to be.
async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves HTTP until `shutdown` resolves, or the feed ends by itself, which is an error.
async fn serve_until(
    listener: TcpListener,
    router: axum::Router,
    shutdown: impl Future<Output = ()>,
    feed: &mut FeedThread,
    health: &Health,
) -> Result<(), Error> {
    let mut result = Ok(());
    let stopped = async {
        tokio::select! {
            () = shutdown => {}
            () = feed.ended() => {
                health.set_down(FEED_ENDED);
                tracing::error!("{FEED_ENDED}: this is a bug");
                result = Err(Error::FeedEnded);
            }
        }
    };
    rest::serve(listener, router, HttpConfig::default(), stopped).await;
    result
}

/// What the log and `/healthcheck` say when the feed has ended.
const FEED_ENDED: &str = "the feed of database changes has ended; the server shuts down";

type Shards = Vec<ShardHandle<Shard>>;

/// Whom shards turn to.
struct Neighbours<'a> {
    feed: mpsc::Sender<FeedCommand>,
    authorizer: &'a Authorizer,
    engine: &'a Arc<Engine>,
    messaging: &'a Option<Messaging>,
}

fn start_shards(
    settings: &Settings,
    directory: &Arc<Directory>,
    verifier: &Arc<Verifier>,
    neighbours: Neighbours<'_>,
    meters: &Arc<Meters>,
    counters: &[Arc<Counters>],
) -> Result<(Shards, Vec<JoinHandle<()>>), Error> {
    // Shards know each other through this list, which is complete before the first socket arrives.
    let all: Arc<OnceLock<Shards>> = Arc::default();
    let mut shards = Vec::new();
    let mut threads = Vec::new();
    for (index, counters) in (0..shard_count(settings)).zip(counters) {
        let config = hub_config(settings);
        let directory = Arc::clone(directory);
        let links = Links {
            verifier: Arc::clone(verifier) as Arc<dyn TokenVerifier>,
            clock: Box::new(unix_seconds),
            feed: neighbours.feed.clone(),
            peers: Box::new(OtherShards(Arc::clone(&all))),
            authorizer: neighbours.authorizer.clone(),
            engine: Arc::clone(neighbours.engine),
            meters: Arc::clone(meters),
            messaging: neighbours.messaging.clone(),
            counters: Arc::clone(counters),
        };
        let shard_config = ShardConfig {
            message_bytes_max: settings.socket.frame_bytes_max,
            idle_timeout: settings.socket.idle_timeout,
            backlog_bytes_max: settings.hub.backlog_bytes_max,
            ..ShardConfig::default()
        };
        let make = move || Shard::new(index, config, directory, links);
        let (shard, thread) = socket::spawn(index, shard_config, make).map_err(Error::Thread)?;
        shards.push(shard);
        threads.push(thread);
    }
    // The list is set once, here.
    let _ = all.set(shards.clone());
    Ok((shards, threads))
}

/// Serves the metrics alone, to anybody, until the answer is dropped.
fn serve_metrics(listener: TcpListener, sources: Arc<Sources>) -> JoinSet<()> {
    let routes = rest::metrics_routes(sources, Readers::Anybody);
    let config = HttpConfig { connections_max: METRICS_CONNECTIONS_MAX, ..HttpConfig::default() };
    let mut serving = JoinSet::new();
    serving.spawn(rest::serve(listener, routes, config, std::future::pending()));
    serving
}

/// Has the meters look at what they have counted, and the log at what it has left out, until the answer is
/// dropped.
fn tick(meters: &Arc<Meters>) -> JoinSet<()> {
    let mut ticking = JoinSet::new();
    for index in 0..meters.all().len() {
        let meters = Arc::clone(meters);
        ticking.spawn(async move {
            let meter = meters.all()[index];
            // The first tick is due when there has been time to count.
            let mut ticks = interval_at((Instant::now() + meter.interval()).into(), meter.interval());
            loop {
                ticks.tick().await;
                meter.tick();
            }
        });
    }
    ticking.spawn(async {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            report::flush();
        }
    });
    ticking
}

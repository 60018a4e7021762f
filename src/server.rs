//! The composition root: builds every stage, joins them with bounded queues, and takes them down in path order.
//!
//! Threads: one for each shard of sockets, one for the feed of database changes, one for what private channels ask,
//! and the caller's runtime for HTTP. What they share is listed here and nowhere else: the queues, the room directory, the verifier and the
//! state of health.
//!
//! The feed is not restarted if it ends by itself: subscribers would be missing changes and not know. The server
//! says so, closes every socket in order and ends with an error; whoever started it starts it again.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::interval_at;

use crate::auth::{KeySource, Verifier, jwks};
use crate::channel;
use crate::config::{self, Settings};
use crate::hub::authorization::{self, Inquiry};
use crate::hub::feed;
use crate::hub::{
    self, Authorizer, Broadcaster, Counters, Directory, Engine, FeedCommand, Links, Meters, PeerFull, Peers,
    RecentCommits, ServerLimits, Shard, ShardCommand, Sink, TokenRefusal, TokenVerifier,
};
use crate::policy::Claims;
use crate::postgres::maintenance;
use crate::protocol::change::write_timestamp;
use crate::protocol::code::{CLOSE_RESTART, CloseCode};
use crate::rest::{
    self, BodyLimits, BodyReader, BroadcastLimits, HttpConfig, Readers, Scrape, Services, Sources,
};
use crate::socket::shard::Refused;
use crate::socket::{self, Gate, GateConfig, ShardConfig, ShardHandle};
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::health::{Health, Hold};
use crate::telemetry::page::Place;
use crate::telemetry::report;
use crate::wal::{Slot, SlotName, StreamConfig};

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
    let neighbours = Neighbours { feed: feed_commands, authorizer: &authorizer, engine: &engine };
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
    let broadcaster = Broadcaster::new(directory, sinks);
    let feed_links =
        feed::Links { broadcaster: broadcaster.clone(), commands, health: health.clone(), commits, engine };
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
        http: Arc::clone(&http_counters),
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
        counters: http_counters,
    };
    let router = rest::router(gate.clone(), Arc::new(services));
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
    let cut_off: u64 = futures_util::future::join_all(drains).await.into_iter().sum();
    if cut_off > 0 {
        tracing::info!(cut_off, "sockets did not close in time");
    }
    drop((gate, shards, stop_authorizations));
    join(threads).await;
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

/// Waits for threads without holding up the runtime. A thread that panicked has said so already, and one that
/// does not end in time ends with the process.
async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = async {
        while !threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(DRAIN_WITHIN, joined).await;
}

/// The thread of the feed.
struct FeedThread {
    /// Dropped to have it end.
    stop: Option<oneshot::Sender<()>>,
    /// Resolves when it has ended, however that came about.
    ended: watch::Receiver<()>,
}

impl FeedThread {
    /// One thread for reading, deciding and encoding: a change is never handed from core to core on its way.
    fn start<S: Sink + Send + 'static>(config: feed::Config, links: feed::Links<S>) -> Result<Self, Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (alive, ended) = watch::channel(());
        std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || {
                // Dropped on the way out, by a panic as well.
                let _alive = alive;
                let stopped = async {
                    let _ = stopped.await;
                };
                runtime.block_on(feed::run_until(config, links, stopped));
            })
            .map_err(Error::Thread)?;
        Ok(Self { stop: Some(stop), ended })
    }

    /// Waits for its end.
    async fn ended(&mut self) {
        while self.ended.changed().await.is_ok() {}
    }

    /// Has it end, and waits for that, but not for ever.
    async fn end(mut self) {
        drop(self.stop.take());
        if tokio::time::timeout(FEED_END_WITHIN, self.ended()).await.is_err() {
            tracing::info!("the feed did not end in time");
        }
    }
}

type Shards = Vec<ShardHandle<Shard>>;

/// Whom shards turn to.
struct Neighbours<'a> {
    feed: mpsc::Sender<FeedCommand>,
    authorizer: &'a Authorizer,
    engine: &'a Arc<Engine>,
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
            messaging: None,
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

/// The bounds of broadcasts over HTTP are those of sockets.
fn broadcast_limits(settings: &Settings) -> BroadcastLimits {
    let hub::Config { topic_bytes_max, json_depth_max, channel, .. } = hub_config(settings);
    BroadcastLimits { payload_bytes_max: channel.payload_bytes_max, json_depth_max, topic_bytes_max }
}

/// Now, as tenants tell it.
fn started_at() -> String {
    let mut text = String::new();
    write_timestamp(unix_seconds().saturating_mul(1_000_000), &mut text);
    text
}

/// One thread for what private channels ask, so that the feed never waits for policies, and they never for it.
fn start_authorizations(
    settings: &Settings,
    inquiries: mpsc::Receiver<Inquiry>,
    commits: &Arc<RecentCommits>,
    counters: &Arc<authorization::Counters>,
    sinks: Vec<ShardSink>,
    stopped: oneshot::Receiver<()>,
) -> Result<JoinHandle<()>, Error> {
    let config = authorization::Config {
        database: settings.database.clone(),
        connection_count: settings.hub.authorization_connections,
        query_timeout: settings.hub.ask_timeout,
        catalog_poll: settings.policy.catalog_poll,
        payload_bytes_max: settings.channel.payload_bytes_max,
        commits: Arc::clone(commits),
        counters: Arc::clone(counters),
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let stopped = async {
        let _ = stopped.await;
    };
    std::thread::Builder::new()
        .name("authorizer".to_owned())
        .spawn(move || runtime.block_on(authorization::run(config, inquiries, sinks, stopped)))
        .map_err(Error::Thread)
}

fn feed_config(settings: &Settings, counters: &Arc<feed::Counters>) -> Result<feed::Config, Error> {
    let name = SlotName::new(&settings.wal.slot_name)?;
    let publications = vec![settings.wal.publication.clone(), OWN_PUBLICATION.to_owned()];
    let connection = settings.database.replication(name.as_str(), &settings.wal.publication);
    let slot = match settings.wal.slot {
        config::Slot::Temporary => Slot::Temporary,
        config::Slot::Durable => Slot::Durable(name),
    };
    Ok(feed::Config {
        stream: StreamConfig {
            connection,
            slot,
            publications,
            own_publication: Some(feed::MESSAGES_PUBLICATION),
        },
        publication: settings.wal.publication.clone(),
        database: settings.database.clone(),
        ask_connection_count: settings.hub.ask_connections,
        ask_timeout: settings.hub.ask_timeout,
        catalog_poll: settings.policy.catalog_poll,
        mirrored_besides: Arc::default(),
        mirror_bytes_max: settings.policy.mirror_bytes_max,
        switches: settings.policy.switches,
        shadow_per_million: settings.policy.shadow_per_million,
        #[cfg(feature = "postgres-tests")]
        amend: None,
        transaction_bytes_max: settings.wal.transaction_memory_bytes_max,
        record_bytes_max: settings.channel.record_bytes_max,
        broadcast_bytes_max: settings.channel.payload_bytes_max,
        waiting_max: WAITING_MAX,
        notes_sent: false,
        counters: Arc::clone(counters),
    })
}

fn hub_config(settings: &Settings) -> hub::Config {
    let defaults = hub::Config::default();
    let channel = &settings.channel;
    hub::Config {
        channel: channel::Limits {
            payload_bytes_max: channel.payload_bytes_max,
            presence_bytes_max: channel.payload_bytes_max,
            presence_calls_max: channel.presence_window_events_max,
            presence_window: channel.presence_window,
        },
        json_depth_max: settings.socket.json_depth_max,
        channels_per_socket_max: channel.channels_per_socket_max,
        refusal_delay: channel.join_error_delay,
        private_only: channel.private_only,
        presence_for_all: channel.presence_for_all,
        no_channel_timeout: channel.no_channel_timeout,
        ..defaults
    }
}

fn shard_count(settings: &Settings) -> u16 {
    u16::try_from(settings.hub.shard_count).unwrap_or(hub::SHARDS_MAX).clamp(1, hub::SHARDS_MAX)
}

/// Where the numbers of the metrics page come from.
fn place(settings: &Settings) -> Place {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    Place { tenant: settings.tenant_id.clone(), region: String::new(), host: host.unwrap_or_default() }
}

/// Serves the metrics alone, to anybody, until the answer is dropped.
fn serve_metrics(listener: TcpListener, sources: Arc<Sources>) -> JoinSet<()> {
    let routes = rest::metrics_routes(sources, Readers::Anybody);
    let config = HttpConfig { connections_max: METRICS_CONNECTIONS_MAX, ..HttpConfig::default() };
    let mut serving = JoinSet::new();
    serving.spawn(rest::serve(listener, routes, config, std::future::pending()));
    serving
}

fn server_limits(settings: &Settings) -> ServerLimits {
    let channel = &settings.channel;
    ServerLimits {
        concurrent_users_max: channel.concurrent_users_max,
        joins_per_second_max: channel.joins_per_second_max,
        events_per_second_max: channel.events_per_second_max,
        presence_events_per_second_max: channel.presence_events_per_second_max,
        db_events_per_second_max: channel.db_events_per_second_max,
    }
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

/// The shards, as one of them sees the others.
struct OtherShards(Arc<OnceLock<Shards>>);

impl Peers for OtherShards {
    fn try_send(&self, shard: u16, command: ShardCommand) -> Result<(), PeerFull> {
        let shard = self.0.get().and_then(|all| all.get(usize::from(shard))).ok_or(PeerFull)?;
        match shard.try_send(command) {
            // One that has ended has no sockets left to hear it.
            Ok(()) | Err(Refused::Gone(_)) => Ok(()),
            Err(Refused::Full(_)) => Err(PeerFull),
        }
    }
}

/// A shard, as those see it who can wait.
#[derive(Clone)]
struct ShardSink(ShardHandle<Shard>);

impl Sink for ShardSink {
    async fn send(&self, command: ShardCommand) -> bool {
        self.0.send(command).await.is_ok()
    }
}

impl TokenVerifier for Verifier {
    fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenRefusal> {
        Self::verify(self, token, now_unix).map_err(|error| TokenRefusal {
            join_reason: error.join_reason(),
            system_message: error.system_message(),
        })
    }

    fn generation(&self) -> u64 {
        Self::generation(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{ChannelRef, ConnectionId, Subscribe};
    use crate::postgres::connect::Database;
    use crate::protocol::Dialect;
    use crate::telemetry::health::Liveness;

    /// A shard with a bug.
    struct Broken;

    impl Sink for Broken {
        async fn send(&self, _: ShardCommand) -> bool {
            panic!("no value of any row")
        }
    }

    /// A feed whose Postgres is not there; it still answers what it can.
    fn feed<S: Sink + Send + 'static>(sink: S, health: &Health) -> (FeedThread, mpsc::Sender<FeedCommand>) {
        let database = Database::parse("postgres://nobody@127.0.0.1:1/none").unwrap();
        let connection = database.replication("rowcast", "supabase_realtime");
        let config = feed::Config {
            stream: StreamConfig {
                connection,
                slot: Slot::Temporary,
                publications: vec![],
                own_publication: None,
            },
            publication: "supabase_realtime".to_owned(),
            database,
            ask_connection_count: 1,
            ask_timeout: Duration::from_secs(1),
            catalog_poll: Duration::from_secs(1),
            switches: crate::policy::Switches::default(),
            shadow_per_million: 0,
            #[cfg(feature = "postgres-tests")]
            amend: None,
            transaction_bytes_max: 1,
            mirrored_besides: Arc::default(),
            mirror_bytes_max: 1,
            record_bytes_max: 1,
            broadcast_bytes_max: 1,
            waiting_max: 1,
            notes_sent: false,
            counters: Arc::default(),
        };
        let (sender, commands) = mpsc::channel(1);
        let directory = Directory::new(1, [1, 2], Instant::now());
        let broadcaster = Broadcaster::new(directory, vec![sink]);
        let links = feed::Links {
            broadcaster,
            commands,
            health: health.clone(),
            commits: Arc::default(),
            engine: Arc::default(),
        };
        (FeedThread::start(config, links).unwrap(), sender)
    }

    /// Has the feed say something to its only shard.
    async fn provoke(commands: &mpsc::Sender<FeedCommand>) {
        let connection = ConnectionId { slot: 0, generation: 0 };
        let not_an_event = serde_json::json!({ "event": "NONE" });
        let subscribe = Subscribe {
            channel: ChannelRef { shard: 0, connection, join: 0 },
            topic: "realtime:room".into(),
            dialect: Dialect::V1,
            legacy: false,
            claims: Arc::new(Claims { role: "anon".into(), json: "{}".into(), expires_at: 0 }),
            bindings: vec![(1, not_an_event.as_object().unwrap().clone())],
        };
        commands.send(FeedCommand::Subscribe(subscribe)).await.unwrap();
    }

    #[tokio::test]
    async fn a_feed_that_panics_ends_the_server() {
        let health = Health::starting();
        let (mut feed, commands) = feed(Broken, &health);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = serve_until(listener, axum::Router::new(), std::future::pending(), &mut feed, &health);
        let (served, ()) = tokio::join!(served, provoke(&commands));
        assert!(matches!(served, Err(Error::FeedEnded)));
        assert_eq!(health.get(), Liveness::Down(FEED_ENDED.into()));
        // It can be ended like one that is well.
        feed.end().await;
    }

    #[tokio::test]
    async fn a_feed_ends_when_it_is_told_to() {
        struct Well;
        impl Sink for Well {
            async fn send(&self, _: ShardCommand) -> bool {
                true
            }
        }
        let health = Health::starting();
        let (mut feed, commands) = feed(Well, &health);
        provoke(&commands).await;
        let early = tokio::time::timeout(Duration::from_millis(50), feed.ended()).await;
        assert!(early.is_err(), "a feed without Postgres goes on trying");
        feed.end().await;
        assert!(commands.is_closed());
    }
}

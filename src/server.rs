//! The composition root: builds every stage, joins them with bounded queues, and takes them down in path order.
//!
//! Threads: one for each shard of sockets, one for the feed of database changes, and the caller's runtime for
//! HTTP. What they share is listed here and nowhere else: the queues, the room directory, the verifier and the
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

use crate::auth::{self, Verifier};
use crate::channel;
use crate::config::{self, Settings};
use crate::hub::feed;
use crate::hub::{
    self, Authorizer, Directory, FeedCommand, JoinRate, Links, PeerFull, Peers, Shard, ShardCommand, Sink,
    TokenRefusal, TokenVerifier,
};
use crate::policy::Claims;
use crate::postgres::maintenance;
use crate::protocol::code::{CLOSE_RESTART, CloseCode};
use crate::rest::{self, HttpConfig};
use crate::socket::shard::Refused;
use crate::socket::{self, Gate, GateConfig, ShardConfig, ShardHandle};
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::health::{Health, Hold};
use crate::wal::{Slot, SlotName, StreamConfig};

/// How many commands from all shards may wait for the feed.
const FEED_COMMANDS_MAX: usize = 65_536;

/// How many deliveries may wait for Postgres's answers before the stream is read no further.
const WAITING_MAX: usize = 50_000;

/// How many inquiries about private channels may wait for Postgres; a join beyond that is refused.
const INQUIRIES_MAX: usize = 16_384;

/// The publication that is ours alone, for what the server itself wants to follow.
const OWN_PUBLICATION: &str = "rowcast";

/// How long sockets get to take their close frames at shutdown.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// How long the feed gets to hand over and acknowledge what it has read. It may wait for a Postgres that is gone.
const FEED_END_WITHIN: Duration = Duration::from_secs(2);

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
    /// The secret is empty.
    #[error("could not use jwt_secret")]
    Secret(#[from] auth::EmptySecret),
    /// The system gives no more threads.
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
    /// The feed of database changes has panicked: a bug. The panic's message is in the log.
    #[error("the feed of database changes ended by itself")]
    FeedEnded,
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
    let address = settings.listen;
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;

    let secret = auth::Secret::new(settings.auth.jwt_secret.expose().as_bytes().to_vec())?;
    let verifier = Arc::new(Verifier::new(&secret));
    let health = Health::starting();
    let feed_config = feed_config(&settings)?;
    let (feed_commands, commands) = mpsc::channel(FEED_COMMANDS_MAX);
    // Nobody answers yet: whoever asks is told that the database cannot be reached.
    let (authorizer, _inquiries) = Authorizer::queue(INQUIRIES_MAX);
    let (shards, shard_threads) = start_shards(&settings, &verifier, feed_commands, &authorizer)?;
    let sinks = shards.iter().cloned().map(ShardSink).collect();
    let maintenance = tokio::spawn(maintain(&settings, health.hold()));
    let mut feed = FeedThread::start(feed_config, sinks, commands, health.clone())?;

    let gate_config = GateConfig {
        connections_max: settings.socket.connections_max,
        refusal_delay: settings.socket.connect_error_delay,
        ..GateConfig::default()
    };
    let gate = Gate::new(gate_config, verifier, shards.clone());
    let router = rest::router(gate.clone(), health.clone());
    ready(address);
    let ended = serve_until(listener, router, shutdown, &mut feed, &health).await;
    maintenance.abort();

    gate.shut();
    // A stream between its upgrade and its shard is waited for, but not for ever.
    let _ = tokio::time::timeout(DRAIN_WITHIN, gate.handed_over()).await;
    // First, so that nothing is acknowledged that no socket can take any more.
    feed.end().await;
    for shard in &shards {
        // A shard that has ended has no sockets left.
        let _ = shard.send(ShardCommand::Drain).await;
    }
    let CloseCode { code, reason, .. } = CLOSE_RESTART;
    let drains = shards.iter().map(|shard| shard.drain(code, reason, DRAIN_WITHIN));
    let cut_off: u64 = futures_util::future::join_all(drains).await.into_iter().sum();
    if cut_off > 0 {
        tracing::info!(cut_off, "sockets did not close in time");
    }
    drop((gate, shards));
    join(shard_threads).await;
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
    fn start<S: Sink + Send + 'static>(
        config: feed::Config,
        sinks: Vec<S>,
        commands: mpsc::Receiver<FeedCommand>,
        health: Health,
    ) -> Result<Self, Error> {
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
                runtime.block_on(feed::run_until(config, sinks, commands, health, stopped));
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

fn start_shards(
    settings: &Settings,
    verifier: &Arc<Verifier>,
    feed: mpsc::Sender<FeedCommand>,
    authorizer: &Authorizer,
) -> Result<(Shards, Vec<JoinHandle<()>>), Error> {
    let count = u16::try_from(settings.hub.shard_count).unwrap_or(hub::SHARDS_MAX).clamp(1, hub::SHARDS_MAX);
    let directory = Directory::new(count, rand::random(), Instant::now());
    // Shards know each other through this list, which is complete before the first socket arrives.
    let all: Arc<OnceLock<Shards>> = Arc::default();
    let mut shards = Vec::new();
    let mut threads = Vec::new();
    for index in 0..count {
        let config = hub_config(settings);
        let directory = Arc::clone(&directory);
        let links = Links {
            verifier: Arc::clone(verifier) as Arc<dyn TokenVerifier>,
            clock: Box::new(unix_seconds),
            feed: feed.clone(),
            peers: Box::new(OtherShards(Arc::clone(&all))),
            authorizer: authorizer.clone(),
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

fn feed_config(settings: &Settings) -> Result<feed::Config, Error> {
    let name = SlotName::new(&settings.wal.slot_name)?;
    let publications = vec![settings.wal.publication.clone(), OWN_PUBLICATION.to_owned()];
    let connection = settings.database.replication(name.as_str(), &settings.wal.publication);
    let slot = match settings.wal.slot {
        config::Slot::Temporary => Slot::Temporary,
        config::Slot::Durable => Slot::Durable(name),
    };
    Ok(feed::Config {
        stream: StreamConfig { connection, slot, publications },
        database: settings.database.clone(),
        ask_connection_count: settings.hub.ask_connections,
        ask_timeout: settings.hub.ask_timeout,
        catalog_poll: settings.policy.catalog_poll,
        transaction_bytes_max: settings.wal.transaction_memory_bytes_max,
        record_bytes_max: settings.channel.record_bytes_max,
        waiting_max: WAITING_MAX,
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
        joins_per_server: JoinRate { per_second: channel.joins_per_second_max, ..defaults.joins_per_server },
        refusal_delay: channel.join_error_delay,
        ..defaults
    }
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
            stream: StreamConfig { connection, slot: Slot::Temporary, publications: vec![] },
            database,
            ask_connection_count: 1,
            ask_timeout: Duration::from_secs(1),
            catalog_poll: Duration::from_secs(1),
            transaction_bytes_max: 1,
            record_bytes_max: 1,
            waiting_max: 1,
        };
        let (commands, receiver) = mpsc::channel(1);
        (FeedThread::start(config, vec![sink], receiver, health.clone()).unwrap(), commands)
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

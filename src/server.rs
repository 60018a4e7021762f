//! The composition root: builds every stage, joins them with bounded queues, and takes them down in path order.
//!
//! Threads: one for each shard of sockets, one for the feed of database changes, and the caller's runtime for
//! HTTP. What they share is listed here and nowhere else: the queues, the room directory, the verifier and the
//! state of health.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::auth::{self, Verifier};
use crate::channel;
use crate::config::{self, Settings};
use crate::hub::feed::{self, Sink};
use crate::hub::{
    self, Directory, FeedCommand, FeedEvent, JoinRate, Links, PeerFull, Peers, Shard, ShardCommand,
    TokenRefusal, TokenVerifier,
};
use crate::policy::Claims;
use crate::rest::{self, HttpConfig};
use crate::socket::shard::Refused;
use crate::socket::{self, Gate, GateConfig, ShardConfig, ShardHandle};
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::health::Health;
use crate::wal::{Slot, SlotName, StreamConfig};

/// How many commands from all shards may wait for the feed.
const FEED_COMMANDS_MAX: usize = 65_536;

/// How many deliveries may wait for Postgres's answers before the stream is read no further.
const WAITING_MAX: usize = 50_000;

/// The publication that is ours alone, for what the server itself wants to follow.
const OWN_PUBLICATION: &str = "rowcast";

/// How long sockets get to take their close frames at shutdown.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// What clients read in the close frame at shutdown. The code makes them connect again.
const DRAIN_CODE: u16 = 1012;

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
    let (shards, shard_threads) = start_shards(&settings, &verifier, feed_commands)?;
    let feed_thread = start_feed(feed_config, &shards, commands, health.clone())?;

    let gate_config = GateConfig {
        connections_max: settings.socket.connections_max,
        refusal_delay: settings.socket.connect_error_delay,
        ..GateConfig::default()
    };
    let gate = Gate::new(gate_config, verifier, shards.clone());
    let router = rest::router(gate.clone(), health);
    ready(address);
    rest::serve(listener, router, HttpConfig::default(), shutdown).await;

    gate.shut();
    // A stream between its upgrade and its shard is waited for, but not for ever.
    let _ = tokio::time::timeout(DRAIN_WITHIN, gate.handed_over()).await;
    for shard in &shards {
        // A shard that has ended has no sockets left.
        let _ = shard.send(ShardCommand::Drain).await;
    }
    let drains = shards.iter().map(|shard| shard.drain(DRAIN_CODE, "server is shutting down", DRAIN_WITHIN));
    let cut_off: u64 = futures_util::future::join_all(drains).await.into_iter().sum();
    if cut_off > 0 {
        tracing::info!(cut_off, "sockets did not close in time");
    }
    drop((gate, shards));
    // With the shards go the feed's commands, and with them the feed.
    join(shard_threads.into_iter().chain([feed_thread])).await;
    Ok(())
}

/// Waits for threads without holding up the runtime. A thread that panicked has said so already.
async fn join(threads: impl Iterator<Item = JoinHandle<()>>) {
    let threads: Vec<_> = threads.collect();
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            let _ = thread.join();
        }
    });
    let _ = tokio::time::timeout(DRAIN_WITHIN, joined).await;
}

type Shards = Vec<ShardHandle<Shard>>;

fn start_shards(
    settings: &Settings,
    verifier: &Arc<Verifier>,
    feed: mpsc::Sender<FeedCommand>,
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

fn start_feed(
    config: feed::Config,
    shards: &Shards,
    commands: mpsc::Receiver<FeedCommand>,
    health: Health,
) -> Result<JoinHandle<()>, Error> {
    // One thread for reading, deciding and encoding: a change is never handed from core to core on its way.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let shards: Vec<ShardSink> = shards.iter().cloned().map(ShardSink).collect();
    std::thread::Builder::new()
        .name("feed".to_owned())
        .spawn(move || runtime.block_on(feed::run(config, shards, commands, health)))
        .map_err(Error::Thread)
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

/// A shard, as the feed sees it.
struct ShardSink(ShardHandle<Shard>);

impl Sink for ShardSink {
    async fn send(&self, event: FeedEvent) -> bool {
        self.0.send(ShardCommand::Feed(event)).await.is_ok()
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

//! What a feed does to its server.

use super::*;
use crate::hub::{ChannelRef, ConnectionId, Sink, Subscribe};
use crate::policy::Claims;
use crate::postgres::connect::Database;
use crate::protocol::Dialect;
use crate::telemetry::health::Liveness;
use crate::wal::{Slot, StreamConfig};

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
        whole_deleted: false,
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

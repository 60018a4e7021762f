//! What these tests share: a server that may be stopped, a feed on a thread of its own, and ears for its subscribers.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowcast::hub::feed;
use rowcast::hub::{
    Broadcaster, ChannelRef, ConnectionId, Directory, FeedCommand, FeedEvent, ShardCommand, Sink, Subscribe,
};
use rowcast::policy::{Claims, Switches};
use rowcast::postgres::cluster::Cluster;
use rowcast::postgres::connect::Database;
use rowcast::protocol::Dialect;
use rowcast::telemetry::health::{Health, Liveness};
use rowcast::wal::{Lsn, Slot, SlotName, StreamConfig};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Client;

use crate::support::{self, binaries, scratch};

/// How long anything may take before its test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// The publication of every test.
pub(super) const PUBLICATION: &str = "supabase_realtime";

/// A cluster of one test, with a table `messages` that everybody may read.
pub(super) struct Server {
    /// The cluster, to be stopped and started.
    pub(super) cluster: Cluster,
    directory: PathBuf,
}

impl Server {
    /// Starts one with further lines in its `postgresql.conf`.
    pub(super) async fn start(major: u32, settings: &str) -> Self {
        let directory = scratch("failures");
        let mut cluster = Cluster::start(binaries(major), &directory, false).unwrap();
        if !settings.is_empty() {
            let path = cluster.data().join("postgresql.conf");
            let text = std::fs::read_to_string(&path).unwrap();
            write_file(&path, &format!("{text}\n{settings}\n"));
            cluster.restart().unwrap();
        }
        let server = Self { cluster, directory };
        let client = server.client().await;
        client
            .batch_execute(&format!(
                "create role anon nologin; create table messages (id int primary key);
                 grant select on messages to anon; create publication {PUBLICATION} for table messages"
            ))
            .await
            .unwrap();
        server
    }

    /// A session of a superuser, whose commits outlive a crash of the server.
    pub(super) async fn client(&self) -> Client {
        let client = support::connect(&self.cluster.url("postgres")).await;
        client.batch_execute("set synchronous_commit = on").await.unwrap();
        client
    }

    /// Writes rows, each in a transaction of its own.
    pub(super) async fn write(&self, ids: impl IntoIterator<Item = i32>) {
        let client = self.client().await;
        for id in ids {
            client.batch_execute(&format!("insert into messages values ({id})")).await.unwrap();
        }
    }

    /// The one value of a query, as text.
    pub(super) async fn value(&self, query: &str) -> Option<String> {
        let row = self.client().await.query_opt(&format!("select ({query})::text"), &[]).await.unwrap();
        row.and_then(|row| row.get(0))
    }

    /// The end of the log.
    pub(super) async fn end(&self) -> Lsn {
        self.value("pg_current_wal_insert_lsn()").await.unwrap().parse().unwrap()
    }

    /// What the durable slot of the tests has been acknowledged.
    pub(super) async fn acknowledged(&self) -> Lsn {
        let query = "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'rowcast'";
        self.value(query).await.map_or(Lsn::ZERO, |lsn| lsn.parse().unwrap())
    }

    /// Waits until the durable slot of the tests has been acknowledged up to `lsn`.
    pub(super) async fn acknowledged_to(&self, lsn: Lsn) {
        let slots = "pg_replication_slots where slot_name = 'rowcast'";
        self.until(&format!("select confirmed_flush_lsn >= '{lsn}' from {slots}")).await;
    }

    /// Waits until a condition holds.
    pub(super) async fn until(&self, condition: &str) {
        let client = self.client().await;
        let started = Instant::now();
        while !client
            .query_one(&format!("select coalesce(({condition}), false)"), &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            assert!(started.elapsed() < PATIENCE, "waited in vain for {condition}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends every session of that name; says how many there were.
    pub(super) async fn terminate(&self, application_name: &str) -> i64 {
        let query =
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1";
        self.client().await.query_one(query, &[&application_name]).await.unwrap().get(0)
    }

    /// The process of the only session of that name.
    pub(super) async fn process(&self, application_name: &str) -> nix::unistd::Pid {
        let query = format!("select pid from pg_stat_activity where application_name = '{application_name}'");
        nix::unistd::Pid::from_raw(self.value(&query).await.unwrap().parse().unwrap())
    }

    /// Stops the server; it must not be held up.
    pub(super) fn stop(&mut self) {
        let started = Instant::now();
        self.cluster.stop().unwrap();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "held up for {took:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that fails leaves no server behind, whatever it did to it.
        let _ = self.cluster.crash();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Replaces a file of the cluster; its owner stays.
pub(super) fn write_file(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// The slot of tests that have a durable one.
pub(super) fn durable() -> Slot {
    Slot::Durable(SlotName::new("rowcast").unwrap())
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A `system` message with status `ok`.
    Subscribed,
    /// The `system` message of an interruption.
    Interrupted,
    /// Another `system` message with status `error`.
    Refused(String),
    /// A change of the row with this id.
    Change(i64),
}

/// A shard that is as slow as its test.
struct Inbox(mpsc::Sender<FeedEvent>);

impl Sink for Inbox {
    async fn send(&self, command: ShardCommand) -> bool {
        let event = match command {
            ShardCommand::Feed(event) => event,
            // Nobody here is on a private channel.
            ShardCommand::Recheck(_) => return true,
            other => panic!("the feed sends events only: {other:?}"),
        };
        self.0.send(event).await.is_ok()
    }
}

/// How a feed is to be.
pub(super) struct Options {
    /// Its slot.
    pub(super) slot: Slot,
    /// How many events its only shard takes while the test does not listen.
    pub(super) inbox: usize,
    /// For how long Postgres may be silent.
    pub(super) silence: Duration,
    /// How many bytes of a transaction are held at once.
    pub(super) transaction_bytes_max: usize,
}

impl Options {
    /// The usual, on this slot.
    pub(super) fn on(slot: Slot) -> Self {
        Self { slot, inbox: 1024, silence: Duration::from_secs(30), transaction_bytes_max: 1 << 20 }
    }
}

/// A feed on its own thread, and what its subscribers have heard.
pub(super) struct Feed {
    /// What it says of itself.
    pub(super) health: Health,
    commands: mpsc::Sender<FeedCommand>,
    events: mpsc::Receiver<FeedEvent>,
    heard: HashMap<ChannelRef, VecDeque<Heard>>,
    joins: u32,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Feed {
    /// Starts one on the cluster's own database.
    pub(super) fn start(server: &Server, slot: Slot) -> Self {
        Self::start_on(&server.cluster.url("postgres"), Options::on(slot))
    }

    /// Starts one.
    pub(super) fn start_on(url: &str, options: Options) -> Self {
        // RUST_LOG=rowcast=info shows what goes on.
        if std::env::var_os("RUST_LOG").is_some() {
            rowcast::telemetry::log::install("info", false);
        }
        let database = Database::parse(url).unwrap();
        let connection = database.replication("rowcast", PUBLICATION).with_wakeup_interval(options.silence);
        let config = feed::Config {
            stream: StreamConfig {
                connection,
                slot: options.slot,
                publications: vec![PUBLICATION.to_owned(), "rowcast".to_owned()],
                own_publication: Some(feed::MESSAGES_PUBLICATION),
            },
            publication: PUBLICATION.to_owned(),
            database,
            ask_connection_count: 1,
            ask_timeout: Duration::from_secs(2),
            catalog_poll: Duration::from_millis(50),
            mirrored_besides: Arc::default(),
            mirror_bytes_max: 64 << 20,
            switches: Switches::default(),
            shadow_per_million: 0,
            amend: None,
            transaction_bytes_max: options.transaction_bytes_max,
            record_bytes_max: 1 << 20,
            broadcast_bytes_max: 1 << 20,
            waiting_max: 1_000,
            notes_sent: false,
            counters: Arc::default(),
        };
        let health = Health::starting();
        let (commands, receiver) = mpsc::channel(100);
        let (inbox, events) = mpsc::channel(options.inbox);
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let links = feed::Links {
            broadcaster: Broadcaster::new(Directory::new(1, [1, 2], Instant::now()), vec![Inbox(inbox)]),
            commands: receiver,
            health: health.clone(),
            commits: Arc::default(),
            engine: Arc::default(),
        };
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            runtime.block_on(feed::run_until(config, links, stopped));
        });
        let (heard, joins, stop, thread) = (HashMap::new(), 0, Some(stop), Some(thread));
        Self { health, commands, events, heard, joins, stop, thread }
    }

    /// Waits until changes flow.
    pub(super) async fn live(&self) {
        tokio::time::timeout(PATIENCE, self.health.live()).await.expect("a live stream");
    }

    /// Waits until `/healthcheck` would say something with these words.
    pub(super) async fn down(&self, words: &str) {
        let started = Instant::now();
        loop {
            let liveness = self.health.get();
            if matches!(&liveness, Liveness::Down(reason) if reason.contains(words)) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for {words:?}: {liveness:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn claims(sub: &str) -> Arc<Claims> {
        let json = json!({ "role": "anon", "sub": sub }).to_string().into();
        Arc::new(Claims { role: "anon".into(), json, expires_at: i64::MAX })
    }

    /// Subscribes a new channel of `sub` to everything in a table, or in all with `*`.
    pub(super) async fn subscribe(&mut self, sub: &str, table: &str) -> ChannelRef {
        self.subscribe_to(sub, json!({ "event": "*", "schema": "public", "table": table })).await
    }

    /// Subscribes a new channel of `sub` to this binding.
    pub(super) async fn subscribe_to(&mut self, sub: &str, binding: Value) -> ChannelRef {
        self.joins += 1;
        let connection = ConnectionId { slot: 0, generation: 0 };
        let channel = ChannelRef { shard: 0, connection, join: self.joins };
        let subscribe = Subscribe {
            channel,
            topic: "realtime:room".into(),
            dialect: Dialect::V1,
            legacy: false,
            whole_deleted: false,
            claims: Self::claims(sub),
            bindings: vec![(1, binding.as_object().unwrap().clone())],
        };
        self.commands.send(FeedCommand::Subscribe(subscribe)).await.unwrap();
        channel
    }

    /// Gives a channel a new token.
    pub(super) async fn refresh(&self, channel: ChannelRef, sub: &str) {
        let claims = Self::claims(sub);
        self.commands.send(FeedCommand::Refresh { channel, claims }).await.unwrap();
    }

    /// The next thing a channel hears.
    pub(super) async fn next(&mut self, channel: ChannelRef) -> Heard {
        loop {
            if let Some(heard) = self.heard.entry(channel).or_default().pop_front() {
                return heard;
            }
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            self.hear(event.expect("something to hear").expect("a feed"));
        }
    }

    /// Asserts what a channel hears next, in order.
    pub(super) async fn hears(&mut self, channel: ChannelRef, expected: impl IntoIterator<Item = Heard>) {
        for (place, expected) in expected.into_iter().enumerate() {
            assert_eq!(self.next(channel).await, expected, "at place {place}");
        }
    }

    /// Asserts that a channel hears these changes, in order and each once, and these words, in order, whatever
    /// stands where; the last change comes last.
    pub(super) async fn hears_mixed(
        &mut self,
        channel: ChannelRef,
        changes: impl IntoIterator<Item = i64>,
        words: &[Heard],
    ) {
        let changes: Vec<i64> = changes.into_iter().collect();
        let (mut heard_changes, mut heard_words) = (Vec::new(), Vec::new());
        while heard_changes.last() != changes.last() {
            match self.next(channel).await {
                Heard::Change(id) => heard_changes.push(id),
                word => heard_words.push(word),
            }
        }
        assert_eq!(heard_changes, changes);
        assert_eq!(heard_words, words);
    }

    /// Whether a channel has heard nothing that was not asserted, of all that the feed has said so far.
    pub(super) fn has_heard_nothing(&mut self, channel: ChannelRef) -> bool {
        while let Ok(event) = self.events.try_recv() {
            self.hear(event);
        }
        self.heard.get(&channel).is_none_or(VecDeque::is_empty)
    }

    fn hear(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::Live(_) | FeedEvent::Forked(_) => {}
            FeedEvent::System { channel, ok, message } => {
                let word = match (ok, &*message) {
                    (true, "Subscribed to PostgreSQL") => Heard::Subscribed,
                    (false, text) if text.contains("interrupted") => Heard::Interrupted,
                    _ => Heard::Refused(message.to_string()),
                };
                self.heard.entry(channel).or_default().push_back(word);
            }
            FeedEvent::Changes(deliveries) => {
                for delivery in deliveries {
                    let change = Heard::Change(id_in(&delivery.frame));
                    for channel in delivery.channels.iter() {
                        self.heard.entry(*channel).or_default().push_back(change.clone());
                    }
                }
            }
        }
    }

    /// Ends the feed in order and waits for that.
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        let thread = self.thread.take().unwrap();
        let started = Instant::now();
        while !thread.is_finished() {
            assert!(started.elapsed() < PATIENCE, "the feed does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        thread.join().unwrap();
    }
}

/// The id of the row in a change's frame.
fn id_in(frame: &[u8]) -> i64 {
    // A frame of a server is not masked; its JSON is the first thing with a brace.
    let start = frame.iter().position(|byte| *byte == b'{').unwrap();
    let message: Value = serde_json::from_slice(&frame[start..]).unwrap();
    let id = &message["payload"]["data"]["record"]["id"];
    id.as_i64().unwrap_or_else(|| panic!("no row in {message}"))
}

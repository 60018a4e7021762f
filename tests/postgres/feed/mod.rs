//! The feed on live servers: who gets which change, and who does not.
//!
//! A [`TestFeed`] is a database of its own with the feed running on it; a [`Subscriber`] stands for one channel.
//! Absence is proven without waiting: [`TestFeed::mark`] writes a row that everybody may see, and what has not
//! come before it does not come.

mod broadcasts;
mod catalog;
mod changes;
mod compiled;
mod ddl;
mod filters;
mod limits;
mod mirror;
mod names;
mod order;
mod outrun;
mod policy;
mod shapes;
mod switches;

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rowcast::hub::feed;
use rowcast::hub::{
    Broadcaster, ChannelRef, ConnectionId, Directory, FeedCommand, FeedEvent, RoomBroadcast, ShardCommand,
    Sink, Subscribe,
};
use rowcast::policy::{Claims, Switches};
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;
use rowcast::protocol::Dialect;
use rowcast::telemetry::health::Health;
use rowcast::wal::{Slot, StreamConfig};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{TestDatabase, connect, majors};

/// How long anything that must come may take.
const WITHIN: Duration = Duration::from_secs(20);

/// More events than any test makes.
const EVENTS_MAX: usize = 1 << 20;

/// The id of the binding that every subscriber has on the table of marks.
/// The topic of those who want deleted rows whole.
const WHOLE: &str = "whole";

const MARK_ID: u32 = 9_999;

/// What every database of these tests has besides the migrated schema.
const SCHEMA: &str = "
    grant usage on schema public to anon, authenticated, service_role;
    alter default privileges in schema public grant select on tables to anon, authenticated, service_role;
    create table marks (id int primary key);
    create function publish(variadic tables regclass[]) returns void language plpgsql as $$
        declare published regclass;
        begin
            foreach published in array tables loop
                execute format('alter publication supabase_realtime add table %s', published);
            end loop;
        end $$;
    select publish('marks');";

/// Runs a test on every major version at once, and says which one failed.
pub(crate) async fn on_each_major(test: impl AsyncFn(u32)) {
    struct Named(u32);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("on PostgreSQL {}", self.0);
            }
        }
    }
    let run = async |major| {
        let _named = Named(major);
        test(major).await;
    };
    futures_util::future::join_all(majors().into_iter().map(run)).await;
}

/// Where the feed's events end up, by channel.
type Routes = Arc<Mutex<HashMap<ChannelRef, mpsc::Sender<Event>>>>;

/// What a channel gets.
#[derive(Debug)]
enum Event {
    Change(Change),
    System { ok: bool, message: Arc<str> },
}

/// One delivered change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The whole frame, shared by all who get it.
    frame: Bytes,
    topic: String,
    /// The event on the wire: `postgres_changes`, or its kind on channels that joined without `config`.
    event: String,
    ids: Value,
    pub(crate) data: Value,
}

impl Change {
    /// Reads a frame of the second dialect: a WebSocket header, then a JSON array.
    fn read(frame: &Bytes) -> Self {
        assert_eq!(frame[0], 0x81, "a final text frame");
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let message: Value = serde_json::from_slice(&frame[header..]).expect("JSON");
        let text = |place: usize| message[place].as_str().expect("a string").to_owned();
        let (topic, event) = (text(2), text(3));
        let payload = &message[4];
        let (ids, data) = match &*event {
            "postgres_changes" => (payload["ids"].clone(), payload["data"].clone()),
            _ => (Value::Null, payload.clone()),
        };
        Self { frame: frame.clone(), topic, event, ids, data }
    }

    /// What happened, in short: `[type, record]`, `[type, record, old_record]` or `[type, old_record]`, and the
    /// errors if there are any.
    fn brief(&self) -> Value {
        let parts = ["type", "record", "old_record", "errors"].map(|part| self.data[part].clone());
        parts.into_iter().filter(|part| !part.is_null()).collect()
    }
}

/// What happened, in short; see [`Change::brief`].
pub(crate) fn brief(changes: &[Change]) -> Value {
    changes.iter().map(Change::brief).collect()
}

struct TestSink {
    routes: Routes,
    /// Bounded, as an inbox is: whoever listens to rooms reads them.
    broadcasts: mpsc::Sender<Arc<RoomBroadcast>>,
}

impl Sink for TestSink {
    async fn send(&self, command: ShardCommand) -> bool {
        let event = match command {
            ShardCommand::Feed(event) => event,
            ShardCommand::Broadcast(broadcast) => return self.broadcasts.send(broadcast).await.is_ok(),
            // Nobody here is on a private channel.
            ShardCommand::Recheck(_) => return true,
            other => panic!("the feed sends events and broadcasts only: {other:?}"),
        };
        let routes = self.routes.lock().unwrap();
        let send = |channel: &ChannelRef, event| {
            if let Some(route) = routes.get(channel) {
                // A test may have let go of a subscriber; it never lets one fill up.
                assert!(!matches!(route.try_send(event), Err(mpsc::error::TrySendError::Full(_))));
            }
        };
        match event {
            FeedEvent::Live(_) | FeedEvent::Forked(_) => {}
            FeedEvent::Changes(deliveries) => {
                for delivery in deliveries {
                    let change = Change::read(&delivery.frame);
                    for channel in delivery.channels.iter() {
                        send(channel, Event::Change(change.clone()));
                    }
                }
            }
            FeedEvent::System { channel, ok, message } => send(&channel, Event::System { ok, message }),
        }
        true
    }
}

/// A database with a feed on it, which ends with this value.
pub(crate) struct TestFeed {
    pub(crate) database: TestDatabase,
    commands: mpsc::Sender<FeedCommand>,
    routes: Routes,
    joins: AtomicU32,
    marks: AtomicU64,
    directory: Arc<Directory>,
    pub(crate) counters: Arc<feed::Counters>,
    broadcasts: mpsc::Receiver<Arc<RoomBroadcast>>,
    honesty: Honesty,
}

/// At the end of a test, Postgres must never have contradicted what was decided in memory.
struct Honesty {
    counters: Arc<feed::Counters>,
    is_expected: bool,
}

impl Drop for Honesty {
    fn drop(&mut self) {
        if self.is_expected && !std::thread::panicking() {
            assert_eq!(self.counters.shadow.disagreements.get(), 0, "Postgres contradicts a compiled policy");
        }
    }
}

impl TestFeed {
    /// Makes a database, runs `schema` in it and starts the feed.
    pub(crate) async fn start(major: u32, schema: &str) -> Self {
        Self::start_with(major, schema, |_| {}).await
    }

    /// The same, with other settings.
    pub(crate) async fn start_with(major: u32, schema: &str, set: impl FnOnce(&mut feed::Config)) -> Self {
        // RUST_LOG=rowcast=info shows what goes on.
        if std::env::var_os("RUST_LOG").is_some() {
            rowcast::telemetry::log::install("info", false);
        }
        let database = TestDatabase::create(major).await;
        let target = Database::parse(&database.url).unwrap();
        migrate(&target, &[]).await.unwrap();
        database.execute(SCHEMA).await;
        database.execute(schema).await;
        let publication = "supabase_realtime";
        let mut config = feed::Config {
            stream: StreamConfig {
                connection: target.replication("unused", publication),
                slot: Slot::Temporary,
                publications: vec![publication.to_owned()],
                own_publication: Some(feed::MESSAGES_PUBLICATION),
            },
            publication: publication.to_owned(),
            database: target,
            ask_connection_count: 2,
            ask_timeout: Duration::from_secs(5),
            catalog_poll: Duration::from_millis(100),
            mirrored_besides: Arc::default(),
            mirror_bytes_max: 64 << 20,
            switches: Switches::default(),
            shadow_per_million: 1_000_000,
            amend: None,
            transaction_bytes_max: 64 << 20,
            record_bytes_max: 1 << 20,
            broadcast_bytes_max: 1 << 20,
            waiting_max: 50_000,
            notes_sent: false,
            counters: Arc::default(),
        };
        set(&mut config);
        let routes = Routes::default();
        let (commands, queue) = mpsc::channel(4096);
        let health = Health::starting();
        let (broadcasts_in, broadcasts) = mpsc::channel(8);
        let sink = TestSink { routes: Arc::clone(&routes), broadcasts: broadcasts_in };
        let directory = Directory::new(1, [3, 5], std::time::Instant::now());
        let links = feed::Links {
            broadcaster: Broadcaster::new(Arc::clone(&directory), vec![sink]),
            commands: queue,
            health: health.clone(),
            commits: Arc::default(),
            engine: Arc::default(),
        };
        let counters = Arc::clone(&config.counters);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(feed::run(config, links));
        });
        within(health.live(), "a live stream").await;
        let (joins, marks) = (AtomicU32::new(1), AtomicU64::new(1));
        let honesty = Honesty { counters: Arc::clone(&counters), is_expected: true };
        Self { database, commands, routes, joins, marks, directory, counters, broadcasts, honesty }
    }

    /// Runs statements in one transaction, unless they say otherwise.
    pub(crate) async fn execute(&self, sql: &str) {
        self.database.execute(sql).await;
    }

    /// Runs transactions, one after another.
    pub(crate) async fn run(&self, transactions: &[&str]) {
        for transaction in transactions {
            self.execute(transaction).await;
        }
    }

    /// Another session of a superuser.
    pub(crate) async fn session(&self) -> tokio_postgres::Client {
        connect(&self.database.url).await
    }

    /// Joins, and waits for nothing. The bindings have the ids 1, 2, …
    async fn join(&self, topic: &str, claims: &Arc<Claims>, bindings: Value) -> Subscriber {
        let Value::Array(mut elements) = bindings else { panic!("bindings are an array") };
        let ids = (1..=u32::try_from(elements.len()).unwrap()).chain([MARK_ID]);
        elements.push(json!({"event": "INSERT", "schema": "public", "table": "marks"}));
        let bindings = ids.zip(elements.into_iter().map(|element| match element {
            Value::Object(element) => element,
            _ => panic!("a binding is an object"),
        }));
        self.join_as(topic, claims, bindings.collect(), false).await
    }

    async fn join_as(
        &self,
        topic: &str,
        claims: &Arc<Claims>,
        bindings: Vec<(u32, serde_json::Map<String, Value>)>,
        legacy: bool,
    ) -> Subscriber {
        let connection = ConnectionId { slot: 0, generation: 0 };
        let channel = ChannelRef { shard: 0, connection, join: self.joins.fetch_add(1, Ordering::Relaxed) };
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        self.routes.lock().unwrap().insert(channel, sender);
        let subscribe = Subscribe {
            channel,
            topic: format!("realtime:{topic}").into(),
            dialect: Dialect::V2,
            legacy,
            whole_deleted: topic == WHOLE,
            claims: Arc::clone(claims),
            bindings,
        };
        self.command(FeedCommand::Subscribe(subscribe)).await;
        Subscriber { channel, events, told: Vec::new(), skipped: Vec::new() }
    }

    /// Joins, and waits until the subscription works.
    pub(crate) async fn subscribe(&self, claims: &Arc<Claims>, bindings: Value) -> Subscriber {
        let mut subscriber = self.join("room", claims, bindings).await;
        subscriber.subscribed().await;
        subscriber
    }

    /// The same, and gets deleted rows whole.
    pub(crate) async fn watch_whole(&self, claims: &Arc<Claims>, table: &str) -> Subscriber {
        let bindings = json!([{"event": "*", "schema": "public", "table": table}]);
        let mut subscriber = self.join(WHOLE, claims, bindings).await;
        subscriber.subscribed().await;
        subscriber
    }

    /// Subscribes to everything that happens to one table.
    pub(crate) async fn watch(&self, claims: &Arc<Claims>, table: &str) -> Subscriber {
        self.subscribe(claims, json!([{"event": "*", "schema": "public", "table": table}])).await
    }

    pub(crate) async fn command(&self, command: FeedCommand) {
        self.commands.send(command).await.expect("a running feed");
    }

    /// Writes a row that everybody may see: what was committed before has arrived before it.
    pub(crate) async fn mark(&self) -> u64 {
        let mark = self.marks.fetch_add(1, Ordering::Relaxed);
        self.execute(&format!("insert into marks values ({mark})")).await;
        mark
    }

    /// Runs transactions, one after another, and gives what the subscriber gets of them, in short.
    pub(crate) async fn after(&self, subscriber: &mut Subscriber, transactions: &[&str]) -> Value {
        self.run(transactions).await;
        brief(&subscriber.until(self.mark().await).await)
    }
}

/// One channel.
pub(crate) struct Subscriber {
    pub(crate) channel: ChannelRef,
    events: mpsc::Receiver<Event>,
    /// The system messages that came in between changes.
    pub(crate) told: Vec<(bool, String)>,
    /// The changes that came in between system messages.
    skipped: Vec<Change>,
}

impl Subscriber {
    async fn event(&mut self) -> Event {
        within(self.events.recv(), "an event").await.expect("a running feed")
    }

    /// The next system message. Changes before it are kept apart.
    async fn system(&mut self) -> (bool, String) {
        if !self.told.is_empty() {
            return self.told.remove(0);
        }
        loop {
            match self.event().await {
                Event::System { ok, message } => return (ok, message.to_string()),
                Event::Change(change) => self.skipped.push(change),
            }
        }
    }

    /// Waits until the subscription works.
    async fn subscribed(&mut self) {
        assert_eq!(self.system().await, (true, "Subscribed to PostgreSQL".to_owned()));
    }

    /// Waits for an error with these words in it.
    async fn refused(&mut self, words: &str) {
        let (ok, message) = self.system().await;
        assert!(!ok && message.contains(words), "{message}");
    }

    /// The next change.
    pub(crate) async fn change(&mut self) -> Change {
        loop {
            match self.event().await {
                Event::Change(change) => return change,
                Event::System { ok, message } => self.told.push((ok, message.to_string())),
            }
        }
    }

    /// All changes before a mark.
    pub(crate) async fn until(&mut self, mark: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        loop {
            let change = self.change().await;
            if change.data["table"] != "marks" {
                changes.push(change);
            } else if change.data["record"]["id"] == mark {
                return changes;
            }
        }
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>, what: &str) -> T {
    match tokio::time::timeout(WITHIN, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within {} s", WITHIN.as_secs()),
    }
}

/// Claims with these members besides the role.
pub(crate) fn claims(role: &str, members: Value) -> Arc<Claims> {
    let Value::Object(mut body) = members else { panic!("claims are an object") };
    body.insert("role".to_owned(), role.into());
    Arc::new(Claims { role: role.into(), json: Value::Object(body).to_string().into(), expires_at: 0 })
}

pub(crate) fn anon() -> Arc<Claims> {
    claims("anon", json!({}))
}

pub(crate) fn service() -> Arc<Claims> {
    claims("service_role", json!({}))
}

/// The identifier of a user.
pub(crate) fn uuid(number: usize) -> String {
    let mut text = String::from("00000000-0000-0000-0000-");
    let _ = write!(text, "{number:012}");
    text
}

/// A signed-in user.
pub(crate) fn user(number: usize) -> Arc<Claims> {
    claims("authenticated", json!({"sub": uuid(number)}))
}

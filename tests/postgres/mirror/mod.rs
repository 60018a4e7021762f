//! The mirror on live servers: whatever commits, it holds what the tables hold.
//!
//! A [`TestMirror`] is a database of its own with a feed on it. [`TestMirror::settle`] waits until the stream has passed
//! everything that was written; then the mirror is compared with `select`.

mod hindrance;
mod history;
mod load;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowcast::change::{RelationId, ReplicaIdentity, Table, TableColumn};
use rowcast::hub::{Broadcaster, Directory, Engine, FeedCommand, ShardCommand, Sink, feed};
use rowcast::policy::catalog::Needed;
use rowcast::policy::mirror::{State, Status, View};
use rowcast::policy::program::Relations;
use rowcast::policy::value::Value;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;
use rowcast::telemetry::health::Health;
use rowcast::wal::{Lsn, Slot, StreamConfig};
use tokio::sync::mpsc;

use crate::support::{TestDatabase, connect, majors};

/// How long anything that must come may take.
const WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked whether it has come.
const LOOK: Duration = Duration::from_millis(2);

/// Rows with how many times each is there.
type Bag = BTreeMap<Vec<Option<String>>, usize>;

/// Runs a test on every major version at once.
async fn on_each_major(test: impl AsyncFn(u32)) {
    let run = async |major| test(major).await;
    futures_util::future::join_all(majors().into_iter().map(run)).await;
}

/// Nobody is connected.
struct Nobody;

impl Sink for Nobody {
    async fn send(&self, _: ShardCommand) -> bool {
        true
    }
}

/// A database with a feed on it, which ends with this value.
struct TestMirror {
    database: TestDatabase,
    engine: Arc<Engine>,
    counters: Arc<feed::Counters>,
    besides: Arc<Mutex<Vec<Arc<Needed>>>>,
    health: Health,
    _commands: mpsc::Sender<FeedCommand>,
}

impl TestMirror {
    /// Makes a database, runs `schema` in it and starts a feed that mirrors tables: each with the columns that are kept,
    /// those by which rows are looked up with a `*`.
    async fn start(major: u32, schema: &str, tables: &[(&str, &[&str])]) -> Self {
        Self::start_with(major, schema, tables, |_| {}).await
    }

    /// The same, with other settings.
    async fn start_with(
        major: u32,
        schema: &str,
        tables: &[(&str, &[&str])],
        set: impl FnOnce(&mut feed::Config),
    ) -> Self {
        if std::env::var_os("RUST_LOG").is_some() {
            rowcast::telemetry::log::install("info", false);
        }
        let database = TestDatabase::create(major).await;
        let target = Database::parse(&database.url).unwrap();
        migrate(&target, &[]).await.unwrap();
        database.execute("create table public.marks (id int)").await;
        database.execute(schema).await;
        let publication = "supabase_realtime";
        let mut config = feed::Config {
            stream: StreamConfig {
                connection: target.replication("unused", publication),
                slot: Slot::Temporary,
                publications: vec![publication.to_owned(), "rowcast".to_owned()],
                own_publication: None,
            },
            publication: publication.to_owned(),
            database: target,
            ask_connection_count: 1,
            ask_timeout: Duration::from_secs(5),
            catalog_poll: Duration::from_millis(50),
            mirrored_besides: Arc::default(),
            mirror_bytes_max: 64 << 20,
            transaction_bytes_max: 64 << 20,
            record_bytes_max: 1 << 20,
            broadcast_bytes_max: 1 << 20,
            waiting_max: 50_000,
            notes_sent: false,
            counters: Arc::default(),
            switches: rowcast::policy::Switches::default(),
            shadow_per_million: 0,
            amend: None,
        };
        set(&mut config);
        let besides = Arc::clone(&config.mirrored_besides);
        let counters = Arc::clone(&config.counters);
        let (commands, queue) = mpsc::channel(1);
        let (health, engine) = (Health::starting(), Arc::<Engine>::default());
        let links = feed::Links {
            broadcaster: Broadcaster::new(Directory::new(1, [3, 5], std::time::Instant::now()), vec![Nobody]),
            commands: queue,
            health: health.clone(),
            commits: Arc::default(),
            engine: Arc::clone(&engine),
        };
        let mirror = Self { database, engine, counters, besides, health, _commands: commands };
        mirror.need(tables).await;
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(feed::run(config, links));
        });
        within(mirror.health.live(), "a live stream").await;
        mirror
    }

    /// Has other tables mirrored, from the next reading of the catalog on.
    async fn need(&self, tables: &[(&str, &[&str])]) {
        let mut besides = Vec::new();
        for (name, columns) in tables {
            besides.push(Arc::new(needed(&self.database.client, name, columns).await));
        }
        *self.besides.lock().unwrap() = besides;
    }

    /// Has the catalog read anew.
    async fn reread(&self) {
        let roles = "select count(*) from pg_roles where rolname like 'reread\\_%'";
        let count: i64 = self.database.client.query_one(roles, &[]).await.unwrap().get(0);
        let name = self.database.url.rsplit('/').next().unwrap();
        self.execute(&format!("create role reread_{count}_{name}")).await;
    }

    async fn execute(&self, sql: &str) {
        self.database.execute(sql).await;
    }

    async fn session(&self) -> tokio_postgres::Client {
        connect(&self.database.url).await
    }

    async fn id(&self, table: &str) -> RelationId {
        let row = self.database.client.query_one("select $1::text::regclass::oid", &[&table]).await.unwrap();
        RelationId(row.get(0))
    }

    async fn is_readable(&self, table: &str) -> bool {
        let id = self.id(table).await;
        self.engine.read().mirror.is_readable(id)
    }

    async fn status(&self, table: &str) -> Status {
        let id = self.id(table).await;
        self.engine.read().mirror.status(id)
    }

    /// Waits until the stream has passed everything that is written now.
    async fn settle(&self) {
        self.execute("insert into public.marks values (1)").await;
        let query = "select pg_current_wal_insert_lsn()::text";
        let text: String = self.database.client.query_one(query, &[]).await.unwrap().get(0);
        let lsn: Lsn = text.parse().unwrap();
        self.execute("insert into public.marks values (2)").await;
        self.until("the stream to pass", || self.engine.read().mirror.position() >= lsn).await;
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let wait = async {
            while !done() {
                tokio::time::sleep(LOOK).await;
            }
        };
        within(wait, what).await;
    }

    /// Waits until a table can be read in the mirror.
    async fn ready(&self, table: &str) {
        let id = self.id(table).await;
        self.until(&format!("{table} in the mirror"), || {
            let knowledge = self.engine.read();
            knowledge.is_current && knowledge.mirror.is_readable(id)
        })
        .await;
    }

    /// Waits until a table cannot be had, and gives the reason.
    async fn hindered(&self, table: &str) -> String {
        let id = self.id(table).await;
        let why = || match self.engine.read().mirror.status(id) {
            Status::Unusable(why) => Some(why.to_string()),
            _ => None,
        };
        self.until(&format!("{table} to be hindered"), || why().is_some()).await;
        why().unwrap()
    }

    fn needed(&self, id: RelationId) -> Arc<Needed> {
        Arc::clone(&self.engine.read().catalog.needed[&id])
    }

    /// What the mirror has of a table in a state.
    async fn mirrored(&self, table: &str, state: State) -> Bag {
        let id = self.id(table).await;
        let needed = self.needed(id);
        let knowledge = self.engine.read();
        bag(knowledge.mirror.view(state), &needed, None)
    }

    /// What the table has.
    async fn stored(&self, table: &str) -> Bag {
        let needed = self.needed(self.id(table).await);
        stored(&self.database.client, table, &needed).await
    }

    /// Compares the mirror with a table, as a whole and by each value of each key. Nobody writes meanwhile.
    async fn check(&self, table: &str) {
        self.ready(table).await;
        let id = self.id(table).await;
        let stored = self.stored(table).await;
        assert_eq!(self.mirrored(table, State::After).await, stored, "{table} on {}", self.database.major);
        let needed = self.needed(id);
        let knowledge = self.engine.read();
        for key in &needed.keys {
            let column = needed.columns.iter().position(|place| place == key).unwrap();
            for value in stored.keys().filter_map(|row| row[column].as_ref()) {
                let typed = match needed.table.columns[*key].type_id {
                    2950 => Value::Uuid(value.parse().unwrap()),
                    23 => Value::Int(value.parse().unwrap()),
                    _ => Value::Text(value.as_str().into()),
                };
                let view = knowledge.mirror.view(State::After);
                let expected = stored.iter().filter(|(row, _)| row[column].as_ref() == Some(value));
                let expected: Bag = expected.map(|(row, count)| (row.clone(), *count)).collect();
                assert_eq!(bag(view, &needed, Some((*key, &typed))), expected);
            }
        }
    }
}

/// What a table has in the columns that are kept.
async fn stored(client: &tokio_postgres::Client, table: &str, needed: &Needed) -> Bag {
    let columns = needed.columns.iter().map(|place| format!("{}::text", needed.table.columns[*place].name));
    let query = format!("select {} from {table}", columns.collect::<Vec<_>>().join(", "));
    let mut bag = Bag::new();
    for row in client.query(&query, &[]).await.unwrap() {
        let row: Vec<Option<String>> = (0..row.len()).map(|column| row.get(column)).collect();
        *bag.entry(row).or_default() += 1;
    }
    bag
}

fn bag(view: View<'_>, needed: &Needed, key: Option<(usize, &Value)>) -> Bag {
    let mut bag = Bag::new();
    let print = |value: Value| match value {
        Value::Null => None,
        Value::Int(value) => Some(value.to_string()),
        Value::Text(text) => Some(text.to_string()),
        Value::Uuid(uuid) => Some(uuid.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        other => panic!("{other:?}"),
    };
    view.scan(needed.table.id, key, &mut |row| {
        let row = needed.columns.iter().map(|place| print(row.value(*place).unwrap())).collect();
        *bag.entry(row).or_default() += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    bag
}

/// A table as the catalog's reading would have it.
async fn needed(client: &tokio_postgres::Client, name: &str, columns: &[&str]) -> Needed {
    let query = "select c.oid, c.relnamespace::regnamespace::text, c.relname::text, c.relowner
                   from pg_class c where c.oid = $1::text::regclass";
    let table = client.query_one(query, &[&name]).await.unwrap();
    let query = "select attname::text, atttypid, attnum, attgenerated <> '' from pg_attribute
                  where attrelid = $1 and attnum > 0 and not attisdropped order by attnum";
    let rows = client.query(query, &[&table.get::<_, u32>(0)]).await.unwrap();
    let column = |row: &tokio_postgres::Row| TableColumn {
        name: row.get::<_, String>(0).into(),
        type_id: row.get(1),
        number: row.get(2),
        primary_key: false,
        generated: row.get::<_, bool>(3).then(|| "null".into()),
        collation: 0,
        deterministic_collation: true,
        c_collation: true,
    };
    let table = Table {
        id: RelationId(table.get(0)),
        schema: table.get::<_, String>(1).into(),
        name: table.get::<_, String>(2).into(),
        columns: rows.iter().map(column).collect(),
        replica_identity: ReplicaIdentity::Default,
        row_security: false,
        row_security_forced: false,
        owner: table.get(3),
    };
    let place = |name: &&str| table.column(name.trim_start_matches('*')).unwrap().0;
    let mut kept: Vec<usize> = columns.iter().map(place).collect();
    kept.sort_unstable();
    let keys = columns.iter().filter(|name| name.starts_with('*')).map(place).collect();
    Needed { columns: kept.into(), keys, table: Arc::new(table), hindrance: None }
}

async fn within<T>(event: impl Future<Output = T>, what: &str) -> T {
    tokio::time::timeout(WITHIN, event).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

//! How fast the fan-out decides by compiled policies who sees a change, beside what asking Postgres costs.
//!
//! A message is visible to the participants of its conversation, two or five of them; row level security of the
//! participants themselves shows each caller its own rows alone. Policies are read from Postgres and compiled as the
//! server does it, and the participants mirrored.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowcast::change::{Datum, Event, Image, RelationId, RowChange, Table};
use rowcast::hub::ask::{self, Batch};
use rowcast::hub::fanout::{Aligned, Commit, Config, Fanout, Grounds, History, Outbox, Waiting};
use rowcast::hub::lane::Lanes;
use rowcast::hub::profile::{Basis, Profiles, Spec};
use rowcast::hub::resolve::{Operands, Target, resolve};
use rowcast::hub::{ChannelRef, ConnectionId, Knowledge};
use rowcast::policy::compile::{Command, compile};
use rowcast::policy::function::Moment;
use rowcast::policy::mirror::State;
use rowcast::policy::program::{Caller, Settings, Verdict};
use rowcast::policy::row::RowValues;
use rowcast::policy::{Catalog, Claims, Switches};
use rowcast::postgres::catalog::CatalogReader;
use rowcast::protocol::Dialect;
use rowcast::subscription::Binding;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::Effort;
use crate::database::Database;
use crate::process;
use crate::report::{Figure, Goal, Reference, Spread};
use crate::support::connect;

/// Users of the database, each in as many conversations as each conversation has participants.
pub(crate) const USERS: usize = 50_000;
const SUBSCRIPTIONS: [usize; 5] = [1, 100, 1_000, 5_000, USERS];
/// Up to so many subscriptions, Postgres is asked too.
const ASKED_MAX: usize = 1_000;
const SEATS: [usize; 2] = [2, 5];
const RATE_MIN: f64 = 100_000.0;
const SUBSCRIPTION_BYTES_MAX: f64 = 1_024.0;
/// Between the rates with 100 and with 50,000 subscriptions.
const FLAT_MIN: f64 = 0.5;
const MIRROR_BYTES_MAX: usize = 1 << 30;
/// How long one round of each measures.
const WINDOW: Duration = Duration::from_millis(200);
/// Changes of one transaction.
const RUN: usize = 100;
/// Distinct changes that are fanned out over and over.
const CHANGES: usize = 1_000;
const MOMENT: Moment = Moment { now_micros: 0 };
const ROLE: &str = "authenticated";
const GROUPS_PER_BATCH: usize = 64;

const METHOD: &str = "one thread fans out inserts in transactions of 100 to subscriptions of distinct users on one topic, frames \
                      included, by second of its processor time; beside it, every subscription asked of Postgres on one \
                      session, by second; alternately";

/// Two kinds of conversations: `guarded_messages_2` and `guarded_messages_5`.
fn schema() -> String {
    let mut sql = "create function guarded_id(number bigint) returns uuid language sql immutable as
             $$ select ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid $$;"
        .to_owned();
    for seats in SEATS {
        sql += &format!(
            "create table guarded_participants_{seats} (
                 conversation_id uuid not null, user_id uuid not null, primary key (conversation_id, user_id));
             create index on guarded_participants_{seats} (user_id);
             -- Neighbours within a hundred, so that those of the first hundreds are among themselves.
             insert into guarded_participants_{seats}
                 select guarded_id(place), guarded_id(place / 100 * 100 + (place % 100 + seat * seat * 7) % 100)
                   from generate_series(0, {USERS} - 1) place, generate_series(0, {seats} - 1) seat;
             alter table guarded_participants_{seats} enable row level security;
             create policy own on guarded_participants_{seats} for select to authenticated
                 using (user_id = (select auth.uid()));
             grant select on guarded_participants_{seats} to authenticated;
             create table guarded_messages_{seats} (
                 id bigint primary key, conversation_id uuid not null, author uuid not null, body text not null,
                 created_at timestamptz not null default now());
             insert into guarded_messages_{seats}
                 select place, guarded_id(place), guarded_id(place), 'the quick brown fox jumps over the lazy dog'
                   from generate_series(0, {USERS} - 1) place;
             alter table guarded_messages_{seats} enable row level security;
             grant select on guarded_messages_{seats} to authenticated;
             {policy};
             analyze guarded_participants_{seats}, guarded_messages_{seats};
             alter publication supabase_realtime add table guarded_messages_{seats};",
            policy = policy("create", seats, ""),
        );
    }
    sql
}

/// The statement that makes or alters the policy of the messages.
pub(crate) fn policy(verb: &str, seats: usize, further: &str) -> String {
    let head = if verb == "create" { "for select to authenticated" } else { "" };
    format!(
        "{verb} policy participants on guarded_messages_{seats} {head} using (exists (
             select from guarded_participants_{seats} seat
              where seat.conversation_id = guarded_messages_{seats}.conversation_id
                and seat.user_id = (select auth.uid())){further})"
    )
}

/// The user, or conversation, with this number.
pub(crate) fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[derive(Debug)]
struct Session<'a>(&'a Claims);

impl Settings for Session<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "role" => Some(&self.0.role),
            "request.jwt.claims" => Some(&self.0.json),
            _ => None,
        }
    }
}

/// What changes are decided by, and whom they are told to.
struct Bench {
    client: Client,
    knowledge: Knowledge,
    claims: Vec<Arc<Claims>>,
}

/// A fan-out with all that it needs.
struct Running<'a> {
    catalog: &'a Arc<Catalog>,
    profiles: &'a Profiles,
    fanout: Fanout,
    lanes: Lanes<Waiting>,
    out: Outbox,
    xid: u32,
    sequence: u64,
}

impl<'a> Running<'a> {
    fn new(catalog: &'a Arc<Catalog>, profiles: &'a Profiles, xid: u32) -> Self {
        let config = Config {
            record_bytes_max: 1 << 20,
            waiting_max: usize::MAX,
            notes_sent: false,
            switches: Switches::default(),
            shadow_per_million: 0,
        };
        Self {
            catalog,
            profiles,
            fanout: Fanout::new(config),
            lanes: Lanes::default(),
            out: Outbox::new(1),
            xid,
            sequence: 1,
        }
    }

    /// Fans out one transaction.
    fn transaction(&mut self, knowledge: Option<&Knowledge>, changes: &[Arc<RowChange>]) {
        self.sequence += 1;
        let history = History::of(changes, &[], true, &self.catalog.partial);
        let commit = Commit { sequence: self.sequence, xid: self.xid, time_micros: 0 };
        let grounds = Grounds { catalog: self.catalog, knowledge, moment: MOMENT };
        let mut next = 0;
        while next < changes.len() {
            let run = next..changes.len();
            let aligned = Aligned { commit, changes, history: &history, run };
            next = self.fanout.fan_out(grounds, self.profiles, &mut self.lanes, &mut self.out, aligned);
            black_box(self.out.take());
        }
    }

    /// Asks Postgres all that waits.
    async fn settle(&mut self, client: &Client) {
        loop {
            let groups = self.lanes.take_questions(GROUPS_PER_BATCH);
            if groups.is_empty() {
                return;
            }
            let batch = Batch {
                is_ambiguous: self.catalog.is_ambiguous,
                types: Arc::clone(&self.catalog.types),
                groups,
                after: None,
            };
            for outcome in ask::answer(client, &batch).await.expect("an answer") {
                self.lanes.answer(outcome.lane, outcome.entry, outcome.result);
                for ready in self.lanes.take_ready(outcome.lane) {
                    assert!(Fanout::settle(&mut self.out, ready).is_none(), "Postgres raised an error");
                }
            }
            black_box(self.out.take());
        }
    }
}

impl Bench {
    async fn open(database: &Database) -> (Self, CatalogReader, Vec<Figure>) {
        database.execute(&schema()).await;
        let client = connect(&database.url).await;
        client.batch_execute("set timezone = 'UTC'").await.expect("a session");
        let publication = vec!["supabase_realtime".to_owned()];
        let mut reader = CatalogReader::new(connect(&database.url).await, publication);
        let roles = BTreeSet::from([Arc::from(ROLE)]);
        let catalog = Arc::new(reader.read(&roles).await.expect("a catalog"));
        let before = process::resident_bytes(std::process::id());
        let start = Instant::now();
        let mirror = rowcast::hub::mirror::fill(&client, &catalog, MIRROR_BYTES_MAX).await.expect("a mirror");
        let seconds = start.elapsed().as_secs_f64();
        let after = process::resident_bytes(std::process::id());
        let census = mirror.census();
        assert_eq!(census.ready, SEATS.len(), "a relation is not mirrored");
        let rows = census.rows as f64;
        let figures = vec![
            plain("policies_mirror_bytes_per_row", "B", &[(after - before) as f64 / rows], "resident memory"),
            plain(
                "policies_mirror_counted_bytes_per_row",
                "B",
                &[census.bytes as f64 / rows],
                "as it counts",
            ),
            plain(
                "policies_mirror_rows_read",
                "/s",
                &[rows / seconds],
                "all tables read into an empty mirror",
            ),
        ];
        let claims = (0..USERS).map(|user| {
            let json = format!(r#"{{"exp":4102444800,"role":"{ROLE}","sub":"{}"}}"#, id(user)).into();
            Arc::new(Claims { role: ROLE.into(), json, expires_at: 4_102_444_800 })
        });
        let knowledge = Knowledge { catalog, mirror, is_current: true };
        (Self { client, knowledge, claims: claims.collect() }, reader, figures)
    }

    fn catalog(&self) -> &Arc<Catalog> {
        &self.knowledge.catalog
    }

    fn table(&self, seats: usize) -> &Arc<Table> {
        self.catalog().table("public", &format!("guarded_messages_{seats}")).expect("the table")
    }

    /// Subscriptions of the first users.
    async fn subscribe(&self, seats: usize, count: usize) -> Profiles {
        let element = serde_json::json!({
            "event": "*", "schema": "public", "table": format!("guarded_messages_{seats}")
        });
        let serde_json::Value::Object(element) = element else { unreachable!("it is an object") };
        let binding = || vec![Binding::parse(&element).expect("a binding")];
        let operands = Operands::default();
        let resolved = resolve(&self.client, &operands, self.catalog(), ROLE, &binding()).await;
        let targets: Vec<Target> = resolved.expect("the table is published");
        let basis = Basis { catalog: self.catalog(), moment: MOMENT };
        let mut profiles = Profiles::default();
        for (slot, claims) in (0..).zip(self.claims.iter().take(count)) {
            // Each join brings its own.
            let spec = Arc::new(Spec {
                topic: "realtime:messages".into(),
                dialect: Dialect::V2,
                legacy: false,
                whole_deleted: false,
                ids: vec![1],
                bindings: binding(),
                key: format!("V2 false realtime:messages [1] {element:?}").into(),
            });
            let connection = ConnectionId { slot, generation: 0 };
            let channel = ChannelRef { shard: 0, connection, join: 1 };
            profiles.join(channel, &spec, claims, targets.clone(), basis, 0);
        }
        profiles
    }

    /// Rows as they are stored, in an order without neighbours, and the transaction that wrote them.
    async fn changes(&self, seats: usize, among: usize) -> (Vec<Arc<RowChange>>, u32) {
        let table = self.table(seats);
        let query = format!("select xmin, * from guarded_messages_{seats} where id < {among} order by id");
        let messages = self.client.simple_query(&query).await.expect("the rows");
        let mut xid = 0;
        let mut rows = Vec::new();
        for message in &messages {
            let SimpleQueryMessage::Row(row) = message else { continue };
            xid = row.get(0).and_then(|text| text.parse().ok()).expect("a transaction");
            let value = |place| {
                let text: String = row.get(place).expect("a value").to_owned();
                Datum::Text(text.into())
            };
            let values = (1..=table.columns.len()).map(value).collect();
            rows.push(Arc::new(RowChange {
                table: Arc::clone(table),
                event: Event::Insert,
                new: Some(Image { values, rendered: Vec::new() }),
                old: None,
                old_is_full: false,
            }));
        }
        // A prime stride, so that neighbours do not meet in a cache.
        let change = |number: usize| Arc::clone(&rows[number * 7_919 % rows.len()]);
        ((0..CHANGES).map(change).collect(), xid)
    }
}

/// A figure without a reference.
fn plain(name: &str, unit: &'static str, rounds: &[f64], method: &'static str) -> Figure {
    Figure { name: name.to_owned(), unit, value: Spread::of(rounds), reference: None, goal: None, method }
}

/// Changes a second that the programs decide.
fn decided(bench: &Bench, profiles: &Profiles, changes: &[Arc<RowChange>], seats: usize) -> f64 {
    let mut running = Running::new(bench.catalog(), profiles, 1);
    let (start, began, mut count) = (Instant::now(), process::thread_time(), 0_u64);
    for transaction in changes.chunks(RUN).cycle() {
        running.transaction(Some(&bench.knowledge), transaction);
        count += transaction.len() as u64;
        if start.elapsed() > WINDOW {
            break;
        }
    }
    let rate = count as f64 / (process::thread_time() - began).as_secs_f64();
    let tally = running.out.take_tally();
    assert_eq!(running.lanes.entry_count(), 0, "Postgres is asked");
    let audience = profiles.iter().count().min(seats) as u64;
    assert_eq!(tally.deliveries, count * audience, "everybody who may see a row gets it");
    rate
}

/// Changes a second that Postgres decides.
async fn asked(
    bench: &Bench,
    profiles: &Profiles,
    changes: &[Arc<RowChange>],
    xid: u32,
    seats: usize,
) -> f64 {
    let mut running = Running::new(bench.catalog(), profiles, xid);
    let subscriptions = profiles.iter().count();
    // About ten thousand questions at a time, as a busy server collects.
    let run = (10_000 / subscriptions).clamp(1, RUN);
    let (start, mut count) = (Instant::now(), 0_u64);
    for transaction in changes.chunks(run).cycle() {
        running.transaction(None, transaction);
        running.settle(&bench.client).await;
        count += transaction.len() as u64;
        if start.elapsed() > WINDOW {
            break;
        }
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let deliveries = running.out.take_tally().deliveries;
    assert_eq!(deliveries, count * subscriptions.min(seats) as u64, "Postgres decides alike");
    rate
}

async fn rates(effort: &Effort, bench: &Bench, seats: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut at_hundred = Vec::new();
    for count in SUBSCRIPTIONS {
        let profiles = bench.subscribe(seats, count).await;
        let (changes, xid) = bench.changes(seats, count).await;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            ours.push(decided(bench, &profiles, &changes, seats));
            if count <= ASKED_MAX {
                theirs.push(asked(bench, &profiles, &changes, xid, seats).await);
            }
        }
        if count == 100 {
            at_hundred.clone_from(&ours);
        }
        let reference = match count {
            ..=ASKED_MAX => Some(Reference::of("asking", &ours, &theirs)),
            USERS => Some(Reference::of("with 100", &ours, &at_hundred)),
            _ => None,
        };
        let goal = match count {
            5_000 => Some(Goal::ValueAtLeast(RATE_MIN)),
            USERS => Some(Goal::RatioAtLeast(FLAT_MIN)),
            _ => None,
        };
        let name = format!("policies_changes_{count}_seen_by_{seats}");
        let value = Spread::of(&ours);
        figures.push(Figure { name, unit: "/s", value, reference, goal, method: METHOD });
    }
    figures
}

/// What one decision costs, without an index or a fan-out.
fn decisions(effort: &Effort, bench: &Bench, changes: &[Arc<RowChange>]) -> Figure {
    let table = bench.table(5);
    let access = bench.catalog().access(ROLE, table.id).expect("access");
    let program = access.program.as_ref().expect("a program");
    let rows = changes.iter().filter_map(|change| {
        let image = change.new.as_ref()?;
        Some(RowValues::decode(image, table, &bench.catalog().types, &program.columns))
    });
    let rows: Vec<RowValues> = rows.collect();
    let params = bench.claims.iter().take(1_000).map(|claims| {
        program.params(&Caller { settings: &Session(claims), moment: MOMENT }).expect("parameters")
    });
    let params: Vec<_> = params.collect();
    let view = bench.knowledge.mirror.view(State::After);
    let round = |_| {
        let (start, began, mut count, mut passed) = (Instant::now(), process::thread_time(), 0_u64, 0_u64);
        for row in rows.iter().cycle() {
            for params in &params {
                passed += u64::from(program.judge(params, row, &view, &MOMENT) == Verdict::Passes);
            }
            count += params.len() as u64;
            if start.elapsed() > WINDOW {
                break;
            }
        }
        assert!(passed > 0, "somebody sees a row");
        count as f64 / (process::thread_time() - began).as_secs_f64()
    };
    let rounds: Vec<f64> = (0..effort.rounds).map(round).collect();
    plain(
        "policies_decisions",
        "/s",
        &rounds,
        "a thousand callers judged one by one about each row of theirs",
    )
}

async fn compiling(effort: &Effort, bench: &Bench, reader: &mut CatalogReader) -> Vec<Figure> {
    let table: RelationId = bench.table(5).id;
    let role = bench.client.query_one("select oid from pg_roles where rolname = $1", &[&ROLE]).await;
    let role: u32 = role.expect("the role").get(0);
    let roles = BTreeSet::from([Arc::from(ROLE)]);
    let (mut compiled, mut read) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let (start, began, mut count) = (Instant::now(), process::thread_time(), 0_u32);
        while start.elapsed() < WINDOW {
            black_box(compile(&bench.catalog().source, table, role, Command::Select));
            count += 1;
        }
        compiled.push((process::thread_time() - began).as_secs_f64() * 1e6 / f64::from(count));
        let start = Instant::now();
        black_box(reader.read(&roles).await.expect("a catalog"));
        read.push(start.elapsed().as_secs_f64() * 1e3);
    }
    vec![
        plain(
            "policies_compile",
            "µs",
            &compiled,
            "the policy of the messages with that of the participants in it",
        ),
        plain("policies_catalog_read", "ms", &read, "six published tables, one role; programs included"),
    ]
}

/// What it takes to stand all subscriptions by another policy.
async fn adopting(
    effort: &Effort,
    bench: &Bench,
    database: &Database,
    reader: &mut CatalogReader,
    profiles: &mut Profiles,
) -> Figure {
    let roles = BTreeSet::from([Arc::from(ROLE)]);
    database.execute(&policy("alter", 5, " and (select auth.uid()) is not null")).await;
    let other = reader.read(&roles).await.expect("a catalog");
    database.execute(&policy("alter", 5, "")).await;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        for catalog in [&other, &**bench.catalog()] {
            let start = Instant::now();
            profiles.adopt(Basis { catalog, moment: MOMENT });
            rounds.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    plain("policies_adopt", "ms", &rounds, "50,000 subscriptions arranged by a policy that has changed")
}

/// Measures without a server.
pub(crate) async fn measure(effort: &Effort, database: &Database) -> Vec<Figure> {
    let (bench, mut reader, mut figures) = Bench::open(database).await;
    // First, so that nothing has been freed whose room would be used again.
    let before = process::resident_bytes(std::process::id());
    let start = Instant::now();
    let mut profiles = bench.subscribe(5, USERS).await;
    let micros = start.elapsed().as_secs_f64() * 1e6 / USERS as f64;
    let after = process::resident_bytes(std::process::id());
    figures.push(Figure {
        name: "policies_subscription_bytes".to_owned(),
        unit: "B",
        value: Spread::of(&[(after - before) as f64 / USERS as f64]),
        reference: None,
        goal: Some(Goal::ValueAtMost(SUBSCRIPTION_BYTES_MAX)),
        method: "resident memory before and after 50,000 subscriptions of distinct users, claims and socket apart",
    });
    figures.push(plain("policies_subscription", "µs", &[micros], "one of these joins"));
    figures.push(adopting(effort, &bench, database, &mut reader, &mut profiles).await);
    drop(profiles);
    for seats in SEATS {
        figures.extend(rates(effort, &bench, seats).await);
    }
    figures.push(decisions(effort, &bench, &bench.changes(5, ASKED_MAX).await.0));
    figures.extend(compiling(effort, &bench, &mut reader).await);
    figures
}

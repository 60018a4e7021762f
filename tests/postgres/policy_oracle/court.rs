//! A database where the engine's word is compared with the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rowcast::change::{Image, RelationId, Table};
use rowcast::policy::catalog::Catalog;
use rowcast::policy::function::Moment;
use rowcast::postgres::catalog::CatalogReader;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;
use rowcast::postgres::rows;
use rowcast::wal::sql::literal;
use rowcast::wal::tuple::Datum;
use tokio_postgres::Client;

use crate::support::{TestDatabase, connect};

use super::callers::Caller;
use super::engine::{self, Engine, Findings, Mutation, Word};
use super::truth::{self, Truth, plain_truth};

/// What is published.
const PUBLICATION: &str = "supabase_realtime";

/// One of so many questions is also put in plain statements.
const PLAINLY: usize = 211;

/// How many mismatches are told in full.
const TOLD_MAX: usize = 8;

/// What every court has.
const SCHEMA: &str = "
    grant usage on schema public to public;
    alter default privileges in schema public grant select on tables to anon, authenticated, service_role;
    create function publish(variadic tables regclass[]) returns void language plpgsql as $$
        declare published regclass;
        begin
            foreach published in array tables loop
                execute format('alter publication supabase_realtime add table %s', published);
            end loop;
        end $$;";

/// A database with a reader of its catalog.
pub(crate) struct Court {
    /// The database.
    pub(crate) database: TestDatabase,
    reader: CatalogReader,
}

/// What came of comparing.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Decided in memory, as Postgres does.
    pub(crate) decided: u64,
    /// Left to Postgres.
    pub(crate) asked: u64,
    /// Of all, those that the caller finds.
    pub(crate) found: u64,
    /// Of all, those where Postgres raises an error.
    pub(crate) raised: u64,
    /// How many mismatches there were.
    pub(crate) wrong: u64,
    /// How many candidates the index did not find.
    pub(crate) missed: u64,
    /// How many pairs of a caller and a row were judged through the index, and how many there were.
    pub(crate) judged: (u64, u64),
    /// Why Postgres is asked, and for how many pairs of a role and a policy.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Mismatches in words, the first of them.
    pub(crate) told: Vec<String>,
}

impl Tally {
    /// All comparisons.
    pub(crate) fn compared(&self) -> u64 {
        self.decided + self.asked + self.wrong
    }

    /// Adds another.
    pub(crate) fn add(&mut self, other: Self) {
        self.decided += other.decided;
        self.asked += other.asked;
        self.found += other.found;
        self.raised += other.raised;
        self.wrong += other.wrong;
        self.missed += other.missed;
        self.judged.0 += other.judged.0;
        self.judged.1 += other.judged.1;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self.told.extend(other.told);
        self.told.truncate(TOLD_MAX);
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(what());
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: u64, whole: u64| part * 100 / whole.max(1);
        let compared = self.compared();
        write!(
            f,
            "{compared} compared: {} decided, {} asked ({} %), {} wrong, {} not found by the index; \
             {} % found, {} % raised; {} of {} judged through the index",
            self.decided,
            self.asked,
            percent(self.asked, compared),
            self.wrong,
            self.missed,
            percent(self.found, compared),
            percent(self.raised, compared),
            self.judged.0,
            self.judged.1
        )
    }
}

/// A table's rows as the stream has them, and how each is asked for.
struct Rows {
    table: Arc<Table>,
    images: Vec<Image>,
    conditions: Vec<String>,
}

impl Court {
    /// Opens one in a database of its own.
    pub(crate) async fn open(major: u32) -> Self {
        let database = TestDatabase::create(major).await;
        migrate(&Database::parse(&database.url).expect("a URL"), &[]).await.expect("the schema");
        database.execute(SCHEMA).await;
        database.execute(truth::SCHEMA).await;
        let reader = CatalogReader::new(connect(&database.url).await, vec![PUBLICATION.to_owned()]);
        Self { database, reader }
    }

    /// Makes it as it was at first. Roles stay.
    pub(crate) async fn clear(&self) {
        self.execute(
            "do $$ declare name text; begin
                 for name in select nspname from pg_namespace
                     where nspname not in ('auth', 'realtime', 'rowcast', 'oracle', 'information_schema')
                       and nspname !~ '^pg_' loop
                     execute format('drop schema %I cascade', name);
                 end loop;
             end $$;
             alter publication supabase_realtime set (publish_via_partition_root = false);
             create schema public;",
        )
        .await;
        self.execute(SCHEMA).await;
    }

    /// Runs statements.
    pub(crate) async fn execute(&self, sql: &str) {
        self.database.execute(sql).await;
    }

    /// Reads the catalog as the server does.
    pub(crate) async fn read(&mut self, callers: &[Caller]) -> Catalog {
        let roles: BTreeSet<Arc<str>> = callers.iter().map(|caller| Arc::clone(&caller.role)).collect();
        // What is remembered of functions holds as long as this says so.
        self.reader.fingerprint().await.expect("the catalog");
        self.reader.read(&roles).await.expect("the catalog")
    }

    /// Compares all rows of all published tables, and the columns that may be shown.
    pub(crate) async fn hear(&mut self, callers: &[Caller]) -> Tally {
        let catalog = self.read(callers).await;
        self.hear_with(&catalog, callers, &[Mutation::default()]).await.remove(0)
    }

    /// The same for an engine that is bent in each of these ways.
    pub(crate) async fn hear_with(
        &self,
        catalog: &Catalog,
        callers: &[Caller],
        mutations: &[Mutation],
    ) -> Vec<Tally> {
        let client = &self.database.client;
        let mirror = engine::mirror(client, catalog).await;
        let source = match mutations.iter().any(|mutation| mutation.source.is_some()) {
            true => {
                let roles: BTreeSet<&str> = callers.iter().map(|caller| &*caller.role).collect();
                let tables: Vec<u32> = catalog.tables.keys().map(|id| id.0).collect();
                Some(
                    engine::source(client, &catalog.types, &roles.into_iter().collect::<Vec<_>>(), &tables)
                        .await,
                )
            }
            false => None,
        };
        client.batch_execute("begin isolation level repeatable read").await.expect("a transaction");
        let now = client
            .query_one("select (extract(epoch from now()) * 1000000)::int8 - 946684800000000", &[])
            .await
            .expect("the time");
        let moment = Moment { now_micros: now.get(0) };
        let mut tallies: Vec<Tally> = mutations.iter().map(|_| Tally::default()).collect();
        let mut tables: Vec<&Arc<Table>> = catalog.tables.values().collect();
        tables.sort_unstable_by_key(|table| table.id.0);
        for table in tables {
            let rows = read_rows(client, table).await;
            let name = rows::table_name(table);
            let truth = truth::truth(client, &name, &rows.conditions, callers).await;
            check_truth(client, &name, &rows.conditions, callers, &truth).await;
            for (mutation, tally) in mutations.iter().zip(&mut tallies) {
                let engine =
                    Engine { catalog, mirror: &mirror, moment, mutation: *mutation, source: source.as_ref() };
                let findings = engine.find(table, &rows.images, callers);
                compare(&rows, callers, &truth, &findings, tally);
            }
        }
        if let [tally] = &mut *tallies {
            self.compare_masks(catalog, callers, tally).await;
            tally.reasons = reasons(catalog);
        }
        client.batch_execute("rollback").await.expect("the transaction's end");
        tallies
    }

    /// Compares the columns that a role may see with what Postgres says of it.
    async fn compare_masks(&self, catalog: &Catalog, callers: &[Caller], tally: &mut Tally) {
        let roles: BTreeSet<&str> = callers.iter().map(|caller| &*caller.role).collect();
        let roles: Vec<&str> = roles.into_iter().collect();
        let sql = "select r.rolname::text, a.attrelid, a.attnum,
                pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'usage')
                and pg_catalog.has_column_privilege(r.oid, a.attrelid, a.attnum, 'select')
            from pg_roles r, pg_attribute a join pg_class c on c.oid = a.attrelid
            where r.rolname = any ($1) and a.attrelid = any ($2) and a.attnum > 0 and not a.attisdropped";
        let tables: Vec<u32> = catalog.tables.keys().map(|id| id.0).collect();
        for row in self.database.client.query(sql, &[&roles, &tables]).await.expect("privileges") {
            let (role, table) = (row.get::<_, &str>(0), RelationId(row.get(1)));
            let columns = &catalog.tables[&table].columns;
            let place = columns.iter().position(|column| column.number == row.get::<_, i16>(2));
            let shown = catalog
                .access(role, table)
                .is_some_and(|access| access.selectable.contains(place.expect("a column")));
            if shown != row.get::<_, bool>(3) {
                tally.wrong += 1;
                tally.tell(|| {
                    format!("{role} is {shown} to see column {} of {table:?}", row.get::<_, i16>(2))
                });
            }
        }
    }
}

/// Why policies were not compiled.
fn reasons(catalog: &Catalog) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    let programs = catalog.roles.values().flatten().flat_map(|role| role.access.values());
    for program in programs.filter_map(|access| access.program.as_ref()) {
        for rule in program.permissive.iter().chain(&program.restrictive) {
            if let Err(uncompiled) = &rule.condition {
                *reasons.entry(uncompiled.to_string()).or_default() += 1;
            }
        }
    }
    for needed in catalog.needed.values() {
        if let Some(hindrance) = &needed.hindrance {
            *reasons.entry(format!("{}: {hindrance}", needed.table.name)).or_default() += 1;
        }
    }
    reasons
}

/// The rows of a table, values written by their types' output functions. Generated ones are not in the stream.
async fn read_rows(client: &Client, table: &Arc<Table>) -> Rows {
    let expressions: Vec<String> = table
        .columns
        .iter()
        .map(|column| rows::text_of(&rowcast::wal::sql::identifier(&column.name)))
        .collect();
    let sql = format!(
        "select {} from {} order by ctid limit 400",
        if expressions.is_empty() { "1".to_owned() } else { expressions.join(", ") },
        rows::table_name(table)
    );
    let (mut images, mut conditions) = (Vec::new(), Vec::new());
    for row in client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")) {
        let text = |place: usize| row.get::<_, Option<String>>(place);
        let keys = table.columns.iter().enumerate().filter(|(_, column)| column.primary_key);
        let condition: Vec<String> = keys
            .map(|(place, column)| {
                let value = text(place).expect("a key is not null");
                format!("{} = {}", rowcast::wal::sql::identifier(&column.name), literal(&value))
            })
            .collect();
        let datum = |(place, column): (usize, &rowcast::change::TableColumn)| match text(place) {
            _ if column.generated.is_some() => Datum::Absent,
            Some(text) => Datum::Text(text.into()),
            None => Datum::Null,
        };
        let values = table.columns.iter().enumerate().map(datum).collect();
        images.push(Image { values, rendered: Vec::new() });
        // Without a key there is nothing to ask about.
        conditions.push(if condition.is_empty() { "false".to_owned() } else { condition.join(" and ") });
    }
    Rows { table: Arc::clone(table), images, conditions }
}

/// Puts some of the questions in plain statements.
async fn check_truth(
    client: &Client,
    name: &str,
    conditions: &[String],
    callers: &[Caller],
    truth: &[Vec<Truth>],
) {
    let pairs = (0..callers.len()).flat_map(|caller| (0..conditions.len()).map(move |row| (caller, row)));
    for (caller, row) in pairs.skip(conditions.len() / 2).step_by(PLAINLY) {
        let plain = plain_truth(client, name, &conditions[row], &callers[caller]).await;
        assert_eq!(plain, truth[caller][row], "{:?} on {}", callers[caller], conditions[row]);
    }
}

fn compare(rows: &Rows, callers: &[Caller], truth: &[Vec<Truth>], findings: &Findings, tally: &mut Tally) {
    for (number, caller) in callers.iter().enumerate() {
        for (place, condition) in rows.conditions.iter().enumerate() {
            let (word, truth) = (findings.words[number][place], truth[number][place]);
            tally.found += u64::from(truth == Truth::Found);
            tally.raised += u64::from(truth == Truth::Raised);
            match (word, truth) {
                (Word::Asks, _) => tally.asked += 1,
                (Word::Shows, Truth::Found) | (Word::Hides, Truth::Hidden | Truth::Raised) => {
                    tally.decided += 1
                }
                (Word::Shows | Word::Hides, _) => {
                    tally.wrong += 1;
                    tally.tell(|| {
                        format!("{word:?} is not {truth:?}: {} {condition} for {caller:?}", rows.table.name)
                    });
                }
            }
            let is_needed = truth == Truth::Found && word != Word::Hides;
            if findings.candidates[number][place] == Some(false) && is_needed {
                tally.missed += 1;
                tally.tell(|| format!("no candidate: {} {condition} for {caller:?}", rows.table.name));
            }
        }
    }
    tally.judged.0 += findings.judged.0 as u64;
    tally.judged.1 += findings.judged.1 as u64;
}

//! What policy could not decide, asked of Postgres in batches as the subscriber's role.
//!
//! A [`Batch`] holds the questions of several subscribers, by distinct claims. It is answered in one
//! repeatable-read transaction on one session: for each claims, the role and claims are set and all its questions
//! asked in one round trip. Every such trip starts by rolling back to one savepoint, so an error is contained in
//! the claims that caused it, and all trips of a batch are pipelined. The questions of a trip that failed are put
//! again one by one, so that an error costs no more than the change that caused it.
//!
//! **What is judged.** A row whose stored version is the one that the change wrote is judged by Postgres's own
//! row level security, through a plain SELECT by key. A row that has been changed or deleted since, an old row,
//! and a version that was replaced within its own transaction are judged by the same policies applied to the
//! row as it was logged. So a later version never lends its visibility to an earlier one.
//! Tables that policies read are read as they are now.
//!
//! Where policies read a value that was not logged (unchanged TOAST), it is taken from the stored row if that is
//! still the version in question, or equals it in all that was logged. Else the answer is no.
//!
//! **When.** The stream can deliver a commit before the commit is visible to new snapshots. A batch therefore
//! first waits until its snapshot sees every transaction that it asks about.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::change::{Image, RelationId, RowChange, Types};
use crate::policy::{Answer, Claims};
use crate::postgres::rows;
use crate::postgres::snapshot::Snapshot;
use crate::wal::sql::{identifier, literal};
use crate::wal::tuple::Datum;

/// How long a batch waits until its transactions are visible; they usually are at once. Commits that wait for a
/// synchronous standby become visible only when it answers.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);

/// How many questions of a trip that failed are put again at a time.
const SINGLES_AT_ONCE: usize = 16;

/// How many of them may run out of time before the rest is not put any more.
pub(super) const CANCELED_MAX: u32 = 2;

/// Questions to be answered together.
#[derive(Debug)]
pub struct Batch {
    /// The types of the tables in it.
    pub types: Arc<Types>,
    /// The questions, by distinct claims.
    pub groups: Vec<Group>,
}

/// The questions of one distinct claims.
#[derive(Debug)]
pub struct Group {
    /// Whose questions these are, for the caller.
    pub lane: usize,
    /// The claims.
    pub claims: Arc<Claims>,
    /// The questions.
    pub items: Vec<Item>,
}

/// One question.
#[derive(Debug)]
pub struct Item {
    /// Which question this is, for the caller.
    pub entry: u64,
    /// The change.
    pub change: Arc<RowChange>,
    /// The transaction that made it, without the epoch.
    pub xid: u32,
    /// The role's policies on the table, as a condition.
    pub condition: Arc<str>,
    /// Whether the new row is to be judged.
    pub new: bool,
    /// Whether the old row is to be judged.
    pub old: bool,
    /// What became of the row later in the same transaction.
    pub later: Later,
    /// Filters to be evaluated over the change, as SQL without references.
    pub filters: Vec<String>,
}

impl Item {
    /// About how many bytes it adds to a statement.
    pub(super) fn bytes(&self) -> usize {
        let images = self.change.new.iter().chain(&self.change.old).map(Image::text_bytes);
        images.chain(self.filters.iter().map(String::len)).sum()
    }

    /// The last version that its transaction is known to have written of the row.
    fn last(&self) -> &RowChange {
        match &self.later {
            Later::Replaced(last) => last,
            Later::Nothing | Later::Unknown => &self.change,
        }
    }
}

/// What became of a row version within the transaction that wrote it.
#[derive(Clone, Debug)]
pub enum Later {
    /// It is the last one.
    Nothing,
    /// Another version replaced it; both must be visible.
    Replaced(Arc<RowChange>),
    /// The transaction is too large to know: the stored row must be visible too.
    Unknown,
}

/// What became of one question.
#[derive(Debug)]
pub struct Outcome {
    /// Which lane asked.
    pub lane: usize,
    /// Which question.
    pub entry: u64,
    /// The answer to the row questions and to each filter; or why there is none, as an SQLSTATE.
    pub result: Result<(Answer, Vec<bool>), SqlState>,
}

/// The session was lost; nothing of the batch was answered.
#[derive(Debug, thiserror::Error)]
#[error("could not ask Postgres who may see a change")]
pub struct SessionLost(#[source] pub tokio_postgres::Error);

/// Answers a batch on `client`, whose session has no open transaction.
pub async fn answer(client: &Client, batch: &Batch) -> Result<Vec<Outcome>, SessionLost> {
    let asked = ask(client, batch).await;
    // Whatever happened, the next batch finds a clean session.
    let ended = client.batch_execute("rollback").await;
    let outcomes = asked?;
    ended.map_err(SessionLost)?;
    Ok(outcomes)
}

async fn ask(client: &Client, batch: &Batch) -> Result<Vec<Outcome>, SessionLost> {
    if !begin(client, batch).await? {
        return Ok(unanswered(batch, &SqlState::T_R_SERIALIZATION_FAILURE));
    }
    let stored = Stored::read(client, batch).await?;
    let plans: Vec<Plan<'_>> =
        batch.groups.iter().map(|group| Plan::new(group, &group.items, &batch.types, &stored)).collect();
    let mut outcomes = Vec::new();
    for (plan, reply) in plans.iter().zip(put(client, &plans).await?) {
        match reply {
            Ok(messages) => outcomes.extend(plan.read(&messages)),
            Err(code) => outcomes.extend(ask_one_by_one(client, plan, code, &batch.types, &stored).await?),
        }
    }
    Ok(outcomes)
}

/// Puts the questions of a plan that failed again, each by itself.
async fn ask_one_by_one(
    client: &Client,
    failed_plan: &Plan<'_>,
    code: SqlState,
    types: &Types,
    stored: &Stored,
) -> Result<Vec<Outcome>, SessionLost> {
    let group = failed_plan.group;
    if let [_] = failed_plan.items {
        return Ok(failed(group.lane, failed_plan.items, &code).collect());
    }
    // Time that runs out is not spent in parallel, and not again and again.
    let at_once = if code == SqlState::QUERY_CANCELED { 1 } else { SINGLES_AT_ONCE };
    let mut patience = CANCELED_MAX;
    let mut outcomes = Vec::new();
    for items in failed_plan.items.chunks(at_once) {
        if patience == 0 {
            outcomes.extend(failed(group.lane, items, &SqlState::QUERY_CANCELED));
            continue;
        }
        let plans: Vec<Plan<'_>> =
            items.chunks(1).map(|item| Plan::new(group, item, types, stored)).collect();
        for (plan, reply) in plans.iter().zip(put(client, &plans).await?) {
            match reply {
                Ok(messages) => outcomes.extend(plan.read(&messages)),
                Err(code) => {
                    if code == SqlState::QUERY_CANCELED {
                        patience = patience.saturating_sub(1);
                    }
                    outcomes.extend(failed(group.lane, plan.items, &code));
                }
            }
        }
    }
    Ok(outcomes)
}

type Reply = Result<Vec<SimpleQueryMessage>, SqlState>;

/// Sends plans one after another without waiting; Postgres answers in order.
async fn put(client: &Client, plans: &[Plan<'_>]) -> Result<Vec<Reply>, SessionLost> {
    let replies = plans.iter().map(|plan| client.simple_query(&plan.sql));
    let replies = futures_util::future::join_all(replies).await;
    let reply = |reply: Result<_, tokio_postgres::Error>| match reply {
        Ok(messages) => Ok(Ok(messages)),
        Err(error) => match error.code() {
            Some(code) => Ok(Err(code.clone())),
            None if error.is_closed() || client.is_closed() => Err(SessionLost(error)),
            // The session is fine, so it is this question that could not be sent; asking it again is no use.
            None => Ok(Err(SqlState::INTERNAL_ERROR)),
        },
    };
    replies.into_iter().map(reply).collect()
}

fn failed<'a>(lane: usize, items: &'a [Item], code: &'a SqlState) -> impl Iterator<Item = Outcome> + 'a {
    items.iter().map(move |item| Outcome { lane, entry: item.entry, result: Err(code.clone()) })
}

/// The outcomes of a batch to which there will be no answers.
pub(super) fn unanswered(batch: &Batch, code: &SqlState) -> Vec<Outcome> {
    batch.groups.iter().flat_map(|group| failed(group.lane, &group.items, code)).collect()
}

/// Opens the transaction on a snapshot that sees every change asked about; `false` if there is none in time.
async fn begin(client: &Client, batch: &Batch) -> Result<bool, SessionLost> {
    const BEGIN: &str =
        "begin isolation level repeatable read; select pg_catalog.pg_current_snapshot()::text";
    let deadline = Instant::now() + VISIBLE_WITHIN;
    let mut pause = Duration::from_micros(100);
    loop {
        let messages = client.simple_query(BEGIN).await.map_err(SessionLost)?;
        let snapshot = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).and_then(Snapshot::parse),
            _ => None,
        });
        let items = || batch.groups.iter().flat_map(|group| &group.items);
        if snapshot.is_some_and(|snapshot| items().all(|item| snapshot.sees(item.xid))) {
            client.batch_execute("savepoint base").await.map_err(SessionLost)?;
            return Ok(true);
        }
        client.batch_execute("rollback").await.map_err(SessionLost)?;
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

type Key = Vec<String>;

fn key_of(change: &RowChange) -> Option<Vec<&str>> {
    change.new.as_ref()?.key(&change.table)
}

/// What the server's own role finds stored of the rows of a batch. A table that it cannot read has nothing: its
/// rows are judged as logged.
#[derive(Default)]
struct Stored {
    /// Which transaction wrote each row, by key.
    writers: HashMap<RelationId, HashMap<Key, u32>>,
    /// Rows with the values that were not logged, by change.
    filled: HashMap<*const RowChange, Image>,
}

impl Stored {
    async fn read(client: &Client, batch: &Batch) -> Result<Self, SessionLost> {
        let items = || batch.groups.iter().flat_map(|group| &group.items).filter(|item| item.new);
        let mut by_table: HashMap<RelationId, Vec<&RowChange>> = HashMap::new();
        for item in items() {
            by_table.entry(item.change.table.id).or_default().push(item.last());
        }
        let mut stored = Self::default();
        for (relation, changes) in by_table {
            if let Some(writers) = read_writers(client, &batch.types, &changes).await? {
                stored.writers.insert(relation, writers);
            }
        }
        for item in items() {
            stored.fill(client, &batch.types, item, item.last()).await?;
            stored.fill(client, &batch.types, item, &item.change).await?;
        }
        Ok(stored)
    }

    /// Whether the stored row is the one that `change` wrote, given that it is the last of its transaction.
    fn is_current(&self, change: &RowChange, xid: u32) -> bool {
        let writer = key_of(change).and_then(|key| {
            let key: Key = key.into_iter().map(str::to_owned).collect();
            self.writers.get(&change.table.id)?.get(&key)
        });
        writer == Some(&xid)
    }

    /// Completes a change's new row if policies read more of it than was logged.
    async fn fill(
        &mut self,
        client: &Client,
        types: &Types,
        item: &Item,
        change: &RowChange,
    ) -> Result<(), SessionLost> {
        let (Some(image), Some(key)) = (&change.new, key_of(change)) else { return Ok(()) };
        let table = &*change.table;
        if rows::knows(table, image, &item.condition) || self.filled.contains_key(&std::ptr::from_ref(change))
        {
            return Ok(());
        }
        let is_last = std::ptr::eq(change, item.last()) && !matches!(item.later, Later::Unknown);
        let same = if is_last && self.is_current(change, item.xid) {
            "true".to_owned()
        } else {
            rows::equals(table, image)
        };
        let Some(key) = rows::key_condition(table, types, &[key]) else { return Ok(()) };
        let absent = image.values.iter().enumerate().filter(|(_, value)| **value == Datum::Absent);
        let absent: Vec<usize> = absent.map(|(place, _)| place).collect();
        let names = absent.iter().filter_map(|place| table.columns.get(*place));
        let list: Vec<String> = names.map(|column| rows::text_of(&identifier(&column.name))).collect();
        let sql = format!(
            "rollback to savepoint base; select {} from {} where {key} and {same}",
            list.join(", "),
            rows::table_name(table)
        );
        let messages = match client.simple_query(&sql).await {
            Ok(messages) => messages,
            Err(error) if error.code().is_some() => return Ok(()),
            Err(error) => return Err(SessionLost(error)),
        };
        if let Some(row) = rows_of(&messages).next() {
            let mut filled = image.clone();
            for (column, place) in absent.iter().enumerate() {
                let text = row.get(column).map(|text| Datum::Text(Bytes::copy_from_slice(text.as_bytes())));
                filled.values[*place] = text.unwrap_or(Datum::Null);
            }
            self.filled.insert(change, filled);
        }
        Ok(())
    }
}

/// Which transaction wrote each row that is stored under these keys; `None` if the table cannot be read.
async fn read_writers(
    client: &Client,
    types: &Types,
    changes: &[&RowChange],
) -> Result<Option<HashMap<Key, u32>>, SessionLost> {
    let Some(table) = changes.first().map(|change| &change.table) else { return Ok(None) };
    let mut keys: Vec<Vec<&str>> = changes.iter().filter_map(|change| key_of(change)).collect();
    keys.sort_unstable();
    keys.dedup();
    let Some(condition) = rows::key_condition(table, types, &keys) else { return Ok(None) };
    let sql = format!(
        "rollback to savepoint base; select xmin::text, {} from {} where {condition}",
        rows::key_list(table),
        rows::table_name(table)
    );
    let messages = match client.simple_query(&sql).await {
        Ok(messages) => messages,
        Err(error) if error.code().is_some() => return Ok(None),
        Err(error) => return Err(SessionLost(error)),
    };
    let found = rows_of(&messages).filter_map(|row| {
        let xmin = row.get(0)?.parse().ok()?;
        Some((texts(row, 1)?, xmin))
    });
    Ok(Some(found.collect()))
}

fn rows_of(messages: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// The columns of `row` from `from` on; `None` if one is NULL.
fn texts(row: &SimpleQueryRow, from: usize) -> Option<Key> {
    (from..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()
}

/// How some questions of one claims are put, in one message.
struct Plan<'a> {
    group: &'a Group,
    items: &'a [Item],
    sql: String,
    probes: Vec<Probes>,
}

/// What must be found among the rows that come back, for one item.
#[derive(Default)]
struct Probes {
    new: Vec<Probe>,
    old: Option<Probe>,
}

/// One thing to be found among the rows that come back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Probe {
    /// The stored row with this key.
    Stored(RelationId, Key),
    /// The logged row with this number.
    Logged(usize),
    /// It cannot be asked, so it does not hold.
    Impossible,
}

/// Marks the rows that come back, in their first column; what they are about follows.
const STORED: &str = "s";
const LOGGED: &str = "l";
const FILTER: &str = "f";

/// Collects what the probes of one claims need to have asked.
struct Planner<'a> {
    types: &'a Types,
    rows: &'a Stored,
    stored: HashMap<RelationId, Vec<&'a RowChange>>,
    logged: Vec<(&'a Item, &'a RowChange, &'a Image)>,
}

impl<'a> Plan<'a> {
    fn new(group: &'a Group, items: &'a [Item], types: &'a Types, rows: &'a Stored) -> Self {
        let mut planner = Planner { types, rows, stored: HashMap::new(), logged: Vec::new() };
        let probes = items.iter().map(|item| planner.probes(item)).collect();
        let mut sql = format!(
            "rollback to savepoint base; select pg_catalog.set_config('role', {}, true), \
             pg_catalog.set_config('request.jwt.claims', {}, true)",
            literal(&group.claims.role),
            literal(&group.claims.json)
        );
        planner.write(&mut sql);
        for (number, item) in items.iter().enumerate() {
            for (place, filter) in item.filters.iter().enumerate() {
                let _ = write!(sql, "; select '{FILTER}', {number}, {place} where ({filter})");
            }
        }
        Self { group, items, sql, probes }
    }

    fn read(&self, messages: &[SimpleQueryMessage]) -> impl Iterator<Item = Outcome> + '_ {
        let mut found: HashSet<Probe> = HashSet::new();
        let mut filters: HashSet<(usize, usize)> = HashSet::new();
        for row in rows_of(messages) {
            let number = |column| row.get(column).and_then(|text| text.parse::<usize>().ok());
            match row.get(0) {
                Some(STORED) => {
                    let relation = row.get(1).and_then(|text| text.parse().ok()).map(RelationId);
                    found.extend(relation.zip(texts(row, 2)).map(|(id, key)| Probe::Stored(id, key)));
                }
                Some(LOGGED) => found.extend(number(1).map(Probe::Logged)),
                Some(FILTER) => filters.extend(number(1).zip(number(2))),
                _ => {}
            }
        }
        self.items.iter().zip(&self.probes).enumerate().map(move |(number, (item, probes))| {
            let holds = |probe: &Probe| found.contains(probe);
            let answer = Answer {
                new: !probes.new.is_empty() && probes.new.iter().all(holds),
                old: probes.old.as_ref().is_some_and(holds),
            };
            let passed = (0..item.filters.len()).map(|place| filters.contains(&(number, place))).collect();
            Outcome { lane: self.group.lane, entry: item.entry, result: Ok((answer, passed)) }
        })
    }
}

impl<'a> Planner<'a> {
    fn probes(&mut self, item: &'a Item) -> Probes {
        let mut probes = Probes::default();
        if item.new {
            probes.new.push(match &item.later {
                Later::Nothing | Later::Replaced(_) if self.rows.is_current(item.last(), item.xid) => {
                    self.stored(item.last())
                }
                Later::Nothing | Later::Replaced(_) => {
                    self.logged(item, item.last(), item.last().new.as_ref())
                }
                // Whether it outlived its transaction is not known, but something did.
                Later::Unknown => self.stored(&item.change),
            });
            if !matches!(item.later, Later::Nothing) {
                probes.new.push(self.logged(item, &item.change, item.change.new.as_ref()));
            }
        }
        if item.old {
            probes.old = Some(self.logged(item, &item.change, item.change.old.as_ref()));
        }
        probes
    }

    fn stored(&mut self, change: &'a RowChange) -> Probe {
        let Some(key) = key_of(change) else { return Probe::Impossible };
        let key = key.into_iter().map(str::to_owned).collect();
        self.stored.entry(change.table.id).or_default().push(change);
        Probe::Stored(change.table.id, key)
    }

    fn logged(&mut self, item: &'a Item, change: &'a RowChange, image: Option<&'a Image>) -> Probe {
        let Some(mut image) = image else { return Probe::Impossible };
        if !rows::knows(&change.table, image, &item.condition) {
            let is_new = change.new.as_ref().is_some_and(|new| std::ptr::eq(new, image));
            let filled = self.rows.filled.get(&std::ptr::from_ref(change)).filter(|_| is_new);
            let Some(filled) = filled else { return Probe::Impossible };
            image = filled;
        }
        self.logged.push((item, change, image));
        Probe::Logged(self.logged.len() - 1)
    }

    fn write(&self, sql: &mut String) {
        for (relation, changes) in &self.stored {
            let Some(table) = changes.first().map(|change| &change.table) else { continue };
            let mut keys: Vec<Vec<&str>> = changes.iter().filter_map(|change| key_of(change)).collect();
            keys.sort_unstable();
            keys.dedup();
            let Some(condition) = rows::key_condition(table, self.types, &keys) else { continue };
            let (list, name) = (rows::key_list(table), rows::table_name(table));
            let _ = write!(sql, "; select '{STORED}', {}, {list} from {name} where {condition}", relation.0);
        }
        let mut by_table: HashMap<(RelationId, &str), Vec<usize>> = HashMap::new();
        for (number, (item, change, _)) in self.logged.iter().enumerate() {
            by_table.entry((change.table.id, &item.condition)).or_default().push(number);
        }
        for ((_, condition), numbers) in by_table {
            let Some(&(_, change, _)) = numbers.first().and_then(|number| self.logged.get(*number)) else {
                continue;
            };
            let images = numbers.iter().map(|number| (*number, self.logged[*number].2));
            let Some(source) = rows::from_images(&change.table, self.types, condition, images) else {
                continue;
            };
            let ordinal = rows::ORDINAL;
            let _ = write!(sql, "; select '{LOGGED}', {ordinal} from {source} where {condition}");
        }
    }
}

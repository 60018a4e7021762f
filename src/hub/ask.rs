//! What policy could not decide, asked of Postgres in batches as the subscriber's role.
//!
//! A [`Batch`] holds the questions of several subscribers, by distinct claims. It is answered in one
//! repeatable-read transaction on one session: for each claims, the role and claims are set and all its questions
//! asked in one round trip. Every such trip starts by rolling back to one savepoint, so an error is contained in
//! the claims that caused it, and all trips of a batch are pipelined.
//!
//! **What is judged.** A row whose stored version is the one that the change wrote is judged by Postgres's own
//! row level security, through a plain SELECT by key. A row that has been changed or deleted since, an old row,
//! and a version that was replaced within its own transaction are judged by the same policies applied to the
//! row as it was logged. So a later version never lends its visibility to an earlier one.
//! Tables that policies read are read as they are now.
//!
//! **When.** The stream can deliver a commit before the commit is visible to new snapshots. A batch therefore
//! first waits until its snapshot sees every transaction that it asks about.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::change::{Image, RelationId, RowChange, Types};
use crate::policy::{Answer, Claims};
use crate::postgres::rows;
use crate::wal::sql::literal;

/// How long a batch waits until its transactions are visible; they usually are at once. Commits that wait for a
/// synchronous standby become visible only when it answers.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);

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
    let current = current_rows(client, batch).await?;
    let plans: Vec<Plan> =
        batch.groups.iter().map(|group| Plan::new(group, &batch.types, &current)).collect();
    // Sent one after another without waiting; Postgres answers in order.
    let replies = plans.iter().map(|plan| client.simple_query(&plan.sql));
    let replies = futures_util::future::join_all(replies).await;
    let mut outcomes = Vec::new();
    for ((group, plan), reply) in batch.groups.iter().zip(&plans).zip(replies) {
        match reply {
            Ok(messages) => outcomes.extend(plan.read(group, &messages)),
            Err(error) => {
                let code = match error.code() {
                    Some(code) => code.clone(),
                    None if error.is_closed() || client.is_closed() => return Err(SessionLost(error)),
                    // The session is fine, so it is this question that could not be sent; asking it again is
                    // no use.
                    None => SqlState::INTERNAL_ERROR,
                };
                outcomes.extend(failed(group, &code));
            }
        }
    }
    Ok(outcomes)
}

fn failed<'a>(group: &'a Group, code: &'a SqlState) -> impl Iterator<Item = Outcome> + 'a {
    let outcome = |item: &Item| Outcome { lane: group.lane, entry: item.entry, result: Err(code.clone()) };
    group.items.iter().map(outcome)
}

/// The outcomes of a batch to which there will be no answers.
pub(super) fn unanswered(batch: &Batch, code: &SqlState) -> Vec<Outcome> {
    batch.groups.iter().flat_map(|group| failed(group, code)).collect()
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

/// Which transactions a session sees, as `pg_snapshot` prints it: `xmin:xmax:xip,…`.
struct Snapshot {
    xmax: u64,
    in_progress: Vec<u64>,
}

impl Snapshot {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let _xmin = parts.next()?;
        let xmax = parts.next()?.parse().ok()?;
        let in_progress = parts.next()?.split(',').filter(|part| !part.is_empty());
        Some(Self { xmax, in_progress: in_progress.map(|part| part.parse().ok()).collect::<Option<_>>()? })
    }

    /// Whether the transaction is over; `xid` lacks the epoch, and lies within 2³¹ of the snapshot.
    fn sees(&self, xid: u32) -> bool {
        const EPOCH: u64 = 1 << 32;
        let guess = (self.xmax & !(EPOCH - 1)) | u64::from(xid);
        let full = if guess >= self.xmax.saturating_add(EPOCH / 2) {
            guess.saturating_sub(EPOCH)
        } else if guess.saturating_add(EPOCH / 2) < self.xmax {
            guess + EPOCH
        } else {
            guess
        };
        full < self.xmax && !self.in_progress.contains(&full)
    }
}

type Key = Vec<String>;

/// The keys whose stored row is the version that a change of the batch wrote.
type Current = HashMap<RelationId, HashMap<Key, u32>>;

fn key_of(change: &RowChange) -> Option<Vec<&str>> {
    change.new.as_ref()?.key(&change.table)
}

/// Finds, as the server's own role, which rows are stored as they were logged. A table that this role cannot
/// read has none: its rows are judged as logged.
async fn current_rows(client: &Client, batch: &Batch) -> Result<Current, SessionLost> {
    let mut by_table: HashMap<RelationId, Vec<&RowChange>> = HashMap::new();
    for item in batch.groups.iter().flat_map(|group| &group.items).filter(|item| item.new) {
        let change = match &item.later {
            Later::Replaced(last) => last,
            Later::Nothing | Later::Unknown => &item.change,
        };
        by_table.entry(change.table.id).or_default().push(change);
    }
    let mut current = Current::new();
    for (relation, changes) in by_table {
        let Some(table) = changes.first().map(|change| &change.table) else { continue };
        let mut keys: Vec<Vec<&str>> = changes.iter().filter_map(|change| key_of(change)).collect();
        keys.sort_unstable();
        keys.dedup();
        let Some(condition) = rows::key_condition(table, &batch.types, &keys) else { continue };
        let sql = format!(
            "rollback to savepoint base; select xmin::text, {} from {} where {condition}",
            rows::key_list(table),
            rows::table_name(table)
        );
        let messages = match client.simple_query(&sql).await {
            Ok(messages) => messages,
            Err(error) if error.code().is_some() => continue,
            Err(error) => return Err(SessionLost(error)),
        };
        let found = rows_of(&messages).filter_map(|row| {
            let xmin = row.get(0)?.parse().ok()?;
            Some((texts(row, 1)?, xmin))
        });
        current.insert(relation, found.collect());
    }
    Ok(current)
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

/// How the questions of one claims are put, in one message.
struct Plan {
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
    current: &'a Current,
    stored: HashMap<RelationId, Vec<&'a RowChange>>,
    logged: Vec<(&'a Item, &'a RowChange, &'a Image)>,
}

impl Plan {
    fn new(group: &Group, types: &Types, current: &Current) -> Self {
        let mut planner = Planner { types, current, stored: HashMap::new(), logged: Vec::new() };
        let probes = group.items.iter().map(|item| planner.probes(item)).collect();
        let mut sql = format!(
            "rollback to savepoint base; select pg_catalog.set_config('role', {}, true), \
             pg_catalog.set_config('request.jwt.claims', {}, true)",
            literal(&group.claims.role),
            literal(&group.claims.json)
        );
        planner.write(&mut sql);
        for (number, item) in group.items.iter().enumerate() {
            for (place, filter) in item.filters.iter().enumerate() {
                let _ = write!(sql, "; select '{FILTER}', {number}, {place} where ({filter})");
            }
        }
        Self { sql, probes }
    }

    fn read<'a>(
        &'a self,
        group: &'a Group,
        messages: &[SimpleQueryMessage],
    ) -> impl Iterator<Item = Outcome> + 'a {
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
        group.items.iter().zip(&self.probes).enumerate().map(move |(number, (item, probes))| {
            let holds = |probe: &Probe| found.contains(probe);
            let answer = Answer {
                new: !probes.new.is_empty() && probes.new.iter().all(holds),
                old: probes.old.as_ref().is_some_and(holds),
            };
            let passed = (0..item.filters.len()).map(|place| filters.contains(&(number, place))).collect();
            Outcome { lane: group.lane, entry: item.entry, result: Ok((answer, passed)) }
        })
    }
}

impl<'a> Planner<'a> {
    fn probes(&mut self, item: &'a Item) -> Probes {
        let mut probes = Probes::default();
        if item.new {
            match &item.later {
                Later::Nothing => probes.new.push(self.newest(item, &item.change)),
                Later::Replaced(last) => {
                    probes.new.push(self.newest(item, last));
                    probes.new.push(self.logged(item, &item.change, item.change.new.as_ref()));
                }
                Later::Unknown => {
                    probes.new.push(self.stored(&item.change));
                    probes.new.push(self.logged(item, &item.change, item.change.new.as_ref()));
                }
            }
        }
        if item.old {
            probes.old = Some(self.logged(item, &item.change, item.change.old.as_ref()));
        }
        probes
    }

    /// The last version that the transaction wrote: as stored if that is still the one, else as logged.
    fn newest(&mut self, item: &'a Item, change: &'a RowChange) -> Probe {
        let stored_by = key_of(change).and_then(|key| {
            let key: Key = key.into_iter().map(str::to_owned).collect();
            self.current.get(&change.table.id)?.get(&key).copied()
        });
        if stored_by == Some(item.xid) {
            return self.stored(change);
        }
        self.logged(item, change, change.new.as_ref())
    }

    fn stored(&mut self, change: &'a RowChange) -> Probe {
        let Some(key) = key_of(change) else { return Probe::Impossible };
        let key = key.into_iter().map(str::to_owned).collect();
        self.stored.entry(change.table.id).or_default().push(change);
        Probe::Stored(change.table.id, key)
    }

    fn logged(&mut self, item: &'a Item, change: &'a RowChange, image: Option<&'a Image>) -> Probe {
        let Some(image) = image else { return Probe::Impossible };
        if !rows::knows(&change.table, image, &item.condition) {
            // A value that the policies read was not logged. The stored row has it, if there still is one.
            return if change.new.is_some() { self.stored(change) } else { Probe::Impossible };
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
            let Some(source) = rows::from_images(&change.table, self.types, images) else { continue };
            let ordinal = rows::ORDINAL;
            let _ = write!(sql, "; select '{LOGGED}', {ordinal} from {source} where {condition}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_knows_which_transactions_are_over() {
        let snapshot = Snapshot::parse("100:105:101,103").unwrap();
        let seen: Vec<u32> = (99..107).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [99, 100, 102, 104]);
        assert!(Snapshot::parse("1:2:").unwrap().sees(1));
        assert!(Snapshot::parse("1:x:").is_none());
    }

    #[test]
    fn a_snapshot_widens_transactions_across_an_epoch() {
        let epoch = 1_u64 << 32;
        let snapshot = Snapshot::parse(&format!("{}:{}:", epoch + 5, epoch + 10)).unwrap();
        assert!(snapshot.sees(u32::MAX), "committed before the wrap");
        assert!(snapshot.sees(9));
        assert!(!snapshot.sees(10));
        let snapshot = Snapshot::parse(&format!("{}:{}:", epoch - 5, epoch - 2)).unwrap();
        assert!(!snapshot.sees(3), "begun after the wrap, later than the snapshot");
    }
}

//! How questions are put: one message for some questions of one claims, and what its reply says.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use tokio_postgres::SimpleQueryMessage;

use crate::change::{Image, RelationId, RowChange, Table, Types};
use crate::policy::Answer;
use crate::postgres::rows::{self, rows_of};
use crate::wal::sql::literal;

use super::judge::Judges;
use super::stored::{Key, Stored, key_of, texts};
use super::{Group, Item, Later, Outcome};

/// How some questions of one claims are put, in one message.
pub(super) struct Plan<'a> {
    group: &'a Group,
    items: &'a [Item],
    /// The message.
    pub(super) sql: String,
    probes: Vec<Probes>,
    conditions: Vec<(Arc<Table>, Arc<str>)>,
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
    judges: &'a Judges,
    stored: HashMap<RelationId, Vec<&'a RowChange>>,
    logged: Vec<(&'a Item, &'a RowChange, &'a Image)>,
}

impl<'a> Plan<'a> {
    /// Plans how to put some of a group's questions.
    pub(super) fn new(
        group: &'a Group,
        items: &'a [Item],
        types: &'a Types,
        rows: &'a Stored,
        judges: &'a Judges,
    ) -> Self {
        let mut planner = Planner { types, rows, judges, stored: HashMap::new(), logged: Vec::new() };
        let probes = items.iter().map(|item| planner.probes(item)).collect();
        let mut sql = format!(
            "rollback to savepoint base; select pg_catalog.set_config('role', {}, true), \
             pg_catalog.set_config('request.jwt.claims', {}, true)",
            literal(&group.claims.role),
            literal(&group.claims.json)
        );
        let conditions = planner.write(&mut sql);
        for (number, item) in items.iter().enumerate() {
            for (place, filter) in item.filters.iter().enumerate() {
                let _ = write!(sql, "; select '{FILTER}', {number}, {place} where ({filter})");
            }
        }
        Self { group, items, sql, probes, conditions }
    }

    /// The tables whose logged rows are judged, each with its policies.
    pub(super) fn conditions(self) -> Vec<(Arc<Table>, Arc<str>)> {
        self.conditions
    }

    /// Makes outcomes of Postgres's reply.
    pub(super) fn read(&self, messages: &[SimpleQueryMessage]) -> impl Iterator<Item = Outcome> + '_ {
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
            let filled = self.rows.filled(change).filter(|_| is_new);
            let Some(filled) = filled else { return Probe::Impossible };
            image = filled;
        }
        self.logged.push((item, change, image));
        Probe::Logged(self.logged.len() - 1)
    }

    /// Writes the statements; gives the tables whose logged rows they judge, each with its policies.
    fn write(&self, sql: &mut String) -> Vec<(Arc<Table>, Arc<str>)> {
        for (relation, changes) in &self.stored {
            let Some(table) = changes.first().map(|change| &change.table) else { continue };
            let mut keys: Vec<Vec<&str>> = changes.iter().filter_map(|change| key_of(change)).collect();
            keys.sort_unstable();
            keys.dedup();
            let Some(condition) = rows::key_condition(table, &keys) else { continue };
            let (list, name) = (rows::key_list(table), rows::table_name(table));
            let _ = write!(sql, "; select '{STORED}', {}, {list} from {name} where {condition}", relation.0);
        }
        let mut by_table: HashMap<(RelationId, &Arc<str>), Vec<usize>> = HashMap::new();
        for (number, (item, change, _)) in self.logged.iter().enumerate() {
            by_table.entry((change.table.id, &item.condition)).or_default().push(number);
        }
        let mut conditions = Vec::new();
        for ((_, condition), numbers) in by_table {
            let Some(&(_, change, _)) = numbers.first().and_then(|number| self.logged.get(*number)) else {
                continue;
            };
            let table = &change.table;
            conditions.push((Arc::clone(table), Arc::clone(condition)));
            let images = numbers.iter().map(|number| (*number, self.logged[*number].2));
            if let Some(judge) = self.judges.get(table, condition) {
                for (number, image) in images {
                    let call = rows::judge_call(judge, table, condition, image);
                    let _ = write!(sql, "; select '{LOGGED}', {number} where {call}");
                }
            } else if self.judges.lets_text_be_judged()
                && let Some(source) = rows::from_images(table, self.types, condition, images)
            {
                let ordinal = rows::ORDINAL;
                let _ = write!(sql, "; select '{LOGGED}', {ordinal} from {source} where {condition}");
            }
        }
        conditions
    }
}

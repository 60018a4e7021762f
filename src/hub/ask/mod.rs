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
//! A policy written as text could mean an operator that somebody has made under the name of a built-in one, where such
//! are, and needs USAGE on every schema that it names, where Postgres's own row level security does
//! not. Roles without it get judges: see `judge.rs`.
//!
//! Where policies read a value that was not logged (unchanged TOAST), it is taken from the stored row if that
//! equals the logged one in all that was. Else the answer is no.
//!
//! **When.** The stream can deliver a commit before the commit is visible to new snapshots. A batch therefore
//! first waits until its snapshot sees every transaction that it asks about.

mod judge;
mod plan;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::change::{Image, RowChange, Types};
use crate::policy::{Answer, Claims};
use crate::postgres::snapshot::{Snapshot, begin_when};

use judge::Judges;
use plan::Plan;
use stored::Stored;

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
    /// Whether the text of a condition could mean another operator or function than was meant; then it is analysed where
    /// only built-in ones are found.
    pub is_ambiguous: bool,
    /// The questions, by distinct claims.
    pub groups: Vec<Group>,
    /// Another transaction that must be visible when they are answered, without the epoch.
    pub after: Option<u32>,
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
    let mut asking = Asking { client, types: &batch.types, stored, judges: Judges::default() };
    let mut outcomes = Vec::new();
    let mut groups: Vec<&Group> = batch.groups.iter().collect();
    if batch.is_ambiguous {
        for group in &groups {
            asking.make_judges(group, true).await?;
        }
    }
    while !groups.is_empty() {
        let mut hindered = Vec::new();
        for (group, result) in asking.put(groups.iter().map(|group| (*group, &*group.items))).await? {
            match result {
                Ok(answered) => outcomes.extend(answered),
                Err(code) => hindered.push((group, code)),
            }
        }
        groups.clear();
        for (group, code) in hindered {
            if code == SqlState::INSUFFICIENT_PRIVILEGE && asking.make_judges(group, false).await? {
                groups.push(group);
            } else {
                outcomes.extend(asking.put_one_by_one(group, code).await?);
            }
        }
    }
    Ok(outcomes)
}

/// A batch on its way, with what all its questions share.
struct Asking<'a> {
    client: &'a Client,
    types: &'a Types,
    stored: Stored,
    judges: Judges,
}

impl Asking<'_> {
    /// Puts questions: sent one group after another without waiting, as Postgres answers in order.
    async fn put<'q>(
        &self,
        questions: impl Iterator<Item = (&'q Group, &'q [Item])>,
    ) -> Result<Vec<(&'q Group, Result<Vec<Outcome>, SqlState>)>, SessionLost> {
        let plans: Vec<(&Group, Plan<'_>)> = questions
            .map(|(group, items)| (group, Plan::new(group, items, self.types, &self.stored, &self.judges)))
            .collect();
        let replies = plans.iter().map(|(_, plan)| self.client.simple_query(&plan.sql));
        let replies = futures_util::future::join_all(replies).await;
        let mut results = Vec::with_capacity(plans.len());
        for ((group, plan), reply) in plans.iter().zip(replies) {
            let result = match reply {
                Ok(messages) => Ok(plan.read(&messages).collect()),
                Err(error) => match error.code() {
                    Some(code) => Err(code.clone()),
                    None if error.is_closed() || self.client.is_closed() => return Err(SessionLost(error)),
                    // The session is fine, so it is this question that could not be sent; asking it again is no
                    // use.
                    None => Err(SqlState::INTERNAL_ERROR),
                },
            };
            results.push((*group, result));
        }
        Ok(results)
    }

    /// Puts the questions of a group that failed together again, each by itself.
    async fn put_one_by_one(&self, group: &Group, code: SqlState) -> Result<Vec<Outcome>, SessionLost> {
        if let [_] = *group.items {
            return Ok(failed(group.lane, &group.items, &code).collect());
        }
        // Time that runs out is not spent in parallel, and not again and again.
        let at_once = if code == SqlState::QUERY_CANCELED { 1 } else { SINGLES_AT_ONCE };
        let mut patience = CANCELED_MAX;
        let mut outcomes = Vec::new();
        for items in group.items.chunks(at_once) {
            if patience == 0 {
                outcomes.extend(failed(group.lane, items, &SqlState::QUERY_CANCELED));
                continue;
            }
            let results = self.put(items.chunks(1).map(|item| (group, item))).await?;
            for ((_, result), item) in results.into_iter().zip(items.chunks(1)) {
                match result {
                    Ok(answered) => outcomes.extend(answered),
                    Err(code) => {
                        if code == SqlState::QUERY_CANCELED {
                            patience = patience.saturating_sub(1);
                        }
                        outcomes.extend(failed(group.lane, item, &code));
                    }
                }
            }
        }
        Ok(outcomes)
    }

    /// Makes judges for the logged rows of a group: where they are needed in any case, or that was refused and they can
    /// help.
    async fn make_judges(&mut self, group: &Group, needed: bool) -> Result<bool, SessionLost> {
        let conditions = Plan::new(group, &group.items, self.types, &self.stored, &self.judges).conditions();
        let role = (!needed).then_some(&*group.claims.role);
        self.judges.make(self.client, self.types, role, conditions).await
    }
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
    let sees_all = |snapshot: &Snapshot| {
        let mut items = batch.groups.iter().flat_map(|group| &group.items);
        items.all(|item| snapshot.sees(item.xid)) && batch.after.is_none_or(|xid| snapshot.sees(xid))
    };
    let begun = begin_when(client, sees_all, VISIBLE_WITHIN).await.map_err(SessionLost)?;
    if begun {
        client.batch_execute("savepoint base").await.map_err(SessionLost)?;
    }
    Ok(begun)
}

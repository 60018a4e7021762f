//! One transaction on its way to the shards: subscribers first, then its changes, run by run.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::change::{Change, RowChange, Transaction};
use crate::wal::stream::Error as StreamError;

use super::broadcasts::{Broadcasts, is_messages};
use super::counters::Stage;
use super::stream::Interruption;
use super::{Feed, Report, moment};
use crate::hub::catalogs::chain;
use crate::hub::fanout::{Aligned, Commit, Grounds, History};
use crate::hub::{Sink, StreamedCommit, compute};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// How many changes of one transaction are encoded before the frames go to the shards, which write meanwhile.
const CHANGES_PER_RUN: usize = 1_000;

/// How long a transaction waits for those who joined before it. Beyond it, a join that asks much of Postgres misses
/// what commits until its `system` message says that it is subscribed.
const ADMIT_WITHIN: Duration = Duration::from_millis(250);

/// On how many sessions the computation of columns is tried. A row that breaks the session would break them all.
const COMPUTE_SESSIONS_MAX: u32 = 3;

impl<S: Sink> Feed<S> {
    /// Subscribes those whose join was answered before the transaction in hand committed.
    ///
    /// A client that has read its join reply may write at once and expect to see it. Its command was in the queue
    /// before that reply left, so it is there now; what resolving it takes is waited for, up to a bound.
    pub(super) async fn admit(&mut self) -> Result<(), Interruption> {
        self.take_postponed().await?;
        while let Ok(command) = self.links.commands.try_recv() {
            self.command(command);
        }
        let deadline = Instant::now() + ADMIT_WITHIN;
        while !self.joining.is_empty() {
            match tokio::time::timeout_at(deadline, self.reports.recv()).await {
                Ok(Some(report)) => self.report(report).await?,
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    pub(super) async fn transaction(&mut self, transaction: Transaction) -> Result<(), Interruption> {
        // Nobody subscribes to a broadcast, or to what is followed for policies alone: it waits for no subscriber.
        let is_change = |change: &Change| self.catalog.tables.contains_key(&change.relation.id);
        if transaction.changes.iter().any(is_change) {
            self.admit().await?;
            self.announcements.streamed(transaction.xid);
        }
        self.mirror_transaction(&transaction);
        self.recheck_changed(&transaction).await;
        let change_count = transaction.changes.len();
        // A durable slot sends again what was not acknowledged in time.
        let Some(known_count) = self.progress.known_count(transaction.commit_lsn, change_count) else {
            return Ok(());
        };
        self.opening.patience = 0;
        let whole = transaction.whole;
        let mut changes = Vec::new();
        let mut places = Vec::new();
        let mut truncations = Vec::new();
        let mut broadcasts = Broadcasts::new();
        if transaction.changes.iter().any(|change| is_messages(&change.relation)) {
            self.links.commits.note(transaction.xid, Instant::now());
        }
        let commit = StreamedCommit { xid: transaction.xid, lsn: transaction.commit_lsn };
        for (place, change) in transaction.changes.into_iter().enumerate().skip(known_count) {
            broadcasts.extend(self.broadcast_of(&change, commit).map(|broadcast| (place, broadcast)));
            let id = change.relation.id;
            let Some(table) = self.catalog.tables.get(&id).filter(|_| self.profiles.index().contains(id))
            else {
                continue;
            };
            match RowChange::align(change, table) {
                Some(change) => {
                    changes.push(change);
                    places.push(place);
                }
                None => truncations.push((changes.len(), id)),
            }
        }
        self.complete(transaction.xid, whole, &mut changes).await?;
        let commit = Commit {
            sequence: self.progress.begin(),
            xid: transaction.xid,
            time_micros: transaction.commit_time_micros,
        };
        let changes: Vec<Arc<RowChange>> = changes.into_iter().map(Arc::new).collect();
        let mut history = History::of(&changes, &truncations, whole, &self.catalog.partial);
        if self.config.switches.moved_out {
            history = history.with_first_steps(&changes);
        }
        let mut next = 0;
        while next < changes.len() {
            let waiting_before = self.lanes.entry_count();
            let run = next..changes.len().min(next + CHANGES_PER_RUN);
            next = self.fan_out(Aligned { commit, changes: &changes, history: &history, run });
            self.take_samples();
            self.progress.waits(self.lanes.entry_count() - waiting_before);
            self.dispatch_questions();
            if next < changes.len() {
                self.hand_over().await;
                self.publish_before(places[next], &mut broadcasts).await;
                if let Err(error) = self.make_room().await {
                    // What is fanned out is known when the rest comes again.
                    self.progress.fanned_out(transaction.commit_lsn, places[next], None);
                    return Err(error);
                }
            }
        }
        self.publish_before(change_count, &mut broadcasts).await;
        self.progress.fanned_out(transaction.commit_lsn, change_count, transaction.end_lsn);
        self.config.counters.changes.add(u64::try_from(change_count - known_count).unwrap_or(u64::MAX));
        if let Some(end_lsn) = transaction.end_lsn {
            self.shadow_passed(end_lsn, Some(transaction.xid));
            self.config.counters.transactions.add(1);
            self.config.counters.reached(Stage::FannedOut, end_lsn);
        }
        Ok(())
    }

    /// Fans out a run of changes; gives the place after the last.
    fn fan_out(&mut self, transaction: Aligned<'_>) -> usize {
        let knowledge = self.links.engine.read();
        let grounds = Grounds { catalog: &self.catalog, knowledge: Some(&knowledge), moment: moment() };
        self.fanout.fan_out(grounds, &self.profiles, &mut self.lanes, &mut self.out, transaction)
    }

    /// Waits until more deliveries may wait for answers. What else is reported meanwhile waits for the
    /// transaction in hand: it is decided by one catalog.
    pub(super) async fn make_room(&mut self) -> Result<(), Interruption> {
        while self.lanes.entry_count() >= self.config.waiting_max {
            let Some(source) = &self.source else { return Err(StreamError::Closed.into()) };
            let report = tokio::select! {
                biased;
                report = self.reports.recv() => report,
                () = source.ended() => return Err(StreamError::Closed.into()),
            };
            match report {
                Some(Report::Answered(asker, outcomes)) => {
                    self.idle_askers.push(asker);
                    self.answered(outcomes);
                    self.dispatch_questions();
                    self.hand_over().await;
                }
                Some(Report::ShuttingDown(found)) if found >= self.opened_at => {
                    return Err(Interruption::ShuttingDown);
                }
                Some(other) => self.postponed.push_back(other),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Has Postgres compute what the log lacks of the changes of the transaction `xid`.
    pub(super) async fn complete(
        &self,
        xid: u32,
        whole: bool,
        changes: &mut [RowChange],
    ) -> Result<(), Interruption> {
        let types = &self.catalog.types;
        if !changes.iter().any(|change| compute::is_needed(&change.table, types)) {
            return Ok(());
        }
        self.needed(async {
            for attempt in 1..=COMPUTE_SESSIONS_MAX {
                let client = self.catalogs.client().await;
                match compute::complete(&client, types, xid, whole, changes).await {
                    Ok(()) => return,
                    Err(error) => {
                        let error = chain(&error);
                        report!(
                            warn,
                            Code::DatabaseConnectionDown,
                            attempt,
                            error,
                            "columns are computed again"
                        );
                    }
                }
                self.catalogs.give_up(&client).await;
            }
        })
        .await
    }
}

//! Word for the shards, in commit order, that what private channels may do has changed: before anything is published
//! that was committed with the change or after it.
//!
//! What changes it: rows of the tables that compiled policies on `realtime.messages` read; the policies; and a table that
//! could not be followed for a while, once it can be read again.

use std::sync::Arc;

use super::Feed;
use crate::change::{Change, RelationId, Row, RowChange, Transaction};
use crate::hub::engine::Recheck;
use crate::hub::{ShardCommand, Sink};
use crate::policy::affected::Affected;
use crate::policy::catalog::Needed;
use crate::policy::row::RowValues;
use crate::policy::{Catalog, Program};

/// What is left to be said.
#[derive(Debug, Default)]
pub(super) struct Rechecks {
    /// Tables that were loaded and may not be readable yet, as the stream is behind what was loaded.
    loaded: Vec<RelationId>,
}

impl Rechecks {
    /// A table was loaded.
    pub(super) fn loaded(&mut self, id: RelationId) {
        if !self.loaded.contains(&id) {
            self.loaded.push(id);
        }
    }
}

/// The programs on `realtime.messages`, each once.
fn programs(catalog: &Catalog) -> Vec<&Arc<Program>> {
    let mut programs: Vec<&Arc<Program>> = Vec::new();
    for role in catalog.roles.values().flatten() {
        for program in [&role.messages.read, &role.messages.write].into_iter().flatten() {
            if !programs.iter().any(|known| Arc::ptr_eq(known, program)) {
                programs.push(program);
            }
        }
    }
    programs
}

/// Adds those whom a change may concern.
fn add(
    recheck: &mut Recheck,
    catalog: &Catalog,
    needed: &Needed,
    change: &Change,
    programs: &[&Arc<Program>],
) {
    let relation = change.relation.id;
    let missing: Vec<_> = programs.iter().filter(|program| !recheck.has_all_of(program)).collect();
    if missing.is_empty() {
        return;
    }
    let aligned = match &change.row {
        Row::Truncate => None,
        _ => RowChange::align(change.clone(), &needed.table),
    };
    let Some(change) = aligned else {
        missing.into_iter().for_each(|program| recheck.add(program, Affected::Everybody));
        return;
    };
    let tuple = |image| RowValues::decode(image, &needed.table, &catalog.types, &needed.columns);
    let rows: Vec<_> = [&change.old, &change.new].into_iter().flatten().map(tuple).collect();
    for program in missing {
        for row in &rows {
            recheck.add(program, program.affected(relation, row));
        }
    }
}

impl<S: Sink> Feed<S> {
    /// A transaction has been taken in.
    pub(super) async fn recheck_changed(&mut self, transaction: &Transaction) {
        let catalog = Arc::clone(&self.catalog);
        let is_needed = |change: &&Change| catalog.needed.contains_key(&change.relation.id);
        if transaction.changes.iter().any(|change| is_needed(&change)) {
            let all = programs(&catalog);
            let mut recheck = Recheck::new(catalog.version);
            for change in transaction.changes.iter().filter(is_needed) {
                let Some(needed) = catalog.needed.get(&change.relation.id) else { continue };
                let reads = |program: &&&Arc<Program>| program.may_depend_on(change.relation.id);
                let programs: Vec<_> = all.iter().filter(reads).copied().collect();
                add(&mut recheck, &catalog, needed, change, &programs);
            }
            self.tell_shards(recheck).await;
        }
        self.recheck_loaded().await;
    }

    /// The stream may have come to where tables can be read that were loaded: what was missed meanwhile is in them.
    pub(super) async fn recheck_loaded(&mut self) {
        if self.rechecks.loaded.is_empty() {
            return;
        }
        let engine = Arc::clone(&self.links.engine);
        let mut ready = Vec::new();
        self.rechecks.loaded.retain(|id| {
            let is_ready = engine.read().mirror.is_readable(*id);
            ready.extend(is_ready.then_some(*id));
            !is_ready
        });
        let catalog = Arc::clone(&self.catalog);
        let mut recheck = Recheck::new(catalog.version);
        for program in programs(&catalog) {
            if ready.iter().any(|id| program.may_depend_on(*id)) {
                recheck.add(program, Affected::Everybody);
            }
        }
        self.tell_shards(recheck).await;
    }

    /// Another catalog is in use.
    pub(super) async fn recheck_policies(&mut self, before: &Catalog) {
        let now = Arc::clone(&self.catalog);
        let is_same = |(name, role): (&Arc<str>, &Option<Arc<crate::policy::Role>>)| {
            let before = before.roles.get(name).map(|role| role.as_ref().map(|role| &role.messages));
            before.is_none_or(|before| before == role.as_ref().map(|role| &role.messages))
        };
        let is_gone = |name: &Arc<str>| !now.roles.contains_key(name);
        let same_shape = |one: &Catalog, other: &Catalog| match (&one.messages, &other.messages) {
            (Some(one), Some(other)) => (one.id, &one.columns) == (other.id, &other.columns),
            (one, other) => one.is_none() && other.is_none(),
        };
        // A first reading changes nothing for anybody.
        if before.version > 0
            && !(now.roles.iter().all(is_same)
                && !before.roles.keys().any(is_gone)
                && same_shape(before, &now))
        {
            self.tell_shards(Recheck::everybody(now.version)).await;
        }
    }

    async fn tell_shards(&self, recheck: Recheck) {
        if recheck.is_empty() {
            return;
        }
        self.config.counters.rechecks.add(1);
        let recheck = Arc::new(recheck);
        for shard in self.links.broadcaster.shards() {
            // A shard that has ended has no channels left.
            let _ = shard.send(ShardCommand::Recheck(Arc::clone(&recheck))).await;
        }
    }
}

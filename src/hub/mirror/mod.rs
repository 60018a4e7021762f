//! Keeps the mirror of the relations that policies read: publishes them, loads them, and says what hinders.
//!
//! In: what the catalog's programs need (`Wanted`). Out: `News` for the feed, which owns the stream and applies it.
//!
//! For each relation in turn: the feed begins to keep its changes; the table is added to our own publication, unless
//! another publication of the stream has all of it; then it is read by a snapshot that sees every transaction which began
//! before, so that the stream has all others whole. See `load.rs`.
//!
//! Invariants:
//! - Tables are never altered, and none is published whose own updates would fail for it; one that comes to that is
//!   taken out with the next look.
//! - What is shown was followed without a gap since it was read (`Footing`): that is looked at whenever the catalog has
//!   changed, since the log has no word of it.
//! - What other publications show of a table stays what it is.
//! - The stream never waits for a load.

mod keeper;
mod load;
mod survey;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_postgres::Client;

use crate::change::{RelationId, Types};
use crate::policy::catalog::{Catalog, Needed};
use crate::policy::mirror::{Layout, Rows, Unusable};
use crate::postgres::snapshot::Snapshot;
use crate::wal::Lsn;

pub(super) use keeper::{Scope, keep};
pub use load::{Error, fill, load};
pub(super) use survey::Footing;

/// The publication that tables are added to: the server's own, which its streams always read from.
pub const PUBLICATION: &str = "rowcast";

/// What is to be mirrored.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The relations.
    pub(super) needed: Arc<HashMap<RelationId, Arc<Needed>>>,
    /// The types of their columns.
    pub(super) types: Arc<Types>,
    /// How often each was given up in this stream, and why last: to be loaded again.
    pub(super) lost: HashMap<RelationId, (u64, Unusable)>,
}

impl Wanted {
    /// Has a relation loaded again.
    pub(super) fn lose(&mut self, id: RelationId, why: Unusable) {
        let count = self.lost.get(&id).map_or(0, |(count, _)| *count);
        self.lost.insert(id, (count + 1, why));
    }
}

/// What the feed is told. Each of it is of one stream; what is of an earlier one is of no use.
#[derive(Debug)]
pub(super) enum News {
    /// A relation is about to be loaded: changes are to be kept from now on. Answered when they are, with how often it
    /// had been given up by then; not at all if it is not wanted any more, or has other columns.
    Expect(Arc<Layout>, oneshot::Sender<u64>),
    /// A relation was loaded.
    Loaded(Box<Load>),
    /// A relation cannot be had.
    Hindered(RelationId, Arc<str>),
}

/// A relation that was loaded.
#[derive(Debug)]
pub(super) struct Load {
    /// Its rows.
    pub(super) rows: Rows,
    /// What they hold.
    pub(super) snapshot: Snapshot,
    /// All of that was committed before this position.
    pub(super) from: Lsn,
    /// What it stood on, from before it was read.
    pub(super) footing: Footing,
}

/// What these tables stand on now, for those that can be followed as they were loaded; `publications` are those of the
/// stream but for [`PUBLICATION`].
///
/// # Errors
/// There was no answer.
pub(super) async fn footings(
    client: &Client,
    layouts: &[(Arc<Layout>, Arc<Needed>)],
    publications: &[String],
) -> Result<HashMap<RelationId, Footing>, tokio_postgres::Error> {
    let ids: Vec<u32> = layouts.iter().map(|(layout, _)| layout.table().id.0).collect();
    let surveys = survey::survey(client, &ids, publications, PUBLICATION).await?;
    let footing = |(layout, needed): &(Arc<Layout>, Arc<Needed>)| {
        let id = layout.table().id;
        let plan = surveys.iter().find(|survey| survey.id == id)?.plan(needed, PUBLICATION).ok()?;
        (!plan.add && plan.identity == *layout.identity()).then_some((id, plan.footing))
    };
    Ok(layouts.iter().filter_map(footing).collect())
}

/// How a relation that policies read can be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Following {
    /// A publication of the stream has it.
    Published,
    /// It is to be added to [`PUBLICATION`]: by this statement.
    ToBeAdded(String),
    /// It cannot be followed, for this reason.
    Hindered(String),
}

/// How each relation that policies read can be followed, without doing anything about it. `publications` are those of
/// the stream but for [`PUBLICATION`].
///
/// # Errors
/// When the session fails.
pub async fn followings(
    client: &Client,
    catalog: &Catalog,
    publications: &[String],
) -> Result<HashMap<RelationId, Following>, tokio_postgres::Error> {
    let ids: Vec<u32> = catalog.needed.keys().map(|id| id.0).collect();
    let surveys = survey::survey(client, &ids, publications, PUBLICATION).await?;
    let surveys: HashMap<RelationId, _> = surveys.into_iter().map(|survey| (survey.id, survey)).collect();
    let following = |(id, needed): (&RelationId, &Arc<Needed>)| {
        let plan = match (&needed.hindrance, surveys.get(id)) {
            (Some(hindrance), _) => Err(hindrance.to_string()),
            (None, None) => Err("it does not exist any more".to_owned()),
            (None, Some(survey)) => survey.plan(needed, PUBLICATION),
        };
        let following = match plan {
            Err(why) => Following::Hindered(why),
            Ok(plan) if plan.add => Following::ToBeAdded(survey::add_statement(needed, PUBLICATION)),
            Ok(_) => Following::Published,
        };
        (*id, following)
    };
    Ok(catalog.needed.iter().map(following).collect())
}

//! The feed's part in the mirror: what commits is taken in before it is decided, in commit order.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::Client;

use super::stream::Interruption;
use super::{Feed, Report};
use crate::change::{RelationId, Transaction};
use crate::hub::Sink;
use crate::hub::catalogs::CATALOG_WITHIN;
use crate::hub::mirror::{Footing, Load, News, PUBLICATION, Scope, Wanted, footings, keep};
use crate::policy::Catalog;
use crate::policy::catalog::Needed;
use crate::policy::mirror::{Layout, Mirror, Unusable};
use crate::postgres::rows::{rows_of, table_name};
use crate::wal::Lsn;

/// The mirror of one stream.
#[derive(Default)]
pub(super) struct Mirroring {
    /// Counts the streams, so that news of an earlier one are known as such.
    stream: u64,
    wanted: watch::Sender<Wanted>,
    keeper: Option<AbortHandle>,
    /// What each loaded table stands on.
    footings: HashMap<RelationId, Footing>,
}

/// News, and of which stream they are.
pub(in crate::hub) struct StreamNews(u64, News);

impl<S: Sink> Feed<S> {
    /// Begins with an empty mirror, as a stream has been opened.
    pub(super) fn begin_mirror(&mut self) {
        self.end_mirror();
        self.mirroring.stream += 1;
        self.links.engine.write().mirror = Mirror::new(self.config.mirror_bytes_max);
        // Without our own publication in the stream nothing can be added to it.
        if !self.config.stream.publications.iter().any(|name| name == PUBLICATION) {
            return;
        }
        let scope = Scope {
            publications: self.other_publications(),
            poll: self.config.catalog_poll,
            bytes_max: self.config.mirror_bytes_max,
        };
        let stream = self.mirroring.stream;
        let wrap = move |news| Report::Mirror(Box::new(StreamNews(stream, news)));
        let (wanted, receiver) = watch::channel(Wanted::default());
        self.mirroring.wanted = wanted;
        let keeper = keep(Rc::clone(&self.catalogs), scope, receiver, self.report.clone(), wrap);
        self.mirroring.keeper = Some(self.tasks.spawn_local(keeper));
    }

    /// The publications of the stream but for [`PUBLICATION`].
    fn other_publications(&self) -> Vec<String> {
        let own = self.config.stream.own_publication.as_ref().map(|own| own.name.to_owned());
        let publications = self.config.stream.publications.iter().filter(|name| *name != PUBLICATION);
        publications.cloned().chain(own).collect()
    }

    /// Gives up what is not followed any more as it was when it was loaded, since the catalog has changed: a table that
    /// was written anew, or is published no longer, or has been taken out of a publication for a time. The stream has
    /// no word of what became of its rows.
    pub(super) async fn mirror_surveyed(&mut self, catalog: &Catalog) -> Result<(), Interruption> {
        let layouts: Vec<(Arc<Layout>, Arc<Needed>)> = {
            let knowledge = self.links.engine.read();
            let mirror = &knowledge.mirror;
            let both = |id| Some((Arc::clone(mirror.layout(id)?), Arc::clone(catalog.needed.get(&id)?)));
            mirror.ids().filter_map(both).collect()
        };
        if layouts.is_empty() {
            return Ok(());
        }
        let mut found = self.followed(&layouts).await?;
        for id in layouts.iter().map(|(layout, _)| layout.table().id) {
            // What is being loaded is looked at when it has been.
            if let Some(footing) = self.mirroring.footings.get(&id)
                && found.remove(&id).as_ref() != Some(footing)
            {
                self.links.engine.write().mirror.give_up(id, Unusable::Rewritten);
            }
        }
        self.mirror_losses();
        Ok(())
    }

    /// What tables stand on now, but for those that cannot be followed as they were loaded.
    async fn followed(
        &self,
        layouts: &[(Arc<Layout>, Arc<Needed>)],
    ) -> Result<HashMap<RelationId, Footing>, Interruption> {
        let (catalogs, publications) = (Rc::clone(&self.catalogs), self.other_publications());
        let look = async {
            let client = catalogs.client().await;
            let found = tokio::time::timeout(CATALOG_WITHIN, footings(&client, layouts, &publications)).await;
            if found.is_err() {
                catalogs.give_up(&client).await;
            }
            found.ok().and_then(Result::ok)
        };
        // What cannot be found out counts as another.
        Ok(self.needed(look).await?.unwrap_or_default())
    }

    /// Shows nothing any more, as the stream has ended.
    pub(super) fn end_mirror(&mut self) {
        if let Some(keeper) = self.mirroring.keeper.take() {
            keeper.abort();
        }
        self.mirroring.footings.clear();
        let mut knowledge = self.links.engine.write();
        knowledge.is_current = false;
        knowledge.mirror.clear();
        drop(knowledge);
        self.count_mirror();
    }

    /// Shows the catalog that is in use from now on, and has what its programs need mirrored.
    pub(super) fn publish_catalog(&mut self) {
        let catalog = Arc::clone(&self.catalog);
        let mut knowledge = self.links.engine.write();
        let mirror = &mut knowledge.mirror;
        let mut removed = Vec::new();
        for id in mirror.ids().collect::<Vec<_>>() {
            let stays = |needed: &Arc<_>| {
                mirror.covers(needed, &catalog.types) || mirror.unusable().any(|(unusable, _)| unusable == id)
            };
            if !catalog.needed.get(&id).is_some_and(stays) {
                mirror.remove(id);
                removed.push(id);
            }
        }
        knowledge.catalog = Arc::clone(&catalog);
        knowledge.is_current = self.source.is_some();
        drop(knowledge);
        self.mirroring.footings.retain(|id, _| catalog.needed.contains_key(id));
        self.mirroring.wanted.send_modify(|wanted| {
            wanted.needed = Arc::new(catalog.needed.clone());
            wanted.types = Arc::clone(&catalog.types);
            for id in removed {
                wanted.lose(id, Unusable::Redescribed);
            }
        });
        self.count_mirror();
    }

    /// Nobody decides by the catalog until it has been compared with the database's.
    pub(super) fn doubt_catalog(&self) {
        self.links.engine.write().is_current = false;
    }

    /// Takes a transaction in, or a part of one, before it is decided.
    pub(super) fn mirror_transaction(&mut self, transaction: &Transaction) {
        let mut knowledge = self.links.engine.write();
        let Transaction { xid, commit_lsn, whole, changes, .. } = transaction;
        // Not by what the catalog needs: what is being loaded must not miss a change while it is not needed for a time.
        let touches = changes.iter().any(|change| knowledge.mirror.has(change.relation.id));
        let changes = if touches { changes.as_slice() } else { &[] };
        knowledge.mirror.take(*xid, *commit_lsn, *whole, changes);
        drop(knowledge);
        if touches {
            self.mirror_losses();
            self.count_mirror();
        }
    }

    /// Nothing is to come before this position.
    pub(super) fn mirror_caught_up(&self, position: Lsn) {
        self.links.engine.write().mirror.caught_up(position);
    }

    /// A mirrored table was described anew, by a transaction that is visible now: if it was written anew as a whole,
    /// the log has no word of its rows.
    pub(super) async fn mirror_described(&mut self, id: RelationId) -> Result<(), Interruption> {
        // What is being loaded is looked at when it has been.
        let Some(known) = self.mirroring.footings.get(&id).map(|footing| footing.filenode) else {
            return Ok(());
        };
        let catalogs = Rc::clone(&self.catalogs);
        let look = async {
            let client = catalogs.client().await;
            let filenode = tokio::time::timeout(CATALOG_WITHIN, filenode(&client, id)).await;
            if filenode.is_err() {
                catalogs.give_up(&client).await;
            }
            filenode.ok().flatten()
        };
        // What cannot be found out counts as another.
        let found = self.needed(look).await?;
        if found != Some(known) {
            self.mirroring.footings.remove(&id);
            self.links.engine.write().mirror.give_up(id, Unusable::Rewritten);
            self.mirror_losses();
            self.count_mirror();
        }
        Ok(())
    }

    pub(super) async fn mirror_news(&mut self, news: StreamNews) -> Result<(), Interruption> {
        let StreamNews(stream, news) = news;
        if stream != self.mirroring.stream || self.source.is_none() {
            return Ok(());
        }
        match news {
            News::Expect(layout, told) => {
                let id = layout.table().id;
                // Made by a catalog that has been replaced since, its columns may stand in other places.
                let needed = self.catalog.needed.get(&id);
                if !needed.is_some_and(|needed| layout.covers(needed, &self.catalog.types)) {
                    return Ok(());
                }
                self.mirroring.footings.remove(&id);
                self.links.engine.write().mirror.expect(layout);
                let _ = told.send(self.mirroring.wanted.borrow().lost_count(id));
            }
            News::Loaded(load) => {
                let Load { rows, snapshot, from, footing } = *load;
                let id = rows.layout().table().id;
                self.config.counters.mirror.loads.add(1);
                // What became of it since was not looked at.
                let needed = self.catalog.needed.get(&id).map(Arc::clone);
                let now = match needed {
                    Some(needed) => Some(self.followed(&[(Arc::clone(rows.layout()), needed)]).await?),
                    None => None,
                };
                let installed =
                    self.links.engine.write().mirror.install(rows, move |xid| snapshot.sees(xid), from);
                if now.is_some_and(|now| now.get(&id) != Some(&footing)) {
                    self.links.engine.write().mirror.give_up(id, Unusable::Rewritten);
                } else if installed.is_ok() {
                    self.mirroring.footings.insert(id, footing);
                    self.rechecks.loaded(id);
                }
            }
            News::Hindered(id, why) => {
                let mut knowledge = self.links.engine.write();
                knowledge.mirror.give_up(id, Unusable::Hindered(why));
                // The keeper knows, and has said so.
                let others = knowledge.mirror.take_lost();
                drop(knowledge);
                self.note_losses(others.into_iter().filter(|(lost, _)| *lost != id).collect());
            }
        }
        self.mirror_losses();
        self.count_mirror();
        Ok(())
    }

    /// Has relations loaded again that were given up.
    fn mirror_losses(&mut self) {
        let lost = self.links.engine.write().mirror.take_lost();
        self.note_losses(lost);
    }

    fn note_losses(&mut self, lost: Vec<(RelationId, Unusable)>) {
        for (id, why) in lost {
            let table = self.catalog.needed.get(&id).map(|needed| table_name(&needed.table));
            tracing::warn!(
                table,
                reason = %why,
                "a table that policies read has to be loaded again: they are asked until then"
            );
            self.config.counters.mirror.losses.add(1);
            self.mirroring.footings.remove(&id);
            self.mirroring.wanted.send_modify(|wanted| wanted.lose(id, why));
        }
    }

    fn count_mirror(&self) {
        let census = self.links.engine.read().mirror.census();
        self.config.counters.mirror.count(&census);
    }
}

/// The file that a table is in.
async fn filenode(client: &Client, id: RelationId) -> Option<u32> {
    let query = format!("select pg_catalog.pg_relation_filenode({})", id.0);
    let messages = client.simple_query(&query).await.ok()?;
    rows_of(&messages).next()?.get(0)?.parse().ok()
}

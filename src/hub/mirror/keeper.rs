//! One stream's keeper: a task that looks at the wanted relations, again and again, and loads those that are not there.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::load::{self, Loaded};
use super::survey::{Plan, Survey, add_statement, survey};
use super::{Load, News, PUBLICATION, Wanted};
use crate::change::RelationId;
use crate::hub::catalogs::{CATALOG_WITHIN, Catalogs, chain};
use crate::policy::catalog::Needed;
use crate::policy::mirror::{Layout, Unusable};
use crate::postgres::rows::table_name;
use crate::wal::sql::identifier;
use crate::wal::stream::Backoff;

/// The first pause after a load that failed, or a relation that was given up; later ones double up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// The pause after a relation was too large: it will hardly have shrunk sooner.
const RETRY_TOO_LARGE: Duration = Duration::from_secs(300);

/// As many failures as have the longest pause follow: for what will hardly mend itself.
const FAILURES_LASTING: u32 = 8;

/// How long a relation must have lasted for its pauses to begin anew.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// What a lock on a table is waited for. Whoever waits for one has others wait behind.
const SESSION: &str =
    "set statement_timeout = 0; set lock_timeout = '2s'; set row_security = off; set search_path = ''";

/// The lock that every server holds shared whose mirror is of this database; a table is taken out of the publication
/// under the exclusive one alone, as other servers may need it.
const LOCK: &str = "pg_catalog.hashtext('rowcast'), pg_catalog.hashtext('mirror')";

/// Keeps the mirror of one stream, until it is aborted.
pub(in crate::hub) async fn keep<T>(
    catalogs: Rc<Catalogs>,
    scope: Scope,
    mut wanted: watch::Receiver<Wanted>,
    news: mpsc::Sender<T>,
    wrap: impl Fn(News) -> T,
) {
    let mut keeper = Keeper {
        scope,
        news: async |item| {
            let _ = news.send(wrap(item)).await;
        },
        known: HashMap::new(),
        said: HashMap::new(),
    };
    let mut backoff = Backoff::new();
    loop {
        // Nothing is wanted of most databases: they get no session.
        if wanted.borrow().needed.is_empty() && keeper.known.is_empty() {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        let session = async {
            let client =
                Box::pin(catalogs.open_session("rowcast_mirror")).await.map_err(|error| chain(&error))?;
            let lock = format!("{SESSION}; select pg_catalog.pg_advisory_lock_shared({LOCK})");
            in_time(client.batch_execute(&lock)).await?;
            loop {
                let current = wanted.borrow_and_update().clone();
                keeper.turn(&client, &current).await?;
                backoff = Backoff::new();
                let pause = keeper.pause();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    changed = wanted.changed() => if changed.is_err() { return Ok::<(), String>(()) },
                }
            }
        };
        match session.await {
            Ok(()) => return,
            Err(error) => tracing::warn!(error, "the mirror of tables that policies read is not kept up now"),
        }
        tokio::time::sleep(backoff.pause(rand::random())).await;
    }
}

/// Which publications there are, how often to look, and how large the mirror may be.
#[derive(Clone, Debug)]
pub(in crate::hub) struct Scope {
    /// The publications of the stream but for [`PUBLICATION`].
    pub(in crate::hub) publications: Vec<String>,
    /// How often to look.
    pub(in crate::hub) poll: Duration,
    /// How many bytes all relations may have.
    pub(in crate::hub) bytes_max: usize,
}

struct Keeper<N> {
    scope: Scope,
    news: N,
    known: HashMap<RelationId, Known>,
    /// What was said of relations that cannot be had.
    said: HashMap<RelationId, String>,
}

/// A relation that was loaded, or was to be.
struct Known {
    layout: Arc<Layout>,
    plan: Plan,
    /// How often it had been given up when its load began.
    lost_count: u64,
    is_loaded: bool,
    failures: u32,
    at: Instant,
}

impl Known {
    /// Whether it is what is wanted.
    fn is_current(&self, needed: &Needed, plan: &Plan, wanted: &Wanted) -> bool {
        self.is_loaded
            && !plan.add
            && self.plan.identity == plan.identity
            && self.plan.footing == plan.footing
            && self.lost_count == wanted.lost_count(needed.table.id)
            && self.layout.covers(needed, &wanted.types)
    }

    /// When it may be loaded again.
    fn again_at(&self, wanted: &Wanted) -> Instant {
        let id = self.layout.table().id;
        if let Some((_, Unusable::TooLarge)) = wanted.lost.get(&id) {
            return self.at + RETRY_TOO_LARGE;
        }
        match self.failures {
            0 => self.at,
            failures => self.at + RETRY_FIRST.saturating_mul(1 << (failures - 1).min(16)).min(RETRY_LAST),
        }
    }
}

impl Wanted {
    /// How often a relation was given up.
    pub(in crate::hub) fn lost_count(&self, id: RelationId) -> u64 {
        self.lost.get(&id).map_or(0, |(count, _)| *count)
    }
}

impl<N: AsyncFn(News)> Keeper<N> {
    /// Looks once at everything. `Err` when the session is of no more use.
    async fn turn(&mut self, client: &Client, wanted: &Wanted) -> Result<(), String> {
        self.known.retain(|id, _| wanted.needed.contains_key(id));
        self.said.retain(|id, _| wanted.needed.contains_key(id));
        let ids: Vec<u32> = wanted.needed.keys().map(|id| id.0).collect();
        let surveys = in_time(survey(client, &ids, &self.scope.publications, PUBLICATION)).await?;
        let surveys: HashMap<RelationId, Survey> =
            surveys.into_iter().map(|survey| (survey.id, survey)).collect();
        // First of all: the application's own statements may fail for it, or the stream.
        for (id, survey) in &surveys {
            if let Some(needed) = wanted.needed.get(id)
                && survey.must_leave(needed, PUBLICATION)
            {
                leave(client, &table_name(&needed.table)).await?;
            }
        }
        for (id, needed) in wanted.needed.iter() {
            let plan = match (&needed.hindrance, surveys.get(id)) {
                (Some(hindrance), _) => Err(hindrance.to_string()),
                (None, None) => Err("it does not exist any more".to_owned()),
                (None, Some(survey)) => survey.plan(needed, PUBLICATION),
            };
            match plan {
                Err(hindrance) if self.said.get(id) == Some(&hindrance) => {}
                Err(hindrance) => self.hinder(needed, hindrance).await,
                Ok(plan)
                    if self.known.get(id).is_some_and(|known| known.is_current(needed, &plan, wanted)) => {}
                Ok(plan) => {
                    // What somebody has added or taken out in the meantime waits for nothing.
                    let known = self.known.get(id).filter(|known| known.plan.add == plan.add);
                    let again_at = known.map(|known| known.again_at(wanted));
                    if again_at.is_none_or(|at| at <= Instant::now()) {
                        self.load(client, wanted, needed, plan).await?;
                    }
                }
            }
        }
        withdraw(client, &ids).await
    }

    /// How long to wait before the next look.
    fn pause(&self) -> Duration {
        let is_incomplete = self.known.values().any(|known| !known.is_loaded);
        if is_incomplete { self.scope.poll.min(RETRY_FIRST) } else { self.scope.poll }
    }

    /// Says that a relation cannot be had; to the log once.
    async fn hinder(&mut self, needed: &Needed, why: String) {
        let id = needed.table.id;
        self.known.remove(&id);
        if self.said.get(&id) != Some(&why) {
            let table = table_name(&needed.table);
            tracing::warn!(
                table,
                reason = why,
                "a table that policies read cannot be mirrored: they are asked"
            );
        }
        (self.news)(News::Hindered(id, why.as_str().into())).await;
        self.said.insert(id, why);
    }

    async fn load(
        &mut self,
        client: &Client,
        wanted: &Wanted,
        needed: &Arc<Needed>,
        plan: Plan,
    ) -> Result<(), String> {
        let id = needed.table.id;
        let layout = match Layout::new(needed, plan.identity.clone(), &wanted.types) {
            Ok(layout) => Arc::new(layout),
            Err(why) => {
                self.hinder(needed, why.to_string()).await;
                return Ok(());
            }
        };
        let failures = match self.known.get(&id) {
            // What had lasted is loaded again at once.
            Some(known) if known.is_loaded && known.at.elapsed() >= STABLE_AFTER => 0,
            Some(known) => known.failures + 1,
            None => 0,
        };
        let (told, kept) = oneshot::channel();
        (self.news)(News::Expect(Arc::clone(&layout), told)).await;
        // As of then: what is wanted may have changed since it was looked at.
        let Ok(lost_count) = kept.await else {
            // It is not wanted any more, or not so; what is wanted now is looked at next.
            return Ok(());
        };
        let began = Instant::now();
        let mut known = Known {
            layout: Arc::clone(&layout),
            plan: plan.clone(),
            lost_count,
            is_loaded: false,
            failures,
            at: began,
        };
        let table = table_name(&needed.table);
        if plan.add
            && let Err(error) = in_time_of(client.batch_execute(&add_statement(needed, PUBLICATION))).await?
        {
            if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
                let add = add_statement(needed, PUBLICATION);
                self.hinder(needed, format!("it is not published, and is another role's: {add}")).await;
                known.failures = known.failures.max(FAILURES_LASTING);
                self.known.insert(id, known);
                return Ok(());
            }
            if error.code() != Some(&SqlState::DUPLICATE_OBJECT) {
                return self.failed(known, &table, chain(&error), client).await;
            }
        }
        if plan.add {
            // With the publication that it has now.
            let surveys = in_time(survey(client, &[id.0], &self.scope.publications, PUBLICATION)).await?;
            let Some(Ok(now)) = surveys.first().map(|survey| survey.plan(needed, PUBLICATION)) else {
                return self.failed(known, &table, "it was changed meanwhile".to_owned(), client).await;
            };
            known.plan = now;
        }
        if known.plan.add || known.plan.identity != plan.identity {
            return self.failed(known, &table, "it was changed meanwhile".to_owned(), client).await;
        }
        match load::in_stream(client, &layout, self.scope.bytes_max).await {
            Ok(Loaded { rows, snapshot, from, filenode }) => {
                self.said.remove(&id);
                known.is_loaded = true;
                known.at = Instant::now();
                known.plan.footing.filenode = filenode;
                let footing = known.plan.footing.clone();
                self.known.insert(id, known);
                let (row_count, bytes) = (rows.row_count(), rows.bytes());
                let elapsed_ms = began.elapsed().as_millis();
                tracing::info!(
                    table,
                    rows = row_count,
                    bytes,
                    elapsed_ms,
                    "a table that policies read was loaded"
                );
                (self.news)(News::Loaded(Box::new(Load { rows, snapshot, from, footing }))).await;
                Ok(())
            }
            Err(load::Error::Unusable(why)) => {
                let _ = client.batch_execute("rollback").await;
                self.hinder(needed, why.to_string()).await;
                // It may be another time.
                known.failures = known.failures.max(FAILURES_LASTING);
                self.known.insert(id, known);
                Ok(())
            }
            Err(error) => {
                let _ = client.batch_execute("rollback").await;
                match error.hindrance(&table) {
                    Some(hindrance) => {
                        self.hinder(needed, hindrance).await;
                        known.failures = known.failures.max(FAILURES_LASTING);
                        self.known.insert(id, known);
                        Ok(())
                    }
                    None => self.failed(known, &table, chain(&error), client).await,
                }
            }
        }
    }

    async fn failed(
        &mut self,
        known: Known,
        table: &str,
        error: String,
        client: &Client,
    ) -> Result<(), String> {
        tracing::warn!(table, error, "a table that policies read could not be loaded: it is tried again");
        let id = known.layout.table().id;
        // What is kept for it would only grow.
        (self.news)(News::Hindered(id, "it could not be loaded; it is tried again".into())).await;
        self.known.insert(id, Known { failures: known.failures.max(1), ..known });
        if client.is_closed() { Err("the session was lost".to_owned()) } else { Ok(()) }
    }
}

/// Takes tables out of our own publication that nobody needs, unless another server may.
async fn withdraw(client: &Client, needed: &[u32]) -> Result<(), String> {
    const UNNEEDED: &str = "
        select pg_catalog.format('%I.%I', n.nspname, c.relname)
          from pg_catalog.pg_publication p
          join pg_catalog.pg_publication_rel r on r.prpubid = p.oid
          join pg_catalog.pg_class c on c.oid = r.prrelid
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where p.pubname = $1 and c.oid <> all ($2) and pg_catalog.pg_has_role(p.pubowner, 'USAGE')";
    let rows = in_time(client.query(UNNEEDED, &[&PUBLICATION, &needed])).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let lock = format!("select pg_catalog.pg_try_advisory_lock({LOCK})");
    let taken = in_time(client.query_one(&lock, &[])).await?;
    if !taken.try_get::<_, bool>(0).unwrap_or(false) {
        return Ok(());
    }
    for row in rows {
        let table: String = row.try_get(0).map_err(|error| chain(&error))?;
        leave(client, &table).await?;
    }
    let unlock = format!("select pg_catalog.pg_advisory_unlock({LOCK})");
    in_time(client.batch_execute(&unlock)).await
}

/// Takes a table out of our own publication.
async fn leave(client: &Client, table: &str) -> Result<(), String> {
    let drop = format!("alter publication {} drop table only {table}", identifier(PUBLICATION));
    match in_time_of(client.batch_execute(&drop)).await? {
        Ok(()) => tracing::info!(table, "a table is followed no longer: no policy reads it, or it cannot be"),
        Err(error) => {
            let error = chain(&error);
            tracing::debug!(table, error, "a table could not be taken out of our publication");
        }
    }
    Ok(())
}

/// The outer error is that there was no answer.
async fn in_time_of<T>(
    query: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<Result<T, tokio_postgres::Error>, String> {
    let answer = tokio::time::timeout(CATALOG_WITHIN, query).await;
    answer.map_err(|_| format!("no answer within {} seconds", CATALOG_WITHIN.as_secs()))
}

async fn in_time<T>(query: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, String> {
    in_time_of(query).await?.map_err(|error| chain(&error))
}

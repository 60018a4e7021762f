//! The feed's stream: opened, read, given up and opened anew; and what it needs of Postgres besides.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::change::{Assembler, RelationId, assemble};
use crate::policy::Catalog;
use crate::telemetry::code::Code;
use crate::telemetry::report::report;
use crate::wal::slot::Continuity;
use crate::wal::stream::{Backoff, Error as StreamError, Opening, Received};
use crate::wal::{Lsn, PgWireSource, WalSource, pgoutput};

use super::counters::Stage;
use super::lag::watch_lag;
use super::{Config, Feed, NEEDED_WITHIN, Report};
use crate::hub::catalogs::{CATALOG_WITHIN, Catalogs, chain};
use crate::hub::{ShardCommand, Sink};

/// How many messages are taken from the stream before commands and answers get their turn.
const MESSAGES_PER_TURN: usize = 512;

/// How long a stream must have lived to be opened anew at once when it breaks. One that breaks again and again, on a
/// message that it cannot get past for instance, is opened with growing pauses.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// How long a new stream waits for those to be subscribed who were here before it.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(5);

impl<S: Sink> Feed<S> {
    /// Opens a stream in the background after a pause, however long it takes.
    pub(super) fn open_stream(&mut self, pause: Duration) {
        let (config, catalogs) = (Rc::clone(&self.config), Rc::clone(&self.catalogs));
        let (report, health, opening) =
            (self.report.clone(), self.links.health.clone(), self.opening.clone());
        self.tasks.spawn_local(async move {
            tokio::time::sleep(pause).await;
            let mut backoff = Backoff::new();
            loop {
                match open(&config, &catalogs, &opening).await {
                    Ok((source, catalog)) => {
                        let _ = report.send(Report::Opened(Box::new(source), catalog)).await;
                        return;
                    }
                    Err(error) => {
                        let remedy = error.remedy().unwrap_or("waiting for Postgres");
                        let chain = chain(&error);
                        report!(
                            warn,
                            error.code(),
                            error = chain,
                            remedy,
                            "replication stream could not be opened"
                        );
                        health.set_down(format!("{}: {remedy}", error.summary()));
                    }
                }
                tokio::time::sleep(backoff.pause(rand::random())).await;
            }
        });
    }

    pub(super) async fn opened(
        &mut self,
        source: Box<PgWireSource>,
        catalog: Arc<Catalog>,
    ) -> Result<(), Interruption> {
        self.assembler = Assembler::new(self.config.transaction_bytes_max);
        let is_known = self.opening.previous.as_ref().is_none_or(|previous| previous == source.history());
        let shared = match source.continuity() {
            Continuity::Unbroken { shared } => {
                self.progress.resumed(shared);
                shared
            }
            Continuity::Fresh => {
                self.progress.restarted();
                Lsn::ZERO
            }
        };
        if !is_known {
            self.links.commits.clear();
            self.announcements.forked();
            self.out.forked(shared);
        }
        self.opening.make_publications = false;
        self.opening.skip_undecodable = false;
        self.opening.previous = Some(source.history().clone());
        self.opened_at = Instant::now();
        let counters = Arc::clone(&self.config.counters);
        counters.begin_again();
        let engine = Arc::clone(&self.links.engine);
        engine.set_late(false);
        let watch = watch_lag(Rc::clone(&self.catalogs), counters, engine, source.slot_name().to_owned());
        self.lag_watch = Some(self.tasks.spawn_local(watch));
        self.source = Some(source);
        self.begin_mirror();
        self.adopt(catalog).await?;
        self.publish_catalog();
        // Whoever waits for health finds the stream counted.
        self.config.counters.streams.add(1);
        self.links.health.set_live();
        self.out.live(true);
        tracing::info!(tables = self.catalog.tables.len(), "replication stream is live");
        self.subscribe_all();
        self.awaited_until = Instant::now() + SUBSCRIBE_WITHIN;
        Ok(())
    }

    pub(super) fn interrupted(&mut self, error: &Interruption) {
        self.source = None;
        self.end_mirror();
        self.end_shadow();
        if let Some(watch) = self.lag_watch.take() {
            watch.abort();
        }
        self.config.counters.interruptions.add(1);
        self.out.live(false);
        self.awaited.clear();
        self.joining.clear();
        self.announcements.interrupted();
        self.progress.interrupted();
        match error {
            Interruption::Stream(StreamError::Silent(_)) => self.opening.patience += 1,
            Interruption::Stream(error) if error.is_publication_missing() => {
                self.opening.skip_undecodable = true;
            }
            _ => {}
        }
        let remedy = error.remedy().unwrap_or("reconnecting");
        let chain = chain(error);
        report!(
            warn,
            Code::ReplicationConnectionDown,
            error = chain,
            remedy,
            "replication stream was interrupted"
        );
        self.links.health.set_down(format!("{}: {remedy}", error.summary()));
        self.unsubscribe_all();
        if self.opened_at.elapsed() >= STABLE_AFTER {
            self.reopening = Backoff::new();
            self.open_stream(Duration::ZERO);
        } else {
            let pause = self.reopening.pause(rand::random());
            self.open_stream(pause);
        }
    }

    /// Waits for what the stream cannot go on without, as long as the stream itself lives and
    /// [`NEEDED_WITHIN`] has not passed.
    pub(super) async fn needed<T>(&self, work: impl Future<Output = T>) -> Result<T, Interruption> {
        let Some(source) = &self.source else { return Err(StreamError::Closed.into()) };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = source.ended() => Err(StreamError::Closed.into()),
            () = self.catalogs.shutting_down() => Err(Interruption::ShuttingDown),
            () = tokio::time::sleep(NEEDED_WITHIN) => Err(Interruption::Unanswered),
        }
    }

    /// Handles one message and what else has arrived already, up to a turn's worth.
    pub(super) async fn receive(&mut self, first: Result<Received, StreamError>) {
        let mut received = first;
        self.links.engine.busy();
        for handled in 1.. {
            if let Err(error) = self.handle(received).await {
                self.interrupted(&error);
                return;
            }
            if handled == MESSAGES_PER_TURN
                || self.config.counters.meters.db_events.is_reached()
                || self.lanes.entry_count() >= self.config.waiting_max
            {
                return;
            }
            match self.source.as_mut().and_then(|source| source.recv().now_or_never()) {
                Some(next) => received = next,
                None => return,
            }
        }
    }

    pub(super) async fn handle(
        &mut self,
        received: Result<Received, StreamError>,
    ) -> Result<(), Interruption> {
        match received? {
            Received::Message { message, bytes } => self.message(message, bytes).await,
            Received::Keepalive { wal_end } => {
                // An idle database next to a busy one would hold log back for ever.
                if !self.assembler.is_open() {
                    self.progress.caught_up(wal_end);
                    self.mirror_caught_up(wal_end);
                    self.recheck_loaded().await;
                    self.shadow_passed(wal_end, None);
                    self.config.counters.reached(Stage::FannedOut, wal_end);
                }
                Ok(())
            }
        }
    }

    pub(super) async fn message(
        &mut self,
        message: pgoutput::Message,
        bytes: usize,
    ) -> Result<(), Interruption> {
        // A table is described again after anything that concerns it has changed, rights included.
        let described = match &message {
            pgoutput::Message::Relation(relation) if !self.is_for_broadcasts_alone(relation) => {
                Some(RelationId(relation.id))
            }
            _ => None,
        };
        let transaction = self.assembler.push(message, bytes)?;
        if let Some(id) = described {
            self.doubt_catalog();
            let before = self.catalog.described(id).cloned();
            if let Some(xid) = self.assembler.open_xid() {
                // What changed the table may have been this very transaction.
                self.needed(self.catalogs.see(xid)).await?;
            }
            let catalog = self.needed(self.catalogs.read(None)).await?;
            self.adopt(catalog).await?;
            if let Some(table) = self.catalog.described(id) {
                self.assembler.identify(id, table, before.as_deref());
            }
            self.mirror_described(id).await?;
            self.publish_catalog();
        }
        match transaction {
            Some(transaction) => {
                if transaction.schema_changed || !transaction.whole {
                    // It is decided by what holds once it has committed, and so is what comes after it. What a later
                    // part of it announces is not known yet.
                    let catalog = self.needed(self.catalogs.read_seeing(transaction.xid)).await?;
                    self.adopt(catalog).await?;
                }
                self.transaction(transaction).await
            }
            None => Ok(()),
        }
    }

    /// Hands everything collected to the shards.
    pub(super) async fn hand_over(&mut self) {
        let counters = &self.config.counters;
        counters.collect(&self.out.take_tally());
        counters.waiting.set_length(self.lanes.entry_count());
        counters.subscribers.set_length(self.channels.len());
        for (shard, event) in self.out.take() {
            if let Some(shard) = self.links.broadcaster.shards().get(usize::from(shard)) {
                shard.send(ShardCommand::Feed(event)).await;
            }
        }
    }

    /// Hands everything collected to the shards, then lets Postgres forget what is complete.
    pub(super) async fn flush(&mut self) {
        self.hand_over().await;
        if let Some(source) = &self.source {
            self.config.counters.reached(Stage::Received, source.received());
        }
        if let Some(lsn) = self.progress.take_done()
            && let Some(source) = &self.source
        {
            source.acknowledge(lsn);
            self.config.counters.reached(Stage::Acknowledged, lsn);
        }
    }
}

async fn open(
    config: &Config,
    catalogs: &Catalogs,
    opening: &Opening,
) -> Result<(PgWireSource, Arc<Catalog>), Interruption> {
    let source = PgWireSource::open(&config.stream, opening).await?;
    tokio::select! {
        biased;
        catalog = catalogs.read(None) => Ok((source, catalog)),
        () = source.ended() => Err(StreamError::Closed.into()),
        () = catalogs.shutting_down() => Err(Interruption::ShuttingDown),
        () = tokio::time::sleep(NEEDED_WITHIN) => Err(Interruption::Unanswered),
    }
}

/// Why the stream has to be opened anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("replication stream is inconsistent")]
    Inconsistent(#[from] assemble::Error),
    #[error("Postgres has not answered for {} seconds what the stream needs to know", NEEDED_WITHIN.as_secs())]
    Unanswered,
    #[error("Postgres is shutting down")]
    ShuttingDown,
}

impl Interruption {
    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Stream(error) => error.remedy(),
            Self::Inconsistent(_) | Self::ShuttingDown => None,
            Self::Unanswered => Some("see the lines before this one, and max_connections in postgresql.conf"),
        }
    }

    /// The code of a stream that could not be opened.
    fn code(&self) -> Code {
        match self {
            Self::Stream(error) if error.is_slot_used() => Code::ReplicationSlotBeingUsed,
            _ => Code::StartReplicationFailed,
        }
    }

    /// What anybody may read, without names and addresses.
    fn summary(&self) -> String {
        match self {
            Self::Stream(error) => error.summary().to_owned(),
            Self::Inconsistent(_) | Self::Unanswered | Self::ShuttingDown => self.to_string(),
        }
    }
}

/// Reads the catalog when it has changed. One that has not been compared for [`NEEDED_WITHIN`] may let somebody see
/// what is no longer theirs, so it is reported as lost.
pub(super) async fn watch_catalog(catalogs: Rc<Catalogs>, poll: Duration, report: mpsc::Sender<Report>) {
    let mut compared = Instant::now();
    let mut backoff = Backoff::new();
    loop {
        tokio::time::sleep(poll).await;
        let began = Instant::now();
        let (news, pause) = match catalogs.read_if_changed().await {
            Ok(catalog) => {
                compared = Instant::now();
                backoff = Backoff::new();
                (catalog.map(Report::CatalogChanged), Duration::ZERO)
            }
            Err(error) => {
                report!(
                    warn,
                    Code::CheckOidsError,
                    error = chain(&error),
                    remedy = error.remedy(),
                    "catalog could not be compared"
                );
                let is_lost = compared.elapsed() >= NEEDED_WITHIN;
                let shuts_down = error.is_shutting_down().then_some(Report::ShuttingDown(began));
                (shuts_down.or(is_lost.then_some(Report::CatalogLost)), backoff.pause(rand::random()))
            }
        };
        if let Some(news) = news
            && report.send(news).await.is_err()
        {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Adds its table to the server's own publication once that has been made. What cannot be done now is tried again; the
/// log has it from the opening of the stream.
pub(super) async fn keep_publication(catalogs: Rc<Catalogs>, statement: String, poll: Duration) {
    loop {
        tokio::time::sleep(poll).await;
        let client = catalogs.client().await;
        match tokio::time::timeout(CATALOG_WITHIN, client.batch_execute(&statement)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "publication could not be made ready"),
            Err(_) => catalogs.give_up(&client).await,
        }
    }
}

//! The feed: the replication stream and every `postgres_changes` subscription of this server, on one thread.
//!
//! In: the stream's messages and the shards' [`FeedCommand`]s. Out: [`FeedEvent`]s for the shards.
//!
//! Invariants:
//! - A subscriber is told "subscribed" when every commit from then on will reach it, never before.
//! - Transactions leave in commit order; on one channel, so do all their changes.
//! - The position that Postgres may forget never passes a transaction that is not wholly handed to the shards.
//! - A change of a table is decided by a catalog at least as new as the table's shape in the stream.
//!
//! **Interruptions.** When the stream breaks, or what it needs of Postgres cannot be had, every subscriber is told
//! once, and told once again when it is live. Before a new stream is read, those who waited for it are subscribed:
//! what a durable slot has kept reaches them. Nothing that was handed over comes twice while this process lives.
//!
//! Bounds: when [`Config::waiting_max`] deliveries wait for Postgres's answers, the stream is not read until some
//! have left; Postgres keeps the log meanwhile. A full shard inbox is waited for in the same way.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet, LocalSet};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use crate::change::{Assembler, RelationId, RowChange, Transaction, assemble};
use crate::policy::{Catalog, Claims};
use crate::postgres::connect::Database;
use crate::subscription::Binding;
use crate::telemetry::health::Health;
use crate::wal::slot::Continuity;
use crate::wal::stream::{Backoff, Error as StreamError, Opening, Received};
use crate::wal::{PgWireSource, StreamConfig, WalSource, pgoutput};

use super::ask::{Batch, Outcome};
use super::asker::ask_on_demand;
use super::catalogs::{CATALOG_WITHIN, Catalogs, chain};
use super::fanout::{Aligned, Commit, Fanout, History, Outbox, Waiting};
use super::lane::Lanes;
use super::profile::{Profiles, Spec};
use super::progress::Progress;
use super::resolve::{Operands, Target, Unresolved, resolve};
use super::{ChannelRef, FeedCommand, ShardCommand, Sink, Subscribe, compute};

/// How many messages are taken from the stream before commands and answers get their turn.
const MESSAGES_PER_TURN: usize = 512;

/// How many changes of one transaction are encoded before the frames go to the shards, which write meanwhile.
const CHANGES_PER_RUN: usize = 1_000;

/// How long what the stream needs of Postgres (a catalog, a computed column) is waited for before the stream is
/// given up, with a word to its subscribers.
const NEEDED_WITHIN: Duration = Duration::from_secs(30);

/// How long a transaction waits for those who joined before it. Beyond it, a join that asks much of Postgres misses
/// what commits until its `system` message says that it is subscribed.
const ADMIT_WITHIN: Duration = Duration::from_millis(250);

/// How long a stream must have lived to be opened anew at once when it breaks. One that breaks again and again, on a
/// message that it cannot get past for instance, is opened with growing pauses.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// How long a new stream waits for those to be subscribed who were here before it.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(5);

/// How many claims one batch of questions holds at most.
const BATCH_GROUPS_MAX: usize = 64;

/// Settings of the feed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to stream from.
    pub stream: StreamConfig,
    /// The same database for ordinary SQL.
    pub database: Database,
    /// How many sessions ask Postgres who may see a change.
    pub ask_connection_count: usize,
    /// How long one statement of a question may take.
    pub ask_timeout: Duration,
    /// How often the catalog is checked for changes.
    pub catalog_poll: Duration,
    /// How many bytes of a transaction are held at once.
    pub transaction_bytes_max: usize,
    /// How many bytes of values a record may have.
    pub record_bytes_max: usize,
    /// How many deliveries may wait for answers.
    pub waiting_max: usize,
}

/// Runs the feed until `commands` closes; `shards` stand in the order of their numbers.
pub async fn run<S: Sink>(
    config: Config,
    shards: Vec<S>,
    commands: mpsc::Receiver<FeedCommand>,
    health: Health,
) {
    run_until(config, shards, commands, health, std::future::pending()).await;
}

/// As [`run`]; ends in order once `stop` resolves: what was read is handed over and acknowledged, no more is read.
///
/// # Panics
///
/// If one of its tasks does: without it, subscribers would wait for ever.
pub async fn run_until<S: Sink>(
    config: Config,
    shards: Vec<S>,
    commands: mpsc::Receiver<FeedCommand>,
    health: Health,
    stop: impl Future<Output = ()>,
) {
    let feed = async { Feed::new(config, shards, commands, health).run(stop).await };
    LocalSet::new().run_until(feed).await;
}

/// What the feed's background tasks report.
pub(super) enum Report {
    /// A stream is open, on a catalog read after it opened.
    Opened(Box<PgWireSource>, Arc<Catalog>),
    /// A channel's bindings have been resolved.
    Resolved(Box<Resolved>),
    /// A batch of questions was answered by this asker.
    Answered(usize, Vec<Outcome>),
    /// The catalog has changed.
    CatalogChanged(Arc<Catalog>),
    /// It is not known any more whether the catalog has changed.
    CatalogLost,
    /// Postgres lets nobody in, as an attempt found that began then: it shuts down.
    ShuttingDown(Instant),
}

pub(super) struct Resolved {
    channel: ChannelRef,
    attempt: u64,
    spec: Arc<Spec>,
    claims: Arc<Claims>,
    catalog_version: u64,
    targets: Result<Vec<Target>, Arc<str>>,
}

/// A channel that has subscribed, from its join to its close.
struct Channel {
    /// What it asked for; nothing if that cannot be understood, as it has been told.
    spec: Option<Arc<Spec>>,
    claims: Arc<Claims>,
    stage: Stage,
    /// Tells the latest resolution from those it replaced.
    attempt: u64,
    /// Whether the last word to it was that it is subscribed.
    subscribed: bool,
}

/// How far a channel's bindings are resolved, under its present claims.
enum Stage {
    /// There is no stream, or deliveries under its old claims come first.
    Waiting,
    /// A task is at it.
    Resolving(AbortHandle),
    /// They are, or have been refused.
    Resolved,
}

struct Feed<S> {
    config: Rc<Config>,
    shards: Vec<S>,
    commands: mpsc::Receiver<FeedCommand>,
    health: Health,
    tasks: JoinSet<()>,
    reports: mpsc::Receiver<Report>,
    report: mpsc::Sender<Report>,
    /// Reports that came while a transaction was fanned out; each of those who report waits to be heard before it
    /// reports again.
    postponed: VecDeque<Report>,
    catalogs: Rc<Catalogs>,
    catalog: Arc<Catalog>,
    operands: Rc<Operands>,
    source: Option<Box<PgWireSource>>,
    /// What to mind when the next stream is opened.
    opening: Opening,
    opened_at: Instant,
    /// The pauses between a stream that breaks early and the next.
    reopening: Backoff,
    /// Channels that the present stream waits for before it is read, and until when.
    awaited: HashSet<ChannelRef>,
    awaited_until: Instant,
    assembler: Assembler,
    progress: Progress,
    channels: HashMap<ChannelRef, Channel>,
    /// Channels that have joined and are not subscribed yet.
    joining: HashSet<ChannelRef>,
    attempts: u64,
    profiles: Profiles,
    lanes: Lanes<Waiting>,
    fanout: Fanout,
    out: Outbox,
    askers: Vec<mpsc::Sender<Batch>>,
    idle_askers: Vec<usize>,
}

impl<S: Sink> Feed<S> {
    fn new(config: Config, shards: Vec<S>, commands: mpsc::Receiver<FeedCommand>, health: Health) -> Self {
        let (report, reports) = mpsc::channel(1024);
        let config = Rc::new(config);
        let mut tasks = JoinSet::new();
        let askers: Vec<_> = (0..config.ask_connection_count.max(1))
            .map(|asker| {
                let (batches, queue) = mpsc::channel(1);
                tasks.spawn_local(ask_on_demand(asker, Rc::clone(&config), queue, report.clone()));
                batches
            })
            .collect();
        Self {
            catalogs: Rc::new(Catalogs::new(Rc::clone(&config))),
            catalog: Arc::default(),
            operands: Rc::default(),
            source: None,
            opening: Opening { make_publications: true, ..Opening::default() },
            opened_at: Instant::now(),
            reopening: Backoff::new(),
            awaited: HashSet::new(),
            awaited_until: Instant::now(),
            assembler: Assembler::new(config.transaction_bytes_max),
            progress: Progress::new(),
            channels: HashMap::new(),
            joining: HashSet::new(),
            attempts: 0,
            profiles: Profiles::default(),
            lanes: Lanes::default(),
            fanout: Fanout::new(config.record_bytes_max, config.waiting_max),
            out: Outbox::new(shards.len()),
            idle_askers: (0..askers.len()).collect(),
            askers,
            config,
            shards,
            commands,
            health,
            tasks,
            reports,
            report,
            postponed: VecDeque::new(),
        }
    }

    async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        self.open_stream(Duration::ZERO);
        let watch = watch_catalog(Rc::clone(&self.catalogs), self.config.catalog_poll, self.report.clone());
        self.tasks.spawn_local(watch);
        loop {
            self.flush().await;
            if let Err(error) = self.take_postponed().await {
                self.interrupted(&error);
                continue;
            }
            let is_full = self.lanes.entry_count() >= self.config.waiting_max;
            let is_awaiting = !self.awaited.is_empty();
            let received = async {
                match &mut self.source {
                    Some(source) if is_full || is_awaiting => {
                        source.ended().await;
                        Err(StreamError::Closed)
                    }
                    Some(source) => source.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = self.tasks.join_next() => self.task_ended(ended),
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(report) = self.reports.recv() => {
                    if let Err(error) = self.report(report).await {
                        self.interrupted(&error);
                    }
                }
                () = tokio::time::sleep_until(self.awaited_until), if is_awaiting => self.awaited.clear(),
                received = received => self.receive(received).await,
            }
        }
        if let Some(source) = self.source.take() {
            source.close().await;
        }
    }

    /// A task that panics takes the feed with it: whoever waits for what the task had in hand would wait for ever.
    fn task_ended(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    // The stream.

    /// Opens a stream in the background after a pause, however long it takes.
    fn open_stream(&mut self, pause: Duration) {
        let (config, catalogs) = (Rc::clone(&self.config), Rc::clone(&self.catalogs));
        let (report, health, opening) = (self.report.clone(), self.health.clone(), self.opening.clone());
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
                        tracing::warn!(error = chain, remedy, "replication stream could not be opened");
                        health.set_down(format!("{}: {remedy}", error.summary()));
                    }
                }
                tokio::time::sleep(backoff.pause(rand::random())).await;
            }
        });
    }

    async fn opened(&mut self, source: Box<PgWireSource>, catalog: Arc<Catalog>) -> Result<(), Interruption> {
        self.assembler = Assembler::new(self.config.transaction_bytes_max);
        match source.continuity() {
            Continuity::Unbroken { shared } => self.progress.resumed(shared),
            Continuity::Fresh => self.progress.restarted(),
        }
        self.opening.make_publications = false;
        self.opening.skip_undecodable = false;
        self.opening.previous = Some(source.history().clone());
        self.opened_at = Instant::now();
        self.source = Some(source);
        self.adopt(catalog).await?;
        self.health.set_live();
        self.out.live(true);
        tracing::info!(tables = self.catalog.tables.len(), "replication stream is live");
        for channel in self.channels.keys().copied().collect::<Vec<_>>() {
            self.reopened(channel);
        }
        self.awaited_until = Instant::now() + SUBSCRIBE_WITHIN;
        Ok(())
    }

    /// Subscribes a channel to the new stream. A channel that needs resolving first is waited for.
    fn reopened(&mut self, channel: ChannelRef) {
        let Some(state) = self.channels.get(&channel).filter(|state| state.spec.is_some()) else { return };
        let has_targets = self
            .profiles
            .of(channel)
            .and_then(|id| self.profiles.get(id))
            .is_some_and(|profile| !profile.targets.is_empty());
        if matches!(state.stage, Stage::Resolved) && has_targets {
            // It may have been told already, if the catalog has changed.
            if !state.subscribed {
                self.tell(channel, true, &SUBSCRIBED.into());
            }
        } else {
            self.resolve(channel);
            self.awaited.insert(channel);
        }
    }

    fn interrupted(&mut self, error: &Interruption) {
        self.source = None;
        self.out.live(false);
        self.awaited.clear();
        self.joining.clear();
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
        tracing::warn!(error = chain, remedy, "replication stream was interrupted");
        self.health.set_down(format!("{}: {remedy}", error.summary()));
        let message: Arc<str> = INTERRUPTED.into();
        let mut subscribed = Vec::new();
        for (channel, state) in &mut self.channels {
            // It is begun anew with the next stream.
            if let Stage::Resolving(task) = &state.stage {
                task.abort();
                state.stage = Stage::Waiting;
            }
            if state.subscribed {
                subscribed.push(*channel);
            }
        }
        for channel in subscribed {
            self.tell(channel, false, &message);
        }
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
    async fn needed<T>(&self, work: impl Future<Output = T>) -> Result<T, Interruption> {
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
    async fn receive(&mut self, first: Result<Received, StreamError>) {
        let mut received = first;
        for handled in 1.. {
            if let Err(error) = self.handle(received).await {
                self.interrupted(&error);
                return;
            }
            if handled == MESSAGES_PER_TURN || self.lanes.entry_count() >= self.config.waiting_max {
                return;
            }
            match self.source.as_mut().and_then(|source| source.recv().now_or_never()) {
                Some(next) => received = next,
                None => return,
            }
        }
    }

    async fn handle(&mut self, received: Result<Received, StreamError>) -> Result<(), Interruption> {
        match received? {
            Received::Message { message, bytes } => self.message(message, bytes).await,
            Received::Keepalive { wal_end } => {
                // An idle database next to a busy one would hold log back for ever.
                if !self.assembler.is_open() {
                    self.progress.caught_up(wal_end);
                }
                Ok(())
            }
        }
    }

    async fn message(&mut self, message: pgoutput::Message, bytes: usize) -> Result<(), Interruption> {
        // A table is described again after anything that concerns it has changed, rights included.
        let described = match &message {
            pgoutput::Message::Relation(relation) => Some(RelationId(relation.id)),
            _ => None,
        };
        let transaction = self.assembler.push(message, bytes)?;
        if let Some(id) = described {
            let before = self.catalog.tables.get(&id).cloned();
            if let Some(xid) = self.assembler.open_xid() {
                // What changed the table may have been this very transaction.
                self.needed(self.catalogs.see(xid)).await?;
            }
            let catalog = self.needed(self.catalogs.read(None)).await?;
            self.adopt(catalog).await?;
            if let Some(table) = self.catalog.tables.get(&id) {
                self.assembler.identify(id, table, before.as_deref());
            }
        }
        match transaction {
            Some(transaction) => self.transaction(transaction).await,
            None => Ok(()),
        }
    }

    /// Subscribes those whose join was answered before the transaction in hand committed.
    ///
    /// A client that has read its join reply may write at once and expect to see it. Its command was in the queue
    /// before that reply left, so it is there now; what resolving it takes is waited for, up to a bound.
    async fn admit(&mut self) -> Result<(), Interruption> {
        self.take_postponed().await?;
        while let Ok(command) = self.commands.try_recv() {
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

    async fn transaction(&mut self, transaction: Transaction) -> Result<(), Interruption> {
        self.admit().await?;
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
        for (place, change) in transaction.changes.into_iter().enumerate().skip(known_count) {
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
        let history = History::of(&changes, &truncations, whole, &self.catalog.partial);
        let mut next = 0;
        while next < changes.len() {
            let waiting_before = self.lanes.entry_count();
            let run = next..changes.len().min(next + CHANGES_PER_RUN);
            next = self.fanout.fan_out(
                &self.catalog,
                &self.profiles,
                &mut self.lanes,
                &mut self.out,
                Aligned { commit, changes: &changes, history: &history, run },
            );
            self.progress.waits(self.lanes.entry_count() - waiting_before);
            self.dispatch_questions();
            if next < changes.len() {
                self.hand_over().await;
                if let Err(error) = self.make_room().await {
                    // What is fanned out is known when the rest comes again.
                    self.progress.fanned_out(transaction.commit_lsn, places[next], None);
                    return Err(error);
                }
            }
        }
        self.progress.fanned_out(transaction.commit_lsn, change_count, transaction.end_lsn);
        Ok(())
    }

    /// Waits until more deliveries may wait for answers. What else is reported meanwhile waits for the
    /// transaction in hand: it is decided by one catalog.
    async fn make_room(&mut self) -> Result<(), Interruption> {
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

    async fn take_postponed(&mut self) -> Result<(), Interruption> {
        while let Some(report) = self.postponed.pop_front() {
            self.report(report).await?;
        }
        Ok(())
    }

    /// Has Postgres compute what the log lacks of the changes of the transaction `xid`.
    async fn complete(&self, xid: u32, whole: bool, changes: &mut [RowChange]) -> Result<(), Interruption> {
        let types = &self.catalog.types;
        if !changes.iter().any(|change| compute::is_needed(&change.table, types)) {
            return Ok(());
        }
        self.needed(async {
            for attempt in 1..=COMPUTE_SESSIONS_MAX {
                let client = self.catalogs.client().await;
                match compute::complete(&client, types, xid, whole, changes).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(attempt, error = %error, "columns are computed again"),
                }
                self.catalogs.give_up(&client).await;
            }
        })
        .await
    }

    /// Hands everything collected to the shards.
    async fn hand_over(&mut self) {
        for (shard, event) in self.out.take() {
            if let Some(shard) = self.shards.get(usize::from(shard)) {
                shard.send(ShardCommand::Feed(event)).await;
            }
        }
    }

    /// Hands everything collected to the shards, then lets Postgres forget what is complete.
    async fn flush(&mut self) {
        self.hand_over().await;
        if let Some(lsn) = self.progress.take_done()
            && let Some(source) = &self.source
        {
            source.acknowledge(lsn);
        }
    }

    // Subscriptions.

    fn command(&mut self, command: FeedCommand) {
        match command {
            FeedCommand::Subscribe(subscribe) => self.subscribe(subscribe),
            FeedCommand::Refresh { channel, claims } => {
                if let Some(state) = self.channels.get_mut(&channel) {
                    state.claims = claims;
                    self.resolve(channel);
                }
            }
            FeedCommand::Unsubscribe { channel } => {
                self.channels.remove(&channel);
                self.awaited.remove(&channel);
                self.joining.remove(&channel);
                self.profiles.leave(channel);
            }
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe) {
        let channel = subscribe.channel;
        let claims = Arc::clone(&subscribe.claims);
        let (spec, refusal) = match spec_of(subscribe) {
            Ok(spec) => (Some(Arc::new(spec)), None),
            Err(message) => (None, Some(message)),
        };
        let state = Channel { spec, claims, stage: Stage::Waiting, attempt: 0, subscribed: false };
        self.channels.insert(channel, state);
        match refusal {
            Some(message) => self.tell(channel, false, &message),
            None => self.resolve(channel),
        }
    }

    /// Resolves a channel's bindings in the background, as its claims are now. While there is no stream nobody is
    /// subscribed; the opening of one resolves those who wait.
    fn resolve(&mut self, channel: ChannelRef) {
        let Some(state) = self.channels.get_mut(&channel) else { return };
        let Some(spec) = &state.spec else { return };
        if let Stage::Resolving(task) = &state.stage {
            task.abort();
        }
        state.stage = Stage::Waiting;
        self.attempts += 1;
        state.attempt = self.attempts;
        if self.source.is_none() {
            return;
        }
        let (attempt, spec, claims) = (state.attempt, Arc::clone(spec), Arc::clone(&state.claims));
        let (catalogs, operands) = (Rc::clone(&self.catalogs), Rc::clone(&self.operands));
        let (report, mut catalog) = (self.report.clone(), Arc::clone(&self.catalog));
        if self.profiles.of(channel).is_none() {
            self.joining.insert(channel);
        }
        let task = self.tasks.spawn_local(async move {
            // A role or table that is not known may be new.
            let covered = |binding: &Binding| {
                catalog.tables.values().any(|table| binding.covers(&table.schema, &table.name))
            };
            let known = catalog.roles.get(&claims.role).is_some_and(Option::is_some);
            if !known || !spec.bindings.iter().all(covered) {
                catalog = catalogs.read(Some(&claims.role)).await;
            }
            let targets =
                resolve_patiently(&catalogs, &operands, &catalog, &claims.role, &spec.bindings).await;
            let catalog_version = catalog.version;
            let resolved = Resolved { channel, attempt, spec, claims, catalog_version, targets };
            let _ = report.send(Report::Resolved(Box::new(resolved))).await;
        });
        state.stage = Stage::Resolving(task);
    }

    async fn resolved(&mut self, resolved: Resolved) -> Result<(), Interruption> {
        let channel = resolved.channel;
        if self.channels.get(&channel).is_none_or(|state| state.attempt != resolved.attempt) {
            return Ok(());
        }
        if self.source.is_none() {
            return Ok(());
        }
        if self.catalog.version < resolved.catalog_version {
            let catalog = self.catalogs.current();
            self.adopt(catalog).await?;
        }
        if self.catalog.version > resolved.catalog_version {
            // Columns may have moved since.
            self.resolve(channel);
            return Ok(());
        }
        self.awaited.remove(&channel);
        self.joining.remove(&channel);
        if let Some(state) = self.channels.get_mut(&channel) {
            state.stage = Stage::Resolved;
        }
        // What waits for the old claims leaves first, so that order holds across a new token.
        if let Some(old) = self.profiles.of(channel).and_then(|id| self.profiles.get(id))
            && old.claims != resolved.claims
        {
            self.lanes.wait_behind(&resolved.claims, &old.claims);
        }
        let (targets, refusal) = match resolved.targets {
            Ok(targets) => (targets, None),
            Err(message) => (Vec::new(), Some(message)),
        };
        self.profiles.join(
            channel,
            &resolved.spec,
            &resolved.claims,
            targets,
            &self.catalog.tables,
            self.progress.sequence() + 1,
        );
        match refusal {
            None => self.tell(channel, true, &SUBSCRIBED.into()),
            Some(message) => self.tell(channel, false, &message),
        }
        Ok(())
    }

    /// Takes up a newer catalog. Where tables have changed, or what a role may do, profiles' targets are made anew
    /// before the next change is decided. All of it happens, or nothing; with no stream there is nothing to decide, and the next one
    /// brings a catalog of its own.
    async fn adopt(&mut self, catalog: Arc<Catalog>) -> Result<(), Interruption> {
        if catalog.version <= self.catalog.version || self.source.is_none() {
            return Ok(());
        }
        let mut resolutions = Vec::new();
        let same_tables = self.catalog.tables == catalog.tables;
        // Filters and selections stand only while the role may read their columns.
        let same = |role: &Arc<str>| same_tables && self.catalog.roles.get(role) == catalog.roles.get(role);
        let same_roles: HashMap<&Arc<str>, bool> =
            catalog.roles.keys().map(|role| (role, same(role))).collect();
        let concerned: Vec<_> = self
            .profiles
            .iter()
            .filter(|(_, profile)| !same_roles.get(&profile.claims.role).is_some_and(|same| *same))
            .map(|(id, profile)| (id, Arc::clone(&profile.spec), Arc::clone(&profile.claims)))
            .collect();
        for (id, spec, claims) in concerned {
            let resolving =
                resolve_patiently(&self.catalogs, &self.operands, &catalog, &claims.role, &spec.bindings);
            resolutions.push((id, self.needed(resolving).await?));
        }
        self.catalog = catalog;
        // What could not be judged before may have been mended; if not, it is told again.
        self.profiles.forget_told();
        for (id, resolution) in resolutions {
            let (targets, message) = match resolution {
                Ok(targets) => (targets, SUBSCRIBED.into()),
                Err(message) => (Vec::new(), message),
            };
            let ok = !targets.is_empty();
            let relations: BTreeSet<_> = targets.iter().map(|target| target.relation).collect();
            let changed = self.profiles.get(id).is_some_and(|profile| {
                profile.targets.iter().map(|target| target.relation).collect::<BTreeSet<_>>() != relations
            });
            self.profiles.retarget(id, targets, &self.catalog.tables);
            let Some(profile) = self.profiles.get(id).filter(|_| changed) else { continue };
            for channel in profile.members.iter().map(|member| member.channel).collect::<Vec<_>>() {
                self.tell(channel, ok, &message);
            }
        }
        Ok(())
    }

    /// Tells a channel whether it is subscribed.
    fn tell(&mut self, channel: ChannelRef, ok: bool, message: &Arc<str>) {
        if let Some(state) = self.channels.get_mut(&channel) {
            state.subscribed = ok;
            self.out.system(channel, ok, message);
        }
    }

    // Questions.

    fn dispatch_questions(&mut self) {
        let mut askable = self.lanes.askable_count();
        while askable > 0
            && let Some(asker) = self.idle_askers.pop()
        {
            let share = askable.div_ceil(self.idle_askers.len() + 1).min(BATCH_GROUPS_MAX);
            let groups = self.lanes.take_questions(share);
            askable -= groups.len();
            let batch = Batch { types: Arc::clone(&self.catalog.types), groups };
            // An idle asker's queue is empty, so there is room.
            if self.askers[asker].try_send(batch).is_err() {
                tracing::error!(asker, "asker has ended");
            }
        }
    }

    async fn report(&mut self, report: Report) -> Result<(), Interruption> {
        match report {
            Report::Opened(source, catalog) => self.opened(source, catalog).await,
            Report::Resolved(resolved) => self.resolved(*resolved).await,
            Report::CatalogChanged(catalog) => self.adopt(catalog).await,
            // Without a stream nothing is decided by the old one.
            // The stream began with a reading of its own.
            Report::CatalogLost if self.source.is_some() && self.opened_at.elapsed() >= NEEDED_WITHIN => {
                Err(Interruption::Unanswered)
            }
            // It waits for this very stream, which may wait for answers that will not come.
            Report::ShuttingDown(found) if self.source.is_some() && found >= self.opened_at => {
                Err(Interruption::ShuttingDown)
            }
            // News of before the stream, or of while there is none.
            Report::CatalogLost | Report::ShuttingDown(_) => Ok(()),
            Report::Answered(asker, outcomes) => {
                self.idle_askers.push(asker);
                self.answered(outcomes);
                self.dispatch_questions();
                Ok(())
            }
        }
    }

    fn answered(&mut self, outcomes: Vec<Outcome>) {
        let lanes: BTreeSet<usize> = outcomes.iter().map(|outcome| outcome.lane).collect();
        for outcome in outcomes {
            self.lanes.answer(outcome.lane, outcome.entry, outcome.result);
        }
        for lane in lanes {
            for ready in self.lanes.take_ready(lane) {
                self.progress.answered(ready.payload.sequence());
                if let Some((profile, change, code)) = Fanout::settle(&mut self.out, ready) {
                    self.tell_unjudged(profile, &change, &code);
                }
            }
        }
    }

    /// Tells subscribers, once a table, that Postgres could not judge what they may see of it.
    fn tell_unjudged(&mut self, id: super::profile::ProfileId, change: &RowChange, code: &SqlState) {
        let Some(profile) = self.profiles.get_mut(id) else { return };
        let table = &change.table;
        if profile.told.contains(&table.id) {
            return;
        }
        profile.told.push(table.id);
        let condition = crate::subscription::condition_name(code.code());
        tracing::warn!(
            schema = &*table.schema,
            table = &*table.name,
            role = &*profile.claims.role,
            code = code.code(),
            "row level security could not be evaluated for a subscriber"
        );
        let message: Arc<str> = format!(
            "Unable to check row level security of {}.{} for this subscription: ERROR {} ({condition}). \
             Changes that cannot be checked are not delivered",
            table.schema,
            table.name,
            code.code()
        )
        .into();
        for member in profile.members.iter() {
            self.out.system(member.channel, false, &message);
        }
    }
}

/// What a client reads when its subscription works.
const SUBSCRIBED: &str = "Subscribed to PostgreSQL";

/// What a client reads when the stream breaks.
const INTERRUPTED: &str =
    "Connection to PostgreSQL interrupted: changes may be missed until it is live again";

/// On how many sessions the computation of columns is tried. A row that breaks the session would break them all.
const COMPUTE_SESSIONS_MAX: u32 = 3;

fn spec_of(subscribe: Subscribe) -> Result<Spec, Arc<str>> {
    let mut ids = Vec::with_capacity(subscribe.bindings.len());
    let mut bindings = Vec::with_capacity(subscribe.bindings.len());
    let mut elements = Vec::with_capacity(subscribe.bindings.len());
    for (id, element) in subscribe.bindings {
        bindings.push(Binding::parse(&element).map_err(|error| Arc::from(error.to_string()))?);
        ids.push(id);
        elements.push(Value::Object(element));
    }
    let (topic, dialect, legacy) = (subscribe.topic, subscribe.dialect, subscribe.legacy);
    let key = format!("{dialect:?} {legacy} {topic} {ids:?} {}", Value::Array(elements)).into();
    Ok(Spec { topic, dialect, legacy, ids, bindings, key })
}

/// Resolves bindings, waiting for Postgres as long as it takes; `Err` holds the words for the client.
async fn resolve_patiently(
    catalogs: &Catalogs,
    operands: &Operands,
    catalog: &Catalog,
    role: &str,
    bindings: &[Binding],
) -> Result<Vec<Target>, Arc<str>> {
    let mut backoff = Backoff::new();
    loop {
        let client = catalogs.client().await;
        match tokio::time::timeout(CATALOG_WITHIN, resolve(&client, operands, catalog, role, bindings)).await
        {
            Ok(Ok(targets)) => return Ok(targets),
            Ok(Err(Unresolved::Refused(message))) => return Err(message.into()),
            Ok(Err(Unresolved::SessionLost(_))) => {}
            Err(_) => catalogs.give_up(&client).await,
        }
        tokio::time::sleep(backoff.pause(rand::random())).await;
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
enum Interruption {
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
async fn watch_catalog(catalogs: Rc<Catalogs>, poll: Duration, report: mpsc::Sender<Report>) {
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
                tracing::warn!(
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

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
//! Bounds: when [`Config::waiting_max`] deliveries wait for Postgres's answers, the stream is not read until some
//! have left; Postgres keeps the log meanwhile. A full shard inbox is waited for in the same way.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use crate::change::{Assembler, RowChange, Transaction, assemble};
use crate::policy::{Catalog, Claims};
use crate::postgres::connect::Database;
use crate::subscription::Binding;
use crate::telemetry::health::Health;
use crate::wal::slot::Continuity;
use crate::wal::stream::{Backoff, Error as StreamError, Received};
use crate::wal::{Lsn, PgWireSource, StreamConfig, WalSource, pgoutput};

use super::ask::{Batch, Outcome};
use super::asker::ask_on_demand;
use super::catalogs::{CATALOG_WITHIN, Catalogs, chain};
use super::fanout::{Commit, Fanout, Outbox, Waiting};
use super::lane::Lanes;
use super::profile::{Profiles, Spec};
use super::resolve::{Operands, Target, Unresolved, resolve};
use super::{ChannelRef, FeedCommand, FeedEvent, Subscribe, compute};

/// How many messages are taken from the stream before commands and answers get their turn.
const MESSAGES_PER_TURN: usize = 512;

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

/// Where the feed's events go: one shard.
pub trait Sink {
    /// Hands over an event, waiting for room; `false` once the shard has ended.
    fn send(&self, event: FeedEvent) -> impl Future<Output = bool>;
}

/// Runs the feed until `commands` closes; `shards` stand in the order of their numbers.
pub async fn run<S: Sink>(
    config: Config,
    shards: Vec<S>,
    commands: mpsc::Receiver<FeedCommand>,
    health: Health,
) {
    let feed = async { Feed::new(config, shards, commands, health).run().await };
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
    spec: Result<Arc<Spec>, Arc<str>>,
    claims: Arc<Claims>,
    /// Tells the latest resolution from those it replaced.
    attempt: u64,
}

/// A transaction that is not wholly handed over yet.
struct InFlight {
    sequence: u64,
    /// Whether further parts of it are to come.
    is_open: bool,
    /// Where it ends, once that is known.
    end_lsn: Option<Lsn>,
    waiting_count: usize,
}

struct Feed<S> {
    config: Rc<Config>,
    shards: Vec<S>,
    commands: mpsc::Receiver<FeedCommand>,
    health: Health,
    reports: mpsc::Receiver<Report>,
    report: mpsc::Sender<Report>,
    catalogs: Rc<Catalogs>,
    catalog: Arc<Catalog>,
    operands: Rc<Operands>,
    source: Option<Box<PgWireSource>>,
    assembler: Assembler,
    /// The last transaction that was fanned out whole, to leave out what a durable slot sends again.
    last_commit: Lsn,
    sequence: u64,
    in_flight: VecDeque<InFlight>,
    channels: HashMap<ChannelRef, Channel>,
    /// Channels whose new claims take effect once their lane is empty.
    switching: Vec<(ChannelRef, Instant)>,
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
        let askers: Vec<_> = (0..config.ask_connection_count.max(1))
            .map(|asker| {
                let (batches, queue) = mpsc::channel(1);
                spawn_local(ask_on_demand(asker, Rc::clone(&config), queue, report.clone()));
                batches
            })
            .collect();
        Self {
            catalogs: Rc::new(Catalogs::new(Rc::clone(&config))),
            catalog: Arc::default(),
            operands: Rc::default(),
            source: None,
            assembler: Assembler::new(config.transaction_bytes_max),
            last_commit: Lsn::ZERO,
            sequence: 0,
            in_flight: VecDeque::new(),
            channels: HashMap::new(),
            switching: Vec::new(),
            attempts: 0,
            profiles: Profiles::default(),
            lanes: Lanes::new(),
            fanout: Fanout::new(config.record_bytes_max),
            out: Outbox::new(shards.len()),
            idle_askers: (0..askers.len()).collect(),
            askers,
            config,
            shards,
            commands,
            health,
            reports,
            report,
        }
    }

    async fn run(mut self) {
        self.open_stream();
        spawn_local(watch_catalog(Rc::clone(&self.catalogs), Rc::clone(&self.config), self.report.clone()));
        loop {
            self.flush().await;
            let may_read = self.lanes.entry_count() < self.config.waiting_max;
            let received = async {
                match &mut self.source {
                    Some(source) if may_read => source.recv().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(report) = self.reports.recv() => self.report(report).await,
                received = received => self.receive(received).await,
            }
        }
    }

    // The stream.

    /// Opens a stream in the background, however long it takes.
    fn open_stream(&self) {
        let (config, catalogs) = (Rc::clone(&self.config), Rc::clone(&self.catalogs));
        let (report, health) = (self.report.clone(), self.health.clone());
        spawn_local(async move {
            let mut backoff = Backoff::new();
            loop {
                match open(&config, &catalogs).await {
                    Ok((source, catalog)) => {
                        let _ = report.send(Report::Opened(Box::new(source), catalog)).await;
                        return;
                    }
                    Err(error) => {
                        let remedy = error.remedy().unwrap_or("waiting for Postgres");
                        let chain = chain(&error);
                        tracing::warn!(error = chain, remedy, "replication stream could not be opened");
                        health.set_down(format!("{error}: {remedy}"));
                    }
                }
                tokio::time::sleep(backoff.pause(rand::random())).await;
            }
        });
    }

    async fn opened(&mut self, source: Box<PgWireSource>, catalog: Arc<Catalog>) {
        self.assembler = Assembler::new(self.config.transaction_bytes_max);
        if source.continuity() == Continuity::Fresh {
            // A new slot starts at a new place, perhaps on another timeline.
            self.last_commit = Lsn::ZERO;
        }
        self.adopt(catalog).await;
        self.source = Some(source);
        self.health.set_live();
        tracing::info!(tables = self.catalog.tables.len(), "replication stream is live");
        let subscribed = self.channels.iter().map(|(channel, state)| (*channel, state.spec.clone()));
        for (channel, spec) in subscribed.collect::<Vec<_>>() {
            match self.profiles.of(channel).and_then(|id| self.profiles.get(id)) {
                Some(profile) if !profile.targets.is_empty() => self.say(channel, true, SUBSCRIBED),
                _ if spec.is_ok() => self.resolve(channel),
                _ => {}
            }
        }
    }

    fn interrupted(&mut self, error: &Interruption) {
        self.source = None;
        // What was fanned out in part comes again whole with a durable slot, and never with a temporary one.
        if let Some(last) = self.in_flight.back_mut() {
            last.is_open = false;
        }
        let remedy = error.remedy().unwrap_or("reconnecting");
        let chain = chain(error);
        tracing::warn!(error = chain, remedy, "replication stream was interrupted");
        self.health.set_down(format!("{error}: {remedy}"));
        let channels: Vec<ChannelRef> = self.channels.keys().copied().collect();
        for channel in channels {
            self.say(channel, false, INTERRUPTED);
        }
        self.open_stream();
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
                if self.in_flight.is_empty() && !self.assembler.is_open() {
                    self.acknowledge(wal_end);
                }
                Ok(())
            }
        }
    }

    async fn message(&mut self, message: pgoutput::Message, bytes: usize) -> Result<(), Interruption> {
        // A table is described again after anything that concerns it has changed, rights included.
        let described = matches!(message, pgoutput::Message::Relation(_));
        let transaction = self.assembler.push(message, bytes)?;
        if described {
            let catalog = self.catalogs.read(None).await;
            self.adopt(catalog).await;
        }
        if let Some(transaction) = transaction {
            self.transaction(transaction).await;
        }
        Ok(())
    }

    async fn transaction(&mut self, transaction: Transaction) {
        if transaction.commit_lsn <= self.last_commit {
            // A durable slot sends again what was not acknowledged in time.
            return;
        }
        if !self.in_flight.back().is_some_and(|last| last.is_open) {
            self.sequence += 1;
            self.in_flight.push_back(InFlight {
                sequence: self.sequence,
                is_open: true,
                end_lsn: None,
                waiting_count: 0,
            });
        }
        let commit = Commit {
            sequence: self.sequence,
            xid: transaction.xid,
            time_micros: transaction.commit_time_micros,
        };
        let whole = transaction.whole;
        let mut changes: Vec<RowChange> = transaction
            .changes
            .into_iter()
            .filter(|change| self.profiles.index().contains(change.relation.id))
            .filter_map(|change| {
                let table = self.catalog.tables.get(&change.relation.id)?;
                RowChange::align(change, table)
            })
            .collect();
        self.complete(&mut changes).await;
        let changes: Vec<Arc<RowChange>> = changes.into_iter().map(Arc::new).collect();
        let waiting_before = self.lanes.entry_count();
        self.fanout.fan_out(
            &self.catalog,
            &self.profiles,
            &mut self.lanes,
            &mut self.out,
            commit,
            &changes,
            whole,
        );
        if let Some(last) = self.in_flight.back_mut() {
            last.waiting_count += self.lanes.entry_count() - waiting_before;
            last.end_lsn = transaction.end_lsn;
            last.is_open = transaction.end_lsn.is_none();
        }
        if transaction.end_lsn.is_some() {
            self.last_commit = transaction.commit_lsn;
        }
        self.dispatch_questions();
    }

    /// Has Postgres compute what the log lacks, however long it takes: nothing is delivered without it.
    async fn complete(&self, changes: &mut [RowChange]) {
        let types = &self.catalog.types;
        if !changes.iter().any(|change| compute::is_needed(&change.table, types)) {
            return;
        }
        for changes in changes.chunk_by_mut(|left, right| Arc::ptr_eq(&left.table, &right.table)) {
            if !changes.first().is_some_and(|change| compute::is_needed(&change.table, types)) {
                continue;
            }
            let mut backoff = Backoff::new();
            for attempt in 1..=COMPUTE_ATTEMPTS_MAX {
                let client = self.catalogs.client().await;
                let completed = compute::complete(&client, types, changes);
                match tokio::time::timeout(CATALOG_WITHIN, completed).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => {
                        tracing::warn!(attempt, error = %code_of(&error), "columns could not be computed")
                    }
                    Err(_) => tracing::warn!(attempt, "columns could not be computed in time"),
                }
                tokio::time::sleep(backoff.pause(rand::random())).await;
            }
        }
    }

    fn acknowledge(&self, lsn: Lsn) {
        if let Some(source) = &self.source {
            source.acknowledge(lsn);
        }
    }

    /// Hands everything collected to the shards, then lets Postgres forget what is complete.
    async fn flush(&mut self) {
        for (shard, event) in self.out.take() {
            if let Some(shard) = self.shards.get(usize::from(shard)) {
                shard.send(event).await;
            }
        }
        let mut done = None;
        while let Some(first) = self.in_flight.front() {
            if first.waiting_count > 0 || first.is_open {
                break;
            }
            done = first.end_lsn.or(done);
            self.in_flight.pop_front();
        }
        if let Some(lsn) = done {
            self.acknowledge(lsn);
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
                self.profiles.leave(channel);
            }
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe) {
        let channel = subscribe.channel;
        let claims = Arc::clone(&subscribe.claims);
        let spec = spec_of(subscribe).map(Arc::new);
        if let Err(message) = &spec {
            self.out.system(channel, false, message);
        }
        let resolvable = spec.is_ok();
        self.channels.insert(channel, Channel { spec, claims, attempt: 0 });
        // While there is no stream nobody is subscribed; the opening of one resolves everybody.
        if resolvable && self.source.is_some() {
            self.resolve(channel);
        }
    }

    /// Resolves a channel's bindings in the background, as its claims are now.
    fn resolve(&mut self, channel: ChannelRef) {
        let Some(state) = self.channels.get_mut(&channel) else { return };
        let Ok(spec) = &state.spec else { return };
        self.attempts += 1;
        state.attempt = self.attempts;
        let (attempt, spec, claims) = (state.attempt, Arc::clone(spec), Arc::clone(&state.claims));
        let (catalogs, operands) = (Rc::clone(&self.catalogs), Rc::clone(&self.operands));
        let (report, mut catalog) = (self.report.clone(), Arc::clone(&self.catalog));
        spawn_local(async move {
            // A role or table that is not known may be new.
            let covered = |binding: &Binding| {
                catalog.tables.values().any(|table| binding.covers(&table.schema, &table.name))
            };
            let known = catalog.roles.get(&claims.role).is_some_and(Option::is_some);
            if !known || !spec.bindings.iter().all(covered) {
                catalog = catalogs.read(Some(&claims.role)).await;
            }
            let targets = loop {
                let client = catalogs.client().await;
                let resolving = resolve(&client, &operands, &catalog, &claims.role, &spec.bindings);
                match tokio::time::timeout(CATALOG_WITHIN, resolving).await {
                    Ok(Ok(targets)) => break Ok(targets),
                    Ok(Err(Unresolved::Refused(message))) => break Err(message.into()),
                    Ok(Err(Unresolved::SessionLost(_))) | Err(_) => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            };
            let catalog_version = catalog.version;
            let resolved = Resolved { channel, attempt, spec, claims, catalog_version, targets };
            let _ = report.send(Report::Resolved(Box::new(resolved))).await;
        });
    }

    async fn resolved(&mut self, resolved: Resolved) {
        let channel = resolved.channel;
        if self.channels.get(&channel).is_none_or(|state| state.attempt != resolved.attempt) {
            return;
        }
        if self.catalog.version < resolved.catalog_version {
            let catalog = self.catalogs.current();
            self.adopt(catalog).await;
        }
        if self.catalog.version > resolved.catalog_version {
            // Columns may have moved since.
            self.resolve(channel);
            return;
        }
        // What waits for the old claims leaves first, so that order holds across a new token.
        let old = self.profiles.of(channel).and_then(|id| self.profiles.get(id));
        if old.is_some_and(|old| old.claims != resolved.claims && self.lanes.is_waiting(&old.claims)) {
            self.switching.push((channel, Instant::now() + SWITCH_WITHIN));
            return;
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
            self.sequence + 1,
        );
        match refusal {
            None if self.source.is_some() => self.say(channel, true, SUBSCRIBED),
            None => {}
            Some(message) => self.out.system(channel, false, &message),
        }
    }

    /// Takes up a newer catalog. Where tables have changed, every profile's targets are made anew before the next
    /// change is decided.
    async fn adopt(&mut self, catalog: Arc<Catalog>) {
        if catalog.version <= self.catalog.version {
            return;
        }
        let same_tables = self.catalog.tables == catalog.tables;
        self.catalog = catalog;
        // What could not be judged before may have been mended; if not, it is told again.
        self.profiles.forget_told();
        if same_tables {
            return;
        }
        let profiles: Vec<_> = self
            .profiles
            .iter()
            .map(|(id, profile)| (id, Arc::clone(&profile.spec), Arc::clone(&profile.claims)))
            .collect();
        for (id, spec, claims) in profiles {
            let client = self.catalogs.client().await;
            let resolving = resolve(&client, &self.operands, &self.catalog, &claims.role, &spec.bindings);
            let (targets, message): (_, Arc<str>) = match resolving.await {
                Ok(targets) => (targets, SUBSCRIBED.into()),
                Err(Unresolved::Refused(message)) => (Vec::new(), message.into()),
                Err(Unresolved::SessionLost(_)) => (Vec::new(), INTERRUPTED.into()),
            };
            let ok = !targets.is_empty();
            let relations =
                |targets: &[Target]| targets.iter().map(|target| target.relation).collect::<BTreeSet<_>>();
            let changed = self
                .profiles
                .get(id)
                .is_some_and(|profile| relations(&profile.targets) != relations(&targets));
            self.profiles.retarget(id, targets, &self.catalog.tables);
            let Some(profile) = self.profiles.get(id).filter(|_| changed && self.source.is_some()) else {
                continue;
            };
            for member in &profile.members {
                self.out.system(member.channel, ok, &message);
            }
        }
    }

    fn say(&mut self, channel: ChannelRef, ok: bool, message: &'static str) {
        self.out.system(channel, ok, &message.into());
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

    async fn report(&mut self, report: Report) {
        match report {
            Report::Opened(source, catalog) => self.opened(source, catalog).await,
            Report::Resolved(resolved) => self.resolved(*resolved).await,
            Report::CatalogChanged(catalog) => self.adopt(catalog).await,
            Report::Answered(asker, outcomes) => {
                self.idle_askers.push(asker);
                self.answered(outcomes);
                self.dispatch_questions();
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
                let sequence = ready.payload.sequence();
                if let Ok(place) = self.in_flight.binary_search_by_key(&sequence, |flight| flight.sequence) {
                    self.in_flight[place].waiting_count -= 1;
                }
                if let Some((profile, change, code)) = Fanout::settle(&self.profiles, &mut self.out, ready) {
                    self.tell_unjudged(profile, &change, &code);
                }
            }
        }
        self.switch_ready();
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
        for member in &profile.members {
            self.out.system(member.channel, false, &message);
        }
    }

    /// Lets channels take up new claims whose old lane is empty, or has been waited for long enough.
    fn switch_ready(&mut self) {
        let now = Instant::now();
        for (channel, deadline) in std::mem::take(&mut self.switching) {
            let old = self.profiles.of(channel).and_then(|id| self.profiles.get(id));
            if now < deadline && old.is_some_and(|old| self.lanes.is_waiting(&old.claims)) {
                self.switching.push((channel, deadline));
            } else {
                self.resolve(channel);
            }
        }
    }
}

/// What a client reads when its subscription works.
const SUBSCRIBED: &str = "Subscribed to PostgreSQL";

/// What a client reads when the stream breaks.
const INTERRUPTED: &str =
    "Connection to PostgreSQL interrupted: changes may be missed until it is live again";

/// How long a new token waits for deliveries under the old one.
const SWITCH_WITHIN: Duration = Duration::from_secs(5);

/// How often the computation of columns is tried.
const COMPUTE_ATTEMPTS_MAX: u32 = 20;

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

async fn open(config: &Config, catalogs: &Catalogs) -> Result<(PgWireSource, Arc<Catalog>), StreamError> {
    let source = PgWireSource::open(&config.stream).await?;
    Ok((source, catalogs.read(None).await))
}

/// Why the stream has to be opened anew.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("replication stream is inconsistent")]
    Inconsistent(#[from] assemble::Error),
}

impl Interruption {
    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Stream(error) => error.remedy(),
            Self::Inconsistent(_) => None,
        }
    }
}

/// An error of an SQL statement without its message, which may hold row values.
fn code_of(error: &tokio_postgres::Error) -> String {
    error.code().map_or_else(|| "session lost".to_owned(), |code| code.code().to_owned())
}

async fn watch_catalog(catalogs: Rc<Catalogs>, config: Rc<Config>, report: mpsc::Sender<Report>) {
    let mut interval = tokio::time::interval(config.catalog_poll);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Some(catalog) = catalogs.read_if_changed().await
            && report.send(Report::CatalogChanged(catalog)).await.is_err()
        {
            return;
        }
    }
}

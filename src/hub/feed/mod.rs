//! The feed: the replication stream and every `postgres_changes` subscription of this server, on one thread.
//!
//! It also carries broadcasts of the database: rows of `realtime.messages`.
//!
//! In: the stream's messages and the shards' [`FeedCommand`]s. Out: [`FeedEvent`](super::FeedEvent)s and broadcasts for the shards.
//!
//! Invariants:
//! - A subscriber is told "subscribed" when every commit from then on will reach it, never before; those that
//!   this process has streamed lately, before the channel joined, can be read by then.
//! - Transactions leave in commit order; on one channel, so do all their changes.
//! - The position that Postgres may forget never passes a transaction that is not wholly handed to the shards.
//! - A change of a table is decided by a catalog at least as new as the table's shape in the stream.
//!
//! **Interruptions.** When the stream breaks, or what it needs of Postgres cannot be had, every subscriber is told
//! once, and told once again when it is live. Before a new stream is read, those who waited for it are subscribed:
//! what a durable slot has kept reaches them. Nothing that was handed over comes twice while this process lives.
//!
//! With a limit on deliveries a second, the stream is not read while there are more: changes come later, none is
//! left out.
//!
//! Bounds: when [`Config::waiting_max`] deliveries wait for Postgres's answers, the stream is not read until some
//! have left; Postgres keeps the log meanwhile. A full shard inbox is waited for in the same way.

mod announcements;
mod broadcasts;
mod counters;
mod lag;
mod mirror;
mod questions;
mod rechecks;
mod shadow;
mod stream;
mod subscriptions;
mod transaction;

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet, LocalSet};
use tokio::time::Instant;

use crate::change::Assembler;
use crate::policy::catalog::Needed;
use crate::policy::function::Moment;
use crate::policy::{Catalog, Switches};
use crate::postgres::connect::Database;
use crate::telemetry::clock::unix_time;
use crate::telemetry::code::Code;
use crate::telemetry::health::Health;
use crate::telemetry::report::report;
use crate::wal::stream::{Backoff, Error as StreamError, Opening};
use crate::wal::{Lsn, PgWireSource, StreamConfig, WalSource};

use super::ask::{Batch, Outcome};
use super::asker::ask_on_demand;
use super::catalogs::Catalogs;
use super::fanout::{self, Fanout, Outbox, Waiting};
use super::lane::Lanes;
use super::profile::Profiles;
use super::progress::Progress;
use super::resolve::Operands;
use super::{Broadcaster, ChannelRef, Engine, FeedCommand, RecentCommits, Sink};

use announcements::{Announcements, Look};
pub use broadcasts::MESSAGES_PUBLICATION;
pub use counters::Counters;
use mirror::{Mirroring, StreamNews};
use rechecks::Rechecks;
use shadow::{Shadow, check_on_demand};
use stream::{Interruption, keep_publication, watch_catalog};
use subscriptions::{Channel, Resolved};

/// How long what the stream needs of Postgres (a catalog, a computed column) is waited for before the stream is
/// given up, with a word to its subscribers.
const NEEDED_WITHIN: Duration = Duration::from_secs(30);

/// How often the rate of changes is looked at while it is over its limit.
const RATE_LOOK: Duration = Duration::from_millis(100);

/// Settings of the feed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to stream from.
    pub stream: StreamConfig,
    /// The one of its publications whose tables can be subscribed to.
    pub publication: String,
    /// The same database for ordinary SQL.
    pub database: Database,
    /// How many sessions ask Postgres who may see a change.
    pub ask_connection_count: usize,
    /// How long one statement of a question may take.
    pub ask_timeout: Duration,
    /// How often the catalog is checked for changes.
    pub catalog_poll: Duration,
    /// What is shown of what was before.
    pub switches: Switches,
    /// Of a million decisions that are made in memory, how many are put to Postgres too.
    pub shadow_per_million: u32,
    /// Makes something else of each reading of the catalog: how tests put wrong programs in.
    #[cfg(feature = "postgres-tests")]
    pub amend: Option<fn(&mut Catalog)>,
    /// How many bytes of a transaction are held at once.
    pub transaction_bytes_max: usize,
    /// How many bytes of values a record may have.
    pub record_bytes_max: usize,
    /// How many bytes the payload of a broadcast from the database may have.
    pub broadcast_bytes_max: usize,
    /// How many deliveries may wait for answers.
    pub waiting_max: usize,
    /// What is mirrored besides what policies read, for tests and measurements. Looked at with each reading of the catalog.
    pub mirrored_besides: Arc<Mutex<Vec<Arc<Needed>>>>,
    /// How many bytes the mirror of the tables that policies read may have.
    pub mirror_bytes_max: usize,
    /// Whether messages are noted that are delivered to somebody.
    pub notes_sent: bool,
    /// Where it counts, and what it is held to.
    pub counters: Arc<Counters>,
}

/// What a feed is connected to.
pub struct Links<S> {
    /// The way to the shards and their rooms.
    pub broadcaster: Broadcaster<S>,
    /// What the shards ask for.
    pub commands: mpsc::Receiver<FeedCommand>,
    /// Where it says whether changes flow.
    pub health: Health,
    /// Where it notes the commits that hold broadcasts, for those who replay them.
    pub commits: Arc<RecentCommits>,
    /// Where it keeps what policies are judged by.
    pub engine: Arc<Engine>,
}

/// Runs the feed until nobody can send it commands any more.
pub async fn run<S: Sink>(config: Config, links: Links<S>) {
    run_until(config, links, std::future::pending()).await;
}

/// How long the end waits for the rest of a transaction and for Postgres's answers to what was asked about it.
const FINISH_WITHIN: Duration = Duration::from_millis(1500);

/// As [`run`]; ends in order once `stop` resolves: the transaction in hand is read to its end, what was read is handed
/// over and acknowledged, no more is read.
///
/// # Panics
///
/// If one of its tasks does: without it, subscribers would wait for ever.
pub async fn run_until<S: Sink>(config: Config, links: Links<S>, stop: impl Future<Output = ()>) {
    let feed = async { Feed::new(config, links).run(stop).await };
    LocalSet::new().run_until(Box::pin(feed)).await;
}

/// What the feed's background tasks report.
pub(super) enum Report {
    /// A stream is open, on a catalog read after it opened.
    Opened(Box<PgWireSource>, Arc<Catalog>),
    /// A channel's bindings have been resolved.
    Resolved(Box<Resolved>),
    /// Whether what was streamed can be read.
    Looked(Look),
    /// A batch of questions was answered by this asker.
    Answered(usize, Vec<Outcome>),
    /// Decisions made in memory were put to Postgres, and how far the log was then; nothing if that failed.
    Checked(Option<(Vec<Outcome>, Lsn)>),
    /// The catalog was compared, or could not be, for the sake of a decision that Postgres has contradicted.
    Compared(u64, bool),
    /// The catalog has changed.
    CatalogChanged(Arc<Catalog>),
    /// It is not known any more whether the catalog has changed.
    CatalogLost,
    /// What concerns the mirror.
    Mirror(Box<StreamNews>),
    /// Postgres lets nobody in, as an attempt found that began then: it shuts down.
    ShuttingDown(Instant),
}

/// Now, as policies read the clock.
pub(super) fn moment() -> Moment {
    /// From 1970 to 2000.
    const EPOCH_MICROS: i64 = 946_684_800_000_000;
    let micros = i64::try_from(unix_time().as_micros()).unwrap_or(i64::MAX);
    Moment { now_micros: micros.saturating_sub(EPOCH_MICROS) }
}

struct Feed<S> {
    config: Rc<Config>,
    links: Links<S>,
    tasks: JoinSet<()>,
    reports: mpsc::Receiver<Report>,
    report: mpsc::Sender<Report>,
    /// Reports that came while a transaction was fanned out; each of those who report waits to be heard before it
    /// reports again.
    postponed: VecDeque<Report>,
    catalogs: Rc<Catalogs>,
    catalog: Arc<Catalog>,
    operands: Rc<Operands>,
    /// What compiled policies are judged by.
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
    announcements: Announcements,
    attempts: u64,
    profiles: Profiles,
    lanes: Lanes<Waiting>,
    fanout: Fanout,
    out: Outbox,
    shadow: Shadow,
    askers: Vec<mpsc::Sender<Batch>>,
    idle_askers: Vec<usize>,
    /// Looks how far behind the present stream is.
    lag_watch: Option<AbortHandle>,
    mirroring: Mirroring,
    rechecks: Rechecks,
    /// Whether the stream is not read on because of the rate of changes.
    is_throttled: bool,
}

impl<S: Sink> Feed<S> {
    fn new(config: Config, links: Links<S>) -> Self {
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
        let (shadow, checks) = Shadow::new();
        tasks.spawn_local(check_on_demand(Rc::clone(&config), checks, report.clone()));
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
            announcements: Announcements::default(),
            attempts: 0,
            profiles: Profiles::default(),
            lanes: Lanes::default(),
            fanout: Fanout::new(fanout::Config {
                record_bytes_max: config.record_bytes_max,
                waiting_max: config.waiting_max,
                switches: config.switches,
                shadow_per_million: config.shadow_per_million,
                notes_sent: config.notes_sent,
            }),
            out: Outbox::new(links.broadcaster.shards().len()),
            shadow,
            idle_askers: (0..askers.len()).collect(),
            askers,
            config,
            links,
            tasks,
            reports,
            report,
            postponed: VecDeque::new(),
            lag_watch: None,
            mirroring: Mirroring::default(),
            rechecks: Rechecks::default(),
            is_throttled: false,
        }
    }

    async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        self.open_stream(Duration::ZERO);
        let watch = watch_catalog(Rc::clone(&self.catalogs), self.config.catalog_poll, self.report.clone());
        self.tasks.spawn_local(watch);
        if let Some(publication) = &self.config.stream.own_publication {
            let statement = publication.statement();
            let catalogs = Rc::clone(&self.catalogs);
            self.tasks.spawn_local(keep_publication(catalogs, statement, self.config.catalog_poll));
        }
        loop {
            self.flush().await;
            if let Err(error) = self.take_postponed().await {
                self.interrupted(&error);
                continue;
            }
            let is_throttled = self.throttle();
            let is_full = is_throttled || self.lanes.entry_count() >= self.config.waiting_max;
            let is_awaiting = !self.awaited.is_empty();
            if is_full || is_awaiting {
                self.links.engine.busy();
            }
            let received = async {
                match &mut self.source {
                    Some(source) if is_full || is_awaiting => {
                        source.ended().await;
                        Err(StreamError::Closed)
                    }
                    Some(source) => match source.recv().now_or_never() {
                        Some(received) => received,
                        None => {
                            self.links.engine.idle();
                            source.recv().await
                        }
                    },
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut stop => {
                    // What is not done by then is not acknowledged.
                    let _ = tokio::time::timeout(FINISH_WITHIN, self.finish()).await;
                    break;
                }
                Some(ended) = self.tasks.join_next() => self.task_ended(ended),
                command = self.links.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(report) = self.reports.recv() => {
                    if let Err(error) = self.report(report).await {
                        self.interrupted(&error);
                    }
                }
                () = tokio::time::sleep(RATE_LOOK), if is_throttled => {}
                () = tokio::time::sleep_until(self.awaited_until), if is_awaiting => self.awaited.clear(),
                received = received => self.receive(received).await,
            }
        }
        self.end_mirror();
        if let Some(source) = self.source.take() {
            source.close().await;
        }
    }

    /// Whether the stream is to be read no further for now, as too many changes are delivered. Nothing is lost:
    /// Postgres keeps the log.
    fn throttle(&mut self) -> bool {
        let is_over = self.config.counters.meters.db_events.is_reached();
        if is_over && !self.is_throttled {
            self.config.counters.throttled.add(1);
            report!(
                warn,
                Code::MessagePerSecondRateLimitReached,
                "database changes wait until fewer are delivered a second"
            );
        } else if !is_over && self.is_throttled {
            tracing::info!("database changes are delivered again");
        }
        self.is_throttled = is_over;
        is_over
    }

    /// Hands over what was read, and the rest of a transaction that is being read.
    ///
    /// A temporary slot would not give it again: whoever was subscribed when it committed would never see it.
    async fn finish(&mut self) {
        loop {
            self.flush().await;
            let Some(source) = &mut self.source else { return };
            let (waiting_count, is_open) = (self.lanes.entry_count(), self.assembler.is_open());
            if waiting_count == 0 && !is_open && self.postponed.is_empty() {
                return;
            }
            let done = tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    self.task_ended(ended);
                    Ok(())
                }
                Some(report) = self.reports.recv() => {
                    self.postponed.push_back(report);
                    self.take_postponed().await
                }
                received = source.recv(), if is_open && waiting_count < self.config.waiting_max => {
                    self.handle(received).await
                }
            };
            // Without its stream nothing can be acknowledged any more.
            if done.is_err() {
                return;
            }
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

    async fn take_postponed(&mut self) -> Result<(), Interruption> {
        while let Some(report) = self.postponed.pop_front() {
            self.report(report).await?;
        }
        Ok(())
    }

    async fn report(&mut self, report: Report) -> Result<(), Interruption> {
        match report {
            Report::Opened(source, catalog) => self.opened(source, catalog).await,
            Report::Resolved(resolved) => self.resolved(*resolved).await,
            Report::CatalogChanged(catalog) => self.adopt(catalog).await,
            Report::Mirror(news) => {
                self.mirror_news(*news).await?;
                self.recheck_loaded().await;
                Ok(())
            }
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
            Report::Looked(look) => {
                self.looked(look);
                Ok(())
            }
            Report::Checked(answered) => {
                self.checked(answered);
                Ok(())
            }
            Report::Compared(id, is_compared) => {
                self.compared(id, is_compared);
                Ok(())
            }
        }
    }
}

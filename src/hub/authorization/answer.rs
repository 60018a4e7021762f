//! Answers inquiries: takes them in, has them asked in batches, and hands their answers on.
//!
//! While a session is busy with a batch, inquiries gather for the next: the busier the database, the larger the
//! batches, and in a storm of joins questions gather for some milliseconds. Equal questions that wait together are asked once; one that arrives while its like is being asked is
//! asked again, because what it depends on may have changed meanwhile.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::cache::{Cache, Seen};
use super::deliver::Deliveries;
use super::desk::{Desk, Entry, PATIENCE, Waiting};
use super::probe::Outcome;
use super::round::{Means, Round};
use super::session::Session;
use super::{Answer, Asked, AuthorizationError, Counters, Inquiry, Question, ReplyTo};
use crate::hub::{RecentCommits, Sink};
use crate::postgres::connect::Database;
use crate::telemetry::code::Code;
use crate::telemetry::log::chain;
use crate::telemetry::report::report;

/// How often those are looked for who have waited too long.
const OVERDUE_EVERY: Duration = Duration::from_millis(250);

/// For how long a worker without a session leaves the questions to one that has one.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How many sessions a batch may wear out before its questions count as not to be answered.
const ATTEMPTS_MAX: u32 = 2;

/// What the answering side needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database whose policies decide.
    pub database: Database,
    /// How many sessions ask at most; at least one. They are opened when first needed.
    pub connection_count: usize,
    /// How long Postgres may take over one statement.
    pub query_timeout: Duration,
    /// How often policies, roles and rights are compared with those that answers were made of.
    pub catalog_poll: Duration,
    /// The largest stored broadcast that is replayed.
    pub payload_bytes_max: usize,
    /// What has been streamed and a replay must see.
    pub commits: Arc<RecentCommits>,
    /// Where is counted what happens.
    pub counters: Arc<Counters>,
}

/// Answers inquiries until `stop` resolves or nobody can ask any more.
pub async fn run<S: Sink>(
    config: Config,
    inquiries: mpsc::Receiver<Inquiry>,
    shards: Vec<S>,
    stop: impl Future<Output = ()>,
) {
    let (deliveries, carried) = Deliveries::new(shards, Arc::clone(&config.counters));
    let cache = RefCell::new(Cache::new(config.catalog_poll));
    let open_sessions = Cell::new(0);
    let office = Office { config, desk: Desk::default(), deliveries, cache, open_sessions };
    let workers = (0..office.config.connection_count.max(1)).map(|_| office.work());
    tokio::select! {
        () = stop => {}
        () = office.receive(inquiries) => {}
        _ = join_all(workers) => {}
        () = office.dismiss() => {}
        () = carried => {}
    }
}

/// What the tasks of the answering side share.
struct Office {
    config: Config,
    desk: Desk,
    deliveries: Deliveries,
    cache: RefCell<Cache>,
    /// How many workers have a session.
    open_sessions: Cell<usize>,
}

impl Office {
    fn counters(&self) -> &Counters {
        &self.config.counters
    }

    async fn receive(&self, mut inquiries: mpsc::Receiver<Inquiry>) {
        while let Some(inquiry) = inquiries.recv().await {
            self.counters().inquiries.add(1);
            let waiting = Waiting::new(inquiry);
            match self.without_asking(&waiting.asked) {
                Some(outcome) => self.deliver(waiting.reply, waiting.asked.question, waiting.since, &outcome),
                None => {
                    self.desk.room().await;
                    self.desk.put(waiting);
                }
            }
        }
    }

    /// What needs no Postgres.
    fn without_asking(&self, asked: &Asked) -> Option<Outcome> {
        if let Some(refusal) = asked.subject.refusal() {
            return Some(Err(refusal));
        }
        let rights = self.cache.borrow_mut().get(asked)?;
        self.counters().cache_hits.add(1);
        Some(Ok(Answer::Rights(rights)))
    }

    /// Answers those who have waited too long.
    async fn dismiss(&self) {
        loop {
            tokio::time::sleep(OVERDUE_EVERY).await;
            for Waiting { asked, reply, since } in self.desk.overdue() {
                self.deliver(reply, asked.question, since, &Err(AuthorizationError::Unavailable));
            }
        }
    }

    /// Asks one batch after another on one session. Between batches, the catalog is compared.
    async fn work(&self) {
        let config = &self.config;
        let mut session = Session::new(config.database.clone(), config.query_timeout);
        loop {
            let batch = match timeout(config.catalog_poll, self.desk.take()).await {
                Ok(batch) => batch,
                Err(_) if session.was_open() => Vec::new(),
                Err(_) => continue,
            };
            if !batch.is_empty() {
                self.counters().batches.add(1);
                self.counters().questions.add_length(batch.len());
            }
            let was_open = session.is_open();
            let asked = self.ask(&mut session, &batch).await;
            let others = self.open_sessions.get() - usize::from(was_open);
            self.open_sessions.set(others + usize::from(session.is_open()));
            match asked {
                Ok(round) => self.conclude(batch, round),
                // A session that cannot be opened must not eat the questions of one that is.
                Err(_) if !session.is_open() && !batch.is_empty() && others > 0 => {
                    self.desk.put_back(batch.into_iter());
                    tokio::time::sleep(OPEN_AGAIN_AFTER).await;
                }
                Err(failure) => self.hand_out(batch, &Err(failure)),
            }
        }
    }

    async fn ask(&self, session: &mut Session, batch: &[Entry]) -> Result<Round, AuthorizationError> {
        let questions: Vec<_> = batch.iter().map(|entry| entry.asked.clone()).collect();
        for _ in 0..ATTEMPTS_MAX {
            let (client, memory) = session.client().await?;
            let counters = self.counters();
            let Config { payload_bytes_max, commits, .. } = &self.config;
            let mut means = Means { client, counters, commits, payload_bytes_max: *payload_bytes_max };
            match timeout(PATIENCE, memory.round(&mut means, &questions)).await {
                Ok(Ok(round)) => return Ok(round),
                Ok(Err(error)) => {
                    let error = chain(&error);
                    report!(
                        warn,
                        Code::DatabaseConnectionDown,
                        error,
                        "authorizations are asked again on a new session"
                    );
                    session.close();
                }
                Err(_) => {
                    report!(warn, Code::QueryCanceled, "authorizations were not answered in time");
                    session.close();
                    return Err(AuthorizationError::Canceled);
                }
            }
        }
        Err(AuthorizationError::Unavailable)
    }

    /// Hands out what a round has found, unless policies have changed since; what was not asked is put back.
    fn conclude(&self, batch: Vec<Entry>, round: Round) {
        let seen = self.cache.borrow_mut().see(&round.fingerprint, round.compared_at);
        match seen {
            Seen::Current => {}
            Seen::Changed => {
                tracing::info!("policies, roles or rights have changed: channels ask again what they may do");
                self.counters().policy_changes.add(1);
                self.deliveries.policies_changed();
            }
            Seen::Outdated => return self.desk.put_back(batch.into_iter()),
        }
        let mut unasked = Vec::new();
        for ((entry, outcome), needs) in batch.into_iter().zip(round.outcomes).zip(round.needs) {
            match outcome {
                None => unasked.push(entry),
                Some(outcome) => {
                    if let (Some(needs), Ok(Answer::Rights(rights))) = (needs, &outcome) {
                        self.cache.borrow_mut().put(&entry.asked, needs, *rights);
                    }
                    self.hand_out(vec![entry], &outcome);
                }
            }
        }
        if !unasked.is_empty() {
            self.desk.put_back(unasked.into_iter());
        }
    }

    fn hand_out(&self, entries: Vec<Entry>, outcome: &Outcome) {
        for Entry { asked, who } in entries {
            for (reply, since) in who {
                self.deliver(reply, asked.question, since, outcome);
            }
        }
    }

    fn deliver(&self, reply: ReplyTo, question: Question, since: Instant, outcome: &Outcome) {
        let durations = match question {
            Question::Read => Some(&self.counters().read_checks),
            Question::Write => Some(&self.counters().write_checks),
            Question::Replay { .. } => None,
        };
        if let Some(durations) = durations {
            durations.record_duration(since.elapsed());
        }
        self.deliveries.deliver(reply, question, outcome);
    }
}

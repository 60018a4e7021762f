//! Answers inquiries: takes them in, has them asked in batches, and hands their answers on.
//!
//! While a session is busy with a batch, inquiries gather for the next: the busier the database, the larger the
//! batches. Equal questions that wait together are asked once; one that arrives while its like is being asked is
//! asked again, because what it depends on may have changed meanwhile.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::deliver::Deliveries;
use super::desk::{Desk, Entry, PATIENCE, Waiting};
use super::probe::{self, Outcome};
use super::session::Session;
use super::{AuthorizationError, Counters, Inquiry, Question, ReplyTo};
use crate::hub::Sink;
use crate::postgres::connect::Database;
use crate::telemetry::log::chain;

/// How often those are looked for who have waited too long.
const OVERDUE_EVERY: Duration = Duration::from_millis(250);

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
    let office = Rc::new(Office { config, desk: Desk::default(), deliveries });
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
}

impl Office {
    fn counters(&self) -> &Counters {
        &self.config.counters
    }

    async fn receive(&self, mut inquiries: mpsc::Receiver<Inquiry>) {
        while let Some(inquiry) = inquiries.recv().await {
            Counters::add(&self.counters().inquiries, 1);
            let waiting = Waiting::new(inquiry);
            match waiting.asked.subject.refusal() {
                Some(refusal) => {
                    self.deliver(waiting.reply, waiting.asked.question, waiting.since, &Err(refusal))
                }
                None => {
                    self.desk.room().await;
                    self.desk.put(waiting);
                }
            }
        }
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

    /// Asks one batch after another on one session.
    async fn work(&self) {
        let config = &self.config;
        let mut session = Session::new(config.database.clone(), config.query_timeout);
        loop {
            let batch = self.desk.take().await;
            Counters::add(&self.counters().batches, 1);
            Counters::add(&self.counters().questions, batch.len());
            let outcomes = self.ask(&mut session, &batch).await;
            for (Entry { asked, who }, outcome) in batch.into_iter().zip(outcomes) {
                for (reply, since) in who {
                    self.deliver(reply, asked.question, since, &outcome);
                }
            }
        }
    }

    async fn ask(&self, session: &mut Session, batch: &[Entry]) -> Vec<Outcome> {
        let questions: Vec<_> = batch.iter().map(|entry| entry.asked.clone()).collect();
        let mut failure = AuthorizationError::Unavailable;
        for _ in 0..ATTEMPTS_MAX {
            let client = match session.client().await {
                Ok((client, _)) => client,
                Err(error) => {
                    failure = error;
                    break;
                }
            };
            match timeout(PATIENCE, probe::answer(client, &questions)).await {
                Ok(Ok(outcomes)) => return outcomes,
                Ok(Err(error)) => {
                    tracing::warn!(error = chain(&error), "authorizations are asked again on a new session");
                    session.close();
                }
                Err(_) => {
                    tracing::warn!("authorizations were not answered in time");
                    session.close();
                    failure = AuthorizationError::Canceled;
                    break;
                }
            }
        }
        questions.iter().map(|_| Err(failure.clone())).collect()
    }

    fn deliver(&self, reply: ReplyTo, question: Question, since: Instant, outcome: &Outcome) {
        let durations = match question {
            Question::Read => Some(&self.counters().read_checks),
            Question::Write => Some(&self.counters().write_checks),
            Question::Replay { .. } => None,
        };
        if let Some(durations) = durations {
            durations.record(since.elapsed());
        }
        self.deliveries.deliver(reply, question, outcome);
    }
}

//! One asker: a session that answers batches of questions, one after another.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::telemetry::code::Code;
use crate::telemetry::report::report;
use crate::wal::stream::Backoff;

use super::ask::{self, Batch};
use super::catalogs::{chain, open_session};
use super::feed::{Config, Report};

/// How long a batch may take, besides what its statements may take. Postgres has ended them all by then, so a
/// session that still says nothing is dead or hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// How often a batch is asked again after a session has said nothing. Then it counts as not to be judged, lest
/// everybody wait for it for ever.
const SILENT_ATTEMPTS_MAX: u32 = 3;

/// Answers batches until there are no more. A session that is lost is made anew, and the batch in hand asked
/// again.
pub(super) async fn ask_on_demand(
    asker: usize,
    config: Rc<Config>,
    mut queue: mpsc::Receiver<Batch>,
    report: mpsc::Sender<Report>,
) {
    let mut session: Option<Client> = None;
    while let Some(batch) = queue.recv().await {
        let mut backoff = Backoff::new();
        let mut silent_attempts = 0;
        // How often statements may run into their timeout: once for each group, then for few of its questions by
        // themselves, and in the two statements that come before the groups.
        let groups = u32::try_from(batch.groups.len()).unwrap_or(u32::MAX);
        let timeouts = groups.saturating_mul(1 + ask::CANCELED_MAX).saturating_add(2);
        let within = ANSWER_WITHIN.saturating_add(config.ask_timeout.saturating_mul(timeouts));
        let outcomes = loop {
            let client = match session.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => match open_session(&config, "rowcast_ask").await {
                    Ok(client) => client,
                    Err(error) => {
                        let error = chain(&error);
                        report!(
                            warn,
                            Code::UnableToConnectToTenantDatabase,
                            error,
                            "session could not be opened"
                        );
                        tokio::time::sleep(backoff.pause(rand::random())).await;
                        continue;
                    }
                },
            };
            let began = Instant::now();
            config.counters.questions.add_length(batch.groups.iter().map(|group| group.items.len()).sum());
            match tokio::time::timeout(within, ask::answer(&client, &batch)).await {
                Ok(Ok(outcomes)) => {
                    config.counters.batches.record_duration(began.elapsed());
                    session = Some(client);
                    break outcomes;
                }
                Ok(Err(error)) => {
                    let error = chain(&error);
                    report!(
                        warn,
                        Code::DatabaseConnectionDown,
                        error,
                        "questions are asked again on a new session"
                    );
                    tokio::time::sleep(backoff.pause(rand::random())).await;
                }
                Err(_) => {
                    silent_attempts += 1;
                    report!(
                        warn,
                        Code::QueryCanceled,
                        attempt = silent_attempts,
                        "questions were not answered in time"
                    );
                    if silent_attempts == SILENT_ATTEMPTS_MAX {
                        break ask::unanswered(&batch, &SqlState::QUERY_CANCELED);
                    }
                }
            }
        };
        if report.send(Report::Answered(asker, outcomes)).await.is_err() {
            return;
        }
    }
}

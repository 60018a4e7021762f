//! One asker: a session that answers batches of questions, one after another.

use std::rc::Rc;

use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::wal::stream::Backoff;

use super::ask::{self, Batch};
use super::catalogs::{chain, open_session};
use super::feed::{Config, Report};

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
        let outcomes = loop {
            let client = match session.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => match open_session(&config, "rowcast_ask").await {
                    Ok(client) => client,
                    Err(error) => {
                        tracing::warn!(error = chain(&error), "session could not be opened");
                        tokio::time::sleep(backoff.pause(rand::random())).await;
                        continue;
                    }
                },
            };
            match ask::answer(&client, &batch).await {
                Ok(outcomes) => {
                    session = Some(client);
                    break outcomes;
                }
                Err(error) => {
                    tracing::warn!(error = %error, "questions are asked again on a new session");
                    tokio::time::sleep(backoff.pause(rand::random())).await;
                }
            }
        };
        if report.send(Report::Answered(asker, outcomes)).await.is_err() {
            return;
        }
    }
}

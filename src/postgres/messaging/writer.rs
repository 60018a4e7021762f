//! Writes what has been delivered, a batch at a time.

use std::time::Duration;

use super::Config;
use super::deliveries::{Note, Notes};
use super::error::{Error, Retry};
use super::ids::{Id, Ids};
use super::session::{Prepared, Session};

const NOTE: &str = "select rowcast.note_deliveries($1, $2, $3)";

/// The pause before a batch is tried again that met somebody else's lock.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How many batches are written at the end.
const LAST_BATCHES_MAX: usize = 64;

/// Writes what is still there, without waiting for more.
pub(super) async fn finish(config: &Config, notes: &mut Notes) -> Result<(), Error> {
    let mut batch = notes.rest(config.batch_max);
    if batch.is_empty() {
        return Ok(());
    }
    let writer = Writer::open(config).await?;
    for _ in 0..LAST_BATCHES_MAX {
        writer.write(&batch, notes).await?;
        batch = notes.rest(config.batch_max);
        if batch.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Writes batches.
pub(super) struct Writer<'a> {
    config: &'a Config,
    session: Session,
    note: Prepared,
}

impl<'a> Writer<'a> {
    pub(super) async fn open(config: &'a Config) -> Result<Self, Error> {
        let session = Session::open(&config.database, "rowcast_messaging_deliveries").await?;
        let note = session.prepare("note what was delivered", NOTE).await?;
        Ok(Self { config, session, note })
    }

    /// Goes on until a statement fails for good; the batch stays, and is the first of the next writer.
    pub(super) async fn keep_up(self, notes: &mut Notes) -> Result<(), Error> {
        loop {
            let Some(batch) = notes.batch(self.config.batch_max, self.config.batch_wait).await else {
                // Nobody notes anything any more; the others go on.
                return std::future::pending().await;
            };
            if let Err(error) = self.write(&batch, notes).await {
                if error.retry() != Retry::Soon {
                    return Err(error);
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }

    async fn write(&self, batch: &[Note], notes: &mut Notes) -> Result<(), Error> {
        let messages: Vec<Id> = batch.iter().map(|(message, _)| Id(*message)).collect();
        let ids = Ids::of(batch.iter().map(|(_, person)| *person));
        let delivered = self.session.count(&self.note, &[&messages, &ids.users, &ids.customers]).await;
        match &delivered {
            Ok(delivered) => notes.written(*delivered),
            Err(_) => notes.failed(),
        }
        delivered.map(|_| ())
    }
}

//! What a session sees: which transactions were over when its snapshot was taken.
//!
//! The stream can deliver a commit before the commit is visible to new snapshots, so whoever looks at stored rows
//! asks for the snapshot first.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, Error};

use super::rows::rows_of;

/// Which transactions a session sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// Reads what `pg_current_snapshot()` prints: `xmin:xmax:xip,…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let in_progress = parts.next()?.split(',').filter(|part| !part.is_empty());
        Some(Self {
            xmin,
            xmax,
            in_progress: in_progress.map(|part| part.parse().ok()).collect::<Option<_>>()?,
        })
    }

    /// All transactions before this one, epoch included, were over.
    pub fn xmin(&self) -> u64 {
        self.xmin
    }

    /// Whether the transaction is over; `xid` lacks the epoch, and lies within 2³¹ of the snapshot.
    pub fn sees(&self, xid: u32) -> bool {
        const EPOCH: u64 = 1 << 32;
        let guess = (self.xmax & !(EPOCH - 1)) | u64::from(xid);
        let full = if guess >= self.xmax.saturating_add(EPOCH / 2) {
            guess.saturating_sub(EPOCH)
        } else if guess.saturating_add(EPOCH / 2) < self.xmax {
            guess + EPOCH
        } else {
            guess
        };
        self.sees_whole(full)
    }

    /// Whether the transaction is over; `xid` has its epoch.
    pub fn sees_whole(&self, xid: u64) -> bool {
        xid < self.xmax && !self.in_progress.contains(&xid)
    }
}

/// The query whose only value [`Snapshot::parse`] reads.
const TAKE: &str = "select pg_catalog.pg_current_snapshot()::text";

/// How long the first pause between two snapshots is; later ones double up to the last.
const PAUSE_FIRST: Duration = Duration::from_micros(100);
const PAUSE_LAST: Duration = Duration::from_millis(20);

/// Waits until the changes of a committed transaction can be read; `false` if they cannot in time.
///
/// The stream can deliver a commit before new snapshots see it: Postgres writes its log first.
pub async fn is_visible(client: &Client, xid: u32, within: Duration) -> Result<bool, Error> {
    take_until(client, None, |snapshot| snapshot.sees(xid), within).await
}

/// As [`is_visible`], for several transactions.
pub async fn are_visible(client: &Client, xids: &[u32], within: Duration) -> Result<bool, Error> {
    take_until(client, None, |snapshot| xids.iter().all(|xid| snapshot.sees(*xid)), within).await
}

/// As [`is_visible`], for all changes that a snapshot must see; leaves a transaction open that reads by that snapshot.
pub async fn begin_when(
    client: &Client,
    sees: impl Fn(&Snapshot) -> bool,
    within: Duration,
) -> Result<bool, Error> {
    take_until(client, Some("begin isolation level repeatable read"), sees, within).await
}

/// Takes snapshots, each in a transaction of its own if `begin` is given, until one will do.
async fn take_until(
    client: &Client,
    begin: Option<&str>,
    will_do: impl Fn(&Snapshot) -> bool,
    within: Duration,
) -> Result<bool, Error> {
    let take = begin.map_or_else(|| TAKE.to_owned(), |begin| format!("{begin}; {TAKE}"));
    let deadline = Instant::now() + within;
    let mut pause = PAUSE_FIRST;
    loop {
        let messages = client.simple_query(&take).await?;
        let snapshot = rows_of(&messages).find_map(|row| row.get(0).and_then(Snapshot::parse));
        if snapshot.is_some_and(|snapshot| will_do(&snapshot)) {
            return Ok(true);
        }
        if begin.is_some() {
            client.batch_execute("rollback").await?;
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_knows_which_transactions_are_over() {
        let snapshot = Snapshot::parse("100:105:101,103").unwrap();
        let seen: Vec<u32> = (99..107).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [99, 100, 102, 104]);
        assert!(Snapshot::parse("1:2:").unwrap().sees(1));
        assert!(Snapshot::parse("1:x:").is_none());
    }

    #[test]
    fn a_snapshot_widens_transactions_across_an_epoch() {
        let epoch = 1_u64 << 32;
        let snapshot = Snapshot::parse(&format!("{}:{}:", epoch + 5, epoch + 10)).unwrap();
        assert!(snapshot.sees(u32::MAX), "committed before the wrap");
        assert!(snapshot.sees(9));
        assert!(!snapshot.sees(10));
        let snapshot = Snapshot::parse(&format!("{}:{}:", epoch - 5, epoch - 2)).unwrap();
        assert!(!snapshot.sees(3), "begun after the wrap, later than the snapshot");
    }
}

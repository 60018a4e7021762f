//! The latest stored broadcasts of a topic, for a channel that asks for what it missed.
//!
//! In: a topic whose reader has been found to be allowed to read. Out: rows of `realtime.messages`, oldest first, and
//! what was committed when they were read.

use std::sync::Arc;

use tokio_postgres::{Client, SimpleQueryRow};

use super::{AuthorizationError, Replayed, Stored};
use crate::channel::Body;
use crate::hub::Seen;
use crate::postgres::rows::rows_of;
use crate::postgres::snapshot::Snapshot;
use crate::wal::Lsn;
use crate::wal::sql::literal;
use crate::wal::tuple::bytes_of_hex;

/// The moments that `since` may name, in milliseconds since the epoch: from the first that Postgres knows, in the year
/// 4714 before our era, to the end of the year 9999.
const SINCE_UNIX_MS: std::ops::RangeInclusive<i64> = -210_866_803_200_000..=253_402_300_799_999;

/// How many broadcasts a replay holds at most.
pub const LIMIT_MAX: u8 = 25;

/// How long Postgres may look for them.
const TIMEOUT_MS: u32 = 5_000;

/// The newest `limit` private broadcasts of `topic`, which is named without its prefix, that are not older than
/// `since_unix_ms`; oldest first. Those with a payload of more than `payload_bytes_max` bytes are left out, as they
/// were when they were sent. What was committed by then is read in the same statement, so that it is the same for both.
///
/// The session may be shared: it has no open transaction, and is left as it was.
pub async fn replay(
    client: &Client,
    topic: &str,
    since_unix_ms: i64,
    limit: u8,
    payload_bytes_max: usize,
) -> Result<Replayed, AuthorizationError> {
    if !SINCE_UNIX_MS.contains(&since_unix_ms) {
        return Err(AuthorizationError::SinceOutOfRange);
    }
    // Postgres stores no such topic, and takes no such text.
    let (topic, limit) = match topic.contains('\0') {
        true => (literal(""), 0),
        false => (literal(topic), limit.clamp(1, LIMIT_MAX)),
    };
    // A role that policies bind would find fewer rows and not know; without row_security Postgres refuses it instead.
    // One message is one transaction. Rows that were inserted at the same time are in one partition, in the order of
    // their places there.
    let sql = format!(
        "set local statement_timeout = {TIMEOUT_MS}; set local row_security = off; set local search_path = '';
         select stored.id::text, event, payload::text, pg_catalog.encode(binary_payload, 'hex'),
                pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()::text
           from (select) as always
           left join (
                select *, ctid as place
                  from realtime.messages
                 where topic = {topic} and extension = 'broadcast' and private is true
                   and inserted_at >= timestamp 'epoch' + {since_unix_ms}::bigint * interval '1 millisecond'
                   and inserted_at < pg_catalog.now() at time zone 'utc' + interval '1 minute'
                   and event is not null
                   and coalesce(pg_catalog.octet_length(binary_payload), pg_catalog.octet_length(payload::text))
                       <= {payload_bytes_max}
                 order by inserted_at desc, ctid desc limit {limit}) as stored on true
          order by stored.inserted_at, stored.place"
    );
    let messages = client.simple_query(&sql).await?;
    // There is always a row; an answer without what was committed would be none.
    let seen = rows_of(&messages).next().and_then(seen).ok_or(AuthorizationError::Unavailable)?;
    Ok(Replayed { rows: rows_of(&messages).filter_map(stored).collect(), seen: Arc::new(seen) })
}

/// The end of the log is asked for while the rows are read: after the snapshot, and so behind all that it sees.
fn seen(row: &SimpleQueryRow) -> Option<Seen> {
    let end: Lsn = row.get(5)?.parse().ok()?;
    Some(Seen::new(Snapshot::parse(row.get(4)?)?, end))
}

fn stored(row: &SimpleQueryRow) -> Option<Stored> {
    let body = match row.get(3) {
        Some(hex) => Body::Bytes(bytes_of_hex(hex)?.into()),
        None => Body::Json(row.get(2)?.to_owned().into()),
    };
    Some(Stored { id: row.get(0)?.parse().ok()?, event: row.get(1)?.to_owned(), body })
}

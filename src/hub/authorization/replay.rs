//! The latest stored broadcasts of a topic, for a channel that asks for what it missed.
//!
//! In: a topic whose reader has been found to be allowed to read. Out: rows of `realtime.messages`, oldest first.

use tokio_postgres::{Client, SimpleQueryRow};

use super::{AuthorizationError, Stored};
use crate::channel::Body;
use crate::postgres::rows::rows_of;
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
/// were when they were sent.
///
/// The session may be shared: it has no open transaction, and is left as it was.
pub async fn replay(
    client: &Client,
    topic: &str,
    since_unix_ms: i64,
    limit: u8,
    payload_bytes_max: usize,
) -> Result<Vec<Stored>, AuthorizationError> {
    if !SINCE_UNIX_MS.contains(&since_unix_ms) {
        return Err(AuthorizationError::SinceOutOfRange);
    }
    // Postgres stores no such topic, and takes no such statement.
    if topic.contains('\0') {
        return Ok(Vec::new());
    }
    let (topic, limit) = (literal(topic), limit.clamp(1, LIMIT_MAX));
    // A role that policies bind would find fewer rows and not know; without row_security Postgres refuses it instead.
    // One message is one transaction. Rows that were inserted at the same time are in one partition, in the order of
    // their places there.
    let sql = format!(
        "set local statement_timeout = {TIMEOUT_MS}; set local row_security = off; set local search_path = '';
         select id::text, event, payload::text, pg_catalog.encode(binary_payload, 'hex')
           from realtime.messages
          where topic = {topic} and extension = 'broadcast' and private is true
            and inserted_at >= timestamp 'epoch' + {since_unix_ms}::bigint * interval '1 millisecond'
            and inserted_at < pg_catalog.now() at time zone 'utc' + interval '1 minute'
            and event is not null
            and coalesce(pg_catalog.octet_length(binary_payload), pg_catalog.octet_length(payload::text))
                <= {payload_bytes_max}
          order by inserted_at desc, ctid desc limit {limit}"
    );
    let messages = client.simple_query(&sql).await?;
    let mut found: Vec<Stored> = rows_of(&messages).filter_map(stored).collect();
    found.reverse();
    Ok(found)
}

fn stored(row: &SimpleQueryRow) -> Option<Stored> {
    let body = match row.get(3) {
        Some(hex) => Body::Bytes(bytes_of_hex(hex)?.into()),
        None => Body::Json(row.get(2)?.to_owned().into()),
    };
    Some(Stored { id: row.get(0)?.parse().ok()?, event: row.get(1)?.to_owned(), body })
}

//! The one place that reads the wall clock; everything else is handed the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970-01-01 UTC; zero on a machine whose clock stands before it.
#[expect(clippy::disallowed_methods, reason = "this is the edge where time comes in")]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whole seconds since 1970-01-01 UTC, as tokens count.
pub fn unix_seconds() -> i64 {
    i64::try_from(unix_time().as_secs()).unwrap_or(i64::MAX)
}

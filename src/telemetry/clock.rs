//! The one place that reads the wall clock. Everything else is given the time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the epoch; zero on a clock that is set before it.
pub fn unix_seconds() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the edge at which the time is read")]
    let now = SystemTime::now();
    let passed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
}

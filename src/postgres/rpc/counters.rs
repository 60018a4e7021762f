//! What is counted about calls.

use std::time::Duration;

use super::{Error, Returned};
use crate::telemetry::metrics as names;
use crate::telemetry::number::{Histogram, Number};
use crate::telemetry::page::Page;

/// In microseconds.
const BOUNDS: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];

/// What has happened to calls since the start.
#[derive(Debug)]
pub(super) struct Counters {
    succeeded: Number,
    refused: Number,
    not_found: Number,
    busy_refused: Number,
    failed: Number,
    took: Histogram,
    /// Sessions that make a call now.
    pub(super) busy: Number,
    /// Sessions opened.
    pub(super) opened: Number,
    /// Sessions closed in the midst of a call.
    pub(super) lost: Number,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            succeeded: Number::new(),
            refused: Number::new(),
            not_found: Number::new(),
            busy_refused: Number::new(),
            failed: Number::new(),
            took: Histogram::new(BOUNDS),
            busy: Number::new(),
            opened: Number::new(),
            lost: Number::new(),
        }
    }
}

impl Counters {
    /// Counts a call that has ended.
    pub(super) fn count(&self, result: &Result<Returned, Error>, took: Duration) {
        self.took.record_duration(took);
        let number = match result {
            Ok(_) => &self.succeeded,
            Err(Error::Refused { .. } | Error::NotSingle { .. }) => &self.refused,
            Err(Error::NotFound { .. } | Error::Ambiguous { .. }) => &self.not_found,
            Err(Error::Busy | Error::NoSession) => &self.busy_refused,
            Err(Error::Unavailable | Error::TimedOut) => &self.failed,
        };
        number.add(1);
    }

    pub(super) fn add_to(&self, page: &mut Page) {
        for (result, number) in [
            ("success", &self.succeeded),
            ("refused", &self.refused),
            ("not_found", &self.not_found),
            ("busy", &self.busy_refused),
            ("failed", &self.failed),
        ] {
            page.add_to(&names::RPC_CALLS, result, number.get());
        }
        page.add_histogram(&names::RPC_TIME, "", &self.took);
        page.add(&names::RPC_SESSIONS_BUSY, self.busy.get());
        page.add(&names::RPC_SESSIONS_OPENED, self.opened.get());
        page.add(&names::RPC_SESSIONS_LOST, self.lost.get());
    }
}

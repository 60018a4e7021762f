//! What adapters count.

use crate::telemetry::metrics as names;
use crate::telemetry::number::Number;
use crate::telemetry::page::{Counts, Page};

/// What has happened on the sockets of apps since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sockets open now.
    pub sockets: Number,
    /// Events handed to sockets.
    pub events: Number,
    /// Changes that could not be read.
    pub unreadable: Number,
    /// Sockets that were ended because they did not take what they were told.
    pub behind: Number,
}

impl Counts for Counters {
    fn add_to(&self, page: &mut Page) {
        page.add(&names::ADAPTER_SOCKETS, self.sockets.get());
        page.add(&names::ADAPTER_EVENTS, self.events.get());
        page.add(&names::ADAPTER_UNREADABLE, self.unreadable.get());
        page.add(&names::ADAPTER_BEHIND, self.behind.get());
    }
}

//! The word that a channel is subscribed, held back until what it came too late for can be read.
//!
//! The stream can deliver a commit before new snapshots see it: under synchronous replication for as long as a standby
//! takes to answer. Whoever joins after such a delivery and then fetches what they have missed would get it in neither
//! way. So a channel is told only when a snapshot sees all that was streamed before it joined.
//!
//! One look serves all channels that wait when it begins, and none is needed where nothing was streamed lately.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Feed, Report};
use crate::hub::{ChannelRef, RecentCommits, Sink};
use crate::postgres::snapshot::are_visible;

/// What a client reads when its subscription works.
pub(super) const SUBSCRIBED: &str = "Subscribed to PostgreSQL";

/// How long one look waits for commits to become visible; then the next one begins, with those that came meanwhile.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The pause after a look for which there was no session.
const PAUSE: Duration = Duration::from_millis(100);

/// Who waits to be told that they are subscribed.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// What was streamed and may not be visible yet.
    streamed: RecentCommits,
    /// Those who wait, each for the look of this number.
    waiting: HashMap<ChannelRef, u64>,
    /// How many looks have begun.
    look_count: u64,
    is_looking: bool,
}

/// What a look has found.
pub(in crate::hub) struct Look {
    number: u64,
    /// What it has found to be visible.
    visible: Option<Vec<u32>>,
}

impl Announcements {
    /// Notes a transaction, before anything of it is handed on.
    pub(super) fn streamed(&self, xid: u32) {
        self.streamed.note(xid, Instant::now());
    }

    /// Forgets all that was streamed: the log has another history, which may lack it.
    pub(super) fn forked(&self) {
        self.streamed.clear();
    }

    /// Forgets a channel that has left or was refused.
    pub(super) fn forget(&mut self, channel: ChannelRef) {
        self.waiting.remove(&channel);
    }

    /// Forgets all channels: the stream has broken, and the next one begins anew with them.
    pub(super) fn interrupted(&mut self) {
        self.waiting.clear();
    }
}

impl<S: Sink> Feed<S> {
    /// Tells a channel that it is subscribed, as soon as that is the whole truth; whether it was told at once.
    pub(super) fn announce(&mut self, channel: ChannelRef) -> bool {
        if self.announcements.streamed.is_empty(Instant::now()) {
            self.tell(channel, true, &SUBSCRIBED.into());
            return true;
        }
        // One that has begun may have looked too early.
        let next = self.announcements.look_count + 1;
        self.announcements.waiting.insert(channel, next);
        self.look();
        false
    }

    fn look(&mut self) {
        let announcements = &mut self.announcements;
        if announcements.is_looking || announcements.waiting.is_empty() {
            return;
        }
        announcements.is_looking = true;
        announcements.look_count += 1;
        let (number, xids) = (announcements.look_count, announcements.streamed.all(Instant::now()));
        let (catalogs, report) = (Rc::clone(&self.catalogs), self.report.clone());
        self.tasks.spawn_local(async move {
            let client = catalogs.client().await;
            let found = are_visible(&client, &xids, LOOK_WITHIN).await;
            if found.is_err() {
                catalogs.give_up(&client).await;
                tokio::time::sleep(PAUSE).await;
            }
            let visible = found.is_ok_and(|found| found).then_some(xids);
            let _ = report.send(Report::Looked(Look { number, visible })).await;
        });
    }

    /// Tells those whom a look has served, and looks again for the others.
    pub(super) fn looked(&mut self, look: Look) {
        self.announcements.is_looking = false;
        if let Some(xids) = look.visible {
            self.announcements.streamed.forget(&xids);
            let served = self.announcements.waiting.extract_if(|_, number| *number <= look.number);
            let served: Vec<ChannelRef> = served.map(|(channel, _)| channel).collect();
            let message: Arc<str> = SUBSCRIBED.into();
            for channel in served {
                self.tell(channel, true, &message);
            }
        }
        self.look();
    }
}

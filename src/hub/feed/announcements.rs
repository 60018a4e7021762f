//! The word that a channel is subscribed, held back until what it came too late for can be read.
//!
//! The stream can deliver a commit before new snapshots see it: under synchronous replication for as long as a standby
//! takes to answer. Whoever joins after such a delivery and then fetches what they have missed would get it in neither
//! way. So a channel is told only when a snapshot sees all that was streamed before it joined.
//!
//! One look serves all channels that wait when it begins, and none is needed where nothing was streamed lately. It is
//! repeated for the same commits until they can be read: newer ones may be too new for as long as somebody writes.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Feed, Report};
use crate::hub::catalogs::CATALOG_WITHIN;
use crate::hub::{ChannelRef, RecentCommits, Sink};
use crate::postgres::snapshot::are_visible;

/// What a client reads when its subscription works.
pub(super) const SUBSCRIBED: &str = "Subscribed to PostgreSQL";

/// How long one look waits for commits to become visible, before it is repeated.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The pause after a look whose session failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Who waits to be told that they are subscribed.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// What was streamed and may not be visible yet.
    streamed: RecentCommits,
    /// Those who wait, each for the look of this number.
    waiting: HashMap<ChannelRef, u64>,
    /// How many looks have begun, repeated ones counted once.
    look_count: u64,
    /// The number of the look that is under way.
    current: Option<u64>,
    /// What carries it out.
    task: Option<AbortHandle>,
}

/// A look for what was streamed before those who wait for it had joined.
#[derive(Debug)]
pub(in crate::hub) struct Look {
    number: u64,
    xids: Vec<u32>,
    /// Whether it has found all of these to be visible.
    is_visible: bool,
}

impl Announcements {
    /// Notes a transaction, before anything of it is handed on.
    pub(super) fn streamed(&self, xid: u32) {
        self.streamed.note(xid, Instant::now());
    }

    /// Forgets all that was streamed: the log has another history, which may lack it.
    pub(super) fn forked(&mut self) {
        self.streamed.clear();
        self.end_look();
    }

    /// Forgets a channel that has left or was refused.
    pub(super) fn forget(&mut self, channel: ChannelRef) {
        self.waiting.remove(&channel);
    }

    /// Forgets all channels: the stream has broken, and the next one begins anew with them.
    pub(super) fn interrupted(&mut self) {
        self.waiting.clear();
        self.end_look();
    }

    /// Ends the look that is under way; what it may have reported already is ignored.
    fn end_look(&mut self) {
        self.current = None;
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Adds one who waits. A look that is under way may have been too early.
    fn wait(&mut self, channel: ChannelRef) {
        self.waiting.insert(channel, self.look_count + 1);
    }

    /// Begins a look, if somebody waits and none is under way.
    fn begin(&mut self, now: Instant) -> Option<Look> {
        if self.current.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.look_count += 1;
        self.current = Some(self.look_count);
        Some(Look { number: self.look_count, xids: self.streamed.all(now), is_visible: false })
    }

    /// Whom a look has served, and the next one: the same again if somebody still waits for it.
    fn ended(&mut self, mut look: Look, now: Instant) -> (Vec<ChannelRef>, Option<Look>) {
        if self.current != Some(look.number) {
            return (Vec::new(), None);
        }
        if look.is_visible {
            self.current = None;
            self.streamed.forget(&look.xids);
            let served = self.waiting.extract_if(|_, number| *number <= look.number);
            let served = served.map(|(channel, _)| channel).collect();
            return (served, self.begin(now));
        }
        if self.waiting.values().any(|number| *number <= look.number) {
            let kept: HashSet<u32> = self.streamed.all(now).into_iter().collect();
            look.xids.retain(|xid| kept.contains(xid));
            return (Vec::new(), Some(look));
        }
        self.current = None;
        (Vec::new(), self.begin(now))
    }
}

impl<S: Sink> Feed<S> {
    /// Tells a channel that it is subscribed, as soon as that is the whole truth; whether it was told at once.
    pub(super) fn announce(&mut self, channel: ChannelRef) -> bool {
        let now = Instant::now();
        if self.announcements.streamed.is_empty(now) {
            self.tell(channel, true, &SUBSCRIBED.into());
            return true;
        }
        self.announcements.wait(channel);
        let look = self.announcements.begin(now);
        self.look(look);
        false
    }

    fn look(&mut self, look: Option<Look>) {
        let Some(mut look) = look else { return };
        let (catalogs, report) = (Rc::clone(&self.catalogs), self.report.clone());
        let task = self.tasks.spawn_local(async move {
            let client = catalogs.client().await;
            let answer = answer(CATALOG_WITHIN, are_visible(&client, &look.xids, LOOK_WITHIN)).await;
            if answer.is_none() {
                catalogs.give_up(&client).await;
                tokio::time::sleep(PAUSE).await;
            }
            look.is_visible = answer.unwrap_or(false);
            let _ = report.send(Report::Looked(look)).await;
        });
        self.announcements.task = Some(task);
    }

    /// Tells those whom a look has served, and looks again for the others.
    pub(super) fn looked(&mut self, look: Look) {
        let (served, next) = self.announcements.ended(look, Instant::now());
        let message: Arc<str> = SUBSCRIBED.into();
        for channel in served {
            self.tell(channel, true, &message);
        }
        self.look(next);
    }
}

/// What a session says; nothing if it fails, or does not answer in time.
async fn answer<E>(within: Duration, asked: impl Future<Output = Result<bool, E>>) -> Option<bool> {
    tokio::time::timeout(within, asked).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::ConnectionId;

    const ANN: ChannelRef =
        ChannelRef { shard: 0, connection: ConnectionId { slot: 1, generation: 0 }, join: 1 };
    const BOB: ChannelRef =
        ChannelRef { shard: 0, connection: ConnectionId { slot: 2, generation: 0 }, join: 1 };

    fn look(number: u64, xids: &[u32], is_visible: bool) -> Look {
        Look { number, xids: xids.to_vec(), is_visible }
    }

    /// Has this look as the next one, and gives it back.
    #[track_caller]
    fn expect(next: Option<Look>, number: u64, xids: &[u32]) -> Look {
        let next = next.unwrap();
        assert_eq!((next.number, next.xids.as_slice()), (number, xids));
        next
    }

    #[test]
    fn newer_commits_do_not_keep_those_waiting_who_came_before_them() {
        let now = Instant::now();
        let mut announcements = Announcements::default();
        announcements.streamed(1);
        announcements.wait(ANN);
        let mut under_way = expect(announcements.begin(now), 1, &[1]);
        for xid in 2..5 {
            announcements.streamed(xid);
            announcements.wait(BOB);
            let (served, next) = announcements.ended(under_way, now);
            assert!(served.is_empty());
            under_way = expect(next, 1, &[1]);
        }
        under_way.is_visible = true;
        let (served, next) = announcements.ended(under_way, now);
        assert_eq!(served, [ANN]);
        let (served, next) = announcements.ended(expect(next, 2, &[2, 3, 4]), now);
        assert!(served.is_empty(), "he is held to what came before him");
        let mut under_way = expect(next, 2, &[2, 3, 4]);
        under_way.is_visible = true;
        let (served, next) = announcements.ended(under_way, now);
        assert!(served == [BOB] && next.is_none());
        assert!(announcements.streamed.is_empty(now));
    }

    #[test]
    fn a_look_is_not_repeated_for_nobody_or_for_what_is_kept_no_longer() {
        let now = Instant::now();
        let mut announcements = Announcements::default();
        announcements.streamed(1);
        announcements.wait(ANN);
        let under_way = expect(announcements.begin(now), 1, &[1]);
        announcements.streamed.forget(&[1]);
        announcements.streamed(2);
        let (_, next) = announcements.ended(under_way, now);
        let under_way = expect(next, 1, &[]);
        announcements.forget(ANN);
        announcements.wait(BOB);
        let (_, next) = announcements.ended(under_way, now);
        let under_way = expect(next, 2, &[2]);
        announcements.forget(BOB);
        assert!(announcements.ended(under_way, now).1.is_none());
        announcements.wait(BOB);
        expect(announcements.begin(now), 3, &[2]);
    }

    #[tokio::test]
    async fn a_look_ends_with_its_stream_whatever_it_finds() {
        let now = Instant::now();
        let mut announcements = Announcements::default();
        announcements.streamed(1);
        announcements.wait(ANN);
        expect(announcements.begin(now), 1, &[1]);
        let hung = tokio::spawn(std::future::pending::<()>());
        announcements.task = Some(hung.abort_handle());
        announcements.interrupted();
        assert!(hung.await.unwrap_err().is_cancelled());
        // Another history has a commit of the same number.
        announcements.forked();
        announcements.streamed(1);
        announcements.wait(ANN);
        expect(announcements.begin(now), 2, &[1]);
        let (served, next) = announcements.ended(look(1, &[1], true), now);
        assert!(served.is_empty() && next.is_none());
        assert!(!announcements.streamed.is_empty(now), "what the old look saw is not this one");
        assert_eq!(announcements.ended(look(2, &[1], true), now).0, [ANN]);
    }

    #[tokio::test]
    async fn a_session_that_fails_or_hangs_says_nothing() {
        let within = Duration::from_millis(1);
        assert_eq!(answer(within, std::future::pending::<Result<bool, ()>>()).await, None);
        assert_eq!(answer(within, std::future::ready(Err::<bool, _>(()))).await, None);
        assert_eq!(answer(within, std::future::ready(Ok::<_, ()>(true))).await, Some(true));
    }
}

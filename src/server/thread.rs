//! The threads besides those of the shards, and their end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::sink::ShardSink;
use super::{DRAIN_WITHIN, Error, FEED_END_WITHIN};
use crate::config::Settings;
use crate::hub::authorization::{self, Inquiry};
use crate::hub::feed;
use crate::hub::{RecentCommits, Sink};

/// The thread of the feed.
pub(super) struct FeedThread {
    /// Dropped to have it end.
    stop: Option<oneshot::Sender<()>>,
    /// Resolves when it has ended, however that came about.
    ended: watch::Receiver<()>,
}

impl FeedThread {
    /// One thread for reading, deciding and encoding: a change is never handed from core to core on its way.
    pub(super) fn start<S: Sink + Send + 'static>(
        config: feed::Config,
        links: feed::Links<S>,
    ) -> Result<Self, Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (alive, ended) = watch::channel(());
        std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || {
                // Dropped on the way out, by a panic as well.
                let _alive = alive;
                let stopped = async {
                    let _ = stopped.await;
                };
                runtime.block_on(feed::run_until(config, links, stopped));
            })
            .map_err(Error::Thread)?;
        Ok(Self { stop: Some(stop), ended })
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) {
        while self.ended.changed().await.is_ok() {}
    }

    /// Has it end, and waits for that, but not for ever.
    pub(super) async fn end(mut self) {
        drop(self.stop.take());
        if tokio::time::timeout(FEED_END_WITHIN, self.ended()).await.is_err() {
            tracing::info!("the feed did not end in time");
        }
    }
}

/// One thread for what private channels ask, so that the feed never waits for policies, and they never for it.
pub(super) fn start_authorizations(
    settings: &Settings,
    inquiries: mpsc::Receiver<Inquiry>,
    commits: &Arc<RecentCommits>,
    counters: &Arc<authorization::Counters>,
    sinks: Vec<ShardSink>,
    stopped: oneshot::Receiver<()>,
) -> Result<JoinHandle<()>, Error> {
    let config = authorization::Config {
        database: settings.database.clone(),
        connection_count: settings.hub.authorization_connections,
        query_timeout: settings.hub.ask_timeout,
        catalog_poll: settings.policy.catalog_poll,
        payload_bytes_max: settings.channel.payload_bytes_max,
        commits: Arc::clone(commits),
        counters: Arc::clone(counters),
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let stopped = async {
        let _ = stopped.await;
    };
    std::thread::Builder::new()
        .name("authorizer".to_owned())
        .spawn(move || runtime.block_on(authorization::run(config, inquiries, sinks, stopped)))
        .map_err(Error::Thread)
}

/// Waits for threads without holding up the runtime. A thread that panicked has said so already, and one that
/// does not end in time ends with the process.
pub(super) async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = async {
        while !threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(DRAIN_WITHIN, joined).await;
}

//! Apps with protocols of their own: what they reach of the server, and their end.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::DRAIN_WITHIN;
use super::part::shard_count;
use super::sink::FeedSink;
use crate::adapter::live::{Live, LiveHandle, LiveSink};
use crate::adapter::socket::Sockets;
use crate::adapter::{self, Counters, PublicPlace, Services};
use crate::auth::Verifier;
use crate::config::Settings;
use crate::hub::FeedCommand;
use crate::postgres::messaging::Messaging;
use crate::postgres::rpc::Rpc;
use crate::rest::Additions;
use crate::telemetry::page::Counts;

/// What apps are told of where this server is.
fn place(settings: &Settings) -> PublicPlace {
    let key = settings.public_api_key.as_ref().or(settings.auth.publishable_keys.first());
    PublicPlace { url: settings.public_url.clone(), api_key: key.map(|key| key.expose().to_owned()) }
}

/// The adapters of this server; nothing runs where there are none.
pub(super) struct Adapters(Option<Running>);

struct Running {
    services: Arc<Services>,
    sink: LiveSink,
    live: LiveHandle,
}

impl Adapters {
    /// Starts what the apps of the settings need.
    pub(super) fn start(
        settings: &Settings,
        verifier: &Arc<Verifier>,
        feed: &mpsc::Sender<FeedCommand>,
        rpc: &Rpc,
        messaging: &Messaging,
    ) -> Self {
        if settings.adapter.apps.is_empty() {
            return Self(None);
        }
        let counters = Arc::<Counters>::default();
        // The one after the last that has sockets of its own.
        let (task, sink, live) = Live::new(shard_count(settings), feed.clone(), Arc::clone(&counters));
        tokio::spawn(task.run());
        let services = Services {
            rpc: rpc.clone(),
            verifier: Arc::clone(verifier),
            bodies: Services::bodies(),
            place: place(settings),
            live: live.clone(),
            people: messaging.people.clone(),
            deliveries: messaging.deliveries.clone(),
            sockets: Sockets::new(settings.socket.connections_max, Arc::clone(&counters)),
            counters,
        };
        Self(Some(Running { services: Arc::new(services), sink, live }))
    }

    /// What stands for them in the feed's list of shards, at its end.
    pub(super) fn sink(&self) -> Option<FeedSink> {
        self.0.as_ref().map(|running| FeedSink::Live(running.sink.clone()))
    }

    /// What they count.
    pub(super) fn counts(&self) -> Vec<Arc<dyn Counts>> {
        self.0.iter().map(|running| Arc::clone(&running.services.counters) as Arc<dyn Counts>).collect()
    }

    /// Their routes.
    pub(super) fn additions(&self, settings: &Settings) -> Additions {
        let Some(running) = &self.0 else { return Additions::default() };
        let (routes, root) = adapter::routes(&settings.adapter.apps, &running.services);
        Additions { routes, root, described: adapter::described(&settings.adapter.apps) }
    }

    /// Closes their sockets. Gives how many did not close in time.
    pub(super) async fn end(&self) -> u64 {
        let Some(running) = &self.0 else { return 0 };
        let drained = tokio::time::timeout(DRAIN_WITHIN, async {
            running.live.drain().await;
            running.services.sockets.ended(DRAIN_WITHIN).await
        });
        let left = drained.await.unwrap_or_else(|_| running.services.sockets.open());
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

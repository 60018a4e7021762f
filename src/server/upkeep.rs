//! The upkeep of the messaging schema: its start and its end.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::postgres::messaging::{self, Messaging, Notes};
use crate::telemetry::page::Counts;

/// The task of the upkeep; there is none where messaging is off.
pub(super) struct Upkeep(Option<Running>);

struct Running {
    messaging: Messaging,
    /// Dropped to have it end.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Upkeep {
    /// Starts it if the settings want it.
    pub(super) fn start(settings: &Settings, messaging: &Messaging, notes: Notes) -> Self {
        if !settings.adapter.messaging {
            return Self(None);
        }
        let config = messaging::Config {
            idle: settings.adapter.presence_idle,
            grace: settings.adapter.presence_grace,
            ..messaging::Config::new(settings.database.clone())
        };
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(messaging::keep_up(config, messaging.clone(), notes, stopped));
        Self(Some(Running { messaging: messaging.clone(), stop, task }))
    }

    /// What it counts.
    pub(super) fn counts(&self) -> Option<Arc<dyn Counts>> {
        self.0.as_ref().map(|running| Arc::new(running.messaging.clone()) as Arc<dyn Counts>)
    }

    /// Has it write what is left, and waits for that; it takes a second at most.
    pub(super) async fn end(self) {
        let Some(Running { stop, task, .. }) = self.0 else { return };
        drop(stop);
        // One that panicked has said so.
        let _ = task.await;
    }
}

//! Whether this server can keep its promise now: every change reaches its subscribers.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::watch;

/// Whether the change stream runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Changes flow.
    Live,
    /// They do not. The reason is a sentence that anybody may read.
    Down(Cow<'static, str>),
}

/// The shared state of health: one place sets it, anybody reads it or waits for it.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Liveness>>);

impl Health {
    /// A server that has not reached its database yet.
    pub fn starting() -> Self {
        Self(Arc::new(watch::Sender::new(Liveness::Down(Cow::Borrowed("starting")))))
    }

    /// Says that changes flow.
    pub fn set_live(&self) {
        self.set(Liveness::Live);
    }

    /// Says that they do not, and why. `reason` is shown to anybody who asks: no addresses, no names.
    pub fn set_down(&self, reason: impl Into<Cow<'static, str>>) {
        self.set(Liveness::Down(reason.into()));
    }

    /// The state now.
    pub fn get(&self) -> Liveness {
        self.0.borrow().clone()
    }

    /// Waits until changes flow.
    pub async fn live(&self) {
        // An error needs the sender to be gone, and it is right here.
        let _ = self.0.subscribe().wait_for(|liveness| *liveness == Liveness::Live).await;
    }

    fn set(&self, liveness: Liveness) {
        self.0.send_if_modified(|current| {
            let changed = *current != liveness;
            *current = liveness;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_is_down_until_it_is_live() {
        let health = Health::starting();
        assert_eq!(health.get(), Liveness::Down("starting".into()));
        let waiting = health.clone();
        let waiter = tokio::spawn(async move { waiting.live().await });
        health.set_live();
        waiter.await.unwrap();
        assert_eq!(health.get(), Liveness::Live);
        health.set_down("the replication slot is lost");
        assert_eq!(health.get(), Liveness::Down("the replication slot is lost".into()));
    }
}

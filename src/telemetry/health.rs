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

const STARTING: Liveness = Liveness::Down(Cow::Borrowed("starting"));

/// The shared state of health: one place sets it, anybody reads it or waits for it.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<State>>);

#[derive(Debug)]
struct State {
    stream: Liveness,
    /// What has to be done before this server counts as live.
    hold_count: usize,
}

/// Keeps a server from counting as live until this is dropped.
#[derive(Debug)]
pub struct Hold(Health);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.hold_count -= 1);
    }
}

impl State {
    fn liveness(&self) -> Liveness {
        match self.stream {
            Liveness::Live if self.hold_count > 0 => STARTING,
            ref stream => stream.clone(),
        }
    }
}

impl Health {
    /// A server that has not reached its database yet.
    pub fn starting() -> Self {
        Self(Arc::new(watch::Sender::new(State { stream: STARTING, hold_count: 0 })))
    }

    /// Has something else done first: changes may flow, but the server is starting.
    pub fn hold(&self) -> Hold {
        self.0.send_modify(|state| state.hold_count += 1);
        Hold(self.clone())
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
        self.0.borrow().liveness()
    }

    /// Waits until changes flow.
    pub async fn live(&self) {
        // An error needs the sender to be gone, and it is right here.
        let _ = self.0.subscribe().wait_for(|state| state.liveness() == Liveness::Live).await;
    }

    fn set(&self, liveness: Liveness) {
        self.0.send_if_modified(|state| {
            let changed = state.stream != liveness;
            state.stream = liveness;
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

    #[tokio::test]
    async fn a_server_is_not_live_while_something_is_to_be_done_first() {
        let health = Health::starting();
        let (one, two) = (health.hold(), health.hold());
        health.set_live();
        drop(one);
        assert_eq!(health.get(), STARTING);
        let waiting = health.clone();
        let waiter = tokio::spawn(async move { waiting.live().await });
        drop(two);
        waiter.await.unwrap();
        assert_eq!(health.get(), Liveness::Live);
    }

    #[test]
    fn a_hold_does_not_hide_why_a_server_is_down() {
        let health = Health::starting();
        let _hold = health.hold();
        health.set_down("the replication slot is lost");
        assert_eq!(health.get(), Liveness::Down("the replication slot is lost".into()));
    }
}

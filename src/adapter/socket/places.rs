//! How many sockets apps have, and the end of them all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::adapter::Counters;

/// The sockets of all apps: room for so many. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct Sockets {
    max: usize,
    open: watch::Sender<usize>,
    counters: Arc<Counters>,
}

/// Room for one socket, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Sockets);

impl Sockets {
    /// None yet, and room for so many.
    pub fn new(max: usize, counters: Arc<Counters>) -> Self {
        Self { max, open: watch::Sender::new(0), counters }
    }

    /// Takes a place, if there is one.
    pub(super) fn take(&self) -> Option<Place> {
        let is_taken = self.open.send_if_modified(|open| {
            let has_room = *open < self.max;
            *open += usize::from(has_room);
            has_room
        });
        is_taken.then(|| {
            self.counters.sockets.add(1);
            Place(self.clone())
        })
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until all have ended, but not longer than this. Gives how many there still are.
    pub async fn ended(&self, within: Duration) -> usize {
        let mut open = self.open.subscribe();
        // An error needs the sender to be gone, and it is right here.
        let _ = tokio::time::timeout(within, open.wait_for(|open| *open == 0)).await;
        self.open()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counters.sockets.subtract(1);
        self.0.open.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_bounded_and_given_back() {
        let sockets = Sockets::new(1, Arc::default());
        let place = sockets.take();
        assert!(place.is_some());
        assert!(sockets.take().is_none());
        assert_eq!(sockets.ended(Duration::from_millis(1)).await, 1);
        drop(place);
        assert_eq!(sockets.ended(Duration::from_secs(20)).await, 0);
        assert!(sockets.take().is_some());
    }
}

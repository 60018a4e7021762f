//! What one socket is held to.

use std::time::{Duration, Instant};

/// The bounds of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one frame. A larger one is refused, and one that is [`Limits::FRAME_FACTOR`] times larger ends the
    /// socket.
    pub frame_bytes_max: usize,
    /// Frames a second.
    pub frames_per_second_max: u32,
    /// How often a ping is sent, and the rest is looked at.
    pub ping_every: Duration,
    /// How long nothing may come: no frame of any kind, a pong included.
    pub idle_timeout: Duration,
    /// How long a subscription may take until it is live.
    pub live_within: Duration,
    /// How long a write may take for each part of it.
    pub write_within: Duration,
}

impl Limits {
    /// What all apps have.
    pub const DEFAULT: Self = Self {
        frame_bytes_max: 64 * 1024,
        frames_per_second_max: 50,
        ping_every: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(120),
        live_within: Duration::from_secs(10),
        write_within: Duration::from_secs(10),
    };

    /// A frame that is too large is read all the same, so that it can be answered, up to so many times the bound.
    pub const FRAME_FACTOR: usize = 4;
}

/// Counts frames: as many as a second may have can come at once, and so many more each second.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    /// In frames.
    room: f64,
    looked_at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, room: f64::from(per_second), looked_at: now }
    }

    /// Takes room for one frame; `Err` says after how many whole seconds there will be some.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), u64> {
        let per_second = f64::from(self.per_second);
        let gained = now.saturating_duration_since(self.looked_at).as_secs_f64() * per_second;
        self.room = (self.room + gained).min(per_second);
        self.looked_at = now;
        if self.room >= 1.0 {
            self.room -= 1.0;
            return Ok(());
        }
        // Less than one frame is missing, and a second has at least one.
        Err(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_frames_and_what_was_not_used_is_not_saved_up() {
        let now = Instant::now();
        let mut rate = Rate::new(50, now);
        assert_eq!((0..60).filter(|_| rate.take(now).is_ok()).count(), 50);
        assert_eq!(rate.take(now), Err(1));
        let soon = now + Duration::from_millis(110);
        assert_eq!((0..60).filter(|_| rate.take(soon).is_ok()).count(), 5);
        let later = soon + Duration::from_secs(60);
        assert_eq!((0..60).filter(|_| rate.take(later).is_ok()).count(), 50);
    }
}

//! Rates, as token buckets in one number each.

use std::sync::atomic::{AtomicU64, Ordering};

use super::config::JoinRate;

const SECOND_NANOS: u64 = 1_000_000_000;

/// A token bucket's rules. Its state is the time at which it will be full again, in nanoseconds since a start
/// of the caller's choice; 0 is a full bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    interval_nanos: u64,
    ahead_nanos_max: u64,
}

impl Rate {
    pub(super) fn new(rate: JoinRate) -> Self {
        let interval_nanos = SECOND_NANOS.checked_div(u64::from(rate.per_second)).unwrap_or(0);
        let ahead_nanos_max = interval_nanos.saturating_mul(u64::from(rate.burst.saturating_sub(1)));
        Self { interval_nanos, ahead_nanos_max }
    }

    /// The state after one more; `None` when that is one too many.
    fn take(self, full_at: u64, now: u64) -> Option<u64> {
        let full_at = full_at.max(now);
        (full_at - now <= self.ahead_nanos_max).then(|| full_at.saturating_add(self.interval_nanos))
    }

    /// Takes one from a bucket of one thread.
    pub(super) fn admits(self, full_at: &mut u64, now: u64) -> bool {
        self.take(*full_at, now).map(|next| *full_at = next).is_some()
    }

    /// Takes one from a bucket that threads share.
    pub(super) fn admits_shared(self, full_at: &AtomicU64, now: u64) -> bool {
        full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| self.take(full_at, now)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(rate: JoinRate, times: &[u64]) -> Vec<bool> {
        let (mut own, shared) = (0, AtomicU64::new(0));
        let admit = |now: &u64| {
            let admitted = Rate::new(rate).admits(&mut own, *now);
            assert_eq!(admitted, Rate::new(rate).admits_shared(&shared, *now));
            admitted
        };
        times.iter().map(admit).collect()
    }

    #[test]
    fn a_burst_then_a_steady_rate() {
        let tenth = SECOND_NANOS / 10;
        let rate = JoinRate { per_second: 10, burst: 3 };
        assert_eq!(admitted(rate, &[0, 0, 0, 0]), [true, true, true, false]);
        assert_eq!(
            admitted(rate, &[0, 0, 0, tenth - 1, tenth, tenth]),
            [true, true, true, false, true, false]
        );
        assert_eq!(
            admitted(rate, &[0, 0, 0, SECOND_NANOS, SECOND_NANOS, SECOND_NANOS, SECOND_NANOS]),
            [true, true, true, true, true, true, false]
        );
    }

    #[test]
    fn zero_a_second_is_no_limit() {
        assert!(
            admitted(JoinRate { per_second: 0, burst: 1 }, &[0; 1_000]).into_iter().all(|admitted| admitted)
        );
    }
}

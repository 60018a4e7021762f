//! Rates, as token buckets in one number each.

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

    /// Takes one from a bucket.
    pub(super) fn admits(self, full_at: &mut u64, now: u64) -> bool {
        let from = (*full_at).max(now);
        let fits = from - now <= self.ahead_nanos_max;
        if fits {
            *full_at = from.saturating_add(self.interval_nanos);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(rate: JoinRate, times: &[u64]) -> Vec<bool> {
        let mut full_at = 0;
        times.iter().map(|now| Rate::new(rate).admits(&mut full_at, *now)).collect()
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

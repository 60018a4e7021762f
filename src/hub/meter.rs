//! Rates as the reference server measures them: events are counted, and looked at every tick over a window of ticks.
//!
//! A limit therefore tolerates bursts and reacts at the next tick: operators' numbers mean the same here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts one kind of event of the whole server. Counting is one atomic addition, on any thread.
#[derive(Debug)]
pub struct Meter {
    limit_per_second: u64,
    tick: Duration,
    ticks_max: usize,
    total: AtomicU64,
    /// The average per second as the bits of an `f64`, as of the last tick.
    average: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// The counts of the last ticks, the oldest first.
    counts: VecDeque<u64>,
    /// The total as of the last tick.
    total: u64,
}

impl Meter {
    /// A meter looked at every `tick`, over the last `ticks_max` of them. A limit of 0 is none.
    pub fn new(limit_per_second: u64, tick: Duration, ticks_max: usize) -> Self {
        Self {
            limit_per_second,
            tick,
            ticks_max: ticks_max.max(1),
            total: AtomicU64::new(0),
            average: AtomicU64::new(0),
            window: Mutex::default(),
        }
    }

    /// Counts so many more.
    pub fn add(&self, events: u64) {
        self.total.fetch_add(events, Ordering::Relaxed);
    }

    /// All that were counted since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// How often to call [`Meter::tick`].
    pub fn interval(&self) -> Duration {
        self.tick
    }

    /// Closes a tick: what was counted since the last one enters the window.
    pub fn tick(&self) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let total = self.total();
        let count = total.wrapping_sub(std::mem::replace(&mut window.total, total));
        let counts = &mut window.counts;
        if counts.len() == self.ticks_max {
            counts.pop_front();
        }
        counts.push_back(count);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let (sum, ticks) = (counts.iter().sum::<u64>() as f64, counts.len() as f64);
        let average = sum / ticks / self.tick.as_secs_f64();
        self.average.store(average.to_bits(), Ordering::Relaxed);
    }

    /// Events a second on average over the window, as of the last tick.
    pub fn average(&self) -> f64 {
        f64::from_bits(self.average.load(Ordering::Relaxed))
    }

    /// How long it takes until the average is below the limit again if nothing happens; a window at most.
    pub fn opens_in(&self) -> Duration {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sum, mut ticks) = (window.counts.iter().sum::<u64>(), window.counts.len());
        let mut oldest = window.counts.iter();
        let mut waited = Duration::ZERO;
        for _ in 0..self.ticks_max {
            if ticks < self.ticks_max {
                ticks += 1;
            } else {
                sum -= oldest.next().copied().unwrap_or(0);
            }
            waited += self.tick;
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
            let (sum, limit) = (sum as f64, self.limit_per_second as f64 * ticks as f64);
            if sum < limit * self.tick.as_secs_f64() {
                break;
            }
        }
        waited
    }

    /// The limit; 0 for none.
    pub fn limit(&self) -> u64 {
        self.limit_per_second
    }

    /// Whether the average has reached the limit.
    pub fn is_reached(&self) -> bool {
        self.is_over(0.0, |average, limit| average >= limit)
    }

    /// Whether the average has passed the limit.
    pub fn is_exceeded(&self) -> bool {
        self.would_exceed(0)
    }

    /// Whether the average and so many more together pass the limit.
    pub fn would_exceed(&self, more: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let more = more as f64;
        self.is_over(more, |average, limit| average > limit)
    }

    fn is_over(&self, more: f64, over: impl Fn(f64, f64) -> bool) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let limit = self.limit_per_second as f64;
        self.limit_per_second > 0 && over(self.average() + more, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_average_over_the_window() {
        let meter = Meter::new(100, Duration::from_secs(5), 3);
        meter.add(1_499);
        assert!(!meter.is_reached(), "before the tick nothing is known");
        meter.tick();
        assert!((meter.average() - 299.8).abs() < 0.01 && meter.is_reached() && meter.is_exceeded());
        meter.tick();
        meter.tick();
        assert!((meter.average() - 99.93).abs() < 0.01 && !meter.is_reached());
        assert!(meter.would_exceed(1) && !meter.would_exceed(0));
        meter.tick();
        assert!(meter.average().abs() < f64::EPSILON);
        assert_eq!(meter.total(), 1_499);
    }

    #[test]
    fn a_limit_is_reached_before_it_is_exceeded() {
        let meter = Meter::new(10, Duration::from_secs(1), 60);
        meter.add(10);
        meter.tick();
        assert!(meter.is_reached() && !meter.is_exceeded());
    }

    #[test]
    fn it_is_known_when_a_rate_has_come_down() {
        let meter = Meter::new(10, Duration::from_secs(1), 4);
        for events in [0, 25, 25, 0] {
            meter.add(events);
            meter.tick();
        }
        assert!(meter.is_reached());
        assert_eq!(meter.opens_in(), Duration::from_secs(2), "the second of them ends it");
        for is_reached in [true, false] {
            meter.tick();
            assert_eq!(meter.is_reached(), is_reached);
        }
        let young = Meter::new(10, Duration::from_secs(1), 60);
        young.add(25);
        young.tick();
        assert_eq!(young.opens_in(), Duration::from_secs(2));
        young.add(6_000);
        young.tick();
        assert_eq!(young.opens_in(), Duration::from_secs(60), "never longer than the window");
    }

    #[test]
    fn zero_is_no_limit() {
        let meter = Meter::new(0, Duration::from_secs(1), 60);
        meter.add(1_000_000);
        meter.tick();
        assert!(!meter.is_reached() && !meter.would_exceed(u64::MAX));
    }
}

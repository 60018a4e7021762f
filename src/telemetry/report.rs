//! Lines about what went wrong: counted by their code, and never more than a few a second of each, so that no
//! client can fill a disk.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::unix_seconds;
use super::code::Code;
use super::metrics::{ERRORS, STOCK_ERROR, STOCK_GLOBAL_ERROR};
use super::number::Number;
use super::page::Page;

/// How many lines of one code are logged in one second.
const LINES_MAX: u64 = 10;

/// Counts an event by its code and logs it: `report!(info, Code::Unauthorized, "join refused")`.
///
/// It takes what `tracing`'s macros take. A line may say how many before it were left out.
macro_rules! report {
    ($level:ident, $code:expr, $($line:tt)+) => {{
        let code: $crate::telemetry::code::Code = $code;
        if let Some(left_out) = $crate::telemetry::report::admit(code) {
            tracing::$level!(code = code.as_str(), left_out, $($line)+);
        }
    }};
}
pub(crate) use report;

/// What is known of one code.
#[derive(Debug, Default)]
struct Tally {
    count: Number,
    /// The second of the latest line, and how many were asked for in it.
    second: AtomicU64,
    lines: AtomicU64,
    left_out: AtomicU64,
}

static TALLIES: LazyLock<Box<[Tally]>> =
    LazyLock::new(|| Code::ALL.iter().map(|_| Tally::default()).collect());

impl Tally {
    /// Whether a line may be logged in this second; if so, with how many were left out before it.
    fn admit(&self, second: u64) -> Option<Option<u64>> {
        self.count.add(1);
        // Threads that race here log a few lines more or less.
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) < LINES_MAX {
            return Some(self.take_left_out());
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn take_left_out(&self) -> Option<u64> {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        (left_out > 0).then_some(left_out)
    }
}

fn second() -> u64 {
    u64::try_from(unix_seconds()).unwrap_or(0)
}

/// Counts an event, and answers whether it is to be logged, with how many were left out since the last line.
pub fn admit(code: Code) -> Option<Option<u64>> {
    TALLIES[code.index()].admit(second())
}

/// How often a code has been reported since the start of the process.
pub fn count(code: Code) -> u64 {
    TALLIES[code.index()].count.get()
}

/// Says how many lines were left out where no later line did. To be called once a second.
pub fn flush() {
    for code in Code::ALL {
        let tally = &TALLIES[code.index()];
        if tally.second.load(Ordering::Relaxed) != second()
            && let Some(left_out) = tally.take_left_out()
        {
            tracing::warn!(code = code.as_str(), left_out, "more of these were not logged one by one");
        }
    }
}

/// Adds the codes that have been reported.
pub fn add_to(page: &mut Page) {
    for code in Code::ALL.iter().filter(|code| count(**code) > 0) {
        for metric in [&ERRORS, &STOCK_ERROR, &STOCK_GLOBAL_ERROR] {
            page.add_to(metric, code.as_str(), count(*code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_only_so_many_lines_and_the_next_says_how_many_it_lacked() {
        let tally = Tally::default();
        let admitted = (0..1_000).filter(|_| tally.admit(7).is_some()).count();
        assert_eq!(u64::try_from(admitted).unwrap(), LINES_MAX);
        assert_eq!(tally.admit(8), Some(Some(990)));
        assert_eq!(tally.admit(8), Some(None));
        assert_eq!(tally.count.get(), 1_002);
    }
}

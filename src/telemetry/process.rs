//! What the process uses, as the system sees it. Where the system does not say, nothing is said.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

use super::metrics::{PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_MEMORY};
use super::page::Page;

/// Adds processor time, memory and file descriptors.
pub fn add_to(page: &mut Page) {
    if let Some(seconds) = cpu_seconds() {
        page.add_float(&PROCESS_CPU, "", seconds);
    }
    if let Some(bytes) = resident_bytes() {
        page.add(&PROCESS_MEMORY, bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // Reading the list takes one.
        page.add(&PROCESS_FDS, u64::try_from(open.count()).unwrap_or(u64::MAX).saturating_sub(1));
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        page.add(&PROCESS_FDS_MAX, soft);
    }
}

fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: nix::sys::time::TimeVal| {
        #[expect(clippy::cast_precision_loss, reason = "a graph needs no more than 53 bits")]
        let (whole, micros) = (time.tv_sec() as f64, time.tv_usec() as f64);
        whole + micros / 1e6
    };
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

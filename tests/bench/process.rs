//! What the operating system knows of a process, and a few things asked of it.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long one tick of `/proc/PID/stat` is; Linux promises this to programs, whatever the kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

/// Lets this process and its children open as many files as the system allows.
pub(crate) fn raise_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the limit of open files");
}

/// The processor time that a process has used, in user and kernel mode.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("the fields after the name");
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| TICK * ticks.parse::<u32>().expect("a number of ticks")).sum()
}

/// The processor time that this thread has used: neighbours that take the processor away do not count.
pub(crate) fn thread_time() -> Duration {
    schedstat("thread-self")
}

/// The same of a process with one thread, more exactly than [`cpu_time`] has it.
pub(crate) fn process_time(pid: u32) -> Duration {
    schedstat(&pid.to_string())
}

fn schedstat(of: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{of}/schedstat")).expect("a running thread");
    Duration::from_nanos(stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("a time"))
}

/// The memory of a process that is in RAM, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    const UNIT: u64 = 1024;
    field(&format!("/proc/{pid}/status"), "VmRSS:") * UNIT
}

/// How many bytes a process has passed to `write`.
pub(crate) fn written_bytes(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/io"), "wchar:")
}

fn field(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).expect("a running process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Runs `action` with this thread, and the children it starts, on one processor only. The threads it starts
/// stay there; on a machine with a single processor nothing changes.
pub(crate) fn on_processor<T>(processor: Processor, action: impl FnOnce() -> T) -> T {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this).expect("the processors of this thread");
    let usable: Vec<usize> = (0..CpuSet::count()).filter(|index| before.is_set(*index) == Ok(true)).collect();
    let (Some(first), Some(last)) = (usable.first(), usable.last()) else { return action() };
    let mut only = CpuSet::new();
    let chosen = match processor {
        Processor::First => first,
        Processor::Last => last,
    };
    only.set(*chosen).expect("a processor of this machine");
    sched_setaffinity(this, &only).expect("the processors of this thread");
    let result = action();
    sched_setaffinity(this, &before).expect("the processors of this thread");
    result
}

/// Which processor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Processor {
    /// That of the servers under measurement.
    First,
    /// That of their clients.
    Last,
}

/// A process that stands still until this is dropped.
#[derive(Debug)]
pub(crate) struct Paused(Pid);

impl Paused {
    /// Stops a process.
    pub(crate) fn new(pid: i32) -> Self {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("a process to stop");
        Self(Pid::from_raw(pid))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Asks a process to end.
pub(crate) fn terminate(pid: u32) {
    let pid = i32::try_from(pid).expect("a process id");
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
}

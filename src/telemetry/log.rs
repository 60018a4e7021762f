//! The log: to standard error, as text or as JSON; and errors as its lines and people read them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::code::Code;
use super::report::report;

/// Starts logging; a second call changes nothing, so tests may call it too.
///
/// `level` is for this program; libraries are heard from `warn` on. RUST_LOG, where set, replaces both.
pub fn install(level: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(format!("warn,pgwire_replication=off,{}={level}", env!("CARGO_PKG_NAME")))
    });
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    let installed = if json {
        lines.json().flatten_event(true).try_init()
    } else {
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        lines.with_ansi(color).with_target(level == "trace").try_init()
    };
    // An error means that a subscriber is there already, which is the aim.
    if installed.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// Logs where a panic happened and not what it says: the message may hold what a client or a row said.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    report!(error, Code::UnhandledPanic, location, thread, "panic: this is a bug");
}

/// An error and its causes as one sentence; a cause that its effect repeats is said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not read: gone")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("gone")]
        struct Inner(#[source] std::fmt::Error);
        let text = super::chain(&Outer(Inner(std::fmt::Error)));
        assert_eq!(text, format!("could not read: gone: {}", std::fmt::Error));
    }
}

//! What Rowcast costs and how fast it is, measured on the real binary beside what the machine could do at best.
//!
//! `cargo bench` runs everything, `cargo bench -- --quick` a shorter version, and a name or several (`latency`,
//! `drain`, `broadcast`, `join_storm`, `memory`, `policy`, `policies`, `messaging`) only those. Each figure is printed as a
//! line of a table and as one line of JSON. `docs/benchmarks.md` says how to read them.
//!
//! Every measure puts Rowcast and a reference side by side within one run, alternately and several times, since
//! machines differ and are never quiet: trust the ratios.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are printed")]

#[path = "../support/mod.rs"]
mod support;

mod broadcast;
mod database;
mod drain;
mod floor;
mod guarded;
mod join_storm;
mod latency;
mod memory;
mod messaging;
mod policies;
mod policy;
mod process;
mod report;
mod server;
mod socket;

use std::time::Duration;

use report::Figure;

/// How much is measured.
struct Effort {
    /// Rounds of everything that alternates.
    rounds: usize,
    /// How long one round of the latency measure writes.
    latency_window: Duration,
    /// Rows written for one round of the drain measure.
    drain_rows: usize,
    /// How long one round of the broadcast measure sends.
    broadcast_window: Duration,
    /// How long one round of the join storm lasts.
    storm_window: Duration,
    /// Sockets opened by the memory measure.
    sockets: usize,
}

const FULL: Effort = Effort {
    rounds: 5,
    latency_window: Duration::from_secs(8),
    drain_rows: 200_000,
    broadcast_window: Duration::from_secs(2),
    storm_window: Duration::from_secs(10),
    sockets: 5_000,
};

const QUICK: Effort = Effort {
    rounds: 3,
    latency_window: Duration::from_secs(2),
    drain_rows: 50_000,
    broadcast_window: Duration::from_millis(700),
    storm_window: Duration::from_secs(4),
    sockets: 5_000,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, frame_bytes] = arguments.as_slice()
        && first == floor::ARGUMENT
    {
        return floor::serve(frame_bytes.parse().expect("the size of a frame"));
    }
    // `cargo test --benches` starts this program, too, without the argument.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run by `cargo bench`");
        return;
    }
    let effort = if arguments.iter().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let names: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|name| !name.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let figures = runtime.block_on(measure(&effort, &names));
    report::print(&figures);
}

async fn measure(effort: &Effort, names: &[&str]) -> Vec<Figure> {
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    process::raise_file_limit();
    let mut figures = Vec::new();
    if wanted("policy") {
        figures.extend(policy::measure(effort));
        // It alone needs no database.
        if names == ["policy"] {
            return figures;
        }
    }
    if messaging::is_wanted(wanted) {
        figures.extend(messaging::measure(effort, wanted).await);
        if names.iter().all(|name| name.starts_with("messaging")) && !names.is_empty() {
            return figures;
        }
    }
    let mut database = database::Database::create().await;
    if wanted("policies") {
        figures.extend(policies::measure(effort, &database).await);
        figures.extend(guarded::measure(effort, &database).await);
    }
    if wanted("latency") {
        figures.extend(latency::measure(effort, &mut database).await);
    }
    if wanted("drain") {
        figures.extend(drain::measure(effort, &mut database).await);
    }
    if wanted("broadcast") {
        figures.extend(broadcast::measure(effort, &database));
    }
    if wanted("join_storm") {
        figures.extend(join_storm::measure(effort, &database).await);
    }
    if wanted("memory") {
        figures.extend(memory::measure(effort, &database));
    }
    figures
}

//! How long a change takes from its COMMIT to a client, at a steady and moderate rate.

use std::collections::HashMap;
use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Effort;
use crate::database::{Database, MESSAGES, Walsender};
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::Server;
use crate::socket::{Scratch, Socket, Tail, number};

/// Changes a second.
const RATE: u32 = 200;
const P99_MS_MAX: f64 = 15.0;
/// A stream that was paused gets this long to pass over what it missed.
const SETTLE: Duration = Duration::from_millis(300);
/// A change that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
const PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p95", 95.0), ("p99", 99.0)];
const METHOD: &str = "200 single-row transactions/s from one writer; from the return of COMMIT to the read of the \
                      frame in the same process; per round the percentile, over rounds its median; the reference \
                      writes the same to a pipe; one streams at a time";

/// Measures a table without and one with row level security, and broadcasts of the database, against
/// `pg_recvlogical`.
pub(crate) async fn measure(effort: &Effort, database: &mut Database) -> Vec<Figure> {
    let server = Server::start(&database.url);
    let open = subscribe(&server, "bench_open");
    let guarded = subscribe(&server, "bench_guarded");
    let messages = listen(&server);
    let mut reference = database.pg_recvlogical(Stdio::piped());
    let output = reference.child.stdout.take().expect("its output");
    let reference_arrivals = arrivals(output);
    let ours = database.walsender("rowcast_stream").await;
    let theirs = database.walsender("pg_recvlogical").await;

    let mut rounds: [Vec<[f64; 3]>; 4] = Default::default();
    for round in 0..=effort.rounds {
        let window = if round == 0 { Duration::from_secs(1) } else { effort.latency_window };
        let cases = [
            ("bench_open", &open, theirs),
            ("bench_guarded", &guarded, theirs),
            (MESSAGES, &messages, theirs),
            ("bench_open", &reference_arrivals, ours),
        ];
        for ((table, arrivals, paused), results) in cases.into_iter().zip(&mut rounds) {
            let result = run(database, table, arrivals, paused, window).await;
            // The first round only warms up.
            if round > 0 {
                results.push(result);
            }
        }
    }
    drop((reference, server));
    database.drop_reference_slot().await;
    let [open, guarded, messages, reference] = rounds;
    [("latency_open", open), ("latency_guarded", guarded), ("latency_broadcast", messages)]
        .into_iter()
        .flat_map(|(name, ours)| figures(name, &ours, &reference))
        .collect()
}

fn figures(name: &str, ours: &[[f64; 3]], theirs: &[[f64; 3]]) -> Vec<Figure> {
    let figure = |(place, (percentile, _)): (usize, &(&str, f64))| {
        let column = |rounds: &[[f64; 3]]| rounds.iter().map(|round| round[place]).collect::<Vec<f64>>();
        let value = column(ours);
        Figure {
            name: format!("{name}_{percentile}"),
            unit: "ms",
            value: Spread::of(&value),
            reference: Some(Reference::of("pg_recvlogical", &value, &column(theirs))),
            goal: (*percentile == "p99").then_some(Goal::ValueAtMost(P99_MS_MAX)),
            method: METHOD,
        }
    };
    PERCENTILES.iter().enumerate().map(figure).collect()
}

/// A subscriber of one table, who hears of every marker and when it came.
fn subscribe(server: &Server, table: &str) -> Receiver<(u64, Instant)> {
    let mut socket = Socket::connect(server.address, &server.token);
    let changes = format!(r#"[{{"event":"INSERT","schema":"public","table":"{table}"}}]"#);
    socket.join(table, &format!(r#"{{"postgres_changes":{changes}}}"#));
    socket.stream.set_read_timeout(None).expect("a socket option");
    arrivals(socket.stream)
}

/// A member of the room that messages go to.
fn listen(server: &Server) -> Receiver<(u64, Instant)> {
    let mut socket = Socket::connect(server.address, &server.token);
    socket.join(MESSAGES, "{}");
    socket.stream.set_read_timeout(None).expect("a socket option");
    arrivals(socket.stream)
}

/// Reads markers on a thread of its own until the stream ends.
fn arrivals(mut stream: impl Read + Send + 'static) -> Receiver<(u64, Instant)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut scratch, mut tail) = (Scratch::new(), Tail::default());
        let mut numbers = Vec::new();
        loop {
            let read = scratch.read(&mut stream, &mut tail, |digits| numbers.push(number(digits)));
            let now = Instant::now();
            let heard = numbers.drain(..).try_for_each(|number| sender.send((number, now)));
            if read.is_err() || heard.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Writes at the rate for `window` and returns the percentiles in milliseconds.
async fn run(
    database: &mut Database,
    table: &str,
    arrivals: &Receiver<(u64, Instant)>,
    paused: Walsender,
    window: Duration,
) -> [f64; 3] {
    let paused = paused.pause();
    tokio::time::sleep(SETTLE).await;
    while arrivals.try_recv().is_ok() {}
    let start = tokio::time::Instant::now();
    let mut committed = HashMap::new();
    for tick in 0.. {
        let due = Duration::from_secs(1) / RATE * tick;
        if due >= window {
            break;
        }
        tokio::time::sleep_until(start + due).await;
        let (number, at) = database.insert(table).await;
        committed.insert(number, at);
    }
    let mut histogram =
        Histogram::<u64>::new_with_max(LOST_AFTER.as_secs() * 1_000_000, 3).expect("a histogram");
    while !committed.is_empty() {
        let (number, at) = arrivals.recv_timeout(LOST_AFTER).expect("every change to arrive");
        // What came before COMMIT returned took no time.
        if let Some(since) = committed.remove(&number) {
            let micros = at.saturating_duration_since(since).as_micros();
            histogram.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
        }
    }
    drop(paused);
    PERCENTILES.map(|(_, percentile)| histogram.value_at_percentile(percentile) as f64 / 1000.0)
}

//! How fast a backlog of changes reaches one subscriber, against `pg_recvlogical` on the same log.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::Effort;
use crate::database::Database;
use crate::process::{cpu_time, written_bytes};
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::Server;
use crate::socket::{Scratch, Socket, Tail};

const RATIO_MIN: f64 = 0.7;
/// The reference counts as done when it has written nothing for so long; the last write is what is timed.
const QUIET: Duration = Duration::from_millis(300);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const METHOD: &str = "both connected and their walsenders stopped (SIGSTOP) while rows are written; then each \
                      continues alone, in alternating order; from SIGCONT to the last row read by the client, or \
                      to the last write of pg_recvlogical to /dev/null";

/// Measures transactions of a hundred rows and of one.
pub(crate) async fn measure(effort: &Effort, database: &mut Database) -> Vec<Figure> {
    let server = Server::start(&database.url);
    let mut client = Client::subscribe(&server);
    let reference = database.pg_recvlogical(Stdio::null());
    let ours = database.walsender("rowcast_stream").await;
    let theirs = database.walsender("pg_recvlogical").await;
    let rows = effort.drain_rows;
    let mut figures = Vec::new();
    for (name, per_transaction) in [("drain_100", 100), ("drain_1", 1)] {
        let mut results: [Vec<f64>; 3] = Default::default();
        for round in 0..=effort.rounds {
            // The first round only warms up.
            let rows = if round == 0 { rows / 10 } else { rows };
            let paused = (ours.pause(), theirs.pause());
            database.insert_many(rows, per_transaction).await;
            let rate = |seconds: f64| rows as f64 / seconds;
            let cpu_before = cpu_time(server.pid());
            let (ours, theirs) = if round % 2 == 0 {
                let theirs = drain_reference(reference.child.id(), || drop(paused.1));
                (client.drain(rows, || drop(paused.0)), theirs)
            } else {
                let ours = client.drain(rows, || drop(paused.0));
                (ours, drain_reference(reference.child.id(), || drop(paused.1)))
            };
            let cpu = (cpu_time(server.pid()) - cpu_before).as_secs_f64() * 1e6 / rows as f64;
            if round > 0 {
                let [our_rates, their_rates, cpus] = &mut results;
                our_rates.push(rate(ours.as_secs_f64()));
                their_rates.push(rate(theirs.as_secs_f64()));
                cpus.push(cpu);
            }
        }
        let [ours, theirs, cpu] = results;
        figures.push(Figure {
            name: format!("{name}_rows_per_second"),
            unit: "/s",
            value: Spread::of(&ours),
            reference: Some(Reference::of("pg_recvlogical", &ours, &theirs)),
            goal: Some(Goal::RatioAtLeast(RATIO_MIN)),
            method: METHOD,
        });
        figures.push(Figure {
            name: format!("{name}_cpu_per_row"),
            unit: "µs",
            value: Spread::of(&cpu),
            reference: None,
            goal: None,
            method: "processor time of the server over one round, by row",
        });
    }
    drop((client, reference, server));
    database.drop_reference_slot().await;
    figures
}

/// The one subscriber.
struct Client {
    socket: Socket,
    scratch: Scratch,
    tail: Tail,
}

impl Client {
    fn subscribe(server: &Server) -> Self {
        let mut socket = Socket::connect(server.address, &server.token);
        socket
            .join("drain", r#"{"postgres_changes":[{"event":"*","schema":"public","table":"bench_open"}]}"#);
        Self { socket, scratch: Scratch::new(), tail: Tail::default() }
    }

    /// Lets the stream go and reads `rows` rows.
    fn drain(&mut self, rows: usize, go: impl FnOnce()) -> Duration {
        let rows = u64::try_from(rows).expect("a number of rows");
        let start = Instant::now();
        go();
        let mut seen = 0;
        while seen < rows {
            let read = self.scratch.read(&self.socket.stream, &mut self.tail, |_| ());
            seen += read.unwrap_or_else(|error| panic!("after {seen} of {rows} rows: {error}"));
        }
        let took = start.elapsed();
        assert_eq!(seen, rows, "more rows than were written");
        took
    }
}

/// Lets the reference go and waits until it has written everything.
fn drain_reference(pid: u32, go: impl FnOnce()) -> Duration {
    let before = written_bytes(pid);
    let start = Instant::now();
    go();
    let (mut written, mut last) = (before, start);
    loop {
        std::thread::sleep(LOOK_EVERY);
        let now = written_bytes(pid);
        if now != written {
            (written, last) = (now, Instant::now());
        } else if written != before && last.elapsed() > QUIET {
            return last - start;
        }
    }
}

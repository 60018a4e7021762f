//! How much memory of the server an idle client takes.

use std::time::{Duration, Instant};

use crate::Effort;
use crate::database::Database;
use crate::process::resident_bytes;
use crate::report::{Figure, Goal, Spread};
use crate::server::Server;
use crate::socket::Socket;

const BYTES_MAX: f64 = 8.0 * 1024.0;
/// Sockets opened before the count begins, so that what is made once is not counted.
const WARM_UP: usize = 200;
/// The memory counts once it has been the same for so long.
const STEADY: Duration = Duration::from_millis(500);
const METHOD: &str = "VmRSS of a fresh server after all sockets have joined, less that after the first 200, by \
                      socket; no traffic but the joins; the kernel's own memory is not in it";

/// The topic and configuration that the client with this number joins.
type Join = fn(usize) -> (String, &'static str);

/// Measures clients of one large room, of a room each, and of a table.
pub(crate) fn measure(effort: &Effort, database: &Database) -> Vec<Figure> {
    let cases: [(&str, Join); 3] = [
        ("memory_one_topic", |_| ("room".to_owned(), r#"{"broadcast":{"self":false}}"#)),
        ("memory_topic_each", |index| (format!("room-{index}"), r#"{"broadcast":{"self":false}}"#)),
        ("memory_changes", |_| {
            (
                "table".to_owned(),
                r#"{"postgres_changes":[{"event":"*","schema":"public","table":"bench_open"}]}"#,
            )
        }),
    ];
    let figure = |(name, join): (&str, Join)| Figure {
        name: format!("{name}_bytes_per_socket"),
        unit: "B",
        value: Spread::of(&[bytes_per_socket(database, effort.sockets, join)]),
        reference: None,
        goal: Some(Goal::ValueAtMost(BYTES_MAX)),
        method: METHOD,
    };
    cases.into_iter().map(figure).collect()
}

fn bytes_per_socket(database: &Database, count: usize, join: Join) -> f64 {
    let server = Server::start(&database.url);
    let connect = |index: usize| {
        let mut socket = Socket::connect(server.address, &server.token);
        let (topic, config) = join(index);
        socket.join(&topic, config);
        socket
    };
    let mut sockets: Vec<Socket> = (0..WARM_UP).map(connect).collect();
    let before = steady_bytes(server.pid());
    sockets.extend((WARM_UP..WARM_UP + count).map(connect));
    let after = steady_bytes(server.pid());
    drop(sockets);
    (after as f64 - before as f64) / count as f64
}

fn steady_bytes(pid: u32) -> u64 {
    let (mut bytes, mut since) = (resident_bytes(pid), Instant::now());
    while since.elapsed() < STEADY {
        std::thread::sleep(Duration::from_millis(20));
        let now = resident_bytes(pid);
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    bytes
}

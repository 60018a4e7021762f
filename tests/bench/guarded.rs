//! The real server with a thousand subscribers whom row level security binds, each on a socket of its own.
//!
//! Every change is visible to five of them. The reference is the same server with no room for the tables that policies
//! read, so that it asks Postgres about every subscriber.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::Effort;
use crate::database::Database;
use crate::policies::{id, policy};
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::{Server, signed};
use crate::socket::{MARKER, Scratch, Socket, Tail, number};

const SUBSCRIBERS: usize = 1_000;
/// How many of them see each change.
const SEATS: u64 = 5;
/// Changes a second of the latency measure, and of one transaction of it.
const RATE: u32 = 1_000;
const PER_TRANSACTION: u32 = 5;
const SUSTAINED_MIN: f64 = 5_000.0;
const P99_MS_MAX: f64 = 15.0;
/// Changes that the asking server gets for each round: each is a thousand questions.
const ASKED_ROWS: u64 = 50;
/// A frame that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(60);
const TABLE: &str = "guarded_messages_5";
const SUSTAINED: &str = "1,000 sockets of as many users, five see each change; the walsender is stopped while rows are written \
                         in transactions of 100; from SIGCONT to the last frame; beside it, the server asking Postgres";
const LATENCY: &str = "200 transactions/s of five changes, each seen by five of 1,000 sockets; from the return of COMMIT to the \
                       read of the frame";
const RELOAD: &str = "the same, while the policy of the table is altered once";

/// All sockets, read on a thread of its own until this is dropped.
struct Audience {
    server: Server,
    frames: Arc<AtomicU64>,
    arrivals: Receiver<(u64, Instant)>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Audience {
    fn join(server: Server) -> Self {
        let config =
            format!(r#"{{"postgres_changes":[{{"event":"*","schema":"public","table":"{TABLE}"}}]}}"#);
        let connect = |user: usize| {
            let mut socket = Socket::connect(server.address, &signed(&id(user)));
            socket.join("messages", &config);
            socket.stream.set_nonblocking(true).expect("a socket option");
            socket
        };
        let sockets: Vec<Socket> = (0..SUBSCRIBERS).map(connect).collect();
        let (frames, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (sender, arrivals) = channel();
        let shared = (Arc::clone(&frames), Arc::clone(&stop));
        let reader = std::thread::spawn(move || read(&sockets, &sender, &shared.0, &shared.1));
        Self { server, frames, arrivals, stop, reader: Some(reader) }
    }

    fn asked(&self) -> f64 {
        self.server.counted_all("rowcast_policy_questions_total")
    }

    /// Waits for so many further frames since `before`.
    fn wait_for(&self, before: u64, frames: u64) -> Instant {
        let mut last = Instant::now();
        for _ in 0..frames {
            let (_, at) = self.arrivals.recv_timeout(LOST_AFTER).expect("every frame to arrive");
            last = last.max(at);
        }
        assert_eq!(self.frames.load(Ordering::Relaxed), before + frames, "somebody got what is not theirs");
        last
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read(sockets: &[Socket], sender: &Sender<(u64, Instant)>, frames: &AtomicU64, stop: &AtomicBool) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    for (index, socket) in (0..).zip(sockets) {
        epoll.add(&socket.stream, EpollEvent::new(EpollFlags::EPOLLIN, index)).expect("epoll");
    }
    let mut tails: Vec<Tail> = sockets.iter().map(|_| Tail::default()).collect();
    let mut scratch = Scratch::new();
    let mut events = vec![EpollEvent::empty(); sockets.len()];
    while !stop.load(Ordering::Relaxed) {
        let count = epoll.wait(&mut events, EpollTimeout::from(20_u8)).unwrap_or(0);
        for event in &events[..count] {
            let index = usize::try_from(event.data()).expect("an index");
            let mut numbers = Vec::new();
            let seen = |digits: &[u8]| numbers.push(number(digits));
            let read = scratch.read(&sockets[index].stream, &mut tails[index], seen);
            let now = Instant::now();
            frames.fetch_add(numbers.len() as u64, Ordering::Relaxed);
            let heard = numbers.into_iter().try_for_each(|number| sender.send((number, now)));
            if read.is_err() || heard.is_err() {
                return;
            }
        }
    }
}

/// Writes changes; each has a number.
struct Writer<'a> {
    database: &'a Database,
    next: u64,
}

impl Writer<'_> {
    /// Rows with the next numbers, each in another conversation.
    fn insert(&mut self, count: u64) -> (String, std::ops::Range<u64>) {
        let numbers = self.next..self.next + count;
        self.next = numbers.end;
        let rows = numbers.clone().map(|number| {
            let conversation = id(usize::try_from(number * 7_919 % SUBSCRIBERS as u64).expect("a number"));
            format!(
                "({}, '{conversation}', '{conversation}', '{MARKER}{number:08} the quick brown fox')",
                number + 1_000_000
            )
        });
        let rows = rows.collect::<Vec<_>>().join(",");
        (format!("insert into {TABLE} (id, conversation_id, author, body) values {rows};"), numbers)
    }

    /// Changes a second, of a backlog.
    async fn drain(&mut self, audience: &Audience, rows: u64) -> f64 {
        let before = audience.frames.load(Ordering::Relaxed);
        let paused = self.database.walsender("rowcast_stream").await.pause();
        self.database.execute("set synchronous_commit = off").await;
        let mut left = rows;
        while left > 0 {
            let count = left.min(100);
            let (insert, _) = self.insert(count);
            self.database.execute(&format!("begin; {insert} commit")).await;
            left -= count;
        }
        self.database.execute("reset synchronous_commit").await;
        self.database.execute("checkpoint").await;
        let start = Instant::now();
        drop(paused);
        let last = audience.wait_for(before, rows * SEATS);
        rows as f64 / (last - start).as_secs_f64()
    }

    /// Latencies in microseconds at the rate; `halfway` is executed in the middle.
    async fn paced(
        &mut self,
        audience: &Audience,
        window: Duration,
        halfway: Option<&str>,
    ) -> Histogram<u64> {
        let before = audience.frames.load(Ordering::Relaxed);
        let start = tokio::time::Instant::now();
        let mut committed = HashMap::new();
        let mut halfway = halfway;
        for tick in 0.. {
            let due = Duration::from_secs(1) / (RATE / PER_TRANSACTION) * tick;
            if due >= window {
                break;
            }
            if due * 2 >= window
                && let Some(statement) = halfway.take()
            {
                self.database.execute(statement).await;
            }
            tokio::time::sleep_until(start + due).await;
            let (insert, numbers) = self.insert(PER_TRANSACTION.into());
            self.database.execute(&format!("begin; {insert} commit")).await;
            let now = Instant::now();
            committed.extend(numbers.map(|number| (number, now)));
        }
        let mut histogram =
            Histogram::new_with_max(LOST_AFTER.as_secs() * 1_000_000, 3).expect("a histogram");
        for _ in 0..committed.len() as u64 * SEATS {
            let (number, at) = audience.arrivals.recv_timeout(LOST_AFTER).expect("every frame to arrive");
            // What came before COMMIT returned took no time.
            let micros = at.saturating_duration_since(committed[&number]).as_micros();
            histogram.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
        }
        let frames = audience.frames.load(Ordering::Relaxed) - before;
        assert_eq!(frames, committed.len() as u64 * SEATS, "somebody got what is not theirs");
        histogram
    }
}

/// Measures one server that decides and one that asks, one after the other.
pub(crate) async fn measure(effort: &Effort, database: &Database) -> Vec<Figure> {
    let mut writer = Writer { database, next: 0 };
    let theirs = {
        let server = Server::start_with(&database.url, &["--policy-mirror-bytes-max", "0"]);
        let audience = Audience::join(server);
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds {
            rounds.push(writer.drain(&audience, ASKED_ROWS).await);
        }
        rounds
    };
    let audience = Audience::join(Server::start(&database.url));
    let _ = writer.paced(&audience, effort.latency_window / 2, None).await;
    let asked_before = audience.asked();
    let ms = |histogram: &Histogram<u64>, percentile| histogram.value_at_percentile(percentile) as f64 / 1e3;
    let (mut sustained, mut p50, mut p99, mut reload_p99, mut reload_max) =
        (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..effort.rounds {
        sustained.push(writer.drain(&audience, effort.drain_rows as u64).await);
        let histogram = writer.paced(&audience, effort.latency_window, None).await;
        p50.push(ms(&histogram, 50.0));
        p99.push(ms(&histogram, 99.0));
    }
    assert!(audience.asked() - asked_before < 1.0, "Postgres was asked");
    for round in 0..effort.rounds {
        let further = if round % 2 == 0 { " and (select auth.uid()) is not null" } else { "" };
        let alter = policy("alter", 5, further);
        let histogram = writer.paced(&audience, effort.latency_window, Some(&alter)).await;
        reload_p99.push(ms(&histogram, 99.0));
        reload_max.push(ms(&histogram, 100.0));
    }
    let asked = (audience.asked() - asked_before) / effort.rounds as f64;
    let figure = |name: &str, unit, rounds: &[f64], goal, method| Figure {
        name: format!("policies_served_{name}"),
        unit,
        value: Spread::of(rounds),
        reference: None,
        goal,
        method,
    };
    vec![
        Figure {
            reference: Some(Reference::of("asking", &sustained, &theirs)),
            ..figure("sustained", "/s", &sustained, Some(Goal::ValueAtLeast(SUSTAINED_MIN)), SUSTAINED)
        },
        figure("p50", "ms", &p50, None, LATENCY),
        figure("p99", "ms", &p99, Some(Goal::ValueAtMost(P99_MS_MAX)), LATENCY),
        figure("reload_p99", "ms", &reload_p99, None, RELOAD),
        figure("reload_max", "ms", &reload_max, None, RELOAD),
        figure("reload_questions", "", &[asked], None, RELOAD),
    ]
}

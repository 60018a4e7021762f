//! What it costs the server to send one broadcast to a thousand sockets, against a bare `write` for each.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::Effort;
use crate::database::Database;
use crate::floor::Floor;
use crate::process::{Processor, cpu_time, on_processor};
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::Server;
use crate::socket::{Scratch, Socket, Tail, frame, marker};

const RECEIVERS: usize = 1_000;
const TOPIC: &str = "bench";
const CONFIG: &str = r#"{"broadcast":{"self":false,"ack":false}}"#;
/// Broadcasts in flight, and the most that a delivery may cost as a multiple of the floor.
const CASES: [(usize, f64); 2] = [(1, 1.4), (64, 2.0)];
/// What is sent in one round may take this long to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);
const METHOD: &str = "one sender, 1,000 receivers, about 260 bytes a frame, so many broadcasts in flight as the name \
                      says; processor time of the server process by delivery; server on one processor, the client \
                      (epoll, busy) on another; the floor writes one finished frame to each socket";

/// Measures one broadcast in flight and many.
pub(crate) fn measure(effort: &Effort, database: &Database) -> Vec<Figure> {
    let server = on_processor(Processor::First, || Server::start(&database.url));
    let floor = on_processor(Processor::First, || Floor::start(delivered_bytes()));
    on_processor(Processor::Last, || {
        let mut ours = Fan::connect(server.address, &server.token, server.pid());
        let mut theirs = Fan::connect(floor.address, &server.token, floor.pid());
        CASES
            .iter()
            .flat_map(|(window, bound)| compare(effort, &mut ours, &mut theirs, *window, *bound))
            .collect()
    })
}

fn compare(effort: &Effort, ours: &mut Fan, theirs: &mut Fan, window: usize, bound: f64) -> [Figure; 2] {
    let mut rounds: [Vec<Round>; 2] = Default::default();
    for round in 0..=effort.rounds {
        for (fan, results) in [&mut *ours, &mut *theirs].into_iter().zip(&mut rounds) {
            let result = fan.run(window, effort.broadcast_window);
            // The first round only warms up.
            if round > 0 {
                results.push(result);
            }
        }
    }
    let [ours, theirs] = rounds;
    let figure = |name: &str, unit, goal, of: fn(&Round) -> f64| {
        let column = |rounds: &[Round]| rounds.iter().map(of).collect::<Vec<f64>>();
        let value = column(&ours);
        Figure {
            name: format!("broadcast_{window}_{name}"),
            unit,
            value: Spread::of(&value),
            reference: Some(Reference::of("floor", &value, &column(&theirs))),
            goal,
            method: METHOD,
        }
    };
    [
        figure("cpu_per_delivery", "µs", Some(Goal::RatioAtMost(bound)), |round| round.cpu_micros),
        figure("deliveries_per_second", "/s", None, |round| round.per_second),
    ]
}

/// What one broadcast carries: about 200 bytes.
fn payload() -> String {
    let text = "x".repeat(120);
    format!(
        r#"{{"type":"broadcast","event":"cursor","payload":{{"marker":"{}","text":"{text}"}}}}"#,
        marker(0)
    )
}

/// The size of a broadcast as receivers get it, with its header.
fn delivered_bytes() -> usize {
    const HEADER_BYTES: usize = 4;
    format!(r#"[null,null,"realtime:{TOPIC}","broadcast",{}]"#, payload()).len() + HEADER_BYTES
}

/// What one round has shown.
struct Round {
    cpu_micros: f64,
    per_second: f64,
}

/// A sender and its receivers, on one thread.
struct Fan {
    sender: TcpStream,
    receivers: Vec<Receiver>,
    epoll: Epoll,
    scratch: Scratch,
    message: Vec<u8>,
    /// The server's process.
    pid: u32,
    /// Broadcasts sent.
    sent: usize,
    /// Broadcasts that every receiver has got.
    completed: usize,
}

struct Receiver {
    stream: TcpStream,
    tail: Tail,
    received: usize,
}

impl Fan {
    fn connect(address: SocketAddr, token: &str, pid: u32) -> Self {
        let connect = || {
            let mut socket = Socket::connect(address, token);
            socket.join(TOPIC, CONFIG);
            socket.stream
        };
        let sender = connect();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        let receivers = (0..RECEIVERS).map(|index| {
            let stream = connect();
            stream.set_nonblocking(true).expect("a socket option");
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).expect("epoll");
            Receiver { stream, tail: Tail::default(), received: 0 }
        });
        let receivers = receivers.collect();
        let message = format!(r#"["1","2","realtime:{TOPIC}","broadcast",{}]"#, payload());
        let message = frame(message.as_bytes());
        Self { sender, receivers, epoll, scratch: Scratch::new(), message, pid, sent: 0, completed: 0 }
    }

    /// Keeps `window` broadcasts in flight for some time; all have arrived when this returns.
    fn run(&mut self, window: usize, time: Duration) -> Round {
        let (sent_before, bytes_before) = (self.sent, self.scratch.bytes);
        let cpu_before = cpu_time(self.pid);
        let start = Instant::now();
        // How many receivers have got each broadcast in flight.
        let mut reached = vec![0; window];
        let mut events = vec![EpollEvent::empty(); RECEIVERS];
        loop {
            let elapsed = start.elapsed();
            if elapsed < time {
                let free = window - (self.sent - self.completed);
                if free > 0 {
                    self.sender.write_all(&self.message.repeat(free)).expect("a broadcast");
                    self.sent += free;
                }
            } else if self.completed == self.sent {
                break;
            }
            assert!(elapsed < time + ARRIVES_WITHIN, "broadcasts were lost");
            let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            for event in &events[..count] {
                self.receive(event, &mut reached);
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let deliveries = (self.sent - sent_before) * RECEIVERS;
        let bytes = self.scratch.bytes - bytes_before;
        assert_eq!(bytes, (deliveries * delivered_bytes()) as u64, "frames of another size");
        let cpu = cpu_time(self.pid) - cpu_before;
        Round {
            cpu_micros: cpu.as_secs_f64() * 1e6 / deliveries as f64,
            per_second: deliveries as f64 / seconds,
        }
    }

    fn receive(&mut self, event: &EpollEvent, reached: &mut [usize]) {
        let index = usize::try_from(event.data()).expect("an index");
        let receiver = &mut self.receivers[index];
        let count = match self.scratch.read(&receiver.stream, &mut receiver.tail, |_| ()) {
            Ok(count) => usize::try_from(count).expect("a few markers"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("a receiver was lost: {error}"),
        };
        let window = reached.len();
        for number in receiver.received..receiver.received + count {
            reached[number % window] += 1;
            // Each receiver gets them in order, so they complete in order.
            if reached[number % window] == RECEIVERS {
                reached[number % window] = 0;
                self.completed += 1;
            }
        }
        receiver.received += count;
    }
}

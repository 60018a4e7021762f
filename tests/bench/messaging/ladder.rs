//! Whether it slows the stream to note who was sent which message: a backlog of messages is drained with and without.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio_postgres::Client;

use super::{PEOPLE, PER_CONVERSATION, conversation_id, person_id};
use crate::Effort;
use crate::process::{Paused, cpu_time};
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::{Server, signed};
use crate::socket::{MARKER, Scratch, Socket, Tail};
use crate::support::{TestDatabase, connect};

const RATIO_MIN: f64 = 0.9;
/// Messages of one transaction.
const RUN: usize = 100;
/// A backlog that takes longer has lost something.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
const METHOD: &str = "messages are written while the server is stopped (SIGSTOP), in transactions of 100 and without what triggers \
                      make of them; from SIGCONT until 1,000 subscribers have read what they may see, five of each \
                      message; with and without messaging in alternating order";

/// Measures it on servers of their own, one a round.
pub(super) async fn measure(effort: &Effort, database: &TestDatabase) -> Vec<Figure> {
    let writer = connect(&database.url).await;
    let rows = effort.drain_rows / 5;
    let mut rates: [Vec<f64>; 2] = Default::default();
    let mut costs: [Vec<f64>; 2] = Default::default();
    for round in 0..effort.rounds {
        for place in [round % 2, 1 - round % 2] {
            let (rate, cost) = drain(database, &writer, ["false", "true"][place], rows).await;
            rates[place].push(rate);
            costs[place].push(cost);
        }
    }
    let [rates_off, rates_on] = rates;
    let [costs_off, costs_on] = costs;
    vec![
        Figure {
            name: "messaging_drain_per_second".to_owned(),
            unit: "/s",
            value: Spread::of(&rates_on),
            reference: Some(Reference::of("without", &rates_on, &rates_off)),
            goal: Some(Goal::RatioAtLeast(RATIO_MIN)),
            method: METHOD,
        },
        Figure {
            name: "messaging_drain_cpu_per_message".to_owned(),
            unit: "µs",
            value: Spread::of(&costs_on),
            reference: Some(Reference::of("without", &costs_on, &costs_off)),
            goal: None,
            method: "processor time of the server meanwhile, by message",
        },
    ]
}

/// Messages a second, and processor time of one in microseconds.
async fn drain(database: &TestDatabase, writer: &Client, messaging: &str, rows: usize) -> (f64, f64) {
    let server = Server::start_with(&database.url, &["--messaging", messaging]);
    let mut readers = Readers::connect(&server);
    let mut measured = (0.0, 0.0);
    // A few first, so that everything is warm.
    for rows in [rows / 10, rows] {
        // Not the walsender: whoever stands still while it holds a lock holds up those who write.
        let paused = Paused::new(i32::try_from(server.pid()).expect("a process id"));
        write(writer, rows).await;
        let (cpu, start) = (cpu_time(server.pid()), Instant::now());
        drop(paused);
        readers.read(rows * PER_CONVERSATION);
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_time(server.pid()) - cpu);
        measured = (rows as f64 / seconds, cpu.as_secs_f64() * 1e6 / rows as f64);
    }
    measured
}

async fn write(writer: &Client, rows: usize) {
    let write = format!(
        "do $$ begin
             for number in 1..{runs} loop
                 insert into public.messages (conversation_id, sender_id, sender_type, content)
                 select ('c0000000-0000-4000-8000-' || lpad((person / {PER_CONVERSATION})::text, 12, '0'))::uuid,
                        ('00000000-0000-4000-8000-' || lpad(person::text, 12, '0'))::uuid,
                        'staff', '{MARKER}' || lpad(place::text, 8, '0')
                   from (select place, (number * 37 + place * 7919) % {PEOPLE} as person
                           from generate_series(1, {RUN}) place) sent;
                 commit;
             end loop;
         end $$",
        runs = rows / RUN
    );
    // Without triggers: what they write would be drained too, and is another measure's.
    for statement in
        ["set session_replication_role = replica", &write, "reset session_replication_role", "checkpoint"]
    {
        writer.batch_execute(statement).await.expect("a statement");
    }
}

/// Everybody who subscribes, on one thread.
struct Readers {
    sockets: Vec<(TcpStream, Tail)>,
    epoll: Epoll,
    scratch: Scratch,
}

impl Readers {
    fn connect(server: &Server) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        let sockets = (0..PEOPLE).map(|person| {
            let conversation = conversation_id(person);
            let mut socket = Socket::connect(server.address, &signed(&person_id(person)));
            let config = format!(
                r#"{{"postgres_changes":[{{"event":"INSERT","schema":"public","table":"messages","filter":"conversation_id=eq.{conversation}"}}]}}"#
            );
            socket.join(&format!("conversation:{conversation}"), &config);
            socket.stream.set_nonblocking(true).expect("a socket option");
            epoll.add(&socket.stream, EpollEvent::new(EpollFlags::EPOLLIN, person as u64)).expect("epoll");
            (socket.stream, Tail::default())
        });
        let sockets = sockets.collect();
        Self { sockets, epoll, scratch: Scratch::new() }
    }

    /// Reads so many messages.
    fn read(&mut self, count: usize) {
        let deadline = Instant::now() + DRAINED_WITHIN;
        let mut events = vec![EpollEvent::empty(); PEOPLE];
        let mut seen = 0;
        while seen < count {
            assert!(Instant::now() < deadline, "{seen} of {count} messages were read");
            let ready = self.epoll.wait(&mut events, EpollTimeout::from(100_u8)).unwrap_or(0);
            for event in &events[..ready] {
                let (stream, tail) = &mut self.sockets[usize::try_from(event.data()).expect("a place")];
                match self.scratch.read(&*stream, tail, |_| ()) {
                    Ok(markers) => seen += usize::try_from(markers).expect("a few markers"),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("a subscriber was lost: {error}"),
                }
            }
        }
        assert_eq!(seen, count, "more messages than were to be seen");
    }
}

//! Many private joins a second: how many there can be, how long they take, and what they cost the database.
//!
//! Every join is a question that nobody has asked before: another user, or the same on another topic. The reference
//! is what it takes to ask each by a row that is inserted and rolled back, one after another on one session.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memchr::memmem;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rowcast::hub::authorization::{Asked, Question, Subject};
use rowcast::policy::Claims;

use crate::Effort;
use crate::database::Database;
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::{Server, token};
use crate::socket::{Socket, frame};

/// Joins offered in a second.
const RATE: u32 = 1_000;
/// Users, each with one socket.
const USERS: u32 = 200;
/// Joins a second of one socket that the server takes in the long run, and as many besides at once.
const JOINS_PER_SOCKET: u32 = 100;
/// Joins that wait for their answer when as many are made as the server can take.
const IN_FLIGHT: u32 = 200;
/// What is asked may take this long to be answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
const METHOD: &str = "200 sockets of as many users, server, database and client (epoll) on the same processors; every join \
                      is of a user and topic that were not asked about before; latency from the moment at which the \
                      join was due";

/// Policies, and what they read.
const SCHEMA: &str = "
    create table storm_members (room text not null, user_id uuid not null, primary key (room, user_id));
    insert into storm_members
        select room || ':' || number, ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid
          from generate_series(0, 199) number, (select 'room' || generate_series(0, 400) as room) rooms;
    grant select on storm_members to authenticated;
    analyze storm_members;
    select rowcast.maintain_messages();";

const NO_POLICIES: &str = "
    drop policy if exists storm on realtime.messages;";

/// What is measured: a policy, and who decides by it.
struct Case {
    name: &'static str,
    policy: &'static str,
    /// Statements to Postgres for a thousand joins.
    statements_max: f64,
    /// The tables that the server is to mirror first.
    mirrored: f64,
}

/// Policies that compile and read the token, that compile and read a table, and that Postgres is asked about.
const CASES: [Case; 3] = [
    Case {
        name: "claims",
        statements_max: 0.0,
        mirrored: 0.0,
        policy: "create policy storm on realtime.messages for select to authenticated
             using (realtime.topic() like 'room%' and (select auth.uid()) is not null);",
    },
    Case {
        name: "lookup",
        // The first joins after a start are asked about, until the stream has passed the load of the table.
        statements_max: 20.0,
        mirrored: 1.0,
        policy: "create policy storm on realtime.messages for select to authenticated using (exists (
             select from storm_members where room = topic and user_id = (select auth.uid())));",
    },
    Case {
        name: "asked",
        statements_max: 500.0,
        mirrored: 0.0,
        policy: "create policy storm on realtime.messages for select to authenticated using (exists (
             select from storm_members where room = topic and user_id = (select auth.uid())) and md5(topic) <> '');",
    },
];

/// The case in which users share their topics.
const SHARED: &str = "claims";

/// Measures each case at a fixed rate, and as fast as it goes.
pub(crate) async fn measure(effort: &Effort, database: &Database) -> Vec<Figure> {
    database.execute(SCHEMA).await;
    let users: Vec<(String, String)> =
        (0..USERS).map(|user| (subject(user), token(&subject(user)))).collect();
    let mut figures = Vec::new();
    for case in CASES {
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds.min(3) {
            database.execute(NO_POLICIES).await;
            database.execute(case.policy).await;
            let offered = Storm::start(database, &users, &case).run(effort.storm_window, Some(RATE));
            let fastest = Storm::start(database, &users, &case).run(effort.storm_window / 4, None);
            let probes = database.probe(&questions(&users), effort.storm_window / 4).await;
            rounds.push((offered, fastest, probes));
        }
        figures.extend(report(&case, &rounds));
    }
    database.execute(NO_POLICIES).await;
    figures
}

fn report(case: &Case, rounds: &[(Round, Round, f64)]) -> Vec<Figure> {
    let figure = |name: &str, unit, goal, of: &dyn Fn(&(Round, Round, f64)) -> f64, reference: bool| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        let probes: Vec<f64> = rounds.iter().map(|round| round.2).collect();
        Figure {
            name: format!("join_storm_{}_{name}", case.name),
            unit,
            value: Spread::of(&values),
            reference: reference.then(|| Reference::of("rows rolled back", &values, &probes)),
            goal,
            method: METHOD,
        }
    };
    vec![
        // What was offered within the window, a hair apart from the rate itself.
        figure(
            "offered_rate",
            "/s",
            Some(Goal::ValueAtLeast(f64::from(RATE) * 0.99)),
            &|round| round.0.per_second,
            false,
        ),
        figure("p50", "ms", None, &|round| round.0.p50, false),
        figure("p99", "ms", None, &|round| round.0.p99, false),
        figure(
            "statements",
            "/1,000 joins",
            Some(Goal::ValueAtMost(case.statements_max)),
            &|round| round.0.statements,
            false,
        ),
        figure("round_trips", "/1,000 joins", None, &|round| round.0.round_trips, false),
        figure("fastest_rate", "/s", Some(Goal::RatioAtLeast(1.0)), &|round| round.1.per_second, true),
        figure("fastest_statements", "/1,000 joins", None, &|round| round.1.statements, false),
    ]
}

fn subject(user: u32) -> String {
    format!("00000000-0000-4000-8000-{user:012}")
}

/// The topic of a user's join with this number: everybody's, or the user's own.
fn topic(is_shared: bool, user: u32, join: u32) -> String {
    if is_shared { format!("room{join}") } else { format!("room{join}:{user}") }
}

fn questions(users: &[(String, String)]) -> Vec<Asked> {
    let question = |(user, (subject, _)): (u32, &(String, String))| {
        let json = format!(r#"{{"role":"authenticated","sub":"{subject}"}}"#);
        let claims = Claims { role: "authenticated".into(), json: json.into(), expires_at: i64::MAX };
        let topic = topic(false, user, 1).into();
        Asked {
            subject: Subject { claims: Arc::new(claims), topic, headers: "{}".into() },
            question: Question::Read,
        }
    };
    (0..).zip(users).map(question).collect()
}

/// What one round has shown.
struct Round {
    per_second: f64,
    p50: f64,
    p99: f64,
    statements: f64,
    round_trips: f64,
}

/// A server, and the sockets of all users.
struct Storm {
    server: Server,
    /// Whether all users join the same topics.
    is_shared: bool,
    sockets: Vec<Joiner>,
    epoll: Epoll,
    /// Joins sent.
    sent: u32,
    /// Joins granted.
    granted: u32,
    latencies: Histogram<u64>,
}

struct Joiner {
    socket: Socket,
    /// When each join that has no answer was due.
    waiting: VecDeque<Instant>,
    /// What was read and has no end yet.
    seen: Vec<u8>,
}

impl Storm {
    fn start(database: &Database, users: &[(String, String)], case: &Case) -> Self {
        let server = Server::start_with(&database.url, &["--channels-per-socket-max", "10000"]);
        let begun = Instant::now();
        while server.counted("rowcast_mirror_tables{state=\"ready\"}") < case.mirrored {
            assert!(begun.elapsed() < ANSWERED_WITHIN, "the table was not mirrored");
        }
        let is_shared = case.name == SHARED;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        let sockets = users.iter().enumerate().map(|(index, (_, token))| {
            let socket = Socket::connect(server.address, token);
            socket.stream.set_nonblocking(true).expect("a socket option");
            epoll.add(&socket.stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).expect("epoll");
            Joiner { socket, waiting: VecDeque::new(), seen: Vec::new() }
        });
        let sockets = sockets.collect();
        let latencies = Histogram::new(3).expect("a histogram");
        Self { server, is_shared, sockets, epoll, sent: 0, granted: 0, latencies }
    }

    /// Joins for some time: so many a second, or as many as the server takes.
    fn run(mut self, time: Duration, rate: Option<u32>) -> Round {
        let start = Instant::now();
        let mut events = vec![EpollEvent::empty(); self.sockets.len()];
        loop {
            let elapsed = start.elapsed();
            assert!(elapsed < time + ANSWERED_WITHIN, "joins were not answered");
            match rate {
                Some(rate) => {
                    let due = |join: u32| Duration::from_secs(1) * join / rate;
                    while due(self.sent) <= elapsed.min(time) {
                        self.join(start + due(self.sent));
                    }
                }
                None => {
                    // No faster than a socket may join in the long run.
                    let allowed = f64::from(USERS * JOINS_PER_SOCKET) * (1.0 + elapsed.as_secs_f64());
                    while elapsed < time
                        && (self.sent - self.granted) < IN_FLIGHT
                        && f64::from(self.sent) < allowed
                    {
                        self.join(Instant::now());
                    }
                }
            }
            if elapsed >= time && self.granted == self.sent {
                break;
            }
            let count = self.epoll.wait(&mut events, EpollTimeout::from(1_u8)).unwrap_or(0);
            for event in &events[..count] {
                self.receive(usize::try_from(event.data()).expect("an index"));
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let joins = f64::from(self.sent);
        let per_thousand = |metric: &str| self.server.counted(metric) * 1_000.0 / joins;
        Round {
            per_second: joins / seconds,
            p50: self.latencies.value_at_quantile(0.5) as f64 / 1e3,
            p99: self.latencies.value_at_quantile(0.99) as f64 / 1e3,
            statements: per_thousand("rowcast_authorization_statements_total"),
            round_trips: per_thousand("rowcast_authorization_round_trips_total"),
        }
    }

    fn join(&mut self, due: Instant) {
        let (user, join) = (self.sent % USERS, self.sent / USERS);
        let topic = topic(self.is_shared, user, join);
        let message = format!(
            r#"["{join}","{join}","realtime:{topic}","phx_join",{{"config":{{"private":true,"broadcast":{{}}}}}}]"#
        );
        let joiner = &mut self.sockets[user as usize];
        joiner.socket.stream.write_all(&frame(message.as_bytes())).expect("a join");
        joiner.waiting.push_back(due);
        self.sent += 1;
    }

    fn receive(&mut self, index: usize) {
        const GRANTED: &[u8] = br#""status":"ok""#;
        let joiner = &mut self.sockets[index];
        let mut buffer = [0; 16_384];
        loop {
            match joiner.socket.stream.read(&mut buffer) {
                Ok(0) => panic!("the server closed a socket"),
                Ok(read) => joiner.seen.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let now = Instant::now();
        let mut end = 0;
        for place in memmem::find_iter(&joiner.seen, GRANTED) {
            end = place + GRANTED.len();
            let due = joiner.waiting.pop_front().expect("a join that waits");
            let micros = now.saturating_duration_since(due).as_micros();
            self.latencies.record(u64::try_from(micros).expect("a short time")).expect("a latency");
            self.granted += 1;
        }
        let refused = memmem::find(&joiner.seen, br#""status":"error""#).is_some();
        assert!(!refused, "the server refused: {}", String::from_utf8_lossy(&joiner.seen));
        joiner.seen.drain(..end);
    }
}

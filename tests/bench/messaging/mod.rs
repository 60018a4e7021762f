//! The messaging schema under the load of a busy application: a thousand people in two hundred conversations.
//!
//! Every person has one socket and follows one conversation as supabase-js would: its messages, typing indicators and
//! read receipts, and who is present; then the same with the sockets of apps that have protocols of their own. Writers
//! act as these people through the schema's functions. A latency runs from the moment before COMMIT is sent to the
//! moment at which a client has read the frame, so it includes the commit. Meanwhile people lose their connection all
//! the time and come back.

mod account;
mod client;
mod ladder;
mod load;
mod presence;
mod sockets;

use std::sync::Arc;

use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use crate::Effort;
use crate::database::SETTINGS;
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::{Server, command};
use crate::support::{TestDatabase, majors};

use account::{Kind, News, Round};
use client::{App, Client};
use load::Load;

/// Those who take part in the load.
const PEOPLE: usize = 1_000;
/// Those who are in the database.
const EVERYBODY: usize = 10_000;
const PER_CONVERSATION: usize = 5;

/// What Rowcast is to keep, and what the documents of the applications ask for, in milliseconds.
const MESSAGE_P95: [f64; 2] = [25.0, 500.0];
const TYPING_P99: [f64; 2] = [25.0, 200.0];
const RECEIPT_P95: [f64; 2] = [25.0, 300.0];
const PRESENCE_MEAN: [f64; 2] = [50.0, 1_000.0];
const RECONNECT: [f64; 2] = [1_000.0, 5_000.0];
const METHOD: &str = "1,000 people with a socket each in 200 conversations of five, server, database, writers and clients on the \
                      same processors; 100 messages/s, as many starts of typing and receipts, 20 changes of presence/s, and \
                      5 people a second whose connection breaks; from before COMMIT to the read of the frame";
const RECONNECTED: &str = "under that load, those who come back after a second: from the first byte of the new connection to a live \
                           subscription, or to the answer with the messages since the last one";
const APPS: &str = "the same load without broken connections, to 1,000 sockets of an app's own protocol";

/// Everybody who is connected.
struct Crowd {
    teller: Sender<News>,
    news: Receiver<News>,
    /// Tells each person that their connection breaks.
    leave: Vec<Arc<Notify>>,
    sockets: JoinSet<()>,
}

impl Crowd {
    /// Nobody yet.
    fn empty() -> Self {
        let (teller, news) = channel(100_000);
        Self { teller, news, leave: Vec::new(), sockets: JoinSet::new() }
    }

    /// Has people connect until there are so many.
    async fn grow(&mut self, app: App, server: &Server, people: usize) {
        for person in self.leave.len()..people {
            let client = Client::connect(app, server.address, person).await;
            let leave = Arc::new(Notify::new());
            self.leave.push(Arc::clone(&leave));
            self.sockets.spawn(client.run(self.teller.clone(), leave));
        }
    }
}

/// Which parts there are, by name: `messaging` is all of them.
const PARTS: [&str; 5] =
    ["messaging_load", "messaging_apps", "messaging_cost", "messaging_drain", "messaging_presence"];

/// Whether any part is wanted.
pub(crate) fn is_wanted(wanted: impl Fn(&str) -> bool) -> bool {
    wanted("messaging") || PARTS.iter().any(|part| wanted(part))
}

/// Measures the parts that are wanted, on a database of their own.
pub(crate) async fn measure(effort: &Effort, wanted: impl Fn(&str) -> bool) -> Vec<Figure> {
    let wanted = |part: &str| wanted("messaging") || wanted(part);
    let database = TestDatabase::create(majors().into_iter().max().expect("a major version")).await;
    command(&["migrate", "--with", "messaging", "--database-url", &database.url]);
    for statement in SETTINGS.split_terminator(';') {
        database.execute(statement).await;
    }
    fill(&database).await;
    let mut figures = Vec::new();
    if wanted("messaging_load") {
        figures.extend(of_supabase(&rounds(App::Supabase, effort, &database).await));
    }
    if wanted("messaging_apps") {
        for (app, name) in [(App::Pitchey, "pitchey"), (App::School, "school")] {
            figures.extend(of_app(name, &rounds(app, effort, &database).await));
        }
    }
    if wanted("messaging_cost") {
        figures.extend(sockets::measure(effort, &database).await);
    }
    if wanted("messaging_drain") {
        figures.extend(ladder::measure(effort, &database).await);
    }
    if wanted("messaging_presence") {
        figures.extend(presence::measure(effort, &database).await);
    }
    figures
}

/// Measures one kind of sockets, on a server of their own.
async fn rounds(app: App, effort: &Effort, database: &TestDatabase) -> Vec<Round> {
    let arguments = match app {
        App::Supabase => ["--messaging", "true"],
        App::Pitchey => ["--adapters", "pitchey"],
        App::School => ["--adapters", "school"],
    };
    let server = Server::start_with(&database.url, &arguments);
    let mut crowd = Crowd::empty();
    crowd.grow(app, &server, PEOPLE).await;
    let mut load = Load::start(app, &database.url).await;
    let returns = app == App::Supabase;
    // The first round warms everything up.
    let _ = load.run(effort.latency_window, &mut crowd, returns).await;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        rounds.push(load.run(effort.latency_window * 2, &mut crowd, returns).await);
    }
    crowd.sockets.shutdown().await;
    rounds
}

fn of_supabase(rounds: &[Round]) -> Vec<Figure> {
    let slowest = |of: &dyn Fn(&account::Return) -> std::time::Duration| -> Vec<f64> {
        let slowest = |round: &Round| round.returns.iter().map(of).max().expect("a return");
        rounds.iter().map(|round| slowest(round).as_secs_f64() * 1_000.0).collect()
    };
    let caught_up: Vec<f64> = rounds.iter().map(|round| round.caught_up as f64).collect();
    vec![
        figure("message_p50", &of(rounds, Kind::Message, &quantile(50.0)), None, METHOD),
        figure("message_p95", &of(rounds, Kind::Message, &quantile(95.0)), Some(MESSAGE_P95), METHOD),
        figure("typing_p99", &of(rounds, Kind::Typing, &quantile(99.0)), Some(TYPING_P99), METHOD),
        figure("receipt_p95", &of(rounds, Kind::Receipt, &quantile(95.0)), Some(RECEIPT_P95), METHOD),
        figure("presence_mean", &of(rounds, Kind::Presence, &Histogram::mean), Some(PRESENCE_MEAN), METHOD),
        figure("reconnect_slowest", &slowest(&|back| back.until_live), Some(RECONNECT), RECONNECTED),
        figure("caught_up_slowest", &slowest(&|back| back.until_caught_up), Some(RECONNECT), RECONNECTED),
        Figure {
            name: "messaging_caught_up".to_owned(),
            unit: "messages",
            value: Spread::of(&caught_up),
            reference: None,
            goal: None,
            method: "messages of a round that came while their reader was gone, and were read after that",
        },
    ]
}

fn of_app(name: &str, rounds: &[Round]) -> Vec<Figure> {
    let message = of(rounds, Kind::Message, &quantile(95.0));
    let typing = of(rounds, Kind::Typing, &quantile(99.0));
    vec![
        figure(&format!("{name}_message_p95"), &message, Some(MESSAGE_P95), APPS),
        figure(&format!("{name}_typing_p99"), &typing, Some(TYPING_P99), APPS),
    ]
}

/// One value of each round, in milliseconds.
fn of(rounds: &[Round], kind: Kind, value: &dyn Fn(&Histogram<u64>) -> f64) -> Vec<f64> {
    rounds.iter().map(|round| value(round.latencies(kind)) / 1_000.0).collect()
}

fn quantile(percent: f64) -> impl Fn(&Histogram<u64>) -> f64 {
    move |histogram| histogram.value_at_percentile(percent) as f64
}

/// A time, with what it may be and what is asked for.
fn figure(name: &str, values: &[f64], bounds: Option<[f64; 2]>, method: &'static str) -> Figure {
    Figure {
        name: format!("messaging_{name}"),
        unit: "ms",
        value: Spread::of(values),
        reference: bounds.map(|[_, asked]| Reference::of("ms asked for", values, &vec![asked; values.len()])),
        goal: bounds.map(|[most, _]| Goal::ValueAtMost(most)),
        method,
    }
}

/// The id of a person.
fn person_id(person: usize) -> String {
    format!("00000000-0000-4000-8000-{person:012}")
}

/// The id of the conversation that a person takes part in.
fn conversation_id(person: usize) -> String {
    format!("c0000000-0000-4000-8000-{:012}", person / PER_CONVERSATION)
}

/// People, conversations, and who takes part.
async fn fill(database: &TestDatabase) {
    let last = EVERYBODY - 1;
    let sql = format!(
        "insert into public.users (id, username, full_name)
             select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'person' || n, 'Person ' || n
               from generate_series(0, {last}) n;
         insert into public.conversations (id, kind)
             select ('c0000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'group'
               from generate_series(0, {last} / {PER_CONVERSATION}) n;
         insert into public.conversation_participants (conversation_id, user_id)
             select ('c0000000-0000-4000-8000-' || lpad((n / {PER_CONVERSATION})::text, 12, '0'))::uuid,
                    ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
               from generate_series(0, {last}) n"
    );
    // Nobody but the service may act for others.
    database.execute(&format!("set role service_role; {sql}; reset role; analyze")).await;
}

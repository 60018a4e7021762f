//! The messaging schema under the load of a busy application: a thousand people in two hundred conversations.
//!
//! Every person has one socket and follows one conversation as supabase-js would: its messages, typing indicators and
//! read receipts, and who is present. Writers act as these people through the schema's functions. A latency runs from
//! the moment before COMMIT is sent to the moment at which a client has read the frame, so it includes the commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_tungstenite::tungstenite::Message;

use crate::Effort;
use crate::database::SETTINGS;
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::{Server, command, signed};
use crate::support::{TestDatabase, connect, majors};

const PEOPLE: usize = 1_000;
const PER_CONVERSATION: usize = 5;
/// Messages a second; as many begin to type, and as many are read.
const RATE: u32 = 100;
/// One in so many messages goes with a change of presence.
const PRESENCE_EVERY: usize = 5;
/// Sessions that write.
const WRITERS: usize = 8;
/// Reconnects of one round, one after another.
const RECONNECTS: usize = 40;
/// A frame that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// What Rowcast is to keep, and what the documents of the applications ask for, in milliseconds.
const MESSAGE_P95: [f64; 2] = [25.0, 500.0];
const TYPING_P99: [f64; 2] = [25.0, 200.0];
const RECEIPT_P95: [f64; 2] = [25.0, 300.0];
const PRESENCE_MEAN: [f64; 2] = [50.0, 1_000.0];
const RECONNECT: [f64; 2] = [1_000.0, 5_000.0];
const METHOD: &str = "1,000 people with a socket each in 200 conversations of five, server, database, writers and clients on the \
                      same processors; 100 messages/s, as many starts of typing and receipts, 20 changes of presence/s; from \
                      before COMMIT to the read of the frame";
const RECONNECTED: &str = "the slowest of 40 in a round, meanwhile without load: from the first byte of a new connection to a live \
                           subscription";

/// What a person does, and what the others of the conversation hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Message,
    Typing,
    Receipt,
    Presence,
}

const KINDS: [Kind; 4] = [Kind::Message, Kind::Typing, Kind::Receipt, Kind::Presence];

/// One deed, as its change names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Deed(Kind, String);

/// A deed that a client has read of.
struct Arrival {
    deed: Deed,
    at: Instant,
}

/// Measures it; makes a database of its own.
pub(crate) async fn measure(effort: &Effort) -> Vec<Figure> {
    let database = TestDatabase::create(majors().into_iter().max().expect("a major version")).await;
    command(&["migrate", "--with", "messaging", "--database-url", &database.url]);
    for statement in SETTINGS.split_terminator(';') {
        database.execute(statement).await;
    }
    fill(&database).await;
    let server = Server::start_with(&database.url, &["--messaging", "true"]);
    let (sender, mut arrivals) = channel(100_000);
    let mut sockets = JoinSet::new();
    for person in 0..PEOPLE {
        let socket = Subscriber::connect(&server, person).await;
        sockets.spawn(socket.read(sender.clone()));
    }
    let mut rounds: HashMap<Kind, Vec<Histogram<u64>>> = HashMap::new();
    let mut reconnects = Vec::new();
    let mut load = Load::start(&database.url).await;
    // The first round warms everything up.
    let _ = load.run(effort.latency_window, &mut arrivals).await;
    for _ in 0..effort.rounds {
        let histograms = load.run(effort.latency_window * 2, &mut arrivals).await;
        for (kind, histogram) in histograms {
            rounds.entry(kind).or_default().push(histogram);
        }
        reconnects.push(reconnect(&server).await);
    }
    sockets.shutdown().await;
    figures(&rounds, &reconnects)
}

fn figures(rounds: &HashMap<Kind, Vec<Histogram<u64>>>, reconnects: &[f64]) -> Vec<Figure> {
    let of = |kind, value: &dyn Fn(&Histogram<u64>) -> f64| -> Vec<f64> {
        rounds[&kind].iter().map(|histogram| value(histogram) / 1_000.0).collect()
    };
    let quantile =
        |percent: f64| move |histogram: &Histogram<u64>| histogram.value_at_percentile(percent) as f64;
    let figure = |name: &str, values: &[f64], bounds: Option<[f64; 2]>, method| Figure {
        name: format!("messaging_{name}"),
        unit: "ms",
        value: Spread::of(values),
        reference: bounds.map(|[_, asked]| Reference::of("ms asked for", values, &vec![asked; values.len()])),
        goal: bounds.map(|[most, _]| Goal::ValueAtMost(most)),
        method,
    };
    vec![
        figure("message_p50", &of(Kind::Message, &quantile(50.0)), None, METHOD),
        figure("message_p95", &of(Kind::Message, &quantile(95.0)), Some(MESSAGE_P95), METHOD),
        figure("typing_p99", &of(Kind::Typing, &quantile(99.0)), Some(TYPING_P99), METHOD),
        figure("receipt_p95", &of(Kind::Receipt, &quantile(95.0)), Some(RECEIPT_P95), METHOD),
        figure("presence_mean", &of(Kind::Presence, &Histogram::mean), Some(PRESENCE_MEAN), METHOD),
        figure("reconnect_slowest", reconnects, Some(RECONNECT), RECONNECTED),
    ]
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
    let last = PEOPLE - 1;
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
               from generate_series(0, {last}) n;
         select public.update_user_presence(u.id, null, 'online', '{{}}') from public.users u"
    );
    // Nobody but the service may act for others.
    database.execute(&format!("set role service_role; {sql}; reset role; analyze")).await;
}

/// A client with one channel.
struct Subscriber {
    stream: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Subscriber {
    /// Connects and waits until the subscription is live.
    async fn connect(server: &Server, person: usize) -> Self {
        let token = signed(&person_id(person));
        let url = format!("ws://{}/socket/websocket?vsn=1.0.0&apikey={token}", server.address);
        let (mut stream, _) = tokio_tungstenite::connect_async(url).await.expect("a socket");
        let conversation = conversation_id(person);
        let change = |table: &str, event: &str| json!({ "event": event, "schema": "public", "table": table, "filter": format!("conversation_id=eq.{conversation}") });
        let changes = json!([
            change("messages", "INSERT"),
            change("message_typing_indicators", "*"),
            change("message_read_receipts", "INSERT"),
            { "event": "*", "schema": "public", "table": "user_presence" },
        ]);
        let join = json!({
            "topic": format!("realtime:conversation:{conversation}"), "event": "phx_join", "ref": "1", "join_ref": "1",
            "payload": { "config": { "postgres_changes": changes }, "access_token": token },
        });
        stream.send(Message::text(join.to_string())).await.expect("a join");
        loop {
            let message = stream.next().await.expect("an answer").expect("a frame");
            let text = message.to_text().unwrap_or_default();
            assert!(!text.contains("\"status\":\"error\""), "the server refused: {text}");
            if text.contains("Subscribed to PostgreSQL") {
                return Self { stream };
            }
        }
    }

    /// Tells of every deed that it reads of, until the measure is over.
    async fn read(mut self, arrivals: Sender<Arrival>) {
        let mut present = HashSet::new();
        while let Some(Ok(message)) = self.stream.next().await {
            let at = Instant::now();
            let Ok(text) = message.to_text() else { continue };
            let Some(deed) = deed_in(text) else { continue };
            // The server stamps who is connected again and again: that is no deed.
            if deed.0 == Kind::Presence && !present.insert(deed.1.clone()) {
                continue;
            }
            if arrivals.send(Arrival { deed, at }).await.is_err() {
                return;
            }
        }
    }
}

/// The deed that a frame tells of, if it is one of the load's.
fn deed_in(frame: &str) -> Option<Deed> {
    let frame: Value = serde_json::from_str(frame).ok()?;
    let data = frame.get("payload")?.get("data")?;
    let (table, record) = (data.get("table")?.as_str()?, data.get("record")?);
    let text = |column: &str| record.get(column).and_then(Value::as_str).map(str::to_owned);
    match table {
        "messages" => Some(Deed(Kind::Message, text("content")?)),
        "message_typing_indicators" if data.get("type")? == "INSERT" => Some(Deed(Kind::Typing, text("id")?)),
        "message_read_receipts" => Some(Deed(Kind::Receipt, text("id")?)),
        "user_presence" => {
            let number = record.get("metadata")?.get("number")?.as_u64()?;
            Some(Deed(Kind::Presence, number.to_string()))
        }
        _ => None,
    }
}

/// Those who write.
struct Load {
    writers: Vec<Arc<Client>>,
    /// The number of the next message.
    next: usize,
}

impl Load {
    async fn start(url: &str) -> Self {
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(Arc::new(connect(url).await));
        }
        Self { writers, next: 0 }
    }

    /// Writes at the rate for as long, and waits for all that is to be heard of it.
    async fn run(
        &mut self,
        window: Duration,
        arrivals: &mut Receiver<Arrival>,
    ) -> HashMap<Kind, Histogram<u64>> {
        let count = usize::try_from(window.as_millis() * u128::from(RATE) / 1_000).expect("a number");
        let (first, start) = (self.next, tokio::time::Instant::now());
        self.next += count;
        let mut writing = JoinSet::new();
        for (writer, client) in self.writers.iter().enumerate() {
            let client = Arc::clone(client);
            writing.spawn(async move {
                let mut deeds = Vec::new();
                for place in (writer..count).step_by(WRITERS) {
                    let due = Duration::from_secs(1) / RATE * u32::try_from(place).expect("a small number");
                    tokio::time::sleep_until(start + due).await;
                    deeds.extend(act(&client, first + place).await);
                }
                deeds
            });
        }
        let mut heard = Vec::new();
        let mut committed = HashMap::new();
        while !writing.is_empty() {
            tokio::select! {
                arrival = arrivals.recv() => heard.push(arrival.expect("an open socket")),
                Some(deeds) = writing.join_next() => {
                    committed.extend(deeds.expect("a writer").into_iter().map(|(deed, at)| (deed, (at, 0))));
                }
            }
        }
        let rate = count as f64 / start.elapsed().as_secs_f64();
        assert!(
            rate > f64::from(RATE) * 0.95,
            "this machine does not write {RATE} messages/s, only {rate:.0}"
        );
        note_all(heard, &mut committed, arrivals).await
    }
}

/// Sorts what was heard by kind, and waits for what is missing; everybody of a conversation hears each deed once.
async fn note_all(
    heard: Vec<Arrival>,
    committed: &mut HashMap<Deed, (Instant, usize)>,
    arrivals: &mut Receiver<Arrival>,
) -> HashMap<Kind, Histogram<u64>> {
    let mut histograms: HashMap<Kind, Histogram<u64>> =
        KINDS.map(|kind| (kind, Histogram::new_with_max(60_000_000, 3).expect("a histogram"))).into();
    let mut missing = committed.len() * PER_CONVERSATION;
    let mut heard = heard.into_iter();
    let deadline = tokio::time::Instant::now() + LOST_AFTER;
    while missing > 0 {
        let arrival = match heard.next() {
            Some(arrival) => arrival,
            None => tokio::time::timeout_at(deadline, arrivals.recv())
                .await
                .unwrap_or_else(|_| {
                    panic!("{missing} of {} frames are missing", committed.len() * PER_CONVERSATION)
                })
                .expect("an open socket"),
        };
        let (at, count) = committed.get_mut(&arrival.deed).expect("a deed of this round");
        *count += 1;
        assert!(*count <= PER_CONVERSATION, "heard by others, or twice");
        missing -= 1;
        let micros = arrival.at.saturating_duration_since(*at).as_micros();
        let histogram = histograms.get_mut(&arrival.deed.0).expect("a histogram of each kind");
        histogram.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
    }
    histograms
}

/// One begins to type and sends the message, and another has read it; now and then a third comes back.
async fn act(client: &Client, number: usize) -> Vec<(Deed, Instant)> {
    // Neighbours in time are of different conversations, and everybody has a turn.
    let writer = number * 7_919 % PEOPLE;
    let reader = writer / PER_CONVERSATION * PER_CONVERSATION + (writer + 1) % PER_CONVERSATION;
    let (author, conversation, read) = (person_id(writer), conversation_id(writer), person_id(reader));
    let mut deeds = Vec::new();
    let typing =
        format!("select (public.update_typing_indicator('{conversation}', '{author}', null, true, 5)).id");
    let (indicator, at) = commit_as(client, &author, &typing).await;
    deeds.push((Deed(Kind::Typing, indicator), at));
    let content = format!("message {number} of {writer}");
    let send = format!("select (public.send_message('{conversation}', '{content}')).id");
    let (message, at) = commit_as(client, &author, &send).await;
    deeds.push((Deed(Kind::Message, content), at));
    let receipt = format!("select (public.mark_message_as_read('{message}', '{read}', null)).id");
    let (receipt, at) = commit_as(client, &read, &receipt).await;
    deeds.push((Deed(Kind::Receipt, receipt), at));
    if number.is_multiple_of(PRESENCE_EVERY) {
        let who = person_id((writer + PEOPLE / 2) % PEOPLE);
        let presence = format!(
            r#"select public.update_user_presence('{who}', null, 'online', '{{"number": {number}}}')"#
        );
        let (_, at) = commit_as(client, &who, &presence).await;
        deeds.push((Deed(Kind::Presence, number.to_string()), at));
    }
    deeds
}

/// Runs one statement as a person; gives its value, and when COMMIT was about to be sent.
async fn commit_as(client: &Client, who: &str, statement: &str) -> (String, Instant) {
    let begin = format!(
        "begin; select set_config('role', 'authenticated', true), \
         set_config('request.jwt.claims', '{{\"role\":\"authenticated\",\"sub\":\"{who}\"}}', true)"
    );
    client.batch_execute(&begin).await.expect("a transaction");
    let rows = client.simple_query(statement).await.expect("a statement");
    let value = rows.iter().find_map(|row| match row {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    let at = Instant::now();
    client.batch_execute("commit").await.expect("a commit");
    (value.unwrap_or_default(), at)
}

/// The slowest of some reconnects, in milliseconds: a socket that has closed connects again until it is live.
async fn reconnect(server: &Server) -> f64 {
    let mut slowest = Duration::ZERO;
    for person in 0..RECONNECTS {
        let socket = Subscriber::connect(server, person * 11).await;
        drop(socket);
        let start = Instant::now();
        let socket = Subscriber::connect(server, person * 11).await;
        slowest = slowest.max(start.elapsed());
        drop(socket);
    }
    slowest.as_secs_f64() * 1_000.0
}

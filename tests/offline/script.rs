//! A whole server without sockets: shards, their queues, a feed and clients, moved step by step by a test.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rowcast::channel::{Body, Broadcast, Topic};
use rowcast::hub::authorization::{
    Answer, AuthorizationError, Authorized, Inquiry, Replayed, ReplyTo, Rights, Stored,
};
use rowcast::hub::{
    Authorizer, Clock, Config, ConnectionId, Directory, Engine, FeedCommand, Links, Meter, Meters, Outbox,
    RoomBroadcast, Seen, ServerLimits, Session, Shard, ShardCommand, StreamedCommit, TokenRefusal,
    TokenVerifier,
};
use rowcast::policy::Claims;
use rowcast::postgres::messaging::Messaging;
use rowcast::postgres::snapshot::Snapshot;
use rowcast::protocol::{Dialect, Message};
use rowcast::wal::Lsn;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

/// How many questions about private channels may wait.
pub(crate) const INQUIRIES_MAX: usize = 64;

/// The wall clock when a script begins.
pub(crate) const START_UNIX: i64 = 1_800_000_000;

/// What a client got.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Received {
    Text(Value),
    Binary(Vec<u8>),
    Closed(u16),
}

/// One client's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Client {
    pub(crate) shard: u16,
    pub(crate) id: ConnectionId,
    pub(crate) dialect: Dialect2,
}

/// [`Dialect`] with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Dialect2 {
    V1,
    V2,
}

#[derive(Default)]
struct Recorder(HashMap<ConnectionId, Vec<Received>>);

impl Outbox for Recorder {
    fn send(&mut self, connection: ConnectionId, frame: Bytes) {
        self.0.entry(connection).or_default().push(decode(&frame));
    }

    fn close(&mut self, connection: ConnectionId, code: u16, _reason: &str) {
        self.0.entry(connection).or_default().push(Received::Closed(code));
    }
}

fn decode(frame: &[u8]) -> Received {
    let (start, length) = match frame[1] {
        127 => (10, u64::from_be_bytes(frame[2..10].try_into().unwrap())),
        126 => (4, u64::from(u16::from_be_bytes([frame[2], frame[3]]))),
        length => (2, u64::from(length)),
    };
    let payload = &frame[start..];
    assert_eq!(u64::try_from(payload.len()).unwrap(), length, "one whole unmasked frame");
    match frame[0] {
        0x81 => Received::Text(serde_json::from_slice(payload).unwrap()),
        0x82 => Received::Binary(payload.to_vec()),
        first => panic!("a frame that starts with {first:#x}"),
    }
}

/// What is said of a token by a key that nobody knows.
pub(crate) const NO_SIGNER: &str =
    "Failed to generate JWT signer, check your JWT secret or JWKS configuration";

thread_local! {
    /// How often the keys of a script have changed; a script runs on one thread.
    static KEY_CHANGES: Cell<u64> = const { Cell::new(0) };
}

/// Changes the keys: from now on `<token:b>` is by a key that nobody knows.
pub(crate) fn change_keys() {
    KEY_CHANGES.set(KEY_CHANGES.get() + 1);
}

/// Knows tokens by name: `<token:NAME>`.
struct Tokens;

impl TokenVerifier for Tokens {
    fn generation(&self) -> u64 {
        KEY_CHANGES.get()
    }

    fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenRefusal> {
        let refused = |code: &str, join: &str, system: &str| {
            Err(TokenRefusal { join_reason: format!("{code}: {join}"), system_message: system.to_owned() })
        };
        let name = token.strip_prefix("<token:").and_then(|name| name.strip_suffix('>'));
        let (role, expires_at) = match name {
            Some("anon") => ("anon", START_UNIX + 1_000_000),
            Some("b") if KEY_CHANGES.get() > 0 => {
                return refused("JwtSignerError", NO_SIGNER, NO_SIGNER);
            }
            Some("a" | "b" | "ada" | "ada2" | "bob") => ("authenticated", START_UNIX + 1_000_000),
            Some("service") => ("service_role", START_UNIX + 1_000_000),
            // The recording joins with it at second 28.
            Some("short") => ("anon", START_UNIX + 32),
            Some("expired") => ("anon", START_UNIX - 1_000),
            Some("wrong") => {
                let words = "Failed to validate JWT signature";
                return refused("JwtSignatureError", words, words);
            }
            Some("norole" | "noexp") => {
                let words = "Fields `role` and `exp` are required in JWT";
                return refused("InvalidJWTToken", words, words);
            }
            _ => {
                let words = "The token provided is not a valid JWT";
                return refused("MalformedJWT", words, words);
            }
        };
        if expires_at <= now_unix {
            let words = format!("Token has expired {} seconds ago", now_unix - expires_at);
            return refused("InvalidJWTToken", &words, &words);
        }
        let mut body = json!({"role": role, "token": token});
        if let Some(subject) = name.and_then(subject) {
            body["sub"] = json!(subject.to_string());
        }
        Ok(Arc::new(Claims { role: role.into(), json: body.to_string().into(), expires_at }))
    }
}

/// The people whom tokens are about; all others are about nobody.
pub(crate) fn subject(name: &str) -> Option<Uuid> {
    match name {
        "ada" | "ada2" => Some(Uuid::from_u128(1)),
        "bob" => Some(Uuid::from_u128(2)),
        _ => None,
    }
}

/// A server of some shards.
pub(crate) struct Server {
    pub(crate) shards: Vec<Shard>,
    pub(crate) feed: mpsc::Receiver<FeedCommand>,
    /// What the shards ask about private channels.
    pub(crate) inquiries: mpsc::Receiver<Inquiry>,
    directory: Arc<Directory>,
    inboxes: Vec<mpsc::Receiver<ShardCommand>>,
    recorders: Vec<Recorder>,
    generations: u32,
    start: Instant,
    now: Instant,
    unix: Arc<AtomicI64>,
    /// What the server counts and is held to; its ticks come with the time.
    pub(crate) meters: Arc<Meters>,
    /// What compiled policies are judged by; it knows nothing until a test tells it.
    pub(crate) engine: Arc<Engine>,
}

impl Server {
    pub(crate) fn start(shard_count: u16) -> Self {
        Self::with(shard_count, Config::default(), 1_024, 1_024)
    }

    /// A server with these settings and sizes of the queues between shards and to the feed.
    pub(crate) fn with(shard_count: u16, config: Config, mailbox: usize, feed: usize) -> Self {
        Self::build(shard_count, config, ServerLimits::NONE, (mailbox, feed), None)
    }

    /// A server that is held to some limits as a whole.
    pub(crate) fn limited(shard_count: u16, config: Config, limits: ServerLimits) -> Self {
        Self::build(shard_count, config, limits, (1_024, 1_024), None)
    }

    /// A server where messaging is on, with one shard.
    pub(crate) fn with_messaging(messaging: Messaging) -> Self {
        Self::build(1, Config::default(), ServerLimits::NONE, (1_024, 1_024), Some(messaging))
    }

    fn build(
        shard_count: u16,
        config: Config,
        limits: ServerLimits,
        queues: (usize, usize),
        messaging: Option<Messaging>,
    ) -> Self {
        let (mailbox, feed) = queues;
        let start = Instant::now();
        let directory = Directory::new(shard_count, [7, 11], start);
        let unix = Arc::new(AtomicI64::new(START_UNIX));
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..shard_count).map(|_| mpsc::channel(mailbox)).unzip();
        let (feed_sender, feed) = mpsc::channel(feed);
        let (authorizer, inquiries) = Authorizer::queue(INQUIRIES_MAX);
        let meters = Arc::new(Meters::new(limits));
        let engine = Arc::<Engine>::default();
        let shard = |me| {
            let unix = Arc::clone(&unix);
            let clock: Clock = Box::new(move || unix.load(Ordering::Relaxed));
            let links = Links {
                verifier: Arc::new(Tokens),
                clock,
                feed: feed_sender.clone(),
                peers: Box::new(senders.clone()),
                authorizer: authorizer.clone(),
                engine: Arc::clone(&engine),
                meters: Arc::clone(&meters),
                messaging: messaging.clone(),
                counters: Arc::default(),
            };
            Shard::new(me, config.clone(), Arc::clone(&directory), links)
        };
        Self {
            shards: (0..shard_count).map(shard).collect(),
            recorders: (0..shard_count).map(|_| Recorder::default()).collect(),
            feed,
            inquiries,
            directory: Arc::clone(&directory),
            inboxes,
            generations: 0,
            start,
            now: start,
            unix,
            meters,
            engine: Arc::clone(&engine),
        }
    }

    /// Opens a socket on a shard. Slots are used again; generations are not.
    pub(crate) fn connect(&mut self, shard: u16, slot: u32, dialect: Dialect) -> Client {
        self.generations += 1;
        let id = ConnectionId { slot, generation: self.generations };
        let token: Arc<str> = "<token:anon>".into();
        let claims = Tokens.verify(&token, START_UNIX).unwrap();
        self.shards[usize::from(shard)].opened(id, Session { dialect, claims, token, headers: Vec::new() });
        let dialect = if dialect == Dialect::V1 { Dialect2::V1 } else { Dialect2::V2 };
        Client { shard, id, dialect }
    }

    /// The socket goes away, for whatever reason.
    pub(crate) fn disconnect(&mut self, client: Client) {
        let shard = usize::from(client.shard);
        self.shards[shard].closed(&mut self.recorders[shard], client.id);
    }

    /// Sends text as it is, and lets nothing else happen.
    pub(crate) fn say(&mut self, client: Client, text: &str) {
        let shard = usize::from(client.shard);
        self.shards[shard].message(&mut self.recorders[shard], client.id, Message::Text(text), self.now);
    }

    /// Sends bytes as they are, and lets nothing else happen.
    pub(crate) fn say_bytes(&mut self, client: Client, bytes: &[u8]) {
        let shard = usize::from(client.shard);
        self.shards[shard].message(&mut self.recorders[shard], client.id, Message::Binary(bytes), self.now);
    }

    /// Sends a message in the client's dialect and lets the shards talk it over.
    pub(crate) fn push(
        &mut self,
        client: Client,
        join_ref: &str,
        reference: &str,
        topic: &str,
        event: &str,
        payload: Value,
    ) {
        let text = match client.dialect {
            Dialect2::V1 => json!({"topic": topic, "event": event, "payload": payload, "ref": reference,
                "join_ref": join_ref}),
            Dialect2::V2 => json!([join_ref, reference, topic, event, payload]),
        };
        self.say(client, &text.to_string());
        self.settle();
    }

    /// Joins `realtime:` + `name` with a config and forgets the answer.
    pub(crate) fn join(&mut self, client: Client, join_ref: &str, name: &str, config: Value) {
        self.push(
            client,
            join_ref,
            join_ref,
            &format!("realtime:{name}"),
            "phx_join",
            json!({"config": config}),
        );
        let answer = self.received(client);
        let text = serde_json::to_string(&answer.iter().map(shape).collect::<Vec<_>>()).unwrap();
        assert!(text.contains("phx_reply") && !text.contains("error"), "{text}");
    }

    /// The question that has been waiting longest.
    pub(crate) fn inquiry(&mut self) -> Inquiry {
        self.inquiries.try_recv().expect("something is asked")
    }

    /// Answers a question.
    pub(crate) fn answer(&mut self, inquiry: Inquiry, result: Result<Answer, AuthorizationError>) {
        let ReplyTo::Channel { channel, inquiry: number } = inquiry.reply else { panic!("not of a channel") };
        let question = inquiry.question;
        let authorized = Authorized { channel, inquiry: number, question, result };
        self.command(channel.shard, ShardCommand::Authorized(Box::new(authorized)));
        self.settle();
    }

    /// Answers the question that has been waiting longest, about rights.
    pub(crate) fn grant(&mut self, broadcast: bool, presence: bool) {
        let inquiry = self.inquiry();
        self.answer(inquiry, Ok(Answer::Rights(Rights { broadcast, presence })));
    }

    /// Sends a broadcast to a private room, as the stream of the database does.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        commit: StreamedCommit,
        id: Uuid,
        event: &str,
        body: Body<'static>,
    ) {
        let message = Broadcast::User {
            event: event.to_owned().into(),
            body,
            meta: Some(format!("{{\"id\":\"{id}\"}}").into()),
        };
        let room = self.directory.room(&Topic::parse(topic, 255).unwrap(), true);
        let broadcast = Arc::new(RoomBroadcast { room, commit: Some(commit), message });
        let count = u16::try_from(self.shards.len()).unwrap();
        (0..count).for_each(|shard| self.command(shard, ShardCommand::Broadcast(Arc::clone(&broadcast))));
    }

    /// Tells all shards that policies have changed.
    pub(crate) fn change_policies(&mut self) {
        let count = u16::try_from(self.shards.len()).unwrap();
        (0..count).for_each(|shard| self.command(shard, ShardCommand::PoliciesChanged));
    }

    /// Gives a shard a command.
    pub(crate) fn command(&mut self, shard: u16, command: ShardCommand) {
        let shard = usize::from(shard);
        self.shards[shard].command(&mut self.recorders[shard], command, self.now);
    }

    /// Lets one shard read one command of another's. Answers whether there was one.
    pub(crate) fn deliver_one(&mut self, shard: u16) -> bool {
        let command = self.inboxes[usize::from(shard)].try_recv();
        command.is_ok_and(|command| {
            self.command(shard, command);
            true
        })
    }

    /// Lets the shards talk until they have nothing to say.
    pub(crate) fn settle(&mut self) {
        let count = u16::try_from(self.shards.len()).unwrap();
        while (0..count).any(|shard| self.deliver_one(shard)) {}
    }

    /// Lets time pass until some milliseconds after the start.
    pub(crate) fn advance_to(&mut self, millis: u64) {
        let end = self.start + Duration::from_millis(millis);
        while self.now < end {
            let before = self.now - self.start;
            self.now = end.min(self.now + Duration::from_millis(50));
            self.tick_meters(before);
            let seconds = i64::try_from((self.now - self.start).as_secs()).unwrap();
            self.unix.store(START_UNIX + seconds, Ordering::Relaxed);
            self.tick();
        }
    }

    fn tick_meters(&self, before: Duration) {
        let ticks = |time: Duration, meter: &Meter| time.as_nanos() / meter.interval().as_nanos();
        for meter in self.meters.all() {
            if ticks(self.now - self.start, meter) > ticks(before, meter) {
                meter.tick();
            }
        }
    }

    /// Lets every shard look at the time.
    pub(crate) fn tick(&mut self) {
        for (shard, recorder) in self.shards.iter_mut().zip(&mut self.recorders) {
            shard.tick(recorder, self.now);
        }
        self.settle();
    }

    /// Takes what a client has got since the last time.
    pub(crate) fn received(&mut self, client: Client) -> Vec<Received> {
        self.recorders[usize::from(client.shard)].0.remove(&client.id).unwrap_or_default()
    }

    /// Takes what a client has got, each as `[join_ref, ref, topic, event, payload]`; version 1 has no join_ref.
    pub(crate) fn frames(&mut self, client: Client) -> Vec<Value> {
        self.received(client).iter().map(shape).collect()
    }

    /// Whoever has got something and has not been asked for it.
    pub(crate) fn unread(&self) -> Vec<(u16, ConnectionId)> {
        let mut unread = Vec::new();
        for (shard, recorder) in self.recorders.iter().enumerate() {
            unread.extend(recorder.0.keys().map(|id| (u16::try_from(shard).unwrap(), *id)));
        }
        unread
    }
}

/// The commit of this number, counted from 1, of a database that does nothing else.
pub(crate) fn commit(number: u32) -> StreamedCommit {
    StreamedCommit { xid: number, lsn: Lsn::new(u64::from(number) * 100) }
}

/// What that database answers about stored broadcasts after so many commits.
pub(crate) fn replayed(rows: impl Into<Arc<[Stored]>>, commits: u32) -> Answer {
    let next = commits + 1;
    let snapshot = Snapshot::parse(&format!("{next}:{next}:")).unwrap();
    let seen = Seen::new(snapshot, Lsn::new(u64::from(commits) * 100 + 50));
    Answer::Stored(Replayed { rows: rows.into(), seen: Arc::new(seen) })
}

/// A received frame in one shape for both dialects.
pub(crate) fn shape(received: &Received) -> Value {
    match received {
        Received::Text(Value::Object(object)) => {
            assert_eq!(object.len(), 4, "version 1 frames have exactly four keys");
            json!([null, object["ref"], object["topic"], object["event"], object["payload"]])
        }
        Received::Text(array) => {
            assert_eq!(array.as_array().map(Vec::len), Some(5), "version 2 frames have five elements");
            array.clone()
        }
        Received::Binary(bytes) => json!({ "binary": bytes }),
        Received::Closed(code) => json!({ "closed": code }),
    }
}

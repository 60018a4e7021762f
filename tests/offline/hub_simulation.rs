//! A seeded random server: joins, leaves, broadcasts, tracks and crashes in any order, shards that are read in any
//! order, queues of any size, and policies that change at any time while answers about them are on their way.
//!
//! It must hold that a client gets only what is meant for a channel it has and may read, in its sender's order; that
//! what waits for policies is sent whole or not at all; that a replay neither misses nor doubles a broadcast; and
//! that once everything is quiet every client sees the presence that a plain model has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowcast::channel::{Body, Rights};
use rowcast::hub::authorization::{Answer, AuthorizationError, Inquiry, Question, ReplyTo, Stored};
use rowcast::hub::{Config, JoinRate};
use rowcast::protocol::Dialect;
use serde_json::{Value, json};
use uuid::Uuid;

use super::script::{Client, Dialect2, Received, Server, commit, replayed, shape};

const TOPICS: [&str; 3] = ["realtime:a", "realtime:b", "realtime:c"];
const STEPS: usize = 400;

/// A client's picture of one topic's presence, kept as the client libraries keep it: by `phx_ref`.
#[derive(Default, Debug)]
pub(crate) struct View(BTreeMap<String, BTreeMap<String, Value>>);

impl View {
    /// Takes a frame; any but presence is ignored.
    pub(crate) fn see(&mut self, frame: &Value) {
        let metas = |value: &Value| -> Vec<(String, Value)> {
            let keys = value.as_object().cloned().unwrap_or_default();
            keys.into_iter()
                .flat_map(|(key, entry)| {
                    let metas = entry["metas"].as_array().cloned().unwrap_or_default();
                    metas.into_iter().map(move |meta| (key.clone(), meta))
                })
                .collect()
        };
        let phx_ref = |meta: &Value| meta["phx_ref"].as_str().unwrap().to_owned();
        let joins = match frame[3].as_str() {
            Some("presence_state") => {
                self.0.clear();
                metas(&frame[4])
            }
            Some("presence_diff") => metas(&frame[4]["joins"]),
            _ => return,
        };
        for (key, meta) in joins {
            self.0.entry(key).or_default().insert(phx_ref(&meta), meta);
        }
        for (key, meta) in metas(&frame[4]["leaves"]) {
            if let Some(metas) = self.0.get_mut(&key) {
                metas.remove(&phx_ref(&meta));
            }
        }
        self.0.retain(|_, metas| !metas.is_empty());
    }

    /// The keys with somebody tracked.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Each key with what is tracked under it, without refs.
    fn contents(&self) -> BTreeSet<(String, u64)> {
        let number = |meta: &Value| meta["n"].as_u64().unwrap();
        self.0
            .iter()
            .flat_map(|(key, metas)| metas.values().map(|meta| (key.clone(), number(meta))))
            .collect()
    }
}

struct Actor {
    client: Client,
    channels: BTreeMap<&'static str, Joined>,
    refs: u32,
}

/// A channel as its client knows it, from its join to its close.
struct Joined {
    join_ref: String,
    /// The server's number for it, once it has asked something about it.
    join: Option<u32>,
    private: bool,
    /// Whether its join has not been answered.
    waits: bool,
    leaves: bool,
    tracked: Option<u64>,
    /// What each message that has not been answered would track.
    tracks: BTreeMap<String, Option<u64>>,
    has_state: bool,
    view: View,
    /// The last number from each sender.
    latest: BTreeMap<u64, u64>,
    /// The last broadcast from the database.
    latest_stored: Option<u64>,
    /// What the latest answer that counts says it may read.
    read: Rights,
    /// Broadcasts that are to be acknowledged, and whether there has been a reason not to.
    unacknowledged: BTreeSet<String>,
    denied: bool,
}

/// An inquiry on its way, with the version of the policies it was made under and its answer once it has one.
struct Asked {
    inquiry: Inquiry,
    version: u64,
    answer: Option<Result<Answer, AuthorizationError>>,
}

struct Simulation {
    random: StdRng,
    server: Server,
    actors: Vec<Actor>,
    asked: Vec<Asked>,
    /// Counts the changes of policies, and decides with the caller and the topic what they say.
    version: u64,
    /// How many broadcasts of each topic the database has stored.
    stored: BTreeMap<&'static str, u64>,
    /// How many it has stored of all topics, each in a commit of its own.
    commits: u32,
    /// What its stream has yet to send: which commit, of which topic, the how manieth of it.
    unsent: VecDeque<(u32, &'static str, u64)>,
    millis: u64,
    slots: u32,
    shard_count: u16,
    sent: u64,
}

#[test]
fn random_servers_keep_their_promises() {
    for seed in 0..60 {
        Simulation::new(seed).run();
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let shard_count = random.random_range(1..=4);
        let mailbox = [2, 8, 4_096][random.random_range(0..3)];
        let unlimited = JoinRate { per_second: 0, burst: 1 };
        let mut config = Config {
            joins_per_socket: unlimited,
            refusal_delay: std::time::Duration::ZERO,
            reviews_per_tick: random.random_range(1..4),
            ..Config::default()
        };
        config.channel.presence_calls_max = u32::MAX;
        let server = Server::with(shard_count, config, mailbox, 64);
        Self {
            random,
            server,
            actors: Vec::new(),
            asked: Vec::new(),
            version: 0,
            stored: BTreeMap::new(),
            commits: 0,
            unsent: VecDeque::new(),
            millis: 0,
            slots: 0,
            shard_count,
            sent: 0,
        }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.step();
            self.read();
        }
        self.quiet();
        self.compare_presence();
        self.compare_rights();
        self.compare_stored();
        // With all others gone, the last one is alone.
        while self.actors.len() > 1 {
            let actor = self.actors.remove(0);
            self.server.disconnect(actor.client);
            self.read();
        }
        self.quiet();
        self.compare_presence();
    }

    /// Lets everything be delivered and answered.
    fn quiet(&mut self) {
        for _ in 0..40 {
            self.millis += 250;
            self.server.advance_to(self.millis);
            self.read();
            while !self.asked.is_empty() {
                self.decide();
                self.answer();
                self.read();
            }
        }
    }

    fn step(&mut self) {
        let shard = self.random.random_range(0..self.shard_count);
        match self.random.random_range(0..137) {
            0..10 => self.connect(shard),
            10..15 => self.crash(),
            15..35 => self.join(),
            35..42 => self.leave(),
            42..57 => self.track(),
            57..62 => self.untrack(),
            62..77 => self.broadcast(),
            77..95 => {
                self.server.deliver_one(shard);
            }
            95..105 => self.decide(),
            105..118 => self.answer(),
            118..125 => self.store(),
            125..132 => self.stream(),
            132..134 => self.change_policies(),
            _ => self.server.tick(),
        }
    }

    fn connect(&mut self, shard: u16) {
        if self.actors.len() >= 12 {
            return;
        }
        // Slots come back with another generation, as they do in a shard's table.
        self.slots = (self.slots + 1) % 16;
        if self.actors.iter().any(|actor| actor.client.id.slot == self.slots) {
            return;
        }
        let dialect = if self.random.random() { Dialect::V1 } else { Dialect::V2 };
        let client = self.server.connect(shard, self.slots, dialect);
        self.actors.push(Actor { client, channels: BTreeMap::new(), refs: 0 });
    }

    fn crash(&mut self) {
        if let Some(place) = self.pick() {
            let actor = self.actors.swap_remove(place);
            self.server.disconnect(actor.client);
        }
    }

    fn pick(&mut self) -> Option<usize> {
        (!self.actors.is_empty()).then(|| self.random.random_range(0..self.actors.len()))
    }

    /// An actor and a topic; one whose join has been answered, if `joined`.
    fn pick_channel(&mut self, joined: bool) -> Option<(usize, &'static str)> {
        let place = self.pick()?;
        let topic = TOPICS[self.random.random_range(0..TOPICS.len())];
        let channel = self.actors[place].channels.get(topic);
        let is_joined = channel.is_some_and(|channel| !channel.waits && !channel.leaves);
        (!joined || is_joined).then_some((place, topic))
    }

    /// Sends a message, and answers its ref.
    fn say(&mut self, place: usize, topic: &str, event: &str, payload: &Value) -> String {
        let actor = &mut self.actors[place];
        actor.refs += 1;
        let reference = actor.refs.to_string();
        let join_ref = if event == "phx_join" { json!(reference) } else { Value::Null };
        let text = match actor.client.dialect {
            Dialect2::V1 => json!({"topic": topic, "event": event, "payload": payload, "ref": reference,
                "join_ref": join_ref}),
            Dialect2::V2 => json!([join_ref, reference, topic, event, payload]),
        };
        let client = actor.client;
        self.server.say(client, &text.to_string());
        reference
    }

    fn join(&mut self) {
        let Some((place, topic)) = self.pick_channel(false) else { return };
        let private = self.random.random();
        let key = format!("key-{}-{place}", self.random.random_range(0..4));
        let mut config = json!({
            "private": private,
            "broadcast": {"ack": private},
            "presence": {"enabled": true, "key": key},
        });
        if private && self.random.random() {
            config["broadcast"]["replay"] = json!({"since": 0});
        }
        // What is on its way to the first channel is read before the second join, or it would count for that.
        self.read();
        let join_ref = (self.actors[place].refs + 1).to_string();
        let joined = Joined {
            join_ref,
            join: None,
            private,
            waits: true,
            leaves: false,
            tracked: None,
            tracks: BTreeMap::new(),
            has_state: false,
            view: View::default(),
            latest: BTreeMap::new(),
            latest_stored: None,
            read: Rights { broadcast: !private, presence: !private },
            unacknowledged: BTreeSet::new(),
            denied: false,
        };
        self.actors[place].channels.insert(topic, joined);
        self.say(place, topic, "phx_join", &json!({ "config": config }));
    }

    fn leave(&mut self) {
        let Some((place, topic)) = self.pick_channel(true) else { return };
        if let Some(joined) = self.actors[place].channels.get_mut(topic) {
            joined.leaves = true;
        }
        self.say(place, topic, "phx_leave", &json!({}));
    }

    fn track(&mut self) {
        let number = self.random.random_range(0..1_000);
        self.present(Some(number), json!({"event": "track", "payload": {"n": number}}));
    }

    fn untrack(&mut self) {
        self.present(None, json!({"event": "untrack"}));
    }

    fn present(&mut self, tracked: Option<u64>, payload: Value) {
        let Some((place, topic)) = self.pick_channel(true) else { return };
        let reference = self.say(place, topic, "presence", &payload);
        if let Some(joined) = self.actors[place].channels.get_mut(topic) {
            joined.tracks.insert(reference, tracked);
        }
    }

    fn broadcast(&mut self) {
        let Some((place, topic)) = self.pick_channel(true) else { return };
        self.sent += 1;
        let actor = &self.actors[place];
        let (sender, private) = (actor.client.id.generation, actor.channels[topic].private);
        let payload =
            json!({"event": "e", "sender": sender, "number": self.sent, "topic": topic, "private": private});
        let reference = self.say(place, topic, "broadcast", &payload);
        if let Some(joined) = self.actors[place].channels.get_mut(topic).filter(|joined| joined.private) {
            joined.unacknowledged.insert(reference);
        }
    }

    // Policies and the database.

    /// What policies say now about one caller and topic.
    fn rights(&self, generation: u32, topic: &str, writes: bool) -> Rights {
        let mut seed = self.version * 31 + u64::from(generation) * 7 + u64::from(writes);
        seed = topic.bytes().fold(seed, |seed, byte| seed * 131 + u64::from(byte));
        let mut random = StdRng::seed_from_u64(seed);
        Rights { broadcast: random.random_range(0..4) > 0, presence: random.random_range(0..4) > 0 }
    }

    fn change_policies(&mut self) {
        self.take_inquiries();
        self.version += 1;
        self.server.change_policies();
    }

    fn take_inquiries(&mut self) {
        while let Ok(inquiry) = self.server.inquiries.try_recv() {
            let ReplyTo::Channel { channel, .. } = inquiry.reply else { panic!("not of a channel") };
            let topic = format!("realtime:{}", inquiry.subject.topic);
            let actor = self.actors.iter_mut().find(|actor| actor.client.id == channel.connection);
            if let Some(joined) = actor.and_then(|actor| actor.channels.get_mut(topic.as_str())) {
                joined.join = Some(channel.join);
            }
            self.asked.push(Asked { inquiry, version: self.version, answer: None });
        }
    }

    /// The database makes up its mind about some question; the answer may take a while to arrive.
    fn decide(&mut self) {
        self.take_inquiries();
        let fails = self.random.random_range(0..12) == 0;
        let open: Vec<usize> = (0..self.asked.len()).filter(|at| self.asked[*at].answer.is_none()).collect();
        let Some(at) = open.first().copied() else { return };
        let Inquiry { subject, question, reply } = &self.asked[at].inquiry;
        let ReplyTo::Channel { channel, .. } = reply else { panic!("not of a channel") };
        let answer = match question {
            _ if fails => Err(AuthorizationError::Canceled),
            Question::Replay { limit, .. } => {
                let topic = format!("realtime:{}", subject.topic);
                let count = self.stored.get(topic.as_str()).copied().unwrap_or_default();
                let first = count.saturating_sub(u64::from(*limit)) + 1;
                Ok(replayed((first..=count).map(stored).collect::<Vec<_>>(), self.commits))
            }
            question => {
                let writes = *question == Question::Write;
                Ok(Answer::Rights(self.rights(channel.connection.generation, &subject.topic, writes)))
            }
        };
        self.asked[at].answer = Some(answer);
    }

    /// Delivers some answer.
    fn answer(&mut self) {
        let ready: Vec<usize> = (0..self.asked.len()).filter(|at| self.asked[*at].answer.is_some()).collect();
        if ready.is_empty() {
            return;
        }
        let Asked { inquiry, version, answer } =
            self.asked.remove(ready[self.random.random_range(0..ready.len())]);
        let Some(answer) = answer else { return };
        let ReplyTo::Channel { channel, .. } = inquiry.reply else { panic!("not of a channel") };
        let topic = format!("realtime:{}", inquiry.subject.topic);
        // What is already on its way was sent under the answer before.
        self.read();
        let actor = self.actors.iter_mut().find(|actor| actor.client.id == channel.connection);
        let joined = actor.and_then(|actor| actor.channels.get_mut(topic.as_str()));
        if let Some(joined) =
            joined.filter(|joined| version == self.version && joined.join == Some(channel.join))
        {
            match (&answer, inquiry.question) {
                (Ok(Answer::Rights(read)), Question::Read) => joined.read = *read,
                (Ok(Answer::Rights(write)), Question::Write) => joined.denied |= !write.broadcast,
                (Err(_), Question::Write) => joined.denied = true,
                _ => {}
            }
        }
        self.server.answer(inquiry, answer);
    }

    /// The database stores a broadcast.
    fn store(&mut self) {
        let topic = TOPICS[self.random.random_range(0..TOPICS.len())];
        self.store_to(topic);
    }

    fn store_to(&mut self, topic: &'static str) {
        let count = self.stored.entry(topic).or_default();
        *count += 1;
        self.commits += 1;
        self.unsent.push_back((self.commits, topic, *count));
    }

    /// Its stream sends what has been stored for longest.
    fn stream(&mut self) {
        let Some((number, topic, count)) = self.unsent.pop_front() else { return };
        let Stored { id, event, body } = stored(count);
        self.server.publish(topic, commit(number), id, &event, body);
    }

    // What comes of it.

    /// Every client reads; nobody else may have got anything.
    fn read(&mut self) {
        self.take_inquiries();
        for actor in &mut self.actors {
            let dialect = actor.client.dialect;
            let generation = u64::from(actor.client.id.generation);
            let frames: VecDeque<Value> =
                self.server.received(actor.client).iter().map(|frame| readable(frame, dialect)).collect();
            for frame in frames {
                let topic = frame[2].as_str().unwrap();
                let event = frame[3].as_str().unwrap();
                let Some(joined) = actor.channels.get_mut(topic) else {
                    // The answers to a leave of what has been closed meanwhile, and to what was sent to it.
                    assert!(matches!(event, "phx_reply" | "phx_close"), "not a member of {topic}: {frame}");
                    continue;
                };
                if joined.see(event, &frame, generation, topic) {
                    actor.channels.remove(topic);
                }
            }
        }
        assert_eq!(self.server.unread(), [], "only open sockets get frames");
    }

    /// What policies say is what channels have, and what may be sent has been.
    fn compare_rights(&self) {
        for actor in &self.actors {
            for (topic, joined) in actor.channels.iter().filter(|(_, joined)| joined.private) {
                let sub = topic.strip_prefix("realtime:").unwrap();
                assert_eq!(joined.read, self.rights(actor.client.id.generation, sub, false));
                assert!(!joined.waits && !joined.leaves);
                assert!(joined.denied || joined.unacknowledged.is_empty(), "{:?}", joined.unacknowledged);
            }
        }
    }

    /// Whoever may read has the latest broadcast of the database.
    fn compare_stored(&mut self) {
        TOPICS.into_iter().for_each(|topic| self.store_to(topic));
        while !self.unsent.is_empty() {
            self.stream();
        }
        self.read();
        for actor in &self.actors {
            for (topic, joined) in actor.channels.iter().filter(|(_, joined)| joined.private) {
                let expected = joined.read.broadcast.then(|| self.stored[topic]);
                assert_eq!(joined.latest_stored.filter(|_| joined.read.broadcast), expected);
            }
        }
    }

    fn compare_presence(&self) {
        for (topic, private) in TOPICS.into_iter().flat_map(|topic| [(topic, false), (topic, true)]) {
            let members = || {
                let channels = self.actors.iter().filter_map(|actor| actor.channels.get(topic));
                channels.filter(|joined| joined.private == private)
            };
            let model: BTreeSet<u64> = members().filter_map(|joined| joined.tracked).collect();
            for joined in members().filter(|joined| joined.read.presence) {
                let seen: BTreeSet<u64> = joined.view.contents().into_iter().map(|(_, n)| n).collect();
                assert_eq!(seen, model, "{topic}, private: {private}");
            }
        }
    }
}

impl Joined {
    /// Takes a frame. Answers whether it ends the channel.
    fn see(&mut self, event: &str, frame: &Value, generation: u64, topic: &str) -> bool {
        let reference = frame[1].as_str().unwrap_or_default();
        let is_error = frame[4]["status"] == json!("error");
        match event {
            "phx_reply" if reference == self.join_ref => {
                assert!(self.waits, "a join is answered once: {frame}");
                self.waits = false;
                assert!(self.private || !is_error, "{frame}");
                return is_error;
            }
            "phx_reply" => {
                if let Some(tracked) = self.tracks.remove(reference)
                    && !is_error
                {
                    self.tracked = tracked;
                }
                self.unacknowledged.remove(reference);
                return false;
            }
            // The close of a channel that this one has replaced.
            "phx_close" => return reference == self.join_ref,
            _ => {}
        }
        assert!(!self.waits, "nothing before the reply: {frame}");
        match event {
            "presence_state" => self.has_state = true,
            "presence_diff" => assert!(self.has_state, "a diff before the state: {frame}"),
            _ => {}
        }
        if event.starts_with("presence") {
            assert!(self.read.presence, "presence that may not be read: {frame}");
            self.view.see(frame);
        }
        if event == "broadcast" {
            assert!(self.read.broadcast, "a broadcast that may not be read: {frame}");
            self.see_broadcast(frame, generation, topic);
        }
        false
    }

    fn see_broadcast(&mut self, frame: &Value, generation: u64, topic: &str) {
        if let Some(number) = frame[4]["stored"].as_u64() {
            assert!(self.private);
            let expected = self.latest_stored.map_or(number, |latest| latest + 1);
            assert_eq!(number, expected, "each once and none left out");
            self.latest_stored = Some(number);
            return;
        }
        let field = |name: &str| frame[4][name].as_u64().unwrap();
        assert_eq!((&frame[4]["topic"], &frame[4]["private"]), (&json!(topic), &json!(self.private)));
        assert_ne!(field("sender"), generation, "not to oneself");
        let latest = self.latest.entry(field("sender")).or_default();
        assert!(*latest < field("number"), "in the sender's order, each once");
        *latest = field("number");
    }
}

/// A broadcast of the database, whose number is its id.
fn stored(number: u64) -> Stored {
    let id = Uuid::from_u128(number.into());
    Stored { id, event: "stored".to_owned(), body: Body::Json(format!("{{\"n\":{number}}}").into()) }
}

/// A frame as text: a broadcast of the database has its number under `stored`.
fn readable(received: &Received, dialect: Dialect2) -> Value {
    let mut frame = match received {
        Received::Binary(bytes) => {
            assert_eq!(dialect, Dialect2::V2);
            let [topic, event, meta] = [1, 2, 3].map(|at| usize::from(bytes[at]));
            let body: Value = serde_json::from_slice(&bytes[5 + topic + event + meta..]).unwrap();
            let topic = std::str::from_utf8(&bytes[5..5 + topic]).unwrap();
            json!([null, null, topic, "broadcast", {"event": "stored", "payload": body}])
        }
        _ => shape(received),
    };
    if frame[4]["event"] == "stored" {
        frame[4]["stored"] = frame[4]["payload"]["n"].clone();
    }
    frame
}

//! A seeded random server: joins, leaves, broadcasts, tracks and crashes in any order, shards that are read in any
//! order, queues of any size.
//!
//! It must hold that a client gets only what is meant for a channel it has, in its sender's order, and that once
//! everything is quiet every client sees the presence that a plain model has.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowcast::hub::{Config, JoinRate};
use rowcast::protocol::Dialect;
use serde_json::{Value, json};

use super::script::{Client, Server};

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
    /// By topic: the join's ref, what is tracked, and what the client believes.
    channels: BTreeMap<&'static str, Joined>,
    refs: u32,
}

#[derive(Default)]
struct Joined {
    tracked: Option<u64>,
    has_state: bool,
    view: View,
    /// The last number from each sender.
    latest: BTreeMap<u64, u64>,
}

struct Simulation {
    random: StdRng,
    server: Server,
    actors: Vec<Actor>,
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
        let mut config = Config { joins_per_socket: unlimited, ..Config::default() };
        config.channel.presence_calls_max = u32::MAX;
        let server = Server::with(shard_count, config, mailbox, 64);
        Self { random, server, actors: Vec::new(), slots: 0, shard_count, sent: 0 }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.step();
            self.read();
        }
        (0..20).for_each(|_| self.server.tick());
        self.read();
        self.compare_presence();
        // With all others gone, the last one is alone.
        while self.actors.len() > 1 {
            let actor = self.actors.remove(0);
            self.server.disconnect(actor.client);
            self.read();
        }
        (0..20).for_each(|_| self.server.tick());
        self.read();
        self.compare_presence();
    }

    fn step(&mut self) {
        let shard = self.random.random_range(0..self.shard_count);
        match self.random.random_range(0..100) {
            0..10 => self.connect(shard),
            10..15 => self.crash(),
            15..35 => self.join(),
            35..45 => self.leave(),
            45..60 => self.track(),
            60..65 => self.untrack(),
            65..80 => self.broadcast(),
            80..98 => {
                self.server.deliver_one(shard);
            }
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

    /// An actor and a topic; one it has joined, if `joined`.
    fn pick_channel(&mut self, joined: bool) -> Option<(usize, &'static str)> {
        let place = self.pick()?;
        let topic = TOPICS[self.random.random_range(0..TOPICS.len())];
        (!joined || self.actors[place].channels.contains_key(topic)).then_some((place, topic))
    }

    fn say(&mut self, place: usize, topic: &str, event: &str, payload: &Value) {
        let actor = &mut self.actors[place];
        actor.refs += 1;
        let reference = actor.refs.to_string();
        let text = match actor.client.dialect {
            super::script::Dialect2::V1 => {
                json!({"topic": topic, "event": event, "payload": payload, "ref": reference})
            }
            super::script::Dialect2::V2 => json!([null, reference, topic, event, payload]),
        };
        let client = actor.client;
        self.server.say(client, &text.to_string());
    }

    fn join(&mut self) {
        let Some((place, topic)) = self.pick_channel(false) else { return };
        let key = format!("key-{}", self.random.random_range(0..4));
        let config = json!({"presence": {"enabled": true, "key": format!("{key}-{place}")}});
        // What is on its way to the first channel is read before the second join, or it would count for that.
        self.read();
        self.actors[place].channels.insert(topic, Joined::default());
        self.say(place, topic, "phx_join", &json!({ "config": config }));
    }

    fn leave(&mut self) {
        let Some((place, topic)) = self.pick_channel(true) else { return };
        self.say(place, topic, "phx_leave", &json!({}));
        self.read();
        self.actors[place].channels.remove(topic);
    }

    fn track(&mut self) {
        let Some((place, topic)) = self.pick_channel(true) else { return };
        let number = self.random.random_range(0..1_000);
        self.say(place, topic, "presence", &json!({"event": "track", "payload": {"n": number}}));
        if let Some(joined) = self.actors[place].channels.get_mut(topic) {
            joined.tracked = Some(number);
        }
    }

    fn untrack(&mut self) {
        let Some((place, topic)) = self.pick_channel(true) else { return };
        self.say(place, topic, "presence", &json!({"event": "untrack"}));
        if let Some(joined) = self.actors[place].channels.get_mut(topic) {
            joined.tracked = None;
        }
    }

    fn broadcast(&mut self) {
        let Some((place, topic)) = self.pick_channel(true) else { return };
        self.sent += 1;
        let sender = self.actors[place].client.id.generation;
        let payload = json!({"event": "e", "sender": sender, "number": self.sent, "topic": topic});
        self.say(place, topic, "broadcast", &payload);
    }

    /// Every client reads; nobody else may have got anything.
    fn read(&mut self) {
        for actor in &mut self.actors {
            for frame in self.server.frames(actor.client) {
                let event = frame[3].as_str().unwrap();
                if matches!(event, "phx_reply" | "phx_close") {
                    assert_ne!(frame[4]["status"], json!("error"), "{frame}");
                    continue;
                }
                let topic = frame[2].as_str().unwrap();
                let joined = actor.channels.get_mut(topic);
                let joined = joined.unwrap_or_else(|| panic!("not a member of {topic}: {frame}"));
                match event {
                    "presence_state" => joined.has_state = true,
                    "presence_diff" => assert!(joined.has_state, "a diff before the state: {frame}"),
                    _ => {}
                }
                joined.view.see(&frame);
                if event == "broadcast" {
                    let field = |name: &str| frame[4][name].as_u64().unwrap();
                    assert_eq!(frame[4]["topic"], json!(topic));
                    assert_ne!(field("sender"), u64::from(actor.client.id.generation), "not to oneself");
                    let latest = joined.latest.entry(field("sender")).or_default();
                    assert!(*latest < field("number"), "in the sender's order, each once");
                    *latest = field("number");
                }
            }
        }
        assert_eq!(self.server.unread(), [], "only open sockets get frames");
    }

    fn compare_presence(&self) {
        for topic in TOPICS {
            let tracked = |actor: &Actor| actor.channels.get(topic).and_then(|joined| joined.tracked);
            let model: Vec<u64> = self.actors.iter().filter_map(tracked).collect();
            let model: BTreeSet<u64> = model.into_iter().collect();
            for actor in &self.actors {
                if let Some(joined) = actor.channels.get(topic) {
                    let seen: BTreeSet<u64> = joined.view.contents().into_iter().map(|(_, n)| n).collect();
                    assert_eq!(seen, model, "{topic}");
                }
            }
        }
    }
}

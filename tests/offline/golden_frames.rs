//! Recordings of the reference server, replayed: the same words from clients must get the same answers.
//!
//! Ids, refs and expiry seconds differ from run to run and are mapped; so may the order in which a client gets
//! frames at one moment. Each recording is replayed on one, two and three shards, which no client may notice.

use std::collections::BTreeMap;
use std::ops::Range;

use rowcast::channel::{Body, Rights};
use rowcast::hub::authorization::{Answer, Question, Stored};
use rowcast::hub::{ChannelRef, FeedCommand, FeedEvent, ShardCommand};
use rowcast::protocol::Dialect;
use serde_json::{Value, json};
use uuid::Uuid;

use super::script::{Client, Received, Server, commit, replayed};

const RECORDING: &str = include_str!("recordings/reference-server.jsonl");

#[test]
fn v1_heartbeat_and_strangers() {
    replay("v1 heartbeat and strangers");
}

#[test]
fn v2_heartbeat_and_strangers() {
    replay("v2 heartbeat and strangers");
}

#[test]
fn v1_join_broadcast_leave() {
    replay("v1 join, broadcast, leave");
}

#[test]
fn v2_join_broadcast_leave() {
    replay("v2 join, broadcast, leave");
}

#[test]
fn v1_double_join() {
    replay("v1 double join");
}

#[test]
fn v2_double_join() {
    replay("v2 double join");
}

#[test]
fn v1_presence() {
    replay("v1 presence");
}

#[test]
fn v2_presence() {
    replay("v2 presence");
}

#[test]
fn binary_broadcasts() {
    replay("binary broadcasts");
}

#[test]
fn tokens_at_the_join() {
    replay("tokens at the join");
}

#[test]
fn private_channels() {
    replay("private channels");
}

fn replay(case: &str) {
    for shard_count in 1..=3 {
        replay_on(case, shard_count);
    }
}

fn replay_on(case: &str, shard_count: u16) {
    let lines: Vec<Value> = RECORDING.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<&Value> =
        lines.iter().filter(|line| line["case"] == case && line.get("dir").is_some()).collect();
    assert!(!lines.is_empty(), "{case} is in the recording");
    let mut server = Server::start(shard_count);
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut real_names, mut recorded_names) = (Names::default(), Names::default());
    let mut last_spoken = 0;
    for line in &lines {
        let who = line["who"].as_str().unwrap_or_default().to_owned();
        if line["dir"] == "from server" {
            let frame = recorded_names.plain(&recorded(line));
            expected.entry(who).or_default().push(frame);
            continue;
        }
        // Clients that spoke at one moment were answered at one moment. Whatever was recorded until the next
        // must have come by then.
        let now = line["ms"].as_u64().unwrap();
        server.advance_to(now);
        answer_as_feed(&mut server);
        speak_as_database(case, &mut server, last_spoken..now);
        if now > last_spoken + 50 {
            compare(case, &mut server, &clients, &mut expected, &mut real_names);
        }
        last_spoken = now;
        let slot = u32::try_from(clients.len()).unwrap();
        let next_shard = u16::try_from(clients.len()).unwrap() % shard_count;
        if line["dir"] == "closed" {
            server.disconnect(clients[&who]);
            server.settle();
            continue;
        }
        let client = *clients.entry(who).or_insert_with(|| {
            let dialect = if line["text"].as_str().is_some_and(|text| text.starts_with('{')) {
                Dialect::V1
            } else {
                Dialect::V2
            };
            server.connect(next_shard, slot, dialect)
        });
        match line["text"].as_str() {
            Some(text) => server.say(client, text),
            None => server.say_bytes(client, &base64(line["base64"].as_str().unwrap())),
        }
        server.settle();
        answer_as_feed(&mut server);
        answer_as_policies(&mut server);
    }
    compare(case, &mut server, &clients, &mut expected, &mut real_names);
}

/// Every client must have got what the recording says, no more and no less.
fn compare(
    case: &str,
    server: &mut Server,
    clients: &BTreeMap<String, Client>,
    expected: &mut BTreeMap<String, Vec<String>>,
    names: &mut Names,
) {
    for (who, client) in clients {
        let mut real: Vec<String> =
            server.received(*client).iter().map(|received| names.plain(received)).collect();
        let mut recorded = expected.remove(who).unwrap_or_default();
        real.sort();
        recorded.sort();
        assert_eq!(real, recorded, "{case}, client {who:?}");
    }
}

/// The feed accepts every subscription and every token.
fn answer_as_feed(server: &mut Server) {
    while let Ok(command) = server.feed.try_recv() {
        let channel: ChannelRef = match command {
            FeedCommand::Subscribe(subscribe) => subscribe.channel,
            FeedCommand::Refresh { channel, .. } => channel,
            FeedCommand::Unsubscribe { .. } => continue,
        };
        let event = FeedEvent::System { channel, ok: true, message: "Subscribed to PostgreSQL".into() };
        server.command(channel.shard, ShardCommand::Feed(event));
    }
}

/// What the recording's policies say, and what its database has stored.
fn answer_as_policies(server: &mut Server) {
    while let Ok(inquiry) = server.inquiries.try_recv() {
        let topic = &inquiry.subject.topic;
        let is_allowed = &*inquiry.subject.claims.role == "authenticated"
            && match inquiry.question {
                Question::Write => &**topic == "open:rw",
                Question::Read | Question::Replay { .. } => topic.starts_with("open:"),
            };
        let answer = match inquiry.question {
            Question::Replay { .. } => {
                let stored = stored().map(|(id, event, body)| Stored { id, event: event.to_owned(), body });
                replayed(stored, 1)
            }
            _ => Answer::Rights(Rights { broadcast: is_allowed, presence: is_allowed }),
        };
        server.answer(inquiry, Ok(answer));
    }
}

/// The broadcasts from the database, which nobody sends over a socket.
fn speak_as_database(case: &str, server: &mut Server, span: Range<u64>) {
    if case == "private channels" && span.contains(&9_000) {
        for (id, event, body) in stored() {
            server.publish("realtime:open:rw", commit(1), id, event, body);
        }
    }
}

fn stored() -> [(Uuid, &'static str, Body<'static>); 2] {
    let json = r#"{"id": "893bff27-c012-4047-8b10-6631dbc02ba5", "from": "sql"}"#;
    [
        (uuid("893bff27-c012-4047-8b10-6631dbc02ba5"), "sqlevent", Body::Json(json.into())),
        (uuid("37d7e1d8-527f-4578-9f94-a04567ce626d"), "binevent", Body::Bytes(b"\x00\xff\x10".into())),
    ]
}

fn uuid(text: &str) -> Uuid {
    Uuid::parse_str(text).unwrap()
}

fn recorded(line: &Value) -> Received {
    match line["text"].as_str() {
        Some(text) => Received::Text(serde_json::from_str(text).unwrap()),
        None => Received::Binary(base64(line["base64"].as_str().unwrap())),
    }
}

/// What differs from run to run, under names in the order of their appearance.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn plain(&mut self, received: &Received) -> String {
        match received {
            Received::Text(value) => {
                let mut value = value.clone();
                self.rename(&mut value);
                value.to_string()
            }
            Received::Binary(bytes) => format!("{bytes:?}"),
            Received::Closed(code) => format!("closed {code}"),
        }
    }

    fn rename(&mut self, value: &mut Value) {
        match value {
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    match key.as_str() {
                        "phx_ref" | "phx_ref_prev" => *value = self.name(value.as_str().unwrap()),
                        "id" if value.is_u64() => *value = json!("an id"),
                        "reason" | "message" => {
                            *value = json!(without_numbers(value.as_str().unwrap_or_default()));
                        }
                        _ => self.rename(value),
                    }
                }
            }
            Value::Array(array) => array.iter_mut().for_each(|value| self.rename(value)),
            _ => {}
        }
    }

    fn name(&mut self, text: &str) -> Value {
        let place = self.0.iter().position(|name| name == text).unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        json!(format!("ref {place}"))
    }
}

fn without_numbers(text: &str) -> String {
    let large = |word: &str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_digit());
    text.split(' ').map(|word| if large(word) { "N" } else { word }).collect::<Vec<_>>().join(" ")
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for character in text.trim_end_matches('=').chars() {
        bits = (bits << 6 | u32::try_from(ALPHABET.find(character).unwrap()).unwrap()) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}

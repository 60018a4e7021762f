//! Whatever a client sends is answered as documented: nothing crashes, no other channel notices, and no word of it
//! reaches the log.
//!
//! Every text sent here holds [`CANARY`], which is what the log is searched for in the end.

use serde_json::{Value, json};

use crate::stage::raw::user_broadcast;
use crate::stage::{ANN, BOTH, RawClient, TestServer, Vsn, major, server};
use crate::support::TestDatabase;

const CANARY: &str = "canary-c0ffee";
const TOPIC: &str = "realtime:odd-canary-c0ffee";
const WITNESS: &str = "realtime:witness";

/// What becomes of a message.
#[derive(Clone, Debug)]
enum Answer {
    /// Nothing: no answer and no effect.
    Silence,
    Ok,
    /// Status error, with nothing to add.
    Error,
    /// Status error, with a reason that begins so.
    Refused(&'static str),
    /// The one error whose response is a bare string.
    TooLarge,
    /// The channel ends: a system message that begins so, then its close.
    Ends(&'static str),
    /// The channel is left.
    Left,
}

use Answer::{Ends, Error, Left, Refused, Silence, TooLarge};

/// A server, one client with two channels of which one misbehaves, and a neighbour.
struct Scene {
    _database: TestDatabase,
    server: TestServer,
    client: RawClient,
    neighbour: RawClient,
    vsn: Vsn,
    beats: u32,
}

impl Scene {
    async fn set(vsn: Vsn) -> Self {
        let database = TestDatabase::create(major()).await;
        server::migrate(&database.url);
        let server = TestServer::start(&database.url).await;
        let token = server::token("authenticated", Some(ANN));
        let mut client = RawClient::connect(&server, vsn, &token).await;
        let mut neighbour = RawClient::connect(&server, vsn, &token).await;
        client.joined("w", WITNESS, json!({ "broadcast": { "self": true } })).await;
        neighbour.joined("w", WITNESS, json!({})).await;
        Self { _database: database, server, client, neighbour, vsn, beats: 0 }
    }

    /// Joins the channel anew, so that what one case did to it does not reach the next.
    async fn join(&mut self) {
        self.client.push(json!("1"), json!("0"), TOPIC, "phx_leave", json!({})).await;
        self.frames().await;
        self.client.joined("1", TOPIC, json!({ "broadcast": { "ack": true } })).await;
    }

    /// What has come on the misbehaving channel, and of that what answers it.
    async fn frames(&mut self) -> Vec<Value> {
        self.beats += 1;
        let beat = json!(format!("beat-{}", self.beats));
        self.client.push(Value::Null, beat.clone(), "phoenix", "heartbeat", json!({})).await;
        let mut frames = Vec::new();
        loop {
            let frame = self.client.next().await;
            if frame[1] == beat {
                return frames;
            }
            // Presence of one's own comes when it comes, and so does the database's word.
            let is_news = ["presence_diff", "presence_state"].iter().any(|event| frame[3] == *event)
                || frame[4]["extension"] == "postgres_changes";
            if !is_news {
                frames.push(frame);
            }
        }
    }

    async fn check(&mut self, what: &str, answer: Answer) {
        let what = format!("{:?} {what:.120}", self.vsn);
        let frames = self.frames().await;
        let reply = |payload: Value| self.client.reply("1", "2", TOPIC, payload);
        let join_ref = self.client.join_ref("1");
        let closed = json!([join_ref, "1", TOPIC, "phx_close", {}]);
        let expected = match answer {
            Silence => vec![],
            Answer::Ok => vec![reply(json!({ "status": "ok", "response": {} }))],
            Error => vec![reply(json!({ "status": "error", "response": {} }))],
            TooLarge => vec![reply(json!({ "status": "error", "response": "payload_size_exceeded" }))],
            Left => vec![reply(json!({ "status": "ok", "response": {} })), closed],
            Refused(start) => {
                let reason =
                    frames.first().map_or("", |frame| frame[4]["response"]["reason"].as_str().unwrap_or(""));
                assert!(reason.starts_with(start), "{what}: {frames:?}");
                vec![reply(json!({ "status": "error", "response": { "reason": reason } }))]
            }
            Ends(start) => {
                let message = frames.first().map_or("", |frame| frame[4]["message"].as_str().unwrap_or(""));
                assert!(message.starts_with(start), "{what}: {frames:?}");
                let system = json!({ "channel": &TOPIC["realtime:".len()..], "extension": "system",
                    "status": "error", "message": message });
                vec![json!([join_ref, null, TOPIC, "system", system]), closed]
            }
        };
        assert_eq!(frames, expected, "{what}");
        self.others_live_on(&what).await;
    }

    /// The client's other channel and another client still hear each other.
    async fn others_live_on(&mut self, what: &str) {
        let message = json!({ "type": "broadcast", "event": "e", "payload": { "after": what } });
        self.client.push(json!("w"), json!("9"), WITNESS, "broadcast", message.clone()).await;
        for client in [&mut self.client, &mut self.neighbour] {
            // News of the misbehaving channel may still be on its way.
            let heard = client.until("broadcast").await;
            assert_eq!(heard, json!([null, null, WITNESS, "broadcast", message]));
        }
    }

    /// Nothing leaked, and nothing broke.
    fn is_discreet(&self) {
        let log = self.server.logged();
        assert!(log.contains("serving"), "the log is there");
        for word in [CANARY, "panic"] {
            assert!(!log.contains(word), "{word} is in the log\n{log:.4000}");
        }
        assert_eq!(self.server.health(), Some(200));
    }
}

/// Some `levels` of arrays around a canary.
fn deep(levels: usize) -> String {
    format!("{}\"{CANARY}\"{}", "[".repeat(levels), "]".repeat(levels))
}

/// A JSON string of `bytes` bytes between its quotes.
fn long(bytes: usize) -> String {
    format!("\"{CANARY}{}\"", "x".repeat(bytes - CANARY.len()))
}

/// Events of a joined channel, with payloads that are not what they should be.
fn events() -> Vec<(&'static str, String, Answer)> {
    let mut cases = Vec::new();
    let canary = format!("\"{CANARY}\"");
    let scalars =
        || ["null".to_owned(), "7".to_owned(), "true".to_owned(), canary.clone(), format!("[{canary}]")];
    for payload in scalars() {
        cases.push(("broadcast", payload.clone(), Refused("Broadcast payload must be a map")));
        // Without an event in it, presence is asked for nothing.
        cases.push(("presence", payload.clone(), Answer::Ok));
        cases.push(("access_token", payload.clone(), Silence));
        cases.push((CANARY, payload.clone(), Silence));
        cases.push(("heartbeat", payload.clone(), Silence));
        cases.push(("phx_leave", payload.clone(), Left));
        cases.push(("presence", format!(r#"{{"event":{payload}}}"#), Error));
        let refused = Refused("Presence track payload must be a map");
        cases.push(("presence", format!(r#"{{"event":"track","payload":{payload}}}"#), refused));
    }
    for payload in ["null", "7", "{}", "[]", "true"] {
        cases.push(("access_token", format!(r#"{{"access_token":{payload},"x":{canary}}}"#), Silence));
    }
    cases.extend([
        ("broadcast", "{}".to_owned(), Answer::Ok),
        ("broadcast", format!(r#"{{"event":[{canary}],"payload":7}}"#), Answer::Ok),
        ("broadcast", format!(r#"{{"a":{}}}"#, long(3_000_501)), TooLarge),
        ("broadcast", format!(r#"{{"a":{}}}"#, deep(200)), Silence),
        ("presence", "{}".to_owned(), Answer::Ok),
        ("presence", r#"{"event":"track"}"#.to_owned(), Answer::Ok),
        ("presence", r#"{"event":"untrack","payload":7}"#.to_owned(), Answer::Ok),
        ("presence", format!(r#"{{"event":{canary}}}"#), Error),
        ("presence", format!(r#"{{"event":"track","payload":{{"a":{}}}}}"#, deep(200)), Silence),
        (
            "presence",
            format!(r#"{{"event":"track","payload":{{"a":{}}}}}"#, long(3_000_501)),
            Ends("Track message size exceeded"),
        ),
        // An escape that is no character.
        (
            "presence",
            r#"{"event":"track","payload":{"a":"\ud800"}}"#.to_owned(),
            Refused("Presence track payload must be a map"),
        ),
        ("access_token", "{}".to_owned(), Silence),
        ("access_token", r#"{"access_token":""}"#.to_owned(), Ends("The token provided is not a valid JWT")),
        (
            "access_token",
            format!(r#"{{"access_token":{canary}}}"#),
            Ends("The token provided is not a valid JWT"),
        ),
        (
            "access_token",
            format!(r#"{{"access_token":{}}}"#, long(1_000_000)),
            Ends("The token provided is not a valid JWT"),
        ),
        ("access_token", format!(r#"{{"access_token":"sb_{CANARY}"}}"#), Silence),
    ]);
    cases
}

#[tokio::test]
async fn odd_payloads_of_every_event_are_answered_as_documented() {
    for vsn in BOTH {
        let mut scene = Scene::set(vsn).await;
        for (event, payload, answer) in events() {
            scene.join().await;
            let text = match vsn {
                Vsn::V1 => format!(
                    r#"{{"topic":"{TOPIC}","event":"{event}","payload":{payload},"ref":"2","join_ref":"1"}}"#
                ),
                Vsn::V2 => format!(r#"["1","2","{TOPIC}","{event}",{payload}]"#),
            };
            scene.client.text(&text).await;
            scene.check(&format!("{event} {payload}"), answer).await;
        }
        scene.is_discreet();
    }
}

/// Joins, by payload; the start of the reason, or none if it is granted.
fn joins() -> Vec<(String, Option<&'static str>)> {
    let canary = format!("\"{CANARY}\"");
    let config = |text: String| format!(r#"{{"config":{text}}}"#);
    let mut cases = vec![
        (config(canary.clone()), Some("UnknownErrorOnChannel: config is not a map")),
        (config("7".to_owned()), Some("UnknownErrorOnChannel: config is not a map")),
        (config(deep(5)), Some("UnknownErrorOnChannel: config is not a map")),
        (config("null".to_owned()), None),
        (
            config(format!(r#"{{"postgres_changes":[{canary}]}}"#)),
            Some("UnknownErrorOnChannel: a postgres_changes binding is not a map"),
        ),
        (
            config(format!(r#"{{"postgres_changes":[{}{{}}]}}"#, "{},".repeat(256))),
            Some("UnknownErrorOnChannel: too many postgres_changes bindings"),
        ),
        (
            config(format!(r#"{{"presence":{{"key":{}}}}}"#, long(1_025))),
            Some("UnknownErrorOnChannel: the presence key is too long"),
        ),
        (
            config(format!(r#"{{"a":{}}}"#, long(1_000_001))),
            Some("UnknownErrorOnChannel: the join payload is too large"),
        ),
        (config(format!(r#"{{"a":{}}}"#, deep(50))), None),
        (format!(r#"{{"config":{{}},"access_token":{canary}}}"#), Some("MalformedJWT: ")),
        (format!(r#"{{"config":{{}},"access_token":{}}}"#, long(900_000)), Some("MalformedJWT: ")),
        (format!(r#"{{"config":{{}},"user_token":{canary},"access_token":7}}"#), Some("MalformedJWT: ")),
        (format!(r#"{{"config":{{}},"access_token":[{canary}]}}"#), None),
    ];
    // No object, no config: the oldest clients' join, which takes its table from the topic.
    cases.extend(["null", "7", "[]", "{}", &canary].map(|payload| (payload.to_owned(), None)));
    for odd in ["null", "7", "\"x\"", "[1]", "{\"a\":{}}"] {
        for key in ["broadcast", "presence", "private"] {
            cases.push((config(format!(r#"{{"{key}":{odd},"x":{canary}}}"#)), None));
        }
        cases.push((config(format!(r#"{{"broadcast":{{"self":{odd},"ack":{odd},"replay":{odd}}}}}"#)), None));
        cases.push((config(format!(r#"{{"presence":{{"enabled":{odd},"key":{odd}}}}}"#)), None));
    }
    for odd in ["null", "7", "[[]]", "{}"] {
        let binding =
            format!(r#"{{"event":{odd},"schema":{odd},"table":{odd},"filter":{odd},"select":{odd}}}"#);
        cases.push((config(format!(r#"{{"postgres_changes":[{binding}]}}"#)), None));
        cases.push((config(format!(r#"{{"postgres_changes":[{{"event":"*","filter":{canary}}}]}}"#)), None));
    }
    cases
}

#[tokio::test]
async fn odd_joins_are_granted_or_refused_as_documented() {
    for vsn in BOTH {
        let mut scene = Scene::set(vsn).await;
        for (payload, reason) in joins() {
            let what = format!("{vsn:?} {payload:.120}");
            let text = match vsn {
                Vsn::V1 => {
                    format!(
                        r#"{{"topic":"{TOPIC}","event":"phx_join","payload":{payload},"ref":"2","join_ref":"2"}}"#
                    )
                }
                Vsn::V2 => format!(r#"["2","2","{TOPIC}","phx_join",{payload}]"#),
            };
            scene.client.text(&text).await;
            let reply = scene.client.until("phx_reply").await;
            assert_eq!(reply[1], "2", "{what}");
            let (status, response) = (&reply[4]["status"], &reply[4]["response"]);
            match reason {
                None => assert_eq!(status, "ok", "{what}"),
                Some(start) => {
                    assert_eq!(status, "error", "{what}");
                    assert!(response["reason"].as_str().unwrap().starts_with(start), "{what}: {response}");
                }
            }
            scene.others_live_on(&what).await;
            scene.client.push(Value::Null, json!("3"), TOPIC, "phx_leave", json!({})).await;
            scene.frames().await;
        }
        scene.is_discreet();
    }
}

#[tokio::test]
async fn odd_envelopes_are_dropped_without_an_answer() {
    for vsn in BOTH {
        let mut scene = Scene::set(vsn).await;
        scene.join().await;
        let payload = format!(r#"{{"type":"broadcast","event":"e","payload":{{"x":"{CANARY}"}}}}"#);
        let mut texts = vec![
            String::new(),
            CANARY.to_owned(),
            "[".repeat(100_000),
            "{\"a\":".repeat(100_000),
            format!("{{\"{CANARY}\""),
            "\u{feff}[]".to_owned(),
            "NaN".to_owned(),
        ];
        match vsn {
            Vsn::V1 => {
                let whole = [
                    ("topic", format!("\"{TOPIC}\"")),
                    ("event", "\"broadcast\"".to_owned()),
                    ("payload", payload.clone()),
                    ("ref", "\"2\"".to_owned()),
                ];
                let object = |fields: &[(&str, String)]| {
                    let fields: Vec<String> =
                        fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                    format!("{{{}}}", fields.join(","))
                };
                for left_out in 0..whole.len() {
                    let mut fields = whole.to_vec();
                    fields.remove(left_out);
                    texts.push(object(&fields));
                }
                for (field, odd) in [(0, "7"), (0, "null"), (0, "[]"), (1, "7"), (1, "null"), (1, "{}")] {
                    let mut fields = whole.to_vec();
                    fields[field].1 = odd.to_owned();
                    texts.push(object(&fields));
                }
                let mut fields = whole.to_vec();
                fields[3].1 = long(300);
                texts.push(object(&fields));
                fields[3].1 = deep(20_000);
                texts.push(object(&fields));
                texts.push(format!("[\"{TOPIC}\",\"broadcast\",{payload},\"2\"]"));
                texts.push(format!("{}{}", object(&whole), object(&whole)));
            }
            Vsn::V2 => {
                texts.extend(["[]", "{}", "null", "[null]", "[null,null,null,null,null]"].map(str::to_owned));
                for (topic, event) in [("7", "\"broadcast\""), ("null", "\"broadcast\""), ("[]", "\"e\"")] {
                    texts.push(format!(r#"["1","2",{topic},{event},{payload}]"#));
                    texts.push(format!(r#"["1","2",{event},{topic},{payload}]"#));
                }
                texts.push(format!(r#"["1","2","{TOPIC}","broadcast"]"#));
                texts.push(format!(r#"["1",{},"{TOPIC}","broadcast",{payload}]"#, long(300)));
                texts.push(format!(r#"[{},"2","{TOPIC}","broadcast",{payload}]"#, deep(20_000)));
                texts.push(format!(r#"["1","2","{TOPIC}","broadcast",{payload}] {CANARY}"#));
            }
        }
        for text in &texts {
            scene.client.text(text).await;
            scene.check(text, Silence).await;
        }
        let no_text = [b"\xff\xfe".to_vec(), vec![0xc3], format!("\"{CANARY}").into_bytes()];
        for bytes in &no_text {
            scene.client.bytes(bytes).await;
            scene.check(&format!("{bytes:?}"), Silence).await;
        }
        scene.is_discreet();
    }
}

#[tokio::test]
async fn text_that_is_no_utf_8_ends_its_socket_alone() {
    for vsn in BOTH {
        let mut scene = Scene::set(vsn).await;
        let token = server::token("authenticated", Some(ANN));
        let mut odd = RawClient::connect(&scene.server, vsn, &token).await;
        odd.text_of_bytes(&[CANARY.as_bytes(), b"\xff"].concat()).await;
        odd.expect(json!({ "closed": 1007 })).await;
        scene.others_live_on("it").await;
        scene.is_discreet();
    }
}

/// A binary frame of kind 0, which only a client of one's own sends.
fn push([join_ref, reference, topic, event]: [&str; 4], payload: &[u8]) -> Vec<u8> {
    let size = |field: &str| u8::try_from(field.len()).unwrap();
    let mut frame = vec![0, size(join_ref), size(reference), size(topic), size(event)];
    for field in [join_ref, reference, topic, event] {
        frame.extend_from_slice(field.as_bytes());
    }
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test]
async fn odd_binary_frames_are_dropped_or_answered_as_documented() {
    let mut scene = Scene::set(Vsn::V2).await;
    let json = format!(r#"{{"x":"{CANARY}"}}"#).into_bytes();
    let bytes = CANARY.as_bytes();
    let mut silent: Vec<Vec<u8>> = vec![vec![]];
    // Every frame that ends before its fields do, and JSON that ends before it should.
    let whole = user_broadcast(["1", "2", TOPIC, CANARY], 1, &json);
    silent.extend((1..whole.len()).map(|end| whole[..end].to_vec()));
    let whole = push(["1", "2", TOPIC, "broadcast"], b"");
    silent.extend((1..whole.len()).map(|end| whole[..end].to_vec()));
    for kind in [1, 2, 4, 5, 127, 255] {
        let mut frame = user_broadcast(["1", "2", TOPIC, CANARY], 1, &json);
        frame[0] = kind;
        silent.push(frame);
    }
    // Sizes that promise more than there is, and bytes that are no text where text must be.
    for at in 1..6 {
        let mut frame = user_broadcast(["1", "2", TOPIC, CANARY], 0, b"");
        frame[at] = 255;
        silent.push(frame);
    }
    for at in [7, 8, 9, 9 + TOPIC.len()] {
        let mut frame = user_broadcast(["1", "2", TOPIC, CANARY], 1, &json);
        frame[at] = 0xff;
        silent.push(frame);
    }
    for body in [&b""[..], b"{", b"nul", b"\xff", b"{} {}", CANARY.as_bytes(), deep(200).as_bytes()] {
        silent.push(user_broadcast(["1", "2", TOPIC, CANARY], 1, body));
    }
    let mut meta = user_broadcast(["1", "2", TOPIC, CANARY], 1, &json);
    // What was the body's first bytes is metadata now, and no JSON.
    meta[5] = 4;
    silent.push(meta);
    silent.push(push(["1", "2", TOPIC, CANARY], bytes));
    silent.push(push(["1", "2", TOPIC, "access_token"], bytes));

    scene.join().await;
    for frame in &silent {
        scene.client.bytes(frame).await;
        let frames = scene.frames().await;
        assert_eq!(frames, [] as [Value; 0], "{frame:?}");
    }
    scene.others_live_on("all of them").await;

    let large = vec![b'x'; 3_000_501];
    for (frame, answer) in [
        (user_broadcast(["1", "2", TOPIC, CANARY], 0, b""), Answer::Ok),
        (user_broadcast(["1", "2", TOPIC, ""], 9, b" null "), Answer::Ok),
        (user_broadcast(["1", "2", TOPIC, CANARY], 0, &large), TooLarge),
        (push(["1", "2", TOPIC, "broadcast"], b""), Answer::Ok),
        (push(["1", "2", TOPIC, "broadcast"], &large), TooLarge),
        (push(["1", "2", TOPIC, "presence"], bytes), Error),
        (push(["1", "2", TOPIC, "phx_leave"], bytes), Left),
    ] {
        scene.join().await;
        scene.client.bytes(&frame).await;
        scene.check(&format!("{:?}", &frame[..40.min(frame.len())]), answer).await;
    }
    scene.join().await;
    scene.client.bytes(&push(["1", "2", TOPIC, "phx_join"], bytes)).await;
    let reason = "UnknownErrorOnChannel: the join payload is not JSON";
    let mut refused =
        scene.client.reply("1", "2", TOPIC, json!({ "status": "error", "response": { "reason": reason } }));
    scene.client.expect(refused.take()).await;
    scene.client.expect(json!(["1", "1", TOPIC, "phx_close", {}])).await;
    scene.client.bytes(&push(["", "", "phoenix", "heartbeat"], bytes)).await;
    // Binary frames have no null, so an empty ref is an empty string.
    scene.client.expect(json!([null, "", "phoenix", "phx_reply", { "status": "ok", "response": {} }])).await;
    scene.is_discreet();
}

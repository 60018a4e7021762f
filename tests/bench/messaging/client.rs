//! The clients: sockets of supabase-js, and of the apps that have protocols of their own.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::account::{Deed, Kind, News, Return};
use super::{conversation_id, person_id};
use crate::server::signed;

/// Whose protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum App {
    Supabase,
    Pitchey,
    School,
}

/// How long it takes until somebody whose connection is broken is back in reach.
const GONE_FOR: Duration = Duration::from_secs(1);

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A person with one socket, who follows their conversation.
pub(super) struct Client {
    who: Who,
    stream: Stream,
    seen: Seen,
}

/// Who connects, where and how.
struct Who {
    app: App,
    address: SocketAddr,
    person: usize,
    token: String,
}

/// What a person has read of.
struct Seen {
    app: App,
    /// Changes of presence: the server may stamp a row again.
    present: HashSet<String>,
    /// How often each of the others began to type: frames of apps have no id for that.
    typed: HashMap<String, usize>,
    /// When the latest message was sent.
    since: String,
}

impl Client {
    /// Connects and waits until changes flow.
    pub(super) async fn connect(app: App, address: SocketAddr, person: usize) -> Self {
        let who = Who { app, address, person, token: signed(&person_id(person)) };
        let since = "1970-01-01".to_owned();
        let mut seen = Seen { app, present: HashSet::new(), typed: HashMap::new(), since };
        // Nobody does anything yet.
        let (stream, _) = who.open(&mut seen).await;
        Self { who, stream, seen }
    }

    /// Tells of every deed that it reads of, until the measure is over. When `leave` says so its connection breaks, and
    /// it comes back after a moment.
    pub(super) async fn run(self, news: Sender<News>, leave: Arc<Notify>) {
        let Self { who, mut stream, mut seen } = self;
        loop {
            let told: Vec<News> = tokio::select! {
                frame = stream.next() => {
                    let at = Instant::now();
                    let frame = frame.expect("an open socket").expect("a frame");
                    let deed = frame.to_text().ok().and_then(|text| seen.deed(text));
                    deed.map(|deed| News::Heard { person: who.person, deed, at }).into_iter().collect()
                }
                () = leave.notified() => {
                    let gone = Instant::now();
                    // Without a word, as when a phone loses its network.
                    drop(stream);
                    sleep(GONE_FOR).await;
                    let connecting = Instant::now();
                    let since = seen.since.clone();
                    let (opened, mut told) = who.open(&mut seen).await;
                    stream = opened;
                    let live = Instant::now();
                    let messages = who.messages_since(&since).await;
                    told.push(News::Back(Return {
                        person: who.person,
                        gone,
                        live,
                        until_live: live - connecting,
                        until_caught_up: connecting.elapsed(),
                        messages,
                    }));
                    told
                }
            };
            for told in told {
                if news.send(told).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Who {
    /// Connects, and waits for the word that changes flow. Those of the same moment come right before it.
    async fn open(&self, seen: &mut Seen) -> (Stream, Vec<News>) {
        let token = &self.token;
        let (path, live) = match self.app {
            App::Supabase => {
                (format!("/socket/websocket?vsn=1.0.0&apikey={token}"), "Subscribed to PostgreSQL")
            }
            App::Pitchey => (format!("/api/messages/ws?token={token}"), "\"connected\""),
            App::School => (format!("/?token={token}"), "\"connection_established\""),
        };
        let url = format!("ws://{}{path}", self.address);
        let (mut stream, _) = tokio_tungstenite::connect_async(url).await.expect("a socket");
        if self.app == App::Supabase {
            stream.send(Message::text(join(self.person, token))).await.expect("a join");
        }
        let mut told = Vec::new();
        loop {
            let message = stream.next().await.expect("an answer").expect("a frame");
            let at = Instant::now();
            let text = message.to_text().unwrap_or_default();
            assert!(!text.contains("\"status\":\"error\""), "the server refused: {text}");
            if text.contains(live) {
                return (stream, told);
            }
            told.extend(seen.deed(text).map(|deed| News::Heard { person: self.person, deed, at }));
        }
    }

    /// The contents of the messages after a moment.
    async fn messages_since(&self, since: &str) -> Vec<String> {
        let body = json!({ "since": since, "page_limit": 1000 }).to_string();
        let request = format!(
            "POST /rest/v1/rpc/messages_since HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nAuthorization: Bearer {token}\r\napikey: {token}\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            token = self.token,
            length = body.len(),
        );
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "the call was refused: {answer}");
        let rows: Vec<Value> = serde_json::from_str(body).expect("rows");
        rows.iter().map(|row| row["content"].as_str().expect("a content").to_owned()).collect()
    }
}

fn join(person: usize, token: &str) -> String {
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
    join.to_string()
}

impl Seen {
    /// The deed that a frame tells of, if it is one of the load's.
    fn deed(&mut self, frame: &str) -> Option<Deed> {
        let frame: Value = serde_json::from_str(frame).ok()?;
        match self.app {
            App::Supabase => self.change(frame.get("payload")?.get("data")?),
            App::Pitchey | App::School => self.event(&frame),
        }
    }

    fn change(&mut self, data: &Value) -> Option<Deed> {
        let (table, record) = (data.get("table")?.as_str()?, data.get("record")?);
        let text = |column: &str| record.get(column).and_then(Value::as_str).map(str::to_owned);
        match table {
            "messages" => {
                self.since = text("created_at")?;
                Some(Deed(Kind::Message, text("content")?))
            }
            "message_typing_indicators" if data.get("type")? == "INSERT" => {
                Some(Deed(Kind::Typing, text("id")?))
            }
            "message_read_receipts" => Some(Deed(Kind::Receipt, text("id")?)),
            "user_presence" => {
                let number = record.get("metadata")?.get("number")?.as_u64()?.to_string();
                self.present.insert(number.clone()).then_some(Deed(Kind::Presence, number))
            }
            _ => None,
        }
    }

    fn event(&mut self, frame: &Value) -> Option<Deed> {
        let text = |name: &str| frame.get(name).and_then(Value::as_str);
        let is_typing =
            || [frame.get("isTyping"), frame.get("is_typing")].contains(&Some(&Value::Bool(true)));
        match text("type")? {
            "new_message" => {
                let content = text("content").or_else(|| frame.get("data")?.get("content")?.as_str());
                Some(Deed(Kind::Message, content?.to_owned()))
            }
            "user_typing" if is_typing() => {
                let user = text("userId").or_else(|| text("user_id"))?;
                let count = self.typed.entry(user.to_owned()).or_default();
                *count += 1;
                Some(Deed(Kind::Typing, format!("{user} {count}")))
            }
            "error" => panic!("an app's socket was told of an error: {frame}"),
            _ => None,
        }
    }
}

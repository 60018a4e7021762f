//! One socket's life, over a real stream, with a protocol that does little.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::run::run;
use super::wire::Wire;
use super::*;
use crate::adapter::live::{Live, LiveSink};
use crate::adapter::{Asker, Counters, PublicPlace};
use crate::auth::{Config, Secret, Verifier, sign};
use crate::hub::{ChannelRef, Delivery, FeedCommand, FeedEvent, ShardCommand, Sink};
use crate::postgres::connect::Database;
use crate::postgres::messaging::{Deliveries, Notes, People};
use crate::postgres::rpc::{self, Rpc};
use crate::protocol::{Dialect, changes_frame};
use crate::telemetry::clock::unix_seconds;

const WITHIN: Duration = Duration::from_secs(20);
const ANN: &str = "a0000000-0000-4000-8000-000000000001";
const BOB: &str = "b0000000-0000-4000-8000-000000000001";

/// Repeats what it is told. A frame `wait` is a job that ends when it is let.
struct Echo {
    wait: Option<oneshot::Receiver<()>>,
    closed: Option<oneshot::Sender<()>>,
}

impl Protocol for Echo {
    type Done = ();

    fn opened(&mut self, out: &mut Frames) -> Option<Job<()>> {
        out.send(&json!({ "type": "connected" }));
        None
    }

    fn frame(&mut self, kind: &str, fields: Map<String, Value>, out: &mut Frames) -> Option<Job<()>> {
        out.send(&json!({ "type": "echo", "kind": kind, "fields": fields }));
        let wait = self.wait.take_if(|_| kind == "wait")?;
        Some(Box::pin(async move {
            let _ = wait.await;
        }))
    }

    fn done(&mut self, (): (), out: &mut Frames) -> Option<Job<()>> {
        out.send(&json!({ "type": "done" }));
        None
    }

    fn event(&mut self, event: &Arc<Event>, out: &mut Frames) {
        let Event::Sent(message) = &**event else { return };
        out.send(&json!({ "type": "event", "content": message.content }));
        out.delivered(message.id);
    }

    fn error(&mut self, error: &Error, out: &mut Frames) {
        out.send(&json!({ "type": "error", "message": error.to_string(), "retry": error.retry_after() }));
    }

    fn interrupted(&mut self, out: &mut Frames) {
        out.send(&json!({ "type": "interrupted" }));
    }

    fn closed(&mut self) -> Option<Job<()>> {
        let closed = self.closed.take()?;
        Some(Box::pin(async move {
            let _ = closed.send(());
        }))
    }
}

/// A socket and all around it.
struct Desk {
    client: WebSocketStream<TcpStream>,
    sink: LiveSink,
    feed: mpsc::Receiver<FeedCommand>,
    services: Arc<Services>,
    notes: Notes,
    /// Ends the job.
    go_on: Option<oneshot::Sender<()>>,
    closed: oneshot::Receiver<()>,
}

const QUICK: Limits = Limits { ping_every: Duration::from_millis(20), ..Limits::DEFAULT };

impl Desk {
    async fn open(limits: Limits) -> Self {
        Self::open_for(limits, 600).await
    }

    /// A socket whose token is good for so many seconds.
    async fn open_for(limits: Limits, seconds: i64) -> Self {
        let secret = Secret::new("a-secret-of-socket-tests-of-32-bytes-and-more").unwrap();
        let claims = json!({ "sub": BOB, "role": "authenticated", "exp": unix_seconds() + seconds });
        let token = sign(&secret, claims.as_object().unwrap());
        let verifier = Arc::new(Verifier::new(Config { secrets: vec![secret], ..Config::default() }));
        let (sender, feed) = mpsc::channel(64);
        let counters = Arc::<Counters>::default();
        let (task, sink, live) = Live::new(0, sender, Arc::clone(&counters));
        tokio::spawn(task.run());
        let (deliveries, notes) = Deliveries::queue(64);
        let nowhere = Database::parse("postgres://nobody@127.0.0.1:1/none").unwrap();
        let services = Arc::new(Services {
            rpc: Rpc::new(rpc::Config::new(nowhere)),
            verifier,
            bodies: Services::bodies(),
            place: PublicPlace::default(),
            live,
            people: People::default(),
            deliveries,
            sockets: Sockets::new(8, Arc::clone(&counters)),
            counters,
        });
        let asker: Asker = services.asker_of(&token).unwrap();
        let opening = Opening { asker, token: token.into() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (go_on, wait) = oneshot::channel();
        let (told, closed) = oneshot::channel();
        let its = Arc::clone(&services);
        tokio::spawn(async move {
            let app = SocketApp { name: "echo", tables: &[Table::Messages], limits };
            let bytes_max = limits.frame_bytes_max * Limits::FRAME_FACTOR;
            let wire = Wire::new(accepted, Vec::new(), bytes_max, limits.write_within);
            let protocol = Echo { wait: Some(wait), closed: Some(told) };
            run(&its, &app, wire, opening, protocol).await;
        });
        let client = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        Self { client, sink, feed, services, notes, go_on: Some(go_on), closed }
    }

    /// Has the feed say that the subscription is live, and hears that the socket is connected.
    async fn live(&mut self) -> ChannelRef {
        let Some(FeedCommand::Subscribe(subscribe)) = self.feed.recv().await else {
            panic!("no subscription")
        };
        self.told(subscribe.channel, true).await;
        assert_eq!(self.next().await, json!({ "type": "connected" }));
        subscribe.channel
    }

    async fn told(&self, channel: ChannelRef, ok: bool) {
        let event = FeedEvent::System { channel, ok, message: "".into() };
        assert!(self.sink.send(ShardCommand::Feed(event)).await);
    }

    async fn message(&self, channel: ChannelRef, content: &str) {
        let record = json!({ "id": ANN, "conversation_id": ANN, "sender_id": ANN, "content": content });
        let data = json!({ "table": "messages", "type": "INSERT", "record": record });
        let frame = changes_frame(Dialect::V1, None, "adapter:echo", &[1], &data.to_string());
        let changes = FeedEvent::Changes(vec![Delivery { frame, channels: [channel].into(), sent: None }]);
        assert!(self.sink.send(ShardCommand::Feed(changes)).await);
    }

    async fn send(&mut self, text: &str) {
        self.client.send(Message::text(text)).await.unwrap();
    }

    /// The next frame; a close is its code. Pings are answered while it is waited for, by the library.
    async fn next(&mut self) -> Value {
        let next = async {
            loop {
                match self.client.next().await {
                    Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                    Some(Ok(Message::Close(frame))) => {
                        return json!(frame.map(|frame| u16::from(frame.code)));
                    }
                    Some(Ok(_)) => {}
                    other => return json!(format!("{other:?}")),
                }
            }
        };
        timeout(WITHIN, next).await.expect("a frame")
    }
}

#[tokio::test]
async fn nothing_is_said_before_changes_flow() {
    let mut desk = Desk::open(Limits::DEFAULT).await;
    desk.send(r#"{"type":"early"}"#).await;
    assert_eq!(desk.services.people.count(), 0);
    desk.live().await;
    assert_eq!(desk.next().await["kind"], "early", "what came before that is answered after it");
    assert_eq!(desk.services.people.count(), 1);
}

#[tokio::test]
async fn a_socket_without_changes_is_closed() {
    let mut desk = Desk::open(Limits { live_within: Duration::from_millis(20), ..Limits::DEFAULT }).await;
    assert_eq!(desk.next().await, 1013);
    let mut desk = Desk::open(Limits::DEFAULT).await;
    let Some(FeedCommand::Subscribe(subscribe)) = desk.feed.recv().await else { panic!("no subscription") };
    desk.told(subscribe.channel, false).await;
    assert_eq!(desk.next().await, 1013, "a subscription that is refused");
}

#[tokio::test]
async fn events_go_on_while_a_frame_is_answered_and_the_next_frame_waits() {
    let mut desk = Desk::open(Limits::DEFAULT).await;
    let channel = desk.live().await;
    desk.send(r#"{"type":"wait"}"#).await;
    desk.send(r#"{"type":"next","n":1}"#).await;
    assert_eq!(desk.next().await["kind"], "wait");
    desk.message(channel, "meanwhile").await;
    assert_eq!(desk.next().await, json!({ "type": "event", "content": "meanwhile" }));
    desk.go_on.take().unwrap().send(()).unwrap();
    assert_eq!(desk.next().await["type"], "done");
    assert_eq!(desk.next().await, json!({ "type": "echo", "kind": "next", "fields": { "n": 1 } }));
    let noted = timeout(WITHIN, desk.notes.batch(8, Duration::from_millis(1))).await.unwrap().unwrap();
    assert_eq!(noted.len(), 1, "what was sent is delivered");
}

#[tokio::test]
async fn a_socket_ends_with_its_stream_of_changes() {
    let mut desk = Desk::open(Limits::DEFAULT).await;
    let channel = desk.live().await;
    desk.told(channel, false).await;
    assert_eq!(desk.next().await, json!({ "type": "interrupted" }));
    assert_eq!(desk.next().await, 1012);
    let mut desk = Desk::open(Limits::DEFAULT).await;
    desk.live().await;
    desk.services.live.drain().await;
    assert_eq!(desk.next().await, 1012);
    timeout(WITHIN, &mut desk.closed).await.expect("a word to the app").unwrap();
    // Nobody is subscribed or here any more.
    let told = timeout(WITHIN, desk.feed.recv()).await.expect("a word to the feed");
    assert!(matches!(told, Some(FeedCommand::Unsubscribe { .. })));
    assert_eq!(desk.services.people.count(), 0);
}

#[tokio::test]
async fn a_token_that_expires_ends_its_socket() {
    let mut desk = Desk::open_for(Limits::DEFAULT, 2).await;
    desk.live().await;
    assert_eq!(desk.next().await, 4001);
}

#[tokio::test]
async fn a_client_that_is_gone_is_noticed_and_one_that_answers_pings_stays() {
    let idle = Limits { idle_timeout: Duration::from_secs(2), ..QUICK };
    let mut desk = Desk::open(idle).await;
    let channel = desk.live().await;
    // The library answers pings while it is read.
    let pinged = async {
        for _ in 0..110 {
            assert!(matches!(desk.client.next().await, Some(Ok(Message::Ping(_)))));
        }
    };
    timeout(WITHIN, pinged).await.expect("pings for longer than it may be silent");
    desk.message(channel, "still here").await;
    assert_eq!(desk.next().await["content"], "still here");
    // Read by nobody, it answers none.
    timeout(WITHIN, &mut desk.closed).await.expect("an end").unwrap();
}

#[tokio::test]
async fn what_is_no_frame_is_answered_and_what_is_far_too_large_ends_the_socket() {
    let mut desk = Desk::open(Limits { frame_bytes_max: 100, ..Limits::DEFAULT }).await;
    desk.live().await;
    let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(100));
    for text in ["nonsense", "[]", "{}", &long] {
        desk.send(text).await;
        assert_eq!(desk.next().await["type"], "error", "{text}");
    }
    desk.client.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(desk.next().await["type"], "error");
    desk.client.send(Message::Ping(vec![1].into())).await.unwrap();
    desk.send(r#"{"type":"ping"}"#).await;
    assert_eq!(desk.next().await["kind"], "ping");
    desk.send(&"x".repeat(500)).await;
    assert_eq!(desk.next().await, 1009);
}

#[tokio::test]
async fn frames_beyond_the_rate_are_told_to_wait() {
    let mut desk = Desk::open(Limits { frames_per_second_max: 2, ..Limits::DEFAULT }).await;
    desk.live().await;
    for _ in 0..20 {
        desk.send(r#"{"type":"ping"}"#).await;
    }
    let mut refused = 0;
    for _ in 0..20 {
        let answer = desk.next().await;
        if answer["type"] == "error" {
            assert_eq!(answer["retry"], 1);
            refused += 1;
        }
    }
    assert!((1..=18).contains(&refused), "{refused}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let mut desk = Desk::open(Limits { write_within: Duration::from_millis(100), ..Limits::DEFAULT }).await;
    let channel = desk.live().await;
    let large = "x".repeat(1 << 20);
    // More than any system keeps for a client.
    for _ in 0..64 {
        desk.message(channel, &large).await;
        tokio::task::yield_now().await;
    }
    timeout(WITHIN, &mut desk.closed).await.expect("an end").unwrap();
}

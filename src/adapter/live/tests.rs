//! The task between the feed and the sockets of apps.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::protocol::changes_frame;

const WITHIN: Duration = Duration::from_secs(20);
const SHARD: u16 = 3;

/// The task, and the feed that it talks to.
struct Desk {
    sink: LiveSink,
    live: LiveHandle,
    feed: mpsc::Receiver<FeedCommand>,
    counters: Arc<Counters>,
}

impl Desk {
    fn new() -> Self {
        let (sender, feed) = mpsc::channel(64);
        let counters = Arc::<Counters>::default();
        let (task, sink, live) = Live::new(SHARD, sender, Arc::clone(&counters));
        tokio::spawn(task.run());
        Self { sink, live, feed, counters }
    }

    /// A socket that is live, and its channel.
    async fn socket(&mut self) -> (Subscription, ChannelRef) {
        let (mut subscription, channel) = self.subscribed().await;
        self.tell(FeedEvent::System { channel, ok: true, message: "".into() }).await;
        assert!(matches!(next(&mut subscription).await, Ok(Signal::Live)));
        (subscription, channel)
    }

    async fn subscribed(&mut self) -> (Subscription, ChannelRef) {
        let claims = Arc::new(Claims { role: "authenticated".into(), json: "{}".into(), expires_at: 0 });
        let subscription =
            self.live.open("app", claims, &[Table::Messages, Table::Deliveries]).await.unwrap();
        let Some(FeedCommand::Subscribe(subscribe)) = self.feed.recv().await else {
            panic!("no subscription")
        };
        assert_eq!((&*subscribe.topic, subscribe.dialect), ("adapter:app", Dialect::V1));
        assert_eq!(subscribe.channel.shard, SHARD);
        let bindings: Vec<_> =
            subscribe.bindings.into_iter().map(|(_, binding)| Value::from(binding)).collect();
        let expected = [
            json!({ "event": "*", "schema": "public", "table": "messages" }),
            json!({ "event": "UPDATE", "schema": "public", "table": "message_delivery_status" }),
        ];
        assert_eq!(bindings, expected);
        (subscription, subscribe.channel)
    }

    async fn tell(&self, event: FeedEvent) {
        assert!(self.sink.send(ShardCommand::Feed(event)).await);
    }

    async fn changes(&self, deliveries: Vec<Delivery>) {
        self.tell(FeedEvent::Changes(deliveries)).await;
    }
}

async fn next(subscription: &mut Subscription) -> Result<Signal, End> {
    timeout(WITHIN, subscription.next()).await.expect("a signal")
}

/// The contents of the messages that come next.
async fn contents(subscription: &mut Subscription) -> Vec<String> {
    let Ok(Signal::Events(events)) = next(subscription).await else { panic!("no events") };
    let content = |event: &Arc<Event>| match &**event {
        Event::Sent(message) => message.content.clone(),
        other => panic!("{other:?}"),
    };
    events.iter().map(content).collect()
}

fn frame(data: &Value) -> Bytes {
    changes_frame(Dialect::V1, None, "adapter:app", &[1], &data.to_string())
}

fn message(content: &str, channels: &[ChannelRef]) -> Delivery {
    const ID: &str = "a0000000-0000-4000-8000-000000000001";
    let record = json!({ "id": ID, "conversation_id": ID, "sender_id": ID, "content": content });
    let data =
        json!({ "table": "messages", "type": "INSERT", "record": record, "columns": [], "errors": null });
    Delivery { frame: frame(&data), channels: channels.into(), sent: None }
}

#[tokio::test]
async fn events_reach_those_who_may_have_them_in_order() {
    let mut desk = Desk::new();
    let (mut ann, a) = desk.socket().await;
    let (mut bob, b) = desk.socket().await;
    desk.changes(vec![message("1", &[a, b]), message("2", &[b]), message("3", &[a])]).await;
    desk.changes(vec![message("4", &[a, b])]).await;
    assert_eq!(contents(&mut ann).await, ["1", "3"]);
    assert_eq!(contents(&mut ann).await, ["4"]);
    assert_eq!(contents(&mut bob).await, ["1", "2"]);
    assert_eq!(contents(&mut bob).await, ["4"]);
    assert_eq!(desk.counters.events.get(), 6);
}

#[tokio::test]
async fn what_comes_with_the_word_that_it_is_live_follows_it() {
    let mut desk = Desk::new();
    let (mut ann, a) = desk.subscribed().await;
    desk.changes(vec![message("1", &[a]), message("2", &[a])]).await;
    desk.changes(vec![message("3", &[a])]).await;
    desk.tell(FeedEvent::System { channel: a, ok: true, message: "".into() }).await;
    desk.changes(vec![message("4", &[a])]).await;
    assert!(matches!(next(&mut ann).await, Ok(Signal::Live)));
    assert_eq!(contents(&mut ann).await, ["1", "2", "3"]);
    assert_eq!(contents(&mut ann).await, ["4"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_passed_over() {
    let mut desk = Desk::new();
    let (mut ann, a) = desk.socket().await;
    let other = |data: Value| Delivery { frame: frame(&data), channels: [a].into(), sent: None };
    desk.changes(vec![
        other(json!({ "table": "elsewhere", "type": "INSERT", "record": {} })),
        other(json!({ "table": "messages", "type": "INSERT", "record": { "id": "no id" } })),
        other(json!({ "table": "messages", "type": "TRUNCATE" })),
        Delivery { frame: Bytes::from_static(b"\x81"), channels: [a].into(), sent: None },
        Delivery { frame: Bytes::from_static(b"\x81\x02\xff\xff"), channels: [a].into(), sent: None },
        // Nobody who is here.
        message(
            "lost",
            &[ChannelRef { join: 0, shard: SHARD, connection: ConnectionId { slot: 9, generation: 9 } }],
        ),
        message("read", &[a]),
    ])
    .await;
    assert_eq!(contents(&mut ann).await, ["read"]);
    assert_eq!(desk.counters.unreadable.get(), 5);
}

#[tokio::test]
async fn a_socket_that_does_not_listen_is_ended_and_holds_up_nobody() {
    let mut desk = Desk::new();
    let (mut deaf, d) = desk.socket().await;
    let (mut ann, a) = desk.socket().await;
    for number in 0..=queue::BATCHES_MAX {
        desk.changes(vec![message(&number.to_string(), &[d, a])]).await;
        assert_eq!(contents(&mut ann).await, [number.to_string()]);
    }
    assert_eq!(next(&mut deaf).await.unwrap_err(), End::Behind);
    assert_eq!(next(&mut deaf).await.unwrap_err(), End::Behind, "and stays so");
    assert_eq!(desk.counters.behind.get(), 1);
}

#[tokio::test]
async fn one_commit_counts_once_however_many_rows_it_has() {
    let mut desk = Desk::new();
    let (mut ann, a) = desk.socket().await;
    desk.changes((0..2000).map(|number| message(&number.to_string(), &[a])).collect()).await;
    assert_eq!(contents(&mut ann).await.len(), 2000);
    // The bytes that wait are bounded all the same.
    let large = "x".repeat(1 << 20);
    for _ in 0..=queue::BACKLOG_BYTES_MAX >> 20 {
        desk.changes(vec![message(&large, &[a])]).await;
    }
    desk.changes(vec![message("more", &[a])]).await;
    let end = loop {
        if let Err(end) = next(&mut ann).await {
            break end;
        }
    };
    assert_eq!(end, End::Behind);
}

#[tokio::test]
async fn a_break_or_a_refusal_ends_those_it_concerns() {
    let mut desk = Desk::new();
    let (mut ann, a) = desk.socket().await;
    let (mut bob, b) = desk.socket().await;
    desk.tell(FeedEvent::Live(false)).await;
    desk.tell(FeedEvent::System { channel: a, ok: false, message: "words".into() }).await;
    assert_eq!(next(&mut ann).await.unwrap_err(), End::Interrupted);
    let (mut eve, e) = desk.subscribed().await;
    desk.tell(FeedEvent::System { channel: e, ok: false, message: "words".into() }).await;
    assert_eq!(next(&mut eve).await.unwrap_err(), End::Refused);
    // The twin was told nothing, and goes on.
    desk.changes(vec![message("on", &[a, b])]).await;
    assert_eq!(contents(&mut bob).await, ["on"]);
}

#[tokio::test]
async fn a_server_that_goes_down_ends_all_and_takes_nobody() {
    let mut desk = Desk::new();
    let (mut ann, _) = desk.socket().await;
    assert!(desk.sink.send(ShardCommand::PoliciesChanged).await, "nothing that concerns sockets of apps");
    assert!(desk.sink.send(ShardCommand::Disconnect).await);
    assert_eq!(next(&mut ann).await.unwrap_err(), End::Restart);
    let (mut bob, _) = desk.socket().await;
    desk.live.drain().await;
    assert_eq!(next(&mut bob).await.unwrap_err(), End::Restart);
    let (mut eve, _) = desk.subscribed().await;
    assert_eq!(next(&mut eve).await.unwrap_err(), End::Restart);
}

#[tokio::test]
async fn a_socket_that_goes_unsubscribes() {
    let mut desk = Desk::new();
    let (ann, a) = desk.socket().await;
    drop(ann);
    let told = timeout(WITHIN, desk.feed.recv()).await.expect("a word");
    assert!(matches!(told, Some(FeedCommand::Unsubscribe { channel }) if channel == a));
    desk.changes(vec![message("late", &[a])]).await;
    let (_, b) = desk.subscribed().await;
    assert_ne!(a, b, "a place is nobody else's");
}

#[tokio::test]
async fn a_full_feed_hears_of_the_end_later() {
    let (sender, mut feed) = mpsc::channel(1);
    let (task, _sink, live) = Live::new(SHARD, sender, Arc::default());
    tokio::spawn(task.run());
    let claims = Arc::new(Claims { role: "authenticated".into(), json: "{}".into(), expires_at: 0 });
    // Its subscription fills the queue.
    drop(live.open("app", claims, &[]).await.unwrap());
    assert!(matches!(feed.recv().await, Some(FeedCommand::Subscribe(_))));
    let told = timeout(WITHIN, feed.recv()).await.expect("a word");
    assert!(matches!(told, Some(FeedCommand::Unsubscribe { .. })));
}

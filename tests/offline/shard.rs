//! Many connections on one shard: slow ones, order, bounds, draining.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rowcast::protocol::frame::text_frame;
use rowcast::socket::{CloseReason, ShardConfig};
use tokio_tungstenite::tungstenite::Message;

use crate::echo::{Client, Command, Options, TestServer, assert_echo, next, next_close};

/// Frames `number:xxx…` of about `bytes` bytes.
fn numbered(numbers: std::ops::Range<u32>, bytes: usize) -> Vec<Bytes> {
    numbers.map(|number| text_frame(format!("{number}:{}", "x".repeat(bytes)).as_bytes())).collect()
}

async fn next_number(client: &mut Client) -> u32 {
    let message = next(client).await;
    message.to_text().unwrap().split(':').next().unwrap().parse().unwrap()
}

async fn connect(server: &TestServer, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(server.connect().await);
    }
    let count = u64::try_from(count).unwrap();
    server.until("all are open", |server| server.metrics().opened.get() >= count).await;
    clients
}

/// Reads until the close frame; returns how many frames came before it, and its code.
async fn read_to_close(client: &mut Client) -> (u32, u16, String) {
    let mut expected = 0;
    loop {
        match next(client).await {
            Message::Text(text) => {
                let number: u32 = text.split(':').next().unwrap().parse().unwrap();
                assert_eq!(number, expected, "in order, without a hole");
                expected += 1;
            }
            Message::Close(Some(frame)) => return (expected, frame.code.into(), frame.reason.to_string()),
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_slow_client_is_closed_while_a_fast_one_gets_everything_in_order() {
    let shard = ShardConfig { backlog_bytes_max: 1_000_000, ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let mut clients = connect(&server, 2).await;
    let (mut slow, mut fast) = (clients.remove(0), clients.remove(0));
    for start in (0..4000).step_by(10) {
        server.shard.send(Command::ToAll(numbered(start..start + 10, 1000))).await.unwrap();
        for expected in start..start + 10 {
            assert_eq!(next_number(&mut fast).await, expected);
        }
    }
    assert_eq!(server.metrics().closed(CloseReason::SlowConsumer), 1);
    let (received, code, reason) = read_to_close(&mut slow).await;
    assert!((10..3000).contains(&received), "{received}");
    assert_eq!((code, reason.as_str()), (1008, "slow consumer"));
    assert_echo(&mut fast, "still here").await;
    server.stop().await;
}

#[tokio::test]
async fn an_old_backlog_is_closed_even_if_it_is_small() {
    let shard = ShardConfig { backlog_age_max: Duration::from_millis(200), ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let mut slow = connect(&server, 1).await.remove(0);
    // More than the kernel takes, less than the bound of the backlog allows.
    while server.metrics().backlog_bytes.get() == 0 {
        server.shard.send(Command::ToAll(numbered(0..1, 100_000))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.until("it is closed", |server| server.metrics().closed(CloseReason::SlowConsumer) == 1).await;
    while let Some(Ok(message)) = slow.next().await {
        if let Message::Close(frame) = message {
            assert_eq!(u16::from(frame.unwrap().code), 1008);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn one_large_message_is_no_slow_client() {
    let shard = ShardConfig { backlog_bytes_max: 1000, ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let mut client = connect(&server, 1).await.remove(0);
    server.shard.send(Command::ToAll(numbered(0..1, 4_000_000))).await.unwrap();
    assert_eq!(next_number(&mut client).await, 0);
    assert_echo(&mut client, "still here").await;
    server.stop().await;
}

#[tokio::test]
async fn all_backlogs_together_are_bounded() {
    let shard =
        ShardConfig { backlog_bytes_max: 2_000_000, backlogs_bytes_max: 3_000_000, ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let mut clients = connect(&server, 5).await;
    server.shard.send(Command::ToAll(numbered(0..1, 1_900_000))).await.unwrap();
    server.until("some are closed", |server| server.metrics().closed(CloseReason::Overload) >= 3).await;
    let mut served = 0;
    for client in &mut clients {
        // Those in the middle of the frame are cut off; there is no way to say why.
        if let Some(Ok(Message::Text(_))) = client.next().await {
            assert_echo(client, "still here").await;
            served += 1;
        }
    }
    let closed = server.metrics().closed(CloseReason::Overload);
    assert_eq!(served + closed, 5, "each is served whole or closed");
    assert!(served >= 1 && closed >= 3);
    server.stop().await;
}

#[tokio::test]
async fn order_is_kept_when_a_fan_out_is_sliced() {
    // More receivers than one slice writes, and commands that pile up meanwhile.
    let server = TestServer::start(Options::default()).await;
    let mut clients = connect(&server, 600).await;
    for number in 0..50 {
        server.shard.send(Command::ToAll(numbered(number..number + 1, 50))).await.unwrap();
    }
    // Answers to clients take part in the same order.
    clients[0].send(Message::text("50:")).await.unwrap();
    for client in &mut clients {
        for expected in 0..50 {
            assert_eq!(next_number(client).await, expected);
        }
    }
    assert_eq!(next_number(&mut clients[0]).await, 50);
    assert_eq!(server.metrics().frames_out.get(), 600 * 50 + 1);
    server.stop().await;
}

#[tokio::test]
async fn frames_of_one_batch_leave_in_one_write() {
    let server = TestServer::start(Options::default()).await;
    let mut client = connect(&server, 1).await.remove(0);
    let before = server.metrics().writes.get();
    server.shard.send(Command::ToAll(numbered(0..40, 100))).await.unwrap();
    for expected in 0..40 {
        assert_eq!(next_number(&mut client).await, expected);
    }
    server.until("it is counted", |server| server.metrics().frames_out.get() == 40).await;
    server.until("the write is counted", |server| server.metrics().writes.get() == before + 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_full_inbox_refuses_and_counts() {
    let shard = ShardConfig { inbox_commands_max: 2, ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let mut client = connect(&server, 1).await.remove(0);
    let mut refused = 0;
    while refused == 0 {
        if server.shard.try_send(Command::ToAll(vec![])).is_err() {
            refused += 1;
        }
    }
    assert_eq!(server.metrics().commands_refused.get(), refused);
    server.shard.send(Command::ToAll(numbered(0..1, 1))).await.unwrap();
    assert_eq!(next_number(&mut client).await, 0);
    assert_eq!(server.shard.depth(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_panic_in_a_command_sends_everybody_to_a_fresh_start() {
    let server = TestServer::start(Options::default()).await;
    let mut clients = connect(&server, 3).await;
    server.shard.send(Command::Panic).await.unwrap();
    for client in &mut clients {
        assert_eq!(next_close(client).await, (1011, String::new()));
    }
    assert_echo(&mut server.connect().await, "the shard goes on").await;
    server.stop().await;
}

#[tokio::test]
async fn time_passes_while_there_are_connections() {
    let shard = ShardConfig { tick: Duration::from_millis(5), ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let client = server.connect().await;
    server.until("it ticks", |server| server.log.lock().unwrap().ticks >= 3).await;
    drop(client);
    server.until("it is gone", |server| server.metrics().connections.get() == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn draining_closes_everybody_with_its_code_then_ends_the_shard() {
    let server = TestServer::start(Options::default()).await;
    let mut clients = connect(&server, 20).await;
    let reading = async {
        for client in &mut clients {
            assert_eq!(next_close(client).await, (1012, "restart".into()));
            while client.next().await.is_some() {}
        }
    };
    let (cut_off, ()) = tokio::join!(server.shard.drain(1012, "restart", Duration::from_secs(20)), reading);
    assert_eq!(cut_off, 0);
    assert_eq!(server.metrics().closed(CloseReason::Drain), 20);
    assert!(server.shard.send(Command::ToAll(vec![])).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn draining_cuts_off_clients_that_do_not_go() {
    let server = TestServer::start(Options::default()).await;
    let clients = connect(&server, 2).await;
    assert_eq!(server.shard.drain(1001, "", Duration::from_millis(200)).await, 2);
    drop(clients);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_may_close_everybody() {
    let server = TestServer::start(Options::default()).await;
    let mut clients = connect(&server, 3).await;
    server.shard.send(Command::CloseAll(1012, "new keys")).await.unwrap();
    for client in &mut clients {
        assert_eq!(next_close(client).await, (1012, "new keys".into()));
    }
    server.stop().await;
}

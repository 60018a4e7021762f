//! One client against a real server: what goes in, what comes out, what ends it.

use std::time::Duration;

use futures_util::SinkExt;
use rowcast::socket::{CloseReason, ShardConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::echo::{Options, TestServer, assert_echo, next, next_close, valid_token};

/// A masked client frame; `first` is FIN, RSV and opcode.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short @ 0..126) => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(b"1234");
    frame.extend(payload.iter().zip(b"1234".iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn handshake() -> Vec<u8> {
    format!(
        "GET /socket/websocket?apikey={}&vsn=1.0.0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        valid_token()
    )
    .into_bytes()
}

/// Reads the 101, then exactly `length` bytes.
async fn read_behind_101(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await.unwrap();
    rest
}

#[tokio::test]
async fn frames_pipelined_behind_the_handshake_are_answered_in_order() {
    let server = TestServer::start(Options::default()).await;
    let mut bytes = handshake();
    let mut expected = Vec::new();
    for number in 0..500 {
        let text = format!("message {number}");
        bytes.extend(masked(0x81, text.as_bytes()));
        expected.extend_from_slice(&rowcast::protocol::frame::text_frame(text.as_bytes()));
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(read_behind_101(&mut stream, expected.len()).await, expected);
    drop(stream);
    server.until("the client is gone", |server| server.metrics().connections.get() == 0).await;
    assert_eq!(server.metrics().closed(CloseReason::Lost), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_client_may_send_byte_by_byte() {
    let server = TestServer::start(Options::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut bytes = handshake();
    bytes.extend(masked(0x01, b"one"));
    bytes.extend(masked(0x89, b"?"));
    bytes.extend(masked(0x80, b" two"));
    bytes.extend(masked(0x88, b"\x03\xE8"));
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let expected = b"\x8A\x01?\x81\x07one two\x88\x02\x03\xE8";
    assert_eq!(read_behind_101(&mut stream, expected.len()).await, expected);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the server closes its side");
    drop(stream);
    server.until("the client is gone", |server| server.metrics().connections.get() == 0).await;
    assert_eq!(server.metrics().closed(CloseReason::Client), 1);
    server.stop().await;
}

#[tokio::test]
async fn large_messages_come_back_whole() {
    let server = TestServer::start(Options::default()).await;
    let mut client = server.connect().await;
    let text = "0123456789".repeat(100_000);
    assert_echo(&mut client, &text).await;
    let binary = Message::binary(vec![7; 3_000_000]);
    client.send(binary.clone()).await.unwrap();
    assert!(next(&mut client).await == binary);
    assert_echo(&mut client, "").await;
    server.stop().await;
}

#[tokio::test]
async fn fragments_are_joined_and_pings_between_them_answered() {
    let server = TestServer::start(Options::default()).await;
    let mut client = server.connect().await;
    for frame in [
        Frame::message("one ", OpCode::Data(Data::Text), false),
        Frame::ping("?"),
        Frame::message("two", OpCode::Data(Data::Continue), true),
    ] {
        client.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(next(&mut client).await, Message::Pong("?".into()));
    assert_eq!(next(&mut client).await, Message::text("one two"));
    server.stop().await;
}

#[tokio::test]
async fn violations_close_with_their_code_however_much_follows() {
    let shard = ShardConfig { message_bytes_max: 1000, ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let too_long = masked(0x82, &[0; 1001]);
    let cases: &[(&[u8], u16, CloseReason)] = &[
        (b"\x81\x01a", 1002, CloseReason::Protocol),
        (&masked(0xC1, b"a"), 1002, CloseReason::Protocol),
        (&masked(0x83, b"a"), 1002, CloseReason::Protocol),
        (&masked(0x80, b"a"), 1002, CloseReason::Protocol),
        (&masked(0x88, b"\x03\xED"), 1002, CloseReason::Protocol),
        (&masked(0x81, b"\xFF"), 1007, CloseReason::InvalidUtf8),
        (&too_long, 1009, CloseReason::TooLarge),
    ];
    for (bytes, code, why) in cases {
        let counted = server.metrics().closed(*why);
        let mut client = server.connect().await;
        let stream = client.get_mut();
        stream.write_all(bytes).await.unwrap();
        stream.write_all(&[0; 100_000]).await.unwrap();
        assert_eq!(next_close(&mut client).await.0, *code);
        assert_eq!(server.metrics().closed(*why), counted + 1);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_close_is_echoed() {
    let server = TestServer::start(Options::default()).await;
    for code in [1000, 1001, 4321_u16] {
        let mut client = server.connect().await;
        let frame = CloseFrame { code: code.into(), reason: "bye".into() };
        client.close(Some(frame)).await.unwrap();
        assert_eq!(next_close(&mut client).await, (code, String::new()));
    }
    server.until("all are gone", |server| server.metrics().connections.get() == 0).await;
    assert_eq!(server.metrics().closed(CloseReason::Client), 3);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_may_close_and_says_why() {
    let server = TestServer::start(Options::default()).await;
    let mut client = server.connect().await;
    client.send(Message::text("first")).await.unwrap();
    client.send(Message::text("close")).await.unwrap();
    client.send(Message::text("late")).await.unwrap();
    assert_eq!(next(&mut client).await, Message::text("first"));
    assert_eq!(next_close(&mut client).await, (4000, "asked for".into()));
    assert_eq!(server.metrics().closed(CloseReason::Handler), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_panic_ends_the_connection_whose_message_it_was() {
    let server = TestServer::start(Options::default()).await;
    let mut other = server.connect().await;
    let mut client = server.connect().await;
    client.send(Message::text("panic")).await.unwrap();
    assert_eq!(next_close(&mut client).await, (1011, String::new()));
    assert_echo(&mut other, "still here").await;
    assert_eq!(server.metrics().panics.get(), 1);
    assert_eq!(server.metrics().closed(CloseReason::Panic), 1);
    assert_eq!(server.log.lock().unwrap().closed, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_silent_client_is_closed_and_a_pinging_one_is_not() {
    let shard = ShardConfig { idle_timeout: Duration::from_millis(400), ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let mut silent = server.connect().await;
    let mut pinging = server.connect().await;
    let closed = next_close(&mut silent);
    let pings = async {
        loop {
            pinging.send(Message::Ping("".into())).await.unwrap();
            assert_eq!(next(&mut pinging).await, Message::Pong("".into()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        closed = closed => assert_eq!(closed, (1000, "idle timeout".into())),
        () = pings => unreachable!("it pings for ever"),
    }
    pinging.send(Message::text("still here")).await.unwrap();
    // A last pong may come first.
    while next(&mut pinging).await != Message::text("still here") {}
    assert_eq!(server.metrics().closed(CloseReason::Idle), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_closes_its_side_is_cut_off() {
    let shard = ShardConfig { close_timeout: Duration::from_millis(100), ..ShardConfig::default() };
    let server = TestServer::start(Options { shard, ..Options::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut bytes = handshake();
    bytes.extend(masked(0x81, b"close"));
    stream.write_all(&bytes).await.unwrap();
    let close = read_behind_101(&mut stream, 4).await;
    assert_eq!(close, b"\x88\x0B\x0F\xA0");
    server.until("the stream is dropped", |server| server.metrics().connections.get() == 0).await;
    server.stop().await;
}

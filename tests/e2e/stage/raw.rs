//! A client of our own that speaks either dialect as it is told, right or wrong.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{PATIENCE, TestServer};

/// Which dialect to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vsn {
    V1,
    V2,
}

/// Most of what a server must do, it must do in both.
pub(crate) const BOTH: [Vsn; 2] = [Vsn::V1, Vsn::V2];

impl Vsn {
    fn text(self) -> &'static str {
        match self {
            Self::V1 => "1.0.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// One socket.
///
/// What arrives has one shape in both dialects, `[join_ref, ref, topic, event, payload]`: version 1 has no join_ref,
/// and it is checked to have exactly the four keys that its clients know. A binary broadcast is an object of its
/// fields, and the end is `{"closed": code}`.
pub(crate) struct RawClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    vsn: Vsn,
    beats: u32,
}

impl RawClient {
    /// Opens a socket with a token that must be good.
    pub(crate) async fn connect(server: &TestServer, vsn: Vsn, token: &str) -> Self {
        let target = format!("/socket/websocket?apikey={token}&vsn={}", vsn.text());
        Self::open(server, vsn, &target, &[]).await.unwrap()
    }

    /// Asks for a socket at `target`, with these headers, and expects it to speak `vsn`.
    pub(crate) async fn open(
        server: &TestServer,
        vsn: Vsn,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        Self::open_at(server.address, vsn, target, headers).await
    }

    /// The same from whatever listens at `address`, such as a gateway.
    pub(crate) async fn open_at(
        address: SocketAddr,
        vsn: Vsn,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{address}{target}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = connect_async(request).await?;
        Ok(Self { socket, vsn, beats: 0 })
    }

    /// Sends text as it is.
    pub(crate) async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Sends a text frame of bytes that need not be text.
    pub(crate) async fn text_of_bytes(&mut self, bytes: &[u8]) {
        let frame = Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true);
        self.socket.send(Message::Frame(frame)).await.unwrap();
    }

    /// Sends bytes as they are.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    /// Sends one message with its refs.
    pub(crate) async fn push(
        &mut self,
        join_ref: Value,
        reference: Value,
        topic: &str,
        event: &str,
        payload: Value,
    ) {
        let message = match self.vsn {
            Vsn::V1 => json!({ "topic": topic, "event": event, "payload": payload, "ref": reference,
                "join_ref": join_ref }),
            Vsn::V2 => json!([join_ref, reference, topic, event, payload]),
        };
        self.text(&message.to_string()).await;
    }

    /// Sends `phx_join`, and takes the answer's payload, which must be the next frame.
    pub(crate) async fn join(&mut self, reference: &str, topic: &str, payload: Value) -> Value {
        self.push(json!(reference), json!(reference), topic, "phx_join", payload).await;
        let mut reply = self.next().await;
        assert_eq!(reply, self.reply(reference, reference, topic, reply[4].clone()), "{:?}", self.vsn);
        reply[4].take()
    }

    /// Joins with a config, and expects it to be granted.
    pub(crate) async fn joined(&mut self, reference: &str, topic: &str, config: Value) {
        let answer = self.join(reference, topic, json!({ "config": config })).await;
        assert_eq!(answer["status"], "ok", "{:?} {answer}", self.vsn);
    }

    /// Joins with these postgres_changes, and expects that they flow.
    pub(crate) async fn subscribed(&mut self, reference: &str, topic: &str, changes: Value) {
        self.joined(reference, topic, json!({ "postgres_changes": changes })).await;
        let system = self.next().await;
        assert_eq!(system[4]["message"], "Subscribed to PostgreSQL", "{:?} {system}", self.vsn);
    }

    /// A reply as it must look in this dialect.
    pub(crate) fn reply(&self, join_ref: &str, reference: &str, topic: &str, payload: Value) -> Value {
        json!([self.join_ref(join_ref), reference, topic, "phx_reply", payload])
    }

    /// A join_ref as this dialect shows it: not at all in version 1.
    pub(crate) fn join_ref(&self, join_ref: &str) -> Option<String> {
        (self.vsn == Vsn::V2).then(|| join_ref.to_owned())
    }

    /// Takes the next frame.
    pub(crate) async fn next(&mut self) -> Value {
        match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time") {
            Some(Ok(Message::Text(text))) => shape(self.vsn, serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Binary(bytes))) => broadcast(&bytes),
            Some(Ok(Message::Close(frame))) => json!({ "closed": frame.map(|frame| u16::from(frame.code)) }),
            other => panic!("{:?}: no frame but {other:?}", self.vsn),
        }
    }

    /// Answers a close, and waits until the server has let go.
    pub(crate) async fn gone(&mut self) {
        let end = async { while self.socket.next().await.is_some_and(|frame| frame.is_ok()) {} };
        tokio::time::timeout(PATIENCE, end).await.expect("an end in time");
    }

    /// Expects the next frame to be this one.
    pub(crate) async fn expect(&mut self, frame: Value) {
        assert_eq!(self.next().await, frame, "{:?}", self.vsn);
    }

    /// Takes frames up to the next one of this event.
    pub(crate) async fn until(&mut self, event: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame[3] == event {
                return frame;
            }
            assert!(frame.is_array(), "{:?}: no {event} before {frame}", self.vsn);
        }
    }

    /// Expects that nothing has come so far, and that the socket works: the next frame answers a heartbeat.
    pub(crate) async fn expect_nothing(&mut self) {
        self.beats += 1;
        let reference = format!("beat-{}", self.beats);
        self.push(Value::Null, json!(reference), "phoenix", "heartbeat", json!({})).await;
        let answer = json!([null, reference, "phoenix", "phx_reply", { "status": "ok", "response": {} }]);
        self.expect(answer).await;
    }
}

fn shape(vsn: Vsn, frame: Value) -> Value {
    match vsn {
        Vsn::V1 => {
            let keys: Vec<&String> = frame.as_object().expect("version 1 speaks objects").keys().collect();
            assert_eq!(keys, ["event", "payload", "ref", "topic"], "{frame}");
            json!([null, frame["ref"], frame["topic"], frame["event"], frame["payload"]])
        }
        Vsn::V2 => {
            let elements = frame.as_array().expect("version 2 speaks arrays");
            assert_eq!(elements.len(), 5, "{frame}");
            assert!(elements[..2].iter().all(|name| name.is_string() || name.is_null()), "{frame}");
            frame
        }
    }
}

/// A binary frame of kind 3, the way newer clients send broadcasts.
pub(crate) fn user_broadcast(
    [join_ref, reference, topic, event]: [&str; 4],
    encoding: u8,
    payload: &[u8],
) -> Vec<u8> {
    let size = |field: &str| u8::try_from(field.len()).unwrap();
    let mut frame = vec![3, size(join_ref), size(reference), size(topic), size(event), 0, encoding];
    for field in [join_ref, reference, topic, event] {
        frame.extend_from_slice(field.as_bytes());
    }
    frame.extend_from_slice(payload);
    frame
}

/// The fields of a binary frame of kind 4; the body as text, if it is.
fn broadcast(frame: &[u8]) -> Value {
    let [4, topic, event, meta, encoding, rest @ ..] = frame else { panic!("no broadcast: {frame:?}") };
    let (topic, rest) = rest.split_at(usize::from(*topic));
    let (event, rest) = rest.split_at(usize::from(*event));
    let (meta, body) = rest.split_at(usize::from(*meta));
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    json!({ "kind": 4, "topic": text(topic), "event": text(event), "meta": text(meta), "encoding": encoding,
        "body": String::from_utf8_lossy(body) })
}

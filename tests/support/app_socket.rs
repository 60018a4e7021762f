//! A client of an app's socket: JSON in text frames, each with its type.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long a frame may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client's end of a socket.
pub(crate) struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Opens one with a request that must be granted.
    pub(crate) async fn connect(address: SocketAddr, target: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}{target}")).await.unwrap();
        Self { socket }
    }

    /// Sends a frame of JSON.
    pub(crate) async fn send(&mut self, frame: Value) {
        self.text(&frame.to_string()).await;
    }

    /// Sends a text as it is.
    pub(crate) async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Sends bytes.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    /// The next frame; `{"closed": code}` is the end.
    pub(crate) async fn next(&mut self) -> Value {
        let frame = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                    Some(Ok(Message::Close(frame))) => {
                        return json!({ "closed": frame.map(|frame| u16::from(frame.code)) });
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Err(tungstenite::Error::ConnectionClosed)) | None => {
                        return json!({ "closed": null });
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        timeout(PATIENCE, frame).await.expect("a frame")
    }

    /// The next frame of this type; those before it are passed over.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        self.next_where(|frame| frame["type"] == kind).await
    }

    /// The next frame that is such; those before it are passed over.
    pub(crate) async fn next_where(&mut self, is_such: impl Fn(&Value) -> bool) -> Value {
        self.all_until(is_such).await.pop().unwrap()
    }

    /// All frames up to the first that is such, with it.
    pub(crate) async fn all_until(&mut self, is_such: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            assert!(frame.get("closed").is_none() || is_such(&frame), "closed with {frame} after {frames:?}");
            frames.push(frame);
            if frames.last().is_some_and(&is_such) {
                return frames;
            }
        }
    }

    /// Reads to the end, and gives the code of the close.
    pub(crate) async fn closed(&mut self) -> Value {
        self.next_where(|frame| frame.get("closed").is_some()).await["closed"].take()
    }
}

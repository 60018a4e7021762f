//! A client of an app's socket: JSON in text frames, each with its type. It reads all the time, as a phone's does.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long a frame may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many frames may wait for the test.
const FRAMES_MAX: usize = 100_000;

/// Who is here, as the apps say it: that comes at any time.
const PRESENCE: [&str; 3] = ["presence", "user_online", "user_offline"];

/// A client's end of a socket.
pub(crate) struct Socket {
    frames: mpsc::Receiver<Value>,
    orders: mpsc::Sender<Message>,
    task: JoinHandle<()>,
}

impl Socket {
    /// Opens one with a request that must be granted.
    pub(crate) async fn connect(address: SocketAddr, target: &str) -> Self {
        Self::ask(address, target, &[]).await.unwrap()
    }

    /// Asks for one with these headers; the status and the body of a refusal.
    pub(crate) async fn ask(
        address: SocketAddr,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, Value)> {
        let mut request = format!("ws://{address}{target}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = match connect_async(request).await {
            Ok((stream, _)) => stream,
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                return Err((response.status().as_u16(), serde_json::from_slice(body).unwrap_or_default()));
            }
            Err(error) => panic!("{error}"),
        };
        let (told, frames) = mpsc::channel(FRAMES_MAX);
        let (orders, ordered) = mpsc::channel(16);
        let task = tokio::spawn(run(stream, told, ordered));
        Ok(Self { frames, orders, task })
    }

    /// Sends a frame of JSON.
    pub(crate) async fn send(&self, frame: Value) {
        self.text(&frame.to_string()).await;
    }

    /// Sends a text as it is.
    pub(crate) async fn text(&self, text: &str) {
        self.message(Message::text(text)).await;
    }

    /// Sends bytes.
    pub(crate) async fn bytes(&self, bytes: &[u8]) {
        self.message(Message::binary(bytes.to_vec())).await;
    }

    async fn message(&self, message: Message) {
        self.orders.send(message).await.unwrap();
    }

    /// The next frame; `{"closed": code}` is the end.
    pub(crate) async fn next(&mut self) -> Value {
        let frame = timeout(PATIENCE, self.frames.recv()).await.expect("a frame in time");
        frame.unwrap_or_else(|| json!({ "closed": null }))
    }

    /// The next frame, which must be of this type, but for who is here.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next_where(|frame| !is_presence(frame)).await;
        assert_eq!(frame["type"], kind, "no {kind} but {frame}");
        frame
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

    /// All frames up to the answer to a ping, without it.
    pub(crate) async fn until_pong(&mut self) -> Vec<Value> {
        self.send(json!({ "type": "ping" })).await;
        let mut frames = self.all_until(|frame| frame["type"] == "pong").await;
        frames.pop();
        frames
    }

    /// Reads to the end, and gives the code of the close.
    pub(crate) async fn closed(&mut self) -> Value {
        self.next_where(|frame| frame.get("closed").is_some()).await["closed"].take()
    }

    /// Closes it as clients do, and gives what had come before the end.
    pub(crate) async fn close(mut self) -> Vec<Value> {
        self.message(Message::Close(None)).await;
        let mut frames = self.all_until(|frame| frame.get("closed").is_some()).await;
        frames.pop();
        frames
    }

    /// Ends it without a word, and gives what had come.
    pub(crate) async fn cut(mut self) -> Vec<Value> {
        self.task.abort();
        // It was told to.
        let _ = (&mut self.task).await;
        std::iter::from_fn(|| self.frames.try_recv().ok()).collect()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a frame says who is here.
pub(crate) fn is_presence(frame: &Value) -> bool {
    PRESENCE.iter().any(|kind| frame["type"] == *kind)
}

/// Carries frames both ways until either end has gone.
async fn run(
    mut stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    told: mpsc::Sender<Value>,
    mut ordered: mpsc::Receiver<Message>,
) {
    loop {
        let frame = tokio::select! {
            order = ordered.recv() => {
                let Some(order) = order else { return };
                match stream.send(order).await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
            frame = stream.next() => frame,
        };
        let said = match frame {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Close(frame))) => json!({ "closed": frame.map(|frame| u16::from(frame.code)) }),
            // Its pong is sent with the next write.
            Some(Ok(Message::Ping(_))) if stream.flush().await.is_ok() => continue,
            Some(Ok(Message::Pong(_))) => continue,
            _ => return,
        };
        if told.send(said).await.is_err() {
            return;
        }
    }
}

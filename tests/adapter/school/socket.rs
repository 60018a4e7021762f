//! A client of the app: a socket that reads all the time, as a phone's does.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{PATIENCE, School};

/// How many frames may wait for the test.
const FRAMES_MAX: usize = 100_000;

/// A client.
pub(super) struct Socket {
    frames: mpsc::Receiver<Value>,
    orders: mpsc::Sender<Message>,
    task: JoinHandle<()>,
}

impl Socket {
    /// Opens a socket, and expects to be connected.
    pub(super) async fn open(school: &School, token: &str) -> Self {
        let mut socket = Self::ask(school, &format!("/?token={token}"), &[]).await.unwrap();
        let first = socket.next().await;
        assert_eq!(first["type"], "connection_established", "{first}");
        socket
    }

    /// Asks for a socket; the status of a refusal.
    pub(super) async fn ask(
        school: &School,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, Value)> {
        let mut request = format!("ws://{}{target}", school.server.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let mut stream = match connect_async(request).await {
            Ok((stream, _)) => stream,
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                return Err((
                    response.status().as_u16(),
                    serde_json::from_slice(body).unwrap_or(Value::Null),
                ));
            }
            Err(error) => panic!("{error}"),
        };
        let (told, frames) = mpsc::channel(FRAMES_MAX);
        let (orders, mut ordered) = mpsc::channel::<Message>(16);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    order = ordered.recv() => match order {
                        Some(order) => if stream.send(order).await.is_err() { return },
                        None => return,
                    },
                    frame = stream.next() => match frame {
                        Some(Ok(Message::Text(text))) => {
                            if told.send(serde_json::from_str(&text).unwrap()).await.is_err() { return }
                        }
                        // Its pong is sent with the next write.
                        Some(Ok(Message::Ping(_))) => if stream.flush().await.is_err() { return },
                        Some(Ok(Message::Close(frame))) => {
                            let code = frame.map(|frame| u16::from(frame.code));
                            let _ = told.send(json!({ "closed": code })).await;
                        }
                        Some(Ok(_)) => {}
                        _ => return,
                    },
                }
            }
        });
        Ok(Self { frames, orders, task })
    }

    /// Sends an object.
    pub(super) async fn send(&self, frame: Value) {
        self.text(&frame.to_string()).await;
    }

    /// Sends a text as it is.
    pub(super) async fn text(&self, text: &str) {
        self.message(Message::text(text)).await;
    }

    /// Sends a message of any kind.
    pub(super) async fn message(&self, message: Message) {
        self.orders.send(message).await.unwrap();
    }

    /// The next frame.
    pub(super) async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(PATIENCE, self.frames.recv()).await;
        next.expect("a frame in time").expect("a socket that is open")
    }

    /// The next frame of this type, of those that are no presence.
    pub(super) async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
            assert_eq!(frame["type"], "presence", "no {kind} but {frame}");
        }
    }

    /// What has come and was not looked at.
    pub(super) fn waiting(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.frames.try_recv().ok()).collect()
    }

    /// Everything up to the answer to a ping.
    pub(super) async fn until_pong(&mut self) -> Vec<Value> {
        self.send(json!({ "type": "ping" })).await;
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["type"] == "pong" {
                return frames;
            }
            frames.push(frame);
        }
    }

    /// Closes it as clients do, and gives what had come before the end.
    pub(super) async fn close(mut self) -> Vec<Value> {
        self.message(Message::Close(None)).await;
        let mut frames = Vec::new();
        while let Some(frame) =
            tokio::time::timeout(PATIENCE, self.frames.recv()).await.expect("an end in time")
        {
            frames.push(frame);
        }
        frames.retain(|frame| frame.get("closed").is_none());
        frames
    }

    /// Ends it without a word, and gives what had come.
    pub(super) async fn cut(mut self) -> Vec<Value> {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.waiting()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

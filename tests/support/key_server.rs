//! An issuer's web server: publishes a key set, or answers as badly as it is told to.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Serves until dropped.
pub struct KeyServer {
    pub address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

type Answer = (StatusCode, HeaderMap, String);

impl KeyServer {
    /// Publishes this text on a free port.
    pub async fn start(text: String) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), text).await
    }

    /// Publishes this text there.
    pub async fn start_at(address: SocketAddr, text: String) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new((StatusCode::OK, HeaderMap::new(), text)));
        let (counter, asked) = watch::channel(0);
        let published = Arc::clone(&answer);
        let publish = get(async move || {
            let answer = published.lock().unwrap().clone();
            counter.send_modify(|count| *count += 1);
            answer
        });
        let router = Router::new().route("/keys", publish);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, answer, asked, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Publishes another text from now on.
    pub fn publish(&self, text: String) {
        *self.answer.lock().unwrap() = (StatusCode::OK, HeaderMap::new(), text);
    }

    /// Answers with this status and text from now on.
    pub fn fail(&self, status: StatusCode, text: &str) {
        *self.answer.lock().unwrap() = (status, HeaderMap::new(), text.to_owned());
    }

    /// Sends whoever asks somewhere else.
    pub fn redirect(&self, to: &str) {
        let headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_str(to).unwrap())]);
        *self.answer.lock().unwrap() = (StatusCode::FOUND, headers, String::new());
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it has been asked so often.
    pub async fn until_asked(&self, times: usize) {
        self.asked.clone().wait_for(|count| *count >= times).await.unwrap();
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

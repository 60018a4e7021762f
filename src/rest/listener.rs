//! Accepts HTTP connections.
//!
//! An own accept loop rather than axum's: a request head must arrive within a time, during which it cannot
//! hold up a shutdown either, and the streams behind upgrades must stay plain TCP streams.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What a request head may take up; more is refused with 431. A token of the longest length fits twice.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// When a silent client is asked for a sign of life, how often, and after how many without an answer its stream ends.
/// What has become a socket of a stock client has a bound of its own besides, and an app's is pinged.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVES_MAX: u32 = 3;
/// How long a client may take nothing of what is to be sent; then its stream ends, and with it what its answer holds.
const UNTAKEN_MAX: Duration = Duration::from_secs(60);
/// How long to wait when the system has no descriptor for another stream.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// HTTP connections at once; those that became sockets do not count. Further clients wait in the kernel.
    pub connections_max: usize,
    /// How long a request head may take to arrive, and a connection may wait for its next request; then it
    /// is dropped.
    pub head_timeout: Duration,
    /// How long requests may take to finish once the listener stops; then they are dropped.
    pub drain_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connections_max: 8192,
            head_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Serves `router` on `listener` until `shutdown` completes and requests have finished, or have been given up.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(false);
    let permits = Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            // Tasks report nothing; this frees what they leave.
            Some(_) = connections.join_next() => {}
            (stream, permit) = accept(&listener, &permits) => {
                connections.spawn(serve_connection(
                    stream, router.clone(), config.head_timeout, stopping.clone(), permit,
                ));
            }
        }
    }
    // New clients are refused by the kernel from here on.
    drop(listener);
    stop.send_replace(true);
    let all_done = async { while connections.join_next().await.is_some() {} };
    if timeout(config.drain_timeout, all_done).await.is_err() {
        tracing::info!(requests = connections.len(), "gave up requests that did not finish");
        connections.shutdown().await;
    }
}

/// The next stream, once there is room for it.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
            // Nobody closes the semaphore.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) if is_of_the_stream(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether an accept failed because of the one stream that was waiting.
fn is_of_the_stream(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn set_stream_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVES_MAX);
    let socket = SockRef::from(stream);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(UNTAKEN_MAX))?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = UNTAKEN_MAX;
    socket.set_tcp_keepalive(&keepalive)
}

/// Serves one HTTP connection until it ends, becomes a socket, or the listener stops.
async fn serve_connection(
    stream: TcpStream,
    router: Router,
    head_timeout: Duration,
    mut stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    // Only a stream that has ended already takes no options.
    if set_stream_options(&stream).is_err() {
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    let stopped = async {
        // An error means that the listener is gone, which is a stop as well.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let result = tokio::select! {
        result = &mut connection => result,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_client_is_asked_for_a_sign_of_life() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let permits = Arc::new(Semaphore::new(1));
        let (stream, _permit) = accept(&listener, &permits).await;
        assert!(!SockRef::from(&stream).keepalive().unwrap());
        set_stream_options(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNTAKEN_MAX));
        }
    }
}

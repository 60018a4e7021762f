//! Reading the body of a request, within bounds: of its size, of its time, and of all bodies together.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::Error;

/// How much of a body that nobody wants is read, and for how long: a client that is still sending it would miss
/// the answer if the connection were closed at once.
const DISCARDED_BYTES_MAX: usize = 16_000_000;
const DISCARD_WITHIN: Duration = Duration::from_secs(2);

/// Whether a value of `Content-Type` says that a body is JSON, or says nothing.
pub fn is_json(content_type: &HeaderValue) -> bool {
    let essence = content_type.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim();
    essence.is_empty() || essence.eq_ignore_ascii_case("application/json")
}

/// The bounds of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of one.
    pub bytes_max: usize,
    /// Bytes of all that are being read or answered. A request beyond it is answered with 503.
    pub total_bytes_max: usize,
    /// How long one may take to arrive.
    pub timeout: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes_max: 8_000_000, total_bytes_max: 256 << 20, timeout: Duration::from_secs(30) }
    }
}

/// Reads bodies, all within one bound.
#[derive(Debug)]
pub struct BodyReader {
    limits: BodyLimits,
    room: Semaphore,
}

/// A whole body. It takes up room until it is dropped.
pub(crate) struct WholeBody<'a> {
    pub(crate) bytes: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}

impl BodyReader {
    /// A reader that reads nothing yet.
    pub fn new(limits: BodyLimits) -> Self {
        Self { limits, room: Semaphore::new(limits.total_bytes_max.min(Semaphore::MAX_PERMITS)) }
    }

    /// Reads a body to its end.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<WholeBody<'_>, Error> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced
            .is_some_and(|length: u64| u64::try_from(self.limits.bytes_max).is_ok_and(|max| length > max))
        {
            discard(body).await;
            return Err(Error::TooLong(self.limits.bytes_max));
        }
        timeout(self.limits.timeout, self.collect(body)).await.unwrap_or(Err(Error::Timeout))
    }

    async fn collect(&self, body: Body) -> Result<WholeBody<'_>, Error> {
        let mut stream = body.into_data_stream();
        let (mut bytes, mut room) = (Vec::new(), None::<SemaphorePermit<'_>>);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|_| Error::Unreadable)?;
            if bytes.len() + chunk.len() > self.limits.bytes_max {
                discard(Body::from_stream(stream)).await;
                return Err(Error::TooLong(self.limits.bytes_max));
            }
            // What is taken is what has arrived: a client that announces much and sends little holds up nobody.
            let size = u32::try_from(chunk.len()).map_err(|_| Error::Busy)?;
            let more = self.room.try_acquire_many(size).map_err(|_| Error::Busy)?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(WholeBody { bytes: bytes.into(), _room: room })
    }
}

/// Reads a body that nobody wants, so that its sender gets to read the answer.
pub(super) async fn discard(body: Body) {
    let mut stream = body.into_data_stream();
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            bytes += chunk.len();
            if bytes > DISCARDED_BYTES_MAX {
                return;
            }
        }
    };
    // One that takes longer is cut off.
    let _ = timeout(DISCARD_WITHIN, read).await;
}

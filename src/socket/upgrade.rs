//! From an HTTP request to an open connection on a shard.
//!
//! In: a request on a socket path. It is checked in the order that clients of the stock server know: method,
//! `vsn`, token, then the handshake itself. Out: 101, and the raw stream on the least loaded shard; or a
//! [`Refusal`].
//!
//! Refusals for a bad token or a limit of the whole server are delayed, since clients retry at once and for ever. At most
//! [`GateConfig::refusals_waiting_max`] wait; beyond that a refusal leaves without delay, which costs less
//! than keeping its stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tungstenite::error::{Error as HandshakeError, ProtocolError};
use tungstenite::handshake::server::create_response_with_body;

use super::connection::Place;
use super::shard::ShardHandle;
use super::{Handler, Session};
use crate::auth::{TokenError, Verifier};
use crate::hub::Meters;
use crate::protocol::Dialect;
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// How long a stream may take from its 101 to its shard.
const HANDOVER_MAX: Duration = Duration::from_secs(10);

/// The bounds of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateConfig {
    /// Open connections of the whole server; further ones are refused with 503.
    pub connections_max: usize,
    /// How long a refusal for a bad token is held back.
    pub refusal_delay: Duration,
    /// How many refusals may be held back at once; further ones leave at once.
    pub refusals_waiting_max: usize,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self { connections_max: 50_000, refusal_delay: Duration::from_secs(2), refusals_waiting_max: 1024 }
    }
}

/// Lets connections in. Cheap to clone.
pub struct Gate<H: Handler<Session = Session>>(Arc<Inner<H>>);

struct Inner<H: Handler> {
    config: GateConfig,
    verifier: Arc<Verifier>,
    meters: Arc<Meters>,
    shards: Vec<ShardHandle<H>>,
    places: Arc<Semaphore>,
    refusals: Semaphore,
    /// How many streams are between their 101 and their shard.
    handovers: watch::Sender<usize>,
}

impl<H: Handler<Session = Session>> Clone for Gate<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H: Handler<Session = Session>> fmt::Debug for Gate<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// Why a request gets no socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no GET.
    #[error("the method is not GET")]
    Method,
    /// `vsn` names no dialect of ours.
    #[error("the protocol version is not supported")]
    Version,
    /// There is no token.
    #[error("the api key is missing")]
    MissingKey,
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// As many sockets have joined channels as may.
    #[error("too many connected users")]
    Users,
    /// All sockets together join too often.
    #[error("too many joins per second")]
    Joins,
    /// It asks for no WebSocket, or for another version of it.
    #[error("the request is no websocket upgrade")]
    NoUpgrade,
    /// It asks for a WebSocket in the wrong way.
    #[error("the websocket handshake is malformed")]
    Handshake,
    /// As many connections as may be are open, or the server is stopping.
    #[error("no room for another connection")]
    Full,
}

impl Refusal {
    /// Its code in the log; `None` for requests that are no attempt at a socket of ours.
    fn code(&self) -> Option<Code> {
        match self {
            Self::Method | Self::Version | Self::NoUpgrade | Self::Handshake => None,
            Self::MissingKey => Some(Code::MissingAPIKey),
            Self::Token(error) => error.join_reason().split(':').next().and_then(Code::named),
            Self::Users => Some(Code::ConnectionRateLimitReached),
            Self::Joins => Some(Code::JoinsRateLimitReached),
            Self::Full => Some(Code::TooManyConnections),
        }
    }

    /// Whether it is delayed: clients try again at once.
    fn is_held_back(&self) -> bool {
        matches!(self, Self::MissingKey | Self::Token(_) | Self::Users | Self::Joins)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let (status, text) = match &self {
            Self::Method | Self::Handshake => return StatusCode::BAD_REQUEST.into_response(),
            Self::Version => return StatusCode::FORBIDDEN.into_response(),
            Self::NoUpgrade => {
                let headers = [(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, "13")];
                return (StatusCode::UPGRADE_REQUIRED, headers).into_response();
            }
            Self::MissingKey => (StatusCode::UNAUTHORIZED, "API key is missing".to_owned()),
            Self::Token(error) => {
                let (status, text) = error.connect();
                (StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED), text)
            }
            Self::Users => (StatusCode::TOO_MANY_REQUESTS, "Too many connected users".to_owned()),
            Self::Joins => (StatusCode::TOO_MANY_REQUESTS, "Too many joins per second".to_owned()),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "Too many connections".to_owned()),
        };
        let body = serde_json::json!({ "error": text }).to_string();
        (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
    }
}

impl<H: Handler<Session = Session>> Gate<H> {
    /// A gate to these shards.
    pub fn new(
        config: GateConfig,
        verifier: Arc<Verifier>,
        meters: Arc<Meters>,
        shards: Vec<ShardHandle<H>>,
    ) -> Self {
        let bounded = |permits: usize| permits.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(bounded(config.connections_max))),
            refusals: Semaphore::new(bounded(config.refusals_waiting_max)),
            handovers: watch::Sender::new(0),
            config,
            verifier,
            meters,
            shards,
        }))
    }

    /// Lets nobody in any more; requests get 503. What follows is [`Self::handed_over`].
    pub fn shut(&self) {
        self.0.places.close();
    }

    /// Waits until no stream is between its 101 and its shard. Before that, a shard that drains could miss
    /// one.
    pub async fn handed_over(&self) {
        // An error needs the sender to be gone, and it is right here.
        let _ = self.0.handovers.subscribe().wait_for(|count| *count == 0).await;
    }

    /// The handler of the socket paths.
    pub(crate) async fn upgrade(State(gate): State<Self>, request: Request) -> Response<Body> {
        match gate.admit(request) {
            Ok(response) => response,
            Err(refusal) => {
                if let Some(code) = refusal.code() {
                    report!(info, code, "connection refused");
                }
                if refusal.is_held_back() {
                    gate.hold_back().await;
                }
                refusal.into_response()
            }
        }
    }

    async fn hold_back(&self) {
        if let Ok(_waiting) = self.0.refusals.try_acquire() {
            sleep(self.0.config.refusal_delay).await;
        }
    }

    /// Checks a request and, if it passes, begins the hand-over.
    fn admit(&self, mut request: Request) -> Result<Response<Body>, Refusal> {
        if request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let query = Parameters::read(request.uri());
        let dialect = dialect(query.vsn.as_deref()).ok_or(Refusal::Version)?;
        let session = self.session(&request, dialect, query.apikey)?;
        self.check_limits()?;
        let response = create_response_with_body(&request, Body::empty).map_err(|error| match error {
            HandshakeError::Protocol(
                ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::MissingUpgradeWebSocketHeader
                | ProtocolError::MissingSecWebSocketVersionHeader,
            ) => Refusal::NoUpgrade,
            _ => Refusal::Handshake,
        })?;
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(Refusal::NoUpgrade)?;
        let permit = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| Refusal::Full)?;
        let shard = self.0.shards.iter().min_by_key(|shard| shard.connection_count()).ok_or(Refusal::Full)?;
        let place = shard.reserve(Some(permit));
        let handover = Counted::new(self.0.handovers.clone());
        let shard = shard.clone();
        tokio::spawn(async move {
            hand_over(upgrade, &shard, place, session).await;
            drop(handover);
        });
        Ok(response)
    }

    /// Whether the server as a whole has room for one more who joins channels.
    fn check_limits(&self) -> Result<(), Refusal> {
        if self.0.meters.users.is_full() {
            return Err(Refusal::Users);
        }
        if self.0.meters.joins.is_reached() {
            return Err(Refusal::Joins);
        }
        Ok(())
    }

    fn session(
        &self,
        request: &Request,
        dialect: Dialect,
        apikey: Option<String>,
    ) -> Result<Session, Refusal> {
        // The header wins even when it is empty or wrong.
        let token = match request.headers().get("x-api-key") {
            Some(value) => text(value),
            None => apikey.ok_or(Refusal::MissingKey)?,
        };
        let claims = self.0.verifier.verify(&token, unix_seconds())?;
        let headers = request
            .headers()
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-"))
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect();
        Ok(Session { dialect, claims, token: token.into(), headers })
    }
}

/// Moves the raw stream to its shard once the 101 is written.
async fn hand_over<H: Handler>(
    upgrade: OnUpgrade,
    shard: &ShardHandle<H>,
    place: Place,
    session: H::Session,
) {
    let Some((stream, read)) = upgraded(upgrade).await else { return };
    if shard.accept_at(place, stream, read, session).await.is_err() {
        tracing::debug!("a connection came after its shard had ended");
    }
}

/// The raw stream of an upgrade, once its 101 is written, with what was read beyond the request.
pub(crate) async fn upgraded(upgrade: OnUpgrade) -> Option<(std::net::TcpStream, Vec<u8>)> {
    let upgraded = match timeout(HANDOVER_MAX, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the client left during the handshake");
            return None;
        }
        Err(_) => {
            tracing::debug!("the handshake took too long");
            return None;
        }
    };
    let parts = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => parts,
        Err(_) => {
            tracing::error!("an upgraded connection is no plain TCP stream");
            return None;
        }
    };
    match parts.io.into_inner().into_std() {
        // Copied, as the original may pin a much larger buffer.
        Ok(stream) => Some((stream, parts.read_buf.to_vec())),
        Err(error) => {
            tracing::warn!(%error, "could not take an upgraded stream from its runtime");
            None
        }
    }
}

/// Counts itself as long as it lives.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// The query parameters that matter; of repeated ones, the last.
#[derive(Default)]
struct Parameters {
    vsn: Option<String>,
    apikey: Option<String>,
}

impl Parameters {
    fn read(uri: &Uri) -> Self {
        let mut found = Self::default();
        // Anything can be read as pairs of text; an error means there is nothing to read.
        if let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) {
            for (name, value) in pairs {
                match name.as_str() {
                    "vsn" => found.vsn = Some(value),
                    "apikey" => found.apikey = Some(value),
                    _ => {}
                }
            }
        }
        found
    }
}

/// The dialect of a `vsn`: `1.0.x` or `2.0.x`, the first when absent.
fn dialect(vsn: Option<&str>) -> Option<Dialect> {
    let mut parts = vsn.unwrap_or("1.0.0").splitn(3, '.');
    let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    match (major, minor, number(patch)) {
        ("1", "0", true) => Some(Dialect::V1),
        ("2", "0", true) => Some(Dialect::V2),
        _ => None,
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::code::CONNECT_ERRORS;

    #[test]
    fn vsn_chooses_the_dialect() {
        for (vsn, expected) in [
            (None, Some(Dialect::V1)),
            (Some("1.0.0"), Some(Dialect::V1)),
            (Some("1.0.17"), Some(Dialect::V1)),
            (Some("2.0.0"), Some(Dialect::V2)),
            (Some("2.0.3"), Some(Dialect::V2)),
            (Some(""), None),
            (Some("1"), None),
            (Some("1.0"), None),
            (Some("1.1.0"), None),
            (Some("3.0.0"), None),
            (Some("1.0.0-rc"), None),
            (Some("1.0.01"), None),
            (Some("1.0.0.0"), None),
            (Some("two"), None),
        ] {
            assert_eq!(dialect(vsn), expected, "{vsn:?}");
        }
    }

    #[test]
    fn every_refusal_is_on_the_list() {
        for refusal in [
            Refusal::Method,
            Refusal::Version,
            Refusal::MissingKey,
            Refusal::Token(TokenError::Malformed),
            Refusal::Token(TokenError::Signature),
            Refusal::Token(TokenError::Signer { key_id: None }),
            Refusal::Token(TokenError::Expired { seconds: 1 }),
            Refusal::Token(TokenError::InvalidExpiration),
            Refusal::Token(TokenError::RoleNotAllowed { role: "x".to_owned() }),
            Refusal::Users,
            Refusal::Joins,
            Refusal::NoUpgrade,
            Refusal::Handshake,
            Refusal::Full,
        ] {
            let code = refusal.code();
            let status = refusal.into_response().status().as_u16();
            let listed = CONNECT_ERRORS.iter().any(|error| (error.status, error.code) == (status, code));
            assert!(listed, "{status} {code:?}");
        }
    }

    #[test]
    fn the_last_of_repeated_parameters_counts() {
        let uri = "/socket/websocket?apikey=a&vsn=1.0.0&other=x&apikey=b%2Bc&vsn=2.0.0".parse().unwrap();
        let found = Parameters::read(&uri);
        assert_eq!((found.vsn.as_deref(), found.apikey.as_deref()), (Some("2.0.0"), Some("b+c")));
        let found = Parameters::read(&"/socket/websocket".parse().unwrap());
        assert_eq!((found.vsn, found.apikey), (None, None));
    }
}

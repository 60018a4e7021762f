//! One socket's life.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde_json::{Map, Value};
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep, timeout};

use super::limits::Rate;
use super::wire::{Arrived, Wire};
use super::{Frames, Job, Opening, Protocol, SocketApp};
use crate::adapter::live::{End, Signal, Subscription};
use crate::adapter::{Error, Services, request};
use crate::postgres::messaging::Seat;
use crate::protocol::code::{
    CLOSE_BEHIND, CLOSE_IDLE, CLOSE_INTERRUPTED, CLOSE_NOT_LIVE, CLOSE_RESTART, CLOSE_TOKEN, CloseCode,
};
use crate::protocol::frame::{ping_frame, text_frame};
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::report::report;

/// How long what an app does after a socket's end may take.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// The longest that a timer is set for; a token may last for years.
const LOOK_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How soon a token is looked at again that is still good when it was to expire.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The frame that says that a device lives, not that a person does anything.
const PING: &str = "ping";

/// Why a socket ends.
enum Ended {
    /// The client closes it.
    Client,
    /// The client is gone.
    Gone,
    /// We close it.
    Close(CloseCode),
}

/// Serves a socket until it ends.
pub(super) async fn run<P: Protocol>(
    services: &Arc<Services>,
    app: &SocketApp,
    wire: Wire,
    opening: Opening,
    mut protocol: P,
) {
    let (mut subscription, wire) = match subscribe(services, app, &opening).await {
        Ok(subscription) => (subscription, wire),
        Err(close) => {
            let remedy = "see the lines before this one; `rowcast migrate --with messaging` makes what sockets of apps need";
            report!(
                warn,
                close.name,
                app = app.name,
                close = close.code,
                remedy,
                "changes do not reach an app's socket"
            );
            return wire.close(Some(close)).await;
        }
    };
    let now = Instant::now();
    let mut socket = Socket {
        services,
        app,
        seat: services.people.enter(opening.asker.person),
        opening,
        wire,
        rate: Rate::new(app.limits.frames_per_second_max, now),
        heard_at: now,
        out: Frames::default(),
    };
    let ended = socket.serve(&mut protocol, &mut subscription).await;
    let Socket { wire, seat, .. } = socket;
    // Nobody is here any more while the stream ends.
    drop((subscription, seat));
    let close = async {
        match ended {
            Ended::Client => wire.close(None).await,
            Ended::Gone => {}
            Ended::Close(close) => {
                report!(info, close.name, app = app.name, close = close.code, "socket of an app closed");
                wire.close(Some(close)).await;
            }
        }
    };
    let closed = async {
        if let Some(closed) = protocol.closed() {
            // What takes longer is left out.
            let _ = timeout(CLOSED_WITHIN, closed).await;
        }
    };
    tokio::join!(closed, close);
}

/// Subscribes a socket, and waits until it is live.
async fn subscribe(
    services: &Services,
    app: &SocketApp,
    opening: &Opening,
) -> Result<Subscription, CloseCode> {
    let claims = Arc::clone(&opening.asker.caller.claims);
    let live = async {
        let opened = services.live.open(app.name, claims, app.tables).await;
        let mut subscription = opened.map_err(|_| CLOSE_RESTART)?;
        // The first word is that it is live.
        subscription.next().await.map_err(close_of)?;
        Ok(subscription)
    };
    timeout(app.limits.live_within, live).await.unwrap_or(Err(CLOSE_NOT_LIVE))
}

fn close_of(end: End) -> CloseCode {
    match end {
        End::Behind => CLOSE_BEHIND,
        End::Refused => CLOSE_NOT_LIVE,
        End::Interrupted => CLOSE_INTERRUPTED,
        End::Restart => CLOSE_RESTART,
    }
}

/// One socket that is live.
struct Socket<'a> {
    services: &'a Arc<Services>,
    app: &'a SocketApp,
    opening: Opening,
    seat: Seat,
    wire: Wire,
    rate: Rate,
    heard_at: Instant,
    out: Frames,
}

impl Socket<'_> {
    async fn serve<P: Protocol>(&mut self, protocol: &mut P, subscription: &mut Subscription) -> Ended {
        let mut job = protocol.opened(&mut self.out);
        let mut pings = self.pings();
        let mut expiry = Box::pin(sleep(self.token_lasts()));
        loop {
            if let Err(ended) = self.flush().await {
                return ended;
            }
            tokio::select! {
                signal = subscription.next() => self.signal(protocol, signal),
                done = wait_for(&mut job) => {
                    job = protocol.done(done, &mut self.out);
                    // Nothing was read meanwhile.
                    self.heard_at = Instant::now();
                }
                arrived = self.wire.read(), if job.is_none() => {
                    match self.arrived(protocol, arrived).await {
                        Ok(next) => job = next,
                        Err(ended) => return ended,
                    }
                }
                () = &mut expiry => {
                    if self.is_token_good() {
                        expiry.set(sleep(self.token_lasts().max(LOOK_AGAIN)));
                    } else {
                        self.out.close(CLOSE_TOKEN);
                    }
                }
                _ = pings.tick() => {
                    if let Err(ended) = self.look(protocol.heartbeat(), job.is_some()).await {
                        return ended;
                    }
                }
            }
        }
    }

    fn signal<P: Protocol>(&mut self, protocol: &mut P, signal: Result<Signal, End>) {
        match signal {
            Ok(Signal::Live) => {}
            Ok(Signal::Events(events)) => {
                for event in &events {
                    protocol.event(event, &mut self.out);
                }
            }
            Err(end) => {
                if end == End::Interrupted {
                    protocol.interrupted(&mut self.out);
                }
                self.out.close(close_of(end));
            }
        }
    }

    /// Looks whether the client is there and may be, and asks it for a sign of life.
    async fn look(&mut self, heartbeat: Vec<u8>, is_busy: bool) -> Result<(), Ended> {
        // While it is busy nothing is read.
        if !is_busy && self.heard_at.elapsed() >= self.app.limits.idle_timeout {
            return Err(Ended::Close(CLOSE_IDLE));
        }
        // Its key may be one no more.
        if !self.is_token_good() {
            return Err(Ended::Close(CLOSE_TOKEN));
        }
        self.wire.write(&ping_frame(&heartbeat)).await.map_err(|_| Ended::Gone)
    }

    fn pings(&self) -> Interval {
        let every = self.app.limits.ping_every;
        let mut pings = interval_at((Instant::now() + every).into(), every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings
    }

    fn token_lasts(&self) -> Duration {
        let seconds = self.opening.asker.caller.claims.expires_at.saturating_sub(unix_seconds());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LOOK_AFTER_MAX)
    }

    fn is_token_good(&self) -> bool {
        self.services.verifier.verify(&self.opening.token, unix_seconds()).is_ok()
    }

    /// Writes what there is to send, in one go.
    async fn flush(&mut self) -> Result<(), Ended> {
        let Frames { texts, ping, delivered, close } = std::mem::take(&mut self.out);
        if !texts.is_empty() || ping.is_some() {
            let mut bytes = BytesMut::new();
            texts.iter().for_each(|text| bytes.extend_from_slice(&text_frame(text.as_bytes())));
            ping.iter().for_each(|payload| bytes.extend_from_slice(&ping_frame(payload)));
            self.wire.write(&bytes).await.map_err(|_| Ended::Gone)?;
        }
        for message_id in delivered {
            self.services.deliveries.note(message_id, self.opening.asker.person);
        }
        close.map_or(Ok(()), |close| Err(Ended::Close(close)))
    }

    async fn arrived<P: Protocol>(
        &mut self,
        protocol: &mut P,
        arrived: Arrived,
    ) -> Result<Option<Job<P::Done>>, Ended> {
        self.heard_at = Instant::now();
        let frame = match arrived {
            Arrived::Text(text) => self.read(&text),
            Arrived::Binary => self.admit().and(Err(Error::NotText)),
            Arrived::Ping(payload) => {
                return self.wire.pong(&payload).await.map(|()| None).map_err(|_| Ended::Gone);
            }
            Arrived::Pong(payload) => return Ok(protocol.pong(&payload, &mut self.out)),
            Arrived::Closed => return Err(Ended::Client),
            Arrived::Gone => return Err(Ended::Gone),
            Arrived::Violation(violation) => return Err(Ended::Close(violation.close())),
        };
        Ok(match frame {
            Ok((kind, fields)) => {
                if kind != PING {
                    self.seat.active();
                }
                protocol.frame(&kind, fields, &mut self.out)
            }
            Err(error) => {
                report!(debug, error.code(), app = self.app.name, "frame of an app refused");
                protocol.error(&error, &mut self.out);
                None
            }
        })
    }

    /// Counts a frame.
    fn admit(&mut self) -> Result<(), Error> {
        self.rate.take(self.heard_at).map_err(|retry_after| Error::RateLimited { retry_after })
    }

    /// What a frame says: its type, and its other fields.
    fn read(&mut self, text: &str) -> Result<(String, Map<String, Value>), Error> {
        self.admit()?;
        let bytes_max = self.app.limits.frame_bytes_max;
        if text.len() > bytes_max {
            return Err(Error::TooLarge(bytes_max));
        }
        let mut fields = request::object(text)?;
        match fields.remove("type") {
            Some(Value::String(kind)) => Ok((kind, fields)),
            _ => Err(Error::NotAnObject),
        }
    }
}

/// Waits for a job, for ever where there is none. It is taken away once it is done.
async fn wait_for<D>(job: &mut Option<Job<D>>) -> D {
    match job {
        Some(running) => {
            let done = running.await;
            *job = None;
            done
        }
        None => std::future::pending().await,
    }
}

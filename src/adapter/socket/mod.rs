//! A socket of an app, from its request to its close: what all socket apps have in common.
//!
//! In: frames of a client and live events. Out: frames. What they mean is the app's [`Protocol`], which never waits:
//! a frame that needs Postgres gives a [`Job`], and events go on meanwhile. The next frame is read once the job is done,
//! so that frames of one socket take effect in their order, and a client that sends faster is slowed down by TCP.
//!
//! **Invariants:** a socket says that it is connected only once every commit from then on reaches it; its frames are
//! bounded in size, depth and rate; it ends with its token; it ends rather than miss an event.

mod limits;
mod places;
mod run;
mod upgrade;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use limits::Limits;
pub use places::Sockets;
pub use upgrade::{Opening, token, upgrade};

use super::conversation::{self, Event, Table};
use super::{Error, Services};
use crate::postgres::rpc::Caller;
use crate::protocol::code::CloseCode;
use crate::telemetry::report::report;

/// What a socket waits for, mostly a call.
pub type Job<D> = Pin<Box<dyn Future<Output = D> + Send>>;

/// What an app's sockets are.
#[derive(Debug)]
pub struct SocketApp {
    /// The app's name.
    pub name: &'static str,
    /// Whose changes its sockets hear of.
    pub tables: &'static [Table],
    /// What its sockets are held to.
    pub limits: Limits,
}

/// A conversation with one socket: what an app makes of frames and events.
///
/// No call may block. A socket has one job at a time.
pub trait Protocol: Send + 'static {
    /// What a job gives.
    type Done: Send + 'static;

    /// The socket is subscribed: every commit from now on is an event. Called once, before anything else.
    fn opened(&mut self, out: &mut Frames) -> Option<Job<Self::Done>>;

    /// A frame has come: a JSON object whose `type` is `kind`, and its other fields.
    fn frame(&mut self, kind: &str, fields: Map<String, Value>, out: &mut Frames) -> Option<Job<Self::Done>>;

    /// The job is done. Another one may follow.
    fn done(&mut self, done: Self::Done, out: &mut Frames) -> Option<Job<Self::Done>>;

    /// Something has happened. Events come while a job is under way, too.
    fn event(&mut self, event: &Arc<Event>, out: &mut Frames);

    /// The pong to one of [`Frames::ping`] has come, or one that nobody has asked for.
    fn pong(&mut self, _payload: &[u8], _out: &mut Frames) -> Option<Job<Self::Done>> {
        None
    }

    /// What a ping holds that only asks for a sign of life. Of several pings a client may answer the last alone.
    fn heartbeat(&self) -> Vec<u8> {
        Vec::new()
    }

    /// A frame was refused, or could not be read.
    fn error(&mut self, error: &Error, out: &mut Frames);

    /// Live events have been interrupted; the socket is closed after what is sent here.
    fn interrupted(&mut self, out: &mut Frames);

    /// The socket has ended. What is given here is waited for, but not for long.
    fn closed(&mut self) -> Option<Job<()>> {
        None
    }
}

/// What is to be sent to a socket, in order.
#[derive(Debug, Default)]
pub struct Frames {
    texts: Vec<String>,
    /// What the ping behind them holds.
    ping: Option<Vec<u8>>,
    /// Messages of others among them.
    delivered: Vec<Uuid>,
    close: Option<CloseCode>,
}

impl Frames {
    /// Sends a frame of JSON.
    pub fn send(&mut self, frame: &impl Serialize) {
        // All that can go wrong is a key that is no text, and ours are.
        self.texts.extend(serde_json::to_string(frame));
    }

    /// Sends a ping after all that is sent: its pong says that the client has it. Of several the last counts.
    pub fn ping(&mut self, payload: &[u8]) {
        self.ping = Some(payload.to_owned());
    }

    /// What was sent holds this message, which somebody else than the socket's person has sent.
    pub fn delivered(&mut self, message_id: Uuid) {
        self.delivered.push(message_id);
    }

    /// Closes the socket after what was sent.
    pub fn close(&mut self, close: CloseCode) {
        self.close = self.close.or(Some(close));
    }

    /// Takes what was sent, as JSON: how an app's tests read it.
    pub fn take(&mut self) -> Vec<Value> {
        self.texts.drain(..).filter_map(|text| serde_json::from_str(&text).ok()).collect()
    }
}

/// A job that calls a function of the messaging schema, and hands its result on.
pub fn call<D: Send + 'static>(
    services: &Arc<Services>,
    caller: &Caller,
    name: &'static str,
    arguments: Value,
    done: impl FnOnce(Result<Value, Error>) -> D + Send + 'static,
) -> Job<D> {
    let (services, caller) = (Arc::clone(services), caller.clone());
    Box::pin(async move { done(services.call(&caller, name, arguments).await) })
}

/// A job that finds out who is there of those whom the caller talks to; nobody, if that cannot be found out.
pub fn who_is_there<D: Send + 'static>(
    services: &Arc<Services>,
    caller: &Caller,
    app: &'static SocketApp,
    done: impl FnOnce(Vec<Event>) -> D + Send + 'static,
) -> Job<D> {
    call(services, caller, "list_presence", Value::Null, move |listed| {
        let present = listed.and_then(|rows| conversation::who_is_there(rows).map_err(|_| Error::NotSetUp));
        done(present.unwrap_or_else(|error| {
            report!(debug, error.code(), app = app.name, "who is there could not be found out");
            Vec::new()
        }))
    })
}

#[cfg(test)]
mod tests;

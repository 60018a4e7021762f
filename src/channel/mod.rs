//! One joined topic on one socket, as a state machine: a client's message in, what to do about it out.
//!
//! In: a granted [`JoinRequest`], then events with their payloads and `now`.
//! Out: an [`Effect`] for each, which the hub carries out.
//!
//! **Invariant:** no I/O, no clock, no randomness, and no dialect. A channel never learns who else is in its room.

pub mod access;
pub mod broadcast;
pub mod held;
pub mod join;
pub mod presence;
pub mod push;
pub mod topic;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use access::{Access, Permission};

pub use access::Rights;
pub use broadcast::{Body, Broadcast};
pub use held::{Held, HeldMessage, HeldPayload};
pub use join::{JoinLimits, JoinRequest, ReplayRequest};
pub use presence::{PhxRef, Presence, Tracked};
pub use push::{Closing, Effect, MessageRef, Payload, Refusal, Reply, Token, Unanswered};
pub use topic::{Topic, TopicError};

use crate::policy::Claims;

/// What one channel may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest broadcast payload, in bytes. Longer ones are not sent on.
    pub payload_bytes_max: usize,
    /// The longest tracked payload, in bytes of JSON. A longer one closes the channel.
    pub presence_bytes_max: usize,
    /// How many presence messages fit in a window. One more closes the channel.
    pub presence_calls_max: u32,
    /// The window, which opens with the first presence message and again with the first one after it.
    pub presence_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes_max: 3_000_500,
            presence_bytes_max: 3_000_500,
            presence_calls_max: 5,
            presence_window: Duration::from_secs(30),
        }
    }
}

/// Whether a value in a token's place is an API key, which says nothing about its holder.
fn is_opaque_key(token: &str) -> bool {
    token.starts_with("sb_")
}

/// One joined topic.
pub struct Channel {
    topic: Topic,
    join_ref: MessageRef<'static>,
    push_ref: MessageRef<'static>,
    token: Arc<str>,
    claims: Arc<Claims>,
    /// `None` for a public channel, which may do everything.
    access: Option<Access>,
    broadcast_self: bool,
    broadcast_ack: bool,
    presence_key: Arc<str>,
    presence: Option<Tracked>,
    presence_window: Option<(Instant, u32)>,
}

/// What a channel starts from, beside the client's request.
pub struct Grant<'a> {
    /// The topic.
    pub topic: Topic,
    /// The join's `join_ref`.
    pub join_ref: &'a MessageRef<'a>,
    /// The join's `ref`.
    pub reference: &'a MessageRef<'a>,
    /// The token the channel lives by, checked.
    pub token: Arc<str>,
    /// Its body.
    pub claims: Arc<Claims>,
    /// The presence key, the client's or a generated one.
    pub presence_key: Arc<str>,
    /// What a private channel may read; `None` for a public one.
    pub read: Option<Rights>,
    /// Whether the channel takes part in presence from the join on.
    pub takes_presence: bool,
}

impl Channel {
    /// A channel whose join has been granted.
    pub fn new(grant: Grant<'_>, request: &JoinRequest) -> Self {
        let push_ref = if grant.join_ref.is_null() { grant.reference } else { grant.join_ref };
        Self {
            topic: grant.topic,
            push_ref: push_ref.to_static(),
            join_ref: grant.join_ref.to_static(),
            token: grant.token,
            claims: grant.claims,
            access: grant.read.map(|read| Access::new(read, grant.takes_presence)),
            broadcast_self: request.broadcast_self,
            broadcast_ack: request.broadcast_ack,
            presence_key: grant.presence_key,
            presence: None,
            presence_window: None,
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether it is in the private room of its topic.
    pub fn is_private(&self) -> bool {
        self.access.is_some()
    }

    /// What it gets: broadcasts, presence diffs. A public channel gets both.
    pub fn reads(&self) -> Rights {
        let all = Rights { broadcast: true, presence: true };
        self.access.as_ref().map_or(all, Access::reads)
    }

    /// Takes what policies let a private channel read now. Answers what it has gained, or why it must end.
    pub fn review(&mut self, read: Rights) -> Result<Rights, Closing> {
        match &mut self.access {
            Some(access) => access.review(read, self.topic.sub()),
            None => Ok(Rights::default()),
        }
    }

    /// Takes what policies let a private channel send; `None` forgets it, so that the next message asks.
    pub fn set_write(&mut self, write: Option<Rights>) {
        if let Some(access) = &mut self.access {
            access.set_write(write);
        }
    }

    /// Takes what policies let a private channel send at least; a message that needs more asks.
    pub fn grant_write(&mut self, write: Rights) {
        if let Some(access) = &mut self.access {
            access.grant_write(write);
        }
    }

    /// Whether a private channel that may read this goes on as before.
    pub fn is_kept_by(&self, read: Rights) -> bool {
        self.access.as_ref().is_none_or(|access| access.is_kept_by(read))
    }

    /// Whether messages wait for the answer to what the channel may send.
    pub fn awaits_write(&self) -> bool {
        self.access.as_ref().is_some_and(Access::is_write_asked)
    }

    /// What closes it: the join's `join_ref`.
    pub fn join_ref(&self) -> &MessageRef<'static> {
        &self.join_ref
    }

    /// What its replies and own pushes carry: the join's `join_ref`, or its `ref` where that was null.
    pub fn push_ref(&self) -> &MessageRef<'static> {
        &self.push_ref
    }

    /// The token it lives by.
    pub fn token(&self) -> &Arc<str> {
        &self.token
    }

    /// The body of that token.
    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// The key it is tracked under.
    pub fn presence_key(&self) -> &Arc<str> {
        &self.presence_key
    }

    /// What it tracks; `None` for nothing.
    pub fn presence_payload(&self) -> Option<&Tracked> {
        self.presence.as_ref()
    }

    /// Whether a `phx_leave` with this `join_ref` means this channel.
    ///
    /// Some clients send none, and mean the one they have. Another one is a leave that was overtaken by a
    /// second join, which must not end that join.
    pub fn is_left_by(&self, join_ref: &MessageRef<'_>) -> bool {
        join_ref.is_null() || *join_ref == self.join_ref
    }

    /// Takes an event other than join and leave, whatever `join_ref` it came with.
    pub fn receive<'a>(
        &mut self,
        event: &str,
        payload: Payload<'a>,
        now: Instant,
        limits: &Limits,
    ) -> Effect<'a> {
        match event {
            "broadcast" => self.broadcast(payload, limits),
            "presence" => self.presence(payload, now, limits),
            "access_token" => self.access_token(payload),
            _ => Effect::Unknown,
        }
    }

    /// Puts a checked token in the place of the present one.
    pub fn refresh(&mut self, token: Arc<str>, claims: Arc<Claims>) {
        self.token = token;
        self.claims = claims;
    }

    fn broadcast<'a>(&mut self, payload: Payload<'a>, limits: &Limits) -> Effect<'a> {
        let message = match payload {
            // Receivers break on anything but an object, so a sender's mistake stays the sender's.
            Payload::Json(json) if !json.get().starts_with('{') => {
                return self.acknowledge(Reply::Refused("Broadcast payload must be a map".into()));
            }
            Payload::Json(json) => Broadcast::Text(Cow::Borrowed(json.get())),
            Payload::Bytes(bytes) => Broadcast::Bytes(Cow::Borrowed(bytes)),
            Payload::UserJson { event, body } => Broadcast::User {
                event: Cow::Borrowed(event),
                body: Body::Json(Cow::Borrowed(body)),
                meta: None,
            },
            Payload::UserBytes { event, body } => Broadcast::User {
                event: Cow::Borrowed(event),
                body: Body::Bytes(Cow::Borrowed(body)),
                meta: None,
            },
        };
        if message.payload_bytes() > limits.payload_bytes_max {
            return self.acknowledge(Reply::PayloadTooLarge);
        }
        match self.may_write(|rights| rights.broadcast) {
            Permission::Granted => {}
            Permission::Denied => return Effect::Deny,
            Permission::Unknown => return self.hold(),
        }
        Effect::Broadcast { message, to_self: self.broadcast_self, acknowledge: self.broadcast_ack }
    }

    fn may_write(&self, right: impl Fn(Rights) -> bool) -> Permission {
        self.access.as_ref().map_or(Permission::Granted, |access| access.may_write(right))
    }

    /// Has the message wait for what the channel may send.
    fn hold(&mut self) -> Effect<'static> {
        if let Some(access) = &mut self.access {
            access.ask_write();
        }
        Effect::Hold
    }

    fn acknowledge(&self, reply: Reply) -> Effect<'static> {
        if self.broadcast_ack { Effect::Reply(reply) } else { Effect::Ignore }
    }

    fn presence(&mut self, payload: Payload<'_>, now: Instant, limits: &Limits) -> Effect<'static> {
        let Payload::Json(json) = payload else { return Effect::Reply(Reply::Error) };
        // What is no object has no event either.
        let message: PresenceMessage<'_> = object(json);
        let Some(event) = message.event else { return Effect::Reply(Reply::Ok) };
        let event: Cow<'_, str> = serde_json::from_str(event.get()).unwrap_or_default();
        let tracks = event.eq_ignore_ascii_case("track");
        let permission = if tracks { self.may_write(|rights| rights.presence) } else { Permission::Granted };
        // Whatever comes after a message that waits, waits behind it.
        if permission == Permission::Unknown || self.awaits_write() {
            return self.hold();
        }
        if !self.presence_call_fits(now, limits) {
            return Effect::Close(Closing::PresenceWindow);
        }
        if tracks && permission == Permission::Denied {
            Effect::Reply(Reply::Error)
        } else if tracks {
            self.track(message.payload, limits)
        } else if event.eq_ignore_ascii_case("untrack") {
            match self.presence.take() {
                Some(_) => Effect::Presence,
                None => Effect::Reply(Reply::Ok),
            }
        } else {
            Effect::Reply(Reply::Error)
        }
    }

    fn track(&mut self, payload: Option<&RawValue>, limits: &Limits) -> Effect<'static> {
        let Some(tracked) = payload.map_or_else(|| Some(Tracked::empty()), Tracked::new) else {
            return Effect::Reply(Reply::Refused("Presence track payload must be a map".into()));
        };
        if self.presence.as_ref() == Some(&tracked) {
            return Effect::Reply(Reply::Ok);
        }
        if tracked.bytes() > limits.presence_bytes_max {
            return Effect::Close(Closing::PresenceTooLarge);
        }
        self.presence = Some(tracked);
        if let Some(access) = &mut self.access {
            access.take_presence();
        }
        Effect::Presence
    }

    fn presence_call_fits(&mut self, now: Instant, limits: &Limits) -> bool {
        match &mut self.presence_window {
            Some((opened, calls)) if now.saturating_duration_since(*opened) < limits.presence_window => {
                *calls = calls.saturating_add(1);
                *calls <= limits.presence_calls_max
            }
            window => {
                *window = Some((now, 1));
                limits.presence_calls_max > 0
            }
        }
    }

    fn access_token(&self, payload: Payload<'_>) -> Effect<'static> {
        let Payload::Json(json) = payload else { return Effect::Ignore };
        let message: TokenMessage<'_> = object(json);
        let token = message.access_token.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        match token {
            Some(token) if *token != *self.token && !is_opaque_key(&token) => Effect::Verify(Token(token)),
            _ => Effect::Ignore,
        }
    }
}

/// Payloads and tokens never reach a log.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("topic", &self.topic)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
struct PresenceMessage<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    event: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct TokenMessage<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    access_token: Option<&'a RawValue>,
}

/// Reads an object; anything else is one without keys. Left to itself, serde takes an array for an object whose keys
/// it has in order.
fn object<'a, T: Default + Deserialize<'a>>(json: &'a RawValue) -> T {
    if json.get().starts_with('{') {
        serde_json::from_str(json.get()).unwrap_or_default()
    } else {
        T::default()
    }
}

/// A key that is there with `null` is there: a plain `Option` would not tell.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests;

//! Scripts of private channels: what waits for policies and what does not, and what each answer leads to.

mod join;
mod judged;
mod replay;
mod review;
mod send;

use std::time::Duration;

use rowcast::hub::Config;
use serde_json::{Value, json};

use super::script::{Client, Server};

pub(crate) const ROOM: &str = "realtime:room";
pub(crate) const NO_FRAMES: [Value; 0] = [];

pub(crate) fn reply(join_ref: &str, reference: &str, status: &str, response: Value) -> Value {
    json!([join_ref, reference, ROOM, "phx_reply", {"status": status, "response": response}])
}

pub(crate) fn ok(join_ref: &str, reference: &str) -> Value {
    reply(join_ref, reference, "ok", json!({}))
}

pub(crate) fn joined(join_ref: &str) -> Value {
    reply(join_ref, join_ref, "ok", json!({"postgres_changes": []}))
}

pub(crate) fn refused(join_ref: &str, reason: &str) -> Value {
    reply(join_ref, join_ref, "error", json!({ "reason": reason }))
}

pub(crate) fn closed(join_ref: &str) -> Value {
    json!([join_ref, join_ref, ROOM, "phx_close", {}])
}

pub(crate) fn system(join_ref: &str, message: &str) -> Value {
    json!([join_ref, null, ROOM, "system",
        {"extension": "system", "status": "error", "message": message, "channel": "room"}])
}

pub(crate) fn message(number: u32) -> Value {
    json!({"type": "broadcast", "event": "e", "payload": {"n": number}})
}

pub(crate) fn broadcast(number: u32) -> Value {
    json!([null, null, ROOM, "broadcast", message(number)])
}

pub(crate) fn track(number: u32) -> Value {
    json!({"type": "presence", "event": "track", "payload": {"n": number}})
}

/// A join's config, made private.
pub(crate) fn private(mut config: Value) -> Value {
    config["private"] = json!(true);
    json!({ "config": config })
}

pub(crate) fn ask_to_join(server: &mut Server, client: Client, join_ref: &str, config: Value) {
    server.push(client, join_ref, join_ref, ROOM, "phx_join", private(config));
}

/// Joins and answers what it may read.
pub(crate) fn join(server: &mut Server, client: Client, join_ref: &str, config: Value, read: (bool, bool)) {
    ask_to_join(server, client, join_ref, config);
    server.grant(read.0, read.1);
    assert_eq!(server.frames(client)[0], joined(join_ref));
}

pub(crate) fn send(server: &mut Server, client: Client, reference: &str, number: u32) {
    server.push(client, "1", reference, ROOM, "broadcast", message(number));
}

pub(crate) fn refresh(server: &mut Server, client: Client, token: &str) {
    server.push(client, "1", "9", ROOM, "access_token", json!({ "access_token": token }));
}

pub(crate) fn heartbeat(server: &mut Server, client: Client) {
    server.push(client, "x", "beat", "phoenix", "heartbeat", json!({}));
    let expected = json!([null, "beat", "phoenix", "phx_reply", {"status": "ok", "response": {}}]);
    assert_eq!(server.frames(client), [expected]);
}

pub(crate) fn presence() -> Value {
    json!({"presence": {"enabled": true, "key": "me"}})
}

pub(crate) fn no_delay() -> Config {
    Config { refusal_delay: Duration::ZERO, ..Config::default() }
}

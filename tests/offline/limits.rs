//! What the whole server is held to: counted as the stock server counts, and with the same consequence.

use std::time::Duration;

use rowcast::hub::{Config, ServerLimits};
use rowcast::protocol::Dialect::{V1, V2};
use serde_json::{Value, json};

use super::script::{Client, Server};

const ROOM: &str = "realtime:room";
const NONE: ServerLimits = ServerLimits::NONE;

fn refused(join_ref: &str, reason: &str) -> Value {
    json!([join_ref, join_ref, ROOM, "phx_reply", {"status": "error", "response": {"reason": reason}}])
}

fn ended(join_ref: &str, message: &str) -> [Value; 2] {
    let system = json!({"extension": "system", "status": "error", "message": message, "channel": "room"});
    [json!([join_ref, null, ROOM, "system", system]), json!([join_ref, join_ref, ROOM, "phx_close", {}])]
}

fn limited(shards: u16, limits: ServerLimits) -> Server {
    let config = Config { refusal_delay: Duration::ZERO, ..Config::default() };
    Server::limited(shards, config, limits)
}

fn broadcast(server: &mut Server, client: Client, number: u32) {
    let payload = json!({"type": "broadcast", "event": "e", "payload": {"n": number}});
    server.push(client, "1", "9", ROOM, "broadcast", payload);
}

fn track(server: &mut Server, client: Client, number: u32) {
    let payload = json!({"type": "presence", "event": "track", "payload": {"n": number}});
    server.push(client, "1", "9", ROOM, "presence", payload);
}

fn join(server: &mut Server, client: Client, join_ref: &str) -> Vec<Value> {
    server.push(client, join_ref, join_ref, ROOM, "phx_join", json!({"config": {}}));
    server.frames(client)
}

// Counting.

#[test]
fn five_broadcasts_to_two_who_hear_themselves_are_fifteen_events() {
    for shards in [1, 2] {
        let mut server = limited(shards, NONE);
        let clients = [server.connect(0, 0, V2), server.connect(shards - 1, 1, V1)];
        let hears_itself = json!({"broadcast": {"self": true}});
        clients.iter().for_each(|client| server.join(*client, "1", "room", hears_itself.clone()));
        (0..5).for_each(|number| broadcast(&mut server, clients[0], number));
        assert_eq!(server.meters.events.total(), 15, "{shards} shards");
        assert_eq!(server.meters.joins.total(), 2);
    }
}

#[test]
fn two_who_are_present_are_seven_presence_events() {
    for shards in [1, 2] {
        let mut server = limited(shards, NONE);
        let clients = [server.connect(0, 0, V2), server.connect(shards - 1, 1, V1)];
        for client in clients {
            server.join(client, "1", "room", json!({"presence": {"enabled": true}}));
            track(&mut server, client, 1);
        }
        assert_eq!(server.meters.presence_events.total(), 7, "{shards} shards");
        assert_eq!(server.meters.events.total(), 0);
    }
}

#[test]
fn what_nobody_knows_is_an_event_and_what_is_not_accepted_is_none() {
    let mut server = limited(1, NONE);
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "room", json!({}));
    server.push(client, "1", "2", ROOM, "no_such_event", json!({}));
    assert_eq!(server.meters.events.total(), 1);
    server.push(client, "1", "3", ROOM, "broadcast", json!("no object"));
    server.push(client, "1", "4", ROOM, "access_token", json!({}));
    assert_eq!(server.meters.events.total(), 1);
    // Nobody hears it, but it was accepted.
    broadcast(&mut server, client, 1);
    assert_eq!(server.meters.events.total(), 2);
}

#[test]
fn joins_are_counted_when_tried_and_not_when_refused_by_a_limit() {
    let mut server = limited(1, ServerLimits { concurrent_users_max: 1, ..NONE });
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    server.join(client, "1", "room", json!({}));
    server.push(client, "2", "2", ROOM, "phx_join", json!({"config": {}, "access_token": "<token:expired>"}));
    assert_eq!(server.meters.joins.total(), 2, "whatever comes of the token");
    join(&mut server, other, "1");
    assert_eq!(server.meters.joins.total(), 2);
}

// Users.

#[test]
fn users_beyond_the_limit_are_refused_until_one_goes() {
    let mut server = limited(2, ServerLimits { concurrent_users_max: 1, ..NONE });
    let (first, second) = (server.connect(0, 0, V2), server.connect(1, 0, V2));
    server.join(first, "1", "room", json!({}));
    let refusal = [refused("1", "ConnectionRateLimitReached: Too many connected users")];
    assert_eq!(join(&mut server, second, "1"), refusal);
    // One who is counted may join as much as before, also after leaving everything.
    server.join(first, "2", "another", json!({}));
    server.push(first, "1", "3", ROOM, "phx_leave", json!({}));
    server.push(first, "2", "4", "realtime:another", "phx_leave", json!({}));
    server.frames(first);
    assert_eq!(join(&mut server, second, "1"), refusal);
    server.join(first, "5", "room", json!({}));
    server.disconnect(first);
    server.join(second, "2", "room", json!({}));
    assert_eq!(server.meters.users.count(), 1);
}

#[test]
fn sockets_that_have_joined_nothing_are_no_users() {
    let mut server = limited(1, ServerLimits { concurrent_users_max: 1, ..NONE });
    let (idle, failed) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    server.push(failed, "1", "1", ROOM, "phx_join", json!({"access_token": "<token:wrong>"}));
    assert_eq!(server.meters.users.count(), 0);
    server.disconnect(idle);
    assert_eq!(server.meters.users.count(), 0);
    let user = server.connect(0, 2, V2);
    server.join(user, "1", "room", json!({}));
    assert_eq!(server.meters.users.count(), 1);
}

// Joins.

#[test]
fn a_join_while_all_join_too_often_is_refused_and_ends_the_socket() {
    let delay = Config::default().refusal_delay;
    let limits = ServerLimits { joins_per_second_max: 1, ..NONE };
    let mut server = Server::limited(2, Config::default(), limits);
    let (first, second) = (server.connect(0, 0, V2), server.connect(1, 0, V2));
    (0..5).for_each(|number| server.join(first, "1", &format!("room{number}"), json!({})));
    server.advance_to(5_000);
    let started = 5_000;
    assert_eq!(join(&mut server, second, "1"), [] as [Value; 0], "the answer is held back");
    server.advance_to(started + u64::try_from(delay.as_millis()).unwrap());
    let reason = "ClientJoinRateLimitReached: Too many joins per second";
    assert_eq!(server.frames(second), [refused("1", reason), json!({"closed": 1001})]);
    // Those who do not join stay as they are.
    broadcast(&mut server, first, 1);
    assert_eq!(server.frames(first).len(), 1);
    // The average over a minute falls, and joins are granted again.
    let third = server.connect(1, 1, V2);
    server.join(third, "1", "room", json!({}));
}

#[test]
fn bursts_of_joins_within_a_tick_pass() {
    let mut server = limited(1, ServerLimits { joins_per_second_max: 1, ..NONE });
    for socket in 0..50 {
        let client = server.connect(0, socket, V2);
        server.join(client, "1", "room", json!({}));
    }
}

// Events.

#[test]
fn who_gets_a_broadcast_over_the_rate_gets_it_and_is_ended() {
    for shards in [1, 2] {
        let mut server = limited(shards, ServerLimits { events_per_second_max: 1, ..NONE });
        let sender = server.connect(0, 0, V2);
        let receivers = [server.connect(0, 1, V2), server.connect(shards - 1, 2, V2)];
        let elsewhere = server.connect(0, 3, V2);
        server.join(sender, "1", "room", json!({"broadcast": {"ack": true}}));
        receivers.iter().for_each(|client| server.join(*client, "1", "room", json!({})));
        server.join(elsewhere, "1", "elsewhere", json!({}));
        server.meters.events.add(5);
        broadcast(&mut server, sender, 1);
        for receiver in receivers {
            assert_eq!(server.frames(receiver).len(), 1, "within the tick all is well");
        }
        server.frames(sender);
        server.advance_to(5_000);
        broadcast(&mut server, sender, 2);
        for receiver in receivers {
            let frames = server.frames(receiver);
            assert_eq!(frames[0][3], "broadcast");
            assert_eq!(frames[1..], ended("1", "Too many messages per second"));
        }
        let frames = server.frames(sender);
        assert_eq!((frames.len(), &frames[0][3]), (1, &json!("phx_reply")), "who only sends is not ended");
        assert_eq!(server.unread(), []);
        // Sockets stay, and channels can come back.
        server.join(receivers[0], "2", "room", json!({}));
    }
}

#[test]
fn a_sender_who_hears_itself_gets_its_answer_before_its_end() {
    let mut server = limited(1, ServerLimits { events_per_second_max: 1, ..NONE });
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "room", json!({"broadcast": {"ack": true, "self": true}}));
    server.meters.events.add(5);
    server.advance_to(5_000);
    broadcast(&mut server, client, 1);
    let frames = server.frames(client);
    let events: Vec<_> = frames.iter().map(|frame| frame[3].as_str().unwrap()).collect();
    assert_eq!(events, ["broadcast", "phx_reply", "system", "phx_close"]);
}

#[test]
fn a_rate_that_has_fallen_ends_nobody() {
    let mut server = limited(1, ServerLimits { events_per_second_max: 1, ..NONE });
    let (sender, receiver) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    [sender, receiver].iter().for_each(|client| server.join(*client, "1", "room", json!({})));
    server.meters.events.add(9);
    server.advance_to(10_000);
    broadcast(&mut server, sender, 1);
    assert_eq!(server.frames(receiver).len(), 1);
}

// Presence.

#[test]
fn a_track_over_the_rate_ends_the_channel() {
    let mut server = limited(1, ServerLimits { presence_events_per_second_max: 1, ..NONE });
    let (client, watcher) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    for client in [client, watcher] {
        server.join(client, "1", "room", json!({"presence": {"enabled": true}}));
    }
    // Exactly the limit is not over it.
    server.meters.presence_events.add(3);
    server.advance_to(5_000);
    track(&mut server, client, 1);
    assert_eq!(server.frames(client)[0][3], "phx_reply");
    assert_eq!(server.frames(watcher)[0][3], "presence_diff");
    server.meters.presence_events.add(60);
    server.advance_to(10_000);
    track(&mut server, client, 2);
    let left = server.frames(watcher);
    assert_eq!(left.len(), 1, "the one who is ended is present no more: {left:?}");
    assert!(left[0][4]["leaves"].as_object().is_some_and(|leaves| leaves.len() == 1));
    assert_eq!(server.frames(client), ended("1", "Too many presence messages per second"));
}

#[test]
fn a_join_with_presence_over_the_rate_is_granted_and_ended() {
    let mut server = limited(1, ServerLimits { presence_events_per_second_max: 1, ..NONE });
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    server.meters.presence_events.add(60);
    server.advance_to(5_000);
    let config = json!({"config": {"presence": {"enabled": true}}});
    server.push(client, "1", "1", ROOM, "phx_join", config);
    let frames = server.frames(client);
    assert_eq!(frames[0][4]["status"], "ok");
    assert_eq!(frames[1..], ended("1", "Too many presence messages per second"));
    // Who has nothing to do with presence joins as ever.
    server.join(other, "1", "room", json!({}));
}

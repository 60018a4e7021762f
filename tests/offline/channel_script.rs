//! Scripts of clients, step by step: what each gets, and what nobody may get.

use std::sync::Arc;
use std::time::Duration;

use rowcast::hub::{ChannelRef, Config, Delivery, FeedCommand, FeedEvent, JoinRate, ShardCommand, Subscribe};
use rowcast::protocol::Dialect::{V1, V2};
use rowcast::protocol::changes_frame;
use serde_json::{Value, json};

use super::script::{Client, Received, Server};

const ROOM: &str = "realtime:room";

fn ok(join_ref: &str, reference: &str) -> Value {
    json!([join_ref, reference, ROOM, "phx_reply", {"status": "ok", "response": {}}])
}

fn joined(join_ref: &str) -> Value {
    json!([join_ref, join_ref, ROOM, "phx_reply", {"status": "ok", "response": {"postgres_changes": []}}])
}

fn refused(join_ref: &str, topic: &str, reason: &str) -> Value {
    json!([join_ref, join_ref, topic, "phx_reply", {"status": "error", "response": {"reason": reason}}])
}

fn closed(join_ref: &str) -> Value {
    json!([join_ref, join_ref, ROOM, "phx_close", {}])
}

fn system(join_ref: &str, message: &str) -> Value {
    json!([join_ref, null, ROOM, "system",
        {"extension": "system", "status": "error", "message": message, "channel": "room"}])
}

fn broadcast(number: u32) -> Value {
    json!([null, null, ROOM, "broadcast", message(number)])
}

fn message(number: u32) -> Value {
    json!({"type": "broadcast", "event": "e", "payload": {"n": number}})
}

fn heartbeat(server: &mut Server, client: Client) {
    server.push(client, "x", "beat", "phoenix", "heartbeat", json!({}));
    let expected = json!([null, "beat", "phoenix", "phx_reply", {"status": "ok", "response": {}}]);
    assert_eq!(server.frames(client), [expected]);
}

// Refusals.

#[test]
fn a_refused_join_waits_and_nobody_else_does() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    let private = json!({"config": {"private": true}});
    server.push(client, "1", "1", "realtime:secret:a", "phx_join", private);
    server.grant(false, false);
    server.advance_to(4_900);
    assert_eq!(server.frames(client), [] as [Value; 0]);
    heartbeat(&mut server, client);
    server.join(client, "2", "room", json!({}));
    server.advance_to(5_000);
    let reason = "Unauthorized: You do not have permissions to read from this Channel topic: secret:a";
    assert_eq!(server.frames(client), [refused("1", "realtime:secret:a", reason)]);
    heartbeat(&mut server, client);
}

#[test]
fn a_refused_second_join_ends_the_first_all_the_same() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    server.join(client, "1", "room", json!({}));
    server.join(other, "1", "room", json!({}));
    server.push(client, "2", "2", ROOM, "phx_join", json!({"access_token": "nonsense", "config": {}}));
    server.push(other, "1", "2", ROOM, "broadcast", message(1));
    server.advance_to(5_000);
    let reason = "MalformedJWT: The token provided is not a valid JWT";
    assert_eq!(server.frames(client), [refused("2", ROOM, reason), closed("1")]);
}

#[test]
fn joins_that_cannot_be_granted_say_why() {
    let config = Config {
        refusal_delay: Duration::ZERO,
        channels_per_socket_max: 1,
        topic_bytes_max: 300,
        ..Config::default()
    };
    let mut server = Server::with(1, config, 8, 8);
    let client = server.connect(0, 0, V2);
    server.join(client, "0", "only", json!({}));
    let long = format!("realtime:{}", "x".repeat(292));
    for (topic, payload, reason) in [
        ("realtime:", json!({}), "TopicNameRequired: You must provide a topic name"),
        (&long, json!({}), "TopicNameTooLong: Topic name must not exceed 300 bytes"),
        (ROOM, json!({}), "ChannelRateLimitReached: Too many channels"),
        ("other:room", json!({}), "unmatched topic"),
    ] {
        server.push(client, "1", "1", topic, "phx_join", payload);
        let mut expected = refused("1", topic, reason);
        if topic == "other:room" {
            expected[0] = Value::Null;
        }
        assert_eq!(server.frames(client), [expected]);
    }
    // The place of a channel that is joined again is its own.
    server.push(client, "2", "2", "realtime:only", "phx_join", json!({"config": {}}));
    assert_eq!(server.frames(client).len(), 2);
    for (config, reason) in [
        (json!("x"), "UnknownErrorOnChannel: config is not a map"),
        (json!({"postgres_changes": [1]}), "UnknownErrorOnChannel: a postgres_changes binding is not a map"),
    ] {
        server.push(client, "3", "3", "realtime:only", "phx_join", json!({"config": config}));
        assert_eq!(server.frames(client)[0], refused("3", "realtime:only", reason));
    }
}

#[test]
fn held_refusals_are_bounded() {
    let config = Config { refusals_pending_max: 1, ..Config::default() };
    let mut server = Server::with(1, config, 8, 8);
    let client = server.connect(0, 0, V1);
    for _ in 0..2 {
        server.push(client, "1", "1", "realtime:", "phx_join", json!({}));
    }
    assert_eq!(server.frames(client).len(), 1);
    server.advance_to(5_000);
    assert_eq!(server.frames(client).len(), 1);
}

#[test]
fn a_large_answer_is_not_held() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V1);
    server.push(client, "1", "1", &format!("realtime:{}", "x".repeat(20_000)), "phx_join", json!({}));
    assert_eq!(server.frames(client).len(), 1);
}

#[test]
fn a_socket_that_joins_too_often_is_closed_and_others_are_not() {
    let config = Config { joins_per_socket: JoinRate { per_second: 1, burst: 2 }, ..Config::default() };
    let mut server = Server::with(1, config, 8, 8);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    server.join(client, "1", "a", json!({}));
    server.join(client, "2", "b", json!({}));
    server.push(client, "3", "3", ROOM, "phx_join", json!({}));
    let reason = "ClientJoinRateLimitReached: Too many joins per second";
    assert_eq!(server.frames(client), [refused("3", ROOM, reason), json!({"closed": 1001})]);
    server.push(client, "4", "4", "phoenix", "heartbeat", json!({}));
    assert_eq!(server.frames(client), [] as [Value; 0]);
    server.join(other, "1", "room", json!({}));
}

// Leaving.

#[test]
fn a_leave_without_join_ref_leaves() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "room", json!({}));
    server.say(client, &json!([null, "2", ROOM, "phx_leave", {}]).to_string());
    assert_eq!(server.frames(client), [ok("1", "2"), closed("1")]);
    let client = server.connect(0, 1, V1);
    server.join(client, "1", "room", json!({}));
    server
        .say(client, &json!({"topic": ROOM, "event": "phx_leave", "payload": {}, "ref": "uuid"}).to_string());
    assert_eq!(server.frames(client).len(), 2);
}

#[test]
fn a_leave_that_was_overtaken_by_a_second_join_is_ignored() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "room", json!({}));
    server.join(client, "2", "room", json!({"broadcast": {"ack": true}}));
    server.push(client, "1", "3", ROOM, "phx_leave", json!({}));
    assert_eq!(server.frames(client), [] as [Value; 0]);
    // Anything else is taken with whatever join_ref it has.
    server.push(client, "1", "4", ROOM, "broadcast", message(1));
    assert_eq!(server.frames(client), [ok("2", "4")]);
}

#[test]
fn replies_carry_the_ref_of_a_join_that_had_no_join_ref() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.say(client, &json!([null, "7", ROOM, "phx_join", {"config": {}}]).to_string());
    server.say(client, &json!([null, "8", ROOM, "phx_leave", {}]).to_string());
    let frames = server.frames(client);
    assert_eq!((&frames[0][0], &frames[0][1]), (&Value::Null, &json!("7")));
    assert_eq!(frames[1], ok("7", "8"));
    assert_eq!(frames[2], json!([null, null, ROOM, "phx_close", {}]));
}

#[test]
fn after_the_close_nothing_comes() {
    for shard_count in [1, 2] {
        let mut server = Server::start(shard_count);
        let (client, other) = (server.connect(0, 0, V2), server.connect(shard_count - 1, 1, V2));
        server.join(client, "1", "room", json!({"presence": {"enabled": true}}));
        server.join(other, "1", "room", json!({}));
        server.push(client, "1", "2", ROOM, "phx_leave", json!({}));
        server.received(client);
        server.push(other, "1", "2", ROOM, "broadcast", message(1));
        server.push(other, "1", "3", ROOM, "presence", json!({"event": "track"}));
        assert_eq!(server.frames(client), [] as [Value; 0]);
    }
}

// Malformed input.

#[test]
fn nothing_malformed_closes_or_is_answered() {
    let mut server = Server::start(1);
    let (one, two) = (server.connect(0, 0, V1), server.connect(0, 1, V2));
    server.join(two, "1", "room", json!({}));
    let deep = format!(r#"["1","1","{ROOM}","broadcast",{}{}]"#, "[".repeat(5_000), "]".repeat(5_000));
    for text in ["", "{", "null", "[]", "[1,2,3]", "\u{0}", r#"[null,"1","phoenix","heartbeat"]"#, &deep] {
        server.say(one, text);
        server.say(two, text);
    }
    for bytes in
        [b"".as_slice(), b"\x03", b"\x03\xff\xff\xff\xff\xff\xff", b"\xff\xfe", b"\x04\x00\x00\x00\x00"]
    {
        server.say_bytes(one, bytes);
        server.say_bytes(two, bytes);
    }
    assert_eq!(server.unread(), []);
    assert_eq!(server.shards[0].counters().malformed_messages.get(), 26);
    heartbeat(&mut server, one);
    heartbeat(&mut server, two);
}

// Tokens.

#[test]
fn a_channel_ends_with_its_token_and_its_socket_does_not() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "other", json!({}));
    server.push(client, "2", "2", ROOM, "phx_join", json!({"config": {}, "access_token": "<token:short>"}));
    server.received(client);
    server.advance_to(31_900);
    assert_eq!(server.frames(client), [] as [Value; 0]);
    server.advance_to(32_000);
    assert_eq!(server.frames(client), [system("2", "Token has expired 0 seconds ago"), closed("2")]);
    server.push(client, "1", "3", "realtime:other", "phx_leave", json!({}));
    assert_eq!(server.frames(client).len(), 2);
}

#[test]
fn a_new_token_outlives_the_old() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.push(client, "2", "2", ROOM, "phx_join", json!({"config": {}, "access_token": "<token:short>"}));
    assert_eq!(server.frames(client), [joined("2")]);
    server.push(client, "2", "3", ROOM, "access_token", json!({"access_token": "<token:a>"}));
    server.advance_to(60_000);
    assert_eq!(server.frames(client), [] as [Value; 0]);
}

#[test]
fn tokens_that_change_nothing_are_ignored_and_bad_ones_end_the_channel() {
    for (token, message) in [
        (json!("<token:anon>"), None),
        (json!(null), None),
        (json!("sb_publishable_x"), None),
        (json!("<token:b>"), None),
        (json!(""), Some("The token provided is not a valid JWT")),
        (json!("<token:wrong>"), Some("Failed to validate JWT signature")),
        (json!("<token:expired>"), Some("Token has expired 1000 seconds ago")),
        (json!("<token:norole>"), Some("Fields `role` and `exp` are required in JWT")),
    ] {
        let mut server = Server::start(1);
        let client = server.connect(0, 0, V2);
        server.join(client, "1", "room", json!({}));
        server.push(client, "1", "2", ROOM, "access_token", json!({ "access_token": token }));
        let expected = message.map(|message| vec![system("1", message), closed("1")]).unwrap_or_default();
        assert_eq!(server.frames(client), expected);
        heartbeat(&mut server, client);
    }
}

#[test]
fn an_opaque_key_at_the_join_means_the_token_of_the_socket() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.push(client, "1", "1", ROOM, "phx_join", json!({"config": {}, "access_token": "sb_secret_x"}));
    assert_eq!(server.frames(client), [joined("1")]);
}

// The feed.

fn subscription(server: &mut Server) -> Subscribe {
    match server.feed.try_recv() {
        Ok(FeedCommand::Subscribe(subscribe)) => subscribe,
        other => panic!("{other:?} is no subscription"),
    }
}

fn changes(channels: &[ChannelRef]) -> ShardCommand {
    let frame = changes_frame(V2, None, ROOM, &[7], r#"{"type":"INSERT"}"#);
    ShardCommand::Feed(FeedEvent::Changes(vec![Delivery { frame, channels: channels.into(), sent: None }]))
}

const BINDINGS: &str =
    r#"{"postgres_changes":[{"event":"*","schema":"public","table":"a","filter":"id=eq.1"}]}"#;

fn bindings() -> Value {
    serde_json::from_str(BINDINGS).unwrap()
}

#[test]
fn a_join_with_bindings_subscribes_and_its_end_unsubscribes() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.push(
        client,
        "1",
        "1",
        ROOM,
        "phx_join",
        json!({"config": bindings(), "access_token": "<token:a>"}),
    );
    let frames = server.frames(client);
    let subscribe = subscription(&mut server);
    let (id, binding) = &subscribe.bindings[0];
    assert_eq!(Value::Object(binding.clone()), bindings()["postgres_changes"][0]);
    let mut echoed = bindings()["postgres_changes"][0].clone();
    echoed["id"] = json!(id);
    assert_eq!(frames[0][4]["response"]["postgres_changes"], json!([echoed]));
    assert_eq!((&*subscribe.topic, subscribe.legacy, subscribe.dialect), (ROOM, false, V2));
    assert_eq!(&*subscribe.claims.role, "authenticated");

    server.push(client, "1", "2", ROOM, "access_token", json!({"access_token": "<token:b>"}));
    let Ok(FeedCommand::Refresh { channel, claims }) = server.feed.try_recv() else { panic!("no refresh") };
    assert_eq!(channel, subscribe.channel);
    assert!(claims.json.contains("<token:b>"));

    server.push(client, "1", "3", ROOM, "phx_leave", json!({}));
    let Ok(FeedCommand::Unsubscribe { channel }) = server.feed.try_recv() else {
        panic!("no unsubscription")
    };
    assert_eq!(channel, subscribe.channel);
    assert!(server.feed.try_recv().is_err());
}

#[test]
fn a_legacy_join_subscribes_to_the_table_in_its_topic() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V1);
    server.push(client, "1", "1", "realtime:public:todos:id=eq.1", "phx_join", json!({}));
    let subscribe = subscription(&mut server);
    assert!(subscribe.legacy);
    let expected = json!({"schema": "public", "table": "todos", "filter": "id=eq.1"});
    assert_eq!(Value::Object(subscribe.bindings[0].1.clone()), expected);
    let frames = server.frames(client);
    assert_eq!(frames[0][4]["response"]["postgres_changes"][0]["table"], json!("todos"));
}

#[test]
fn changes_reach_joined_channels_only() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "room", bindings());
    let first = subscription(&mut server).channel;
    server.command(0, changes(&[first]));
    assert_eq!(server.frames(client).len(), 1);

    // A second join of the topic is another channel, and the first is gone.
    server.join(client, "2", "room", bindings());
    assert!(matches!(server.feed.try_recv(), Ok(FeedCommand::Unsubscribe { channel }) if channel == first));
    let second = subscription(&mut server).channel;
    assert_ne!(first, second);
    server.command(0, changes(&[first, second]));
    assert_eq!(server.frames(client).len(), 1);

    // Another socket in the same slot is another connection.
    server.disconnect(client);
    let successor = server.connect(0, 0, V2);
    server.join(successor, "1", "room", bindings());
    server.command(0, changes(&[first, second]));
    let message: Arc<str> = "Subscribed to PostgreSQL".into();
    server.command(0, ShardCommand::Feed(FeedEvent::System { channel: second, ok: true, message }));
    assert_eq!(server.frames(successor), [] as [Value; 0]);
    assert_eq!(server.unread(), []);
}

#[test]
fn the_feeds_words_reach_the_channel() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "room", bindings());
    let channel = subscription(&mut server).channel;
    server.command(0, ShardCommand::Feed(FeedEvent::System { channel, ok: false, message: "no".into() }));
    let payload =
        json!({"extension": "postgres_changes", "status": "error", "message": "no", "channel": "room"});
    assert_eq!(server.frames(client), [json!(["1", null, ROOM, "system", payload])]);
}

#[test]
fn a_full_feed_refuses_joins_with_bindings_and_ends_channels_with_new_tokens() {
    let config = Config { feed_pending_max: 1, refusal_delay: Duration::ZERO, ..Config::default() };
    let mut server = Server::with(1, config, 8, 1);
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "a", bindings());
    server.join(client, "2", "b", bindings());
    server.push(client, "3", "3", ROOM, "phx_join", json!({"config": bindings()}));
    let reason = "InitializingProjectConnection: Realtime is initializing the project connection";
    assert_eq!(server.frames(client), [refused("3", ROOM, reason)]);
    server.join(client, "4", "room", json!({}));
    server.push(client, "1", "5", "realtime:a", "access_token", json!({"access_token": "<token:b>"}));
    let crash = json!(["1", "1", "realtime:a", "phx_error", {"reason": "channel_crash"}]);
    assert_eq!(server.frames(client), [crash]);

    // Nothing that was granted is forgotten, and its end neither.
    server.disconnect(client);
    let mut balance = 0;
    for _ in 0..8 {
        match server.feed.try_recv() {
            Ok(FeedCommand::Subscribe(_)) => balance += 1,
            Ok(FeedCommand::Unsubscribe { .. }) => balance -= 1,
            _ => {}
        }
        server.tick();
    }
    assert_eq!(balance, 0);
}

// Broadcasts.

#[test]
fn broadcasts_reach_every_shard_once() {
    let mut server = Server::start(3);
    let clients: Vec<_> =
        (0..6_u16).map(|n| server.connect(n % 3, u32::from(n), if n < 3 { V1 } else { V2 })).collect();
    let elsewhere = server.connect(1, 9, V2);
    clients.iter().for_each(|client| server.join(*client, "1", "room", json!({})));
    server.join(elsewhere, "1", "another", json!({}));
    server.push(clients[0], "1", "2", ROOM, "broadcast", message(1));
    assert_eq!(server.frames(clients[0]), [] as [Value; 0]);
    for client in &clients[1..] {
        assert_eq!(server.frames(*client), [broadcast(1)]);
    }
    assert_eq!(server.frames(elsewhere), [] as [Value; 0]);
}

#[test]
fn broadcasts_to_a_full_shard_are_dropped_and_counted() {
    let mut server = Server::with(2, Config::default(), 2, 8);
    let (sender, local, remote) =
        (server.connect(0, 0, V2), server.connect(0, 1, V2), server.connect(1, 0, V2));
    for client in [sender, local, remote] {
        server.join(client, "1", "room", json!({}));
    }
    for number in 0..5 {
        server.say(sender, &json!(["1", null, ROOM, "broadcast", message(number)]).to_string());
    }
    server.settle();
    assert_eq!(server.frames(local).len(), 5);
    assert_eq!(server.frames(remote), [broadcast(0), broadcast(1)]);
    assert_eq!(server.shards[0].counters().dropped_broadcasts.get(), 3);
}

#[test]
fn a_broadcast_whose_json_is_none_reaches_nobody() {
    let mut server = Server::start(1);
    let (sender, v1, v2) = (server.connect(0, 0, V2), server.connect(0, 1, V1), server.connect(0, 2, V2));
    for client in [sender, v1, v2] {
        server.join(client, "1", "room", json!({}));
    }
    let forged = [
        b"\x03\x01\x01\x0d\x01\x00\x01".as_slice(),
        b"12realtime:roome{}},\"topic\":\"realtime:x\"".as_slice(),
    ];
    server.say_bytes(sender, &forged.concat());
    assert_eq!(server.unread(), []);
}

#[test]
fn a_push_of_bytes_goes_to_version_2_alone() {
    let mut server = Server::start(2);
    let (sender, v1, v2) = (server.connect(0, 0, V2), server.connect(1, 1, V1), server.connect(1, 2, V2));
    for client in [sender, v1, v2] {
        server.join(client, "1", "room", json!({"broadcast": {"ack": true}}));
    }
    server.say_bytes(
        sender,
        &[b"\x00\x01\x01\x0d\x09".as_slice(), b"12realtime:roombroadcast\xff\xfe"].concat(),
    );
    server.settle();
    assert_eq!(server.frames(sender), [ok("1", "2")]);
    assert_eq!(
        server.received(v2),
        [Received::Binary(b"\x02\x0d\x09realtime:roombroadcast\xff\xfe".to_vec())]
    );
    assert_eq!(server.unread(), []);
}

// Presence.

fn track(number: u32) -> Value {
    json!({"type": "presence", "event": "track", "payload": {"n": number}})
}

fn key(name: &str) -> Value {
    json!({"presence": {"enabled": true, "key": name}})
}

#[test]
fn presence_is_the_same_from_every_shard() {
    let mut server = Server::start(3);
    let clients: Vec<_> = (0..3).map(|shard| server.connect(shard, 0, V2)).collect();
    for (client, name) in clients.iter().zip(["a", "b", "a"]) {
        server.join(*client, "1", "room", key(name));
    }
    for (client, number) in clients.iter().zip(1..) {
        server.push(*client, "1", "2", ROOM, "presence", track(number));
    }
    let diffs: Vec<Vec<Value>> = clients
        .iter()
        .map(|client| {
            let frames = server.frames(*client);
            frames.into_iter().filter(|frame| frame[3] == "presence_diff").collect()
        })
        .collect();
    assert_eq!(diffs[0].len(), 3);
    assert!(diffs.iter().all(|diff| *diff == diffs[0]));

    let late = server.connect(1, 1, V2);
    server.push(late, "1", "1", ROOM, "phx_join", json!({"config": key("late")}));
    let frames = server.frames(late);
    assert_eq!(frames[1][3], "presence_state");
    assert_eq!(frames[1][4]["a"]["metas"].as_array().map(Vec::len), Some(2));
    assert_eq!(frames[1][4]["b"]["metas"][0]["n"], json!(2));

    server.disconnect(clients[0]);
    server.settle();
    let frames = server.frames(late);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0][4]["joins"], json!({}));
    assert_eq!(frames[0][4]["leaves"]["a"]["metas"][0]["n"], json!(1));
}

#[test]
fn a_second_join_untracks_the_first() {
    let mut server = Server::start(2);
    let (client, other) = (server.connect(0, 0, V2), server.connect(1, 0, V2));
    server.join(other, "1", "room", key("other"));
    server.join(client, "1", "room", key("me"));
    server.push(client, "1", "2", ROOM, "presence", track(1));
    server.received(client);
    server.received(other);
    server.push(client, "3", "3", ROOM, "phx_join", json!({"config": key("me")}));
    assert_eq!(
        server.frames(client),
        [joined("3"), closed("1"), json!(["3", null, ROOM, "presence_state", {}])]
    );
    assert_eq!(server.frames(other)[0][4]["leaves"]["me"]["metas"][0]["n"], json!(1));
}

#[test]
fn a_channel_without_presence_gets_diffs_but_no_state() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    server.join(client, "1", "room", json!({}));
    server.join(other, "1", "room", json!({}));
    server.push(client, "1", "2", ROOM, "presence", track(1));
    let frames = server.frames(other);
    assert_eq!(frames.len(), 1);
    // A key was made for it.
    let keys: Vec<_> = frames[0][4]["joins"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys[0].len(), 36);
}

#[test]
fn presence_for_all_sends_the_state_unasked() {
    let config = Config { presence_for_all: true, ..Config::default() };
    let mut server = Server::with(1, config, 8, 8);
    let client = server.connect(0, 0, V1);
    server.push(client, "1", "1", ROOM, "phx_join", json!({"config": {}}));
    assert_eq!(server.frames(client)[1][3], "presence_state");
}

#[test]
fn too_many_presence_messages_end_the_channel() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.join(client, "1", "room", json!({}));
    for number in 0..5 {
        server.push(client, "1", "2", ROOM, "presence", track(number));
    }
    assert_eq!(server.frames(client).len(), 10);
    server.push(client, "1", "2", ROOM, "presence", track(9));
    assert_eq!(server.frames(client), [system("1", "Client presence rate limit exceeded"), closed("1")]);
    heartbeat(&mut server, client);
}

/// Queues of one message between shards: nearly everything has to be tried again.
#[test]
fn presence_survives_full_queues() {
    let mut server = Server::with(2, Config::default(), 1, 8);
    let watchers = [server.connect(0, 0, V2), server.connect(1, 0, V2)];
    for watcher in watchers {
        server.join(watcher, "1", "room", key("watcher"));
    }
    let clients: Vec<_> = (0..20_u16).map(|n| server.connect(n % 2, 1 + u32::from(n), V2)).collect();
    for (client, number) in clients.iter().zip(0_u32..) {
        let name = format!("k{number}");
        server.say(*client, &json!(["1", "1", ROOM, "phx_join", {"config": key(&name)}]).to_string());
        server.say(*client, &json!(["1", "2", ROOM, "presence", track(number)]).to_string());
        if number % 3 == 0 {
            server.say(*client, &json!(["1", "3", ROOM, "presence", {"event": "untrack"}]).to_string());
        }
        if number % 5 == 0 {
            server.disconnect(*client);
        }
    }
    (0..50).for_each(|_| server.tick());
    let expected: Vec<String> = (0..20)
        .filter(|number| number % 3 != 0 && number % 5 != 0)
        .map(|number| format!("k{number}"))
        .collect();
    for watcher in watchers {
        assert!(server.shards.iter().any(|shard| shard.counters().delayed_presence.get() > 0));
        let mut view = super::hub_simulation::View::default();
        server.frames(watcher).iter().for_each(|frame| view.see(frame));
        let mut expected = expected.clone();
        expected.sort();
        assert_eq!(view.keys(), expected);
    }
}

#[test]
fn presence_over_the_bound_is_refused() {
    let config = Config { presence_unsent_max: 1, ..Config::default() };
    let mut server = Server::with(2, config, 1, 8);
    // One of the two shards is not the home; there, updates queue up.
    let clients: Vec<_> = (0..2).flat_map(|shard| (0..4).map(move |slot| (shard, slot))).collect();
    let clients: Vec<_> = clients.into_iter().map(|(shard, slot)| server.connect(shard, slot, V2)).collect();
    let mut refused = 0;
    for client in &clients {
        server.join(*client, "1", "room", json!({}));
    }
    for client in &clients {
        server.say(*client, &json!(["1", "2", ROOM, "presence", track(1)]).to_string());
        let error = json!(["1", "2", ROOM, "phx_reply", {"status": "error", "response": {}}]);
        refused += server.frames(*client).iter().filter(|frame| **frame == error).count();
    }
    assert_eq!(refused, 2);
}

// The end.

#[test]
fn draining_tells_every_channel_and_closes_every_socket() {
    let mut server = Server::start(1);
    let (client, idle) = (server.connect(0, 0, V2), server.connect(0, 1, V1));
    server.join(client, "1", "room", json!({}));
    server.command(0, ShardCommand::Drain);
    let payload = json!({"extension": "system", "status": "ok", "message": "Server requested disconnect"});
    assert_eq!(
        server.frames(client),
        [json!([null, null, ROOM, "system", payload]), json!({"closed": 1012})]
    );
    assert_eq!(server.frames(idle), [json!({"closed": 1012})]);
    server.push(idle, "1", "1", ROOM, "phx_join", json!({}));
    server.advance_to(5_000);
    assert_eq!(
        server.frames(idle)[0][4]["response"]["reason"],
        json!("RealtimeRestarting: Realtime is restarting, please standby")
    );
}

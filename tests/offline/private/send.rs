//! Messages of private channels: they wait for what may be sent, in order, and not for ever.

use rowcast::channel::Rights;
use rowcast::hub::Config;
use rowcast::hub::authorization::{Answer, AuthorizationError, Question};
use rowcast::protocol::Dialect::V2;
use serde_json::json;

use super::*;
use crate::script::Received;

#[test]
fn messages_wait_for_what_may_be_sent_and_keep_their_order() {
    let mut server = Server::start(2);
    let (client, other) = (server.connect(0, 0, V2), server.connect(1, 0, V2));
    join(&mut server, client, "1", json!({"broadcast": {"ack": true}}), (true, true));
    join(&mut server, other, "1", json!({}), (true, true));
    for number in 1..=3 {
        send(&mut server, client, &number.to_string(), number);
    }
    assert_eq!(server.unread(), []);
    heartbeat(&mut server, client);
    let inquiry = server.inquiry();
    assert_eq!(inquiry.question, Question::Write);
    assert!(server.inquiries.try_recv().is_err(), "it is asked once");
    server.answer(inquiry, Ok(Answer::Rights(Rights { broadcast: true, presence: false })));
    assert_eq!(server.frames(client), [ok("1", "1"), ok("1", "2"), ok("1", "3")]);
    assert_eq!(server.frames(other), [broadcast(1), broadcast(2), broadcast(3)]);
    // The answer is remembered.
    send(&mut server, client, "4", 4);
    assert_eq!((server.frames(client), server.frames(other)), (vec![ok("1", "4")], vec![broadcast(4)]));
    assert!(server.inquiries.try_recv().is_err());
}

#[test]
fn a_denied_broadcast_is_dropped_in_silence_and_the_denial_is_remembered() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    join(&mut server, client, "1", json!({"broadcast": {"ack": true, "self": true}}), (true, true));
    join(&mut server, other, "1", json!({}), (true, true));
    send(&mut server, client, "2", 1);
    send(&mut server, client, "3", 2);
    server.grant(false, true);
    send(&mut server, client, "4", 3);
    assert_eq!(server.unread(), []);
    assert!(server.inquiries.try_recv().is_err());
    assert_eq!(server.shards[0].counters().denied_messages.get(), 3);
    // The same question said that it may be tracked.
    server.push(client, "1", "5", ROOM, "presence", track(1));
    assert_eq!(server.frames(client)[0], ok("1", "5"));
}

#[test]
fn a_denied_track_is_answered_and_untracking_needs_no_right() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", presence(), (true, true));
    server.received(client);
    server.push(client, "1", "2", ROOM, "presence", track(1));
    assert_eq!(server.frames(client), NO_FRAMES);
    server.grant(true, false);
    assert_eq!(server.frames(client), [reply("1", "2", "error", json!({}))]);
    server.push(client, "1", "3", ROOM, "presence", json!({"event": "untrack"}));
    assert_eq!(server.frames(client), [ok("1", "3")]);
}

#[test]
fn tracking_late_shows_diffs_if_policies_do() {
    for (read, events) in
        [((true, true), &["phx_reply", "presence_diff"][..]), ((true, false), &["phx_reply"])]
    {
        let mut server = Server::start(1);
        let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
        join(&mut server, other, "1", presence(), (true, true));
        join(&mut server, client, "1", json!({}), read);
        server.push(client, "1", "2", ROOM, "presence", track(1));
        server.grant(false, true);
        let frames = server.frames(client);
        let seen: Vec<_> = frames.iter().map(|frame| frame[3].as_str().unwrap()).collect();
        assert_eq!(seen, events);
        assert_eq!(server.frames(other).last().unwrap()[3], "presence_diff");
    }
}

#[test]
fn what_may_be_sent_cannot_be_found_out() {
    for error in [AuthorizationError::Unavailable, AuthorizationError::Policy("22012".into())] {
        let mut server = Server::start(1);
        let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
        join(&mut server, client, "1", json!({"broadcast": {"ack": true}}), (true, true));
        join(&mut server, other, "1", json!({}), (true, true));
        send(&mut server, client, "2", 1);
        server.push(client, "1", "3", ROOM, "presence", track(1));
        let inquiry = server.inquiry();
        server.answer(inquiry, Err(error));
        assert_eq!(server.frames(client), [reply("1", "3", "error", json!({}))]);
        // The next message asks again.
        send(&mut server, client, "4", 2);
        server.grant(true, true);
        assert_eq!(server.frames(client), [ok("1", "4")]);
        assert_eq!(server.frames(other), [broadcast(2)]);
    }
}

#[test]
fn messages_do_not_wait_for_ever() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({"broadcast": {"self": true}}), (true, true));
    send(&mut server, client, "2", 1);
    server.push(client, "1", "3", ROOM, "presence", track(1));
    let late = server.inquiry();
    server.advance_to(8_000);
    assert_eq!(server.frames(client), [reply("1", "3", "error", json!({}))]);
    server.answer(late, Ok(Answer::Rights(Rights { broadcast: true, presence: true })));
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn messages_that_wait_are_bounded() {
    for config in [
        Config { held_messages_max: 2, ..Config::default() },
        Config { held_bytes_max: 500, ..Config::default() },
        Config { held_bytes_shard_max: 500, ..Config::default() },
    ] {
        let mut server = Server::with(1, config, 8, 8);
        let client = server.connect(0, 0, V2);
        join(&mut server, client, "1", json!({"broadcast": {"self": true, "ack": true}}), (true, true));
        for number in 0..10 {
            send(&mut server, client, &number.to_string(), number);
        }
        server.push(client, "1", "x", ROOM, "presence", track(1));
        assert_eq!(server.frames(client), [reply("1", "x", "error", json!({}))]);
        let dropped = server.shards[0].counters().denied_messages.get();
        assert!((7..=9).contains(&dropped), "{dropped}");
        server.grant(true, true);
        let frames = server.frames(client);
        assert_eq!(frames[0], broadcast(0));
        assert_eq!(frames.len(), 2 * usize::try_from(11 - dropped).unwrap());
    }
}

#[test]
fn a_leave_does_not_overtake_what_was_sent_before_it() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    join(&mut server, client, "1", json!({}), (true, true));
    join(&mut server, other, "1", json!({}), (true, true));
    send(&mut server, client, "2", 1);
    server.push(client, "1", "3", ROOM, "phx_leave", json!({}));
    send(&mut server, client, "4", 2);
    assert_eq!(server.unread(), []);
    server.grant(true, true);
    assert_eq!(server.frames(client), [ok("1", "3"), closed("1")]);
    assert_eq!(server.frames(other), [broadcast(1)]);
}

#[test]
fn a_socket_that_goes_takes_its_messages_along() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    join(&mut server, client, "1", json!({}), (true, true));
    join(&mut server, other, "1", json!({}), (true, true));
    send(&mut server, client, "2", 1);
    server.disconnect(client);
    server.grant(true, true);
    assert_eq!(server.unread(), []);
}

#[test]
fn bytes_and_binary_json_wait_like_text() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    join(&mut server, client, "1", json!({}), (true, true));
    join(&mut server, other, "1", json!({}), (true, true));
    server.say_bytes(client, b"\x03\x01\x01\x0d\x01\x00\x0012realtime:roome\xff\xfe");
    server.say_bytes(client, b"\x03\x01\x01\x0d\x01\x00\x0112realtime:roome{}");
    server.say_bytes(client, b"\x00\x01\x01\x0d\x0912realtime:roombroadcast\xff");
    server.grant(true, true);
    let frames: [&[u8]; 3] = [
        b"\x04\x0d\x01\x00\x00realtime:roome\xff\xfe",
        b"\x04\x0d\x01\x00\x01realtime:roome{}",
        b"\x02\x0d\x09realtime:roombroadcast\xff",
    ];
    assert_eq!(server.received(other), frames.map(|frame| Received::Binary(frame.to_vec())));
}

//! Private joins: each waits alone, and is granted or refused by what its answer says.

use rowcast::channel::Rights;
use rowcast::hub::authorization::{Answer, AuthorizationError, Inquiry, Question, ReplyTo};
use rowcast::hub::{Authorized, Config, FeedCommand, ShardCommand};
use rowcast::protocol::Dialect::V2;
use serde_json::json;

use super::*;
use crate::script::INQUIRIES_MAX;

#[test]
fn a_join_waits_and_nothing_else_does() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.join(client, "0", "public", json!({}));
    ask_to_join(&mut server, client, "1", json!({}));
    assert_eq!(server.frames(client), NO_FRAMES);
    heartbeat(&mut server, client);
    server.push(client, "0", "2", "realtime:public", "phx_leave", json!({}));
    assert_eq!(server.frames(client).len(), 2);
    let inquiry = server.inquiry();
    assert_eq!((inquiry.question, &*inquiry.subject.topic), (Question::Read, "room"));
    assert_eq!((&*inquiry.subject.claims.role, &*inquiry.subject.headers), ("anon", "{}"));
    server.answer(inquiry, Ok(Answer::Rights(Rights { broadcast: true, presence: true })));
    assert_eq!(server.frames(client), [joined("1")]);
}

/// The table of who receives what: broadcasts, diffs and the state.
#[test]
fn what_is_read_decides_what_is_received() {
    for (read, enabled, expected) in [
        ((true, true), true, &["phx_reply", "presence_state", "broadcast", "presence_diff"][..]),
        ((true, false), true, &["phx_reply", "broadcast"]),
        ((false, true), true, &["phx_reply", "presence_state", "presence_diff"]),
        ((true, true), false, &["phx_reply", "broadcast"]),
        ((true, false), false, &["phx_reply", "broadcast"]),
    ] {
        let mut server = Server::start(2);
        let (client, other) = (server.connect(0, 0, V2), server.connect(1, 0, V2));
        join(&mut server, other, "1", json!({}), (true, true));
        ask_to_join(&mut server, client, "1", json!({"presence": {"enabled": enabled, "key": "k"}}));
        server.grant(read.0, read.1);
        send(&mut server, other, "2", 1);
        server.grant(true, true);
        server.push(other, "1", "3", ROOM, "presence", track(1));
        let frames = server.frames(client);
        let events: Vec<&str> = frames.iter().map(|frame| frame[3].as_str().unwrap()).collect();
        assert_eq!(events, expected, "{read:?} {enabled}");
    }
}

#[test]
fn who_may_read_nothing_is_refused() {
    // Presence alone is nothing for a channel that takes no part in it.
    for (read, config) in [((false, false), presence()), ((false, true), json!({}))] {
        let mut server = Server::start(1);
        let client = server.connect(0, 0, V2);
        ask_to_join(&mut server, client, "1", config);
        server.grant(read.0, read.1);
        server.advance_to(4_900);
        assert_eq!(server.frames(client), NO_FRAMES);
        server.advance_to(5_000);
        let reason = "Unauthorized: You do not have permissions to read from this Channel topic: room";
        assert_eq!(server.frames(client), [refused("1", reason)]);
        assert_eq!(server.shards[0].counters().joins.get(), 0);
    }
}

#[test]
fn rights_that_cannot_be_found_out_are_none() {
    for (error, reason) in [
        (AuthorizationError::Busy, "IncreaseConnectionPool: Please increase your connection pool size"),
        (
            AuthorizationError::Unavailable,
            "UnableToConnectToProject: Realtime was unable to connect to the project database",
        ),
        (
            AuthorizationError::NoConnections,
            "DatabaseLackOfConnections: Database can't accept more connections, Realtime won't connect",
        ),
        (AuthorizationError::Canceled, "QueryCanceled: Query was cancelled, please try again"),
        (
            AuthorizationError::Policy("22012".into()),
            "Unauthorized: You do not have permissions to read from this Channel topic: room",
        ),
        (
            AuthorizationError::MissingPartition,
            "MissingPartition: Realtime was unable to find the expected messages partition",
        ),
    ] {
        let mut server = Server::with(1, no_delay(), 8, 8);
        let client = server.connect(0, 0, V2);
        ask_to_join(&mut server, client, "1", json!({}));
        let inquiry = server.inquiry();
        server.answer(inquiry, Err(error));
        assert_eq!(server.frames(client), [refused("1", reason)]);
    }
}

#[test]
fn a_join_without_an_answer_is_refused_before_its_client_gives_up() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "1", json!({}));
    let late = server.inquiry();
    server.advance_to(7_900);
    assert_eq!(server.frames(client), NO_FRAMES);
    server.advance_to(8_000);
    let reason = "IncreaseConnectionPool: Please increase your connection pool size";
    assert_eq!(server.frames(client), [refused("1", reason)]);
    server.answer(late, Ok(Answer::Rights(Rights { broadcast: true, presence: true })));
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn a_refusal_is_held_back_from_the_join_and_not_from_the_answer() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "1", json!({}));
    server.advance_to(3_000);
    server.push(client, "2", "2", "realtime:other", "phx_join", private(json!({"postgres_changes": ["x"]})));
    server.grant(false, false);
    server.advance_to(5_000);
    assert_eq!(server.frames(client)[0][0], "1");
    server.advance_to(8_000);
    assert_eq!(server.frames(client)[0][0], "2");
}

#[test]
fn a_full_queue_refuses_at_once() {
    let mut server = Server::with(1, no_delay(), 8, 8);
    let client = server.connect(0, 0, V2);
    for number in 0..=INQUIRIES_MAX {
        let topic = format!("realtime:{number}");
        server.push(client, "1", "1", &topic, "phx_join", private(json!({})));
    }
    let frames = server.frames(client);
    assert_eq!(frames.len(), 1);
    let reason = "IncreaseConnectionPool: Please increase your connection pool size";
    assert_eq!(frames[0][4]["response"]["reason"], reason);
}

#[test]
fn waiting_joins_are_bounded_by_number_and_size_and_count_as_channels() {
    let large = json!({"x": "x".repeat(1_000)});
    for (config, payload, reason) in [
        (Config { joins_waiting_max: 1, ..no_delay() }, json!({}), "IncreaseConnectionPool"),
        (Config { joins_waiting_bytes_max: 1_500, ..no_delay() }, large, "IncreaseConnectionPool"),
        (Config { channels_per_socket_max: 1, ..no_delay() }, json!({}), "ChannelRateLimitReached"),
    ] {
        let mut server = Server::with(1, config, 8, 8);
        let client = server.connect(0, 0, V2);
        ask_to_join(&mut server, client, "1", payload.clone());
        server.push(client, "2", "2", "realtime:other", "phx_join", private(payload.clone()));
        let frames = server.frames(client);
        assert!(frames[0][4]["response"]["reason"].as_str().unwrap().starts_with(reason));
        // Room is made when the first has been answered, or has gone.
        server.push(client, "1", "3", ROOM, "phx_leave", json!({}));
        server.received(client);
        server.push(client, "2", "2", "realtime:other", "phx_join", private(payload));
        assert_eq!(server.frames(client), NO_FRAMES);
    }
}

#[test]
fn a_second_join_takes_the_place_of_one_that_waits() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({}), (true, true));
    ask_to_join(&mut server, client, "2", json!({}));
    let old = server.inquiry();
    ask_to_join(&mut server, client, "3", json!({}));
    assert_eq!(server.frames(client), [closed("1")]);
    server.answer(old, Ok(Answer::Rights(Rights { broadcast: true, presence: true })));
    assert_eq!(server.frames(client), NO_FRAMES);
    server.grant(true, true);
    assert_eq!(server.frames(client), [joined("3"), closed("2")]);
}

#[test]
fn a_join_that_waits_has_ended_the_channel_before_it() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    for client in [client, other] {
        join(&mut server, client, "1", json!({}), (true, true));
    }
    ask_to_join(&mut server, client, "2", json!({}));
    send(&mut server, other, "2", 1);
    let read = server.inquiry();
    server.grant(true, true);
    server.answer(read, Ok(Answer::Rights(Rights { broadcast: true, presence: true })));
    assert_eq!(server.frames(client), [joined("2"), closed("1")]);
}

#[test]
fn a_topic_whose_join_waits_is_not_joined() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "1", json!({}));
    send(&mut server, client, "2", 1);
    let unmatched = json!([null, "2", ROOM, "phx_reply",
        {"status": "error", "response": {"reason": "unmatched topic"}}]);
    assert_eq!(server.frames(client), [unmatched]);
}

#[test]
fn a_join_that_waits_can_be_left() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "2", json!({}));
    // A leave that the join has overtaken is not meant for it.
    server.push(client, "1", "3", ROOM, "phx_leave", json!({}));
    assert_eq!(server.frames(client), NO_FRAMES);
    server.push(client, "2", "4", ROOM, "phx_leave", json!({}));
    assert_eq!(server.frames(client), [ok("2", "4"), closed("2")]);
    server.grant(true, true);
    server.advance_to(20_000);
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn a_join_does_not_survive_its_socket() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "1", json!({}));
    server.disconnect(client);
    let successor = server.connect(0, 0, V2);
    ask_to_join(&mut server, successor, "1", json!({}));
    server.grant(true, true);
    assert_eq!(server.unread(), []);
    server.grant(true, true);
    assert_eq!(server.frames(successor), [joined("1")]);
}

#[test]
fn a_join_does_not_survive_its_token() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    server.advance_to(31_000);
    let mut payload = private(json!({}));
    payload["access_token"] = json!("<token:short>");
    server.push(client, "1", "1", ROOM, "phx_join", payload);
    server.advance_to(33_000);
    server.grant(true, true);
    server.advance_to(36_000);
    assert_eq!(server.frames(client), [refused("1", "InvalidJWTToken: Token has expired 1 seconds ago")]);
}

#[test]
fn a_join_that_waits_while_the_server_goes_down_is_dropped() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "1", json!({}));
    server.command(0, ShardCommand::Drain);
    assert_eq!(server.frames(client), [json!({"closed": 1012})]);
    server.grant(true, true);
    server.advance_to(20_000);
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn an_answer_counts_once_and_only_for_its_question() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "1", json!({}));
    let inquiry = server.inquiry();
    let again = |inquiry: &Inquiry| {
        let ReplyTo::Channel { channel, inquiry: number } = inquiry.reply else { panic!("not of a channel") };
        Authorized {
            channel,
            inquiry: number,
            question: Question::Read,
            result: Ok(Answer::Rights(Rights { broadcast: false, presence: false })),
        }
    };
    let mut stale = again(&inquiry);
    let duplicate = again(&inquiry);
    stale.inquiry += 1;
    server.command(0, ShardCommand::Authorized(Box::new(stale)));
    assert_eq!(server.frames(client), NO_FRAMES);
    server.answer(inquiry, Ok(Answer::Rights(Rights { broadcast: true, presence: true })));
    assert_eq!(server.frames(client), [joined("1")]);
    server.command(0, ShardCommand::Authorized(Box::new(duplicate)));
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn a_join_is_judged_by_the_policies_of_its_answer() {
    let mut server = Server::with(1, no_delay(), 8, 8);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "1", json!({}));
    server.change_policies();
    server.grant(true, true);
    assert_eq!(server.frames(client), NO_FRAMES);
    server.grant(false, false);
    let reason = "Unauthorized: You do not have permissions to read from this Channel topic: room";
    assert_eq!(server.frames(client), [refused("1", reason)]);
}

#[test]
fn a_server_for_private_channels_only_refuses_public_ones() {
    let mut server = Server::with(1, Config { private_only: true, ..no_delay() }, 8, 8);
    let client = server.connect(0, 0, V2);
    server.push(client, "1", "1", ROOM, "phx_join", json!({"config": {}}));
    let reason = "PrivateOnly: This project only allows private channels";
    assert_eq!(server.frames(client), [refused("1", reason)]);
    join(&mut server, client, "2", json!({}), (true, true));
}

#[test]
fn changes_of_the_database_work_as_on_a_public_channel() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    ask_to_join(&mut server, client, "1", json!({"postgres_changes": [{"event": "*", "schema": "public"}]}));
    assert!(server.feed.try_recv().is_err());
    server.grant(true, false);
    assert!(matches!(server.feed.try_recv(), Ok(FeedCommand::Subscribe(_))));
    assert_eq!(server.frames(client).len(), 1);
    server.push(client, "1", "2", ROOM, "phx_leave", json!({}));
    assert!(matches!(server.feed.try_recv(), Ok(FeedCommand::Unsubscribe { .. })));
}

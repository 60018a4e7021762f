//! Stored broadcasts at a join: none missing, none doubled, and bounded.

use std::sync::Arc;

use rowcast::channel::{Body, Rights};
use rowcast::hub::authorization::{Answer, AuthorizationError, Inquiry, Question, Replayed, Stored};
use rowcast::hub::{FeedEvent, Seen, ShardCommand, StreamedCommit};
use rowcast::postgres::snapshot::Snapshot;
use rowcast::protocol::Dialect::{V1, V2};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::script::{Received, commit, replayed, shape};

fn stored(number: u128, event: &str, body: Body<'static>) -> Stored {
    Stored { id: Uuid::from_u128(number), event: event.to_owned(), body }
}

fn json_body(text: &'static str) -> Body<'static> {
    Body::Json(text.into())
}

/// Sends to the room as the database's stream does.
fn from_database(server: &mut Server, number: u32) {
    server.publish(ROOM, commit(number), Uuid::from_u128(number.into()), "e", json_body("{}"));
}

/// The ids in what came, in order.
fn ids(frames: &[Value]) -> Vec<u128> {
    let id = |frame: &Value| Uuid::parse_str(frame[4]["meta"]["id"].as_str()?).ok();
    frames.iter().filter_map(id).map(|id| id.as_u128()).collect()
}

fn replay() -> Value {
    json!({"broadcast": {"replay": {"since": 1_000, "limit": 3}}})
}

/// Asks to join with a replay, which may be read; answers the question for what is stored.
fn begin_replay(server: &mut Server, client: Client) -> Inquiry {
    ask_to_join(server, client, "1", replay());
    server.grant(true, false);
    let inquiry = server.inquiry();
    assert_eq!(inquiry.question, Question::Replay { since_unix_ms: 1_000, limit: 3 });
    assert_eq!(server.frames(client), NO_FRAMES);
    inquiry
}

#[test]
fn what_is_replayed_has_the_shape_that_clients_read() {
    let messages = vec![
        stored(1, "a", json_body("{\"n\":1}")),
        stored(2, "b", Body::Bytes(b"\x00\xff".as_slice().into())),
    ];
    for (dialect, join_ref) in [(V2, json!("1")), (V1, Value::Null)] {
        let mut server = Server::start(1);
        let client = server.connect(0, 0, dialect);
        ask_to_join(&mut server, client, "1", replay());
        server.grant(true, true);
        let inquiry = server.inquiry();
        server.answer(inquiry, Ok(replayed(messages.clone(), 2)));
        let frames = server.received(client);
        let shapes: Vec<Value> = frames.iter().map(shape).collect();
        let meta = json!({"id": Uuid::from_u128(1).to_string(), "replayed": true});
        let payload = json!({"type": "broadcast", "event": "a", "payload": {"n": 1}, "meta": meta});
        assert_eq!(shapes[1], json!([join_ref, null, ROOM, "broadcast", payload]));
        if dialect == V1 {
            assert_eq!(frames.len(), 2, "bytes have no version 1");
            continue;
        }
        let meta = format!("{{\"id\":\"{}\",\"replayed\":true}}", Uuid::from_u128(2));
        let header = [4, 13, 1, u8::try_from(meta.len()).unwrap(), 0];
        let expected = [&header[..], b"realtime:roomb", meta.as_bytes(), b"\x00\xff"].concat();
        assert_eq!(frames[2..], [Received::Binary(expected)]);
    }
}

#[test]
fn between_what_is_stored_and_what_is_sent_nothing_is_missing_or_doubled() {
    for shard_count in [1, 2] {
        let mut server = Server::start(shard_count);
        let client = server.connect(0, 0, V1);
        from_database(&mut server, 1);
        let inquiry = begin_replay(&mut server, client);
        (2..=4).for_each(|number| from_database(&mut server, number));
        assert_eq!(server.frames(client), NO_FRAMES);
        let messages = [1, 2, 3].map(|number| stored(number, "e", json_body("{}")));
        server.answer(inquiry, Ok(replayed(messages, 3)));
        (5..=6).for_each(|number| from_database(&mut server, number));
        let frames = server.frames(client);
        assert_eq!(frames[0][3], "phx_reply");
        assert_eq!(ids(&frames), [1, 2, 3, 4, 5, 6]);
        let replayed: Vec<bool> =
            frames[1..].iter().map(|frame| frame[4]["meta"]["replayed"] == true).collect();
        assert_eq!(replayed, [true, true, true, false, false, false]);
    }
}

/// The stream may be long behind what a replay has read.
#[test]
fn what_was_committed_before_the_replay_was_read_is_not_sent_after_it() {
    for shard_count in [1, 2] {
        let mut server = Server::start(shard_count);
        let client = server.connect(0, 0, V1);
        let inquiry = begin_replay(&mut server, client);
        // It asks for the latest two of five: the others are no news either, and the stream has sent one of them.
        from_database(&mut server, 1);
        let messages = [4, 5].map(|number| stored(number, "e", json_body("{}")));
        server.answer(inquiry, Ok(replayed(messages, 5)));
        assert_eq!(ids(&server.frames(client)), [4, 5]);
        (2..=5).for_each(|number| from_database(&mut server, number));
        assert_eq!(server.frames(client), NO_FRAMES);
        from_database(&mut server, 6);
        assert_eq!(ids(&server.frames(client)), [6]);
        // Transactions are numbered anew in time, and then no replay knows of them.
        let again = StreamedCommit { xid: 3, ..commit(7) };
        server.publish(ROOM, again, Uuid::from_u128(7), "e", json_body("{}"));
        assert_eq!(ids(&server.frames(client)), [7]);
    }
}

#[test]
fn what_was_in_the_log_and_not_yet_to_be_seen_is_sent_after_the_replay() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V1);
    let inquiry = begin_replay(&mut server, client);
    let Answer::Stored(found) = replayed([stored(2, "e", json_body("{}"))], 2) else { unreachable!() };
    // The first still waits for a standby, say.
    let snapshot = Snapshot::parse("1:3:1").unwrap();
    let seen = Arc::new(Seen::new(snapshot, commit(2).lsn));
    server.answer(inquiry, Ok(Answer::Stored(Replayed { seen, ..found })));
    assert_eq!(ids(&server.frames(client)), [2]);
    (1..=2).for_each(|number| from_database(&mut server, number));
    assert_eq!(ids(&server.frames(client)), [1]);
}

/// A server that takes over may have lost the last commits, and number others like them.
#[test]
fn a_replay_of_another_history_hides_nothing() {
    let mut server = Server::start(2);
    let clients = [server.connect(0, 0, V1), server.connect(1, 1, V1)];
    let inquiry = begin_replay(&mut server, clients[0]);
    server.answer(inquiry, Ok(replayed([], 5)));
    assert_eq!(ids(&server.frames(clients[0])), [0; 0]);
    let inquiry = begin_replay(&mut server, clients[1]);
    (0..2).for_each(|shard| {
        server.command(shard, ShardCommand::Feed(FeedEvent::Forked(commit(3).lsn)));
    });
    from_database(&mut server, 4);
    server.answer(inquiry, Ok(replayed([], 5)));
    for client in clients {
        assert_eq!(ids(&server.frames(client)), [4]);
    }
}

#[test]
fn what_clients_send_meanwhile_comes_after_the_replay() {
    let mut server = Server::start(2);
    let (client, other) = (server.connect(0, 0, V2), server.connect(1, 0, V2));
    join(&mut server, other, "1", presence(), (true, true));
    let inquiry = begin_replay(&mut server, client);
    send(&mut server, other, "2", 1);
    server.grant(true, true);
    server.push(other, "1", "3", ROOM, "presence", track(1));
    assert_eq!(server.frames(client), NO_FRAMES);
    server.answer(inquiry, Ok(replayed([stored(1, "e", json_body("{}"))], 1)));
    let frames = server.frames(client);
    assert_eq!((frames.len(), frames[0].clone(), frames[2].clone()), (3, joined("1"), broadcast(1)));
    send(&mut server, other, "4", 2);
    assert_eq!(server.frames(client), [broadcast(2)]);
}

#[test]
fn a_replay_that_cannot_be_had_refuses_the_join() {
    let failed = "UnableToReplayMessages: Realtime was unable to replay messages";
    let invalid = "UnableToReplayMessages: Replay params are not valid";
    let public = "UnableToReplayMessages: Replay is not allowed for public channels";
    let unauthorized = "Unauthorized: You do not have permissions to read from this Channel topic: room";
    let mut server = Server::with(1, no_delay(), 8, 8);
    let client = server.connect(0, 0, V2);
    for (config, reason) in [
        (private(json!({"broadcast": {"replay": {"since": "x"}}})), invalid),
        (json!({"config": {"broadcast": {"replay": null}}}), public),
    ] {
        server.push(client, "1", "1", ROOM, "phx_join", config);
        assert_eq!(server.frames(client), [refused("1", reason)]);
    }
    // Presence alone is not enough.
    let mut config = replay();
    config["presence"] = json!({"enabled": true});
    ask_to_join(&mut server, client, "1", config);
    server.grant(false, true);
    assert_eq!(server.frames(client), [refused("1", unauthorized)]);
    for error in [AuthorizationError::Canceled, AuthorizationError::MissingPartition] {
        let inquiry = begin_replay(&mut server, client);
        server.answer(inquiry, Err(error));
        assert_eq!(server.frames(client), [refused("1", failed)]);
    }
    // Too much was sent meanwhile.
    let inquiry = begin_replay(&mut server, client);
    (0..300).for_each(|number| from_database(&mut server, number));
    server.answer(inquiry, Ok(replayed([], 0)));
    assert_eq!(server.frames(client), [refused("1", failed)]);
    // No answer at all.
    let _never = begin_replay(&mut server, client);
    server.advance_to(8_000);
    assert_eq!(server.frames(client), [refused("1", failed)]);
    // None of them is in the room any more.
    from_database(&mut server, 1);
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn rights_lost_while_the_replay_is_read_refuse_the_join() {
    let mut server = Server::with(1, no_delay(), 8, 8);
    let client = server.connect(0, 0, V1);
    let inquiry = begin_replay(&mut server, client);
    server.change_policies();
    server.answer(inquiry, Ok(replayed([stored(1, "e", json_body("{}"))], 1)));
    assert_eq!(server.frames(client), NO_FRAMES);
    let again = server.inquiry();
    assert_eq!(again.question, Question::Read);
    // If they are still there, what is stored is read again.
    server.answer(again, Ok(Answer::Rights(Rights { broadcast: true, presence: false })));
    let inquiry = server.inquiry();
    server.change_policies();
    server.answer(inquiry, Ok(replayed([], 0)));
    server.grant(false, true);
    let reason = "Unauthorized: You do not have permissions to read from this Channel topic: room";
    let frames = server.frames(client);
    assert_eq!(frames[0][4]["response"]["reason"], reason);
    from_database(&mut server, 1);
    assert_eq!(server.frames(client), NO_FRAMES);
}

/// Members of a room know their places, also those whose join waits there.
#[test]
fn places_in_a_room_are_kept_when_others_go() {
    let mut server = Server::start(1);
    let clients: Vec<_> = (0..4).map(|slot| server.connect(0, slot, V1)).collect();
    let inquiries: Vec<_> = clients.iter().map(|client| begin_replay(&mut server, *client)).collect();
    let mut inquiries = inquiries.into_iter();
    server.disconnect(clients[0]);
    server.answer(inquiries.next().unwrap(), Ok(replayed([], 0)));
    server.answer(inquiries.next().unwrap(), Ok(replayed([], 0)));
    server.push(clients[2], "1", "2", ROOM, "phx_leave", json!({}));
    let _left = inquiries.next();
    server.answer(inquiries.next().unwrap(), Ok(replayed([], 0)));
    server.push(clients[1], "1", "2", ROOM, "phx_leave", json!({}));
    for client in &clients[1..] {
        server.received(*client);
    }
    from_database(&mut server, 9);
    assert_eq!(ids(&server.frames(clients[3])), [9]);
    assert_eq!(server.unread(), []);
}

#[test]
fn joins_that_wait_in_one_room_are_all_dropped_when_the_server_goes_down() {
    let mut server = Server::start(1);
    let clients: Vec<_> = (0..3).map(|slot| server.connect(0, slot, V1)).collect();
    for client in &clients {
        begin_replay(&mut server, *client);
    }
    server.command(0, rowcast::hub::ShardCommand::Drain);
    for client in clients {
        assert_eq!(server.frames(client), [json!({"closed": 1012})]);
        server.disconnect(client);
    }
    from_database(&mut server, 1);
    assert_eq!(server.unread(), []);
}

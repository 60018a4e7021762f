//! New tokens and new policies: what a channel may do is asked again, and doubt denies.

use rowcast::channel::Rights;
use rowcast::hub::Config;
use rowcast::hub::authorization::{Answer, AuthorizationError, Question};
use rowcast::protocol::Dialect::V2;
use serde_json::json;

use super::*;
use crate::script::INQUIRIES_MAX;

// New tokens.

#[test]
fn a_new_token_is_asked_about_and_the_old_rights_hold_until_then() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    join(&mut server, client, "1", json!({}), (true, true));
    join(&mut server, other, "1", json!({}), (true, true));
    send(&mut server, other, "2", 1);
    server.grant(true, true);
    server.received(client);
    refresh(&mut server, client, "<token:a>");
    send(&mut server, other, "3", 2);
    assert_eq!(server.frames(client), [broadcast(2)]);
    let inquiry = server.inquiry();
    assert_eq!((inquiry.question, &*inquiry.subject.claims.role), (Question::Read, "authenticated"));
    server.answer(inquiry, Ok(Answer::Rights(Rights { broadcast: false, presence: false })));
    let message = "You do not have permissions to read from this Channel topic: room";
    assert_eq!(server.frames(client), [system("1", message), closed("1")]);
    assert_eq!(server.shards[0].counters().revoked_channels.get(), 1);
    send(&mut server, other, "4", 3);
    assert_eq!(server.frames(client), NO_FRAMES);
    heartbeat(&mut server, client);
}

#[test]
fn a_new_token_can_lose_and_gain() {
    let no_longer = "You no longer have permission to read from this Channel topic: room";
    for (before, after, lost) in [
        ((true, true), (true, false), true),
        ((true, true), (false, true), true),
        ((false, true), (true, true), false),
        ((true, false), (true, true), false),
    ] {
        let mut server = Server::start(2);
        let (client, other) = (server.connect(0, 0, V2), server.connect(1, 0, V2));
        join(&mut server, other, "1", presence(), (true, true));
        server.push(other, "1", "2", ROOM, "presence", track(7));
        server.grant(true, true);
        ask_to_join(&mut server, client, "1", presence());
        server.grant(before.0, before.1);
        server.received(client);
        refresh(&mut server, client, "<token:a>");
        server.grant(after.0, after.1);
        let frames = server.frames(client);
        if lost {
            assert_eq!(frames, [system("1", no_longer), closed("1")]);
            continue;
        }
        let gained_presence = !before.1;
        assert_eq!(frames.len(), usize::from(gained_presence));
        if gained_presence {
            assert_eq!(frames[0][3], "presence_state");
            assert_eq!(frames[0][4]["me"]["metas"][0]["n"], 7);
        }
        send(&mut server, other, "3", 1);
        assert_eq!(server.frames(client), [broadcast(1)]);
    }
}

#[test]
fn a_new_token_forgets_what_may_be_sent() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({"broadcast": {"self": true}}), (true, true));
    send(&mut server, client, "2", 1);
    server.grant(true, true);
    refresh(&mut server, client, "<token:a>");
    server.grant(true, true);
    server.received(client);
    send(&mut server, client, "3", 2);
    assert_eq!(server.frames(client), NO_FRAMES);
    let inquiry = server.inquiry();
    assert_eq!((inquiry.question, &*inquiry.subject.claims.role), (Question::Write, "authenticated"));
    server.answer(inquiry, Ok(Answer::Rights(Rights { broadcast: false, presence: false })));
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn an_answer_about_the_old_token_is_not_one_about_the_new() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({"broadcast": {"self": true}}), (true, true));
    send(&mut server, client, "2", 1);
    refresh(&mut server, client, "<token:a>");
    refresh(&mut server, client, "<token:b>");
    let (write, read) = (server.inquiry(), server.inquiry());
    // One question of each kind at a time, however many tokens there are.
    assert!(server.inquiries.try_recv().is_err());
    let all = Rights { broadcast: true, presence: true };
    server.answer(write, Ok(Answer::Rights(all)));
    server.answer(read, Ok(Answer::Rights(Rights::default())));
    assert_eq!(server.frames(client), NO_FRAMES);
    server.advance_to(50);
    for question in [Question::Write, Question::Read] {
        let inquiry = server.inquiry();
        assert_eq!(inquiry.question, question);
        assert!(inquiry.subject.claims.json.contains("<token:b>"));
        server.answer(inquiry, Ok(Answer::Rights(all)));
    }
    assert_eq!(server.frames(client), [broadcast(1)]);
}

#[test]
fn a_new_token_that_cannot_be_asked_about_ends_the_channel() {
    for (error, message) in [
        (AuthorizationError::Unavailable, "Realtime was unable to connect to the project database"),
        (AuthorizationError::Canceled, "Query was cancelled, please try again"),
        (AuthorizationError::Busy, "Please increase your connection pool size"),
        (AuthorizationError::MissingPartition, "Realtime was unable to find the expected messages partition"),
        (
            AuthorizationError::Policy("22012".into()),
            "You do not have permissions to read from this Channel topic: room",
        ),
    ] {
        let mut server = Server::start(1);
        let client = server.connect(0, 0, V2);
        join(&mut server, client, "1", json!({}), (true, true));
        refresh(&mut server, client, "<token:a>");
        let inquiry = server.inquiry();
        server.answer(inquiry, Err(error));
        assert_eq!(server.frames(client), [system("1", message), closed("1")]);
    }
}

#[test]
fn the_old_rights_do_not_hold_for_ever() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({}), (true, true));
    refresh(&mut server, client, "<token:a>");
    server.advance_to(7_950);
    assert_eq!(server.frames(client), NO_FRAMES);
    server.advance_to(8_000);
    let message = "Please increase your connection pool size";
    assert_eq!(server.frames(client), [system("1", message), closed("1")]);
}

// New policies.

#[test]
fn changed_policies_end_delivery_without_a_new_token() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    join(&mut server, client, "1", json!({}), (true, true));
    join(&mut server, other, "1", json!({}), (true, true));
    send(&mut server, other, "2", 1);
    server.grant(true, true);
    server.received(client);
    server.change_policies();
    server.tick();
    // Whatever could be sent must be asked again too.
    send(&mut server, other, "3", 2);
    server.grant(false, false);
    let message = "You do not have permissions to read from this Channel topic: room";
    assert_eq!(server.frames(client), [system("1", message), closed("1")]);
    server.grant(true, true);
    server.grant(true, true);
    assert_eq!(server.unread(), []);
}

#[test]
fn a_change_of_policies_does_not_crowd_out_joins() {
    let mut server = Server::with(1, Config { reviews_per_tick: 3, ..Config::default() }, 8, 8);
    let clients: Vec<_> = (0..10).map(|slot| server.connect(0, slot, V2)).collect();
    for client in &clients {
        join(&mut server, *client, "1", json!({}), (true, true));
    }
    server.change_policies();
    for expected in [3, 3, 3, 1, 0] {
        server.tick();
        let mut asked = 0;
        while let Ok(inquiry) = server.inquiries.try_recv() {
            asked += 1;
            server.answer(inquiry, Ok(Answer::Rights(Rights { broadcast: true, presence: true })));
        }
        assert_eq!(asked, expected);
    }
    server.advance_to(60_000);
    assert_eq!(server.unread(), []);
}

#[test]
fn a_full_queue_only_delays_a_review() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({}), (true, true));
    server.change_policies();
    let crowd = server.connect(0, 1, V2);
    for number in 0..INQUIRIES_MAX {
        server.push(crowd, "1", "1", &format!("realtime:{number}"), "phx_join", private(json!({})));
    }
    server.tick();
    (0..INQUIRIES_MAX).for_each(|_| server.grant(true, true));
    assert!(server.inquiries.try_recv().is_err());
    server.tick();
    server.grant(true, true);
    server.advance_to(60_000);
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn a_review_is_tried_again_until_doubt_denies() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({}), (true, true));
    server.change_policies();
    let mut asked = 0;
    for second in 0..30 {
        server.advance_to(second * 1_000 + 50);
        while let Ok(inquiry) = server.inquiries.try_recv() {
            asked += 1;
            server.answer(inquiry, Err(AuthorizationError::Unavailable));
        }
        assert_eq!(server.frames(client), NO_FRAMES);
    }
    assert!((25..=30).contains(&asked), "{asked}");
    server.advance_to(30_000);
    let message = "Realtime was unable to connect to the project database";
    assert_eq!(server.frames(client), [system("1", message), closed("1")]);
}

#[test]
fn a_policy_that_raises_denies_at_once() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({}), (true, true));
    server.change_policies();
    server.tick();
    let inquiry = server.inquiry();
    server.answer(inquiry, Err(AuthorizationError::Policy("22012".into())));
    let message = "You do not have permissions to read from this Channel topic: room";
    assert_eq!(server.frames(client), [system("1", message), closed("1")]);
}

#[test]
fn an_answer_from_before_a_change_of_policies_is_asked_for_again() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "1", json!({"broadcast": {"self": true}}), (true, true));
    send(&mut server, client, "2", 1);
    server.change_policies();
    server.grant(true, true);
    assert_eq!(server.frames(client), NO_FRAMES);
    let inquiry = server.inquiry();
    assert_eq!(inquiry.question, Question::Write);
    server.answer(inquiry, Ok(Answer::Rights(Rights::default())));
    assert_eq!(server.frames(client), NO_FRAMES);
}

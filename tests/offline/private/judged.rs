//! What compiled policies decide in memory, and what a commit that changes them does.

use std::sync::Arc;

use rowcast::change::RelationId;
use rowcast::channel::Body;
use rowcast::hub::authorization::Question;
use rowcast::hub::{Recheck, ShardCommand};
use rowcast::policy::catalog::MessagePrograms;
use rowcast::policy::expression::Expr;
use rowcast::policy::messages::{Column, Messages, Partitions};
use rowcast::policy::program::Rule;
use rowcast::policy::uncompiled::{Reason, Uncompiled};
use rowcast::policy::value::Value as Constant;
use rowcast::policy::{Catalog, Program, Role};
use rowcast::protocol::Dialect;
use serde_json::json;
use uuid::Uuid;

use super::super::script::{Client, Server, commit};
use super::{NO_FRAMES, ROOM, ask_to_join, broadcast, closed, joined, ok, send, system};

const DENIED: &str = "You do not have permissions to read from this Channel topic: room";

/// What a policy says of every row; `None`: it does not compile.
type Says = Option<bool>;

/// Has policies say this to everybody from now on, and answers the word of the feed about it.
fn policies(server: &Server, version: u64, read: Says, write: Says) -> Arc<Recheck> {
    let program = |says: Says| {
        let condition = match says {
            Some(truth) => Ok(Expr::Const(Constant::Bool(truth))),
            None => Err(Uncompiled::new(Reason::Function, "f")),
        };
        Some(Arc::new(Program::new(vec![Rule { policy: "p".into(), condition }], vec![])))
    };
    let messages = MessagePrograms { read: program(read), write: program(write) };
    let role = Some(Arc::new(Role { messages, ..Role::default() }));
    let table = Messages {
        id: RelationId(1),
        columns: ["topic", "extension", "id"].map(Column::named).into(),
        is_indexed: false,
        partitions: Partitions::Always,
    };
    let mut knowledge = server.engine.write();
    knowledge.catalog = Arc::new(Catalog {
        version,
        roles: [("anon".into(), role)].into(),
        messages: Some(Arc::new(table)),
        ..Catalog::default()
    });
    knowledge.is_current = true;
    Arc::new(Recheck::everybody(version))
}

fn server() -> (Server, Client) {
    let mut server = Server::start(1);
    let client = server.connect(0, 1, Dialect::V2);
    (server, client)
}

fn publish(server: &mut Server, number: u32) {
    let body = Body::Json(format!("{{\"n\":{number}}}").into());
    server.publish(ROOM, commit(number), Uuid::from_u128(u128::from(number)), "e", body);
}

#[test]
fn what_is_granted_in_memory_is_not_asked() {
    let (mut server, client) = server();
    policies(&server, 1, Some(true), Some(true));
    ask_to_join(&mut server, client, "1", json!({"broadcast": {"self": true, "ack": true}}));
    assert_eq!(server.frames(client), [joined("1")]);
    send(&mut server, client, "2", 1);
    assert_eq!(server.frames(client), [broadcast(1), ok("1", "2")]);
    assert!(server.inquiries.try_recv().is_err());
}

#[test]
fn what_is_denied_in_memory_is_asked() {
    for says in [Some(false), None] {
        let (mut server, client) = server();
        policies(&server, 1, says, says);
        ask_to_join(&mut server, client, "1", json!({"broadcast": {"self": true}}));
        assert_eq!(server.frames(client), NO_FRAMES);
        server.grant(true, true);
        assert_eq!(server.frames(client), [joined("1")]);
        send(&mut server, client, "2", 1);
        let inquiry = server.inquiry();
        assert_eq!(inquiry.question, Question::Write);
        server.answer(inquiry, Ok(rowcast::hub::authorization::Answer::Rights(Default::default())));
        assert_eq!(server.frames(client), NO_FRAMES);
    }
}

#[test]
fn a_right_that_is_lost_ends_the_channel_before_what_follows() {
    let (mut server, client) = server();
    policies(&server, 1, Some(true), Some(true));
    ask_to_join(&mut server, client, "1", json!({}));
    assert_eq!(server.frames(client), [joined("1")]);
    publish(&mut server, 1);
    assert_eq!(server.received(client).len(), 1);
    server.advance_to(10_000);
    // One that takes nothing away changes nothing.
    let recheck = policies(&server, 2, Some(true), Some(true));
    server.command(0, ShardCommand::Recheck(recheck));
    assert_eq!(server.frames(client), NO_FRAMES);
    let recheck = policies(&server, 3, Some(false), Some(true));
    server.command(0, ShardCommand::Recheck(recheck));
    publish(&mut server, 2);
    assert_eq!(server.frames(client), [system("1", DENIED), closed("1")]);
    assert!(server.inquiries.try_recv().is_err());
}

#[test]
fn doubt_hears_nothing_until_it_is_answered() {
    for (granted, count) in [(true, 2), (false, 0)] {
        let (mut server, client) = server();
        policies(&server, 1, Some(true), Some(true));
        ask_to_join(&mut server, client, "1", json!({}));
        assert_eq!(server.frames(client), [joined("1")]);
        let recheck = policies(&server, 2, None, Some(true));
        server.command(0, ShardCommand::Recheck(recheck));
        publish(&mut server, 1);
        publish(&mut server, 2);
        assert_eq!(server.received(client), []);
        server.grant(granted, granted);
        if granted {
            assert_eq!(server.received(client).len(), count, "what came meanwhile");
            publish(&mut server, 3);
            assert_eq!(server.received(client).len(), 1);
        } else {
            assert_eq!(server.frames(client), [system("1", DENIED), closed("1")]);
        }
    }
}

#[test]
fn what_postgres_has_granted_is_not_taken_away_without_asking() {
    let (mut server, client) = server();
    policies(&server, 1, Some(false), Some(true));
    ask_to_join(&mut server, client, "1", json!({}));
    server.grant(true, true);
    assert_eq!(server.frames(client), [joined("1")]);
    // The stream is behind: this is about a commit before the one by which the client is here.
    let recheck = policies(&server, 2, Some(false), Some(true));
    server.command(0, ShardCommand::Recheck(recheck));
    publish(&mut server, 1);
    assert_eq!(server.received(client), [], "it was taken away then");
    let recheck = policies(&server, 3, Some(true), Some(true));
    server.command(0, ShardCommand::Recheck(recheck));
    publish(&mut server, 2);
    assert_eq!(server.received(client).len(), 1, "and given again");
    // The answer may be of the time between, so it is asked for again.
    server.grant(false, false);
    server.tick();
    server.grant(true, true);
    assert_eq!(server.frames(client), NO_FRAMES);
}

#[test]
fn an_answer_to_a_join_from_before_a_change_is_asked_for_again() {
    let (mut server, client) = server();
    policies(&server, 1, None, Some(true));
    ask_to_join(&mut server, client, "1", json!({}));
    let earlier = server.inquiry();
    let recheck = policies(&server, 2, None, Some(true));
    server.command(0, ShardCommand::Recheck(recheck));
    let rights = rowcast::hub::authorization::Rights { broadcast: true, presence: true };
    server.answer(earlier, Ok(rowcast::hub::authorization::Answer::Rights(rights)));
    assert_eq!(server.frames(client), NO_FRAMES);
    server.grant(false, false);
    server.advance_to(10_000);
    assert_eq!(server.frames(client)[0][4]["status"], "error");
}

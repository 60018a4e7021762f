//! Pitchey's names, and what its socket makes of events.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::convert::{self, Call, FRAMES, Sending, What};
use super::socket::{Done, Given, HISTORY_MESSAGES, READ_AGAIN_MAX, State};
use crate::adapter::Error;
use crate::adapter::conversation::{self, Event, Table};
use crate::adapter::socket::Frames;
use crate::postgres::messaging::Person;

const ANN: Uuid = Uuid::from_u128(0xa1);
const BOB: Uuid = Uuid::from_u128(0xb1);
const ROOM: Uuid = Uuid::from_u128(0xc1);
const OTHER_ROOM: Uuid = Uuid::from_u128(0xc2);

fn id(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

/// A row that is as old as its number is small.
fn row(message_id: Uuid, conversation_id: Uuid, sender_id: Uuid) -> Value {
    let second = message_id.as_u128() % 3600;
    json!({
        "id": message_id, "conversation_id": conversation_id, "sender_id": sender_id, "sender_type": "staff",
        "content": "hello", "message_type": "text", "attachments": [{ "url": "u", "name": "n", "size": 1,
        "mime_type": "m" }], "created_at": format!("2026-11-21T12:{:02}:{:02}+00:00", second / 60, second % 60),
        "sender_name": "Ann",
    })
}

fn message(message_id: Uuid, conversation_id: Uuid, sender_id: Uuid) -> conversation::Message {
    serde_json::from_value(row(message_id, conversation_id, sender_id)).unwrap()
}

fn sent(message_id: Uuid, conversation_id: Uuid) -> Arc<Event> {
    Arc::new(Event::Sent(message(message_id, conversation_id, ANN)))
}

fn call(frame: Value) -> Result<Call, Error> {
    let mut fields = frame.as_object().unwrap().clone();
    let kind = fields.remove("type").unwrap();
    convert::call(kind.as_str().unwrap(), &fields)
}

/// Bob's socket.
fn bob() -> (State, Frames) {
    (State::new(Person::User(BOB)), Frames::default())
}

fn ids(frames: &[Value]) -> Vec<&Value> {
    frames.iter().map(|frame| &frame["messageId"]).collect()
}

fn history(messages: impl Iterator<Item = usize>) -> Done {
    let rows: Vec<_> = messages.map(|number| row(id(number), ROOM, ANN)).collect();
    let messages = convert::messages(Value::Array(rows)).unwrap();
    Done { request: "join_conversation", client_message_id: None, result: Ok(Given::History(ROOM, messages)) }
}

#[test]
fn each_frame_is_one_call() {
    let (conversation, message) = (ROOM, id(1));
    for (frame, name, arguments) in [
        (
            json!({ "type": "message_read", "messageId": message }),
            "mark_message_as_read",
            json!({ "message_id": message }),
        ),
        (
            json!({ "type": "typing_start", "conversationId": conversation }),
            "update_typing_indicator",
            json!({ "conversation_id": conversation, "is_typing": true }),
        ),
        (
            json!({ "type": "typing_stop", "conversationId": conversation }),
            "update_typing_indicator",
            json!({ "conversation_id": conversation, "is_typing": false }),
        ),
        (
            json!({ "type": "edit_message", "messageId": message, "content": "x" }),
            "edit_message",
            json!({ "message_id": message, "content": "x" }),
        ),
        (
            json!({ "type": "delete_message", "messageId": message }),
            "delete_message",
            json!({ "message_id": message }),
        ),
        (
            json!({ "type": "add_reaction", "messageId": message, "emoji": "x" }),
            "add_message_reaction",
            json!({ "message_id": message, "emoji": "x" }),
        ),
        (
            json!({ "type": "remove_reaction", "messageId": message, "emoji": "x" }),
            "remove_message_reaction",
            json!({ "message_id": message, "emoji": "x" }),
        ),
    ] {
        let called = call(frame.clone()).unwrap();
        assert_eq!(called.what, What::Function(name, arguments));
        assert_eq!(frame["type"], called.request);
    }
    let join = call(json!({ "type": "join_conversation", "conversationId": ROOM })).unwrap();
    assert_eq!(join.what, What::Join(ROOM));
}

#[test]
fn the_page_lists_every_frame_of_a_client() {
    let page = include_str!("../../../docs/messaging.md");
    let (_, chapter) = page.split_once("### Frames of Pitchey's clients\n").unwrap();
    let rows =
        chapter.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| !line.is_empty());
    let kinds = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(", "));
    let listed: Vec<_> = kinds.map(|kind| kind.trim().trim_matches('`')).collect();
    let mut known: Vec<_> = ["ping"].into_iter().chain(FRAMES.iter().map(|(kind, _)| *kind)).collect();
    for kind in &listed {
        known.retain(|other| other != kind);
    }
    assert!(known.is_empty() && listed.len() == FRAMES.len() + 1, "{known:?} {listed:?}");
}

#[test]
fn a_frame_that_cannot_be_read_is_refused_by_its_names() {
    let refused = |kind: &str, fields: Value| {
        let error = Error::missing("content");
        serde_json::to_value(convert::unread(kind, fields.as_object().unwrap(), &error)).unwrap()
    };
    let expected = json!({ "type": "error", "message": "content is required", "request": "send_message",
        "clientMessageId": "c" });
    assert_eq!(refused("send_message", json!({ "clientMessageId": "c" })), expected);
    let expected = json!({ "type": "error", "message": "content is required" });
    assert_eq!(refused("fly", json!({ "clientMessageId": 7 })), expected);
}

#[test]
fn a_frame_that_lacks_something_is_no_call() {
    for (frame, error) in [
        (json!({ "type": "fly" }), Error::UnknownType),
        (json!({ "type": "message_read" }), Error::missing("messageId")),
        (json!({ "type": "message_read", "messageId": 7 }), Error::invalid("messageId")),
        (json!({ "type": "typing_start", "conversationId": "x" }), Error::invalid("conversationId")),
        (json!({ "type": "edit_message", "messageId": ROOM }), Error::missing("content")),
        (json!({ "type": "add_reaction", "messageId": ROOM, "emoji": [] }), Error::invalid("emoji")),
        (json!({ "type": "send_message", "content": "x" }), Error::missing("conversationId")),
        (json!({ "type": "send_message", "conversationId": ROOM }), Error::missing("content")),
        (json!({ "type": "send_message", "conversationId": ROOM, "content": "" }), Error::invalid("content")),
        (
            json!({ "type": "send_message", "conversationId": ROOM, "content": "x", "messageType": "video" }),
            Error::invalid("messageType"),
        ),
        (
            json!({ "type": "send_message", "conversationId": ROOM, "content": "\0" }),
            Error::invalid("content"),
        ),
        (
            json!({ "type": "send_message", "conversationId": ROOM, "attachments": [7] }),
            Error::invalid("attachments"),
        ),
        (
            json!({ "type": "typing_stop", "conversationId": ROOM, "clientMessageId": 1 }),
            Error::invalid("clientMessageId"),
        ),
    ] {
        assert_eq!(call(frame.clone()), Err(error), "{frame}");
    }
}

#[test]
fn a_message_is_sent_with_the_names_of_the_schema() {
    let body = json!({ "conversationId": ROOM, "content": "x", "recipientId": ANN, "messageType": "file",
        "replyToId": id(1), "clientMessageId": "c", "attachments": [{ "url": "u", "name": "n", "size": 1,
        "mimeType": "m" }] });
    let sending = Sending::read(body.as_object().unwrap()).unwrap();
    assert_eq!(
        sending.to(ROOM),
        json!({ "conversation_id": ROOM, "content": "x", "receiver_id": ANN, "message_type": "file",
            "reply_to_id": id(1), "client_message_id": "c", "attachments": [{ "url": "u", "name": "n", "size": 1,
            "mime_type": "m" }] })
    );
    // A file needs no words, and a recipient no conversation.
    let file = json!({ "recipientId": ANN, "attachments": [{ "url": "u" }] });
    let sending = Sending::read(file.as_object().unwrap()).unwrap();
    assert_eq!((sending.conversation_id, &sending.arguments["content"]), (None, &json!("")));
}

#[test]
fn each_event_is_one_frame() {
    let ann = Person::User(ANN);
    let customer = Person::Customer(id(7));
    let at = "2026-11-21T12:00:00+00:00".to_owned();
    let (message_id, conversation_id) = (id(1), ROOM);
    let reaction = |is_added| Event::Reaction {
        message_id,
        conversation_id,
        person: customer,
        emoji: "x".to_owned(),
        is_added,
    };
    let presence = |status: &str| Event::Presence {
        person: ann,
        name: Some("Ann".to_owned()),
        status: status.to_owned(),
        last_seen_at: Some(at.clone()),
    };
    let delivered = |status: &str| Event::Delivered {
        message_id,
        conversation_id,
        recipient_id: BOB,
        status: status.to_owned(),
    };
    let about = json!({ "messageId": id(1), "conversationId": ROOM });
    for (event, kind, fields) in [
        (Event::Deleted(message(message_id, ROOM, ANN)), "message_deleted", json!({})),
        (
            Event::Read { message_id, conversation_id, reader: ann, read_at: at.clone() },
            "message_read",
            json!({ "readBy": ANN, "readAt": at }),
        ),
        (reaction(true), "reaction_added", json!({ "userId": id(7), "emoji": "x" })),
        (reaction(false), "reaction_removed", json!({ "userId": id(7), "emoji": "x" })),
        (delivered("delivered"), "message_delivered", json!({ "deliveredTo": BOB })),
    ] {
        let mut expected = about.as_object().unwrap().clone();
        expected.insert("type".to_owned(), json!(kind));
        expected.extend(fields.as_object().unwrap().clone());
        let frame = serde_json::to_value(convert::frame(&event).unwrap()).unwrap();
        assert_eq!(frame, Value::Object(expected));
    }
    let frame = |event: &Event| serde_json::to_value(convert::frame(event)).unwrap();
    for status in ["online", "away", "busy"] {
        assert_eq!(
            frame(&presence(status)),
            json!({ "type": "user_online", "userId": ANN, "username": "Ann" })
        );
    }
    let offline = frame(&presence("offline"));
    assert_eq!(
        offline,
        json!({ "type": "user_offline", "userId": ANN, "username": "Ann", "lastSeenAt": at })
    );
    for status in ["read", "failed", "sent"] {
        assert_eq!(frame(&delivered(status)), Value::Null, "{status}");
    }
}

#[test]
fn a_message_has_all_that_clients_know_of_it() {
    let (mut bob, mut out) = bob();
    bob.event(&sent(id(1), ROOM), &mut out);
    let expected = json!({
        "type": "new_message", "messageId": id(1), "conversationId": ROOM, "senderId": ANN, "senderType": "staff",
        "senderName": "Ann", "recipientId": null, "content": "hello", "messageType": "text", "replyToId": null,
        "attachments": [{ "url": "u", "name": "n", "size": 1, "mimeType": "m" }], "clientMessageId": null,
        "createdAt": "2026-11-21T12:00:01+00:00", "editedAt": null, "deletedAt": null,
    });
    assert_eq!(out.take(), [expected]);
}

#[test]
fn what_happens_while_a_history_is_read_comes_after_it_once() {
    let (mut bob, mut out) = bob();
    bob.join(ROOM);
    bob.event(&sent(id(2), ROOM), &mut out);
    bob.event(&sent(id(9), OTHER_ROOM), &mut out);
    bob.event(&sent(id(3), ROOM), &mut out);
    assert_eq!(ids(&out.take()), [&json!(id(9))], "other conversations do not wait");
    // The reading saw the second message, not the third, and the first has no event any more.
    bob.done(history(1..=2), &mut out);
    let frames = out.take();
    assert_eq!(frames[0]["type"], "conversation_history");
    assert_eq!(ids(frames[0]["messages"].as_array().unwrap()), [&json!(id(1)), &json!(id(2))]);
    assert_eq!(ids(&frames[1..]), [&json!(id(3))]);
    // The feed may be behind the reading.
    bob.event(&sent(id(1), ROOM), &mut out);
    assert!(out.take().is_empty());
    bob.event(&sent(id(4), ROOM), &mut out);
    assert_eq!(ids(&out.take()), [&json!(id(4))]);
}

#[test]
fn what_stands_before_a_history_is_no_news() {
    let (mut bob, mut out) = bob();
    bob.join(ROOM);
    bob.event(&sent(id(5), ROOM), &mut out);
    // The first ten are older than what the history has, and the feed has told of none yet.
    bob.done(history(1..=HISTORY_MESSAGES + 10), &mut out);
    for number in 6..=10 {
        bob.event(&sent(id(number), ROOM), &mut out);
    }
    let frames = out.take();
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!(frames[0]["messages"][0]["messageId"], json!(id(11)));
    bob.event(&sent(id(5), OTHER_ROOM), &mut out);
    assert_eq!(ids(&out.take()), [&json!(id(5))], "other conversations have histories of their own");
}

#[test]
fn a_history_that_lacks_what_was_told_is_read_again() {
    let (mut bob, mut out) = bob();
    bob.event(&sent(id(3), ROOM), &mut out);
    bob.join(ROOM);
    bob.event(&sent(id(4), ROOM), &mut out);
    assert_eq!(bob.is_behind(&history(1..=3)), None, "what is held comes after it");
    for _ in 0..READ_AGAIN_MAX {
        assert_eq!(bob.is_behind(&history(1..=2)), Some(ROOM));
    }
    assert_eq!(bob.is_behind(&history(1..=2)), None, "the message may be gone");
    out.take();
    bob.done(history(1..=3), &mut out);
    assert_eq!(ids(&out.take()[1..]), [&json!(id(4))]);
}

#[test]
fn a_history_need_not_have_what_was_deleted() {
    let (mut bob, mut out) = bob();
    bob.event(&sent(id(3), ROOM), &mut out);
    bob.event(&Arc::new(Event::Deleted(message(id(3), ROOM, ANN))), &mut out);
    bob.join(ROOM);
    assert_eq!(bob.is_behind(&history(1..=2)), None);
    bob.done(history(1..=2), &mut out);
    // The twin: what comes after that must be there.
    bob.event(&sent(id(4), ROOM), &mut out);
    bob.join(ROOM);
    assert_eq!(bob.is_behind(&history(1..=2)), Some(ROOM));
}

#[test]
fn times_are_compared_in_any_zone() {
    let (mut bob, mut out) = bob();
    let mut newest = row(id(2), ROOM, ANN);
    // A quarter past twelve.
    newest["created_at"] = json!("2026-11-21T17:45:00.5+05:30");
    let messages = convert::messages(json!([newest])).unwrap();
    let result = Ok(Given::History(ROOM, messages));
    bob.done(Done { request: "join_conversation", client_message_id: None, result }, &mut out);
    out.take();
    bob.event(&sent(id(15 * 60), ROOM), &mut out);
    assert!(out.take().is_empty());
    bob.event(&sent(id(15 * 60 + 1), ROOM), &mut out);
    assert_eq!(out.take().len(), 1);
}

#[test]
fn a_history_that_cannot_be_read_loses_nothing() {
    let (mut bob, mut out) = bob();
    bob.join(ROOM);
    bob.event(&sent(id(2), ROOM), &mut out);
    let result = Err(Error::Unavailable);
    bob.done(Done { request: "join_conversation", client_message_id: None, result }, &mut out);
    let frames = out.take();
    assert_eq!(json!([frames[0]["type"], frames[0]["retryAfter"]]), json!(["error", 1]));
    assert_eq!(ids(&frames[1..]), [&json!(id(2))]);
}

#[test]
fn a_history_says_whether_there_is_more() {
    for (count, has_more) in [(HISTORY_MESSAGES, false), (HISTORY_MESSAGES + 1, true)] {
        let (mut bob, mut out) = bob();
        bob.done(history(1..=count), &mut out);
        let frames = out.take();
        let messages = frames[0]["messages"].as_array().unwrap();
        assert_eq!((messages.len(), &frames[0]["hasMore"]), (HISTORY_MESSAGES, &json!(has_more)));
        assert_eq!(messages[HISTORY_MESSAGES - 1]["messageId"], json!(id(count)), "the newest are kept");
    }
}

#[test]
fn nobody_is_told_what_they_do_themselves_nor_twice_who_is_there() {
    let (mut state, mut out) = bob();
    let typing =
        |person| Arc::new(Event::Typing { conversation_id: ROOM, person, is_typing: true, expires_at: None });
    let presence = |person, status: &str| {
        Arc::new(Event::Presence { person, name: None, status: status.to_owned(), last_seen_at: None })
    };
    let (ann, bob) = (Person::User(ANN), Person::User(BOB));
    state.event(&typing(bob), &mut out);
    state.event(&presence(bob, "online"), &mut out);
    assert!(out.take().is_empty());
    state.event(&typing(ann), &mut out);
    for status in ["online", "online", "busy", "offline", "offline", "away"] {
        state.event(&presence(ann, status), &mut out);
    }
    let kinds: Vec<_> = out.take().iter().map(|frame| frame["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["user_typing", "user_online", "user_offline", "user_online"]);
}

#[test]
fn a_conversation_has_pitcheys_names() {
    let value = json!([{
        "id": ROOM, "kind": "direct", "title": null, "participants": [{ "user_id": null, "customer_id": id(7),
        "name": "Cleo", "role": "member", "joined_at": "j", "last_read_at": null, "status": "away",
        "last_seen_at": "s" }], "customer_id": id(7), "created_by": ANN, "last_message": row(id(1), ROOM, ANN),
        "last_message_at": "l", "unread_count": 2, "is_archived": false, "metadata": {}, "created_at": "c",
        "updated_at": "u",
    }]);
    let shown = serde_json::to_value(convert::conversations(value).unwrap()).unwrap();
    let shown = &shown[0];
    assert_eq!(
        shown["participants"],
        json!([{ "userId": id(7), "name": "Cleo", "role": "member", "joinedAt": "j", "lastReadAt": null,
            "isOnline": true, "lastSeenAt": "s" }])
    );
    assert_eq!(json!([shown["unreadCount"], shown["lastMessage"]["messageId"]]), json!([2, id(1)]));
    assert_eq!(convert::conversations(json!([{ "id": 7 }])), Err(Error::NotSetUp));
}

#[test]
fn what_has_become_of_a_message_is_told_in_lists_alone() {
    let just_sent = serde_json::to_value(convert::sent(row(id(1), ROOM, ANN)).unwrap()).unwrap();
    for field in ["status", "reactions", "readBy"] {
        assert_eq!(just_sent.get(field), None, "{field}");
    }
    let mut listed = row(id(1), ROOM, ANN);
    listed["status"] = json!("read");
    listed["reactions"] = json!([{ "user_id": null, "customer_id": id(7), "emoji": "x" }]);
    listed["read_by"] = json!([{ "user_id": BOB, "customer_id": null, "read_at": "r" }]);
    let shown = serde_json::to_value(convert::messages(json!([listed])).unwrap()).unwrap();
    let shown = &shown[0];
    assert_eq!(shown["status"], "read");
    assert_eq!(shown["reactions"], json!([{ "userId": id(7), "emoji": "x" }]));
    assert_eq!(shown["readBy"], json!([{ "userId": BOB, "readAt": "r" }]));
}

#[test]
fn preferences_have_pitcheys_names_both_ways() {
    let fields = json!({ "inApp": false, "quietHoursStart": "22:00", "timeZone": "UTC" });
    let changes = convert::changes(fields.as_object().unwrap().clone()).unwrap();
    assert_eq!(changes, json!({ "in_app": false, "quiet_hours_start": "22:00", "time_zone": "UTC" }));
    let shown = convert::preferences(&changes);
    assert_eq!(
        json!([shown["inApp"], shown["quietHoursStart"], shown["email"]]),
        json!([false, "22:00", null])
    );
    for (name, wrong) in [
        ("email", json!("no")),
        ("push", Value::Null),
        ("mentions", json!(1)),
        ("quietHoursStart", json!(22)),
        ("timeZone", Value::Null),
    ] {
        let fields = json!({ name: wrong });
        assert_eq!(convert::changes(fields.as_object().unwrap().clone()), Err(Error::invalid(name)));
    }
    let off = json!({ "quietHoursStart": null, "quietHoursEnd": null });
    assert!(convert::changes(off.as_object().unwrap().clone()).is_ok());
    for unknown in ["in_app", "user_id", "fax"] {
        let fields = json!({ unknown: true });
        assert!(convert::changes(fields.as_object().unwrap().clone()).is_err(), "{unknown}");
    }
}

#[test]
fn sockets_hear_of_tables_that_have_frames() {
    assert!(!super::socket::APP.tables.contains(&Table::Participants));
}

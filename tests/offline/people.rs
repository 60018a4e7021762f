//! The people behind channels: who counts as connected, what counts as activity, and which messages count as sent to
//! whom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rowcast::hub::{ChannelRef, Delivery, FeedCommand, FeedEvent, Sent, ShardCommand};
use rowcast::postgres::messaging::{Messaging, Notes, Person};
use rowcast::protocol::Dialect::V2;
use rowcast::protocol::changes_frame;
use serde_json::json;
use uuid::Uuid;

use super::script::{Client, Server, subject};

const ROOM: &str = "realtime:room";
const IDLE: Duration = Duration::from_secs(300);

fn person(name: &str) -> Person {
    Person::User(subject(name).unwrap())
}

fn server() -> (Server, Messaging, Notes) {
    let (messaging, notes) = Messaging::new();
    (Server::with_messaging(messaging.clone()), messaging, notes)
}

/// Joins a room by a token, with a binding.
fn join(server: &mut Server, client: Client, room: &str, name: &str) {
    let bindings = json!([{ "event": "INSERT", "schema": "public", "table": "messages" }]);
    let payload =
        json!({ "config": { "postgres_changes": bindings }, "access_token": format!("<token:{name}>") });
    server.push(client, "1", "1", &format!("realtime:{room}"), "phx_join", payload);
}

fn connected(messaging: &Messaging) -> Vec<Person> {
    let present = messaging.people.present(IDLE, Instant::now());
    let mut people: Vec<Person> = present.into_iter().map(|present| present.person).collect();
    people.sort_unstable();
    people
}

#[test]
fn a_channel_is_a_device_of_the_person_of_its_token() {
    let (mut server, messaging, _notes) = server();
    let (ada, bob) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    assert_eq!(connected(&messaging), [], "a socket without a channel says nothing of anybody");
    join(&mut server, ada, "room", "ada");
    join(&mut server, ada, "other", "ada");
    join(&mut server, bob, "room", "bob");
    assert_eq!(connected(&messaging), [person("ada"), person("bob")]);
    server.push(ada, "1", "2", ROOM, "phx_leave", json!({}));
    assert_eq!(connected(&messaging), [person("ada"), person("bob")], "the other channel stays");
    server.push(ada, "1", "2", "realtime:other", "phx_leave", json!({}));
    assert_eq!(connected(&messaging), [person("bob")]);
    server.disconnect(bob);
    assert_eq!(connected(&messaging), []);
}

#[test]
fn a_token_that_is_about_nobody_connects_nobody() {
    let (mut server, messaging, _notes) = server();
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "room", "anon");
    join(&mut server, client, "other", "service");
    assert_eq!(connected(&messaging), []);
}

#[test]
fn a_refused_join_connects_nobody() {
    let (mut server, messaging, _notes) = server();
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "room", "wrong");
    assert_eq!(connected(&messaging), []);
}

#[test]
fn a_new_token_moves_the_channel_to_its_person() {
    let (mut server, messaging, _notes) = server();
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "room", "ada");
    let token = |server: &mut Server, name: &str| {
        let payload = json!({ "access_token": format!("<token:{name}>") });
        server.push(client, "1", "2", ROOM, "access_token", payload);
    };
    messaging.people.take_news(9, Instant::now());
    token(&mut server, "ada2");
    assert_eq!(messaging.people.take_news(9, Instant::now()), Default::default(), "the same person");
    token(&mut server, "bob");
    assert_eq!(connected(&messaging), [person("bob")]);
    token(&mut server, "anon");
    assert_eq!(connected(&messaging), []);
    token(&mut server, "ada");
    assert_eq!(connected(&messaging), [person("ada")]);
    token(&mut server, "wrong");
    assert_eq!(connected(&messaging), [], "the channel has ended");
}

#[test]
fn messages_are_activity_and_heartbeats_are_none() {
    let (mut server, messaging, _notes) = server();
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "room", "ada");
    let began = Instant::now();
    let idle = |after: u64| messaging.people.present(IDLE, began + Duration::from_secs(after))[0].idle;
    assert_eq!(idle(1), Duration::ZERO, "to join is to do something");
    server.push(client, "", "2", "phoenix", "heartbeat", json!({}));
    assert_eq!(idle(11), Duration::from_secs(10));
    server.push(client, "1", "3", ROOM, "broadcast", json!({ "type": "broadcast", "event": "typing" }));
    assert_eq!(idle(21), Duration::from_secs(10), "it was after the last look");
    assert_eq!(idle(31), Duration::from_secs(20), "and nothing has been since");
}

/// What the feed hands over for a message.
fn delivery(channels: &[ChannelRef], sender: &str) -> ShardCommand {
    let frame = changes_frame(V2, None, ROOM, &[7], r#"{"type":"INSERT"}"#);
    let sent = Sent { message_id: Uuid::from_u128(77), sender: Some(person(sender)) };
    let delivery = Delivery { frame, channels: channels.into(), sent: Some(Arc::new(sent)) };
    ShardCommand::Feed(FeedEvent::Changes(vec![delivery]))
}

fn channel(server: &mut Server) -> ChannelRef {
    let Ok(FeedCommand::Subscribe(subscribe)) = server.feed.try_recv() else { panic!("no subscription") };
    subscribe.channel
}

#[test]
fn a_message_counts_as_sent_to_everybody_but_its_sender_and_those_who_left() {
    let (mut server, messaging, mut notes) = server();
    let clients: Vec<Client> = (0..4).map(|slot| server.connect(0, slot, V2)).collect();
    let mut channels = Vec::new();
    for (client, name) in clients.iter().zip(["ada", "bob", "bob", "anon"]) {
        join(&mut server, *client, "room", name);
        channels.push(channel(&mut server));
    }
    server.disconnect(clients[2]);
    server.command(0, delivery(&channels, "ada"));
    assert_eq!(messaging.deliveries.waiting(), 1);
    assert_eq!(notes.rest(9), [(Uuid::from_u128(77), person("bob"))]);
    notes.written(1);
    // The twin: nobody is left to get it.
    server.disconnect(clients[1]);
    server.command(0, delivery(&channels, "ada"));
    assert_eq!(notes.rest(9), []);
}

#[test]
fn where_messaging_is_off_a_delivery_is_only_delivered() {
    let mut server = Server::start(1);
    let client = server.connect(0, 0, V2);
    join(&mut server, client, "room", "bob");
    let channel = channel(&mut server);
    server.frames(client);
    server.command(0, delivery(&[channel], "ada"));
    assert_eq!(server.frames(client).len(), 1);
}

//! Sockets without channels, and channels that wait for the replication stream: both only for so long.

use rowcast::hub::{FeedEvent, ShardCommand};
use rowcast::protocol::Dialect::V2;
use serde_json::{Value, json};

use super::script::{Client, Server};

const ROOM: &str = "realtime:room";

fn joined(join_ref: &str) -> Value {
    json!([join_ref, join_ref, ROOM, "phx_reply", {"status": "ok", "response": {"postgres_changes": []}}])
}

fn system(join_ref: &str, status: &str, message: &str) -> Value {
    json!([join_ref, null, ROOM, "system",
        {"extension": "system", "status": status, "message": message, "channel": "room"}])
}

fn assert_alive(server: &mut Server, client: Client) {
    server.push(client, "x", "beat", "phoenix", "heartbeat", json!({}));
    assert_eq!(server.frames(client).len(), 1);
}

#[test]
fn a_socket_that_has_left_all_channels_is_closed_after_a_while() {
    let minute = 60_000;
    let mut server = Server::start(1);
    let clients: Vec<_> = (0..4).map(|slot| server.connect(0, slot, V2)).collect();
    let [leaver, refused, joined, silent] = clients[..] else { panic!("four clients") };
    server.join(leaver, "1", "room", json!({}));
    server.join(joined, "1", "room", json!({}));
    server.push(refused, "1", "1", "realtime:", "phx_join", json!({}));
    server.advance_to(5 * minute);
    server.push(leaver, "1", "2", ROOM, "phx_leave", json!({}));
    server.received(leaver);
    server.received(refused);
    server.advance_to(10 * minute + 11_000);
    assert_eq!(server.frames(refused), [json!({"closed": 1000})]);
    assert_eq!(server.frames(leaver), [] as [Value; 0]);
    server.advance_to(15 * minute + 11_000);
    assert_eq!(server.frames(leaver), [json!({"closed": 1000})]);
    for client in [joined, silent] {
        assert_alive(&mut server, client);
    }
}

fn live(is_live: bool) -> ShardCommand {
    ShardCommand::Feed(FeedEvent::Live(is_live))
}

fn established(join_ref: &str) -> Value {
    system(join_ref, "ok", "Replication connection established")
}

#[test]
fn whoever_asks_is_told_when_the_stream_is_live() {
    let mut server = Server::start(1);
    let clients: Vec<_> = (0..4).map(|slot| server.connect(0, slot, V2)).collect();
    let [early, gone, silent, late] = clients[..] else { panic!("four clients") };
    let asks = json!({"broadcast": {"replication_ready": true}});
    server.join(early, "1", "room", asks.clone());
    server.join(gone, "1", "room", asks.clone());
    server.join(silent, "1", "room", json!({}));
    server.push(gone, "1", "2", ROOM, "phx_leave", json!({}));
    server.received(gone);
    server.command(0, live(true));
    assert_eq!(server.frames(early), [established("1")]);
    server.push(late, "1", "1", ROOM, "phx_join", json!({ "config": asks }));
    assert_eq!(server.frames(late), [joined("1"), established("1")]);
    server.command(0, live(false));
    server.command(0, live(true));
    server.advance_to(61_000);
    assert_eq!(server.unread(), []);
}

#[test]
fn a_stream_that_is_not_live_in_time_ends_those_who_wait_for_it() {
    let mut server = Server::start(1);
    let (client, other) = (server.connect(0, 0, V2), server.connect(0, 1, V2));
    server.command(0, live(true));
    server.command(0, live(false));
    server.join(client, "1", "room", json!({"broadcast": {"replication_ready": "false"}}));
    server.join(other, "1", "room", json!({"broadcast": {"replication_ready": false}}));
    server.advance_to(59_900);
    assert_eq!(server.unread(), []);
    server.advance_to(60_000);
    let message = "Replication connection was not established in time";
    assert_eq!(
        server.frames(client),
        [system("1", "error", message), json!(["1", "1", ROOM, "phx_close", {}])]
    );
    assert_alive(&mut server, other);
}

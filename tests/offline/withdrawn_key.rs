//! Keys that are withdrawn while channels are joined with their tokens.

use rowcast::protocol::Dialect::V2;
use serde_json::json;

use super::script::{NO_SIGNER, Server, change_keys};

const ROOM: &str = "realtime:room";

#[test]
fn channels_end_when_the_key_of_their_token_is_withdrawn() {
    let mut server = Server::start(1);
    // Twice as many channels as are looked at in one tick.
    let clients: Vec<_> = (0..200).map(|slot| server.connect(0, slot, V2)).collect();
    for client in &clients {
        server.join(*client, "1", "other", json!({}));
        let payload = json!({"config": {}, "access_token": "<token:b>"});
        server.push(*client, "2", "2", ROOM, "phx_join", payload);
        server.received(*client);
    }
    server.advance_to(1_000);
    assert!(clients.iter().all(|client| server.frames(*client).is_empty()), "no key has changed yet");

    change_keys();
    server.advance_to(1_050);
    let ended = [
        json!(["2", null, ROOM, "system",
            {"extension": "system", "status": "error", "message": NO_SIGNER, "channel": "room"}]),
        json!(["2", "2", ROOM, "phx_close", {}]),
    ];
    let (at_once, later) = clients.split_at(100);
    assert!(at_once.iter().all(|client| server.frames(*client) == ended));
    assert!(later.iter().all(|client| server.frames(*client).is_empty()), "all in one tick");
    server.advance_to(1_200);
    assert!(later.iter().all(|client| server.frames(*client) == ended));

    for client in clients {
        // The other channel has another token.
        server.push(client, "1", "3", "realtime:other", "phx_leave", json!({}));
        assert_eq!(server.frames(client).len(), 2);
    }
}

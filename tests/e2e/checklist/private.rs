//! Points 27 and 28: what policies decide on private channels, and that these are no public ones.

use serde_json::{Value, json};

use super::Wire;
use crate::stage::server::token;
use crate::stage::{ANN, BOB, BOTH, RawClient};

const ROOM: &str = "realtime:room";

/// Ann may read and send, Bob may read.
const POLICIES: &str = "
    create policy all_read on realtime.messages for select to authenticated using (realtime.topic() = 'room');
    create policy ann_sends on realtime.messages for insert to authenticated with check (
        auth.uid() = 'a0000000-0000-4000-8000-000000000001')";

fn message(number: u32) -> Value {
    json!({ "type": "broadcast", "event": "e", "payload": { "n": number } })
}

fn broadcast(number: u32) -> Value {
    json!([null, null, ROOM, "broadcast", message(number)])
}

fn acknowledged() -> Value {
    json!({ "private": true, "broadcast": { "ack": true } })
}

#[tokio::test]
async fn checklist_27_policies_are_asked_at_the_join_at_the_first_send_and_at_a_new_token() {
    let wire = Wire::set(POLICIES).await;
    for vsn in BOTH {
        let mut ann = wire.connect(vsn).await;
        let mut bob = RawClient::connect(&wire.server, vsn, &token("authenticated", Some(BOB))).await;
        let answer = ann.join("1", "realtime:other", json!({ "config": acknowledged() })).await;
        let reason = "Unauthorized: You do not have permissions to read from this Channel topic: other";
        assert_eq!(answer, json!({ "status": "error", "response": { "reason": reason } }));
        ann.joined("2", ROOM, acknowledged()).await;
        bob.joined("2", ROOM, acknowledged()).await;

        ann.push(json!("2"), json!("3"), ROOM, "broadcast", message(1)).await;
        ann.expect(ann.reply("2", "3", ROOM, json!({ "status": "ok", "response": {} }))).await;
        bob.expect(broadcast(1)).await;
        // What is denied is not answered; the answer to what comes after it says that it has been decided.
        bob.push(json!("2"), json!("3"), ROOM, "broadcast", message(2)).await;
        bob.push(json!("2"), json!("4"), ROOM, "presence", json!({ "event": "track" })).await;
        bob.expect(bob.reply("2", "4", ROOM, json!({ "status": "error", "response": {} }))).await;
        ann.expect_nothing().await;

        // As Ann, Bob's client may send at once; as nobody who may read, it is told and closed.
        let access_token = |role: &str| json!({ "access_token": token(role, Some(ANN)) });
        bob.push(json!("2"), json!("5"), ROOM, "access_token", access_token("authenticated")).await;
        bob.push(json!("2"), json!("6"), ROOM, "broadcast", message(3)).await;
        bob.expect(bob.reply("2", "6", ROOM, json!({ "status": "ok", "response": {} }))).await;
        ann.expect(broadcast(3)).await;
        bob.push(json!("2"), json!("7"), ROOM, "access_token", access_token("anon")).await;
        let system = bob.next().await;
        let words = "You do not have permissions to read from this Channel topic: room";
        assert_eq!((&system[3], &system[4]["message"]), (&json!("system"), &json!(words)));
        assert_eq!(bob.next().await[3], "phx_close");
        bob.expect_nothing().await;
    }
}

#[tokio::test]
async fn checklist_28_public_and_private_channels_of_one_name_never_meet() {
    let wire = Wire::set(POLICIES).await;
    for vsn in BOTH {
        let mut public = wire.connect(vsn).await;
        let mut private = wire.connect(vsn).await;
        public.joined("1", ROOM, json!({ "broadcast": { "ack": true } })).await;
        private.joined("1", ROOM, acknowledged()).await;
        for sender in [&mut public, &mut private] {
            sender.push(json!("1"), json!("2"), ROOM, "broadcast", message(1)).await;
            sender.expect(sender.reply("1", "2", ROOM, json!({ "status": "ok", "response": {} }))).await;
        }
        public.expect_nothing().await;
        private.expect_nothing().await;
    }
}

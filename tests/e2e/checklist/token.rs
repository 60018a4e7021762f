//! Tokens: new ones, bad ones, and the end of one.

use serde_json::{Value, json};

use super::{NOTES, Wire, notes};
use crate::stage::{ANN, BOB, BOTH, RawClient, Vsn, server};

const TOPIC: &str = "realtime:room";

async fn refresh(client: &mut RawClient, token: Value) {
    client.push(json!("1"), json!("9"), TOPIC, "access_token", json!({ "access_token": token })).await;
}

#[tokio::test]
async fn checklist_25_new_token_holds_for_later_changes_and_is_not_answered() {
    let wire = Wire::set(
        "create table papers (id int primary key, owner uuid);
         alter table papers enable row level security;
         grant select on papers to authenticated;
         create policy own on papers for select to authenticated using (owner = (select auth.uid()));
         alter publication supabase_realtime add table papers;",
    )
    .await;
    for (round, vsn) in [(0, Vsn::V1), (10, Vsn::V2)] {
        let [ann, bob] = [ANN, BOB].map(|sub| server::token("authenticated", Some(sub)));
        let mut client = RawClient::connect(&wire.server, vsn, &ann).await;
        client.subscribed("1", TOPIC, json!([{ "event": "*", "schema": "public", "table": "papers" }])).await;
        for token in [json!(ann), Value::Null, json!("sb_publishable_x"), json!(7), json!({})] {
            refresh(&mut client, token).await;
        }
        client.push(json!("1"), json!("9"), TOPIC, "access_token", json!({})).await;
        client.expect_nothing().await;
        refresh(&mut client, json!(bob)).await;
        let announced = client.next().await;
        assert_eq!((&announced[3], &announced[4]["status"]), (&json!("system"), &json!("ok")), "{vsn:?}");
        wire.database
            .execute(&format!("insert into papers values ({}, '{ANN}'), ({}, '{BOB}')", round + 1, round + 2))
            .await;
        assert_eq!(client.next().await[4]["data"]["record"]["owner"], BOB, "{vsn:?}");
    }
}

#[tokio::test]
async fn checklist_26_end_of_a_token_ends_its_channel_and_no_other() {
    let wire = Wire::set(NOTES).await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        client.joined("0", "realtime:stays", json!({ "broadcast": { "self": true } })).await;
        let short = server::token_signed(server::SECRET, "authenticated", Some(ANN), 2);
        let payload = json!({ "config": { "postgres_changes": notes() }, "access_token": short });
        assert_eq!(client.join("1", TOPIC, payload).await["status"], "ok");
        assert_eq!(client.next().await[4]["extension"], "postgres_changes");
        let ended = client.next().await;
        let message = ended[4]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("Token has expired "), "{message}");
        let shape =
            json!({ "channel": "room", "extension": "system", "status": "error", "message": message });
        let join_ref = client.join_ref("1");
        assert_eq!(ended, json!([join_ref, null, TOPIC, "system", shape]), "{vsn:?}");
        client.expect(json!([join_ref, "1", TOPIC, "phx_close", {}])).await;

        for bad in ["", "garbage", &server::token_signed(server::SECRET, "anon", None, -5)] {
            client.joined("1", TOPIC, json!({})).await;
            refresh(&mut client, json!(bad)).await;
            let ended = client.next().await;
            assert_eq!(
                (&ended[3], &ended[4]["extension"], &ended[4]["status"]),
                (&json!("system"), &json!("system"), &json!("error")),
                "{vsn:?} {bad}"
            );
            client.expect(json!([join_ref, "1", TOPIC, "phx_close", {}])).await;
        }
        let message = json!({ "type": "broadcast", "event": "e", "payload": {} });
        client.push(json!("0"), json!("3"), "realtime:stays", "broadcast", message.clone()).await;
        client.expect(json!([null, null, "realtime:stays", "broadcast", message])).await;
    }
}

//! Broadcasts that are written in SQL, as each stock client gets them on a public channel.

use serde_json::{Value, json};

use crate::stage::server::{migrate, token};
use crate::stage::{ANN, RawClient, Stage, StockClient, TestServer, Vsn, major};
use crate::support::TestDatabase;

async fn join(client: &StockClient, topic: &str) {
    client.order(json!({ "do": "subscribe", "as": "ann", "topic": topic, "config": {} })).await;
    client.expect(json!({ "as": "ann", "topic": topic, "kind": "status", "status": "SUBSCRIBED" })).await;
}

fn payloads(client: &StockClient, topic: &str) -> Vec<Value> {
    let broadcasts = json!({ "as": "ann", "topic": topic, "kind": "broadcast" });
    client.seen(&broadcasts).iter().map(|seen| seen["payload"].clone()).collect()
}

#[tokio::test]
async fn what_is_sent_in_sql_reaches_every_version_after_its_commit_and_in_order() {
    let stage = Stage::set("").await;
    stage.connect("ann", ANN).await;
    for client in &stage.clients {
        join(client, "room").await;
        join(client, "other").await;
    }
    stage
        .commit(&[
            r#"begin; select realtime.send('{"n": 0}', 'said', 'room', false); rollback"#,
            r#"begin;
               select realtime.send('{"n": 1, "id": "a", "text": "Grüße 👋"}', 'said', 'room', false);
               select realtime.send('{"n": 2, "id": "b", "list": [1, null, {}]}', 'said', 'room', false);
               commit"#,
            r#"select realtime.send('{"n": 3, "id": "c"}', 'said', 'other', false)"#,
            // Nobody here is in the private room of that name.
            r#"select realtime.send('{"n": 4, "id": "d"}', 'said', 'room', true)"#,
            r#"select realtime.send('{"n": 5, "id": "e"}', 'said', 'room', false)"#,
        ])
        .await;
    let expected = [
        json!({ "n": 1, "id": "a", "text": "Grüße 👋" }),
        json!({ "n": 2, "id": "b", "list": [1, null, {}] }),
        json!({ "n": 5, "id": "e" }),
    ];
    for client in &stage.clients {
        client.expect(json!({ "as": "ann", "topic": "room", "event": "said", "payload": { "n": 5 } })).await;
        assert_eq!(payloads(client, "room"), expected, "{:?}", client.stock);
        assert_eq!(payloads(client, "other"), [json!({ "n": 3, "id": "c" })], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn a_trigger_broadcasts_what_happens_to_a_table() {
    let stage = Stage::set(
        "create table items (id int primary key, name text);
         create function tell() returns trigger language plpgsql as $$ begin
             perform realtime.send(jsonb_build_object('operation', tg_op, 'name', new.name, 'id', new.id),
                 'changed', 'items', false);
             return new;
         end $$;
         create trigger tell after insert or update on items for each row execute function tell()",
    )
    .await;
    stage.connect("ann", ANN).await;
    for client in &stage.clients {
        join(client, "items").await;
    }
    stage.commit(&["insert into items values (1, 'a')", "update items set name = 'b'"]).await;
    let expected = [
        json!({ "operation": "INSERT", "name": "a", "id": 1 }),
        json!({ "operation": "UPDATE", "name": "b", "id": 1 }),
    ];
    for client in &stage.clients {
        client.expect(json!({ "as": "ann", "event": "changed", "payload": { "operation": "UPDATE" } })).await;
        assert_eq!(payloads(client, "items"), expected, "{:?}", client.stock);
    }
}

#[tokio::test]
async fn each_dialect_shows_the_id_and_the_body_as_stored() {
    let database = TestDatabase::create(major()).await;
    migrate(&database.url);
    let server = TestServer::start(&database.url).await;
    let token = token("authenticated", Some(ANN));
    let mut clients = Vec::new();
    for vsn in [Vsn::V1, Vsn::V2] {
        let mut client = RawClient::connect(&server, vsn, &token).await;
        client.joined("1", "realtime:room", json!({})).await;
        clients.push(client);
    }
    let id = "00000000-0000-4000-8000-000000000001";
    for row in [r#"'said', '{"b": 1, "a": null}', null"#, "'bytes', null, 'raw'", "'end', '1', null"] {
        let insert = format!(
            "insert into realtime.messages (topic, extension, event, payload, binary_payload, private, id)
             values ('room', 'broadcast', {row}, false, '{id}')"
        );
        database.execute(&insert).await;
    }
    let [v1, v2] = clients.as_mut_slice() else { panic!("two clients") };
    // Bytes cannot be shown in the first version.
    for (event, payload) in [("said", json!({ "a": null, "b": 1 })), ("end", json!(1))] {
        let payload =
            json!({ "event": event, "payload": payload, "type": "broadcast", "meta": { "id": id } });
        v1.expect(json!([null, null, "realtime:room", "broadcast", payload])).await;
    }
    let meta = format!(r#"{{"id":"{id}"}}"#);
    for (event, encoding, body) in
        [("said", 1, r#"{"a": null, "b": 1}"#), ("bytes", 0, "raw"), ("end", 1, "1")]
    {
        let frame = json!({ "kind": 4, "topic": "realtime:room", "event": event, "meta": meta, "encoding": encoding, "body": body });
        v2.expect(frame).await;
    }
}

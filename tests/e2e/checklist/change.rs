//! Changes: announcements, shape, values, order, visibility.

use serde_json::{Value, json};

use super::{NOTES, Wire, notes};
use crate::stage::{ANN, BOB, BOTH, RawClient, Vsn, server};

const TOPIC: &str = "realtime:changes";

fn system(client: &RawClient, status: &str, message: &str) -> Value {
    json!([client.join_ref("1"), null, TOPIC, "system",
        { "channel": "changes", "extension": "postgres_changes", "status": status, "message": message }])
}

#[tokio::test]
async fn checklist_20_subscription_is_announced_after_the_reply_and_after_a_new_token() {
    let wire = Wire::set(NOTES).await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        client.joined("1", TOPIC, json!({ "postgres_changes": notes() })).await;
        let announced = system(&client, "ok", "Subscribed to PostgreSQL");
        client.expect(announced.clone()).await;
        let token = server::token_signed(server::SECRET, "authenticated", Some(ANN), 1800);
        client.push(json!("1"), json!("2"), TOPIC, "access_token", json!({ "access_token": token })).await;
        client.expect(announced).await;

        let absent = json!([{ "event": "*", "schema": "public", "table": "absent" }]);
        client.push(json!("1"), json!("3"), TOPIC, "phx_leave", json!({})).await;
        client.until("phx_close").await;
        client.joined("1", TOPIC, json!({ "postgres_changes": absent })).await;
        let refused = client.next().await;
        let message = refused[4]["message"].as_str().unwrap();
        assert!(message.starts_with("Unable to subscribe to changes with given parameters."), "{message}");
        assert_eq!(refused, system(&client, "error", message), "{vsn:?}");
    }
}

#[tokio::test]
async fn checklist_21_changes_have_every_field_that_clients_read() {
    let wire = Wire::set(NOTES).await;
    for vsn in BOTH {
        let mut client = wire.connect(vsn).await;
        let answer = client.join("1", TOPIC, json!({ "config": { "postgres_changes": notes() } })).await;
        let id = &answer["response"]["postgres_changes"][0]["id"];
        assert_eq!(client.next().await[3], "system");
        for sql in ["insert into notes values (1, 'x')", "update notes set body = 'y'", "delete from notes"] {
            wire.database.execute(sql).await;
        }
        let row = |body: &str| json!({ "id": 1, "body": body });
        for (kind, record, old) in [
            ("INSERT", Some(row("x")), None),
            ("UPDATE", Some(row("y")), Some(json!({ "id": 1 }))),
            ("DELETE", None, Some(json!({ "id": 1 }))),
        ] {
            let change = client.next().await;
            assert_eq!((&change[3], &change[4]["ids"]), (&json!("postgres_changes"), &json!([id])));
            let mut data = change[4]["data"].as_object().unwrap().clone();
            // 2026-11-20T08:00:00.123Z
            let time = data.remove("commit_timestamp").unwrap();
            let time = time.as_str().unwrap();
            assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
            let mut expected = json!({ "type": kind, "schema": "public", "table": "notes", "errors": null,
                "columns": [{ "name": "id", "type": "int4" }, { "name": "body", "type": "text" }] });
            for (key, side) in [("record", record), ("old_record", old)] {
                if let Some(side) = side {
                    expected[key] = side;
                }
            }
            assert_eq!(Value::Object(data), expected, "{vsn:?} {kind}");
        }
    }
}

#[tokio::test]
async fn checklist_22_values_keep_their_type_and_every_digit() {
    let wire = Wire::set(
        "create table kinds (id int8 primary key, n numeric, b bool, j jsonb, a int[], d timestamptz, x bytea,
           z text);
         grant select on kinds to authenticated;
         alter publication supabase_realtime add table kinds;",
    )
    .await;
    for (id, vsn) in [(9_007_199_254_740_993_i64, Vsn::V1), (9_007_199_254_740_995, Vsn::V2)] {
        let mut client = wire.connect(vsn).await;
        client.subscribed("1", TOPIC, json!([{ "event": "*", "schema": "public", "table": "kinds" }])).await;
        wire.database
            .execute(&format!(
                "insert into kinds values ({id}, 12345678901234567890, true, '{{\"a\": [1, null]}}', '{{1,NULL,3}}',
                   '2026-11-20 10:00:00.5+02', '\\x00ff', null)"
            ))
            .await;
        let change = client.next().await;
        let expected = json!({ "id": id, "n": 12_345_678_901_234_567_890_u64, "b": true, "j": { "a": [1, null] }, "a": [1, null, 3],
            "d": "2026-11-20T08:00:00.5+00:00", "x": "00ff", "z": null });
        assert_eq!(change[4]["data"]["record"], expected, "{vsn:?}");
    }
}

#[tokio::test]
async fn checklist_23_commits_and_the_writes_within_them_keep_their_order() {
    let wire = Wire::set(NOTES).await;
    for (round, vsn) in [(0, Vsn::V1), (100, Vsn::V2)] {
        let mut client = wire.connect(vsn).await;
        client.subscribed("1", TOPIC, notes()).await;
        let later = crate::support::connect(&wire.database.url).await;
        // What is begun first commits last.
        let id = |number: i32| round + number;
        later.batch_execute(&format!("begin; insert into notes values ({}, 'late')", id(9))).await.unwrap();
        wire.database
            .execute(&format!(
                "insert into notes values ({0}, 'a'), ({1}, 'b'); update notes set body = 'c' where id = {0};
                 delete from notes where id = {1}",
                id(2),
                id(1)
            ))
            .await;
        later.batch_execute("commit").await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..5 {
            let data = client.next().await[4]["data"].clone();
            let row = if data["record"].is_object() { &data["record"] } else { &data["old_record"] };
            seen.push((data["type"].as_str().unwrap().to_owned(), row["id"].clone()));
        }
        let expected = [("INSERT", 2), ("INSERT", 1), ("UPDATE", 2), ("DELETE", 1), ("INSERT", 9)];
        assert_eq!(seen, expected.map(|(kind, number)| (kind.to_owned(), json!(id(number)))), "{vsn:?}");
    }
}

#[tokio::test]
async fn checklist_24_rows_are_shown_to_whom_policies_grants_and_filters_let_see_them() {
    let wire = Wire::set(
        "create table papers (id int primary key, owner uuid, title text, secret text);
         alter table papers enable row level security;
         grant select (id, owner, title) on papers to authenticated;
         create policy own on papers for select to authenticated using (owner = (select auth.uid()));
         alter publication supabase_realtime add table papers;",
    )
    .await;
    for (round, vsn) in [(0, Vsn::V1), (100, Vsn::V2)] {
        let mut clients = Vec::new();
        for sub in [ANN, BOB] {
            let token = server::token("authenticated", Some(sub));
            let mut client = RawClient::connect(&wire.server, vsn, &token).await;
            let binding = json!([{ "event": "*", "schema": "public", "table": "papers", "filter": format!("id=gt.{round}") }]);
            client.subscribed("1", TOPIC, binding).await;
            clients.push(client);
        }
        let [one, two, three, hidden] = [round + 1, round + 2, round + 3, round];
        for sql in [
            // Ann's own, but the filter leaves it out.
            format!("insert into papers values ({hidden}, '{ANN}', 't', 's')"),
            format!("insert into papers values ({one}, '{ANN}', 't', 's'), ({two}, '{BOB}', 't', 's')"),
            // From now on it is Bob's.
            format!("update papers set owner = '{BOB}', title = 'u' where id = {one}"),
            format!("insert into papers values ({three}, '{ANN}', 't', 's')"),
            format!("insert into papers values ({}, '{BOB}', 't', 's')", round + 4),
            format!("delete from papers where id = {one}"),
        ] {
            wire.database.execute(&sql).await;
        }
        let row = |id: i32, owner: &str, title: &str| json!({ "id": id, "owner": owner, "title": title });
        let expected = [
            vec![row(one, ANN, "t"), row(three, ANN, "t")],
            vec![row(two, BOB, "t"), row(one, BOB, "u"), row(round + 4, BOB, "t")],
        ];
        for (client, expected) in clients.iter_mut().zip(expected) {
            for record in expected {
                assert_eq!(client.next().await[4]["data"]["record"], record, "{vsn:?}");
            }
            // A delete names the key alone: there is no row any more to judge.
            let gone = client.next().await[4]["data"].clone();
            assert_eq!((&gone["type"], &gone["old_record"]), (&json!("DELETE"), &json!({ "id": one })));
        }
    }
}

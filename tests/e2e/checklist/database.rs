//! Broadcasts from the database.

use serde_json::{Value, json};

use super::Wire;
use crate::stage::{BOTH, Vsn};

/// Everybody may read in "lobby"; nobody may write.
const LOBBY: &str = "
    create policy lobby on realtime.messages for select to authenticated using (realtime.topic() = 'lobby');";

/// The event, the inner payload and the meta of a broadcast, however it came; bytes as text.
fn parts(frame: &Value) -> (Value, Value, Value) {
    if frame["kind"] == 4 {
        let body = frame["body"].as_str().unwrap();
        let body = if frame["encoding"] == 1 { body.parse().unwrap() } else { json!(body) };
        return (frame["event"].clone(), body, frame["meta"].as_str().unwrap().parse().unwrap());
    }
    assert_eq!((&frame[3], &frame[4]["type"]), (&json!("broadcast"), &json!("broadcast")), "{frame}");
    (frame[4]["event"].clone(), frame[4]["payload"].clone(), frame[4]["meta"].clone())
}

#[tokio::test]
async fn checklist_29_database_broadcasts_in_order_and_replays_them() {
    let wire = Wire::set(&format!(
        "{LOBBY}
         create table papers (id int primary key);
         create function tell() returns trigger language plpgsql as $$ begin
           perform realtime.broadcast_changes('lobby', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
           return null; end $$;
         create trigger tell after insert on papers for each row execute function tell();"
    ))
    .await;
    let (mut first, mut second) = (wire.connect(Vsn::V1).await, wire.connect(Vsn::V2).await);
    for client in [&mut first, &mut second] {
        client.joined("1", "realtime:lobby", json!({ "private": true })).await;
    }
    // Nothing before the commit, nothing of what is rolled back.
    let other = crate::support::connect(&wire.database.url).await;
    other
        .batch_execute(r#"begin; select realtime.send('{"n":0}', 'gone', 'lobby', true); rollback"#)
        .await
        .unwrap();
    other.batch_execute(r#"begin; select realtime.send('{"n":9}', 'late', 'lobby', true)"#).await.unwrap();
    wire.database
        .execute(
            r#"select realtime.send('{"n":1}', 'said', 'lobby', true);
               select realtime.send_binary('\x6869', 'bytes', 'lobby', true);
               insert into papers values (7)"#,
        )
        .await;
    other.batch_execute("commit").await.unwrap();
    let mut heard = Vec::new();
    for (client, reads_bytes) in [(&mut first, false), (&mut second, true)] {
        let mut ids = Vec::new();
        let events: &[&str] =
            if reads_bytes { &["said", "bytes", "INSERT", "late"] } else { &["said", "INSERT", "late"] };
        for event in events {
            let (seen, payload, meta) = parts(&client.next().await);
            assert_eq!(seen, *event);
            assert!(meta["id"].as_str().is_some_and(|id| id.len() == 36), "{meta}");
            match *event {
                "said" => assert_eq!(payload, json!({ "n": 1, "id": meta["id"] })),
                "bytes" => assert_eq!(payload, "hi"),
                "INSERT" => assert_eq!(
                    (&payload["operation"], &payload["record"]),
                    (&json!("INSERT"), &json!({ "id": 7 }))
                ),
                _ => assert_eq!(payload["n"], 9),
            }
            ids.push((seen, meta["id"].clone()));
        }
        client.expect_nothing().await;
        heard.push(ids);
    }
    assert!(heard[0].iter().all(|id| heard[1].contains(id)), "one id for all: {heard:?}");

    // Who comes later is given the latest again, oldest first, and told that they are not new.
    for (vsn, expected) in BOTH.into_iter().zip(&heard) {
        let mut late = wire.connect(vsn).await;
        let replay = json!({ "private": true, "broadcast": { "replay": { "since": 1, "limit": 25 } } });
        late.joined("1", "realtime:lobby", replay).await;
        // By the time of their rows, which for those of one transaction is one.
        let mut replayed = Vec::new();
        for _ in expected {
            let (event, _, meta) = parts(&late.next().await);
            assert_eq!(meta["replayed"], true, "{vsn:?}");
            replayed.push((event, meta["id"].clone()));
        }
        let place = |event: &str| replayed.iter().position(|(seen, _)| *seen == *event).unwrap();
        // It was written first, although it was committed last.
        assert_eq!(place("late"), 0, "{replayed:?}");
        assert!(place("said") < place("INSERT"), "{replayed:?}");
        replayed.sort_by_key(|id| id.1.to_string());
        let mut expected = expected.clone();
        expected.sort_by_key(|id| id.1.to_string());
        assert_eq!(replayed, expected, "{vsn:?}");
        late.expect_nothing().await;
    }
}

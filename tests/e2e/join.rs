//! Joining: when a subscription counts, what is refused, and what leaving ends.

use serde_json::{Value, json};

use crate::stage::{ANN, Stage, Stock};

const TABLES: &str = "
    create table notes (id int primary key, body text);
    create table others (id int primary key);
    create table unpublished (id int primary key);
    grant select on notes, others, unpublished to authenticated;
    alter publication supabase_realtime add table notes, others;";

fn inserts(table: &str) -> Value {
    json!([{ "event": "INSERT", "schema": "public", "table": table }])
}

#[tokio::test]
async fn subscribed_means_every_commit_from_here_on() {
    let stage = Stage::set(TABLES).await;
    stage.connect("ann", ANN).await;
    for client in &stage.clients {
        client.subscribe("ann", "notes", inserts("notes")).await;
    }
    for client in &stage.clients {
        let pattern = json!({ "kind": "system", "topic": "notes" });
        client.expect(json!({ "kind": "status", "status": "SUBSCRIBED" })).await;
        let system = client.expect(pattern).await;
        assert_eq!(system["message"], "Subscribed to PostgreSQL");
        assert_eq!((&system["extension"], &system["status"]), (&json!("postgres_changes"), &json!("ok")));
    }
    stage.database.execute("insert into notes values (1, 'one')").await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 1).await, [1], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn channels_and_bindings_of_one_client_each_receive_once() {
    let stage = Stage::set(TABLES).await;
    stage.connect("ann", ANN).await;
    stage.subscribe("ann", "first", inserts("notes")).await;
    stage.subscribe("ann", "second", inserts("notes")).await;
    let both = json!([
        { "event": "INSERT", "schema": "public", "table": "notes" },
        { "event": "*", "schema": "public", "table": "notes" },
        { "event": "*", "schema": "public" },
        { "event": "*", "schema": "public", "table": "others" },
    ]);
    stage.subscribe("ann", "third", both).await;
    stage
        .database
        .execute("insert into notes values (1, 'one'), (2, 'two'); insert into others values (9)")
        .await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "first", 2).await, [1, 2], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("ann", "second", 2).await, [1, 2], "{:?}", client.stock);
        for binding in [2, 3] {
            client.expect(json!({ "topic": "third", "binding": binding, "new": { "id": 9 } })).await;
        }
        let of = |binding| {
            let seen = client.seen(&json!({ "kind": "change", "topic": "third", "binding": binding }));
            seen.iter().map(|change| change["new"]["id"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        let got = [of(0), of(1), of(2), of(3)];
        assert_eq!(got, [vec![1, 2], vec![1, 2], vec![1, 2, 9], vec![9]], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn unpublished_table_and_wrong_filter_are_system_errors() {
    let stage = Stage::set(TABLES).await;
    stage.connect("ann", ANN).await;
    let refused = [
        ("unpublished", inserts("unpublished"), "Unable to subscribe to changes with given parameters"),
        ("absent", inserts("absent"), "Unable to subscribe to changes with given parameters"),
        (
            "column",
            json!([{ "event": "*", "schema": "public", "table": "notes", "filter": "nope=eq.1" }]),
            "invalid column for filter nope",
        ),
        (
            "operator",
            json!([{ "event": "*", "schema": "public", "table": "notes", "filter": "id=about.1" }]),
            "Error parsing `filter` params",
        ),
        (
            "operand",
            json!([{ "event": "*", "schema": "public", "table": "notes", "filter": "id=eq.one" }]),
            "invalid input syntax for type integer",
        ),
    ];
    for client in &stage.clients {
        for (topic, changes, words) in &refused {
            client.subscribe("ann", topic, changes.clone()).await;
            client.expect(json!({ "topic": topic, "kind": "status", "status": "SUBSCRIBED" })).await;
            let text = if client.stock == Stock::Python {
                // It takes the system message for the end of its channel.
                let pattern = json!({ "topic": topic, "kind": "status", "status": "CHANNEL_ERROR" });
                client.expect(pattern).await["error"].to_string()
            } else {
                let pattern = json!({ "topic": topic, "kind": "system", "status": "error" });
                client.expect(pattern).await["message"].to_string()
            };
            assert!(text.contains(words), "{:?} {topic}: {text}", client.stock);
        }
    }
    // A refused channel harms no other of its socket.
    stage.subscribe("ann", "notes", inserts("notes")).await;
    stage.database.execute("insert into unpublished values (1); insert into notes values (2, 'two')").await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 2).await, [2], "{:?}", client.stock);
        for (topic, ..) in &refused {
            assert_eq!(client.changes("ann", topic), [], "{:?} {topic}", client.stock);
        }
    }
}

#[tokio::test]
async fn left_channel_receives_nothing_more_and_can_be_joined_again() {
    let stage = Stage::set(TABLES).await;
    stage.connect("ann", ANN).await;
    stage.subscribe("ann", "left", inserts("notes")).await;
    stage.subscribe("ann", "stayed", inserts("notes")).await;
    stage.database.execute("insert into notes values (1, 'one')").await;
    for client in &stage.clients {
        client.ids_up_to("ann", "left", 1).await;
        client.order(json!({ "do": "leave", "as": "ann", "topic": "left" })).await;
        client.expect(json!({ "topic": "left", "kind": "status", "status": "CLOSED" })).await;
    }
    stage.database.execute("insert into notes values (2, 'two')").await;
    for client in &stage.clients {
        client.ids_up_to("ann", "stayed", 2).await;
    }
    stage.subscribe("ann", "left", inserts("notes")).await;
    stage.database.execute("insert into notes values (3, 'three')").await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "left", 3).await, [1, 3], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("ann", "stayed", 3).await, [1, 2, 3], "{:?}", client.stock);
    }
}

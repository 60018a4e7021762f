//! What a change looks like in each client, and which filters let it through.

use serde_json::{Value, json};

use crate::stage::{ANN, Stage, Stock};

const ITEMS: &str = "
    create table items (
        id int primary key, name text, price numeric(8, 2), count bigint, ready boolean, tags text[], extra jsonb,
        made timestamptz
    );
    grant select on items to authenticated;
    alter publication supabase_realtime add table items;
    set time zone 'UTC';";

#[tokio::test]
async fn insert_update_and_delete_arrive_whole_and_in_order() {
    let stage = Stage::set(ITEMS).await;
    stage.connect("ann", ANN).await;
    stage.subscribe("ann", "items", json!([{ "event": "*", "schema": "public", "table": "items" }])).await;
    stage
        .database
        .execute(
            r#"begin;
            insert into items values (1, 'Grüße 👋', 1.50, 7, true, '{a,"b c"}', '{"k": [1, null]}', '2026-01-02 03:04:05.6Z');
            update items set name = null, ready = false where id = 1;
            commit;
            delete from items where id = 1;
            insert into items (id) values (99)"#,
        )
        .await;
    let whole = json!({
        "id": 1, "name": "Grüße 👋", "price": 1.5, "count": 7, "ready": true, "tags": ["a", "b c"],
        "extra": { "k": [1, null] }, "made": "2026-01-02T03:04:05.6+00:00",
    });
    let mut updated = whole.clone();
    updated["name"] = Value::Null;
    updated["ready"] = json!(false);
    let expected = [
        ("INSERT", whole, json!({})),
        ("UPDATE", updated, json!({ "id": 1 })),
        ("DELETE", json!({}), json!({ "id": 1 })),
    ];
    for client in &stage.clients {
        client.ids_up_to("ann", "items", 99).await;
        let seen = client.seen(&json!({ "kind": "change" }));
        assert_eq!(seen.len(), 4, "{:?} {seen:?}", client.stock);
        for ((kind, new, old), change) in expected.iter().zip(&seen) {
            let context = format!("{:?} {change}", client.stock);
            assert_eq!(
                (&change["type"], &change["new"], &change["old"]),
                (&json!(kind), new, old),
                "{context}"
            );
            assert_eq!(
                (&change["schema"], &change["table"]),
                (&json!("public"), &json!("items")),
                "{context}"
            );
            assert_eq!(change["errors"], Value::Null, "{context}");
            let timestamp = change["commit_timestamp"].as_str().unwrap();
            assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{context}");
        }
        // Two of one transaction carry one time.
        assert_eq!(seen[0]["commit_timestamp"], seen[1]["commit_timestamp"]);
    }
}

#[tokio::test]
async fn event_of_a_binding_selects_its_changes() {
    let stage = Stage::set(ITEMS).await;
    stage.connect("ann", ANN).await;
    for event in ["INSERT", "UPDATE", "DELETE"] {
        let changes = json!([{ "event": event, "schema": "public", "table": "items" }]);
        stage.subscribe("ann", event, changes).await;
    }
    stage
        .database
        .execute(
            "insert into items (id) values (1); update items set count = 1; delete from items;
             insert into items (id) values (2); update items set count = 1; delete from items",
        )
        .await;
    for client in &stage.clients {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let id =
                if event == "DELETE" { json!({ "old": { "id": 2 } }) } else { json!({ "new": { "id": 2 } }) };
            let mut pattern = json!({ "topic": event, "kind": "change" });
            pattern.as_object_mut().unwrap().extend(id.as_object().unwrap().clone());
            client.expect(pattern).await;
            let expected = [(event.to_owned(), 1), (event.to_owned(), 2)];
            assert_eq!(client.changes("ann", event), expected, "{:?}", client.stock);
        }
    }
}

/// Filter, and which of the rows below it lets through.
const FILTERS: [(&str, &[i64]); 20] = [
    ("id=eq.2", &[2]),
    ("id=neq.2", &[1, 3, 4]),
    ("id=lt.2", &[1]),
    ("id=lte.2", &[1, 2]),
    ("id=gt.2", &[3, 4]),
    ("id=gte.2", &[2, 3, 4]),
    ("id=in.(1,3)", &[1, 3]),
    ("id=not.in.(1,3)", &[2, 4]),
    ("id=not.eq.1", &[2, 3, 4]),
    ("name=eq.pear", &[2]),
    ("name=eq.\"a, b\"", &[3]),
    ("name=in.(apple,\"a, b\")", &[1, 3]),
    // Null is not equal, and not unequal.
    ("name=neq.pear", &[1, 3]),
    ("name=is.null", &[4]),
    ("name=not.is.null", &[1, 2, 3]),
    ("name=isdistinct.pear", &[1, 3, 4]),
    ("name=like.%p%", &[1, 2]),
    ("name=ilike.A%", &[1, 3]),
    ("name=match.^.p", &[1]),
    ("price=gt.1,ready=is.true", &[2]),
];

#[tokio::test]
async fn filters_let_through_what_they_say() {
    let stage = Stage::set(ITEMS).await;
    stage.connect("ann", ANN).await;
    for (filter, _) in FILTERS {
        // The sentinel comes through a binding of its own on the same channel, in the order of the writes.
        let changes = json!([
            { "event": "*", "schema": "public", "table": "items", "filter": filter },
            { "event": "*", "schema": "public", "table": "items", "filter": "id=eq.99" },
        ]);
        stage.subscribe("ann", filter, changes).await;
    }
    stage
        .database
        .execute(
            "insert into items (id, name, price, ready) values
             (1, 'apple', 1.00, true), (2, 'pear', 2.50, true), (3, 'a, b', 3.00, false), (4, null, null, true);
             insert into items (id) values (99)",
        )
        .await;
    for client in &stage.clients {
        for (filter, expected) in FILTERS {
            client.expect(json!({ "topic": filter, "binding": 1, "new": { "id": 99 } })).await;
            let seen = client.seen(&json!({ "topic": filter, "kind": "change", "binding": 0 }));
            let ids = seen.iter().map(|change| change["new"]["id"].as_i64().unwrap());
            let got: Vec<i64> = ids.filter(|id| *id != 99).collect();
            assert_eq!(got, expected, "{filter} in {:?}", client.stock);
        }
    }
}

#[tokio::test]
async fn selected_columns_alone_are_sent() {
    let stage = Stage::set(ITEMS).await;
    stage.connect("ann", ANN).await;
    // Older versions know no selection; what they do not understand they hand on.
    let changes = json!([{ "event": "*", "schema": "public", "table": "items", "select": ["name"] }]);
    stage.subscribe("ann", "items", changes).await;
    stage.database.execute("insert into items (id, name, price) values (1, 'pear', 2.50)").await;
    for client in &stage.clients {
        let change = client.expect(json!({ "kind": "change" })).await;
        // The key is always there.
        assert_eq!(change["new"], json!({ "id": 1, "name": "pear" }), "{:?}", client.stock);
    }
}

#[tokio::test]
async fn names_and_values_of_every_kind_survive() {
    let stage = Stage::set(
        r#"create schema "Other Place";
        create type mood as enum ('sad', 'very "happy"');
        create table "Other Place"."T,a""b" ("Id" bigint, part text, "or der" mood, big text, money money, primary key ("Id", part));
        grant usage on schema "Other Place" to authenticated;
        grant select on "Other Place"."T,a""b" to authenticated;
        alter publication supabase_realtime add table "Other Place"."T,a""b""#,
    )
    .await;
    stage.connect("ann", ANN).await;
    let table = r#"T,a"b"#;
    let changes = json!([
        { "event": "*", "schema": "Other Place", "table": table },
        { "event": "*", "schema": "Other Place" },
        { "event": "*", "schema": "Other Place", "table": table, "filter": "part=eq.a\u{301}é" },
    ]);
    stage.subscribe("ann", "odd", changes).await;
    // The large value is stored apart, and an update that leaves it alone does not bring it.
    stage
        .commit(&[
            r#"insert into "Other Place"."T,a""b" values (9007199254740993, 'á́é', 'very "happy"', null, 1.5)"#,
            r#"update "Other Place"."T,a""b" set "or der" = 'sad',
               big = (select string_agg(md5(n::text), '') from generate_series(1, 3000) n)"#,
            r#"update "Other Place"."T,a""b" set "or der" = null"#,
        ])
        .await;
    for client in &stage.clients {
        let context = format!("{:?}", client.stock);
        let inserted = client.expect(json!({ "kind": "change", "binding": 0, "type": "INSERT" })).await;
        assert_eq!(inserted["new"]["or der"], "very \"happy\"", "{context}");
        assert_eq!(
            (&inserted["schema"], &inserted["table"]),
            (&json!("Other Place"), &json!(table)),
            "{context}"
        );
        let large = client.expect(json!({ "kind": "change", "binding": 0, "type": "UPDATE" })).await;
        assert_eq!(large["new"]["big"].as_str().map(str::len), Some(96_000), "{context}");
        let last = client.expect(json!({ "kind": "change", "binding": 0, "type": "UPDATE" })).await;
        assert_eq!((&last["new"]["or der"], last["new"].get("big")), (&Value::Null, None), "{context}");
        assert_eq!(last["old"]["part"], last["new"]["part"], "{context}");
        client.expect(json!({ "kind": "change", "binding": 1, "type": "INSERT" })).await;
    }
}

#[tokio::test]
async fn shape_of_a_table_may_change_under_its_subscribers() {
    let stage = Stage::set(ITEMS).await;
    stage.connect("ann", ANN).await;
    stage.subscribe("ann", "items", json!([{ "event": "*", "schema": "public", "table": "items" }])).await;
    stage.commit(&["insert into items (id) values (1)"]).await;
    for client in &stage.clients {
        client.ids_up_to("ann", "items", 1).await;
    }
    stage
        .commit(&[
            "alter table items drop column tags, add column colour text default 'red'",
            "insert into items (id) values (2)",
            "alter table items alter column count type text",
            "insert into items (id, count) values (3, 'many')",
            "truncate items",
            "insert into items (id) values (4)",
        ])
        .await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "items", 4).await, [1, 2, 3, 4], "{:?}", client.stock);
        let rows: Vec<Value> =
            client.seen(&json!({ "kind": "change" })).iter().map(|seen| seen["new"].clone()).collect();
        assert!(
            rows[0].get("tags").is_some() && rows[0].get("colour").is_none(),
            "{:?} {rows:?}",
            client.stock
        );
        assert!(rows[1].get("tags").is_none() && rows[1]["colour"] == "red", "{:?} {rows:?}", client.stock);
        assert_eq!(rows[2]["count"], "many", "{:?}", client.stock);
    }
}

#[tokio::test]
async fn insert_into_a_table_without_a_key_is_an_error_and_shows_no_row() {
    let stage = Stage::set(
        "create table keyless (body text);
         grant select on keyless to authenticated;
         alter publication supabase_realtime add table keyless",
    )
    .await;
    stage.connect("ann", ANN).await;
    stage
        .subscribe("ann", "keyless", json!([{ "event": "*", "schema": "public", "table": "keyless" }]))
        .await;
    stage.database.execute("insert into keyless values ('secret')").await;
    for client in &stage.clients {
        if client.stock == Stock::Python {
            // It drops a change without a time of commit, which errors do not have.
            continue;
        }
        let change = client.expect(json!({ "kind": "change" })).await;
        assert_eq!(change["errors"], json!(["Error 400: Bad Request, no primary key"]), "{:?}", client.stock);
        assert_eq!(change["new"], json!({}), "{:?}", client.stock);
    }
}

#[tokio::test]
async fn rows_of_one_large_transaction_arrive_in_the_order_of_their_writes() {
    let stage = Stage::set(ITEMS).await;
    stage.connect("ann", ANN).await;
    stage
        .subscribe("ann", "items", json!([{ "event": "INSERT", "schema": "public", "table": "items" }]))
        .await;
    stage
        .commit(&[
            "insert into items (id, name) select n, repeat('x', 100) from generate_series(1, 2000) n",
            "insert into items (id) values (9999)",
        ])
        .await;
    let expected: Vec<i64> = (1..=2000).chain([9999]).collect();
    for client in &stage.clients {
        assert!(client.ids_up_to("ann", "items", 9999).await == expected, "{:?}", client.stock);
    }
}

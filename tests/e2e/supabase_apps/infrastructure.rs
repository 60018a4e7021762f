//! The messaging infrastructure whole: a customer, the staff and another customer, with a stock supabase-js alone.
//!
//! The app's manager joins `customer:<id>:messages`, `staff:<id>:messages`, `conversation:<id>` and `presence:<id>`,
//! with bindings of `postgres_changes`, and calls functions for all that it writes.

use serde_json::{Value, json};

use super::people::{People, Seat};
use super::{App, CUSTOMER, KARI, OTHER_CUSTOMER, OTHER_SUPPORT, SUPPORT, customer, staff, stranger};
use crate::stage::Stock;

const SUBSCRIBE: &str = "/api/messages/realtime/subscribe";

/// A binding for all changes of a table, with or without a filter.
fn changes(table: &str, filter: Option<String>) -> Value {
    match filter {
        Some(filter) => json!({ "event": "*", "schema": "public", "table": table, "filter": filter }),
        None => json!({ "event": "*", "schema": "public", "table": table }),
    }
}

/// What the manager listens to without a conversation: row level security says what that is.
pub(super) fn everything() -> Value {
    let tables =
        ["messages", "message_read_receipts", "message_typing_indicators", "message_delivery_status"];
    json!(tables.map(|table| changes(table, None)))
}

/// What it listens to in a conversation, and reactions, which an app may show too.
fn of_conversation(id: &str) -> Value {
    let filter = format!("conversation_id=eq.{id}");
    let tables = [
        "messages",
        "message_read_receipts",
        "message_typing_indicators",
        "message_delivery_status",
        "message_reactions",
    ];
    json!(tables.map(|table| changes(table, Some(filter.clone()))))
}

/// Has somebody subscribe over the API, and join what it answers.
pub(super) async fn enter(app: &App, people: &People, who: &str, token: &str, id: &str) -> Seat {
    people.connect(who, app, token).await;
    let answer = app.ask("POST", SUBSCRIBE, token, &json!({ "conversationId": SUPPORT }));
    let data = answer.data();
    let conversation = data["filters"]["conversationId"].as_str().unwrap();
    let names = data["channels"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let [topic, presence] = <[String; 2]>::try_from(names.collect::<Vec<_>>()).expect("two channels");
    people.join(who, &topic, json!({}), &of_conversation(conversation)).await;
    let config = json!({ "private": true, "presence": { "key": id } });
    people.join(who, &presence, config, &json!([changes("user_presence", None)])).await;
    Seat { topic, presence }
}

async fn a_question(stock: Stock) {
    let app = App::start(&["--adapters", "infrastructure"]).await;
    let people = People::start(stock).await;
    let Seat { topic: conversation, presence } =
        enter(&app, &people, "customer", &customer(CUSTOMER), CUSTOMER).await;
    enter(&app, &people, "staff", &staff(KARI), KARI).await;
    assert_eq!(
        [&*conversation, &*presence],
        [format!("conversation:{SUPPORT}"), format!("presence:{SUPPORT}")]
    );
    people.connect("other", &app, &customer(OTHER_CUSTOMER)).await;
    let own = format!("customer:{CUSTOMER}:messages");
    // As the app's manager does it: in public, where row level security alone decides about rows.
    people.join("customer", &own, json!({}), &everything()).await;
    let dashboard = format!("staff:{KARI}:messages");
    people.join("staff", &dashboard, json!({ "private": true }), &everything()).await;
    // The other customer asks for the same, and for everything.
    let told = app.ask("POST", SUBSCRIBE, &customer(OTHER_CUSTOMER), &json!({ "conversationId": SUPPORT }));
    assert_eq!(told.status, 404, "{told:?}");
    people.may_not_join("other", &presence, json!({ "private": true })).await;
    people.may_not_join("other", &own, json!({ "private": true })).await;
    people.join("other", &conversation, json!({}), &of_conversation(SUPPORT)).await;
    let others = format!("customer:{OTHER_CUSTOMER}:messages");
    people.join("other", &others, json!({ "private": true }), &everything()).await;

    // The customer types, and asks.
    let typing = json!({ "conversation_id": SUPPORT, "customer_id": CUSTOMER, "is_typing": true,
        "expires_in_seconds": 60 });
    people.rpc("customer", "update_typing_indicator", typing.clone()).await;
    let indicator = json!({ "customer_id": CUSTOMER, "is_typing": true });
    let started =
        people.hears("staff", &conversation, "INSERT", "message_typing_indicators", indicator).await;
    let stop = json!({ "conversation_id": SUPPORT, "customer_id": CUSTOMER, "is_typing": false });
    people.rpc("customer", "update_typing_indicator", stop).await;
    let stopped =
        people.hears("staff", &conversation, "DELETE", "message_typing_indicators", json!({})).await;
    assert_eq!(stopped["old"]["id"], started["new"]["id"], "which of them is told by its key");
    people.rpc("customer", "update_typing_indicator", typing).await;
    let body = json!({ "conversation_id": SUPPORT, "content": "Where is it?" });
    let asked = people.rpc("customer", "send_message", body).await;
    let row = json!({ "id": asked["id"], "sender_type": "customer", "sender_customer_id": CUSTOMER });
    people.hears("staff", &conversation, "INSERT", "messages", row.clone()).await;
    people.hears("staff", &dashboard, "INSERT", "messages", row.clone()).await;
    people.hears("customer", &own, "INSERT", "messages", row).await;
    people.hears("staff", &conversation, "DELETE", "message_typing_indicators", json!({})).await;
    let unread = people.rpc("staff", "get_unread_message_count", json!({ "user_id": KARI })).await;
    assert_eq!(unread, 1);
    let unread = people.rpc("staff", "get_unread_counts", json!({})).await;
    assert_eq!(unread, json!([{ "conversation_id": SUPPORT, "unread_count": 1 }]));

    // The staff read it, and answer; the customer hears all of it.
    let mark = json!({ "message_id": asked["id"], "user_id": KARI });
    people.rpc("staff", "mark_message_as_read", mark).await;
    let receipt = json!({ "message_id": asked["id"], "read_by_user_id": KARI });
    people.hears("customer", &own, "INSERT", "message_read_receipts", receipt.clone()).await;
    people.hears("customer", &conversation, "INSERT", "message_read_receipts", receipt).await;
    let delivery = json!({ "message_id": asked["id"], "status": "read", "recipient_type": "staff" });
    people.hears("customer", &own, "UPDATE", "message_delivery_status", delivery).await;
    let unread = people.rpc("staff", "get_unread_message_count", json!({ "user_id": KARI })).await;
    assert_eq!(unread, 0);
    let body = json!({ "conversation_id": SUPPORT, "content": "On its way" });
    let answered = people.rpc("staff", "send_message", body).await;
    let row = json!({ "id": answered["id"], "sender_type": "staff", "sender_id": KARI });
    people.hears("customer", &own, "INSERT", "messages", row).await;
    let edit = json!({ "message_id": answered["id"], "content": "It is on its way" });
    people.rpc("staff", "edit_message", edit).await;
    people.hears("customer", &own, "UPDATE", "messages", json!({ "content": "It is on its way" })).await;

    // The customer reacts to it, and no longer does; then it is deleted.
    let react = json!({ "message_id": answered["id"], "emoji": "👍" });
    people.rpc("customer", "add_message_reaction", react.clone()).await;
    let reaction = json!({ "message_id": answered["id"], "customer_id": CUSTOMER, "emoji": "👍" });
    let reacted = people.hears("staff", &conversation, "INSERT", "message_reactions", reaction).await;
    people.rpc("customer", "remove_message_reaction", react).await;
    let gone = people.hears("staff", &conversation, "DELETE", "message_reactions", json!({})).await;
    assert_eq!(gone["old"]["id"], reacted["new"]["id"]);
    let about =
        stranger::About { conversation: SUPPORT, message: answered["id"].as_str().unwrap(), word: "way" };
    stranger::is_refused_everywhere(&app, &people, ["other", "customer"], about).await;
    people.rpc("staff", "delete_message", json!({ "message_id": answered["id"] })).await;
    people.hears("customer", &own, "UPDATE", "messages", json!({ "content": "" })).await;

    // Who is there.
    people.track("customer", &presence, json!({ "status": "online" })).await;
    people
        .sees(
            json!({ "as": "staff", "topic": presence, "kind": "presence", "event": "join", "key": CUSTOMER }),
        )
        .await;
    let online =
        json!({ "customer_id": CUSTOMER, "status": "online", "metadata": { "deviceType": "mobile" } });
    people.rpc("customer", "update_user_presence", online).await;
    let row = json!({ "customer_id": CUSTOMER, "status": "online" });
    people.sees(json!({ "as": "staff", "topic": presence, "kind": "change", "table": "user_presence", "new": row }))
        .await;

    // Nobody acts for somebody else.
    for (name, args) in [
        ("update_typing_indicator", json!({ "conversation_id": SUPPORT, "customer_id": CUSTOMER })),
        ("mark_message_as_read", json!({ "message_id": asked["id"], "customer_id": CUSTOMER })),
        ("update_user_presence", json!({ "customer_id": CUSTOMER, "status": "offline" })),
        ("get_unread_message_count", json!({ "customer_id": CUSTOMER })),
    ] {
        let code = people.rpc_refused("other", name, args).await;
        assert!(["42501", "PT404"].contains(&&*code), "{name}: {code}");
    }

    // What psql writes is heard; the other customer hears of their own conversation alone.
    let insert = |conversation: &str| {
        format!(
            "insert into public.messages (conversation_id, sender_id, content)
             values ('{conversation}', '{KARI}', 'from psql')"
        )
    };
    app.database.execute(&insert(SUPPORT)).await;
    let row = json!({ "content": "from psql", "conversation_id": SUPPORT });
    people.hears("customer", &own, "INSERT", "messages", row.clone()).await;
    people.hears("customer", &conversation, "INSERT", "messages", row).await;
    app.database.execute(&insert(OTHER_SUPPORT)).await;
    let row = json!({ "content": "from psql", "conversation_id": OTHER_SUPPORT });
    people.hears("other", &others, "INSERT", "messages", row.clone()).await;
    people.hears("staff", &dashboard, "INSERT", "messages", row).await;
    assert_eq!(people.seen("other", &conversation, "change"), [] as [Value; 0]);
    let foreign = people.seen("other", &others, "change").into_iter().filter(|change| {
        let row = &change["new"];
        row.get("conversation_id").is_some_and(|id| id != OTHER_SUPPORT)
    });
    assert_eq!(foreign.collect::<Vec<_>>(), [] as [Value; 0]);

    // The end of it.
    let body = json!({ "channels": [conversation] });
    let answer = app.ask("DELETE", SUBSCRIBE, &customer(CUSTOMER), &body);
    assert_eq!(answer.data()["channels"], json!([conversation]));
    people.leave("customer", &presence).await;
    people.sees(json!({ "as": "staff", "topic": presence, "kind": "presence", "event": "leave", "key": CUSTOMER }))
        .await;
}

#[tokio::test]
async fn a_question_with_an_older_client() {
    a_question(Stock::Js49).await;
}

#[tokio::test]
async fn a_question_with_a_newer_client() {
    a_question(Stock::Js119).await;
}

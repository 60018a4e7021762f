//! iPEC Coach Connect whole: a coach, her client and a stranger, with a stock supabase-js alone.
//!
//! The app joins `conversation:<id>`, with a binding for new messages and the broadcast `typing`; its hook calls
//! functions for all that it lists and writes. The server has no adapter for it.

use serde_json::{Value, json};

use super::people::{People, Seat};
use super::{App, CHAT, EVE, KARI, OLA, OTHER_CHAT, stranger, user};
use crate::stage::Stock;

/// What the app's own document listens to.
pub(super) fn new_messages(id: &str) -> Value {
    let filter = format!("conversation_id=eq.{id}");
    json!([{ "event": "INSERT", "schema": "public", "table": "messages", "filter": filter }])
}

/// What its hook has to hear besides.
fn everything(id: &str) -> Value {
    let filter = format!("conversation_id=eq.{id}");
    let mut changes = new_messages(id);
    let all = changes.as_array_mut().unwrap();
    all.push(json!({ "event": "UPDATE", "schema": "public", "table": "messages", "filter": filter }));
    for table in
        ["message_reactions", "message_read_receipts", "message_delivery_status", "message_typing_indicators"]
    {
        all.push(json!({ "event": "*", "schema": "public", "table": table, "filter": filter }));
    }
    all.push(json!({ "event": "*", "schema": "public", "table": "user_presence" }));
    changes
}

/// Has somebody join a conversation with all that the hook needs, on one private channel.
pub(super) async fn enter(app: &App, people: &People, who: &str, id: &str, conversation: &str) -> Seat {
    people.connect(who, app, &user(id)).await;
    let topic = format!("conversation:{conversation}");
    let config = json!({ "private": true, "presence": { "key": id } });
    people.join(who, &topic, config, &everything(conversation)).await;
    Seat { presence: topic.clone(), topic }
}

/// The words of messages.
fn contents(messages: &Value) -> Vec<&str> {
    messages.as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect()
}

async fn as_the_document_says(stock: Stock) {
    let app = App::start(&["--messaging", "true"]).await;
    let people = People::start(stock).await;
    let topic = format!("conversation:{CHAT}");
    let own = format!("conversation:{OTHER_CHAT}");
    for (who, id) in [("kari", KARI), ("ola", OLA), ("eve", EVE)] {
        people.connect(who, &app, &user(id)).await;
        people.join(who, &topic, json!({}), &new_messages(CHAT)).await;
    }
    people.join("eve", &own, json!({}), &new_messages(OTHER_CHAT)).await;

    people.send("ola", &topic, "typing", json!({ "userId": OLA, "isTyping": true })).await;
    let typing = json!({ "as": "kari", "topic": topic, "kind": "broadcast", "event": "typing" });
    assert_eq!(people.sees(typing).await["payload"], json!({ "userId": OLA, "isTyping": true }));
    let body = json!({ "conversation_id": CHAT, "content": "Shall we begin?" });
    let sent = people.rpc("ola", "send_message", body).await;
    let row =
        json!({ "id": sent["id"], "content": "Shall we begin?", "sender_id": OLA, "conversation_id": CHAT });
    people.hears("kari", &topic, "INSERT", "messages", row.clone()).await;
    people.hears("ola", &topic, "INSERT", "messages", row).await;

    // What is said in her own conversation comes to Eve after all that would have come before.
    let body = json!({ "conversation_id": OTHER_CHAT, "content": "to myself" });
    people.rpc("eve", "send_message", body).await;
    people.hears("eve", &own, "INSERT", "messages", json!({ "content": "to myself" })).await;
    assert_eq!(people.seen("eve", &topic, "change"), [] as [Value; 0]);
}

async fn a_session(stock: Stock) {
    let app = App::start(&["--messaging", "true"]).await;
    let people = People::start(stock).await;
    for (who, id) in [("kari", KARI), ("ola", OLA), ("eve", EVE)] {
        people.connect(who, &app, &user(id)).await;
    }

    // The coach starts a conversation with a first message, and finds it again; her client has it in their list.
    let start = json!({ "participant_ids": [OLA], "kind": "group", "title": "Week 12",
        "first_message": "How was your week?", "client_message_id": "temp-1",
        "metadata": { "sessionId": "s-12" } });
    let started = people.rpc("kari", "start_conversation", start.clone()).await;
    assert_eq!(people.rpc("kari", "start_conversation", start).await["id"], started["id"]);
    let direct = json!({ "participant_ids": [OLA] });
    assert_eq!(
        people.rpc("kari", "start_conversation", direct).await["id"],
        CHAT,
        "there is one of those two"
    );
    let id = started["id"].as_str().unwrap();
    let list = people.rpc("ola", "list_conversations", json!({})).await;
    assert_eq!(list[0]["id"], id, "{list}");
    assert_eq!(list[0]["title"], "Week 12");
    assert_eq!(list[0]["metadata"]["sessionId"], "s-12");
    assert_eq!(list[0]["unread_count"], 1);
    assert_eq!(list[0]["last_message"]["content"], "How was your week?");

    // Both join; the stranger may not, and listens in public.
    let Seat { topic, .. } = enter(&app, &people, "kari", KARI, id).await;
    enter(&app, &people, "ola", OLA, id).await;
    people.may_not_join("eve", &topic, json!({ "private": true })).await;
    people.join("eve", &format!("listening to {id}"), json!({}), &everything(id)).await;
    let tables = json!([{ "event": "*", "schema": "public", "table": "*" }]);
    people.join("eve", "listening", json!({}), &tables).await;

    // They read, page by page.
    let unread = people.rpc("ola", "get_unread_counts", json!({})).await;
    assert_eq!(unread, json!([{ "conversation_id": id, "unread_count": 1 }]));
    let read = people.rpc("ola", "mark_conversation_as_read", json!({ "conversation_id": id })).await;
    assert_eq!(read, 1);
    let receipt = json!({ "conversation_id": id, "read_by_user_id": OLA });
    people.hears("kari", &topic, "INSERT", "message_read_receipts", receipt).await;
    people.hears("kari", &topic, "UPDATE", "message_delivery_status", json!({ "status": "read" })).await;
    assert_eq!(people.rpc("ola", "get_unread_counts", json!({})).await, json!([]));
    for content in ["Good.", "Next on Firday?", "I have a question."] {
        let body = json!({ "conversation_id": id, "content": content, "client_message_id": content });
        let sent = people.rpc("ola", "send_message", body.clone()).await;
        assert_eq!(people.rpc("ola", "send_message", body).await["id"], sent["id"]);
        let row = json!({ "id": sent["id"], "content": content, "sender_name": "Ola Nordmann" });
        people.hears("kari", &topic, "INSERT", "messages", row).await;
    }
    let page = json!({ "conversation_id": id, "page_limit": 2 });
    let newest = people.rpc("kari", "list_messages", page.clone()).await;
    assert_eq!(contents(&newest), ["Next on Firday?", "I have a question."]);
    let mut before = page;
    before["before_id"] = newest[0]["id"].clone();
    let older = people.rpc("kari", "list_messages", before).await;
    assert_eq!(contents(&older), ["How was your week?", "Good."]);
    assert_eq!(older[0]["status"], "read", "as its sender sees it");
    let unread = people.rpc("kari", "get_unread_message_count", json!({})).await;
    assert_eq!(unread, 3);
    let inserts = people.seen("kari", &topic, "change").into_iter().filter(|change| {
        change["table"] == "messages" && change["type"] == "INSERT" && change["new"]["sender_id"] == OLA
    });
    assert_eq!(inserts.count(), 3, "what is sent twice is heard once");

    // One of the messages is edited, found, reacted to, and deleted.
    let message = newest[0]["id"].clone();
    let edit = json!({ "message_id": message, "content": "Next on Friday?" });
    people.rpc("ola", "edit_message", edit).await;
    let edited = json!({ "id": message, "content": "Next on Friday?" });
    let edited = people.hears("kari", &topic, "UPDATE", "messages", edited).await;
    assert!(edited["new"]["edited_at"].is_string(), "{edited}");
    for query in [json!({ "query": "friday" }), json!({ "query": "friday", "conversation_id": id })] {
        assert_eq!(contents(&people.rpc("kari", "search_messages", query).await), ["Next on Friday?"]);
    }
    let react = json!({ "message_id": message, "emoji": "👍" });
    people.rpc("kari", "add_message_reaction", react.clone()).await;
    let reaction = json!({ "message_id": message, "user_id": KARI, "emoji": "👍" });
    let reacted = people.hears("ola", &topic, "INSERT", "message_reactions", reaction).await;
    let about = stranger::About { conversation: id, message: message.as_str().unwrap(), word: "friday" };
    stranger::is_refused_everywhere(&app, &people, ["eve", "kari"], about).await;
    people.rpc("kari", "remove_message_reaction", react).await;
    let gone = people.hears("ola", &topic, "DELETE", "message_reactions", json!({})).await;
    assert_eq!(gone["old"]["id"], reacted["new"]["id"]);
    people.rpc("ola", "delete_message", json!({ "message_id": message })).await;
    let deleted = people.hears("kari", &topic, "UPDATE", "messages", json!({ "content": "" })).await;
    assert!(deleted["new"]["deleted_at"].is_string(), "{deleted}");
    assert_eq!(people.rpc("kari", "get_unread_message_count", json!({})).await, 2);

    typing(&people, &topic, id).await;
    who_is_there(&people, &topic, id).await;

    // A row from psql is heard; of all that was said, Eve hears only what is in her own conversation.
    let insert = |conversation: &str, sender: &str| {
        format!(
            "insert into public.messages (conversation_id, sender_id, content)
             values ('{conversation}', '{sender}', 'from psql')"
        )
    };
    app.database.execute(&insert(id, KARI)).await;
    people.hears("ola", &topic, "INSERT", "messages", json!({ "content": "from psql" })).await;
    app.database.execute(&insert(OTHER_CHAT, EVE)).await;
    people.hears("eve", "listening", "INSERT", "messages", json!({ "content": "from psql" })).await;
    for change in people.take(&json!({ "as": "eve", "kind": "change" })) {
        let row = if change["type"] == "DELETE" { &change["old"] } else { &change["new"] };
        let is_own = row["conversation_id"] == OTHER_CHAT || row["user_id"] == EVE || row["id"] == OTHER_CHAT;
        assert!(is_own, "{change}");
    }
    assert_eq!(people.take(&json!({ "as": "eve", "kind": "broadcast" })), [] as [Value; 0]);
}

/// Typing as broadcasts and as rows.
async fn typing(people: &People, topic: &str, id: &str) {
    people.send("ola", topic, "typing", json!({ "userId": OLA })).await;
    people.sees(json!({ "as": "kari", "topic": topic, "kind": "broadcast", "event": "typing" })).await;
    let typing = |is_typing: bool| json!({ "conversation_id": id, "is_typing": is_typing });
    people.rpc("ola", "update_typing_indicator", typing(true)).await;
    let indicator = json!({ "user_id": OLA, "is_typing": true });
    let started = people.hears("kari", topic, "INSERT", "message_typing_indicators", indicator).await;
    people.rpc("ola", "update_typing_indicator", typing(false)).await;
    let stopped = people.hears("kari", topic, "DELETE", "message_typing_indicators", json!({})).await;
    assert_eq!(stopped["old"]["id"], started["new"]["id"]);
}

/// Heartbeats, when somebody was last seen, and the presence of the channel.
async fn who_is_there(people: &People, topic: &str, id: &str) {
    let heartbeat = json!({ "status": "online", "metadata": { "device": "phone" } });
    people.rpc("ola", "update_user_presence", heartbeat.clone()).await;
    let row = json!({ "user_id": OLA, "status": "online", "metadata": { "device": "phone" } });
    let first = people.hears("kari", topic, "UPDATE", "user_presence", row.clone()).await;
    people.rpc("ola", "update_user_presence", heartbeat).await;
    let second = people.hears("kari", topic, "UPDATE", "user_presence", row).await;
    let last_seen = |change: &Value| change["new"]["last_seen_at"].as_str().unwrap().to_owned();
    assert!(last_seen(&first) < last_seen(&second));
    let conversation = people.rpc("kari", "get_conversation", json!({ "conversation_id": id })).await;
    let people_there = conversation["participants"].as_array().unwrap();
    let ola = people_there.iter().find(|person| person["user_id"] == OLA).unwrap();
    assert_eq!(ola["status"], "online");
    assert!(ola["last_seen_at"].is_string(), "{ola}");
    people.track("ola", topic, json!({ "device": "phone" })).await;
    let joined = json!({ "as": "kari", "topic": topic, "kind": "presence", "event": "join", "key": OLA });
    assert_eq!(people.sees(joined).await["metas"][0]["device"], "phone");
    people.leave("ola", topic).await;
    people
        .sees(json!({ "as": "kari", "topic": topic, "kind": "presence", "event": "leave", "key": OLA }))
        .await;
    let own = people.take(&json!({ "as": "eve", "kind": "presence", "event": "join" }));
    assert_eq!(own, [] as [Value; 0]);
    enter_again(people, topic, id).await;
}

/// Joins once more as it was.
async fn enter_again(people: &People, topic: &str, id: &str) {
    people.join("ola", topic, json!({ "private": true }), &everything(id)).await;
}

#[tokio::test]
async fn a_talk_as_documented_with_an_older_client() {
    as_the_document_says(Stock::Js49).await;
}

#[tokio::test]
async fn a_talk_as_documented_with_a_newer_client() {
    as_the_document_says(Stock::Js119).await;
}

#[tokio::test]
async fn a_session_with_an_older_client() {
    a_session(Stock::Js49).await;
}

#[tokio::test]
async fn a_session_with_a_newer_client() {
    a_session(Stock::Js119).await;
}

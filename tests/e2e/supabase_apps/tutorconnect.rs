//! TutorConnect whole: what is written over REST is heard with a stock supabase-js on the channels that the answer has
//! named, and a stranger hears nothing.

use serde_json::{Value, json};

use super::people::{People, Seat};
use super::{App, CHAT, EVE, KARI, OLA, OTHER_CHAT, stranger, user};
use crate::stage::Stock;

const REALTIME: &str = "/api/chat/realtime";
const MESSAGES: &str = "/api/messages";

/// What the server tells somebody to join.
pub(super) fn channels(app: &App, id: &str, chat: &str) -> Vec<Value> {
    let answer = app.ask("POST", REALTIME, &user(id), &json!({ "chatId": chat }));
    answer.data()["channels"].as_array().unwrap().clone()
}

/// Has somebody join what the server tells them to.
pub(super) async fn enter(app: &App, people: &People, who: &str, id: &str, chat: &str) -> Seat {
    people.connect(who, app, &user(id)).await;
    let channels = channels(app, id, chat);
    let names: Vec<String> =
        channels.iter().map(|channel| channel["name"].as_str().unwrap().to_owned()).collect();
    for (channel, name) in channels.iter().zip(&names) {
        people.join(who, name, channel["config"].clone(), &channel["postgresChanges"]).await;
    }
    let [topic, presence] = <[String; 2]>::try_from(names).expect("two channels");
    Seat { topic, presence }
}

fn status(app: &App, id: &str) -> Value {
    let path = format!("{REALTIME}?chatId={CHAT}");
    app.ask("GET", &path, &user(id), &Value::Null).data().clone()
}

async fn a_lesson(stock: Stock) {
    let app = App::start(&["--adapters", "tutorconnect"]).await;
    let people = People::start(stock).await;
    let Seat { topic, presence } = enter(&app, &people, "kari", KARI, CHAT).await;
    enter(&app, &people, "ola", OLA, CHAT).await;

    // A stranger is not told, may not join, and hears nothing on public channels with the same bindings.
    let told = app.ask("POST", REALTIME, &user(EVE), &json!({ "chatId": CHAT }));
    assert_eq!(told.status, 404, "{told:?}");
    let own = enter(&app, &people, "eve", EVE, OTHER_CHAT).await;
    let tables =
        ["messages", "message_typing_indicators", "message_read_receipts", "message_delivery_status"];
    let filter = format!("conversation_id=eq.{CHAT}");
    let mut changes: Vec<_> = tables
        .iter()
        .map(|table| json!({ "event": "*", "schema": "public", "table": table, "filter": filter }))
        .collect();
    changes.push(json!({ "event": "*", "schema": "public", "table": "user_presence" }));
    people.join("eve", "listening", json!({}), &json!(changes)).await;
    people.may_not_join("eve", &presence, json!({ "private": true })).await;

    // Presence, of the channel and of the table.
    people.track("kari", &presence, json!({ "device": "desktop" })).await;
    let joined = json!({ "as": "ola", "topic": presence, "kind": "presence", "event": "join", "key": KARI });
    assert_eq!(people.sees(joined).await["metas"][0]["device"], "desktop");
    people.rpc("kari", "update_user_presence", json!({ "status": "busy" })).await;
    let busy = json!({ "user_id": KARI, "status": "busy" });
    people.sees(json!({ "as": "ola", "topic": presence, "kind": "change", "table": "user_presence", "new": busy }))
        .await;
    assert!(status(&app, OLA)["onlineUsers"].as_array().unwrap().contains(&json!(KARI)));

    // Typing, from its start to its end.
    let typing = |is_typing: bool| json!({ "chatId": CHAT, "isTyping": is_typing, "expiresInSeconds": 60 });
    app.ask("PUT", REALTIME, &user(OLA), &typing(true)).data();
    let indicator = json!({ "user_id": OLA, "is_typing": true });
    let started = people.hears("kari", &topic, "INSERT", "message_typing_indicators", indicator).await;
    assert_eq!(status(&app, KARI)["typingUsers"][0]["userId"], OLA);
    app.ask("POST", "/api/messages/typing", &user(OLA), &typing(false)).data();
    let stopped = people.hears("kari", &topic, "DELETE", "message_typing_indicators", json!({})).await;
    assert_eq!(stopped["old"]["id"], started["new"]["id"], "which of them is told by its key");

    // The app's own broadcasts.
    people.send("kari", &topic, "typing", json!({ "userId": KARI })).await;
    let broadcast = json!({ "as": "ola", "topic": topic, "kind": "broadcast", "event": "typing" });
    assert_eq!(people.sees(broadcast).await["payload"]["userId"], KARI);

    // A message, once although it is sent twice.
    let body = json!({ "chatId": CHAT, "content": "Hei, er du klar?", "clientMessageId": "temp-1" });
    let sent = app.ask("POST", MESSAGES, &user(OLA), &body).data().clone();
    let again = app.ask("POST", MESSAGES, &user(OLA), &body).data().clone();
    assert_eq!(again["id"], sent["id"]);
    let row = json!({ "id": sent["id"], "content": "Hei, er du klar?", "sender_name": "Ola Nordmann",
        "client_message_id": "temp-1" });
    people.hears("kari", &topic, "INSERT", "messages", row.clone()).await;
    people.hears("ola", &topic, "INSERT", "messages", row).await;
    assert_eq!(status(&app, KARI)["unreadCount"], 1);

    // It is read, which its sender hears.
    let read = json!({ "messageIds": [sent["id"]] });
    assert_eq!(app.ask("POST", "/api/messages/read-receipts", &user(KARI), &read).data()["readCount"], 1);
    let receipt = json!({ "message_id": sent["id"], "read_by_user_id": KARI });
    people.hears("ola", &topic, "INSERT", "message_read_receipts", receipt).await;
    let delivery = json!({ "message_id": sent["id"], "status": "read", "recipient_id": KARI });
    people.hears("ola", &topic, "UPDATE", "message_delivery_status", delivery).await;
    assert_eq!(status(&app, KARI)["unreadCount"], 0);
    assert_eq!(status(&app, OLA)["lastMessage"]["status"], "read");

    // It is edited, reacted to, and deleted.
    let path = format!("{MESSAGES}/{}", sent["id"].as_str().unwrap());
    app.ask("PUT", &path, &user(OLA), &json!({ "content": "Klar?" })).data();
    let edited = json!({ "id": sent["id"], "content": "Klar?" });
    let edited = people.hears("kari", &topic, "UPDATE", "messages", edited).await;
    assert!(edited["new"]["edited_at"].is_string(), "{edited}");
    people.rpc("kari", "add_message_reaction", json!({ "message_id": sent["id"], "emoji": "👍" })).await;
    let reaction = json!({ "message_id": sent["id"], "user_id": KARI, "emoji": "👍" });
    let reacted = people.hears("ola", &topic, "INSERT", "message_reactions", reaction).await;
    people.rpc("kari", "remove_message_reaction", json!({ "message_id": sent["id"], "emoji": "👍" })).await;
    let gone = people.hears("ola", &topic, "DELETE", "message_reactions", json!({})).await;
    assert_eq!(gone["old"]["id"], reacted["new"]["id"]);
    let about = stranger::About { conversation: CHAT, message: sent["id"].as_str().unwrap(), word: "Klar" };
    stranger::is_refused_everywhere(&app, &people, ["eve", "kari"], about).await;
    app.ask("DELETE", &path, &user(OLA), &Value::Null).data();
    let deleted = people.hears("kari", &topic, "UPDATE", "messages", json!({ "content": "" })).await;
    assert!(deleted["new"]["deleted_at"].is_string(), "{deleted}");

    // A row that anybody writes into the database is heard as well; one of the stranger's comes last.
    let insert = |chat: &str, sender: &str| {
        format!(
            "insert into public.messages (conversation_id, sender_id, content)
             values ('{chat}', '{sender}', 'from psql')"
        )
    };
    app.database.execute(&insert(CHAT, KARI)).await;
    people.hears("ola", &topic, "INSERT", "messages", json!({ "content": "from psql" })).await;
    app.database.execute(&insert(OTHER_CHAT, EVE)).await;
    people.hears("eve", &own.topic, "INSERT", "messages", json!({ "content": "from psql" })).await;
    // All that she hears is that she herself is there, as the server notes of whoever is connected.
    let foreign = people
        .seen("eve", "listening", "change")
        .into_iter()
        .filter(|change| change["table"] != "user_presence" || change["new"]["user_id"] != EVE);
    assert_eq!(foreign.collect::<Vec<_>>(), [] as [Value; 0]);
    assert_eq!(people.seen("eve", &presence, "presence"), [] as [Value; 0]);
    let inserts = people.seen("kari", &topic, "change").into_iter().filter(|change| {
        change["table"] == "messages" && change["type"] == "INSERT" && change["new"]["id"] == sent["id"]
    });
    assert_eq!(inserts.count(), 1, "a message that is sent twice is heard once");

    // Who leaves is seen to leave.
    people.leave("kari", &presence).await;
    people
        .sees(json!({ "as": "ola", "topic": presence, "kind": "presence", "event": "leave", "key": KARI }))
        .await;
}

#[tokio::test]
async fn a_lesson_with_an_older_client() {
    a_lesson(Stock::Js49).await;
}

#[tokio::test]
async fn a_lesson_with_a_newer_client() {
    a_lesson(Stock::Js119).await;
}

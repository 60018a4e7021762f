//! What the server does by itself for the people of each app: typing that nobody ends is ended, who is there is known,
//! and what has arrived is noted.

use serde_json::{Value, json};

use super::people::{People, Seat};
use super::{
    App, CHAT, CUSTOMER, EVE, KARI, OLA, OTHER_CHAT, SUPPORT, customer, infrastructure, ipec, staff,
    tutorconnect, user,
};
use crate::stage::Stock;

/// Which app.
#[derive(Clone, Copy)]
enum Kind {
    Ipec,
    TutorConnect,
    Infrastructure,
}

impl Kind {
    fn flags(self) -> [&'static str; 6] {
        let [name, value] = match self {
            Self::Ipec => ["--messaging", "true"],
            Self::TutorConnect => ["--adapters", "tutorconnect"],
            Self::Infrastructure => ["--adapters", "infrastructure"],
        };
        [name, value, "--presence-idle-ms", "2000", "--presence-grace-ms", "1000"]
    }

    fn conversation(self) -> &'static str {
        match self {
            Self::Infrastructure => SUPPORT,
            _ => CHAT,
        }
    }

    /// Has Kari take her seat, who stays and looks.
    async fn kari_enters(self, app: &App, people: &People) -> Seat {
        match self {
            Self::Ipec => ipec::enter(app, people, "kari", KARI, CHAT).await,
            Self::TutorConnect => tutorconnect::enter(app, people, "kari", KARI, CHAT).await,
            Self::Infrastructure => infrastructure::enter(app, people, "kari", &staff(KARI), KARI).await,
        }
    }

    /// Has the other one take theirs.
    async fn other_enters(self, app: &App, people: &People) -> Seat {
        match self {
            Self::Ipec => ipec::enter(app, people, "other", OLA, CHAT).await,
            Self::TutorConnect => tutorconnect::enter(app, people, "other", OLA, CHAT).await,
            Self::Infrastructure => {
                infrastructure::enter(app, people, "other", &customer(CUSTOMER), CUSTOMER).await
            }
        }
    }

    /// How rows name the other one.
    fn other(self) -> Value {
        match self {
            Self::Infrastructure => json!({ "customer_id": CUSTOMER }),
            _ => json!({ "user_id": OLA }),
        }
    }

    /// How rows name the other one, with something they say of them.
    fn other_with(self, key: &str, value: Value) -> Value {
        let mut row = self.other();
        row[key] = value;
        row
    }
}

async fn by_itself(kind: Kind, stock: Stock) {
    let app = App::start(&kind.flags()).await;
    let people = People::start(stock).await;
    let kari = kind.kari_enters(&app, &people).await;
    people.connect("eve", &app, &user(EVE)).await;
    let tables = json!([{ "event": "*", "schema": "public", "table": "*" }]);
    people.join("eve", "listening", json!({}), &tables).await;

    // Who joins is online.
    let other = kind.other_enters(&app, &people).await;
    let status = |status: &str| kind.other_with("status", json!(status));
    people.hears("kari", &kari.presence, "INSERT", "user_presence", status("online")).await;

    arrives(&people, kind, [&kari, &other]).await;
    typing_ends(&people, kind, &kari).await;

    // Who does nothing is away, and back with the first thing that they do.
    people.hears("kari", &kari.presence, "UPDATE", "user_presence", status("away")).await;
    people.take(&json!({ "as": "kari", "kind": "change", "table": "user_presence" }));
    people.send("other", &other.topic, "moved", json!({})).await;
    people.hears("kari", &kari.presence, "UPDATE", "user_presence", status("online")).await;

    // Whose last device has gone is offline.
    people.close("other").await;
    let gone = people.hears("kari", &kari.presence, "UPDATE", "user_presence", status("offline")).await;
    assert!(gone["new"]["last_seen_at"].is_string(), "{gone}");
    let conversation = json!({ "conversation_id": kind.conversation() });
    let conversation = people.rpc("kari", "get_conversation", conversation).await;
    let statuses = conversation["participants"].as_array().unwrap();
    let (key, id) =
        kind.other().as_object().unwrap().iter().next().map(|(k, v)| (k.clone(), v.clone())).unwrap();
    let found = statuses.iter().find(|person| person[&key] == id).unwrap();
    assert_eq!(found["status"], "offline");

    // Of all this the stranger has heard nothing but that she herself is there.
    let insert = format!(
        "insert into public.messages (conversation_id, sender_id, content) values ('{OTHER_CHAT}', '{EVE}', 'last')"
    );
    app.database.execute(&insert).await;
    people.hears("eve", "listening", "INSERT", "messages", json!({ "content": "last" })).await;
    for change in people.take(&json!({ "as": "eve", "kind": "change" })) {
        let row = if change["type"] == "DELETE" { &change["old"] } else { &change["new"] };
        let is_own = row["conversation_id"] == OTHER_CHAT || row["user_id"] == EVE || row["id"] == OTHER_CHAT;
        assert!(is_own, "{change}");
    }
}

/// What Kari gets is delivered to her, which the other one hears; it is unread until she has read it.
async fn arrives(people: &People, kind: Kind, [kari, other]: [&Seat; 2]) {
    let unread = async || people.rpc("kari", "get_unread_message_count", json!({})).await;
    assert_eq!(unread().await, 0);
    let body = json!({ "conversation_id": kind.conversation(), "content": "Are you there?" });
    let sent = people.rpc("other", "send_message", body).await;
    people.hears("kari", &kari.topic, "INSERT", "messages", json!({ "id": sent["id"] })).await;
    let delivered = json!({ "message_id": sent["id"], "recipient_id": KARI, "status": "delivered" });
    people.hears("other", &other.topic, "UPDATE", "message_delivery_status", delivered).await;
    let message = json!({ "message_id": sent["id"] });
    assert_eq!(people.rpc("other", "get_message", message.clone()).await["status"], "delivered");
    assert_eq!(unread().await, 1);
    people.rpc("kari", "mark_message_as_read", message.clone()).await;
    let read = json!({ "message_id": sent["id"], "recipient_id": KARI, "status": "read" });
    people.hears("other", &other.topic, "UPDATE", "message_delivery_status", read).await;
    assert_eq!(people.rpc("other", "get_message", message).await["status"], "read");
    assert_eq!(unread().await, 0);
}

/// Somebody begins to type and is heard of no more.
async fn typing_ends(people: &People, kind: Kind, kari: &Seat) {
    let typing = json!({ "conversation_id": kind.conversation(), "expires_in_seconds": 1 });
    people.rpc("other", "update_typing_indicator", typing).await;
    let row = kind.other_with("is_typing", json!(true));
    let started = people.hears("kari", &kari.topic, "INSERT", "message_typing_indicators", row).await;
    let ended = people.hears("kari", &kari.topic, "DELETE", "message_typing_indicators", json!({})).await;
    assert_eq!(ended["old"]["id"], started["new"]["id"], "which of them is told by its key");
}

#[tokio::test]
async fn ipec_with_an_older_client() {
    by_itself(Kind::Ipec, Stock::Js49).await;
}

#[tokio::test]
async fn ipec_with_a_newer_client() {
    by_itself(Kind::Ipec, Stock::Js119).await;
}

#[tokio::test]
async fn tutorconnect_with_an_older_client() {
    by_itself(Kind::TutorConnect, Stock::Js49).await;
}

#[tokio::test]
async fn tutorconnect_with_a_newer_client() {
    by_itself(Kind::TutorConnect, Stock::Js119).await;
}

#[tokio::test]
async fn infrastructure_with_an_older_client() {
    by_itself(Kind::Infrastructure, Stock::Js49).await;
}

#[tokio::test]
async fn infrastructure_with_a_newer_client() {
    by_itself(Kind::Infrastructure, Stock::Js119).await;
}

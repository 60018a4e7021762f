//! Frames that no current stock client sends: the join of the first clients, and a second join of one topic.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::stage::{ANN, PATIENCE, TestServer, major, server};
use crate::support::TestDatabase;

const NOTES: &str = "
    create table notes (id int primary key, body text);
    grant select on notes to authenticated;
    alter publication supabase_realtime add table notes;";

struct Raw(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    async fn connect(server: &TestServer, path: &str, token: &str) -> Result<Self, tungstenite::Error> {
        let url = format!("ws://{}{path}?apikey={token}&vsn=1.0.0", server.address);
        connect_async(url).await.map(|(socket, _)| Self(socket))
    }

    async fn send(&mut self, topic: &str, event: &str, payload: Value, reference: &str) {
        let join = (event == "phx_join").then_some(reference);
        let frame =
            json!({ "topic": topic, "event": event, "payload": payload, "ref": reference, "join_ref": join });
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let frame = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a frame in time");
        serde_json::from_str(frame.unwrap().unwrap().to_text().unwrap()).unwrap()
    }
}

async fn stage() -> (TestDatabase, TestServer) {
    let database = TestDatabase::create(major()).await;
    server::migrate(&database.url);
    database.execute(NOTES).await;
    let server = TestServer::start(&database.url).await;
    (database, server)
}

#[tokio::test]
async fn legacy_join_takes_its_table_from_the_topic() {
    let (database, server) = stage().await;
    let token = server::token("authenticated", Some(ANN));
    // With and without a gateway in front.
    for (id, path) in [(1, "/socket/websocket"), (2, "/realtime/v1/websocket")] {
        let mut raw = Raw::connect(&server, path, &token).await.unwrap();
        let topic = "realtime:public:notes";
        raw.send(topic, "phx_join", json!({ "user_token": token }), "1").await;
        let reply = raw.next().await;
        assert_eq!((&reply["event"], &reply["ref"]), (&json!("phx_reply"), &json!("1")));
        assert_eq!(reply["payload"]["status"], "ok", "{reply}");
        let system = raw.next().await;
        assert_eq!(system["payload"]["message"], "Subscribed to PostgreSQL", "{system}");

        database.execute(&format!("insert into notes values ({id}, 'x')")).await;
        let change = raw.next().await;
        assert_eq!((&change["event"], &change["ref"]), (&json!("INSERT"), &Value::Null));
        assert_eq!(change["payload"]["record"], json!({ "id": id, "body": "x" }), "{change}");
        assert_eq!(change["payload"].get("ids"), None);
        // Exactly these keys: the first Python client ends on any other.
        let keys: Vec<&String> = change.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["event", "payload", "ref", "topic"]);

        raw.send("phoenix", "heartbeat", json!({ "msg": "ping" }), "2").await;
        let beat = raw.next().await;
        assert_eq!(beat["payload"], json!({ "status": "ok", "response": {} }));
    }
}

#[tokio::test]
async fn second_join_of_a_topic_closes_the_first_and_each_row_comes_once() {
    let (database, server) = stage().await;
    let token = server::token("authenticated", Some(ANN));
    let mut raw = Raw::connect(&server, "/socket/websocket", &token).await.unwrap();
    let config =
        json!({ "config": { "postgres_changes": [{ "event": "*", "schema": "public", "table": "notes" }] } });
    let topic = "realtime:any";
    raw.send(topic, "phx_join", config.clone(), "1").await;
    assert_eq!(raw.next().await["event"], "phx_reply");
    assert_eq!(raw.next().await["event"], "system");
    raw.send(topic, "phx_join", config, "2").await;
    let mut frames = [raw.next().await, raw.next().await, raw.next().await];
    // The system message may overtake the close; the reply is first.
    frames[1..].sort_by_key(|frame| frame["event"].to_string());
    let events = frames.each_ref().map(|frame| (frame["event"].as_str().unwrap(), frame["ref"].as_str()));
    assert_eq!(events, [("phx_reply", Some("2")), ("phx_close", Some("1")), ("system", None)]);
    database.execute("insert into notes values (1, 'x'); insert into notes values (2, 'y')").await;
    for id in [1, 2] {
        let change = raw.next().await;
        assert_eq!(change["payload"]["data"]["record"]["id"], id, "{change}");
    }
}

#[tokio::test]
async fn wrong_key_is_refused_before_the_socket_opens() {
    let (_database, server) = stage().await;
    let valid = server::token("anon", None);
    let forged = server::token_signed("another-secret-that-is-long-enough-for-hs256", "anon", None, 60);
    let expired = server::token_signed(server::SECRET, "anon", None, -60);
    assert!(Raw::connect(&server, "/socket/websocket", &valid).await.is_ok());
    for (case, key) in [("forged", &*forged), ("expired", &*expired), ("garbage", "x"), ("missing", "")] {
        match Raw::connect(&server, "/socket/websocket", key).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status().as_u16(), 401, "{case}"),
            other => panic!("{case}: {:?}", other.err()),
        }
    }
}

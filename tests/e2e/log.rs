//! What a busy server writes about its clients: codes, and nothing that is theirs.

use rowcast::telemetry::code::Code;
use serde_json::{Value, json};

use crate::stage::{ANN, RawClient, TestServer, Vsn, major, server};
use crate::support::TestDatabase;

/// A policy and a generated column that raise with a value of the row in their words.
const NOTES: &str = "
    create table notes (id int primary key, body text);
    alter table notes enable row level security;
    create policy raises on notes for select to authenticated using (body::int > 0);
    grant select on notes to authenticated;
    alter publication supabase_realtime add table notes;";

/// Signs what the metrics want to see.
const METRICS: [&str; 2] = ["--metrics-jwt-secret", server::SECRET];

#[tokio::test]
async fn no_token_payload_topic_or_row_of_a_busy_server_is_in_its_log() {
    let database = TestDatabase::create(major()).await;
    server::migrate(&database.url);
    database.execute(NOTES).await;
    let server = TestServer::start_with(&database.url, &METRICS).await;
    let token = server::token("authenticated", Some(ANN));
    let foreign = server::token_signed("another-secret-of-32-bytes-and-more", "anon", None, 60);
    let expired = server::token_signed(server::SECRET, "authenticated", None, -60);
    for vsn in [Vsn::V1, Vsn::V2] {
        talk(&server, &database, vsn, &token, [&foreign, &expired]).await;
    }
    for refused in [&foreign, &expired, &"planted-garbage".to_owned()] {
        let target = format!("/socket/websocket?apikey={refused}");
        assert!(RawClient::open(&server, Vsn::V2, &target, &[]).await.is_err());
    }
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let scrape = server::http(server.address, "GET", "/metrics", &headers, b"").unwrap();
    assert_eq!(scrape.0, 200);
    let log = server.logged();
    for word in ["planted", token.as_str(), foreign.as_str(), expired.as_str(), server::SECRET, ANN] {
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
        assert!(!scrape.2.contains(word), "{word} is on the metrics page:\n{}", scrape.2);
    }
    for code in [
        Code::JwtSignatureError,
        Code::InvalidJWTToken,
        Code::MalformedJWT,
        Code::MalformedWebSocketMessage,
        Code::RealtimeDisabledForConfiguration,
        Code::RlsPolicyError,
        Code::Unauthorized,
        Code::UnmatchedTopic,
    ] {
        let name = code.as_str();
        assert!(log.contains(name), "{name} is not in the log:\n{log}");
        assert!(scrape.2.contains(&format!("rowcast_errors_total{{code=\"{name}\"}}")), "{name}");
    }
}

/// Everything that a client can say, right and wrong.
async fn talk(server: &TestServer, database: &TestDatabase, vsn: Vsn, token: &str, bad: [&str; 2]) {
    let mut client = RawClient::connect(server, vsn, token).await;
    let room = "realtime:planted-room";
    client
        .joined("1", room, json!({ "broadcast": { "self": true }, "presence": { "key": "planted-key" } }))
        .await;
    let said = json!({ "type": "broadcast", "event": "planted-event", "payload": { "planted": "payload" } });
    client.push(json!("1"), json!("2"), room, "broadcast", said).await;
    client.until("broadcast").await;
    let tracked = json!({ "type": "presence", "event": "track", "payload": { "planted": "mood" } });
    client.push(json!("1"), json!("3"), room, "presence", tracked).await;
    client.until("phx_reply").await;
    client
        .push(json!("1"), json!("4"), "realtime:planted-elsewhere", "planted-event", json!("planted"))
        .await;
    client.until("phx_reply").await;
    client.text("planted, and no JSON").await;
    client.bytes(b"\x09planted").await;
    for token in bad {
        let payload = json!({ "config": {}, "access_token": token });
        let answer = answer(&mut client, "5", "realtime:planted-token", payload).await;
        assert_eq!(answer["status"], "error");
    }
    let secret = json!({ "config": { "private": true } });
    assert_eq!(answer(&mut client, "6", "realtime:planted-secret", secret).await["status"], "error");
    let filter =
        json!({ "event": "*", "schema": "public", "table": "notes", "filter": "id=eq.planted-filter" });
    answer(&mut client, "7", "realtime:planted-filter", changes(filter)).await;
    assert_eq!(client.until("system").await[4]["status"], "error");
    let watched = json!({ "event": "*", "schema": "public", "table": "notes" });
    answer(&mut client, "8", "realtime:planted-changes", changes(watched)).await;
    assert_eq!(client.until("system").await[4]["message"], "Subscribed to PostgreSQL");
    let id = if vsn == Vsn::V1 { 1 } else { 2 };
    database.execute(&format!("insert into notes values ({id}, 'planted-row')")).await;
    assert_eq!(client.until("system").await[4]["status"], "error", "the policy raised with the value");
}

/// Joins, and gives the answer, whatever comes before it.
async fn answer(client: &mut RawClient, reference: &str, topic: &str, payload: Value) -> Value {
    client.push(json!(reference), json!(reference), topic, "phx_join", payload).await;
    client.until("phx_reply").await[4].take()
}

fn changes(binding: Value) -> Value {
    json!({ "config": { "postgres_changes": [binding] } })
}

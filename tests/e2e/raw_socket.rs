//! What only a client that does not wait can see.

use serde_json::json;

use crate::stage::{ANN, RawClient, TestServer, Vsn, major, server};
use crate::support::TestDatabase;

const NOTES: &str = "
    create table notes (id int primary key, body text);
    create role reader;
    grant usage on schema public to reader;
    grant select on notes to authenticated, reader;
    alter publication supabase_realtime add table notes;";

#[tokio::test]
async fn commit_right_after_the_join_reply_arrives() {
    let database = TestDatabase::create(major()).await;
    server::migrate(&database.url);
    database.execute(NOTES).await;
    let server = TestServer::start_with(&database.url, &["--token-roles", "authenticated,reader"]).await;
    let tokens = ["authenticated", "reader"].map(|role| server::token(role, Some(ANN)));
    for round in 1..=40 {
        let mut client = RawClient::connect(&server, Vsn::V1, &tokens[round % 2]).await;
        // A new operand each time, which Postgres has to check.
        let filter = format!("body=like.%{round}");
        let binding = json!({ "event": "INSERT", "schema": "public", "table": "notes", "filter": filter });
        client.joined("1", "realtime:now", json!({ "postgres_changes": [binding] })).await;
        database.execute(&format!("insert into notes values ({round}, 'note {round}')")).await;
        let record = loop {
            let frame = client.next().await;
            if frame[3] == "postgres_changes" {
                break frame[4]["data"]["record"].clone();
            }
            assert_eq!(frame[4]["message"], "Subscribed to PostgreSQL", "{frame}");
        };
        assert_eq!(record["id"], round);
    }
}

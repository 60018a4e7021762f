//! What a server keeps for stock clients where messaging is on: who is there, and what has reached them.

use std::time::Instant;

use serde_json::json;

use crate::stage::server::{LOOK_AGAIN, TestServer, program, stderr, token};
use crate::stage::{ANN, BOB, PATIENCE, Stock, StockClient, major};
use crate::support::TestDatabase;

/// Ann, Bob and Eve, who talk. Eve is never here.
const PEOPLE: &str = "
    insert into public.users (id, full_name) values
        ('a0000000-0000-4000-8000-000000000001', 'Ann'), ('b0000000-0000-4000-8000-000000000001', 'Bob'),
        ('e0000000-0000-4000-8000-000000000001', 'Eve');
    insert into public.conversations (id, kind) values ('d0000000-0000-4000-8000-000000000001', 'group');
    insert into public.conversation_participants (conversation_id, user_id)
        select 'd0000000-0000-4000-8000-000000000001', id from public.users;";

const SEND: &str = "
    insert into public.messages (conversation_id, sender_id, content) values
        ('d0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001', 'hello')";

/// How far the messages have come to everybody but their sender.
const LADDER: &str = "
    select string_agg(concat_ws(' ', u.full_name, d.status), ', ' order by u.full_name)
    from public.message_delivery_status d join public.users u on u.id = d.recipient_id";

const PRESENCE: &str = "
    select string_agg(concat_ws(' ', u.full_name, p.status), ', ' order by u.full_name)
    from public.user_presence p join public.users u on u.id = p.user_id";

async fn serve(flags: &[&str]) -> (TestDatabase, TestServer) {
    let database = TestDatabase::create(major()).await;
    let migrate = ["migrate", "--with", "messaging", "--database-url", &database.url];
    let output = program(&migrate).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    database.execute(PEOPLE).await;
    let server = TestServer::start_with(&database.url, flags).await;
    (database, server)
}

/// Ann and Bob on one client, both subscribed to messages.
async fn join(server: &TestServer) -> StockClient {
    let client = StockClient::start(Stock::Js119).await;
    for (who, sub) in [("ann", ANN), ("bob", BOB)] {
        client.connect(who, &server.url(), Some(&token("authenticated", Some(sub)))).await;
        let messages = json!([{ "event": "INSERT", "schema": "public", "table": "messages" }]);
        client.subscribe(who, "talk", messages).await;
        client.expect_subscribed(who, "talk").await;
    }
    client
}

async fn value(database: &TestDatabase, sql: &str) -> String {
    let value: Option<String> = database.client.query_one(sql, &[]).await.unwrap().get(0);
    value.unwrap_or_default()
}

async fn until(database: &TestDatabase, sql: &str, expected: &str) {
    let started = Instant::now();
    loop {
        let found = value(database, sql).await;
        if found == expected {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "expected {expected}, found {found}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn a_message_that_a_stock_client_has_got_is_delivered() {
    let (database, server) = serve(&["--messaging", "true"]).await;
    let client = join(&server).await;
    database.execute(SEND).await;
    client.expect(json!({ "as": "bob", "kind": "change", "new": { "content": "hello" } })).await;
    until(&database, LADDER, "Bob delivered, Eve sent").await;
}

#[tokio::test]
async fn a_stock_client_that_has_joined_is_there_until_it_has_left_and_the_grace_is_over() {
    let (database, server) = serve(&["--messaging", "true", "--presence-grace-ms", "1000"]).await;
    let client = join(&server).await;
    until(&database, PRESENCE, "Ann online, Bob online").await;
    client.order(json!({ "do": "leave", "as": "bob", "topic": "talk" })).await;
    until(&database, PRESENCE, "Ann online, Bob offline").await;
    drop(client);
    until(&database, PRESENCE, "Ann offline, Bob offline").await;
}

#[tokio::test]
async fn where_messaging_is_off_nothing_is_kept() {
    let (database, server) = serve(&[]).await;
    let client = join(&server).await;
    database.execute(SEND).await;
    client.expect(json!({ "as": "bob", "kind": "change", "new": { "content": "hello" } })).await;
    assert_eq!(value(&database, LADDER).await, "Bob sent, Eve sent");
    assert_eq!(value(&database, PRESENCE).await, "");
}

#[tokio::test]
async fn a_schema_that_is_missing_is_said_with_the_remedy() {
    let database = TestDatabase::create(major()).await;
    let output = program(&["migrate", "--database-url", &database.url]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let server = TestServer::start_with(&database.url, &["--messaging", "true"]).await;
    server.until_logged("MessagingSchemaMissing").await;
    assert!(server.logged().contains("rowcast migrate --with messaging"), "{}", server.logged());
}

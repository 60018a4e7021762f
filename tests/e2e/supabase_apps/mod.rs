//! Apps whose clients are a stock supabase-js, alone or beside requests of the app's own: each is played whole, on the
//! real program.

mod absence;
mod infrastructure;
mod ipec;
mod people;
mod stranger;
mod tutorconnect;
mod upkeep;

use rowcast::telemetry::clock::unix_seconds;
use serde_json::{Value, json};

use crate::stage::major;
use crate::stage::server::{self, TestServer, http, program, stderr};
use crate::support::TestDatabase;

/// A teacher, or one of the staff.
const KARI: &str = "a0000000-0000-4000-8000-000000000001";
/// A pupil.
const OLA: &str = "b0000000-0000-4000-8000-000000000001";
/// Somebody who takes part in none of their conversations.
const EVE: &str = "e0000000-0000-4000-8000-000000000001";
/// A customer of the portal.
const CUSTOMER: &str = "c0000000-0000-4000-8000-000000000001";
/// Another one.
const OTHER_CUSTOMER: &str = "c0000000-0000-4000-8000-000000000002";
/// What Kari and Ola talk in.
const CHAT: &str = "d0000000-0000-4000-8000-000000000001";
/// What Eve talks in, with nobody else that is here.
const OTHER_CHAT: &str = "d0000000-0000-4000-8000-000000000002";
/// What the customer talks in with the staff.
const SUPPORT: &str = "d0000000-0000-4000-8000-000000000003";
/// What the other customer does.
const OTHER_SUPPORT: &str = "d0000000-0000-4000-8000-000000000004";
/// Everybody, and what they talk in.
const PEOPLE: &str = "
    insert into public.users (id, full_name, username, role) values
        ('a0000000-0000-4000-8000-000000000001', 'Kari Nordmann', 'kari', 'teacher'),
        ('b0000000-0000-4000-8000-000000000001', 'Ola Nordmann', 'ola', 'pupil'),
        ('e0000000-0000-4000-8000-000000000001', 'Eve', 'eve', 'pupil');
    insert into public.customers (id, full_name) values
        ('c0000000-0000-4000-8000-000000000001', 'Customer'),
        ('c0000000-0000-4000-8000-000000000002', 'Other customer');
    insert into public.conversations (id, kind) values
        ('d0000000-0000-4000-8000-000000000001', 'direct'),
        ('d0000000-0000-4000-8000-000000000002', 'group');
    insert into public.conversations (id, kind, customer_id) values
        ('d0000000-0000-4000-8000-000000000003', 'support', 'c0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000004', 'support', 'c0000000-0000-4000-8000-000000000002');
    insert into public.conversation_participants (conversation_id, user_id) values
        ('d0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000002', 'e0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000003', 'a0000000-0000-4000-8000-000000000001');
    insert into public.conversation_participants (conversation_id, customer_id) values
        ('d0000000-0000-4000-8000-000000000003', 'c0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000004', 'c0000000-0000-4000-8000-000000000002');";

/// A server that speaks for one app.
struct App {
    database: TestDatabase,
    server: TestServer,
}

/// What a request was answered with.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    /// What was asked for, which must have been given.
    fn data(&self) -> &Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        assert_eq!(self.body["success"], true, "{self:?}");
        &self.body["data"]
    }
}

impl App {
    /// Sets everything up, with these flags for the server.
    async fn start(flags: &[&str]) -> Self {
        let database = TestDatabase::create(major()).await;
        let output =
            program(&["migrate", "--with", "messaging", "--database-url", &database.url]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        database.execute(PEOPLE).await;
        let server = TestServer::start_with(&database.url, flags).await;
        Self { database, server }
    }

    /// Sends a request with a JSON body.
    fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", &*bearer)];
        let answer = http(self.server.address, method, path, &headers, &bytes);
        let (status, _, body) = answer.expect("an answer in time");
        Answer { status, body: serde_json::from_str(&body).unwrap() }
    }
}

/// A token of a user.
fn user(id: &str) -> String {
    signed(json!({ "role": "authenticated", "sub": id }))
}

/// A token of one of the staff.
fn staff(id: &str) -> String {
    signed(staff_claims(id))
}

/// What such a token says.
fn staff_claims(id: &str) -> Value {
    json!({ "role": "authenticated", "sub": id, "app_metadata": { "role": "staff" } })
}

/// A token of a customer of the portal.
fn customer(id: &str) -> String {
    signed(json!({ "role": "authenticated", "customer_id": id }))
}

/// A token of these claims that is valid for an hour.
fn signed(mut claims: Value) -> String {
    claims["exp"] = json!(unix_seconds() + 3600);
    let key = jsonwebtoken::EncodingKey::from_secret(server::SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

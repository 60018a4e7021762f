//! A server that speaks for one app, a migrated database, and the people in it.

use serde_json::{Value, json};

use crate::stage::server::{self, TestServer, http, program, stderr};
use crate::stage::{PATIENCE, major};
use crate::support::TestDatabase;

use rowcast::telemetry::clock::unix_seconds;

/// A teacher, or one of the staff.
pub(crate) const KARI: &str = "a0000000-0000-4000-8000-000000000001";
/// A pupil.
pub(crate) const OLA: &str = "b0000000-0000-4000-8000-000000000001";
/// Somebody who takes part in none of their conversations.
pub(crate) const EVE: &str = "e0000000-0000-4000-8000-000000000001";
/// A customer of the portal.
pub(crate) const CUSTOMER: &str = "c0000000-0000-4000-8000-000000000001";
/// Another one.
pub(crate) const OTHER_CUSTOMER: &str = "c0000000-0000-4000-8000-000000000002";
/// What Kari and Ola talk in.
pub(crate) const CHAT: &str = "d0000000-0000-4000-8000-000000000001";
/// What Eve talks in, with nobody else that is here.
pub(crate) const OTHER_CHAT: &str = "d0000000-0000-4000-8000-000000000002";
/// What the customer talks in with the staff.
pub(crate) const SUPPORT: &str = "d0000000-0000-4000-8000-000000000003";
/// What the other customer does.
pub(crate) const OTHER_SUPPORT: &str = "d0000000-0000-4000-8000-000000000004";
/// No id of anything.
pub(crate) const NOTHING: &str = "00000000-0000-4000-8000-000000000000";

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
pub(crate) struct App {
    pub(crate) database: TestDatabase,
    pub(crate) server: TestServer,
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What was asked for, which must have been given.
    pub(crate) fn data(&self) -> &Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        assert_eq!(self.body["success"], true, "{self:?}");
        &self.body["data"]
    }

    /// Expects a refusal, with a body that says so.
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.body["error"]["code"]), (status, &json!(code)), "{self:?}");
        assert_eq!(self.body["success"], false, "{self:?}");
        assert!(self.body["error"]["message"].as_str().is_some_and(|words| !words.is_empty()), "{self:?}");
    }
}

impl App {
    /// Sets everything up for one adapter, with further flags for the server.
    pub(crate) async fn start(adapter: &str, flags: &[&str]) -> Self {
        let database = TestDatabase::create(major()).await;
        let output =
            program(&["migrate", "--with", "messaging", "--database-url", &database.url]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        database.execute(PEOPLE).await;
        let flags = [&["--adapters", adapter][..], flags].concat();
        let server = TestServer::start_with(&database.url, &flags).await;
        Self { database, server }
    }

    /// Sends a request with a JSON body.
    pub(crate) fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, path, token, "application/json", &bytes)
    }

    /// Sends a request with any body.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        media: &str,
        body: &[u8],
    ) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", media)];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        self.send_with(method, path, &headers, body)
    }

    /// Sends a request with any headers.
    pub(crate) fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let (status, head, body) =
            http(self.server.address, method, path, headers, body).expect("an answer in time");
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() };
        Answer { status, head, body }
    }

    /// Allows a person so many calls of a kind each minute.
    pub(crate) async fn limit(&self, setting: &str, value: u32) {
        let sql = format!("update rowcast.messaging_settings set value = {value} where name = '{setting}'");
        self.database.execute(&sql).await;
    }

    /// One value from the database.
    pub(crate) async fn value(&self, sql: &str) -> String {
        self.database.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Waits until a query says true.
    pub(crate) async fn until(&self, sql: &str) {
        let wait = async {
            while !self.database.client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
                tokio::time::sleep(server::LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never true: {sql}"));
    }
}

/// A token of a user.
pub(crate) fn user(id: &str) -> String {
    signed(json!({ "role": "authenticated", "sub": id }))
}

/// A token of one of the staff.
pub(crate) fn staff(id: &str) -> String {
    signed(json!({ "role": "authenticated", "sub": id, "app_metadata": { "role": "staff" } }))
}

/// A token of a customer of the portal.
pub(crate) fn customer(id: &str) -> String {
    signed(json!({ "role": "authenticated", "customer_id": id }))
}

/// A token of these claims that is valid for an hour.
pub(crate) fn signed(mut claims: Value) -> String {
    claims["exp"] = json!(unix_seconds() + 3600);
    let key = jsonwebtoken::EncodingKey::from_secret(server::SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

//! The school app: its requests, its frames, and a catch-up without a gap.

mod catch_up;
mod frames;
mod requests;
mod socket;

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};

use crate::real::server::{SECRET, TestServer, http, program, stderr, token_signed};
use crate::real::{PATIENCE, major};
use crate::support::TestDatabase;
use crate::writers::{Writers, user_session};
use socket::Socket;

/// A teacher.
const ANN: &str = "a0000000-0000-4000-8000-000000000001";
/// A pupil, who writes.
const BOB: &str = "b0000000-0000-4000-8000-000000000001";
/// Somebody who takes part in nothing of theirs.
const EVE: &str = "e0000000-0000-4000-8000-000000000001";

/// What Ann and Bob talk in.
const THREADS: [&str; 4] = [
    "d0000000-0000-4000-8000-000000000001",
    "d0000000-0000-4000-8000-000000000002",
    "d0000000-0000-4000-8000-000000000003",
    "d0000000-0000-4000-8000-000000000004",
];
/// What Bob and Eve talk in.
const OTHER: &str = "d0000000-0000-4000-8000-00000000000e";
/// No id of anything.
const NOTHING: &str = "00000000-0000-4000-8000-000000000000";

/// Before anything was sent.
const EVER: &str = "2024-01-01T00:00:00Z";

/// A server that speaks for the app.
struct School {
    database: TestDatabase,
    server: TestServer,
}

/// What a request was answered with.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl School {
    /// With messages at any rate.
    async fn open() -> Self {
        Self::open_with("update rowcast.messaging_settings set value = 0").await
    }

    async fn open_with(sql: &str) -> Self {
        let database = TestDatabase::create(major()).await;
        let migrate = ["migrate", "--with", "messaging", "--database-url", &database.url];
        let output = program(&migrate).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        database.execute(sql).await;
        let people = [(ANN, "Ann"), (BOB, "Bob"), (EVE, "Eve")];
        for (id, name) in people {
            let sql = format!(
                "insert into public.users (id, full_name, role) values ('{id}', '{name}', 'teacher')"
            );
            database.execute(&sql).await;
        }
        let rooms = THREADS.map(|thread| (thread, [ANN, BOB]));
        for (thread, people) in rooms.into_iter().chain([(OTHER, [BOB, EVE])]) {
            let sql = format!("insert into public.conversations (id, kind) values ('{thread}', 'group')");
            database.execute(&sql).await;
            for person in people {
                let sql = format!(
                    "insert into public.conversation_participants (conversation_id, user_id)
                     values ('{thread}', '{person}')"
                );
                database.execute(&sql).await;
            }
        }
        let server = TestServer::start_with(&database.url, &["--adapters", "school"]).await;
        Self { database, server }
    }

    fn ask(&self, method: &str, path: &str, token: Option<&str>) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.as_deref().map(|bearer| ("authorization", bearer)).into_iter().collect();
        self.send(method, path, &headers, b"")
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let (status, head, body) =
            http(self.server.address, method, path, headers, body).expect("an answer in time");
        Answer { status, head, body: serde_json::from_str(&body).unwrap_or(Value::Null) }
    }

    /// Asks what was missed; the contents, and the time of this check.
    fn check(&self, token: &str, since: &str) -> (Vec<String>, String) {
        let answer =
            self.ask("GET", &format!("/api/chat/offline-messages?last_check_time={since}"), Some(token));
        assert_eq!(answer.status, 200, "{answer:?}");
        let data = &answer.body["data"];
        let messages = data["messages"].as_array().unwrap();
        assert_eq!(data["count"], messages.len());
        let contents = messages.iter().map(|message| message["content"].as_str().unwrap().to_owned());
        (contents.collect(), data["last_check_time"].as_str().unwrap().to_owned())
    }

    /// A session of a person in the database.
    async fn writer(&self, person: &str) -> tokio_postgres::Client {
        user_session(&self.database.url, person).await
    }

    /// Has Bob write in all that he shares with Ann.
    async fn write(&self) -> Writers {
        let mut writers = Vec::new();
        for thread in THREADS {
            writers.push((self.writer(BOB).await, thread));
        }
        Writers::start(writers)
    }
}

/// A token that no other device has.
fn device(person: &str) -> String {
    static COUNT: AtomicI64 = AtomicI64::new(3600);
    token_signed(SECRET, "authenticated", Some(person), COUNT.fetch_add(60, Ordering::Relaxed))
}

impl Answer {
    /// Expects a refusal, in the app's shape.
    fn refused(&self, status: u16) {
        assert_eq!((self.status, &self.body["status"]), (status, &json!("error")), "{self:?}");
        assert!(self.body["message"].as_str().is_some_and(|words| !words.is_empty()), "{self:?}");
    }

    /// The value of a header.
    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

//! What people of the school app have missed: nothing lost, nothing twice, and nobody else's.

mod check;
mod record;
mod storm;

use crate::support::{TestDatabase, connect, majors};
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::{Set, migrate};
use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const ANN: &str = "a0000000-0000-4000-8000-000000000001";
const BOB: &str = "b0000000-0000-4000-8000-000000000001";
const EVE: &str = "e0000000-0000-4000-8000-000000000001";
const STAFF: &str = "5a000000-0000-4000-8000-000000000001";

/// Before anything was sent.
const EVER: &str = "2024-01-01T00:00:00Z";

/// One device's token, as the server knows it.
fn token(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// A database with the schema, in which Ann and Bob talk in two threads, and Bob and Eve in a third.
struct School {
    database: TestDatabase,
    ann: Device,
    bob: Device,
    /// Two of Ann and Bob.
    threads: [String; 2],
    /// One of Bob and Eve.
    other: String,
}

/// A session of one person.
struct Device {
    client: Client,
    token: String,
}

/// What a check has answered.
#[derive(Clone, Debug, PartialEq)]
struct Checked {
    contents: Vec<String>,
    time: String,
    remaining: u64,
}

impl School {
    async fn open(major: u32) -> Self {
        let database = TestDatabase::create(major).await;
        migrate(&Database::parse(&database.url).unwrap(), &[Set::Core, Set::Messaging]).await.unwrap();
        database.execute("update rowcast.messaging_settings set value = 0").await;
        for (id, name) in [(ANN, "Ann"), (BOB, "Bob"), (EVE, "Eve"), (STAFF, "Staff")] {
            let sql = format!(
                "insert into public.users (id, full_name, role) values ('{id}', '{name}', 'teacher')"
            );
            database.execute(&sql).await;
        }
        let ann = Device::of(&database, ANN, 1).await;
        let bob = Device::of(&database, BOB, 2).await;
        let threads = [bob.thread(&[ANN], "one").await, bob.thread(&[ANN], "two").await];
        let other = bob.thread(&[EVE], "three").await;
        Self { database, ann, bob, threads, other }
    }
}

impl Device {
    async fn of(database: &TestDatabase, person: &str, number: u8) -> Self {
        Self::with(database, &format!(r#"{{"sub":"{person}","role":"authenticated"}}"#), number).await
    }

    /// A session with these claims.
    async fn with(database: &TestDatabase, claims: &str, number: u8) -> Self {
        let client = connect(&database.url).await;
        client.execute("select set_config('request.jwt.claims', $1, false)", &[&claims]).await.unwrap();
        client.batch_execute("set role authenticated").await.unwrap();
        Self { client, token: token(number) }
    }

    async fn json(&self, sql: &str) -> Result<Option<Value>, SqlState> {
        let sql = format!("select ({sql})::text");
        let row = self.client.query_one(&sql, &[]).await.map_err(|error| error.code().cloned().unwrap())?;
        Ok(row.get::<_, Option<String>>(0).map(|text| serde_json::from_str(&text).unwrap()))
    }

    /// A new group with these people.
    async fn thread(&self, people: &[&str], title: &str) -> String {
        let people = people.join(",");
        let sql = format!("public.start_conversation('{{{people}}}', null, 'group', '{title}')");
        let conversation = self.json(&sql).await.unwrap().unwrap();
        conversation["id"].as_str().unwrap().to_owned()
    }

    /// Sends one message; its id.
    async fn send(&self, thread: &str, content: &str) -> String {
        send(&self.client, thread, content).await
    }

    async fn try_check(&self, since: &str, limit: u32) -> Result<Checked, SqlState> {
        let sql = format!("rowcast.catch_up('{}', '{since}', {limit})", self.token);
        let answer = self.json(&sql).await?.unwrap();
        Ok(Checked {
            contents: contents(&answer["messages"]),
            time: answer["last_check_time"].as_str().unwrap().to_owned(),
            remaining: answer["remaining"].as_u64().unwrap(),
        })
    }

    async fn check(&self, since: &str) -> Checked {
        self.try_check(since, 500).await.unwrap()
    }

    /// What a socket has to bring first; `None` without a check.
    async fn resume(&self) -> Option<Vec<String>> {
        let sql = format!("rowcast.resume_catch_up('{}')", self.token);
        Some(contents(&self.json(&sql).await.unwrap()?["messages"]))
    }

    /// Whether it was noted that a socket has brought these.
    async fn note(&self, since: &str, ids: &[&str]) -> bool {
        let sql = format!("rowcast.note_catch_up('{since}', '{{{}}}')", ids.join(","));
        self.json(&sql).await.unwrap().unwrap().as_bool().unwrap()
    }
}

async fn send(client: &Client, thread: &str, content: &str) -> String {
    let sql = format!("select id::text from public.send_message('{thread}', '{content}')");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

fn contents(messages: &Value) -> Vec<String> {
    let content = |message: &Value| message["content"].as_str().unwrap().to_owned();
    messages.as_array().unwrap().iter().map(content).collect()
}

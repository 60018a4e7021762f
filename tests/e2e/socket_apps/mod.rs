//! Apps with sockets of their own, on the real program: two people, and a stranger who hears nothing of what they say
//! and is refused.

mod absence;
mod pitchey;
mod school;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::app_socket::Socket;
use crate::stage::server::{LOOK_AGAIN, SECRET, TestServer, http, program, stderr, token_signed};
use crate::stage::{ANN, BOB, PATIENCE, major};
use crate::support::TestDatabase;
use crate::writers::{Writers, user_session};

/// Somebody who takes part in nothing of Ann's.
const EVE: &str = "e0000000-0000-4000-8000-000000000001";

/// What Ann and Bob talk in.
const ROOMS: [&str; 4] = [
    "d0000000-0000-4000-8000-000000000001",
    "d0000000-0000-4000-8000-000000000002",
    "d0000000-0000-4000-8000-000000000003",
    "d0000000-0000-4000-8000-000000000004",
];

/// What Bob and Eve talk in.
const OTHER: &str = "d0000000-0000-4000-8000-00000000000e";

/// A setting by which people who have gone are offline after less time than typing lasts.
const GRACE: [&str; 2] = ["--presence-grace-ms", "4000"];

/// Settings by which people are away as soon as activity can be noticed, and offline soon after they have gone.
const AWAY_SOON: [&str; 4] = ["--presence-idle-ms", "6000", "--presence-grace-ms", "1000"];

/// Everybody, at any rate of messages.
const PEOPLE: &str = "
    insert into public.users (id, full_name, username, role) values
        ('a0000000-0000-4000-8000-000000000001', 'Ann', 'ann', 'teacher'),
        ('b0000000-0000-4000-8000-000000000001', 'Bob', 'bob', 'pupil'),
        ('e0000000-0000-4000-8000-000000000001', 'Eve', 'eve', 'pupil');
    update rowcast.messaging_settings set value = 0;";

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

impl App {
    /// Sets everything up for one adapter, with further flags for the server.
    async fn open(adapter: &str, flags: &[&str]) -> Self {
        let database = TestDatabase::create(major()).await;
        let migrate = ["migrate", "--with", "messaging", "--database-url", &database.url];
        let output = program(&migrate).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        database.execute(PEOPLE).await;
        for (room, people) in ROOMS.map(|room| (room, [ANN, BOB])).into_iter().chain([(OTHER, [BOB, EVE])]) {
            let [one, other] = people;
            let sql = format!(
                "insert into public.conversations (id, kind) values ('{room}', 'group');
                 insert into public.conversation_participants (conversation_id, user_id)
                 values ('{room}', '{one}'), ('{room}', '{other}')"
            );
            database.execute(&sql).await;
        }
        let server =
            TestServer::start_with(&database.url, &[&["--adapters", adapter][..], flags].concat()).await;
        Self { database, server }
    }

    async fn socket(&self, target: &str) -> Socket {
        Socket::connect(self.server.address, target).await
    }

    /// Sends a request with a JSON body; none, if it is `null`.
    async fn ask(&self, method: &'static str, path: &str, token: &str, body: Value) -> Answer {
        let (address, path, bearer) = (self.server.address, path.to_owned(), format!("Bearer {token}"));
        let asked = tokio::task::spawn_blocking(move || {
            let headers = [("content-type", "application/json"), ("authorization", &*bearer)];
            let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
            http(address, method, &path, &headers, &bytes)
        });
        let (status, _, body) = asked.await.unwrap().expect("an answer in time");
        Answer { status, body: serde_json::from_str(&body).unwrap_or_default() }
    }

    async fn get(&self, path: &str, token: &str) -> Value {
        let answer = self.ask("GET", path, token, Value::Null).await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        answer.body
    }

    /// Calls a function over HTTP, as clients do.
    async fn rpc(&self, token: &str, name: &str, arguments: Value) -> Answer {
        self.ask("POST", &format!("/rest/v1/rpc/{name}"), token, arguments).await
    }

    /// A session of a person in the database.
    async fn writer(&self, person: &str) -> tokio_postgres::Client {
        user_session(&self.database.url, person).await
    }

    /// Bob, once for each room that he shares with Ann.
    async fn writers(&self) -> Vec<(tokio_postgres::Client, &'static str)> {
        let mut writers = Vec::new();
        for room in ROOMS {
            writers.push((self.writer(BOB).await, room));
        }
        writers
    }

    /// Waits until somebody's presence is this; nobody is told of every change of it.
    async fn until_status(&self, person: &str, status: &str) {
        self.until_presence(person, &format!("status = '{status}'")).await;
    }

    /// Waits until it is noticed that somebody's last device is gone, and has them type for a second: so long are they
    /// gone when others hear that this is over, and by [`GRACE`] not offline yet.
    async fn gone_for_a_second(&self, person: &str) {
        self.until_presence(person, "expires_at <= now() + interval '4 seconds'").await;
        let typing =
            format!("select public.update_typing_indicator('{}', expires_in_seconds => 1)", ROOMS[0]);
        self.writer(person).await.batch_execute(&typing).await.unwrap();
    }

    async fn until_presence(&self, person: &str, condition: &str) {
        let sql = format!("select from public.user_presence where user_id = '{person}' and {condition}");
        let started = Instant::now();
        while self.database.client.query_opt(&sql, &[]).await.unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "{person} never has {condition}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// A token that no other device has.
fn device(person: &str) -> String {
    static COUNT: AtomicI64 = AtomicI64::new(3600);
    token_signed(SECRET, "authenticated", Some(person), COUNT.fetch_add(60, Ordering::Relaxed))
}

/// Whether a frame holds anything of what Ann and Bob have: who is no part of it must not hear it.
fn is_of_ann(frame: &Value) -> bool {
    let text = frame.to_string();
    text.contains(ANN) || ROOMS.iter().any(|room| text.contains(room))
}

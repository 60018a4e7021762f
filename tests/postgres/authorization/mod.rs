//! What policies on `realtime.messages` let a caller do, on live servers.
//!
//! An [`Office`] is a database of its own with the answering side running on it; tests ask as HTTP requests do, and
//! as channels do.

mod answers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rowcast::hub::authorization::{
    self, Answer, AuthorizationError, Authorizer, Config, Counters, Question, Rights, Subject,
};
use rowcast::hub::{ShardCommand, Sink};
use rowcast::policy::Claims;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::support::TestDatabase;

/// How long anything that must come may take.
const WITHIN: Duration = Duration::from_secs(20);

const ALICE: &str = "11111111-1111-1111-1111-111111111111";
const BOB: &str = "22222222-2222-2222-2222-222222222222";

const READ: Question = Question::Read;
const WRITE: Question = Question::Write;

const NOTHING: Rights = Rights { broadcast: false, presence: false };
const BROADCAST: Rights = Rights { broadcast: true, presence: false };
const ALL: Rights = Rights { broadcast: true, presence: true };

/// The stored messages and what comes with them.
const MESSAGES: &str = "
    create function realtime.topic() returns text language sql stable as
        $$ select nullif(current_setting('realtime.topic', true), '')::text $$;
    create table realtime.messages (
        topic text not null, extension text not null, payload jsonb, event text, private boolean default false,
        updated_at timestamp not null default now(), inserted_at timestamp not null default now(),
        id uuid not null default gen_random_uuid(), binary_payload bytea, primary key (id, inserted_at),
        constraint messages_payload_exclusive check (payload is null or binary_payload is null) not valid
    ) partition by range (inserted_at);
    create index messages_inserted_at_topic_index on realtime.messages (inserted_at desc, topic)
        where extension = 'broadcast' and private is true;
    alter table realtime.messages enable row level security;
    grant select, insert, update on realtime.messages to anon, authenticated, service_role;
    do $$ begin
        for day in -1..3 loop
            execute format('create table realtime.messages_%s partition of realtime.messages for values from (%L) to (%L)',
                to_char(now() at time zone 'UTC' + make_interval(days => day), 'YYYY_MM_DD'),
                (now() at time zone 'UTC')::date + day, (now() at time zone 'UTC')::date + day + 1);
        end loop;
    end $$;";

/// Runs a test on every major version, one after another.
async fn on_each_major(test: impl AsyncFn(u32)) {
    for major in crate::support::majors() {
        eprintln!("on PostgreSQL {major}");
        test(major).await;
    }
}

/// A database with the answering side on it.
struct Office {
    database: TestDatabase,
    authorizer: Authorizer,
    counters: Arc<Counters>,
    commands: mpsc::Receiver<ShardCommand>,
    /// Dropped to have it end.
    _stop: oneshot::Sender<()>,
}

/// A shard whose inbox the test reads.
struct Inbox(mpsc::Sender<ShardCommand>);

impl Sink for Inbox {
    async fn send(&self, command: ShardCommand) -> bool {
        self.0.send(command).await.is_ok()
    }
}

/// A database with the table of messages, and these statements on top.
async fn messages(major: u32, sql: &str) -> TestDatabase {
    let database = TestDatabase::create(major).await;
    migrate(&Database::parse(&database.url).unwrap()).await.unwrap();
    database.execute("grant usage on schema public to anon, authenticated, service_role").await;
    database.execute(MESSAGES).await;
    database.execute(sql).await;
    database
}

impl Office {
    /// Opens one whose inbox holds so many commands.
    async fn open(major: u32, sql: &str) -> Self {
        Self::over(messages(major, sql).await, Duration::from_millis(100)).await
    }

    async fn over(database: TestDatabase, catalog_poll: Duration) -> Self {
        let counters = Arc::<Counters>::default();
        let config = Config {
            database: Database::parse(&database.url).unwrap(),
            connection_count: 2,
            query_timeout: Duration::from_secs(2),
            catalog_poll,
            payload_bytes_max: 1 << 20,
            counters: Arc::clone(&counters),
        };
        let (authorizer, inquiries) = Authorizer::queue(100_000);
        let (inbox, commands) = mpsc::channel(1_000);
        let (stop, stopped) = oneshot::channel();
        // As in the server: a thread of its own.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let stopped = async {
                let _ = stopped.await;
            };
            runtime.block_on(authorization::run(config, inquiries, vec![Inbox(inbox)], stopped));
        });
        Self { database, authorizer, counters, commands, _stop: stop }
    }

    /// Asks and waits.
    async fn ask(&self, subject: Subject, question: Question) -> Result<Rights, AuthorizationError> {
        let asked = self.authorizer.answer(subject, question);
        match tokio::time::timeout(WITHIN, asked).await.expect("an answer")? {
            Answer::Rights(rights) => Ok(rights),
            Answer::Stored(_) => panic!("nobody asked for stored broadcasts"),
        }
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Ordering::Relaxed)
    }
}

/// A user of the role `authenticated` on a topic.
fn user(sub: &str, topic: &str) -> Subject {
    subject(json!({ "role": "authenticated", "sub": sub }), topic, json!({}))
}

fn subject(claims: Value, topic: &str, headers: Value) -> Subject {
    let claims = Claims {
        role: claims["role"].as_str().unwrap_or_default().into(),
        json: claims.to_string().into(),
        expires_at: i64::MAX,
    };
    Subject { claims: Arc::new(claims), topic: topic.into(), headers: headers.to_string().into() }
}

/// An error of a policy with this SQLSTATE.
fn raised(code: &str) -> Result<Rights, AuthorizationError> {
    Err(AuthorizationError::Policy(code.into()))
}

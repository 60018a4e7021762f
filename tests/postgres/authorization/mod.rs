//! What policies on `realtime.messages` let a caller do, on live servers.
//!
//! An [`Office`] is a database of its own with the answering side running on it; tests ask as HTTP requests do, and
//! as channels do.

mod answers;
mod memory;
mod oracle;

use std::sync::Arc;
use std::time::Duration;

use rowcast::hub::authorization::{
    self, Answer, AuthorizationError, Authorized, Authorizer, Config, Counters, Question, Rights, Subject,
};
use rowcast::hub::{ShardCommand, Sink};
use rowcast::policy::Claims;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;
use rowcast::telemetry::number::Number;
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
    migrate(&Database::parse(&database.url).unwrap(), &[]).await.unwrap();
    database.execute("grant usage on schema public to anon, authenticated, service_role").await;
    database.execute("select rowcast.maintain_messages()").await;
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
            commits: Arc::default(),
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

    /// Changes policies or rights in one transaction, and waits until that is known and shards are told.
    ///
    /// Other tests make roles in the same cluster, which is a change too: a word may be about one of theirs. So a
    /// question follows whose answer is never remembered: what is asked after it is answered by what holds now.
    async fn change(&mut self, sql: &str) {
        while let Ok(command) = self.commands.try_recv() {
            assert!(matches!(command, ShardCommand::PoliciesChanged), "{command:?}");
        }
        self.database.execute(sql).await;
        let replay = Question::Replay { since_unix_ms: 0, limit: 1 };
        let asked = self.authorizer.answer(user(ALICE, "room"), replay);
        // There may be no table any more.
        let answer = tokio::time::timeout(WITHIN, asked).await.expect("an answer");
        assert!(
            matches!(answer, Ok(Answer::Stored(_)) | Err(AuthorizationError::MissingPartition)),
            "{answer:?}"
        );
        let command =
            tokio::time::timeout(WITHIN, self.commands.recv()).await.expect("a word about the change");
        assert!(matches!(command, Some(ShardCommand::PoliciesChanged)), "{command:?}");
    }

    /// The next answer in the inbox. Words about changes come between them: other tests make roles in the same
    /// cluster.
    async fn authorized(&mut self) -> Box<Authorized> {
        next_authorized(&mut self.commands).await
    }

    fn count(&self, counter: impl Fn(&Counters) -> &Number) -> u64 {
        counter(&self.counters).get()
    }
}

/// The next answer in an inbox; see [`Office::authorized`].
async fn next_authorized(commands: &mut mpsc::Receiver<ShardCommand>) -> Box<Authorized> {
    loop {
        match tokio::time::timeout(WITHIN, commands.recv()).await.expect("an answer") {
            Some(ShardCommand::Authorized(answer)) => return answer,
            Some(ShardCommand::PoliciesChanged) => {}
            other => panic!("{other:?}"),
        }
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

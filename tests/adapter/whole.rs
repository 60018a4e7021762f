//! What every test here stands on: a database with the messaging schema, a server on it, and its clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rowcast::auth::{Secret, sign};
use rowcast::config::Sources;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::{Set, migrate};
use rowcast::server;
use rowcast::telemetry::clock::unix_seconds;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::app_socket::Socket;
use crate::support::{TestDatabase, majors};

/// How long anything that must come may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two looks at something that tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) const ANN: &str = "a0000000-0000-4000-8000-000000000001";
pub(crate) const BOB: &str = "b0000000-0000-4000-8000-000000000001";
pub(crate) const EVE: &str = "e0000000-0000-4000-8000-000000000001";

const SECRET: &str = "a-secret-of-adapter-tests-of-32-bytes-and-more";

/// A token of a user.
pub(crate) fn token(sub: &str) -> String {
    token_of(&json!({ "sub": sub, "user_metadata": { "username": name_of(sub) } }), 600)
}

/// A token of the role `authenticated` with these claims, which is good for so many seconds.
pub(crate) fn token_of(claims: &Value, seconds: i64) -> String {
    let mut claims = claims.as_object().unwrap().clone();
    claims.entry("role").or_insert(json!("authenticated"));
    claims.insert("exp".to_owned(), json!(unix_seconds() + seconds));
    sign(&Secret::new(SECRET).unwrap(), &claims)
}

/// What a user is called.
pub(crate) fn name_of(sub: &str) -> &str {
    match sub {
        ANN => "ann",
        BOB => "bob",
        EVE => "eve",
        other => other,
    }
}

/// Runs a test on every major version, one after another.
pub(crate) async fn on_each_major(test: impl AsyncFn(Stage)) {
    for major in majors() {
        test(Stage::set(major).await).await;
    }
}

/// A database and a server on it.
pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl Stage {
    /// With all adapters.
    pub(crate) async fn set(major: u32) -> Self {
        Self::set_with(major, &[]).await
    }

    /// The same, with further settings.
    pub(crate) async fn set_with(major: u32, settings: &[(&'static str, &str)]) -> Self {
        let database = TestDatabase::create(major).await;
        migrate(&Database::parse(&database.url).unwrap(), &[Set::Messaging]).await.unwrap();
        let slot = format!("adapter_{}_{}", std::process::id(), database.url.rsplit('/').next().unwrap());
        let flags = [
            ("listen", "127.0.0.1:0"),
            ("database_url", &*database.url),
            ("jwt_secret", SECRET),
            ("slot_name", &*slot),
            ("catalog_poll_ms", "100"),
            ("shard_count", "1"),
            ("adapters", "all"),
            // Tests ask faster than people do.
            ("events_per_second_max", "10000"),
        ];
        let flags = flags.iter().chain(settings).copied().map(|(name, value)| (name, value.to_owned()));
        let sources = Sources { flags: flags.collect(), environment: BTreeMap::new(), file: None };
        let settings = sources.resolve().settings().unwrap();
        let (ready, bound) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            server::run(settings, |address| ready.send(address).unwrap(), shutdown).await.unwrap();
        });
        let address = bound.await.unwrap();
        let stage = Self { database, address, stop: Some(stop), server: Some(server) };
        stage.until_live().await;
        stage
    }

    /// Waits until changes flow.
    pub(crate) async fn until_live(&self) {
        let live = async {
            while self.get("/healthcheck", None).await.status != 200 {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, live).await.expect("a live server");
    }

    /// Has the server end, and waits for it.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            timeout(PATIENCE, server).await.expect("an end").unwrap();
        }
    }

    /// Asks with a body of JSON, if any, and a token, if any.
    pub(crate) async fn ask(
        &self,
        method: &str,
        target: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let mut headers = String::new();
        if let Some(token) = token {
            headers += &format!("authorization: Bearer {token}\r\n");
        }
        if body.is_some() {
            headers += "content-type: application/json\r\n";
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        self.ask_raw(method, target, &headers, body.as_bytes()).await
    }

    /// Asks with any headers and any bytes.
    pub(crate) async fn ask_raw(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // A server that has heard enough may stop reading.
            let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        Answer::read(&timeout(PATIENCE, asked).await.expect("an answer"))
    }

    pub(crate) async fn get(&self, target: &str, token: Option<&str>) -> Answer {
        self.ask("GET", target, token, None).await
    }

    pub(crate) async fn post(&self, target: &str, token: &str, body: &Value) -> Answer {
        self.ask("POST", target, Some(token), Some(body)).await
    }

    /// Calls a function of the schema as somebody, past all adapters, and gives its result.
    pub(crate) async fn call(&self, sub: &str, expression: &str) -> Value {
        let claims = json!({ "sub": sub, "role": "authenticated",
            "user_metadata": { "username": name_of(sub) } });
        let mut client = crate::support::connect(&self.database.url).await;
        let transaction = client.transaction().await.unwrap();
        let sql = format!(
            "set local role authenticated; set local request.jwt.claims = '{}'",
            claims.to_string().replace('\'', "''")
        );
        transaction.batch_execute(&sql).await.unwrap();
        let row = transaction.query_one(&format!("select to_jsonb({expression})::text"), &[]).await.unwrap();
        transaction.commit().await.unwrap();
        row.get::<_, Option<String>>(0).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    /// Makes profiles of these people.
    pub(crate) async fn enrol(&self, people: &[&str]) {
        for sub in people {
            self.call(sub, "public.upsert_profile()").await;
        }
    }

    /// Ends everybody's typing, since to go on with it is never too often.
    pub(crate) async fn end_typing(&self) {
        self.database.execute("delete from public.message_typing_indicators").await;
    }

    /// A direct conversation of these two, who have profiles.
    pub(crate) async fn conversation(&self, one: &str, other: &str) -> String {
        let started = self.call(one, &format!("public.start_conversation(array['{other}']::uuid[])")).await;
        started["id"].as_str().unwrap().to_owned()
    }

    /// A socket at `target`.
    pub(crate) async fn socket(&self, target: &str) -> Socket {
        Socket::connect(self.address, target).await
    }

    /// The answer to who asks for a socket and gets none.
    pub(crate) async fn refused_socket(&self, target: &str, headers: &str) -> Answer {
        let handshake = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let head =
            format!("GET {target} HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\n{handshake}{headers}\r\n");
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let count = stream.read(&mut buffer).await.unwrap();
                answer.extend_from_slice(&buffer[..count]);
                // A refusal keeps its connection; its body has come with its head, or comes next.
                if count == 0 || Answer::is_whole(&answer) {
                    return answer;
                }
            }
        };
        Answer::read(&timeout(PATIENCE, asked).await.expect("an answer"))
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    /// `null` if it is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head[9..12].parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: serde_json::from_str(body).unwrap_or_default() }
    }

    fn is_whole(bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.to_ascii_lowercase();
        let length =
            length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        body.len() >= length.unwrap_or(0)
    }

    /// A header, by its name in small letters; its value is in small letters, too.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

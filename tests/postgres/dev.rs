//! `rowcast dev`: the program itself, from the first start to what is left behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::support::{connect, scratch};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running `rowcast dev`, killed if the test fails before it ends it.
struct Dev {
    child: Child,
    greeting: String,
}

fn rowcast(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command.arg("dev").arg("--directory").arg(directory).args(arguments);
    command
}

impl Dev {
    /// Starts it on a free port and waits for the last line of its greeting.
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut child = rowcast(directory, &["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            greeting.push_str(&line);
            greeting.push('\n');
            if line.starts_with("Ctrl-C") {
                return Self { child, greeting };
            }
        }
        panic!("ended with {:?} after saying {greeting:?}", child.wait());
    }

    /// Ends it as `signal` does; the exit code, if it had the chance to give one.
    fn end(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn demo_starts_speaks_and_is_reused() {
    let directory = scratch("dev");
    let dev = Dev::start(&directory, &[]);
    for part in ["anon key", "service key", "ann's token", "bob's token", "createClient('http://127.0.0.1:"] {
        assert!(dev.greeting.contains(part), "{part}\n{}", dev.greeting);
    }
    let secret = std::fs::read_to_string(directory.join("secret")).unwrap();
    assert!(!dev.greeting.contains(&secret), "the key itself is nobody's business");

    let second = rowcast(&directory, &["--port", "0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("another `rowcast dev` runs"), "{}", stderr(&second));

    let said = rowcast(&directory, &["--say", "hello"]).output().unwrap();
    assert!(said.status.success(), "{}", stderr(&said));
    assert_eq!(dev.end(Signal::SIGINT), Some(0));

    let unheard = rowcast(&directory, &["--say", "hello"]).output().unwrap();
    assert_eq!(unheard.status.code(), Some(1));

    // The same database and the same key, also after the program was killed and its Postgres was not.
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let dev = Dev::start(&directory, &[]);
        let url = std::fs::read_to_string(directory.join("database-url")).unwrap();
        let client = connect(&url).await;
        let row = client.query_one("select count(*), min(body) from public.messages", &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1)), (1_i64, "hello"));
        assert_eq!(std::fs::read_to_string(directory.join("secret")).unwrap(), secret);
        let code = dev.end(signal);
        assert_eq!(code, (signal == Signal::SIGTERM).then_some(0));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn ephemeral_database_is_deleted_and_its_people_see_their_own() {
    const ANN: &str = "a0000000-0000-4000-8000-000000000001";
    let directory = scratch("ephemeral");
    let dev = Dev::start(&directory, &["--ephemeral"]);
    let client = connect(&std::fs::read_to_string(directory.join("database-url")).unwrap()).await;
    client
        .batch_execute(
            "insert into public.messages (conversation_id, sender_id, body)
             select conversation_id, user_id, 'from ' || user_id from public.participants",
        )
        .await
        .unwrap();
    let claims = format!(r#"{{"sub":"{ANN}"}}"#);
    client.execute("select set_config('request.jwt.claims', $1, false)", &[&claims]).await.unwrap();
    client.batch_execute("set role authenticated").await.unwrap();
    let count = |rows: Vec<tokio_postgres::Row>| rows.len();
    // Two by ann and one by bob; bob's notes are bob's.
    assert_eq!(count(client.query("select from public.messages", &[]).await.unwrap()), 3);
    assert_eq!(count(client.query("select from public.conversations", &[]).await.unwrap()), 2);
    drop(client);
    assert_eq!(dev.end(Signal::SIGTERM), Some(0));
    assert!(!directory.join("ephemeral").exists());
    std::fs::remove_dir_all(&directory).unwrap();
}

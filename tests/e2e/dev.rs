//! `rowcast dev`: the snippet it prints works as printed, and Ctrl-C leaves nothing running.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncBufReadExt;

use crate::stage::PATIENCE;
use crate::stage::server::{self, LOOK_AGAIN, Reaper, pid, program, stderr, stdout};
use crate::support::{connect, scratch};

/// A running `rowcast dev`, with all that it has printed.
pub(crate) struct Dev {
    child: Child,
    _reaper: Reaper,
    greeting: String,
    directory: PathBuf,
}

impl Dev {
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut child = program(&["dev", "--port", "0", "--directory"])
            .arg(directory)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let reaper = Reaper::of(&child);
        let mut greeting = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            greeting.push_str(&line);
            greeting.push('\n');
            if line.starts_with("Ctrl-C") {
                return Self { child, _reaper: reaper, greeting, directory: directory.to_owned() };
            }
        }
        panic!("ended with {:?} after saying {greeting:?}", child.wait());
    }

    /// Stops it as Ctrl-C does, and takes away its directory.
    pub(crate) async fn stop(mut self) {
        server::send(&self.child, Signal::SIGINT);
        assert_eq!(server::wait(&mut self.child).await.code(), Some(0));
        std::fs::remove_dir_all(&self.directory).unwrap();
    }

    fn database_url(&self) -> String {
        std::fs::read_to_string(self.directory.join("database-url")).unwrap()
    }

    /// The part of the greeting that a reader is to copy.
    fn snippet(&self) -> &str {
        let start = self.greeting.find("// Prints each new message").expect("a snippet");
        let end = self.greeting.find("Run it in a second terminal").expect("what to do with it");
        self.greeting[start..end].trim()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // In order, so that its Postgres goes with it.
            // It may have ended already.
            let _ = kill(pid(&self.child), Signal::SIGINT);
            let _ = self.child.wait();
        }
    }
}

/// The process id of the Postgres in a directory, if its file is there.
fn postmaster(data: &Path) -> Option<i32> {
    std::fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// Whether a process runs; one that has ended, and whose parent has not asked how, does not.
fn runs(pid: i32) -> bool {
    let ps = std::process::Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = stdout(&ps);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// Waits until a process has ended, which is a moment after it took away its file.
async fn assert_ends(pid: i32) {
    let ended = async {
        while runs(pid) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("no Postgres is left");
}

#[tokio::test]
async fn printed_snippet_shows_ann_what_is_hers() {
    let directory = scratch("dev-snippet");
    let mut dev = Dev::start(&directory, &[]);
    // As a reader would: the text on the screen in a file of one's own, beside the two packages it names.
    let modules = directory.join("reader/node_modules");
    let fetched = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients/node_modules");
    std::fs::create_dir_all(modules.join("@supabase")).unwrap();
    std::os::unix::fs::symlink(fetched.join("supabase-js-2-119"), modules.join("@supabase/supabase-js"))
        .unwrap();
    std::os::unix::fs::symlink(fetched.join("ws"), modules.join("ws")).unwrap();
    let script = directory.join("reader/hello.mjs");
    std::fs::write(&script, dev.snippet()).unwrap();
    assert_eq!(std::fs::read_to_string(directory.join("hello.mjs")).unwrap().trim(), dev.snippet());

    let mut node = tokio::process::Command::new("node")
        .arg(&script)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(node.stdout.take().unwrap()).lines();
    let mut next = async || lines.next_line().await.unwrap().expect("the snippet runs on");
    let say = |text: &str| {
        let said = program(&["dev", "--directory"]).arg(&directory).args(["--say", text]).output().unwrap();
        assert!(said.status.success(), "{}", stderr(&said));
    };
    let read = async {
        assert_eq!(next().await.trim(), "SUBSCRIBED");
        // The database's changes flow a moment later, of which the snippet says nothing; a reader is slower than that.
        let soon = std::time::Duration::from_millis(250);
        let first = loop {
            say("hello, ann");
            if let Ok(line) = tokio::time::timeout(soon, next()).await {
                break line;
            }
        };
        assert_eq!(first, "message: hello, ann");
        // Had ann got what bob notes for himself, it would be printed before what he says to her next.
        let client = connect(&dev.database_url()).await;
        client
            .batch_execute(
                "insert into public.messages (conversation_id, sender_id, body) values
                 ('c0000000-0000-4000-8000-000000000002', 'b0000000-0000-4000-8000-000000000001', 'not for ann')",
            )
            .await
            .unwrap();
        say("bye");
        loop {
            match &*next().await {
                "message: bye" => break,
                // Said more than once before the first was seen.
                line => assert_eq!(line, "message: hello, ann"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the messages in time");

    let cluster = directory.join("cluster/data");
    let postgres = postmaster(&cluster).expect("a postmaster");
    assert!(runs(postgres));
    server::send(&dev.child, Signal::SIGINT);
    assert_eq!(server::wait(&mut dev.child).await.code(), Some(0));
    assert_ends(postgres).await;
    assert_eq!(postmaster(&cluster), None);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn bob_writes_on_the_messaging_tables_and_apps_are_told_where_to_connect() {
    let directory = scratch("dev-messaging");
    let dev = Dev::start(&directory, &["--ephemeral", "--with", "messaging"]);
    let say =
        |text: &str| program(&["dev", "--directory"]).arg(&directory).args(["--say", text]).output().unwrap();
    for text in ["hello", "bye"] {
        let said = say(text);
        assert!(said.status.success(), "{}", stderr(&said));
    }
    let client = connect(&dev.database_url()).await;
    let row = client
        .query_one("select array_agg(content order by created_at), min(conversation_id::text), count(distinct conversation_id) from public.messages", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, Vec<String>>(0), row.get::<_, i64>(2)), (vec!["hello".into(), "bye".into()], 1));

    let environment = std::fs::read_to_string(directory.join("env")).unwrap();
    let variable = |name: &str| {
        let line = environment.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("{name} is missing")).to_owned()
    };
    let address = variable("SUPABASE_URL").strip_prefix("http://").unwrap().parse().unwrap();
    let body = serde_json::json!({ "conversationId": row.get::<_, String>(1) }).to_string();
    let ask = |token: &str| {
        let (host, bearer) = (variable("SUPABASE_URL").replace("http://", ""), format!("Bearer {token}"));
        let headers =
            [("x-forwarded-host", &*host), ("authorization", &bearer), ("content-type", "application/json")];
        let path = "/api/messages/realtime/subscribe";
        server::http(address, "POST", path, &headers, body.as_bytes()).unwrap()
    };
    let (status, _, answer) = ask(&variable("ANN_TOKEN"));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200, "{answer}");
    let told = [&answer["data"]["supabaseUrl"], &answer["data"]["supabaseKey"]];
    assert_eq!(told, [&*variable("SUPABASE_URL"), &*variable("SUPABASE_ANON_KEY")]);
    assert_eq!(ask(&variable("STAFF_TOKEN")).0, 200);
    assert_eq!(ask(&variable("CUSTOMER_TOKEN")).0, 404);

    client.batch_execute("alter function public.start_conversation rename to begin").await.unwrap();
    let refused = say("nowhere");
    assert!(
        !refused.status.success() && stderr(&refused).contains("neither is here"),
        "{}",
        stderr(&refused)
    );
    dev.stop().await;
}

#[tokio::test]
async fn killed_program_and_killed_postgres_start_again_with_their_data() {
    let directory = scratch("dev-killed");
    let mut dev = Dev::start(&directory, &[]);
    let say = program(&["dev", "--directory"]).arg(&directory).args(["--say", "kept"]).output().unwrap();
    assert!(say.status.success(), "{}", stderr(&say));
    let postgres = postmaster(&directory.join("cluster/data")).expect("a postmaster");
    server::send(&dev.child, Signal::SIGKILL);
    server::wait(&mut dev.child).await;
    kill(Pid::from_raw(postgres), Signal::SIGKILL).unwrap();

    let mut dev = Dev::start(&directory, &[]);
    let client = connect(&dev.database_url()).await;
    let row =
        client.query_one("select count(*) from public.messages where body = 'kept'", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    server::send(&dev.child, Signal::SIGTERM);
    assert_eq!(server::wait(&mut dev.child).await.code(), Some(0));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn ephemeral_demo_leaves_no_database() {
    let directory = scratch("dev-ephemeral");
    let mut dev = Dev::start(&directory, &["--ephemeral"]);
    let postgres = postmaster(&directory.join("ephemeral/data")).expect("a postmaster");
    server::send(&dev.child, Signal::SIGINT);
    assert_eq!(server::wait(&mut dev.child).await.code(), Some(0));
    assert_ends(postgres).await;
    let mut left: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["env", "hello.mjs", "lock", "secret"], "no database, and no note of one");
    std::fs::remove_dir_all(&directory).unwrap();
}

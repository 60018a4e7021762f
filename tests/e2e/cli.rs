//! The command line: help, refusals, and the subcommands that end by themselves.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::stage::server::{SECRET, migrate, program, stderr, stdout};
use crate::stage::{ANN, Stage, TestServer, major};
use crate::support::TestDatabase;

/// Settings every server command takes, and what each subcommand takes besides.
const OPTIONS: [(&str, &[&str]); 8] = [
    ("serve", &["--config", "--listen", "--database-url", "--jwt-secret", "--slot-name", "--log-level"]),
    ("migrate", &["--config", "--database-url", "--dry-run"]),
    ("token", &["--config", "--jwt-secret", "--role", "--sub", "--ttl", "--claims", "--json"]),
    ("dev", &["--directory", "--port", "--ephemeral", "--say"]),
    ("config", &["--config", "--json", "--database-url"]),
    ("healthcheck", &["--config", "--listen"]),
    (
        "explain",
        &["--token", "--claims", "--table", "--key", "--topic", "--json", "--database-url", "--jwt-secret"],
    ),
    ("doctor", &["--role", "--json", "--database-url", "--slot-name", "--publication", "Exit code"]),
];

#[test]
fn help_names_every_option() {
    let all = program(&["--help"]).output().unwrap();
    assert!(all.status.success());
    for (subcommand, options) in OPTIONS {
        assert!(stdout(&all).contains(&format!("\n  {subcommand} ")), "{subcommand}\n{}", stdout(&all));
        let help = program(&[subcommand, "--help"]).output().unwrap();
        assert!(help.status.success(), "{subcommand}");
        for option in options {
            assert!(stdout(&help).contains(option), "{subcommand} {option}\n{}", stdout(&help));
        }
    }
    assert!(stdout(&program(&["--version"]).output().unwrap()).starts_with("rowcast "));
}

#[test]
fn every_wrong_setting_is_reported_at_once() {
    let output = program(&["serve", "--listen", "nowhere", "--jwt-secret", "short"])
        .env("ROWCAST_SLOT", "eternal")
        .env("ROWCAST_LOG_LEVLE", "info")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for part in ["listen", "jwt_secret", "slot", "database_url", "ROWCAST_LOG_LEVLE", "openssl rand -hex 32"]
    {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!said.contains("short"), "a secret is not repeated\n{said}");
}

#[test]
fn unknown_flag_or_subcommand_is_a_usage_error() {
    for arguments in [&["serve", "--no-such-flag"][..], &["srve"], &["token", "--ttl", "forever"], &[]] {
        assert_eq!(program(arguments).output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn unreachable_database_is_a_failure_with_a_remedy() {
    let output =
        program(&["migrate", "--database-url", "postgres://nobody@127.0.0.1:1/none"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("help: "), "{}", stderr(&output));
}

#[tokio::test]
async fn dry_run_prints_what_migrate_does_and_changes_nothing() {
    let database = TestDatabase::create(major()).await;
    let print = || {
        let output = program(&["migrate", "--dry-run", "--database-url", &database.url]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let missing = print();
    assert!(missing.contains("create schema rowcast"), "{missing}");
    assert_eq!(print(), missing, "a look changes nothing");
    // What is printed does by hand what the program does by itself.
    database.execute(&missing).await;
    assert_eq!(print().trim(), "-- the schema is up to date");

    let another = TestDatabase::create(major()).await;
    migrate(&another.url);
    migrate(&another.url);
    let versions = "select array_agg(version order by version) from rowcast.migrations";
    let (by_hand, by_itself) = (
        database.client.query_one(versions, &[]).await.unwrap(),
        another.client.query_one(versions, &[]).await.unwrap(),
    );
    assert_eq!(by_hand.get::<_, Vec<i64>>(0), by_itself.get::<_, Vec<i64>>(0));
}

#[tokio::test]
async fn minted_token_opens_a_channel_with_its_rights() {
    let stage = Stage::set(
        "create table notes (id int primary key, owner uuid);
         alter table notes enable row level security;
         grant select on notes to authenticated;
         create policy own on notes for select to authenticated using (owner = (select auth.uid()));
         alter publication supabase_realtime add table notes",
    )
    .await;
    let minted = program(&["token", "--role", "authenticated", "--sub", ANN, "--ttl", "3600"])
        .env("ROWCAST_JWT_SECRET", SECRET)
        .output()
        .unwrap();
    assert!(minted.status.success(), "{}", stderr(&minted));
    let token = stdout(&minted).trim().to_owned();
    for client in &stage.clients {
        client.connect("ann", &stage.server.url(), Some(&token)).await;
    }
    stage.subscribe("ann", "notes", json!([{ "event": "*", "schema": "public", "table": "notes" }])).await;
    stage.database.execute(&format!("insert into notes values (1, null), (2, '{ANN}')")).await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 2).await, [2], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn second_server_on_an_address_fails_and_says_why() {
    let database = TestDatabase::create(major()).await;
    migrate(&database.url);
    let server = TestServer::start(&database.url).await;
    let output = program(&["serve", "--listen", &server.address.to_string(), "--jwt-secret", SECRET])
        .args(["--database-url", &database.url])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&server.address.to_string()), "{}", stderr(&output));
    assert_eq!(server.health(), Some(200));
}

#[tokio::test]
async fn healthcheck_fails_unless_changes_flow() {
    let database = TestDatabase::create(major()).await;
    migrate(&database.url);
    let mut server = TestServer::start(&database.url).await;
    let ask = |port: u16| {
        // As in a container: the server was told its port by a variable, and listens everywhere.
        program(&["healthcheck"]).env("PORT", port.to_string()).output().unwrap()
    };
    let port = server.address.port();
    let healthy = ask(port);
    assert_eq!((healthy.status.code(), stdout(&healthy).trim()), (Some(0), "ok"), "{}", stderr(&healthy));

    server.end(Signal::SIGTERM).await;
    let gone = ask(port);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains(&port.to_string()), "{}", stderr(&gone));

    let nowhere = "postgres://nobody@127.0.0.1:1/none";
    let server = TestServer::start_without_database(nowhere).await;
    let down = ask(server.address.port());
    assert_eq!(down.status.code(), Some(1));
    assert!(stderr(&down).contains("503"), "{}", stderr(&down));
}

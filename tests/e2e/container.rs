//! What runs in containers, as far as it can be held without an engine: the compose files, their roles, the image.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rowcast::postgres::cluster::Cluster;
use serde_json::json;

use crate::stage::raw::{RawClient, Vsn};
use crate::stage::server::{self, migrate, stderr, stdout};
use crate::stage::{ANN, BOB, StockClient, TestServer, major, skip};
use crate::support::{binaries, connect, scratch};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// `docker compose`, in whichever form it is here.
fn compose() -> Option<Command> {
    let plugin = || {
        let mut command = Command::new("docker");
        command.arg("compose");
        command
    };
    let found = [plugin, || Command::new("docker-compose")].into_iter().find(|command| {
        let version = command().arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        let note = "skipped: docker compose is not here (Debian, Ubuntu: apt-get install docker-compose)";
        skip(note);
    }
    found.map(|command| command())
}

/// `docker compose config` on one file, with one environment file and nothing else.
fn config(mut compose: Command, file: &str, environment: &Path) -> Output {
    for name in ["JWT_SECRET", "POSTGRES_PASSWORD", "ROWCAST_PASSWORD", "AUTHENTICATOR_PASSWORD", "PORT"] {
        compose.env_remove(name);
    }
    compose.arg("--env-file").arg(environment).arg("-f").arg(root().join(file));
    compose.arg("config").stdin(Stdio::null()).output().unwrap()
}

/// An environment file as `docker/env` makes it.
fn fresh_secrets() -> PathBuf {
    let made = Command::new("sh").arg(root().join("docker/env")).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let file = scratch("env");
    std::fs::write(&file, made.stdout).unwrap();
    file
}

#[test]
fn compose_file_is_valid_with_fresh_secrets_and_not_without() {
    let Some(command) = compose() else { return };
    let secrets = fresh_secrets();
    let valid = config(command, "docker-compose.yml", &secrets);
    assert!(valid.status.success(), "{}", stderr(&valid));
    for service in ["db:", "migrate:", "rowcast:", "rest:", "gateway:"] {
        assert!(stdout(&valid).contains(service), "{service}\n{}", stdout(&valid));
    }
    // The example's are empty, and an empty secret starts nothing.
    let refused = config(compose().unwrap(), "docker-compose.yml", &root().join(".env.example"));
    assert!(!refused.status.success(), "{}", stdout(&refused));
    std::fs::remove_file(secrets).unwrap();
}

#[test]
fn compose_file_holds_no_secret_and_asks_for_those_of_the_example() {
    let names = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
    };
    let example = read(".env.example");
    let secrets = fresh_secrets();
    assert_eq!(names(&example), names(&std::fs::read_to_string(&secrets).unwrap()));
    std::fs::remove_file(secrets).unwrap();
    let compose = read("docker-compose.yml");
    for name in names(&example) {
        assert!(compose.contains(&format!("${{{name}:")), "{name} is asked for nowhere");
    }
    for line in compose.lines().filter(|line| line.contains("PASSWORD") || line.contains("SECRET")) {
        assert!(line.contains("${"), "a secret of its own: {line}");
    }
}

#[test]
fn override_of_a_self_hosted_supabase_changes_the_image_and_nothing_else() {
    let path = "examples/self-hosted-supabase/docker-compose.override.yml";
    let text = read(path);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).collect();
    assert_eq!(lines, ["services:", "realtime:", "image: rowcast"]);
    let Some(command) = compose() else { return };
    let secrets = fresh_secrets();
    let valid = config(command, path, &secrets);
    assert!(valid.status.success(), "{}", stderr(&valid));
    std::fs::remove_file(secrets).unwrap();
}

#[test]
fn image_copies_what_the_program_is_built_of_and_runs_it_as_nobody_in_particular() {
    let file = read("Dockerfile");
    let copied: Vec<&str> = file
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.split(' ').rev().skip(1))
        .collect();
    for name in ["Cargo.toml", "Cargo.lock", "src", "sql", "migrations"] {
        assert!(copied.contains(&name), "{name} is not copied");
        assert!(read(".dockerignore").contains(&format!("!{name}\n")), "{name} is ignored");
    }
    for line in [
        "USER 10001:10001",
        "ENTRYPOINT [\"rowcast\"]",
        "CMD [\"serve\"]",
        "STOPSIGNAL SIGTERM",
        "CMD [\"rowcast\", \"healthcheck\"]",
        "org.opencontainers.image.licenses",
    ] {
        assert!(file.contains(line), "{line}");
    }
}

/// Runs the script that the database's container runs when it is made.
fn make_roles(cluster: &Cluster) {
    let output = Command::new("sh")
        .arg(root().join("docker/roles.sh"))
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", cluster.port.to_string())
        .env("ROWCAST_PASSWORD", "it's one")
        .env("AUTHENTICATOR_PASSWORD", "another")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test]
async fn role_of_the_compose_file_serves_without_being_a_superuser() {
    let directory = scratch("compose");
    let mut cluster = Cluster::start(binaries(major()), &directory, false).unwrap();
    make_roles(&cluster);
    let url = cluster.url("postgres");
    migrate(&url);
    let database = connect(&url).await;
    database
        .batch_execute(
            "create table notes (id int primary key, owner uuid);
             alter table notes enable row level security;
             create policy own on notes for select to authenticated using (owner = (select auth.uid()));
             alter publication supabase_realtime add table notes;",
        )
        .await
        .unwrap();
    let server = TestServer::start(&url.replace("postgres@", "rowcast@")).await;
    let clients = StockClient::start_all().await;
    let changes = json!([{ "event": "*", "schema": "public", "table": "notes" }]);
    for client in &clients {
        client.connect("ann", &server.url(), Some(&server::token("authenticated", Some(ANN)))).await;
        client.subscribe("ann", "notes", changes.clone()).await;
    }
    for client in &clients {
        client.expect_subscribed("ann", "notes").await;
    }
    // What the superuser makes is readable by default: the policy is what hides Bob's row.
    database.batch_execute(&format!("insert into notes values (1, '{BOB}'), (2, '{ANN}')")).await.unwrap();
    for client in &clients {
        assert_eq!(client.ids_up_to("ann", "notes", 2).await, [2], "{:?}", client.stock);
    }
    // Private channels, what they have missed, and the upkeep of where it is stored need no more rights.
    database
        .batch_execute(
            "create policy team on realtime.messages for select to authenticated
                 using (topic = 'team' and auth.jwt() ->> 'sub' is not null);
             select realtime.send('{\"n\": 7}', 'e', 'team', true)",
        )
        .await
        .unwrap();
    let mut ann = RawClient::connect(&server, Vsn::V2, &server::token("authenticated", Some(ANN))).await;
    let replay = json!({ "private": true, "broadcast": { "replay": { "since": 0 } } });
    ann.joined("1", "realtime:team", replay.clone()).await;
    assert_eq!(ann.until("broadcast").await[4]["payload"]["n"], 7);
    let answer = ann.join("2", "realtime:staff", json!({ "config": replay })).await;
    assert!(answer["response"]["reason"].as_str().unwrap().starts_with("Unauthorized: "), "{answer}");
    assert!(!server.logged().contains("PartitionCreationFailed"), "{}", server.logged());
    let superuser = "select rolsuper from pg_roles where rolname = 'rowcast'";
    assert!(!database.query_one(superuser, &[]).await.unwrap().get::<_, bool>(0));
    drop(server);
    cluster.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

//! The environment of the stock container's compose file, taken as it is.

use serde_json::json;

use crate::stage::server::{self, SECRET, program, stderr};
use crate::stage::{ANN, StockClient, TestServer, major};
use crate::support::TestDatabase;

/// What the stock compose file sets, word for word but for what an installation fills in itself.
fn stock(port: u16, database_port: &str, database: &str) -> Vec<(String, String)> {
    [
        ("PORT", port.to_string().as_str()),
        ("DB_HOST", "127.0.0.1"),
        ("DB_PORT", database_port),
        ("DB_USER", "supabase_admin"),
        ("DB_PASSWORD", "your-super-secret-and-long-postgres-password"),
        ("DB_NAME", database),
        ("DB_AFTER_CONNECT_QUERY", "SET search_path TO _realtime"),
        ("DB_ENC_KEY", "supabaserealtime"),
        ("API_JWT_SECRET", SECRET),
        ("SECRET_KEY_BASE", "UpNVntn3cDxHJpq99YMc1T1AQgQpc8kfYTuRgBiYa15BLrx8etQoXz3gZv1/u2oq"),
        ("METRICS_JWT_SECRET", SECRET),
        ("ERL_AFLAGS", "-proto_dist inet_tcp"),
        ("DNS_NODES", "''"),
        ("RLIMIT_NOFILE", "10000"),
        ("APP_NAME", "realtime"),
        ("SEED_SELF_HOST", "true"),
        ("RUN_JANITOR", "true"),
        ("DISABLE_HEALTHCHECK_LOGGING", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// A database that no `rowcast migrate` has seen, with the role of the stock installation.
async fn unprepared() -> (TestDatabase, String, String) {
    let database = TestDatabase::create(major()).await;
    // Roles belong to the whole cluster, so another test may have made it.
    database
        .execute(
            "do $$ begin create role supabase_admin login superuser; exception when duplicate_object then null; end $$",
        )
        .await;
    let (start, name) = database.url.rsplit_once('/').unwrap();
    let port = start.rsplit_once(':').unwrap().1.to_owned();
    let name = name.to_owned();
    (database, port, name)
}

#[tokio::test]
async fn environment_of_the_stock_container_serves_unchanged() {
    let (database, port, name) = unprepared().await;
    let server = TestServer::start_in(|listen| stock(listen, &port, &name)).await;
    database
        .execute(
            "create table notes (id int primary key);
             grant select on notes to authenticated;
             alter publication supabase_realtime add table notes;",
        )
        .await;
    let clients = StockClient::start_all().await;
    let token = server::token("authenticated", Some(ANN));
    let changes = json!([{ "event": "INSERT", "schema": "public", "table": "notes" }]);
    for client in &clients {
        client.connect("ann", &server.url(), Some(&token)).await;
        client.subscribe("ann", "notes", changes.clone()).await;
    }
    for client in &clients {
        client.expect_subscribed("ann", "notes").await;
    }
    database.execute("insert into notes values (1)").await;
    for client in &clients {
        assert_eq!(client.ids_up_to("ann", "notes", 1).await, [1], "{:?}", client.stock);
    }
    let log = server.logged();
    assert!(!log.contains("without an effect"), "{log}");
    assert!(log.contains("0.0.0.0:"), "it serves its network, as a container must\n{log}");
}

#[tokio::test]
async fn variables_without_an_effect_are_named_once_and_their_values_are_not() {
    let (_database, port, name) = unprepared().await;
    let server = TestServer::start_in(|listen| {
        let mut environment = stock(listen, &port, &name);
        environment.push(("LOGFLARE_API_KEY".to_owned(), "a-key-of-mine".to_owned()));
        environment.push(("RUN_JANITOR".to_owned(), "false".to_owned()));
        environment
    })
    .await;
    let log = server.logged();
    assert_eq!(log.matches("LOGFLARE_API_KEY, RUN_JANITOR").count(), 1, "{log}");
    assert!(!log.contains("a-key-of-mine"), "{log}");
}

#[tokio::test]
async fn server_that_may_not_migrate_says_so_and_ends() {
    let (database, port, name) = unprepared().await;
    database
        .execute(&format!(
            "do $$ begin create role powerless login; exception when duplicate_object then null; end $$;
             revoke create on database {name} from public",
        ))
        .await;
    let output =
        program(&["serve"]).envs(stock(0, &port, &name)).env("DB_USER", "powerless").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("migrate as a role that may"), "{}", stderr(&output));
}

#[test]
fn short_secret_is_refused_with_a_way_out() {
    let output =
        program(&["serve"]).envs(stock(0, "5432", "x")).env("API_JWT_SECRET", "too-short").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("jwt_secret") && said.contains("32 bytes") && said.contains("openssl"), "{said}");
    assert!(!said.contains("too-short"), "{said}");
}

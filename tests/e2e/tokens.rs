//! Keys: tokens of every kind on one server, keys that change while clients are joined, and API keys.

use std::time::Instant;

use axum::http::StatusCode;
use rowcast::telemetry::clock::unix_seconds;
use serde_json::{Value, json};

use crate::key_server::KeyServer;
use crate::signer::{Signer, key_set};
use crate::stage::server::{self, LOOK_AGAIN, TestServer};
use crate::stage::{ANN, BOB, PATIENCE, Stage, Stock, major};
use crate::support::TestDatabase;

const NOTES: &str = "
    create table notes (id int primary key, owner uuid);
    alter table notes enable row level security;
    grant select on notes to authenticated, anon, service_role;
    create policy \"people see their own\" on notes for select to authenticated
        using (owner = (select auth.uid()));
    create policy \"everybody sees nobody's\" on notes for select to authenticated, anon using (owner is null);
    alter publication supabase_realtime add table notes;";

/// A token of the role `authenticated` for an hour.
fn token(signer: &Signer, sub: &str) -> String {
    signer.token(&json!({ "role": "authenticated", "sub": sub, "exp": unix_seconds() + 3600 }))
}

fn inserts() -> Value {
    json!([{ "event": "INSERT", "schema": "public", "table": "notes" }])
}

/// What a connect with this API key is answered: 426 if the key would do, as no upgrade is asked for.
fn connect(server: &TestServer, apikey: &str) -> (u16, String) {
    server::http_get(server.address, &format!("/socket/websocket?apikey={apikey}")).expect("an answer")
}

/// Waits until the server, which tells nobody of new keys, answers a connect so.
async fn until_connect_is(server: &TestServer, apikey: &str, status: u16) {
    let started = Instant::now();
    while connect(server, apikey).0 != status {
        assert!(started.elapsed() < PATIENCE, "the key stays as it was");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn tokens_of_a_key_pair_and_of_the_secret_are_good_on_one_server() {
    let pair = Signer::generate("ES256", "pair");
    let stage = Stage::set_with(NOTES, &["--jwt-jwks", &key_set([&pair])]).await;
    for client in &stage.clients {
        client.connect("ann", &stage.server.url(), Some(&token(&pair, ANN))).await;
    }
    stage.connect("bob", BOB).await;
    stage.subscribe("ann", "notes", inserts()).await;
    stage.subscribe("bob", "notes", inserts()).await;
    stage.database.execute(&format!("insert into notes values (1, '{ANN}'), (2, '{BOB}'), (3, null)")).await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 3).await, [1, 3], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("bob", "notes", 3).await, [2, 3], "{:?}", client.stock);
    }

    // And nobody else's: the same names, another key.
    let forged = token(&Signer::generate("ES256", "pair"), ANN);
    for client in &stage.clients {
        client.connect("eve", &stage.server.url(), Some(&forged)).await;
        client.subscribe("eve", "notes", inserts()).await;
        let refused =
            client.expect(json!({ "as": "eve", "kind": "status", "status": "CHANNEL_ERROR" })).await;
        let reason = refused["error"].as_str().unwrap_or_default();
        assert!(reason.contains("JwtSignatureError"), "{:?}: {reason}", client.stock);
    }
}

#[tokio::test]
async fn channel_goes_on_when_its_token_changes_from_secret_to_key_pair() {
    let pair = Signer::generate("ES256", "pair");
    let stage = Stage::set_with(NOTES, &["--jwt-jwks", &key_set([&pair])]).await;
    stage.connect("user", ANN).await;
    stage.subscribe("user", "notes", inserts()).await;
    stage.database.execute(&format!("insert into notes values (1, '{ANN}'), (2, '{BOB}'), (3, null)")).await;
    for client in &stage.clients {
        client.ids_up_to("user", "notes", 3).await;
        client.authorize("user", &token(&pair, BOB)).await;
    }
    for client in &stage.clients {
        client.expect(json!({ "kind": "system", "status": "ok", "topic": "notes" })).await;
    }
    stage.database.execute(&format!("insert into notes values (4, '{ANN}'), (5, '{BOB}'), (6, null)")).await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("user", "notes", 6).await, [1, 3, 5, 6], "{:?}", client.stock);
        let closed = client.seen(&json!({ "as": "user", "kind": "status", "status": "CLOSED" }));
        assert!(closed.is_empty(), "{:?}: {closed:?}", client.stock);
    }
}

/// Has the old key changed for the new one while clients are joined, in a way that the test chooses. Ann's token is
/// by the old key, Bob's by the new one, and Cid's by the shared secret, which stays.
async fn rotates(stage: &Stage, old: &Signer, new: &Signer, rotate: impl FnOnce()) {
    let url = stage.server.url();
    for client in &stage.clients {
        client.connect("ann", &url, Some(&token(old, ANN))).await;
    }
    stage.subscribe("ann", "notes", inserts()).await;
    stage.connect("cid", ANN).await;
    stage.subscribe("cid", "notes", inserts()).await;
    assert_eq!(connect(&stage.server, &token(new, BOB)).0, 401);

    rotate();
    until_connect_is(&stage.server, &token(new, BOB), 426).await;
    until_connect_is(&stage.server, &token(old, ANN), 401).await;

    for client in &stage.clients {
        // What was joined with the old key ends; the socket stays.
        client.expect(json!({ "as": "ann", "topic": "notes", "kind": "status", "status": "CLOSED" })).await;
        // The very token that was good before.
        client.subscribe("ann", "again", inserts()).await;
        client.connect("bob", &url, Some(&token(new, BOB))).await;
        client.subscribe("bob", "notes", inserts()).await;
    }
    for client in &stage.clients {
        let status = json!({ "as": "ann", "topic": "again", "kind": "status", "status": "CHANNEL_ERROR" });
        let reason = client.expect(status).await["error"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains("JwtSignerError"), "{:?}: {reason}", client.stock);
        client.expect_subscribed("bob", "notes").await;
    }
    stage.database.execute(&format!("insert into notes values (1, '{ANN}'), (2, '{BOB}'), (3, null)")).await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("bob", "notes", 3).await, [2, 3], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("cid", "notes", 3).await, [1, 3], "{:?}", client.stock);
        assert_eq!(client.changes("ann", "notes"), [], "{:?}", client.stock);
        assert_eq!(client.changes("ann", "again"), [], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn key_in_a_file_is_changed_while_clients_are_joined() {
    let (old, new) = (Signer::generate("ES256", "old"), Signer::generate("ES256", "new"));
    let folder = tempfile::tempdir().unwrap();
    let (path, next) = (folder.path().join("keys.json"), folder.path().join("next.json"));
    std::fs::write(&path, key_set([&old])).unwrap();
    let stage = Stage::set_with(NOTES, &["--jwt-jwks-file", path.to_str().unwrap()]).await;
    rotates(&stage, &old, &new, || {
        std::fs::write(&next, key_set([&new])).unwrap();
        std::fs::rename(&next, &path).unwrap();
    })
    .await;
}

// The issuer answers while this thread waits for the server to be healthy.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn key_at_a_url_is_changed_while_clients_are_joined() {
    let (old, new) = (Signer::generate("EdDSA", "old"), Signer::generate("RS256", "new"));
    let issuer = KeyServer::start(key_set([&old])).await;
    // It is fetched again in an hour, or when a token names a key that is not known.
    let arguments = ["--jwt-jwks-url", &issuer.url(), "--jwt-jwks-refresh-ms", "3_600_000"];
    let stage = Stage::set_with(NOTES, &arguments).await;
    rotates(&stage, &old, &new, || issuer.publish(key_set([&new]))).await;
    let log = stage.server.logged();
    for key in [&old, &new] {
        let jwk = key.jwk();
        let part = jwk.get("x").or(jwk.get("n")).and_then(Value::as_str).unwrap();
        assert!(!log.contains(part) && !log.contains(&token(key, ANN)[..40]), "{log}");
    }
}

const PUBLISHABLE: &str = "sb_publishable_of_end_to_end_tests";
const SECRET_KEY: &str = "sb_secret_of_end_to_end_tests_only";

#[tokio::test]
async fn api_key_opens_the_socket_and_the_token_decides_what_is_seen() {
    let arguments = ["--publishable-keys", PUBLISHABLE, "--secret-keys", SECRET_KEY];
    let stage = Stage::set_with(NOTES, &arguments).await;
    let url = stage.server.url();
    let ann = server::token("authenticated", Some(ANN));
    for client in &stage.clients {
        for (who, key, token) in [
            ("ann", PUBLISHABLE, Some(ann.as_str())),
            ("anybody", PUBLISHABLE, None),
            ("service", SECRET_KEY, None),
        ] {
            client.order(json!({ "do": "connect", "as": who, "url": url, "key": key, "token": token })).await;
        }
    }
    for who in ["ann", "anybody", "service"] {
        stage.subscribe(who, "notes", inserts()).await;
    }
    stage.database.execute(&format!("insert into notes values (1, '{ANN}'), (2, '{BOB}'), (3, null)")).await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 3).await, [1, 3], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("anybody", "notes", 3).await, [3], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("service", "notes", 3).await, [1, 2, 3], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn unknown_api_key_opens_no_socket() {
    let stage = Stage::set_with(NOTES, &["--publishable-keys", PUBLISHABLE]).await;
    let unknown = "sb_publishable_of_somebody_else";
    let (status, body) = connect(&stage.server, unknown);
    assert_eq!((status, body.as_str()), (401, r#"{"error":"The API key is not known"}"#));
    assert_eq!(connect(&stage.server, PUBLISHABLE).0, 426);
    let (url, ann) = (stage.server.url(), server::token("authenticated", Some(ANN)));
    for client in stage.clients.iter().filter(|client| client.stock != Stock::Python) {
        // A good token does not help.
        let order = json!({ "do": "connect", "as": "eve", "url": url, "key": unknown, "token": ann });
        client.order(order).await;
        client.subscribe("eve", "notes", inserts()).await;
        client.expect(json!({ "as": "eve", "kind": "status", "status": "CHANNEL_ERROR" })).await;
        assert!(
            client.seen(&json!({ "as": "eve", "status": "SUBSCRIBED" })).is_empty(),
            "{:?}",
            client.stock
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn log_says_what_is_wrong_with_a_key_set_and_shows_nothing_of_it() {
    let good = Signer::generate("ES256", "good");
    let mut encrypting = good.jwk();
    encrypting["use"] = json!("enc");
    let issuer = KeyServer::start(json!({ "keys": [good.jwk(), encrypting] }).to_string()).await;
    let database = TestDatabase::create(major()).await;
    server::migrate(&database.url);
    let arguments = ["--jwt-jwks-url", &issuer.url(), "--jwt-jwks-refresh-ms", "1000"];
    let server = TestServer::start_with(&database.url, &arguments).await;
    issuer.publish("{\"opensesame\":1}".to_owned());
    issuer.until_asked(issuer.asked() + 2).await;
    issuer.fail(StatusCode::FORBIDDEN, "opensesame");
    issuer.until_asked(issuer.asked() + 2).await;
    let log = server.logged();
    for part in [
        "key set in force source=Url keys=1 skipped=1",
        "a key of the set is not used source=Url key=2 reason=its `use` is not `sig`",
        "could not read the key set; the last good one stays in force code=\"KeySetUnavailable\" source=Url",
        "is no key set: the key set is neither an object with an array `keys` nor such an array or key",
        "could not fetch http://127.0.0.1",
        "the answer was 403 Forbidden",
        "remedy=\"give the URL of the issuer's key set",
    ] {
        assert!(log.contains(part), "{part}\nis not in\n{log}");
    }
    assert!(!log.contains("opensesame") && !log.contains(good.jwk()["x"].as_str().unwrap()), "{log}");
    assert_eq!(connect(&server, &token(&good, ANN)).0, 426, "the last good set is gone");
}

#[tokio::test]
async fn token_minted_with_a_key_file_is_good_where_the_file_is_the_key_set() {
    let pair = Signer::generate("ES256", "pair");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signing-key.json");
    let database = TestDatabase::create(major()).await;
    server::migrate(&database.url);
    std::fs::write(&path, pair.private_jwk().to_string()).unwrap();
    let server = TestServer::start_with(&database.url, &["--jwt-jwks-file", path.to_str().unwrap()]).await;
    let mint = || server::program(&["token", "--key-file", path.to_str().unwrap()]).output().unwrap();
    let minted = mint();
    assert!(minted.status.success(), "{}", server::stderr(&minted));
    assert_eq!(connect(&server, server::stdout(&minted).trim()).0, 426);

    std::fs::write(&path, pair.jwk().to_string()).unwrap();
    let refused = mint();
    assert_eq!(refused.status.code(), Some(2));
    assert!(server::stderr(&refused).contains("it has no private key"), "{}", server::stderr(&refused));
}

#[test]
fn server_does_not_start_with_a_key_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let start = || {
        let arguments =
            ["serve", "--listen", "127.0.0.1:0", "--database-url", "postgres://nobody@127.0.0.1:1/none"];
        let output =
            server::program(&arguments).args(["--jwt-jwks-file", path.to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        server::stderr(&output)
    };
    let absent = start();
    assert!(absent.contains("could not read") && absent.contains("help: put the file there"), "{absent}");
    std::fs::write(&path, "opensesame").unwrap();
    let wrong = start();
    assert!(wrong.contains("is no key set") && wrong.contains("help: write {\"keys\""), "{wrong}");
    assert!(!wrong.contains("opensesame"), "{wrong}");
}

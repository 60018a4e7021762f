//! Key sets that change while tokens are verified: what is in force when, and what a bad answer changes: nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use rowcast::auth::jwks::{Address, Error, FileError, Follower, HttpClient, HttpError, Sources};
use rowcast::auth::{Config, KEY_SET_BYTES_MAX, TokenError, Verifier};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::key_server::KeyServer;
use crate::signer::{Signer, key_set};

const NOW: i64 = 1_800_000_000;
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

fn verifier() -> Arc<Verifier> {
    Arc::new(Verifier::new(Config::default()))
}

fn token(signer: &Signer) -> String {
    signer.token(&json!({ "role": "anon", "exp": NOW + 60 }))
}

fn accepts(verifier: &Verifier, signer: &Signer) -> bool {
    verifier.verify(&token(signer), NOW).is_ok()
}

/// Waits until the verifier, which tells nobody of new keys, knows this one or no longer does.
async fn until_accepted(verifier: &Verifier, signer: &Signer, wanted: bool) {
    let started = Instant::now();
    while accepts(verifier, signer) != wanted {
        assert!(started.elapsed() < PATIENCE, "the key stays as it was");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn at(url: &str, refresh: Duration) -> Sources {
    Sources { url: Some(Address::parse(url).unwrap()), refresh, ..Sources::default() }
}

#[tokio::test]
async fn file_is_in_force_at_once_and_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (old, new) = (Signer::generate("ES256", "old"), Signer::generate("EdDSA", "new"));
    std::fs::write(&path, key_set([&old])).unwrap();
    let verifier = verifier();
    let sources = Sources { file: Some(path.clone()), refresh: HOUR, ..Sources::default() };
    let _follower = Follower::start(sources, &verifier).await.unwrap();
    assert!(accepts(&verifier, &old) && !accepts(&verifier, &new));

    let replace = |text: &str| {
        std::fs::write(folder.path().join("next"), text).unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
    };
    replace(&key_set([&old, &new]));
    until_accepted(&verifier, &new, true).await;
    assert!(accepts(&verifier, &old));

    let bad: [&dyn Fn(); 3] =
        [&|| replace("{\"keys\":"), &|| replace(&(key_set([]) + &" ".repeat(KEY_SET_BYTES_MAX))), &|| {
            std::fs::remove_file(&path).unwrap()
        }];
    for change in bad {
        change();
        // That nothing happens shows by time alone: it is looked at each second.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert!(accepts(&verifier, &old) && accepts(&verifier, &new), "the last good set is gone");
    }

    replace(&key_set([&new]));
    until_accepted(&verifier, &old, false).await;
    assert!(accepts(&verifier, &new));
}

#[tokio::test]
async fn file_that_is_no_key_set_from_the_start_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let start = async || {
        let sources = Sources { file: Some(path.clone()), ..Sources::default() };
        Follower::start(sources, &verifier()).await.unwrap_err()
    };
    assert!(matches!(start().await, Error::File(FileError::Unreadable { .. })));
    std::fs::write(&path, "{\"opensesame\":1}").unwrap();
    let Error::File(error) = start().await else { panic!("the file is the error") };
    assert!(matches!(error, FileError::Invalid { .. }));
    let told = format!("{} {error:?} {}", rowcast::telemetry::log::chain(&error), error.remedy());
    assert!(!told.contains("opensesame") && told.contains("keys.json"), "{told}");
}

#[tokio::test]
async fn url_is_fetched_again_and_bad_answers_change_nothing() {
    let (old, new) = (Signer::generate("ES256", "old"), Signer::generate("RS256", "new"));
    let issuer = KeyServer::start(key_set([&old])).await;
    let elsewhere = KeyServer::start(key_set([&new])).await;
    let verifier = verifier();
    let _follower = Follower::start(at(&issuer.url(), Duration::from_millis(20)), &verifier).await.unwrap();
    assert!(accepts(&verifier, &old), "the first set is there before anybody connects");

    let bad: [&dyn Fn(); 6] = [
        &|| issuer.fail(StatusCode::INTERNAL_SERVER_ERROR, &key_set([&new])),
        &|| issuer.fail(StatusCode::CREATED, &key_set([&new])),
        &|| issuer.publish("<html>".to_owned()),
        &|| issuer.publish("{}".to_owned()),
        &|| issuer.publish(key_set([&new]) + &" ".repeat(KEY_SET_BYTES_MAX)),
        &|| issuer.redirect(&elsewhere.url()),
    ];
    for answer in bad {
        answer();
        // The second one asked from now on has seen it.
        issuer.until_asked(issuer.asked() + 2).await;
        assert!(accepts(&verifier, &old) && !accepts(&verifier, &new));
    }
    assert_eq!(elsewhere.asked(), 0, "the redirect was followed");

    issuer.publish(key_set([&old, &new]));
    until_accepted(&verifier, &new, true).await;
    issuer.publish(key_set([&new]));
    until_accepted(&verifier, &old, false).await;
    issuer.publish(key_set([]));
    until_accepted(&verifier, &new, false).await;
}

#[tokio::test]
async fn issuer_that_starts_later_is_waited_for() {
    let signer = Signer::generate("ES256", "k1");
    let address = KeyServer::start(String::new()).await.address;
    let verifier = verifier();
    let _follower = Follower::start(at(&format!("http://{address}/keys"), HOUR), &verifier).await.unwrap();
    assert!(!accepts(&verifier, &signer));
    let _issuer = KeyServer::start_at(address, key_set([&signer])).await;
    until_accepted(&verifier, &signer, true).await;
}

#[tokio::test]
async fn unknown_key_has_the_set_fetched_but_not_again_and_again() {
    let (old, new) = (Signer::generate("ES256", "old"), Signer::generate("ES256", "new"));
    let issuer = KeyServer::start(key_set([&old])).await;
    let verifier = verifier();
    let started = Instant::now();
    let _follower = Follower::start(at(&issuer.url(), HOUR), &verifier).await.unwrap();
    issuer.publish(key_set([&new]));
    assert!(accepts(&verifier, &old), "a known key has nothing fetched");
    let missing = Err(TokenError::Signer { key_id: Some("new".to_owned()) });
    for _ in 0..1000 {
        assert_eq!(verifier.verify(&token(&new), NOW).map(|_| ()), missing);
    }
    tokio::time::timeout(PATIENCE, issuer.until_asked(2)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(5), "there is no pause between two fetches");
    until_accepted(&verifier, &new, true).await;
    assert!(!accepts(&verifier, &old));
    assert_eq!(issuer.asked(), 2, "a thousand tokens are one reason to fetch");
}

#[tokio::test]
async fn keys_of_all_places_are_used_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (filed, fetched) = (Signer::generate("HS512", "filed"), Signer::generate("ES384", "fetched"));
    let exposed = Signer::generate("HS256", "exposed");
    std::fs::write(&path, key_set([&filed])).unwrap();
    let issuer = KeyServer::start(key_set([&fetched, &exposed])).await;
    let verifier = verifier();
    let sources = Sources { file: Some(path), ..at(&issuer.url(), HOUR) };
    let follower = Follower::start(sources, &verifier).await.unwrap();
    assert!(accepts(&verifier, &filed) && accepts(&verifier, &fetched));
    assert!(!accepts(&verifier, &exposed), "a shared secret that anybody can fetch");
    drop(follower);
    assert!(accepts(&verifier, &fetched), "the last keys stay when nobody follows any more");
}

#[tokio::test]
async fn answers_have_a_time_and_a_size() {
    let client = HttpClient::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    // Answers that never end, in bytes or in time.
    tokio::spawn(async move {
        for is_endless in [true, false] {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while is_endless && stream.write_all(&[b' '; 4096]).await.is_ok() {}
                // Until the client gives up.
                let _ = stream.read(&mut [0; 1]).await;
            });
        }
    });
    assert!(matches!(client.get(&url, 10_000, PATIENCE).await, Err(HttpError::TooLong(10_000))));
    let brief = Duration::from_millis(50);
    assert!(
        matches!(client.get(&url, 10_000, brief).await, Err(HttpError::Timeout(within)) if within == brief)
    );
}

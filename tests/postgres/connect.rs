//! Sessions: TLS as strict as the URL asks, for SQL and for the replication stream alike; and refusals that name
//! their cause and a remedy.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::support::{binaries, connect, majors, scratch};
use pgwire_replication::client::ReplicationClient;
use rowcast::postgres::cluster::Cluster;
use rowcast::postgres::connect::{Database, Error};

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls");

/// A cluster that asks the role `ann` for the password `p@ss word`, and offers TLS as `db.test`; `false` if its
/// build has no TLS, as that of some packages.
async fn cluster_with_tls(major: u32, directory: &Path) -> (Cluster, bool) {
    let mut cluster = Cluster::start(binaries(major), directory, false).unwrap();
    let data = cluster.data().to_owned();
    let owner = std::fs::metadata(&data).unwrap();
    for (from, to, mode) in [("server.pem", "server.crt", 0o644), ("server.key", "server.key", 0o600)] {
        let path = data.join(to);
        std::fs::copy(format!("{TLS}/{from}"), &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let rules = "host all ann 127.0.0.1/32 scram-sha-256\nhost all bob 127.0.0.1/32 reject\n";
    let hba = data.join("pg_hba.conf");
    std::fs::write(&hba, format!("{rules}{}", std::fs::read_to_string(&hba).unwrap())).unwrap();
    let admin = connect(&cluster.url("postgres")).await;
    let tls = admin.batch_execute("alter system set ssl = on").await.is_ok();
    admin.batch_execute("create role ann login replication password 'p@ss word'").await.unwrap();
    admin.batch_execute("create role bob login").await.unwrap();
    drop(admin);
    cluster.restart().unwrap();
    (cluster, tls)
}

/// Whether a session on `url` is encrypted.
async fn encrypted(url: &str) -> Result<bool, Error> {
    let (client, _session) = Database::parse(url)?.connect("test").await?;
    let row =
        client.query_one("select ssl from pg_stat_ssl where pid = pg_backend_pid()", &[]).await.unwrap();
    Ok(row.get(0))
}

/// Whether the replication stream can be opened with what `url` says.
async fn replicates(url: &str) -> bool {
    let config = Database::parse(url).unwrap().replication("rowcast", "supabase_realtime");
    match ReplicationClient::connect_gated(config).await {
        Ok(mut client) => client.identify_system().await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn tls_is_as_strict_as_the_url_asks() {
    for major in majors() {
        let directory = scratch("tls");
        let (cluster, tls) = cluster_with_tls(major, &directory).await;
        let port = cluster.port;
        let ca = format!("{TLS}/ca.pem");
        let other = format!("{TLS}/server.pem");
        for (host, query, expected) in [
            ("127.0.0.1", "sslmode=disable".to_owned(), Some(false)),
            ("127.0.0.1", String::new(), Some(true)),
            ("127.0.0.1", "sslmode=require".to_owned(), Some(true)),
            ("127.0.0.1", format!("sslmode=require&sslrootcert={other}"), None),
            ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), Some(true)),
            ("127.0.0.1", "sslmode=verify-ca".to_owned(), None),
            ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), None),
            ("db.test", format!("hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={ca}"), Some(true)),
            ("db.test", "hostaddr=127.0.0.1&sslmode=verify-full".to_owned(), None),
        ] {
            if !tls {
                println!("skipped on {major}, whose build has no TLS: {query}");
                continue;
            }
            let url = format!("postgres://ann:p%40ss%20word@{host}:{port}/postgres?{query}");
            let found = encrypted(&url).await;
            assert_eq!(found.as_ref().ok().copied(), expected, "{host} {query} on {major}: {found:?}");
            // The stream's library asks for the name under verify-ca, too: stricter than said, never laxer.
            let streams = expected.is_some() && !query.contains("verify-ca");
            assert_eq!(replicates(&url).await, streams, "{host} {query} on {major}");
        }
        drop(cluster);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[tokio::test]
async fn refusals_name_a_remedy_and_no_password() {
    let directory = scratch("refusals");
    let (cluster, tls) = cluster_with_tls(majors()[0], &directory).await;
    let port = cluster.port;
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    for (url, remedy) in [
        (format!("postgres://ann:hunter2@127.0.0.1:{port}/postgres"), "check user and password"),
        (format!("postgres://bob:hunter2@127.0.0.1:{port}/postgres"), "pg_hba.conf"),
        (format!("postgres://postgres:hunter2@127.0.0.1:{port}/absent"), "check the database name"),
        (format!("postgres://postgres:hunter2@127.0.0.1:{free}/postgres"), "check that Postgres runs"),
        (format!("postgres://postgres:hunter2@absent.invalid:{port}/postgres"), "check the host name"),
        (
            format!("postgres://postgres:hunter2@127.0.0.1:{port}/postgres?sslmode=verify-full"),
            if tls { "certificate is not trusted" } else { "has no TLS" },
        ),
        (
            format!(
                "postgres://postgres:hunter2@127.0.0.1:{port}/postgres?sslmode=verify-ca&sslrootcert=/absent"
            ),
            "let sslrootcert name",
        ),
    ] {
        let error = Database::parse(&url).unwrap().connect("test").await.map(|_| ()).unwrap_err();
        assert!(error.remedy().contains(remedy), "{url}: {error:?} {}", error.remedy());
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    drop(cluster);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn server_without_tls_is_refused_where_tls_is_asked() {
    let directory = scratch("plain");
    let cluster = Cluster::start(binaries(majors()[0]), &directory, false).unwrap();
    let url = cluster.url("postgres");
    assert!(!encrypted(&url).await.unwrap(), "prefer goes on without");
    let error = encrypted(&format!("{url}?sslmode=require")).await.unwrap_err();
    assert!(error.remedy().contains("no TLS"), "{error:?} {}", error.remedy());
    drop(cluster);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn silent_server_ends_in_a_timeout() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://ann:hunter2@127.0.0.1:{port}/app?connect_timeout=1");
    let error = Database::parse(&url).unwrap().connect("test").await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

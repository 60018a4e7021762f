//! Sessions: one URL, read once, for ordinary SQL and for replication alike.
//!
//! In: a `postgres://` URL. Out: a [`Database`], which opens sessions and configures the replication stream with
//! the same host, role and TLS. No error, log line or `Debug` of it holds the password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use pgwire_replication::config::{ReplicationConfig, SslMode as ReplicationSslMode, TlsConfig};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config};

use super::tls;
use crate::wal::stream::SILENCE_MAX;

/// Time for one attempt, name look-up, TLS and log-in included, unless the URL sets `connect_timeout`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// When a silent session is asked for a sign of life, how often, and after how many without an answer it is given up,
/// unless the URL says otherwise. Firewalls forget silent connections without a word.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES_RETRIES: u32 = 3;

/// After how long a session is given up that has not acknowledged what was sent, unless the URL says otherwise. Linux
/// holds the signs of life to it too, so it is as long as these take.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// A database and how to reach it.
#[derive(Clone)]
pub struct Database {
    config: Config,
    host: String,
    port: u16,
    user: String,
    name: String,
    verification: Verification,
    /// Certificates to trust; empty for those that browsers trust.
    root: Option<PathBuf>,
}

/// How much TLS proves; `sslmode` in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// No TLS.
    Disable,
    /// TLS if the server has it, unverified.
    Prefer,
    /// TLS, unverified.
    Require,
    /// TLS with a certificate from a trusted authority, whatever its name. The replication stream, whose library
    /// does its own TLS, asks for the name here, too.
    VerifyCa,
    /// TLS with a trusted certificate for this host.
    VerifyFull,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot be read; the text says why without quoting it.
    #[error("expected postgres://user:password@host:port/database: {0}")]
    Url(String),
    /// The file named by `sslrootcert` is of no use.
    #[error("could not read certificates from {}", path.display())]
    RootCertificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// TLS cannot be set up.
    #[error("could not set up TLS")]
    Tls(#[source] rustls::Error),
    /// The server could not be reached or refused.
    #[error("could not connect to Postgres at {target}")]
    Connect {
        /// Role, host, port and database.
        target: String,
        /// What the server or the network said.
        source: tokio_postgres::Error,
    },
    /// No answer in time.
    #[error("Postgres at {target} did not answer within {} s", timeout.as_secs())]
    Timeout {
        /// Role, host, port and database.
        target: String,
        /// How long it had.
        timeout: Duration,
    },
}

impl Error {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Url(_) => {
                "percent-encode special characters: `@` is %40, `/` is %2F, `?` is %3F, `#` is %23"
            }
            Self::RootCertificates { .. } => {
                "let sslrootcert name a PEM file with the authority's certificate"
            }
            Self::Tls(_) => "check sslmode and sslrootcert in the database URL",
            Self::Timeout { .. } => "check host, port and firewall; a wrong address often just stays silent",
            Self::Connect { source, .. } => connect_remedy(source),
        }
    }
}

impl Database {
    /// Reads a URL such as `postgres://user:password@host:5432/name?sslmode=verify-full`.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let malformed = |reason: &str| Error::Url(reason.to_owned());
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(malformed("it does not begin with postgres://"));
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        // A password with a bare `?` ends up in the query; nothing of it may be quoted.
        if query.contains('@') || base.contains('#') {
            return Err(malformed("the password holds a character that must be percent-encoded"));
        }
        let (mut mode, mut root, mut rest) = (None, None, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            match name {
                "sslmode" => mode = Some(Verification::named(&value)?),
                "sslrootcert" if value == "system" => root = None,
                "sslrootcert" => root = Some(PathBuf::from(value.as_ref())),
                // Sessions are named by what they are for.
                "application_name" => {}
                _ => rest.push(parameter),
            }
        }
        let verification = match mode.unwrap_or(Verification::Prefer) {
            // As libpq: a certificate to trust is there to be used.
            Verification::Require if root.is_some() => Verification::VerifyCa,
            mode => mode,
        };
        let mut config: Config = format!("{base}?{}", rest.join("&"))
            .parse()
            .map_err(|error: tokio_postgres::Error| Error::Url(reason(&error)))?;
        config.ssl_mode(verification.ssl_mode());
        if !rest.iter().any(|parameter| parameter.starts_with("keepalives_idle=")) {
            config.keepalives_idle(KEEPALIVES_IDLE);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVES_INTERVAL);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(KEEPALIVES_RETRIES);
        }
        if !rest.iter().any(|parameter| parameter.starts_with("tcp_user_timeout=")) {
            config.tcp_user_timeout(UNACKNOWLEDGED_MAX);
        }
        let host = match config.get_hosts() {
            [Host::Tcp(host)] => host.clone(),
            #[cfg(unix)]
            [Host::Unix(directory)] => directory.display().to_string(),
            [] => return Err(malformed("the host is missing")),
            _ => return Err(malformed("it names several hosts; one is followed")),
        };
        let port = match config.get_ports() {
            [] => 5432,
            [port] => *port,
            _ => return Err(malformed("it names several ports; one is followed")),
        };
        let user = config.get_user().ok_or_else(|| malformed("the user is missing"))?.to_owned();
        let name = config.get_dbname().unwrap_or(&user).to_owned();
        Ok(Self { config, host, port, user, name, verification, root })
    }

    /// Opens a session, shown as `application_name` in `pg_stat_activity`.
    ///
    /// The task drives the session and ends with it: when the client is dropped, or with the error that broke it.
    /// Notices are dropped.
    pub async fn connect(&self, application_name: &str) -> Result<(Client, Session), Error> {
        self.connect_with_notices(application_name, |_| {}).await
    }

    /// As [`Database::connect`]; the text of every notice goes to `notice`.
    pub async fn connect_with_notices(
        &self,
        application_name: &str,
        mut notice: impl FnMut(&str) + Send + 'static,
    ) -> Result<(Client, Session), Error> {
        let mut config = self.config.clone();
        config.application_name(application_name);
        let timeout = self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        let connector = tls::connector(self.verification, self.root.as_deref())?;
        let (client, mut connection) = tokio::time::timeout(timeout, config.connect(connector))
            .await
            .map_err(|_| Error::Timeout { target: self.to_string(), timeout })?
            .map_err(|source| Error::Connect { target: self.to_string(), source })?;
        let session = tokio::spawn(async move {
            while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(text) = message? {
                    notice(text.message());
                }
            }
            Ok(())
        });
        Ok((client, session))
    }

    /// What the replication stream needs to reach the same database.
    ///
    /// Beware: unlike this type, that one prints its password in `Debug`.
    pub fn replication(&self, slot: &str, publication: &str) -> ReplicationConfig {
        let password = self.config.get_password().map(String::from_utf8_lossy).unwrap_or_default();
        if self.host.starts_with('/') {
            return ReplicationConfig::unix(
                &*self.host,
                self.port,
                &*self.user,
                password,
                &*self.name,
                slot,
                publication,
            )
            .with_wakeup_interval(SILENCE_MAX);
        }
        let tls = TlsConfig {
            mode: match self.verification {
                Verification::Disable => ReplicationSslMode::Disable,
                Verification::Prefer => ReplicationSslMode::Prefer,
                Verification::Require => ReplicationSslMode::Require,
                Verification::VerifyCa => ReplicationSslMode::VerifyCa,
                Verification::VerifyFull => ReplicationSslMode::VerifyFull,
            },
            ca_pem_path: self.root.clone(),
            // Named outright, as that library would otherwise refuse certificates for an IP address.
            sni_hostname: Some(self.host.clone()),
            ..TlsConfig::default()
        };
        let address =
            self.config.get_hostaddrs().first().map_or_else(|| self.host.clone(), ToString::to_string);
        ReplicationConfig::new(address, &*self.user, password, &*self.name, slot, publication)
            .with_port(self.port)
            .with_tls(tls)
            .with_wakeup_interval(SILENCE_MAX)
    }

    /// The host, or the directory of its socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password, if the URL has one. Never to be printed.
    pub fn password(&self) -> Option<&[u8]> {
        self.config.get_password()
    }

    /// The role that sessions log in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The task that drives one session.
pub type Session = JoinHandle<Result<(), tokio_postgres::Error>>;

/// Without the password: `user@host:5432/name`.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.name)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self}, {:?})", self.verification)
    }
}

impl Verification {
    fn named(word: &str) -> Result<Self, Error> {
        Ok(match word {
            "disable" => Self::Disable,
            // libpq's `allow` tries in the other order, with the same outcome and no more safety.
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => {
                let known = "sslmode is none of disable, allow, prefer, require, verify-ca, verify-full";
                return Err(Error::Url(known.to_owned()));
            }
        })
    }

    fn ssl_mode(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => SslMode::Require,
        }
    }
}

/// The innermost reason, which alone says something.
fn reason(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn connect_remedy(error: &tokio_postgres::Error) -> &'static str {
    if let Some(code) = error.code() {
        return match *code {
            SqlState::INVALID_PASSWORD => "check user and password in the database URL",
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                "check the user, and pg_hba.conf: it must let this host in, with or without TLS (sslmode)"
            }
            SqlState::INVALID_CATALOG_NAME => "check the database name at the end of the URL, or create it",
            SqlState::TOO_MANY_CONNECTIONS => "raise max_connections, or close other sessions",
            SqlState::CANNOT_CONNECT_NOW => "Postgres is starting or stopping; try again in a moment",
            _ => "see the Postgres log for the reason",
        };
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            match error.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    return "check that Postgres runs there and listens on that address and port";
                }
                std::io::ErrorKind::NotFound => return "check the socket directory in the database URL",
                std::io::ErrorKind::InvalidData => {
                    return "check sslmode and sslrootcert: the server's certificate is not trusted";
                }
                _ => {}
            }
        }
        cause = inner.source();
    }
    match std::error::Error::source(error).map(ToString::to_string) {
        Some(text) if text.contains("TLS") => {
            "the server has no TLS; where the network is trusted, use sslmode=disable"
        }
        Some(text) if text.contains("lookup") => "check the host name in the database URL",
        _ => "check host, port and sslmode in the database URL",
    }
}

#[cfg(test)]
mod tests {
    use super::{Database, Verification};
    use pgwire_replication::config::SslMode;

    #[test]
    fn url_yields_both_kinds_of_connection() {
        let database = Database::parse(
            "postgresql://ann:p%40ss@db.example:6543/app?sslmode=verify-full&sslrootcert=/ca.pem",
        )
        .unwrap();
        assert_eq!(database.to_string(), "ann@db.example:6543/app");
        let replication = database.replication("rowcast", "supabase_realtime");
        assert_eq!((replication.host.as_str(), replication.port), ("db.example", 6543));
        assert_eq!((replication.user.as_str(), replication.password.as_str()), ("ann", "p@ss"));
        assert_eq!(replication.tls.mode, SslMode::VerifyFull);
        assert_eq!(replication.tls.ca_pem_path.as_deref(), Some("/ca.pem".as_ref()));
    }

    #[test]
    fn silent_sessions_are_asked_for_a_sign_of_life() {
        for (query, expected) in [
            ("", (30, 10, 3)),
            ("keepalives_idle=7200", (7200, 10, 3)),
            ("keepalives_interval=1&keepalives_retries=9&sslmode=disable", (30, 1, 9)),
        ] {
            let config = Database::parse(&format!("postgres://ann@db/app?{query}")).unwrap().config;
            assert!(config.get_keepalives());
            let interval = config.get_keepalives_interval().unwrap();
            let found =
                (config.get_keepalives_idle().as_secs(), interval.as_secs(), config.get_keepalives_retries());
            assert_eq!(found, (expected.0, expected.1, Some(expected.2)), "{query}");
        }
        assert!(!Database::parse("postgres://ann@db/app?keepalives=0").unwrap().config.get_keepalives());
    }

    #[test]
    fn what_was_sent_is_to_be_acknowledged_in_time() {
        for (query, expected) in
            [("", Some(60)), ("tcp_user_timeout=5", Some(5)), ("tcp_user_timeout=0", None)]
        {
            let config = Database::parse(&format!("postgres://ann@db/app?{query}")).unwrap().config;
            assert_eq!(config.get_tcp_user_timeout().map(|timeout| timeout.as_secs()), expected, "{query}");
        }
    }

    #[test]
    fn unix_directory_yields_both_kinds_of_connection() {
        let database = Database::parse("postgres://ann@%2Fvar%2Frun%2Fpostgresql/app").unwrap();
        let replication = database.replication("rowcast", "supabase_realtime");
        assert!(replication.is_unix_socket());
        assert_eq!(replication.database, "app");
    }

    #[test]
    fn sslmode_is_read_as_libpq_reads_it() {
        for (query, expected) in [
            ("", Verification::Prefer),
            ("sslmode=disable", Verification::Disable),
            ("sslmode=require", Verification::Require),
            ("sslmode=require&sslrootcert=/ca.pem", Verification::VerifyCa),
            ("sslrootcert=system&sslmode=verify-full", Verification::VerifyFull),
            ("connect_timeout=3&sslmode=verify-ca", Verification::VerifyCa),
        ] {
            let database = Database::parse(&format!("postgres://ann@db/app?{query}")).unwrap();
            assert_eq!(database.verification, expected, "{query}");
        }
    }

    #[test]
    fn malformed_urls_are_refused_without_showing_the_password() {
        for (url, expected) in [
            ("mysql://ann:hunter2@db/app", "does not begin"),
            ("host=db password=hunter2", "does not begin"),
            ("postgres://ann:hunter2?hunter2@db/app", "percent-encoded"),
            ("postgres://ann:hunter2#x@db/app", "percent-encoded"),
            ("postgres://ann:hunter2@db/app?sslmode=maybe", "none of disable"),
            ("postgres://ann:hunter2@db/app?schema=x", "unknown option"),
            ("postgres://ann:hunter2@a,b/app", "several hosts"),
            ("postgres://ann:hunter2@db:port/app", "invalid value"),
            ("postgres://db/app", "user is missing"),
        ] {
            let error = Database::parse(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn password_is_never_printed() {
        let database = Database::parse("postgres://ann:hunter2@db/app").unwrap();
        assert!(!format!("{database} {database:?}").contains("hunter2"));
    }
}

//! From text to checked, typed settings; every problem is found before any is reported.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::secret::Secret;
use super::setting::{API_KEY_BYTES_MIN, Kind, SECRET_BYTES_MIN, Setting};
use super::source::{Given, Origin, Resolved};
use super::{
    Adapter, Auth, Channel, Hub, Log, LogFormat, LogLevel, Policy, Postgres, Rest, Settings, Slot, Socket,
    Wal,
};
use crate::adapter::App;
use crate::auth::{Audience, KeySet, PUBLISHABLE_PREFIX, Roles, jwks};
use crate::policy::Switches;
use crate::postgres::connect::Database;
use crate::rest::Upstream;

/// One wrong or unknown setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, or the unknown name.
    pub name: String,
    /// Where it was given.
    pub origin: Origin,
    /// What is wrong and what is expected.
    pub message: String,
}

impl Problem {
    pub(super) fn new(name: &str, origin: Origin, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), origin, message: message.into() }
    }

    pub(super) fn expected(setting: &Setting, origin: Origin, found: Option<&str>) -> Self {
        let expectation = setting.kind.expectation();
        let message = match found.filter(|_| !setting.kind.is_secret()) {
            Some(found) => format!("expected {expectation}, found {:?}", shorten(found)),
            None => format!("expected {expectation}"),
        };
        Self::new(setting.name, origin, message)
    }

    pub(super) fn unknown(name: &str, origin: Origin, known: impl Iterator<Item = String>) -> Self {
        let closest = known.map(|known| (distance(name, &known), known)).min();
        let message = match closest {
            // Further away than a third of its length, it is no typing slip.
            Some((steps, known)) if steps * 3 <= name.len() => {
                format!("unknown setting; did you mean {known}?")
            }
            _ => "unknown setting; `rowcast config` lists them all".to_owned(),
        };
        Self::new(name, origin, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => write!(f, "{}: {}", self.name, self.message),
            Origin::Environment(variable) if *variable == self.name => {
                write!(f, "{}: {}", self.name, self.message)
            }
            origin => write!(f, "{} (from {origin}): {}", self.name, self.message),
        }
    }
}

/// All that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [one] => write!(f, "a setting is wrong: {one}"),
            all => {
                write!(f, "{} settings are wrong:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Resolved {
    /// All settings, or all problems.
    pub fn settings(self) -> Result<Settings, Problems> {
        let mut check = Check::new(self);
        let settings = check.settings();
        check.finish(settings)
    }

    /// All settings, for commands that look at what a server would do: without a key of tokens they go on.
    pub fn settings_without_keys(self) -> Result<Settings, Problems> {
        let mut check = Check::new(self);
        let settings = check.settings_with(Check::unkeyed);
        check.finish(settings)
    }

    /// The database alone, for commands that serve nobody.
    pub fn database(self) -> Result<Database, Problems> {
        let mut check = Check::new(self);
        let database = check.database();
        check.finish(database)
    }

    /// Where the server listens alone, for commands that ask it something.
    pub fn listen(self) -> Result<SocketAddr, Problems> {
        let check = Check::new(self);
        let listen = check.text("listen").parse().ok();
        check.finish(listen)
    }

    /// The token key alone, for commands that only sign.
    pub fn jwt_secret(self) -> Result<Secret, Problems> {
        let mut check = Check::new(self);
        let secret = check.secret();
        check.finish(secret)
    }
}

/// What is wrong with one given value, if anything; an empty required one is somebody else's question.
pub(super) fn problem(setting: &Setting, given: &Given) -> Option<Problem> {
    let Given { text, origin } = given;
    let fits = match setting.kind {
        Kind::OptionalAddress if text.is_empty() => true,
        Kind::Address | Kind::OptionalAddress => text.parse::<SocketAddr>().is_ok(),
        Kind::Identifier => {
            (1..=63).contains(&text.len())
                && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        }
        Kind::Label => {
            (1..=63).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        }
        Kind::ApiKeys(prefix) => items(text).all(|key| is_api_key(key, prefix)),
        Kind::PublicUrl => text.is_empty() || is_public_url(text),
        Kind::PublicKey => text.is_empty() || is_public_key(text),
        Kind::Path => true,
        Kind::Names => items(text).all(is_name),
        Kind::Roles => {
            text == ANY || (items(text).count() > 0 && items(text).all(|name| name != ANY && is_name(name)))
        }
        Kind::Url => text.is_empty() || Upstream::parse(text).is_some(),
        Kind::KeySet if text.is_empty() => return None,
        Kind::KeySet => match KeySet::parse(text.as_bytes(), Audience::Private) {
            Ok(_) => true,
            Err(error) => return Some(Problem::new(setting.name, origin.clone(), error.to_string())),
        },
        Kind::KeySetUrl if text.is_empty() => return None,
        Kind::KeySetUrl => match jwks::Address::parse(text) {
            Ok(_) => true,
            Err(error) => return Some(Problem::new(setting.name, origin.clone(), error.to_string())),
        },
        Kind::Object => text.is_empty() || object(text).is_some(),
        Kind::Boolean => matches!(text.as_str(), "true" | "false"),
        Kind::Apps => text == ALL || items(text).all(|name| App::named(name).is_some()),
        Kind::OneOf(words) => words.contains(&text.as_str()),
        Kind::Integer(min, max) => number(text).is_some_and(|number| (min..=max).contains(&number)),
        Kind::DatabaseUrl if text.is_empty() => return None,
        Kind::DatabaseUrl => match Database::parse(text) {
            Ok(_) => true,
            Err(error) => return Some(Problem::new(setting.name, origin.clone(), error.to_string())),
        },
        Kind::Secret if text.is_empty() => return None,
        Kind::Secret if text.len() < SECRET_BYTES_MIN => {
            let message = format!(
                "it has {} of the at least {SECRET_BYTES_MIN} bytes that HS256 needs; \
                 make a key with `openssl rand -hex 32` and sign every token with it",
                text.len()
            );
            return Some(Problem::new(setting.name, origin.clone(), message));
        }
        Kind::Secret | Kind::Tokens => true,
    };
    (!fits).then(|| Problem::expected(setting, origin.clone(), Some(text)))
}

struct Check {
    values: BTreeMap<&'static str, Given>,
    problems: Vec<Problem>,
}

impl Check {
    fn new(resolved: Resolved) -> Self {
        let Resolved { values, mut problems, .. } = resolved;
        for (name, given) in &values {
            problems.extend(Setting::named(name).and_then(|setting| problem(setting, given)));
        }
        Self { values, problems }
    }

    fn finish<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                self.problems.sort_by(|a, b| a.name.cmp(&b.name));
                self.problems.dedup();
                Err(Problems(self.problems))
            }
        }
    }

    fn settings(&mut self) -> Option<Settings> {
        self.settings_with(Self::auth)
    }

    /// `None` only where a problem says why.
    fn settings_with(&mut self, auth: fn(&mut Self) -> Option<Auth>) -> Option<Settings> {
        // Both are asked for before either may end this: all problems at once.
        let (database, auth) = (self.database(), auth(self));
        Some(Settings {
            listen: self.text("listen").parse().ok()?,
            tenant_id: self.text("tenant_id").to_owned(),
            metrics_listen: self.text("metrics_listen").parse().ok(),
            public_url: Some(self.text("public_url").trim_end_matches('/').to_owned())
                .filter(|url| !url.is_empty()),
            public_api_key: self.optional("public_api_key"),
            database: database?,
            migrate_on_start: self.text("migrate_on_start") == "true",
            postgres: Postgres {
                messages_maintenance: self.time("messages_maintenance_ms")?,
                messages_retention: self.hours("messages_retention_hours")?,
            },
            auth: auth?,
            wal: Wal {
                slot: if self.text("slot") == "durable" { Slot::Durable } else { Slot::Temporary },
                slot_name: self.text("slot_name").to_owned(),
                publication: self.text("publication").to_owned(),
                transaction_memory_bytes_max: self.count("transaction_memory_bytes_max")?,
            },
            policy: self.policy()?,
            hub: Hub {
                shard_count: shard_count(self.count("shard_count")?),
                backlog_bytes_max: self.count("backlog_bytes_max")?,
                ask_connections: self.count("ask_connections")?,
                ask_timeout: self.time("ask_timeout_ms")?,
                authorization_connections: self.count("authorization_connections")?,
            },
            channel: Channel {
                channels_per_socket_max: self.count("channels_per_socket_max")?,
                concurrent_users_max: self.count("concurrent_users_max")?,
                joins_per_second_max: self.count("joins_per_second_max")?,
                events_per_second_max: self.count("events_per_second_max")?,
                presence_events_per_second_max: self.count("presence_events_per_second_max")?,
                db_events_per_second_max: self.count("db_events_per_second_max")?,
                join_error_delay: self.time("join_error_delay_ms")?,
                presence_window_events_max: self.count("presence_window_events_max")?,
                presence_window: self.time("presence_window_ms")?,
                payload_bytes_max: self.count("payload_bytes_max")?,
                record_bytes_max: self.count("record_bytes_max")?,
                private_only: self.text("private_only") == "true",
                presence_for_all: self.text("presence_for_all") == "true",
                no_channel_timeout: self.time("no_channel_timeout_ms")?,
            },
            socket: Socket {
                frame_bytes_max: self.count("frame_bytes_max")?,
                header_bytes_max: self.count("header_bytes_max")?,
                json_depth_max: self.count("json_depth_max")?,
                connections_max: self.count("connections_max")?,
                idle_timeout: self.time("idle_timeout_ms")?,
                connect_error_delay: self.time("connect_error_delay_ms")?,
            },
            rest: Rest {
                rpc_schemas: items(self.text("rpc_schemas")).map(str::to_owned).collect(),
                rpc_connections: self.count("rpc_connections")?,
                rpc_waiting_max: self.count("rpc_waiting_max")?,
                rpc_timeout: self.time("rpc_timeout_ms")?,
                rpc_max_rows: self.count("rpc_max_rows").filter(|rows| *rows > 0),
                postgrest: Upstream::parse(self.text("postgrest_url")),
                rest_requests_per_second_max: self.count("rest_requests_per_second_max")?,
            },
            adapter: Adapter {
                apps: self.apps(),
                messaging: self.text("messaging") == "true" || !self.text("adapters").is_empty(),
                presence_idle: self.time("presence_idle_ms")?,
                presence_grace: self.time("presence_grace_ms")?,
            },
            log: Log {
                level: match self.text("log_level") {
                    "error" => LogLevel::Error,
                    "warn" => LogLevel::Warn,
                    "debug" => LogLevel::Debug,
                    "trace" => LogLevel::Trace,
                    _ => LogLevel::Info,
                },
                format: if self.text("log_format") == "json" { LogFormat::Json } else { LogFormat::Text },
            },
        })
    }

    /// Each once, in the order of all.
    fn apps(&self) -> Vec<App> {
        let text = self.text("adapters");
        let is_wanted = |app: &App| text == ALL || items(text).any(|name| name == app.name());
        App::all().into_iter().filter(is_wanted).collect()
    }

    fn roles(&self) -> Roles {
        match self.text("token_roles") {
            ANY => Roles::Any,
            text => Roles::Only(items(text).map(str::to_owned).collect()),
        }
    }

    fn policy(&self) -> Option<Policy> {
        Some(Policy {
            catalog_poll: self.time("catalog_poll_ms")?,
            mirror_bytes_max: self.count("policy_mirror_bytes_max")?,
            switches: Switches {
                strict_delete: self.text("delete_visibility") == "policy",
                strict_old_record: self.text("strict_old_record") == "true",
                moved_out: self.text("moved_out") == "true",
            },
            shadow_per_million: self.count("policy_shadow_per_million")?,
        })
    }

    fn database(&mut self) -> Option<Database> {
        self.required(
            "database_url",
            "not set; give --database-url or DATABASE_URL as postgres://user:password@host:port/database",
        )?;
        Database::parse(self.text("database_url")).ok()
    }

    fn secret(&mut self) -> Option<Secret> {
        self.required(
            "jwt_secret",
            "not set; give --jwt-secret or ROWCAST_JWT_SECRET, the key your tokens are signed with \
             (a new one: `openssl rand -hex 32`), or a key set that has keys for tokens",
        )?;
        Some(Secret::new(self.text("jwt_secret")))
    }

    fn auth(&mut self) -> Option<Auth> {
        let auth = self.unkeyed()?;
        let has_keys = !auth.key_set.is_empty()
            || ["jwt_jwks_file", "jwt_jwks_url"].iter().any(|name| !self.text(name).is_empty());
        Some(Auth { jwt_secret: if has_keys { auth.jwt_secret } else { Some(self.secret()?) }, ..auth })
    }

    /// The same, whether there are keys or not.
    fn unkeyed(&mut self) -> Option<Auth> {
        Some(Auth {
            jwt_secret: self.optional("jwt_secret"),
            jwt_secret_next: self.optional("jwt_secret_next"),
            key_set: KeySet::parse(self.text("jwt_jwks").as_bytes(), Audience::Private).unwrap_or_default(),
            key_set_file: Some(self.text("jwt_jwks_file")).filter(|path| !path.is_empty()).map(PathBuf::from),
            key_set_url: jwks::Address::parse(self.text("jwt_jwks_url")).ok(),
            key_set_refresh: self.time("jwt_jwks_refresh_ms")?,
            publishable_keys: self.list("publishable_keys"),
            secret_keys: self.list("secret_keys"),
            clock_skew_seconds: i64::try_from(self.count::<u64>("jwt_clock_skew_ms")?.div_ceil(1000)).ok()?,
            claims_required: object(self.text("jwt_claims_required")).unwrap_or_default(),
            roles: self.roles(),
            admin_token_blocklist: self.list("admin_token_blocklist"),
            metrics_jwt_secret: self.optional("metrics_jwt_secret"),
            metrics_token_blocklist: self.list("metrics_token_blocklist"),
        })
    }

    fn required(&mut self, name: &'static str, message: &str) -> Option<()> {
        if self.text(name).is_empty() {
            self.problems.push(Problem::new(name, Origin::Default, message));
            return None;
        }
        Some(())
    }

    fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |given| &given.text)
    }

    fn optional(&self, name: &str) -> Option<Secret> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(Secret::new)
    }

    fn list(&self, name: &str) -> Vec<Secret> {
        items(self.text(name)).map(Secret::new).collect()
    }

    fn count<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        T::try_from(number(self.text(name))?).ok()
    }

    fn time(&self, name: &str) -> Option<Duration> {
        number(self.text(name)).map(Duration::from_millis)
    }

    fn hours(&self, name: &str) -> Option<Duration> {
        number(self.text(name)).map(|hours| Duration::from_secs(hours * 3600))
    }
}

/// Every adapter there is.
const ALL: &str = "all";

/// Every role there is.
const ANY: &str = "*";

/// What stands between commas.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Whether Postgres may have something of this name.
fn is_name(name: &str) -> bool {
    name.len() <= 63 && !name.contains('\0')
}

/// Each kind of key has its own prefix, so that a key for servers cannot slip into the list for apps.
fn is_api_key(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() >= API_KEY_BYTES_MIN
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    })
}

/// What clients put their paths behind: without a query, and without anybody's password.
fn is_public_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.query().is_none()
}

/// A key that opens no more than the role anon does: everybody who asks is told it.
fn is_public_key(text: &str) -> bool {
    let is_key = is_api_key(text, PUBLISHABLE_PREFIX);
    let role = text.split('.').nth(1).and_then(|body| {
        let body = URL_SAFE_NO_PAD.decode(body).ok()?;
        Some(serde_json::from_slice::<serde_json::Value>(&body).ok()?["role"] == "anon")
    });
    is_key || role == Some(true)
}

fn object(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(text).ok()
}

/// Digits, in groups if one likes: `5_000_000`.
fn number(text: &str) -> Option<u64> {
    text.replace('_', "").parse().ok()
}

/// Zero means one per core; past eight, one reader of the WAL feeds no more.
fn shard_count(given: usize) -> usize {
    match given {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8)),
        count => count,
    }
}

/// Enough of a wrong value to recognise it.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 { text.to_owned() } else { text.chars().take(40).chain(['…']).collect() }
}

/// How many letters to change, add or drop to get from one name to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut corner = above;
        row[0] = above + 1;
        for (column, other) in to.iter().enumerate() {
            let substituted = corner + usize::from(letter != *other);
            corner = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(corner + 1);
        }
    }
    row[to.len()]
}

//! The list of settings: names, bounds, and the stock container's names for them.
//!
//! Flags, environment variables, file keys, help, the reference page and the checks all come from this one
//! list and from the comments and defaults in `default.toml`.

use crate::adapter::App;
use crate::auth::{PUBLISHABLE_PREFIX, SECRET_PREFIX};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file; flag and environment variable follow from it.
    pub name: &'static str,
    /// The module it belongs to.
    pub group: &'static str,
    /// What a value must look like.
    pub kind: Kind,
    /// Variables of the stock Supabase container that mean the same.
    pub stock: &'static [&'static str],
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IP address and a port.
    Address,
    /// The same, or nothing.
    OptionalAddress,
    /// A Postgres URL; never printed whole.
    DatabaseUrl,
    /// Something never printed.
    Secret,
    /// Tokens with commas between them; never printed.
    Tokens,
    /// API keys that begin so, with commas between them; never printed.
    ApiKeys(&'static str),
    /// A JSON object.
    Object,
    /// JSON Web Keys; never printed, as they may be secrets.
    KeySet,
    /// The URL of a key set; printed without its query.
    KeySetUrl,
    /// The URL of this server for apps, or nothing.
    PublicUrl,
    /// A key that everybody may see, or nothing; never printed, as it may be another by mistake.
    PublicKey,
    /// The path of a file.
    Path,
    /// An identifier that is safe in replication commands, which cannot quote it.
    Identifier,
    /// A name that fits into a host name and a path.
    Label,
    /// Names of schemas with commas between them.
    Names,
    /// Names of roles with commas between them, or `*`.
    Roles,
    /// An HTTP URL without a query, or nothing.
    Url,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Names of adapters with commas between them, or `all`.
    Apps,
    /// `true` or `false`.
    Boolean,
    /// A whole number within these bounds, both included.
    Integer(u64, u64),
}

impl Kind {
    /// What is expected, in words that follow "expected".
    pub fn expectation(self) -> String {
        match self {
            Self::Address => "an IP address and a port, such as 127.0.0.1:4000".to_owned(),
            Self::OptionalAddress => "an IP address and a port, or nothing".to_owned(),
            Self::DatabaseUrl => "postgres://user:password@host:port/database".to_owned(),
            Self::Secret => format!("at least {SECRET_BYTES_MIN} bytes"),
            Self::Tokens => "tokens, with commas between them".to_owned(),
            Self::ApiKeys(prefix) => format!(
                "keys of {prefix} and at least {API_KEY_BYTES_MIN} of A-Z, a-z, 0-9, _ and -, with commas between them"
            ),
            Self::Object => "a JSON object".to_owned(),
            Self::KeySet => "a JSON Web Key Set, its array of keys, or one key".to_owned(),
            Self::KeySetUrl => "an https URL, or an http URL of this machine".to_owned(),
            Self::PublicUrl => "https://host, perhaps with a port and a path, or nothing".to_owned(),
            Self::PublicKey => "a publishable key or a token of the role anon, or nothing".to_owned(),
            Self::Path => "the path of a file".to_owned(),
            Self::Identifier => "1 to 63 of a-z, 0-9 and _".to_owned(),
            Self::Label => "1 to 63 of a-z, A-Z, 0-9, - and _".to_owned(),
            Self::Names => "names of at most 63 bytes, with commas between them".to_owned(),
            Self::Roles => "names of at most 63 bytes, with commas between them, or *".to_owned(),
            Self::Url => "an http or https URL without user and query, or nothing".to_owned(),
            Self::OneOf([words @ .., last]) => format!("{} or {last}", words.join(", ")),
            Self::Apps => {
                let names: Vec<_> = App::all().into_iter().map(App::name).collect();
                format!("names with commas between them, of {}, or all", names.join(", "))
            }
            Self::Boolean => "true or false".to_owned(),
            Self::OneOf([]) => "nothing".to_owned(),
            Self::Integer(min, max) => format!("a whole number from {min} to {max}"),
        }
    }

    /// Whether a value may be shown.
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Secret
                | Self::Tokens
                | Self::ApiKeys(_)
                | Self::PublicKey
                | Self::KeySet
                | Self::KeySetUrl
                | Self::DatabaseUrl
        )
    }
}

impl Setting {
    /// `--frame-bytes-max`, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// `ROWCAST_FRAME_BYTES_MAX`.
    pub fn environment(&self) -> String {
        format!("ROWCAST_{}", self.name.to_ascii_uppercase())
    }

    /// The setting of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}

/// HS256 is as strong as its key; a key shorter than the hash can be guessed offline from any token.
pub const SECRET_BYTES_MIN: usize = 32;
/// A shorter word after an API key's prefix can be guessed by trying.
pub const API_KEY_BYTES_MIN: usize = 16;

const MIB: u64 = 1 << 20;
const HOUR_MS: u64 = 3_600_000;
/// How often a second something may happen.
const RATE: Kind = Kind::Integer(0, 1_000_000_000);

/// Every setting, in the order of `default.toml`.
pub static SETTINGS: &[Setting] = &[
    setting("listen", "server", Kind::Address, &["PORT"]),
    setting("tenant_id", "server", Kind::Label, &["SELF_HOST_TENANT_NAME"]),
    setting("metrics_listen", "server", Kind::OptionalAddress, &[]),
    setting("public_url", "server", Kind::PublicUrl, &[]),
    setting("public_api_key", "server", Kind::PublicKey, &[]),
    setting(
        "database_url",
        "postgres",
        Kind::DatabaseUrl,
        &["DATABASE_URL", "DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME", "DB_SSL"],
    ),
    setting("migrate_on_start", "postgres", Kind::Boolean, &["SEED_SELF_HOST"]),
    setting(
        "messages_maintenance_ms",
        "postgres",
        Kind::Integer(1000, 24 * HOUR_MS),
        &["JANITOR_SCHEDULE_TIMER_IN_MS"],
    ),
    setting("messages_retention_hours", "postgres", Kind::Integer(1, 24 * 366), &[]),
    setting("jwt_secret", "auth", Kind::Secret, &["API_JWT_SECRET"]),
    setting("jwt_secret_next", "auth", Kind::Secret, &["API_JWT_SECRET_NEXT"]),
    setting("jwt_jwks", "auth", Kind::KeySet, &["API_JWT_JWKS"]),
    setting("jwt_jwks_file", "auth", Kind::Path, &[]),
    setting("jwt_jwks_url", "auth", Kind::KeySetUrl, &[]),
    setting("jwt_jwks_refresh_ms", "auth", Kind::Integer(1000, 24 * HOUR_MS), &[]),
    setting("publishable_keys", "auth", Kind::ApiKeys(PUBLISHABLE_PREFIX), &[]),
    setting("secret_keys", "auth", Kind::ApiKeys(SECRET_PREFIX), &[]),
    setting("jwt_clock_skew_ms", "auth", Kind::Integer(0, 300_000), &[]),
    setting("jwt_claims_required", "auth", Kind::Object, &["JWT_CLAIM_VALIDATORS"]),
    setting("token_roles", "auth", Kind::Roles, &[]),
    setting("admin_token_blocklist", "auth", Kind::Tokens, &["API_TOKEN_BLOCKLIST"]),
    setting("metrics_jwt_secret", "auth", Kind::Secret, &["METRICS_JWT_SECRET"]),
    setting("metrics_token_blocklist", "auth", Kind::Tokens, &["METRICS_TOKEN_BLOCKLIST"]),
    setting("slot", "wal", Kind::OneOf(&["temporary", "durable"]), &[]),
    setting("slot_name", "wal", Kind::Identifier, &["SLOT_NAME_SUFFIX"]),
    setting("publication", "wal", Kind::Identifier, &[]),
    setting("transaction_memory_bytes_max", "wal", Kind::Integer(MIB, 16 << 30), &[]),
    setting("catalog_poll_ms", "policy", Kind::Integer(50, HOUR_MS), &[]),
    setting("policy_mirror_bytes_max", "policy", Kind::Integer(0, 64 << 30), &[]),
    setting("delete_visibility", "policy", Kind::OneOf(&["policy", "everyone"]), &[]),
    setting("strict_old_record", "policy", Kind::Boolean, &[]),
    setting("moved_out", "policy", Kind::Boolean, &[]),
    setting("policy_shadow_per_million", "policy", Kind::Integer(0, 1_000_000), &[]),
    setting("shard_count", "hub", Kind::Integer(0, 64), &[]),
    setting("backlog_bytes_max", "hub", Kind::Integer(64 << 10, 1 << 30), &[]),
    setting("ask_connections", "hub", Kind::Integer(1, 64), &[]),
    setting("ask_timeout_ms", "hub", Kind::Integer(10, 60_000), &[]),
    setting("authorization_connections", "hub", Kind::Integer(1, 64), &[]),
    setting(
        "channels_per_socket_max",
        "channel",
        Kind::Integer(1, 10_000),
        &["TENANT_MAX_CHANNELS_PER_CLIENT"],
    ),
    setting("concurrent_users_max", "channel", Kind::Integer(0, 1_000_000), &["TENANT_MAX_CONCURRENT_USERS"]),
    setting("joins_per_second_max", "channel", RATE, &["TENANT_MAX_JOINS_PER_SECOND"]),
    setting("events_per_second_max", "channel", RATE, &["TENANT_MAX_EVENTS_PER_SECOND"]),
    setting("presence_events_per_second_max", "channel", RATE, &[]),
    setting("db_events_per_second_max", "channel", RATE, &[]),
    setting("join_error_delay_ms", "channel", Kind::Integer(0, 60_000), &["CHANNEL_ERROR_BACKOFF_MS"]),
    setting(
        "presence_window_events_max",
        "channel",
        Kind::Integer(1, 1_000_000),
        &["CLIENT_PRESENCE_MAX_CALLS"],
    ),
    setting("presence_window_ms", "channel", Kind::Integer(100, HOUR_MS), &["CLIENT_PRESENCE_WINDOW_MS"]),
    setting("payload_bytes_max", "channel", Kind::Integer(1024, 64 * MIB), &[]),
    setting("record_bytes_max", "channel", Kind::Integer(1024, 64 * MIB), &[]),
    setting("private_only", "channel", Kind::Boolean, &[]),
    setting("presence_for_all", "channel", Kind::Boolean, &[]),
    setting(
        "no_channel_timeout_ms",
        "channel",
        Kind::Integer(1000, 24 * HOUR_MS),
        &["NO_CHANNEL_TIMEOUT_IN_MS"],
    ),
    setting("frame_bytes_max", "socket", Kind::Integer(1024, 64 * MIB), &[]),
    setting("header_bytes_max", "socket", Kind::Integer(1024, 32 << 10), &["MAX_HEADER_LENGTH"]),
    setting("json_depth_max", "socket", Kind::Integer(8, 120), &[]),
    setting("connections_max", "socket", Kind::Integer(1, 1_000_000), &["MAX_CONNECTIONS"]),
    setting("idle_timeout_ms", "socket", Kind::Integer(1000, HOUR_MS), &[]),
    setting("connect_error_delay_ms", "socket", Kind::Integer(0, 60_000), &["CONNECT_ERROR_BACKOFF_MS"]),
    setting("rpc_schemas", "rest", Kind::Names, &[]),
    setting("rpc_connections", "rest", Kind::Integer(1, 256), &[]),
    setting("rpc_waiting_max", "rest", Kind::Integer(0, 65_536), &[]),
    setting("rpc_timeout_ms", "rest", Kind::Integer(10, HOUR_MS), &[]),
    setting("rpc_max_rows", "rest", Kind::Integer(0, 1_000_000_000), &[]),
    setting("postgrest_url", "rest", Kind::Url, &[]),
    setting("rest_requests_per_second_max", "rest", RATE, &[]),
    setting("adapters", "adapter", Kind::Apps, &[]),
    setting("messaging", "adapter", Kind::Boolean, &[]),
    setting("presence_idle_ms", "adapter", Kind::Integer(1000, 24 * HOUR_MS), &[]),
    setting("presence_grace_ms", "adapter", Kind::Integer(1000, HOUR_MS), &[]),
    setting("log_level", "log", Kind::OneOf(&["error", "warn", "info", "debug", "trace"]), &["LOG_LEVEL"]),
    setting("log_format", "log", Kind::OneOf(&["text", "json"]), &[]),
];

const fn setting(
    name: &'static str,
    group: &'static str,
    kind: Kind,
    stock: &'static [&'static str],
) -> Setting {
    Setting { name, group, kind, stock }
}

//! The list of settings: names, bounds, and the stock container's names for them.
//!
//! Flags, environment variables, file keys, help, the reference page and the checks all come from this one
//! list and from the comments and defaults in `default.toml`.

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
    /// A Postgres URL; never printed whole.
    DatabaseUrl,
    /// Something never printed.
    Secret,
    /// An identifier that is safe in replication commands, which cannot quote it.
    Identifier,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number within these bounds, both included.
    Integer(u64, u64),
}

impl Kind {
    /// What is expected, in words that follow "expected".
    pub fn expectation(self) -> String {
        match self {
            Self::Address => "an IP address and a port, such as 127.0.0.1:4000".to_owned(),
            Self::DatabaseUrl => "postgres://user:password@host:port/database".to_owned(),
            Self::Secret => format!("at least {SECRET_BYTES_MIN} bytes"),
            Self::Identifier => "1 to 63 of a-z, 0-9 and _".to_owned(),
            Self::OneOf([words @ .., last]) => format!("{} or {last}", words.join(", ")),
            Self::OneOf([]) => "nothing".to_owned(),
            Self::Integer(min, max) => format!("a whole number from {min} to {max}"),
        }
    }

    /// Whether a value may be shown.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::DatabaseUrl)
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

const MIB: u64 = 1 << 20;
const HOUR_MS: u64 = 3_600_000;

/// Every setting, in the order of `default.toml`.
pub static SETTINGS: &[Setting] = &[
    setting("listen", "server", Kind::Address, &["PORT"]),
    setting(
        "database_url",
        "postgres",
        Kind::DatabaseUrl,
        &["DATABASE_URL", "DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME", "DB_SSL"],
    ),
    setting(
        "messages_maintenance_ms",
        "postgres",
        Kind::Integer(1000, 24 * HOUR_MS),
        &["JANITOR_SCHEDULE_TIMER_IN_MS"],
    ),
    setting("messages_retention_hours", "postgres", Kind::Integer(1, 24 * 366), &[]),
    setting("jwt_secret", "auth", Kind::Secret, &["API_JWT_SECRET"]),
    setting("slot", "wal", Kind::OneOf(&["temporary", "durable"]), &[]),
    setting("slot_name", "wal", Kind::Identifier, &["SLOT_NAME_SUFFIX"]),
    setting("publication", "wal", Kind::Identifier, &[]),
    setting("transaction_memory_bytes_max", "wal", Kind::Integer(MIB, 16 << 30), &[]),
    setting("catalog_poll_ms", "policy", Kind::Integer(50, HOUR_MS), &[]),
    setting("shard_count", "hub", Kind::Integer(0, 64), &[]),
    setting("backlog_bytes_max", "hub", Kind::Integer(64 << 10, 1 << 30), &[]),
    setting("ask_connections", "hub", Kind::Integer(1, 64), &[]),
    setting("ask_timeout_ms", "hub", Kind::Integer(10, 60_000), &[]),
    setting(
        "channels_per_socket_max",
        "channel",
        Kind::Integer(1, 10_000),
        &["TENANT_MAX_CHANNELS_PER_CLIENT"],
    ),
    setting("joins_per_second_max", "channel", Kind::Integer(1, 1_000_000), &["TENANT_MAX_JOINS_PER_SECOND"]),
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
    setting("frame_bytes_max", "socket", Kind::Integer(1024, 64 * MIB), &[]),
    setting("json_depth_max", "socket", Kind::Integer(8, 120), &[]),
    setting("connections_max", "socket", Kind::Integer(1, 1_000_000), &["MAX_CONNECTIONS"]),
    setting("idle_timeout_ms", "socket", Kind::Integer(1000, HOUR_MS), &[]),
    setting("connect_error_delay_ms", "socket", Kind::Integer(0, 60_000), &["CONNECT_ERROR_BACKOFF_MS"]),
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

//! Settings: one commented reference, four sources, checked and typed.
//!
//! In: flags, environment, a TOML file and the defaults in `default.toml`, the stronger first.
//! Out: [`Settings`], or every [`Problem`] at once. The rest of the program never sees raw text.
//!
//! A setting is added in two places: a line with its comment in `default.toml` and one in [`setting`];
//! `docs/configuration.md` and the tests here then ask for the rest.

use std::net::SocketAddr;
use std::time::Duration;

use crate::adapter::App;
use crate::policy::Switches;
use crate::postgres::connect::Database;
use crate::rest::Upstream;

mod auth;
mod check;
pub mod reference;
mod secret;
pub mod setting;
mod source;
mod stock;
mod tenant;

#[cfg(test)]
mod tests;

pub use auth::Auth;
pub use check::{Problem, Problems};
pub use secret::Secret;
pub use source::{Given, Origin, Resolved, Sources};

/// Everything a server needs to know, grouped by the module that it is for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// What administrative requests call this server's only tenant.
    pub tenant_id: String,
    /// Where the metrics are read without a token, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where apps reach this server, without a slash at its end, if they are told another place than they came to.
    pub public_url: Option<String>,
    /// The key that apps are told, if it is none of those in `auth`.
    pub public_api_key: Option<Secret>,
    /// The database to follow.
    pub database: Database,
    /// Whether to bring it to this version's schema before serving.
    pub migrate_on_start: bool,
    /// For `postgres`.
    pub postgres: Postgres,
    /// For `auth`.
    pub auth: Auth,
    /// For `wal`.
    pub wal: Wal,
    /// For `policy`.
    pub policy: Policy,
    /// For `hub`.
    pub hub: Hub,
    /// For `channel`.
    pub channel: Channel,
    /// For `socket`.
    pub socket: Socket,
    /// For `rest`.
    pub rest: Rest,
    /// For `adapter`.
    pub adapter: Adapter,
    /// For `telemetry`.
    pub log: Log,
}

/// The upkeep of the database.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Time between two runs.
    pub messages_maintenance: Duration,
    /// How long rows of `realtime.messages` are kept.
    pub messages_retention: Duration,
}

/// The replication stream.
#[derive(Clone, Debug)]
pub struct Wal {
    /// Whether the slot outlives the process.
    pub slot: Slot,
    /// `[a-z0-9_]{1,63}`, safe without quotes.
    pub slot_name: String,
    /// `[a-z0-9_]{1,63}`, safe without quotes.
    pub publication: String,
    /// Bytes held of one transaction at a time.
    pub transaction_memory_bytes_max: usize,
}

/// How long a replication slot lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// As long as its connection: a restart begins with what commits then.
    Temporary,
    /// Until dropped: a restart goes on where it stopped, and Postgres keeps the WAL in between.
    Durable,
}

/// Who may see what.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Time between two looks at the catalog.
    pub catalog_poll: Duration,
    /// Bytes of the tables that policies read, in memory.
    pub mirror_bytes_max: usize,
    /// What is shown of what was before.
    pub switches: Switches,
    /// Of a million decisions made in memory, how many are put to Postgres too.
    pub shadow_per_million: u32,
}

/// Delivery.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Threads that own sockets, at least one.
    pub shard_count: usize,
    /// Bytes queued for one socket.
    pub backlog_bytes_max: usize,
    /// Sessions that ask Postgres.
    pub ask_connections: usize,
    /// Time for one question.
    pub ask_timeout: Duration,
    /// Sessions that ask what policies let a caller do on a private channel.
    pub authorization_connections: usize,
}

/// Joined topics.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Channels of one socket.
    pub channels_per_socket_max: usize,
    /// Sockets with a channel joined at a time; 0 is no limit.
    pub concurrent_users_max: u64,
    /// Joins per second, all sockets together; 0 is no limit, here and in the next three.
    pub joins_per_second_max: u64,
    /// Broadcasts sent and delivered per second.
    pub events_per_second_max: u64,
    /// Presence messages sent and delivered per second.
    pub presence_events_per_second_max: u64,
    /// Deliveries of database changes per second.
    pub db_events_per_second_max: u64,
    /// Wait before a refused join is answered.
    pub join_error_delay: Duration,
    /// Presence events on one channel within a window.
    pub presence_window_events_max: u32,
    /// Length of that window.
    pub presence_window: Duration,
    /// Bytes of one broadcast or presence payload.
    pub payload_bytes_max: usize,
    /// Bytes of one row that is sent whole.
    pub record_bytes_max: usize,
    /// Whether public channels are refused.
    pub private_only: bool,
    /// Whether every channel gets the state of its presence.
    pub presence_for_all: bool,
    /// How long a socket that has tried to join may have no channel.
    pub no_channel_timeout: Duration,
}

/// Connections of clients.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Bytes of one frame from a client.
    pub frame_bytes_max: usize,
    /// Bytes of one header value of a request.
    pub header_bytes_max: usize,
    /// Nesting of a client's JSON.
    pub json_depth_max: usize,
    /// Sockets open at a time.
    pub connections_max: usize,
    /// Silence that closes a socket.
    pub idle_timeout: Duration,
    /// Wait before a refused connection is answered.
    pub connect_error_delay: Duration,
}

/// What is answered under `/rest/v1`.
#[derive(Clone, Debug)]
pub struct Rest {
    /// Schemas whose functions may be called; none means that none may.
    pub rpc_schemas: Vec<String>,
    /// Sessions that call functions.
    pub rpc_connections: usize,
    /// Calls that may wait for one.
    pub rpc_waiting_max: usize,
    /// How long a call may wait, and each of its statements take.
    pub rpc_timeout: Duration,
    /// Rows of a set that are given at most.
    pub rpc_max_rows: Option<i64>,
    /// Who answers everything else.
    pub postgrest: Option<Upstream>,
    /// Requests under `/rest/v1` that are let through per second.
    pub rest_requests_per_second_max: u64,
}

/// Apps with protocols of their own, and what they need to be kept.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Those that are served.
    pub apps: Vec<App>,
    /// Whether this server keeps typing, presence and delivery.
    pub messaging: bool,
    /// After how long without activity a connected person is away.
    pub presence_idle: Duration,
    /// How long a person stays as they are after their last device has gone.
    pub presence_grace: Duration,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Least important level.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
}

/// How important a log line is, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is lost or stopped.
    Error,
    /// Something an operator should look at.
    Warn,
    /// What happened, in outline.
    Info,
    /// What happened, per connection.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word used in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

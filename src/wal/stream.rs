//! The replication stream: connect, prepare the slot, receive, acknowledge.
//!
//! [`WalSource`] is the port that the rest knows; [`PgWireSource`] is the client behind it. A source lives for
//! one session: when it fails, its owner opens another, after [`Backoff`]'s pause.

use std::fmt;
use std::time::Duration;

use pgwire_replication::client::{ReplicationClient, ReplicationEvent};
use pgwire_replication::config::{Publication, ReplicationConfig};
use pgwire_replication::error::PgWireError;

use super::Lsn;
use super::pgoutput::{self, Message, unix_micros};
use super::slot::{self, Continuity, Slot};
use super::sql::identifier;

/// How long each step of opening a stream may take.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// How many events the client holds ahead of us. Together with [`MESSAGE_BYTES_MAX`] it bounds their memory.
const EVENTS_AHEAD_MAX: usize = 512;

/// The largest message taken from the stream: one row.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How often progress is reported to Postgres.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// The settings that fix the text form of values on every session; values and filters rely on them.
pub const SESSION_SETTINGS: &str = "set DateStyle = 'ISO'; set IntervalStyle = 'postgres'; \
     set TimeZone = 'UTC'; set extra_float_digits = 1; set bytea_output = 'hex'; \
     set standard_conforming_strings = on";

/// Where to stream from.
#[derive(Clone)]
pub struct StreamConfig {
    /// The server, database, role and TLS settings.
    pub connection: ReplicationConfig,
    /// The slot.
    pub slot: Slot,
    /// The publications, by name.
    pub publications: Vec<String>,
}

impl fmt::Debug for StreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamConfig")
            .field("slot", &self.slot)
            .field("publications", &self.publications)
            .finish_non_exhaustive()
    }
}

/// What the stream gives.
#[derive(Debug)]
pub enum Received {
    /// A message, and how many bytes it had.
    Message {
        /// The message.
        message: Message,
        /// Its size on the wire.
        bytes: usize,
    },
    /// Postgres is there, and has nothing before this position that is not sent.
    Keepalive {
        /// How far its log reaches.
        wal_end: Lsn,
    },
}

/// Why a stream could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The session failed.
    #[error("replication session failed")]
    Session(#[from] PgWireError),
    /// Postgres closed the stream without an error.
    #[error("replication stream was closed by the server")]
    Closed,
    /// A step of opening the stream took too long.
    #[error("replication stream could not be opened within {} seconds", OPEN_WITHIN.as_secs())]
    Timeout,
    /// What came is no pgoutput message.
    #[error("replication stream is malformed")]
    Malformed(#[from] pgoutput::Error),
    /// The durable slot belongs to another output plugin.
    #[error("slot {name} has the output plugin {plugin}, not pgoutput: choose another slot name")]
    ForeignSlot {
        /// The slot.
        name: Box<str>,
        /// Its plugin.
        plugin: Box<str>,
    },
}

impl Error {
    /// What an operator can do about it; `None` where waiting is the remedy.
    pub fn remedy(&self) -> Option<&'static str> {
        let text = match self {
            Self::Session(error) => error.to_string(),
            _ => return None,
        };
        let has = |code: &str| text.contains(&format!("SQLSTATE {code}"));
        if has("28P01") || has("28000") || text.contains("authentication error") {
            Some("check the user name and password of the database URL, and pg_hba.conf for replication")
        } else if text.contains("wal_level") {
            Some("set wal_level = logical in postgresql.conf and restart Postgres")
        } else if has("53300") {
            Some("raise max_connections or max_wal_senders in postgresql.conf")
        } else if has("53400") || text.contains("max_replication_slots") {
            Some("raise max_replication_slots in postgresql.conf, or drop slots that nobody uses")
        } else if has("55006") {
            Some("another server streams from this slot: stop it, or choose another slot name")
        } else if has("42501") {
            Some(
                "grant the role REPLICATION, and CREATE on the database so that it can make its publications",
            )
        } else if has("3D000") {
            Some("create the database, or correct its name in the database URL")
        } else {
            None
        }
    }
}

/// Where messages come from.
pub trait WalSource {
    /// The next message. Safe to cancel: nothing is lost.
    fn recv(&mut self) -> impl Future<Output = Result<Received, Error>>;

    /// Lets Postgres forget everything before `lsn`.
    fn acknowledge(&self, lsn: Lsn);
}

/// A stream over one replication session.
pub struct PgWireSource {
    client: ReplicationClient,
    continuity: Continuity,
}

impl PgWireSource {
    /// Connects, makes publications and slot ready, and starts streaming. When this returns, every commit from
    /// here on will be received.
    pub async fn open(config: &StreamConfig) -> Result<Self, Error> {
        tokio::time::timeout(OPEN_WITHIN, Self::open_now(config)).await.map_err(|_| Error::Timeout)?
    }

    async fn open_now(config: &StreamConfig) -> Result<Self, Error> {
        let name = match &config.slot {
            Slot::Temporary => format!("rowcast_{:016x}", rand::random::<u64>()),
            Slot::Durable(name) => name.as_str().to_owned(),
        };
        let mut connection = config
            .connection
            .clone()
            .with_buffer_size(EVENTS_AHEAD_MAX)
            .with_max_message_size(MESSAGE_BYTES_MAX)
            .with_status_interval(STATUS_INTERVAL)
            .with_application_name("rowcast_stream");
        connection.slot.clone_from(&name);
        connection.publication = config.publications.iter().map(|name| quoted(name)).collect::<Publication>();
        let mut client = ReplicationClient::connect_gated(connection).await?;
        client.simple_query(SESSION_SETTINGS).await?;
        slot::prepare_publications(&mut client, &config.publications).await?;
        let continuity = slot::prepare(&mut client, &config.slot, &name).await?;
        client.start().await?;
        client.wait_started().await?;
        Ok(Self { client, continuity })
    }

    /// What became of the changes since the last session.
    pub fn continuity(&self) -> Continuity {
        self.continuity
    }
}

/// The stream's option is a list of identifiers inside a string, so each is quoted for both.
fn quoted(name: &str) -> String {
    identifier(name).replace('\'', "''")
}

impl WalSource for PgWireSource {
    async fn recv(&mut self) -> Result<Received, Error> {
        let message = |message| Ok(Received::Message { message, bytes: 0 });
        match self.client.recv().await?.ok_or(Error::Closed)? {
            ReplicationEvent::KeepAlive { wal_end, .. } => {
                Ok(Received::Keepalive { wal_end: Lsn::new(wal_end.as_u64()) })
            }
            ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
                message(Message::Begin(pgoutput::Begin {
                    commit_lsn: Lsn::new(final_lsn.as_u64()),
                    commit_time_micros: unix_micros(commit_time_micros),
                    xid,
                }))
            }
            ReplicationEvent::Commit { lsn, end_lsn, commit_time_micros } => {
                message(Message::Commit(pgoutput::Commit {
                    commit_lsn: Lsn::new(lsn.as_u64()),
                    end_lsn: Lsn::new(end_lsn.as_u64()),
                    commit_time_micros: unix_micros(commit_time_micros),
                }))
            }
            ReplicationEvent::XLogData { data, .. } => {
                // A copy, as a slice would keep the client's whole read buffer alive.
                let data = bytes::Bytes::copy_from_slice(&data);
                Ok(Received::Message { message: Message::decode(&data)?, bytes: data.len() })
            }
            ReplicationEvent::Message { transactional, lsn, prefix, content } => message(Message::Logical {
                transactional,
                lsn: Lsn::new(lsn.as_u64()),
                prefix: prefix.into(),
                content,
            }),
            ReplicationEvent::StoppedAt { .. } => Err(Error::Closed),
        }
    }

    fn acknowledge(&self, lsn: Lsn) {
        self.client.update_applied_lsn(lsn.as_u64().into());
    }
}

/// The pause before the next attempt: doubling from 100 ms to 5 s, each shortened by up to half at random so
/// that several servers do not return at once.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(5);

    /// Starts at the shortest pause.
    pub fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next pause; `random` lies in 0.0..1.0.
    pub fn pause(&mut self, random: f64) -> Duration {
        let pause = self.next.mul_f64(1.0 - random / 2.0);
        self.next = (self.next * 2).min(Self::LAST);
        pause
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut backoff = Backoff::new();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.pause(0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.pause(1.0).as_millis(), 2500);
    }

    #[test]
    fn common_failures_come_with_a_remedy() {
        let server = |text: &str| Error::Session(PgWireError::Server(text.into()));
        assert!(server("no such user (SQLSTATE 28P01)").remedy().unwrap().contains("password"));
        assert!(
            server("logical decoding requires wal_level >= logical").remedy().unwrap().contains("wal_level")
        );
        assert!(server("too many (SQLSTATE 53300)").remedy().unwrap().contains("max_wal_senders"));
        assert_eq!(Error::Closed.remedy(), None);
    }
}

//! The replication stream: connect, prepare the slot, receive, acknowledge.
//!
//! [`WalSource`] is the port that the rest knows; [`PgWireSource`] is the client behind it. A source lives for
//! one session: when it fails, its owner opens another, after [`Backoff`]'s pause.
//!
//! **Silence.** A network that drops everything, or a walsender that hangs, ends no connection. Postgres is
//! therefore told, by this session's `wal_sender_timeout`, to say something well before
//! [`SILENCE_MAX`] has passed, and a session that stays silent for longer is given up. The timeout also makes
//! Postgres let go of a slot whose reader has vanished.

use std::fmt;
use std::io;
use std::time::Duration;

use pgwire_replication::FeedbackObserver;
use pgwire_replication::client::{ReplicationClient, ReplicationEvent};
use pgwire_replication::config::{Publication, ReplicationConfig};
use pgwire_replication::error::PgWireError;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Lsn;
use super::pgoutput::{self, Message, unix_micros};
use super::publication::{self, TablePublication};
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

/// How long Postgres may be silent on a stream before the session is given up, unless
/// [`StreamConfig::connection`] says otherwise by its `idle_wakeup_interval`.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Less would be given up before anybody could answer.
const SILENCE_MIN: Duration = Duration::from_millis(100);

/// How often the suffered silence is doubled at most: to half an hour.
const PATIENCE_MAX: u32 = 6;

/// In how many steps silence is measured. A step that takes longer than planned, as on a machine that slept or a
/// thread that was busy, counts once.
const SILENCE_STEPS: u32 = 10;

/// How often the client looks up from an idle stream of its own accord. It reports progress then, which would have
/// Postgres believe that it need not say anything itself; so: practically never.
const WAKEUP_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the last acknowledgement may take to leave when a stream is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The settings that fix the text form of values on every session; values and filters rely on them.
pub const SESSION_SETTINGS: &str = "set DateStyle = 'ISO'; set IntervalStyle = 'postgres'; \
     set TimeZone = 'UTC'; set extra_float_digits = 1; set bytea_output = 'hex'; \
     set standard_conforming_strings = on";

/// Where to stream from.
#[derive(Clone)]
pub struct StreamConfig {
    /// The server, database, role and TLS settings, and for how long it may be silent.
    pub connection: ReplicationConfig,
    /// The slot.
    pub slot: Slot,
    /// The publications, by name.
    pub publications: Vec<String>,
    /// One more, of the server's own.
    pub own_publication: Option<TablePublication>,
}

impl fmt::Debug for StreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamConfig")
            .field("slot", &self.slot)
            .field("publications", &self.publications)
            .field("own_publication", &self.own_publication)
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
    /// Nothing came for too long, not even a sign of life.
    #[error("replication stream was silent for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// The durable slot is somebody else's: of another output plugin, of another database, or physical.
    #[error("slot {name} is no pgoutput slot of this database")]
    ForeignSlot {
        /// The slot.
        name: Box<str>,
    },
    /// The server is a standby, or its recovery is not over.
    #[error("server is in recovery and follows another history than it will have after it")]
    InRecovery,
    /// A publication that was there when this server started has been dropped.
    #[error("publication {name} does not exist")]
    PublicationMissing {
        /// The publication.
        name: Box<str>,
    },
}

impl Error {
    /// What an operator can do about it; `None` where waiting is the remedy.
    pub fn remedy(&self) -> Option<&'static str> {
        let text = match self {
            Self::Session(PgWireError::Io(error)) => return remedy_of_io(error.kind()),
            Self::Session(PgWireError::Tls(_)) => {
                return Some("check sslmode and sslrootcert in the database URL");
            }
            Self::Session(PgWireError::MessageTooLarge { .. }) => {
                return Some(
                    "a row or message is too large to be followed: a durable slot gets past it by \
                     pg_replication_slot_advance, a temporary one by itself",
                );
            }
            Self::Session(error) => error.to_string(),
            Self::Timeout | Self::Silent(_) => {
                return Some("check that Postgres and the network to it are well; trying again");
            }
            Self::ForeignSlot { .. } => return Some("choose another slot name"),
            Self::InRecovery => {
                return Some(
                    "connect to the primary: this server is a standby, or is about to be the primary",
                );
            }
            Self::PublicationMissing { .. } => return Some(CREATE_PUBLICATION),
            Self::Closed | Self::Malformed(_) => return None,
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
        } else if self.is_publication_missing() {
            Some(CREATE_PUBLICATION)
        } else {
            None
        }
    }

    /// What anybody may read: neither names nor what Postgres said.
    pub fn summary(&self) -> &'static str {
        match self {
            Self::Session(PgWireError::Io(_)) => "Postgres cannot be reached",
            Self::Session(_) => "the replication session failed",
            Self::Closed => "the replication stream was closed by the server",
            Self::Timeout => "Postgres did not answer in time",
            Self::Malformed(_) => "the replication stream is malformed",
            Self::Silent(_) => "the replication stream was silent for too long",
            Self::ForeignSlot { .. } => "the replication slot is another's",
            Self::InRecovery => "Postgres is in recovery",
            Self::PublicationMissing { .. } => "a publication is missing",
        }
    }

    /// Whether somebody else streams from the slot.
    pub fn is_slot_used(&self) -> bool {
        matches!(self, Self::Session(PgWireError::Server(text)) if text.contains("SQLSTATE 55006"))
    }

    /// Whether Postgres met a change that it cannot decode, since a publication was missing when it was made.
    pub fn is_publication_missing(&self) -> bool {
        match self {
            Self::Session(PgWireError::Server(text)) => {
                text.contains("SQLSTATE 42704") && text.contains("publication")
            }
            _ => false,
        }
    }
}

const CREATE_PUBLICATION: &str =
    "create the publication anew, with its tables: create publication … for table …";

fn remedy_of_io(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::ConnectionRefused => {
            Some("check that Postgres runs and listens on the address and port of the database URL")
        }
        io::ErrorKind::NotFound => Some("check the socket directory in the database URL"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut => {
            Some("check host and port of the database URL, and the network")
        }
        _ => None,
    }
}

/// Where messages come from.
pub trait WalSource {
    /// The next message. Safe to cancel: nothing is lost.
    fn recv(&mut self) -> impl Future<Output = Result<Received, Error>>;

    /// Lets Postgres forget everything before `lsn`.
    fn acknowledge(&self, lsn: Lsn);
}

/// What may be done to open a stream.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Whether publications that are missing are made. Once a stream has run, one that is gone was dropped on
    /// purpose.
    pub make_publications: bool,
    /// Whether a durable slot is moved past all that is in the log now, since it cannot be decoded.
    pub skip_undecodable: bool,
    /// The history that was followed before.
    pub previous: Option<History>,
    /// How many times the silence that is suffered is doubled: Postgres may just be long in decoding, and would
    /// never be done if it had to start over each time.
    pub patience: u32,
}

/// One history of a log: equal positions of equal histories hold the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The cluster's own identifier.
    pub system: Box<str>,
    /// Counts the promotions and recoveries of the cluster.
    pub timeline: u32,
}

/// A stream over one replication session.
pub struct PgWireSource {
    client: ReplicationClient,
    continuity: Continuity,
    history: History,
    slot_name: String,
    silence_max: Duration,
    steps: Interval,
    silent_steps: u32,
}

impl PgWireSource {
    /// Connects, makes publications and slot ready, and starts streaming. When this returns, every commit from
    /// here on will be received.
    pub async fn open(config: &StreamConfig, opening: &Opening) -> Result<Self, Error> {
        tokio::time::timeout(OPEN_WITHIN, Self::open_now(config, opening))
            .await
            .map_err(|_| Error::Timeout)?
    }

    async fn open_now(config: &StreamConfig, opening: &Opening) -> Result<Self, Error> {
        let name = match &config.slot {
            Slot::Temporary => format!("rowcast_{:016x}", rand::random::<u64>()),
            Slot::Durable(name) => name.as_str().to_owned(),
        };
        let silence_max = config.connection.idle_wakeup_interval.max(SILENCE_MIN);
        let silence_max = silence_max.saturating_mul(1 << opening.patience.min(PATIENCE_MAX));
        let mut names = config.publications.clone();
        names.extend(config.own_publication.as_ref().map(|own| own.name.to_owned()));
        let mut client = connect(config, &name, &names, silence_max).await?;
        refuse_recovery(&mut client).await?;
        let history = history(&mut client).await?;
        publication::prepare(&mut client, &config.publications, opening.make_publications).await?;
        if let Some(own) = &config.own_publication
            && !own.prepare(&mut client).await?
        {
            // The session was set up to stream from it.
            client = connect(config, &name, &config.publications, silence_max).await?;
        }
        let continuity = slot::prepare(&mut client, &config.slot, &name, opening.skip_undecodable).await?;
        let continuity = match (&opening.previous, continuity) {
            (Some(previous), Continuity::Unbroken { .. }) => {
                Continuity::Unbroken { shared: shared(&mut client, previous, &history).await? }
            }
            (_, continuity) => continuity,
        };
        client.start().await?;
        client.wait_started().await?;
        let mut steps = interval(silence_max / SILENCE_STEPS);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { client, continuity, history, slot_name: name, silence_max, steps, silent_steps: 0 })
    }

    /// What became of the changes since the last session.
    pub fn continuity(&self) -> Continuity {
        self.continuity
    }

    /// The slot it reads from.
    pub fn slot_name(&self) -> &str {
        &self.slot_name
    }

    /// How far Postgres has sent its log.
    pub fn received(&self) -> Lsn {
        Lsn::new(self.client.metrics().last_wal_end().as_u64())
    }

    /// Which history this stream follows.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Resolves once the session has ended, whatever is still to be received. Safe to cancel.
    pub async fn ended(&self) {
        const LOOK_EVERY: Duration = Duration::from_millis(50);
        while self.client.is_running() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the session in order, once Postgres has been told of the last acknowledgement.
    pub async fn close(mut self) {
        let told = async {
            while self.client.feedback_pending_since().is_some() && self.client.is_running() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // What has been received beyond that is not ours to report.
            let _ = self.client.shutdown().await;
        };
        // Postgres will send it again to the next session, at worst.
        let _ = tokio::time::timeout(CLOSE_WITHIN, told).await;
    }
}

/// A session that is ready to stream from a slot by some publications.
async fn connect(
    config: &StreamConfig,
    slot: &str,
    publications: &[String],
    silence_max: Duration,
) -> Result<ReplicationClient, Error> {
    let mut connection = config
        .connection
        .clone()
        .with_buffer_size(EVENTS_AHEAD_MAX)
        .with_max_message_size(MESSAGE_BYTES_MAX)
        .with_status_interval(STATUS_INTERVAL)
        .with_wakeup_interval(WAKEUP_INTERVAL)
        // Observed so that it is known what has not been reported yet.
        .with_feedback_observer(FeedbackObserver::new(|_| {}))
        .with_application_name("rowcast_stream");
    slot.clone_into(&mut connection.slot);
    connection.publication = publications.iter().map(|name| quoted(name)).collect::<Publication>();
    let mut client = ReplicationClient::connect_gated(connection).await?;
    client.simple_query(SESSION_SETTINGS).await?;
    // Postgres speaks up after half of its timeout: at two thirds of the silence that is suffered.
    let timeout = silence_max.mul_f64(4.0 / 3.0).as_millis();
    client.simple_query(&format!("set wal_sender_timeout = {timeout}")).await?;
    Ok(client)
}

/// A server in recovery has yet to find its timeline: which history is followed could not be told later.
async fn refuse_recovery(client: &mut ReplicationClient) -> Result<(), Error> {
    let rows = client.simple_query("select pg_catalog.pg_is_in_recovery()").await?;
    let is_over = rows.first().and_then(|row| row.first()?.as_deref()).is_some_and(|value| value == b"f");
    if is_over { Ok(()) } else { Err(Error::InRecovery) }
}

async fn history(client: &mut ReplicationClient) -> Result<History, Error> {
    let identity = client.identify_system().await?;
    Ok(History { system: identity.system_id.into(), timeline: identity.timeline })
}

/// Up to which position the two histories are the same.
async fn shared(client: &mut ReplicationClient, previous: &History, now: &History) -> Result<Lsn, Error> {
    if previous == now {
        return Ok(Lsn::new(u64::MAX));
    }
    if previous.system != now.system {
        return Ok(Lsn::ZERO);
    }
    // A lower timeline has left ours at a place that its own history does not tell.
    let Some(file) = (now.timeline > previous.timeline).then_some(now.timeline) else { return Ok(Lsn::ZERO) };
    let file = client.timeline_history(file).await?;
    Ok(switch_point(&String::from_utf8_lossy(&file.content), previous.timeline))
}

/// Where a history left `timeline`, by its history file; nothing is shared if it was never there.
fn switch_point(file: &str, timeline: u32) -> Lsn {
    let lines = file.lines().map(|line| line.split_whitespace());
    let ends = lines.filter_map(|mut words| {
        let left: u32 = words.next()?.parse().ok()?;
        let end: Lsn = words.next()?.parse().ok()?;
        Some((left, end))
    });
    ends.filter(|(left, _)| *left == timeline).map(|(_, end)| end).next().unwrap_or(Lsn::ZERO)
}

/// The stream's option is a list of identifiers inside a string, so each is quoted for both.
fn quoted(name: &str) -> String {
    identifier(name).replace('\'', "''")
}

impl WalSource for PgWireSource {
    async fn recv(&mut self) -> Result<Received, Error> {
        loop {
            tokio::select! {
                biased;
                event = self.client.recv() => {
                    self.silent_steps = 0;
                    return received(event?.ok_or(Error::Closed)?);
                }
                _ = self.steps.tick() => {
                    if self.silent_steps >= SILENCE_STEPS {
                        return Err(Error::Silent(self.silence_max));
                    }
                    self.silent_steps += 1;
                }
            }
        }
    }

    fn acknowledge(&self, lsn: Lsn) {
        self.client.update_applied_lsn(lsn.as_u64().into());
    }
}

fn received(event: ReplicationEvent) -> Result<Received, Error> {
    let message = |message| Ok(Received::Message { message, bytes: 0 });
    match event {
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
        let io = |kind: io::ErrorKind| Error::Session(PgWireError::from(io::Error::from(kind)));
        let name = || "x".into();
        for (error, expected) in [
            (server("no such user (SQLSTATE 28P01)"), "password"),
            (server("no pg_hba.conf entry (SQLSTATE 28000)"), "pg_hba.conf"),
            (Error::Session(PgWireError::Auth("server signature mismatch".into())), "password"),
            (server("logical decoding requires wal_level >= logical (SQLSTATE 55000)"), "wal_level"),
            (server("too many (SQLSTATE 53300)"), "max_wal_senders"),
            (server("all replication slots are in use (SQLSTATE 53400)"), "max_replication_slots"),
            (server("slot is active for PID 1 (SQLSTATE 55006)"), "another server"),
            (server("must be superuser or replication role (SQLSTATE 42501)"), "REPLICATION"),
            (server("database \"x\" does not exist (SQLSTATE 3D000)"), "create the database"),
            (server("publication \"x\" does not exist (SQLSTATE 42704)"), "create the publication"),
            (Error::PublicationMissing { name: name() }, "create the publication"),
            (Error::ForeignSlot { name: name() }, "slot name"),
            (Error::InRecovery, "primary"),
            (Error::Silent(SILENCE_MAX), "network"),
            (Error::Timeout, "network"),
            (Error::Session(PgWireError::Tls("no TLS".into())), "sslmode"),
            (
                Error::Session(PgWireError::MessageTooLarge { payload_bytes: 2, limit_bytes: 1 }),
                "pg_replication_slot_advance",
            ),
            (io(io::ErrorKind::ConnectionRefused), "listens"),
            (io(io::ErrorKind::NotFound), "socket directory"),
        ] {
            let remedy = error.remedy();
            assert!(remedy.is_some_and(|remedy| remedy.contains(expected)), "{error}: {remedy:?}");
        }
        for error in [Error::Closed, io(io::ErrorKind::UnexpectedEof), server("starting (SQLSTATE 57P03)")] {
            assert_eq!(error.remedy(), None, "{error}");
        }
    }

    #[test]
    fn histories_part_where_the_file_says() {
        let file = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore 2000-01-01\n";
        for (timeline, expected) in [(1, "0/3000148"), (2, "0/5000000"), (3, "0/0"), (0, "0/0")] {
            assert_eq!(switch_point(file, timeline).to_string(), expected, "{timeline}");
        }
        assert_eq!(switch_point("nonsense\n1\n1\tx\n", 1), Lsn::ZERO);
    }
}

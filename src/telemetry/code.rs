//! The closed list of codes: every refusal, every channel or socket that the server ends, and every failure that
//! is worth a line in the log has one. Lines carry it as the field `code`, metrics as a label.
//!
//! What clients read beside a code is in `protocol/code.rs`; `docs/errors.md` shows all of them, and tests
//! compare the three. Names are those of the stock server where it has one for the same thing.

/// What whoever meets an error should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Try again after a pause: the cause passes.
    Reconnect,
    /// Do not try again before something has changed: a token, a topic, a policy, a setting or the code.
    Terminal,
}

impl Advice {
    /// The word for it in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reconnect => "reconnect",
            Self::Terminal => "terminal",
        }
    }
}

macro_rules! codes {
    ($($name:ident)*) => {
        /// A stable name for something that went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "docs/errors.md says when each appears")]
        pub enum Code {
            $($name),*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name, as logs, metrics and clients see it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }
        }
    };
}

codes! {
    // Of connections, joins and channels.
    ChannelRateLimitReached
    ClientJoinRateLimitReached
    ClientPresenceRateLimitReached
    ConnectionRateLimitReached
    DatabaseLackOfConnections
    IncreaseConnectionPool
    InitializingProjectConnection
    InvalidJWTToken
    JoinsRateLimitReached
    JwtSignatureError
    JwtSignerError
    MalformedJWT
    MessagePerSecondRateLimitReached
    MissingAPIKey
    MissingPartition
    PayloadTooLarge
    PresenceRateLimitReached
    PrivateOnly
    QueryCanceled
    RealtimeDisabledForConfiguration
    RealtimeRestarting
    ReplicationConnectionTimeout
    RlsPolicyError
    TooManyConnections
    TopicNameRequired
    TopicNameTooLong
    UnableToConnectToProject
    UnableToReplayMessages
    Unauthorized
    UnknownErrorOnChannel
    // Of HTTP requests.
    HttpClientError
    HttpServerError
    TenantNotFound
    UnprocessableEntity
    // Of single messages.
    InvalidBroadcastPayload
    InvalidPresencePayload
    MalformedWebSocketMessage
    UnableToHandleBroadcast
    UnableToHandlePresence
    UnableToTrackPresence
    UnknownPresenceEvent
    UnmatchedTopic
    // Of sockets.
    FrameTooLarge
    IdleTimeout
    NoChannel
    ProtocolViolation
    SlowConsumer
    UnknownErrorOnWebSocketMessage
    // Of the database.
    UnableToBroadcastChanges
    // Of the server itself.
    CheckOidsError
    JanitorFailedToDeleteOldMessages
    KeySetUnavailable
    MessagingSchemaMissing
    MessagingUpkeepFailed
    PartitionCreationFailed
    PolicyDisagreement
    DatabaseConnectionDown
    ReplicationConnectionDown
    ReplicationSlotAdvanced
    ReplicationSlotBeingUsed
    ReplicationSlotNotAlive
    StartReplicationFailed
    UnableToComputeColumns
    UnableToConnectToTenantDatabase
    UnhandledPanic
}

impl Code {
    /// The code of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Its place in [`Self::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// A failure that no client is told by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub code: Code,
    /// For clients where they notice it, else for the operator.
    pub advice: Advice,
    /// When the log has it.
    pub when: &'static str,
}

const fn passes(code: Code, when: &'static str) -> Failure {
    Failure { code, advice: Advice::Reconnect, when }
}

const fn stays(code: Code, when: &'static str) -> Failure {
    Failure { code, advice: Advice::Terminal, when }
}

/// All failures of this kind.
pub const FAILURES: &[Failure] = &[
    stays(
        Code::MalformedWebSocketMessage,
        "a client's message could not be decoded: it is dropped, and the socket stays",
    ),
    passes(
        Code::StartReplicationFailed,
        "the replication stream could not be opened: it is tried again, and the line says what to do",
    ),
    passes(Code::ReplicationSlotBeingUsed, "the same, because another server streams from the slot"),
    passes(
        Code::ReplicationConnectionDown,
        "the replication stream was interrupted; every channel with changes is told, and told again when it is live",
    ),
    stays(
        Code::ReplicationSlotNotAlive,
        "Postgres has invalidated the slot: it is made anew, and changes are missing",
    ),
    stays(
        Code::ReplicationSlotAdvanced,
        "the slot was moved past changes made while a publication was missing: they are not delivered",
    ),
    passes(
        Code::UnableToConnectToTenantDatabase,
        "a session of ordinary SQL could not be opened: it is tried again",
    ),
    passes(
        Code::DatabaseConnectionDown,
        "a session was lost or silent while Postgres was asked something: it is asked again",
    ),
    passes(Code::CheckOidsError, "the catalog could not be read or compared: it is tried again"),
    stays(
        Code::UnableToComputeColumns,
        "Postgres could not compute columns of a row that the log does not hold: they are left out",
    ),
    stays(
        Code::UnableToBroadcastChanges,
        "a row of `realtime.messages` lacks what a broadcast needs, or is larger than `payload_bytes_max`: it is not sent",
    ),
    stays(
        Code::UnableToHandleBroadcast,
        "a broadcast on a private channel was dropped: no policy lets its sender send there, or it could not be found out",
    ),
    stays(
        Code::RlsPolicyError,
        "a policy on `realtime.messages` raised an error, or the role of a token cannot be taken on: it counts as a denial",
    ),
    stays(
        Code::PolicyDisagreement,
        "Postgres has contradicted a compiled policy: programs of that table are not used until its policies change or the server starts anew; please report it, with the policies",
    ),
    passes(
        Code::PartitionCreationFailed,
        "partitions of `realtime.messages` for the next days could not be made: it is tried again, and the line says what to do",
    ),
    passes(
        Code::JanitorFailedToDeleteOldMessages,
        "partitions of `realtime.messages` past their retention could not be dropped: the same",
    ),
    passes(
        Code::MessagingSchemaMissing,
        "messaging is on, but its schema is not in the database: it is looked for again, and the line says what to do",
    ),
    passes(
        Code::MessagingUpkeepFailed,
        "typing, presence and delivery are not kept up now: it is tried again, and the line says what to do",
    ),
    passes(
        Code::KeySetUnavailable,
        "a key set could not be read from its file or URL: the last good one stays in force, and it is tried again",
    ),
    passes(Code::UnhandledPanic, "a fault of the program; what it concerned has been closed"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_by_its_name_and_has_a_place_of_its_own() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::named(code.as_str()), Some(*code));
            assert_eq!(code.index(), index);
        }
        assert_eq!(Code::named("NoSuchCode"), None);
    }

    #[test]
    fn the_page_lists_the_same_failures() {
        let page = include_str!("../../docs/errors.md");
        let (_, section) = page.split_once("\n## Failures in the log\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<_> = FAILURES
            .iter()
            .map(|failure| {
                format!("| `{}` | {} | {} |", failure.code.as_str(), failure.advice.as_str(), failure.when)
            })
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn the_page_knows_every_code() {
        let page = include_str!("../../docs/errors.md");
        let unknown: Vec<_> =
            Code::ALL.iter().filter(|code| !page.contains(&format!("`{}`", code.as_str()))).collect();
        assert!(unknown.is_empty(), "docs/errors.md lacks {unknown:?}");
    }
}

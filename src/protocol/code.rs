//! Every error and close code a client can see, with what it should do about it: the closed list.
//!
//! `docs/errors.md` lists the same; a test compares them.

use std::borrow::Cow;

use crate::channel::{Closing, Refusal, Reply, Unanswered};

pub use crate::telemetry::code::{Advice, Code};

/// An error, as it stands in `docs/errors.md`. `…` in its text stands for what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// Its stable name. A join's `reason` starts with it; `system` messages show the text alone.
    pub code: &'static str,
    /// What to do.
    pub advice: Advice,
    /// The words after the code.
    pub text: &'static str,
}

const fn reconnect(code: &'static str, text: &'static str) -> ErrorCode {
    ErrorCode { code, advice: Advice::Reconnect, text }
}

const fn terminal(code: &'static str, text: &'static str) -> ErrorCode {
    ErrorCode { code, advice: Advice::Terminal, text }
}

/// Why a request gets no socket, as it stands in `docs/errors.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// The HTTP status.
    pub status: u16,
    /// Its name in logs and metrics; `None` for requests that are no attempt at a socket of ours.
    pub code: Option<Code>,
    /// What to do.
    pub advice: Advice,
    /// The `error` of the body; empty for an empty body.
    pub text: &'static str,
}

const fn refused(status: u16, code: Code, text: &'static str) -> ConnectError {
    let advice = if matches!(status, 429 | 503) { Advice::Reconnect } else { Advice::Terminal };
    ConnectError { status, code: Some(code), advice, text }
}

const fn misled(status: u16) -> ConnectError {
    ConnectError { status, code: None, advice: Advice::Terminal, text: "" }
}

/// The answers to requests that get no socket.
pub const CONNECT_ERRORS: &[ConnectError] = &[
    misled(400),
    refused(401, Code::MissingAPIKey, "API key is missing"),
    refused(401, Code::MalformedJWT, "The token provided is not a valid JWT"),
    refused(401, Code::InvalidJWTToken, "The API key is not known"),
    refused(401, Code::JwtSignatureError, "Failed to validate JWT signature"),
    refused(
        401,
        Code::JwtSignerError,
        "Failed to generate JWT signer, check your JWT secret or JWKS configuration",
    ),
    refused(401, Code::InvalidJWTToken, "Token has expired"),
    refused(401, Code::InvalidJWTToken, "Fields `role` and `exp` are required in JWT"),
    misled(403),
    refused(403, Code::InvalidJWTToken, "Tokens may not have the role … here"),
    misled(426),
    refused(429, Code::ConnectionRateLimitReached, "Too many connected users"),
    refused(429, Code::JoinsRateLimitReached, "Too many joins per second"),
    misled(431),
    refused(500, Code::InvalidJWTToken, "Error connecting to Realtime"),
    refused(503, Code::TooManyConnections, "Too many connections"),
];

/// The reasons of refused joins: `code: text`.
pub const JOIN_ERRORS: &[ErrorCode] = &[
    terminal("TopicNameRequired", "You must provide a topic name"),
    terminal("TopicNameTooLong", "Topic name must not exceed … bytes"),
    reconnect("RealtimeRestarting", "Realtime is restarting, please standby"),
    reconnect("ConnectionRateLimitReached", "Too many connected users"),
    reconnect("ClientJoinRateLimitReached", "Too many joins per second"),
    terminal("ChannelRateLimitReached", "Too many channels"),
    terminal("MalformedJWT", "The token provided is not a valid JWT"),
    terminal("JwtSignatureError", "Failed to validate JWT signature"),
    terminal("JwtSignerError", "Failed to generate JWT signer, check your JWT secret or JWKS configuration"),
    terminal("InvalidJWTToken", "Token has expired … seconds ago"),
    terminal("InvalidJWTToken", "Fields `role` and `exp` are required in JWT"),
    terminal("InvalidJWTToken", "Token expiration time is invalid"),
    terminal("InvalidJWTToken", "Token issue time is invalid"),
    terminal("InvalidJWTToken", "Token claim … does not have the required value"),
    terminal("InvalidJWTToken", "Tokens may not have the role … here"),
    terminal("PrivateOnly", "This project only allows private channels"),
    terminal("Unauthorized", "You do not have permissions to read from this Channel topic: …"),
    reconnect("IncreaseConnectionPool", "Please increase your connection pool size"),
    reconnect("UnableToConnectToProject", "Realtime was unable to connect to the project database"),
    reconnect("DatabaseLackOfConnections", "Database can't accept more connections, Realtime won't connect"),
    reconnect("QueryCanceled", "Query was cancelled, please try again"),
    reconnect("MissingPartition", "Realtime was unable to find the expected messages partition"),
    terminal("UnableToReplayMessages", "Replay is not allowed for public channels"),
    terminal("UnableToReplayMessages", "Replay params are not valid"),
    reconnect("UnableToReplayMessages", "Realtime was unable to replay messages"),
    reconnect("InitializingProjectConnection", "Realtime is initializing the project connection"),
    terminal("UnknownErrorOnChannel", "…"),
];

/// The texts of `system` messages with status `error`, which come before `phx_close`.
pub const SYSTEM_ERRORS: &[ErrorCode] = &[
    reconnect("ClientPresenceRateLimitReached", "Client presence rate limit exceeded"),
    terminal("PayloadTooLarge", "Track message size exceeded"),
    reconnect("MessagePerSecondRateLimitReached", "Too many messages per second"),
    reconnect("PresenceRateLimitReached", "Too many presence messages per second"),
    terminal("InvalidJWTToken", "Token has expired … seconds ago"),
    terminal("InvalidJWTToken", "Fields `role` and `exp` are required in JWT"),
    terminal("InvalidJWTToken", "Token expiration time is invalid"),
    terminal("InvalidJWTToken", "Token issue time is invalid"),
    terminal("InvalidJWTToken", "Token claim … does not have the required value"),
    terminal("InvalidJWTToken", "Tokens may not have the role … here"),
    terminal("MalformedJWT", "The token provided is not a valid JWT"),
    terminal("JwtSignatureError", "Failed to validate JWT signature"),
    terminal("JwtSignerError", "Failed to generate JWT signer, check your JWT secret or JWKS configuration"),
    terminal("Unauthorized", "You do not have permissions to read from this Channel topic: …"),
    terminal("Unauthorized", "You no longer have permission to read from this Channel topic: …"),
    reconnect("IncreaseConnectionPool", "Please increase your connection pool size"),
    reconnect("UnableToConnectToProject", "Realtime was unable to connect to the project database"),
    reconnect("DatabaseLackOfConnections", "Database can't accept more connections, Realtime won't connect"),
    reconnect("QueryCanceled", "Query was cancelled, please try again"),
    reconnect("MissingPartition", "Realtime was unable to find the expected messages partition"),
    reconnect("ReplicationConnectionTimeout", "Replication connection was not established in time"),
];

/// The responses of error replies to other messages than joins, as JSON; the channel lives on.
pub const REPLY_ERRORS: &[ErrorCode] = &[
    terminal("UnmatchedTopic", "{\"reason\":\"unmatched topic\"}"),
    terminal("PayloadTooLarge", "\"payload_size_exceeded\""),
    terminal("InvalidBroadcastPayload", "{\"reason\":\"Broadcast payload must be a map\"}"),
    terminal("InvalidPresencePayload", "{\"reason\":\"Presence track payload must be a map\"}"),
    terminal("UnknownPresenceEvent", "{}"),
    terminal("UnableToHandlePresence", "{}"),
    reconnect("UnableToTrackPresence", "{}"),
];

/// Why the server closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode {
    /// The WebSocket close code.
    pub code: u16,
    /// Its name in logs and metrics.
    pub name: Code,
    /// What to do.
    pub advice: Advice,
    /// The reason in the close frame; empty for none.
    pub reason: &'static str,
}

/// The socket was silent for too long; also the answer to a client's own close.
pub const CLOSE_IDLE: CloseCode =
    CloseCode { code: 1000, name: Code::IdleTimeout, advice: Advice::Terminal, reason: "idle timeout" };
/// The socket has no channel and has had none for long.
pub const CLOSE_NO_CHANNEL: CloseCode =
    CloseCode { code: 1000, name: Code::NoChannel, advice: Advice::Terminal, reason: "no channel" };
/// The socket, or all together, join too often.
pub const CLOSE_JOIN_RATE: CloseCode = CloseCode {
    code: 1001,
    name: Code::ClientJoinRateLimitReached,
    advice: Advice::Reconnect,
    reason: "too many joins per second",
};
/// The client broke the WebSocket protocol.
pub const CLOSE_PROTOCOL: CloseCode =
    CloseCode { code: 1002, name: Code::ProtocolViolation, advice: Advice::Terminal, reason: "" };
/// A text message was not UTF-8.
pub const CLOSE_NOT_TEXT: CloseCode =
    CloseCode { code: 1007, name: Code::ProtocolViolation, advice: Advice::Terminal, reason: "" };
/// The client does not read fast enough.
pub const CLOSE_SLOW: CloseCode =
    CloseCode { code: 1008, name: Code::SlowConsumer, advice: Advice::Reconnect, reason: "slow consumer" };
/// A message was over the size limit.
pub const CLOSE_TOO_LARGE: CloseCode =
    CloseCode { code: 1009, name: Code::FrameTooLarge, advice: Advice::Terminal, reason: "" };
/// A fault of the server's.
pub const CLOSE_INTERNAL: CloseCode = CloseCode {
    code: 1011,
    name: Code::UnknownErrorOnWebSocketMessage,
    advice: Advice::Reconnect,
    reason: "",
};
/// The server goes down.
pub const CLOSE_RESTART: CloseCode = CloseCode {
    code: 1012,
    name: Code::RealtimeRestarting,
    advice: Advice::Reconnect,
    reason: "service restart",
};

/// To a socket of an app: the stream of changes has broken, so that it may have missed some.
pub const CLOSE_INTERRUPTED: CloseCode = CloseCode {
    code: 1012,
    name: Code::ReplicationConnectionDown,
    advice: Advice::Reconnect,
    reason: "changes interrupted",
};
/// To a socket of an app: changes come faster than it reads them.
pub const CLOSE_BEHIND: CloseCode =
    CloseCode { code: 1013, name: Code::SlowConsumer, advice: Advice::Reconnect, reason: "too many changes" };
/// To a socket of an app: changes do not flow yet.
pub const CLOSE_NOT_LIVE: CloseCode = CloseCode {
    code: 1013,
    name: Code::ReplicationConnectionTimeout,
    advice: Advice::Reconnect,
    reason: "changes do not flow",
};
/// To a socket of an app: its token is no longer good.
pub const CLOSE_TOKEN: CloseCode =
    CloseCode { code: 4001, name: Code::InvalidJWTToken, advice: Advice::Terminal, reason: "token expired" };

/// All of them.
pub const CLOSE_CODES: &[CloseCode] = &[
    CLOSE_IDLE,
    CLOSE_NO_CHANNEL,
    CLOSE_JOIN_RATE,
    CLOSE_PROTOCOL,
    CLOSE_NOT_TEXT,
    CLOSE_SLOW,
    CLOSE_TOO_LARGE,
    CLOSE_INTERNAL,
    CLOSE_RESTART,
    CLOSE_INTERRUPTED,
    CLOSE_BEHIND,
    CLOSE_NOT_LIVE,
    CLOSE_TOKEN,
];

/// The reason of a reply to a message for a topic that the socket has not joined.
pub const UNMATCHED_TOPIC: &str = "unmatched topic";

/// The `reason` of a refused join.
pub fn join_reason(refusal: &Refusal) -> Cow<'static, str> {
    match refusal {
        Refusal::TopicNameRequired => "TopicNameRequired: You must provide a topic name".into(),
        Refusal::TopicTooLong(max) => {
            format!("TopicNameTooLong: Topic name must not exceed {max} bytes").into()
        }
        Refusal::Restarting => "RealtimeRestarting: Realtime is restarting, please standby".into(),
        Refusal::TooManyUsers => "ConnectionRateLimitReached: Too many connected users".into(),
        Refusal::TooManyJoins => "ClientJoinRateLimitReached: Too many joins per second".into(),
        Refusal::TooManyChannels => "ChannelRateLimitReached: Too many channels".into(),
        Refusal::Token(reason) => reason.clone().into(),
        Refusal::PrivateOnly => "PrivateOnly: This project only allows private channels".into(),
        Refusal::Unauthorized(sub) => {
            format!("Unauthorized: You do not have permissions to read from this Channel topic: {sub}").into()
        }
        Refusal::Unanswered(why) => {
            let (code, text) = unanswered(*why);
            format!("{code}: {text}").into()
        }
        Refusal::ReplayNotAllowed => {
            "UnableToReplayMessages: Replay is not allowed for public channels".into()
        }
        Refusal::ReplayInvalid => "UnableToReplayMessages: Replay params are not valid".into(),
        Refusal::ReplayFailed => "UnableToReplayMessages: Realtime was unable to replay messages".into(),
        Refusal::FeedBusy => {
            "InitializingProjectConnection: Realtime is initializing the project connection".into()
        }
        Refusal::Malformed(what) => format!("UnknownErrorOnChannel: {what}").into(),
    }
}

/// The code of a refused join, as logs and metrics have it.
pub fn of_refusal(refusal: &Refusal) -> Code {
    let reason = join_reason(refusal);
    let code = reason.split(':').next().and_then(Code::named);
    // A reason without a code of its own.
    code.unwrap_or(Code::UnknownErrorOnChannel)
}

/// The code of an error reply to a message that is no join; `None` if it is no error.
pub fn of_reply(reply: &Reply) -> Option<Code> {
    match reply {
        Reply::Ok | Reply::Joined(_) => None,
        Reply::PayloadTooLarge => Some(Code::PayloadTooLarge),
        Reply::Error => Some(Code::UnknownPresenceEvent),
        Reply::Refused(reason) => {
            let response = format!("{{\"reason\":\"{reason}\"}}");
            let listed = REPLY_ERRORS.iter().find(|error| error.text == response)?;
            Code::named(listed.code)
        }
    }
}

/// The code of a channel's end.
pub fn of_closing(closing: &Closing) -> Code {
    let message = closing_message(closing);
    let fits = |error: &&ErrorCode| match error.text.split_once('…') {
        Some((before, after)) => message.starts_with(before) && message.ends_with(after),
        None => message == error.text,
    };
    let listed = SYSTEM_ERRORS.iter().find(fits).and_then(|error| Code::named(error.code));
    // With a key id its text goes on differently.
    listed.unwrap_or(Code::JwtSignerError)
}

/// The words of the `system` message before a channel closes.
pub fn closing_message(closing: &Closing) -> Cow<'_, str> {
    match closing {
        Closing::PresenceWindow => "Client presence rate limit exceeded".into(),
        Closing::PresenceTooLarge => "Track message size exceeded".into(),
        Closing::TooManyEvents => "Too many messages per second".into(),
        Closing::TooManyPresenceEvents => "Too many presence messages per second".into(),
        Closing::Token(message) => message.into(),
        Closing::Unauthorized(sub) => {
            format!("You do not have permissions to read from this Channel topic: {sub}").into()
        }
        Closing::NoLongerAuthorized(sub) => {
            format!("You no longer have permission to read from this Channel topic: {sub}").into()
        }
        Closing::Unanswered(why) => unanswered(*why).1.into(),
        Closing::ReplicationLate => "Replication connection was not established in time".into(),
    }
}

/// The code and the words for rights that could not be found out.
fn unanswered(why: Unanswered) -> (&'static str, &'static str) {
    match why {
        Unanswered::Busy => ("IncreaseConnectionPool", "Please increase your connection pool size"),
        Unanswered::Unreachable => {
            ("UnableToConnectToProject", "Realtime was unable to connect to the project database")
        }
        Unanswered::NoConnections => {
            ("DatabaseLackOfConnections", "Database can't accept more connections, Realtime won't connect")
        }
        Unanswered::Canceled => ("QueryCanceled", "Query was cancelled, please try again"),
        Unanswered::MissingPartition => {
            ("MissingPartition", "Realtime was unable to find the expected messages partition")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table under a heading of the page: its cells, without code marks.
    fn rows(heading: &str) -> Vec<Vec<String>> {
        let page = include_str!("../../docs/errors.md");
        let (_, section) = page.split_once(&format!("## {heading}\n")).expect(heading);
        let section = section.split("\n## ").next().unwrap_or_default();
        let cells = |line: &str| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>()
        };
        section.lines().filter(|line| line.starts_with("| ")).skip(2).map(cells).collect()
    }

    #[test]
    fn the_page_lists_the_same_errors() {
        for (heading, errors) in [
            ("Refused joins", JOIN_ERRORS),
            ("Channels closed by the server", SYSTEM_ERRORS),
            ("Error replies", REPLY_ERRORS),
        ] {
            let documented: Vec<_> = rows(heading).into_iter().map(|row| row[..3].to_vec()).collect();
            let real: Vec<_> = errors
                .iter()
                .map(|error| {
                    vec![error.code.to_owned(), error.advice.as_str().to_owned(), error.text.to_owned()]
                })
                .collect();
            assert_eq!(documented, real, "{heading}");
        }
    }

    #[test]
    fn the_page_lists_the_same_refusals() {
        let documented: Vec<_> =
            rows("Refused connections").into_iter().map(|row| row[..4].join(" ")).collect();
        let or_dash = |text: &'static str| if text.is_empty() { "–" } else { text };
        let real: Vec<_> = CONNECT_ERRORS
            .iter()
            .map(|error| {
                let code = or_dash(error.code.map_or("", Code::as_str));
                format!("{} {code} {} {}", error.status, error.advice.as_str(), or_dash(error.text))
            })
            .collect();
        assert_eq!(documented, real);
    }

    #[test]
    fn every_code_is_known_to_the_log() {
        for error in [JOIN_ERRORS, SYSTEM_ERRORS, REPLY_ERRORS].into_iter().flatten() {
            assert!(Code::named(error.code).is_some(), "{} is missing in telemetry/code.rs", error.code);
        }
    }

    #[test]
    fn the_page_lists_the_same_close_codes() {
        let documented: Vec<_> = rows("Closed sockets").into_iter().map(|row| row[..4].to_vec()).collect();
        let real: Vec<_> = CLOSE_CODES
            .iter()
            .map(|close| {
                vec![
                    close.code.to_string(),
                    close.name.as_str().to_owned(),
                    close.advice.as_str().to_owned(),
                    if close.reason.is_empty() { "–".to_owned() } else { close.reason.to_owned() },
                ]
            })
            .collect();
        assert_eq!(documented, real);
    }

    const UNANSWERED: [Unanswered; 5] = [
        Unanswered::Busy,
        Unanswered::Unreachable,
        Unanswered::NoConnections,
        Unanswered::Canceled,
        Unanswered::MissingPartition,
    ];

    fn fits(pattern: &str, text: &str) -> bool {
        match pattern.split_once('…') {
            Some((before, after)) => text.starts_with(before) && text.ends_with(after),
            None => text == pattern,
        }
    }

    #[test]
    fn every_refusal_is_on_the_list() {
        for refusal in [
            Refusal::TopicNameRequired,
            Refusal::TopicTooLong(9),
            Refusal::Restarting,
            Refusal::TooManyUsers,
            Refusal::TooManyJoins,
            Refusal::TooManyChannels,
            Refusal::Token("MalformedJWT: The token provided is not a valid JWT".to_owned()),
            Refusal::PrivateOnly,
            Refusal::Unauthorized("room".into()),
            Refusal::ReplayNotAllowed,
            Refusal::ReplayInvalid,
            Refusal::ReplayFailed,
            Refusal::FeedBusy,
            Refusal::Malformed("config is not a map"),
        ]
        .into_iter()
        .chain(UNANSWERED.map(Refusal::Unanswered))
        {
            let reason = join_reason(&refusal);
            let listed =
                JOIN_ERRORS.iter().any(|error| fits(&format!("{}: {}", error.code, error.text), &reason));
            assert!(listed, "{reason}");
        }
    }

    #[test]
    fn every_closing_is_on_the_list() {
        for closing in [
            Closing::PresenceWindow,
            Closing::PresenceTooLarge,
            Closing::TooManyEvents,
            Closing::TooManyPresenceEvents,
            Closing::Token("The token provided is not a valid JWT".to_owned()),
            Closing::Unauthorized("room".into()),
            Closing::NoLongerAuthorized("room".into()),
            Closing::ReplicationLate,
        ]
        .into_iter()
        .chain(UNANSWERED.map(Closing::Unanswered))
        {
            let message = closing_message(&closing);
            assert!(SYSTEM_ERRORS.iter().any(|error| fits(error.text, &message)), "{message}");
        }
    }
}

//! Our frame codec and tungstenite's side by side: any bytes must mean the same to both. Used by a test and
//! by a fuzz target.

use std::io::{self, Read, Write};

use rowcast::protocol::Message;
use rowcast::socket::frame::{Decoder, Event, Violation};
use tungstenite::WebSocket;
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::{Role, WebSocketConfig};

const LIMIT: usize = 200;

/// What a decoder made of some bytes.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Protocol,
    /// A length in a form that is longer than needed, which only we refuse, or than a control frame may have.
    NotMinimal,
    InvalidUtf8,
    TooLarge,
}

/// What we make of them, in pieces of `piece` bytes.
pub(crate) fn ours(bytes: &[u8], piece: usize) -> Vec<Seen> {
    let mut decoder = Decoder::new(LIMIT);
    let mut seen = Vec::new();
    for chunk in bytes.chunks(piece.max(1)) {
        let result = decoder.decode(&mut chunk.to_vec(), |event| {
            seen.push(match event {
                Event::Message(Message::Text(text)) => Seen::Text(text.to_owned()),
                Event::Message(Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
                Event::Ping(payload) => Seen::Ping(payload.to_vec()),
                Event::Pong(_) => Seen::Pong,
                Event::Close(code) => Seen::Close(code),
            });
        });
        if let Err(violation) = result {
            seen.push(match violation {
                // A control frame is refused by the form of its length, before the length itself is read.
                Violation::Protocol("length is not minimal" | "control frame is too long") => {
                    Seen::NotMinimal
                }
                Violation::Protocol(_) => Seen::Protocol,
                Violation::InvalidUtf8 => Seen::InvalidUtf8,
                Violation::TooLarge => Seen::TooLarge,
            });
            break;
        }
    }
    seen
}

/// A client that has sent all it will, and reads nothing.
struct Sent<'a>(&'a [u8]);

impl Read for Sent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(buffer) }
    }
}

impl Write for Sent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of them.
pub(crate) fn theirs(bytes: &[u8]) -> Vec<Seen> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT))
        .read_buffer_size(1024);
    let mut socket = WebSocket::from_raw_socket(Sent(bytes), Role::Server, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(tungstenite::Message::Text(text)) => Seen::Text(text.to_string()),
            Ok(tungstenite::Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Ok(tungstenite::Message::Ping(payload)) => Seen::Ping(payload.to_vec()),
            Ok(tungstenite::Message::Pong(_)) => Seen::Pong,
            Ok(tungstenite::Message::Close(frame)) => {
                seen.push(Seen::Close(frame.map(|frame| frame.code.into())));
                return seen;
            }
            Ok(tungstenite::Message::Frame(_)) => unreachable!("reading gives no raw frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return seen,
            Err(Error::Utf8(_)) => Seen::InvalidUtf8,
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Seen::TooLarge,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return seen,
            Err(Error::Protocol(_)) => Seen::Protocol,
            Err(other) => panic!("unexpected {other:?}"),
        });
        if matches!(seen.last(), Some(Seen::Protocol | Seen::InvalidUtf8 | Seen::TooLarge)) {
            return seen;
        }
    }
}

/// Whether both say the same, but for four habits: we refuse a frame by its header alone, they once all of it
/// is there; we refuse lengths that are not minimal; of two reasons to refuse we may name another; and they
/// report a close with a forbidden code as the close they answer it with.
pub(crate) fn agree(ours: &[Seen], theirs: &[Seen]) -> bool {
    match (ours, theirs) {
        ([before @ .., Seen::NotMinimal], theirs) => theirs.starts_with(before),
        (
            [before @ .., Seen::Protocol | Seen::TooLarge],
            [start @ .., Seen::Protocol | Seen::TooLarge | Seen::InvalidUtf8 | Seen::Close(Some(1002))],
        ) => before == start,
        ([before @ .., Seen::Protocol | Seen::TooLarge], theirs) => before == theirs,
        (ours, theirs) => ours == theirs,
    }
}

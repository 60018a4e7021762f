//! Our frame codec against tungstenite's: any bytes must mean the same to both.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use rowcast::socket::frame::{Decoder, Event, Message, Violation};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, WebSocket};

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
                Event::Pong => Seen::Pong,
                Event::Close(code) => Seen::Close(code),
            });
        });
        if let Err(violation) = result {
            seen.push(match violation {
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

/// Whether both say the same, but for three habits: we refuse a frame by its header alone, they once all of it
/// is there; of two reasons to refuse we may name another; and they report a close with a forbidden code as
/// the close they answer it with.
pub(crate) fn agree(ours: &[Seen], theirs: &[Seen]) -> bool {
    let [before @ .., Seen::Protocol | Seen::TooLarge] = ours else { return ours == theirs };
    match theirs {
        [start @ .., Seen::Protocol | Seen::TooLarge | Seen::InvalidUtf8 | Seen::Close(Some(1002))] => {
            before == start
        }
        _ => before == theirs,
    }
}

/// A frame that is well-formed more often than not.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        20 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
        2 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[a-z\u{FC}\u{20AC}]{0,20}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..8),
        1 => prop::collection::vec(Just(b'x'), 100..210),
        1 => (0_u16..5100).prop_map(|code| code.to_be_bytes().to_vec()),
        1 => Just(vec![0xE2, 0x82]),
        1 => Just(vec![0xAC]),
    ];
    (first, payload, any::<[u8; 4]>(), prop::bool::weighted(0.97)).prop_map(
        |(first, payload, mask, masked)| {
            let bit = if masked { 0x80 } else { 0 };
            let mut frame = vec![first];
            match u8::try_from(payload.len()) {
                Ok(short @ 0..126) => frame.push(bit | short),
                _ => {
                    frame.push(bit | 126);
                    frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
                }
            }
            if masked {
                frame.extend_from_slice(&mask);
            }
            frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_codecs_read_the_same(
        frames in prop::collection::vec(frame(), 1..8), cut in 0_usize..12, piece in 1_usize..64,
    ) {
        let mut bytes = frames.concat();
        bytes.truncate(bytes.len().saturating_sub(cut));
        let seen = ours(&bytes, bytes.len());
        prop_assert_eq!(&seen, &ours(&bytes, piece));
        prop_assert!(agree(&seen, &theirs(&bytes)), "{:?} {:?}", seen, theirs(&bytes));
    }
}

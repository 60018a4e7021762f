//! The reading side of the WebSocket frame codec: RFC 6455 without extensions. The writing side is
//! [`crate::protocol::frame`].
//!
//! In: bytes as they arrive, in pieces of any size. Out: whole messages, pings, pongs and closes, or the
//! [`Violation`] that ends the connection.
//!
//! **Invariant:** no I/O and no panic whatever the bytes; memory follows the bytes that arrived, never the
//! length that a header promises; an idle [`Decoder`] owns no heap memory.
//!
//! Why an own codec: libraries own the write buffer and a read buffer per connection, 7 to 135 KiB each.
//! Here all connections of a shard share one read buffer, and a fan-out shares one encoded frame.

use std::fmt;

use crate::protocol::Message;
use crate::protocol::code::{CLOSE_NOT_TEXT, CLOSE_PROTOCOL, CLOSE_TOO_LARGE, CloseCode};
use crate::protocol::frame::{CONTROL_BYTES_MAX, Opcode};

/// What a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message, its fragments joined.
    Message(Message<'a>),
    /// A ping, to be answered with its payload.
    Ping(&'a [u8]),
    /// A pong, with the payload of its ping.
    Pong(&'a [u8]),
    /// The close frame; `None` when it carries no code. Whatever follows it is not read.
    Close(Option<u16>),
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The bytes are not RFC 6455 as a client must speak it.
    #[error("malformed websocket frame: {0}")]
    Protocol(&'static str),
    /// A text message or a close reason is not UTF-8.
    #[error("websocket text is not utf-8")]
    InvalidUtf8,
    /// A message is larger than the limit.
    #[error("websocket message too large")]
    TooLarge,
}

impl Violation {
    /// What tells the client.
    pub fn close(self) -> CloseCode {
        match self {
            Self::Protocol(_) => CLOSE_PROTOCOL,
            Self::InvalidUtf8 => CLOSE_NOT_TEXT,
            Self::TooLarge => CLOSE_TOO_LARGE,
        }
    }
}

/// Whether a peer may send this close code: those that RFC 6455 and its registry define for the wire, and
/// those left to libraries and applications.
pub fn is_valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// A client's frame header.
#[derive(Debug)]
struct Header {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the header itself.
    header_bytes: usize,
    /// Bytes of the payload.
    payload_bytes: usize,
}

impl Header {
    /// Reads a header from the front of `bytes`; `None` while it is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("frame is not masked"));
        }
        let last = first & 0x80 != 0;
        let opcode = Opcode::parse(first & 0x0F).ok_or(Violation::Protocol("reserved opcode"))?;
        let short = second & 0x7F;
        if opcode.is_control() {
            if !last {
                return Err(Violation::Protocol("fragmented control frame"));
            }
            if usize::from(short) > CONTROL_BYTES_MAX {
                return Err(Violation::Protocol("control frame is too long"));
            }
        }
        let rest = &bytes[2..];
        let (length, rest) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u16::from_be_bytes(*length);
                if length < 126 {
                    return Err(Violation::Protocol("length is not minimal"));
                }
                (u64::from(length), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u64::from_be_bytes(*length);
                if length >> 63 != 0 {
                    return Err(Violation::Protocol("length has its highest bit set"));
                }
                if length <= u64::from(u16::MAX) {
                    return Err(Violation::Protocol("length is not minimal"));
                }
                (length, rest)
            }
            short => (u64::from(short), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let payload_bytes = usize::try_from(length).map_err(|_| Violation::TooLarge)?;
        let header_bytes = bytes.len() - rest.len();
        Ok(Some(Self { last, opcode, mask: *mask, header_bytes, payload_bytes }))
    }
}

/// The reading side of one connection.
///
/// Bytes are unmasked where they lie. Only an incomplete frame, and the fragments of an incomplete message,
/// are kept between calls.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    partial: Vec<u8>,
    fragments: Option<Box<Fragments>>,
    closed: bool,
}

/// A message of which not all fragments have arrived.
struct Fragments {
    text: bool,
    bytes: Vec<u8>,
    /// How many of `bytes` are known to be UTF-8.
    checked_bytes: usize,
}

impl fmt::Debug for Fragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragments").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder that refuses messages above `message_bytes_max`, fragmented or not.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, partial: Vec::new(), fragments: None, closed: false }
    }

    /// Takes the next bytes and hands over what they complete, in order.
    ///
    /// After an error or a close frame the decoder hands over nothing more.
    pub fn decode(&mut self, bytes: &mut [u8], mut sink: impl FnMut(Event<'_>)) -> Result<(), Violation> {
        if self.closed {
            return Ok(());
        }
        let result = if self.partial.is_empty() {
            self.decode_frames(bytes, &mut sink).map(|used| self.partial.extend_from_slice(&bytes[used..]))
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            self.decode_frames(&mut joined, &mut sink).map(|used| self.keep(joined, used))
        };
        if result.is_err() {
            self.closed = true;
        }
        if self.closed {
            self.partial = Vec::new();
            self.fragments = None;
        }
        result
    }

    /// Keeps what follows the first `used` bytes.
    fn keep(&mut self, mut joined: Vec<u8>, used: usize) {
        if used == joined.len() {
            return;
        }
        if used > 0 {
            joined.drain(..used);
            joined.shrink_to_fit();
        }
        self.partial = joined;
    }

    /// Decodes whole frames from the front of `bytes` and returns how many bytes they took.
    fn decode_frames(
        &mut self,
        bytes: &mut [u8],
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while !self.closed {
            let rest = &mut bytes[used..];
            let Some(header) = Header::parse(rest)? else { break };
            self.check(&header)?;
            // Within the limit, so the sum is far from overflowing.
            let frame_bytes = header.header_bytes + header.payload_bytes;
            let Some(payload) = rest.get_mut(header.header_bytes..frame_bytes) else { break };
            unmask(payload, header.mask);
            self.frame(&header, payload, sink)?;
            used += frame_bytes;
        }
        Ok(used)
    }

    /// Refuses a frame by its header, before its payload is waited for.
    fn check(&self, header: &Header) -> Result<(), Violation> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let joined_bytes = match (&self.fragments, header.opcode) {
            (None, Opcode::Continuation) => return Err(Violation::Protocol("nothing to continue")),
            (None, _) => 0,
            (Some(fragments), Opcode::Continuation) => fragments.bytes.len(),
            (Some(_), _) => return Err(Violation::Protocol("message within a message")),
        };
        // The joined bytes are within the limit already.
        if header.payload_bytes > self.message_bytes_max - joined_bytes {
            return Err(Violation::TooLarge);
        }
        Ok(())
    }

    /// Handles one whole frame.
    fn frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Violation> {
        match header.opcode {
            Opcode::Ping => sink(Event::Ping(payload)),
            Opcode::Pong => sink(Event::Pong(payload)),
            Opcode::Close => {
                let code = close_code(payload)?;
                self.closed = true;
                sink(Event::Close(code));
            }
            Opcode::Text if header.last => sink(Event::Message(Message::Text(utf8(payload)?))),
            Opcode::Binary if header.last => sink(Event::Message(Message::Binary(payload))),
            Opcode::Text | Opcode::Binary => {
                let mut fragments =
                    Fragments { text: header.opcode == Opcode::Text, bytes: Vec::new(), checked_bytes: 0 };
                fragments.append(payload)?;
                self.fragments = Some(Box::new(fragments));
            }
            Opcode::Continuation => {
                let Some(mut fragments) = self.fragments.take() else {
                    return Err(Violation::Protocol("nothing to continue"));
                };
                fragments.append(payload)?;
                if header.last {
                    sink(Event::Message(fragments.message()?));
                } else {
                    self.fragments = Some(fragments);
                }
            }
        }
        Ok(())
    }
}

impl Fragments {
    /// Adds a fragment. Text is checked as it comes, each byte once; a character cut at the end may still be
    /// completed by the next fragment.
    fn append(&mut self, payload: &[u8]) -> Result<(), Violation> {
        self.bytes.extend_from_slice(payload);
        if self.text {
            match std::str::from_utf8(&self.bytes[self.checked_bytes..]) {
                Ok(_) => self.checked_bytes = self.bytes.len(),
                Err(error) if error.error_len().is_none() => self.checked_bytes += error.valid_up_to(),
                Err(_) => return Err(Violation::InvalidUtf8),
            }
        }
        Ok(())
    }

    fn message(&self) -> Result<Message<'_>, Violation> {
        Ok(if self.text { Message::Text(utf8(&self.bytes)?) } else { Message::Binary(&self.bytes) })
    }
}

fn utf8(payload: &[u8]) -> Result<&str, Violation> {
    std::str::from_utf8(payload).map_err(|_| Violation::InvalidUtf8)
}

/// The code of a close frame's payload.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol("half a close code")) };
    };
    let code = u16::from_be_bytes(*code);
    if !is_valid_close_code(code) {
        return Err(Violation::Protocol("close code not allowed"));
    }
    utf8(reason)?;
    Ok(Some(code))
}

/// Applies a mask in place; the same call masks.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's frame: `first` is FIN, RSV and opcode.
    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..0x1_0000 => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        unmask(&mut bytes[start..], mask);
        bytes
    }

    fn frames(list: &[(u8, &[u8])]) -> Vec<u8> {
        list.iter().flat_map(|(first, payload)| client(*first, payload)).collect()
    }

    /// What came out, in a form that outlives the buffers.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Text(String),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong,
        Close(Option<u16>),
    }

    /// Decodes `bytes` in pieces of `piece` bytes with a limit of 300.
    fn decode(bytes: &[u8], piece: usize) -> (Vec<Seen>, Result<(), Violation>) {
        let mut decoder = Decoder::new(300);
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
            if result.is_err() {
                return (seen, result);
            }
        }
        (seen, Ok(()))
    }

    fn check(list: &[(u8, &[u8])], expected: &[Seen], result: Result<(), Violation>) {
        let bytes = frames(list);
        for piece in [1, 2, 3, 7, bytes.len()] {
            let (seen, ended) = decode(&bytes, piece);
            assert_eq!((seen.as_slice(), ended), (expected, result), "in pieces of {piece}");
        }
    }

    #[test]
    fn whole_messages_come_out_in_order() {
        let long = [b'x'; 200];
        check(
            &[(0x81, b"one"), (0x82, b"\x00\xFF"), (0x81, b""), (0x81, &long)],
            &[
                Seen::Text("one".into()),
                Seen::Binary(vec![0, 255]),
                Seen::Text(String::new()),
                Seen::Text("x".repeat(200)),
            ],
            Ok(()),
        );
    }

    #[test]
    fn fragments_are_joined_around_control_frames() {
        check(
            &[
                (0x01, "f\u{FC}".as_bytes().split_at(2).0),
                (0x89, b"ping"),
                (0x00, "f\u{FC}".as_bytes().split_at(2).1),
                (0x8A, b""),
                (0x80, b"r"),
                (0x02, b"a"),
                (0x80, b""),
            ],
            &[
                Seen::Ping(b"ping".to_vec()),
                Seen::Pong,
                Seen::Text("f\u{FC}r".into()),
                Seen::Binary(b"a".to_vec()),
            ],
            Ok(()),
        );
    }

    #[test]
    fn nothing_is_read_after_a_close() {
        check(&[(0x88, b"\x03\xE8bye"), (0x81, b"late")], &[Seen::Close(Some(1000))], Ok(()));
        check(&[(0x88, b""), (0xFF, b"late")], &[Seen::Close(None)], Ok(()));
    }

    #[test]
    fn close_codes_outside_the_registry_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535_u16] {
            let refused = Err(Violation::Protocol("close code not allowed"));
            check(&[(0x88, &code.to_be_bytes())], &[], refused);
        }
        for code in [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999_u16] {
            check(&[(0x88, &code.to_be_bytes())], &[Seen::Close(Some(code))], Ok(()));
        }
        check(&[(0x88, b"\x03")], &[], Err(Violation::Protocol("half a close code")));
        check(&[(0x88, b"\x03\xE8\xFF")], &[], Err(Violation::InvalidUtf8));
    }

    #[test]
    fn malformed_frames_are_refused() {
        let long = [0; 126];
        for (list, what) in [
            (&[(0xC1, b"a".as_slice())][..], "reserved bits are set"),
            (&[(0x83, b"a")], "reserved opcode"),
            (&[(0x8B, b"a")], "reserved opcode"),
            (&[(0x80, b"a")], "nothing to continue"),
            (&[(0x01, b"a"), (0x81, b"b")], "message within a message"),
            (&[(0x09, b"a")], "fragmented control frame"),
            (&[(0x89, &long)], "control frame is too long"),
        ] {
            check(list, &[], Err(Violation::Protocol(what)));
        }
        for (bytes, what) in [
            (&b"\x81\x01a"[..], "frame is not masked"),
            (b"\x81\xFE\x00\x7D", "length is not minimal"),
            (b"\x81\xFF\x00\x00\x00\x00\x00\x00\xFF\xFF", "length is not minimal"),
            (b"\x81\xFF\x80\x00\x00\x00\x00\x00\x00\x00", "length has its highest bit set"),
        ] {
            assert_eq!(decode(bytes, 1), (vec![], Err(Violation::Protocol(what))));
        }
    }

    #[test]
    fn text_must_be_utf8_as_soon_as_that_is_known() {
        check(&[(0x81, b"\xC3")], &[], Err(Violation::InvalidUtf8));
        check(&[(0x81, b"\xED\xA0\x80")], &[], Err(Violation::InvalidUtf8));
        check(&[(0x01, b"\xC3"), (0x80, b"")], &[], Err(Violation::InvalidUtf8));
        // The first fragment alone shows it; the rest need not arrive.
        check(&[(0x01, b"a\xFFb")], &[], Err(Violation::InvalidUtf8));
        check(&[(0x82, b"\xC3")], &[Seen::Binary(vec![0xC3])], Ok(()));
    }

    #[test]
    fn messages_above_the_limit_are_refused_by_their_header() {
        let full = [b'x'; 300];
        check(&[(0x82, &full)], &[Seen::Binary(full.to_vec())], Ok(()));
        check(&[(0x02, &full), (0x80, b"")], &[Seen::Binary(full.to_vec())], Ok(()));
        check(&[(0x82, &[0; 301])], &[], Err(Violation::TooLarge));
        check(&[(0x02, &full), (0x80, b"x")], &[], Err(Violation::TooLarge));
        let promise = b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0";
        assert_eq!(decode(promise, 1).1, Err(Violation::TooLarge));
    }

    #[test]
    fn an_idle_decoder_owns_no_memory() {
        let mut decoder = Decoder::new(1000);
        let mut bytes = frames(&[(0x01, b"a"), (0x80, b"b")]);
        let (head, tail) = bytes.split_at_mut(8);
        decoder.decode(head, |_| ()).unwrap();
        assert!(decoder.partial.capacity() > 0 && decoder.fragments.is_some());
        decoder.decode(tail, |_| ()).unwrap();
        assert!(decoder.partial.capacity() == 0 && decoder.fragments.is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_decode_the_same_in_any_pieces(
            bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1_usize..40,
        ) {
            prop_assert_eq!(decode(&bytes, piece), decode(&bytes, bytes.len()));
        }

        #[test]
        fn unmasking_twice_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..70), mask: [u8; 4]) {
            let mut twice = bytes.clone();
            unmask(&mut twice, mask);
            for (index, byte) in twice.iter().enumerate() {
                prop_assert_eq!(*byte, bytes[index] ^ mask[index % 4]);
            }
            unmask(&mut twice, mask);
            prop_assert_eq!(twice, bytes);
        }
    }
}

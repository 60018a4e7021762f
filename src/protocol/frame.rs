//! WebSocket frames as servers send them, written in place: RFC 6455 without masks and extensions.
//!
//! A frame is finished once and shared by all who get it. The reading side is the socket's.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::change::json;

/// The longest payload of a ping, pong or close.
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// The longest header of an unmasked frame: two bytes and a 64-bit length.
const HEADER_BYTES_MAX: usize = 10;
/// Marks a frame that is a whole message.
const FINAL: u8 = 0x80;

/// What a frame is, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    /// Reads the lower half of a frame's first byte; `None` for what is reserved.
    pub(crate) fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Writes one unfragmented frame. Room for the header is kept in front and filled last, when the length is
/// known, so the payload is never copied.
///
/// ```
/// use rowcast::protocol::frame::FrameWriter;
///
/// let mut frame = FrameWriter::text(64);
/// frame.put("[");
/// frame.put_string("a\n");
/// frame.put("]");
/// assert_eq!(&frame.finish()[..], b"\x81\x07[\"a\\n\"]");
/// ```
pub struct FrameWriter {
    opcode: Opcode,
    buffer: BytesMut,
}

impl FrameWriter {
    /// A text frame with room for about `payload_bytes`.
    pub fn text(payload_bytes: usize) -> Self {
        Self::new(Opcode::Text, payload_bytes)
    }

    /// A binary frame with room for about `payload_bytes`.
    pub fn binary(payload_bytes: usize) -> Self {
        Self::new(Opcode::Binary, payload_bytes)
    }

    fn new(opcode: Opcode, payload_bytes: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(HEADER_BYTES_MAX.saturating_add(payload_bytes));
        buffer.put_bytes(0, HEADER_BYTES_MAX);
        Self { opcode, buffer }
    }

    /// Appends text as it is.
    pub fn put(&mut self, text: &str) {
        self.buffer.put_slice(text.as_bytes());
    }

    /// Appends bytes as they are. In a text frame they must be UTF-8 as a whole; every client checks it.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Appends text as a JSON string.
    pub fn put_string(&mut self, text: &str) {
        json::put_string(text, &mut self.buffer);
    }

    /// The whole frame.
    pub fn finish(mut self) -> Bytes {
        let length = self.buffer.len().saturating_sub(HEADER_BYTES_MAX);
        let mut header = [0_u8; HEADER_BYTES_MAX];
        header[0] = FINAL | self.opcode as u8;
        let header_bytes = if let (Ok(short), ..=125) = (u8::try_from(length), length) {
            header[1] = short;
            2
        } else if let Ok(medium) = u16::try_from(length) {
            header[1] = 126;
            header[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        } else {
            header[1] = 127;
            // A usize has at most 64 bits on every platform Rust supports.
            header[2..].copy_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
            HEADER_BYTES_MAX
        };
        let start = HEADER_BYTES_MAX - header_bytes;
        self.buffer[start..HEADER_BYTES_MAX].copy_from_slice(&header[..header_bytes]);
        self.buffer.advance(start);
        self.buffer.freeze()
    }
}

/// Payloads never reach a log: only kind and length are printed.
impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload_bytes = self.buffer.len().saturating_sub(HEADER_BYTES_MAX);
        f.debug_struct("FrameWriter")
            .field("opcode", &self.opcode)
            .field("payload_bytes", &payload_bytes)
            .finish()
    }
}

/// The payload of a finished frame; `None` for bytes that are none.
pub fn payload_of(frame: &[u8]) -> Option<&[u8]> {
    let length_bytes = match frame.get(1)? & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    frame.get(2 + length_bytes..)
}

/// A finished ping. A payload longer than `CONTROL_BYTES_MAX` is cut off.
pub fn ping_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Ping, &payload[..payload.len().min(CONTROL_BYTES_MAX)])
}

/// A finished text frame. The payload must be UTF-8; every client checks it.
pub fn text_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Text, payload)
}

/// A finished binary frame.
pub fn binary_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Binary, payload)
}

/// A finished pong; a payload beyond 125 bytes, which no valid ping has, is cut.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, &payload[..payload.len().min(CONTROL_BYTES_MAX)])
}

/// A finished close frame. `None` leaves code and reason out; a reason beyond 123 bytes is cut between
/// characters.
pub fn close_frame(code: Option<u16>, reason: &str) -> Bytes {
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        payload.extend_from_slice(&reason.as_bytes()[..end]);
    }
    frame(Opcode::Close, &payload)
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = FrameWriter::new(opcode, payload.len());
    frame.put_bytes(payload);
    frame.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_the_shortest_header() {
        for (length, header) in [
            (0, &b"\x81\x00"[..]),
            (125, b"\x81\x7D"),
            (126, b"\x81\x7E\x00\x7E"),
            (65535, b"\x81\x7E\xFF\xFF"),
            (65536, b"\x81\x7F\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let payload = vec![b'x'; length];
            let frame = text_frame(&payload);
            assert_eq!(&frame[..header.len()], header);
            assert_eq!(&frame[header.len()..], payload);
            assert_eq!(payload_of(&frame), Some(&payload[..]));
            let mut writer = FrameWriter::text(0);
            writer.put(&"x".repeat(length));
            assert_eq!(writer.finish(), frame);
        }
        assert_eq!(FrameWriter::binary(0).finish()[0], 0x82);
        assert_eq!(&binary_frame(b"a")[..], b"\x82\x01a");
        assert_eq!(&pong_frame(b"a")[..], b"\x8A\x01a");
        assert_eq!(&ping_frame(b"")[..], b"\x89\x00");
        assert_eq!((payload_of(b"\x81"), payload_of(b"\x81\x7E\x00")), (None, None));
    }

    #[test]
    fn close_reasons_are_cut_between_characters() {
        assert_eq!(&close_frame(None, "unused")[..], b"\x88\x00");
        assert_eq!(&close_frame(Some(1008), "no")[..], b"\x88\x04\x03\xF0no");
        let long = close_frame(Some(1000), &"\u{FC}".repeat(100));
        assert_eq!(long.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }

    #[test]
    fn nothing_shows_payloads() {
        let mut frame = FrameWriter::text(0);
        frame.put("secret");
        assert_eq!(format!("{frame:?}"), "FrameWriter { opcode: Text, payload_bytes: 6 }");
    }
}

//! A WebSocket frame as servers send it, written in place.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::change::json;

/// The longest header of an unmasked frame: two bytes and a 64-bit length.
const HEADER_BYTES_MAX: usize = 10;
const FINAL: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

/// Writes one unfragmented frame. Room for the header is kept in front and filled last, when the length is
/// known, so the payload is never copied.
pub(super) struct FrameWriter {
    opcode: u8,
    buffer: BytesMut,
}

impl FrameWriter {
    /// A text frame with room for about `payload_bytes`.
    pub(super) fn text(payload_bytes: usize) -> Self {
        Self::new(TEXT, payload_bytes)
    }

    /// A binary frame with room for about `payload_bytes`.
    pub(super) fn binary(payload_bytes: usize) -> Self {
        Self::new(BINARY, payload_bytes)
    }

    fn new(opcode: u8, payload_bytes: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(HEADER_BYTES_MAX.saturating_add(payload_bytes));
        buffer.put_bytes(0, HEADER_BYTES_MAX);
        Self { opcode, buffer }
    }

    /// Appends text as it is.
    pub(super) fn put(&mut self, text: &str) {
        self.buffer.put_slice(text.as_bytes());
    }

    /// Appends bytes as they are.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Appends text as a JSON string.
    pub(super) fn put_string(&mut self, text: &str) {
        json::put_string(text, &mut self.buffer);
    }

    /// The whole frame.
    pub(super) fn finish(mut self) -> Bytes {
        let length = self.buffer.len().saturating_sub(HEADER_BYTES_MAX);
        let mut header = [0_u8; HEADER_BYTES_MAX];
        header[0] = FINAL | self.opcode;
        let header_bytes = if let (Ok(short), ..=125) = (u8::try_from(length), length) {
            header[1] = short;
            2
        } else if let Ok(medium) = u16::try_from(length) {
            header[1] = 126;
            header[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        } else {
            header[1] = 127;
            header[2..].copy_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
            HEADER_BYTES_MAX
        };
        let start = HEADER_BYTES_MAX - header_bytes;
        self.buffer[start..HEADER_BYTES_MAX].copy_from_slice(&header[..header_bytes]);
        self.buffer.advance(start);
        self.buffer.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_shortest_length() {
        for (length, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut frame = FrameWriter::text(0);
            frame.put(&"x".repeat(length));
            let frame = frame.finish();
            assert_eq!(&frame[..header.len()], header);
            assert_eq!(frame.len(), header.len() + length);
        }
        assert_eq!(FrameWriter::binary(0).finish()[0], 0x82);
    }
}

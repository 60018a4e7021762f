//! A WebSocket client that costs as little as possible: it parses nothing, it looks for markers in raw bytes.
//!
//! Every row and every broadcast of the measures carries one marker, `@@bench:` and eight digits. The same code
//! reads every server, so none is judged by another's protocol.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use memchr::memmem::{self, Finder};

/// What a marker begins with.
pub(crate) const MARKER: &str = "@@bench:";
/// Digits of a marker's number.
const DIGITS: usize = 8;
/// A marker can be cut in two anywhere before its last byte.
const TAIL_MAX: usize = MARKER.len() + DIGITS - 1;
/// How much is read at once.
const READ_BYTES_MAX: usize = 256 * 1024;
/// How long a server may take to answer a handshake or a join.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The marker with this number.
pub(crate) fn marker(number: u64) -> String {
    format!("{MARKER}{number:08}")
}

/// The end of what was read last, in case a marker begins there.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: [u8; TAIL_MAX],
    length: usize,
}

/// One buffer for all reads.
#[derive(Debug)]
pub(crate) struct Scratch {
    buffer: Vec<u8>,
    finder: Finder<'static>,
    /// Bytes read so far.
    pub(crate) bytes: u64,
}

impl Scratch {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; TAIL_MAX + READ_BYTES_MAX], finder: Finder::new(MARKER), bytes: 0 }
    }

    /// Reads once and counts the markers that are now whole; `seen` gets their digits.
    pub(crate) fn read(
        &mut self,
        mut from: impl Read,
        tail: &mut Tail,
        mut seen: impl FnMut(&[u8]),
    ) -> io::Result<u64> {
        self.buffer[..tail.length].copy_from_slice(&tail.bytes[..tail.length]);
        let read = from.read(&mut self.buffer[tail.length..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes += read as u64;
        let bytes = &self.buffer[..tail.length + read];
        let mut count = 0;
        for start in self.finder.find_iter(bytes) {
            let digits = start + MARKER.len();
            if let Some(digits) = bytes.get(digits..digits + DIGITS) {
                count += 1;
                seen(digits);
            }
        }
        let kept = &bytes[bytes.len().saturating_sub(TAIL_MAX)..];
        tail.bytes[..kept.len()].copy_from_slice(kept);
        tail.length = kept.len();
        Ok(count)
    }
}

/// The number behind a marker.
pub(crate) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// One WebSocket connection, blocking.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The connection itself.
    pub(crate) stream: TcpStream,
}

impl Socket {
    /// Connects as `token`'s owner; speaks version 2 of the protocol.
    pub(crate) fn connect(address: SocketAddr, token: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("a socket option");
        let request = format!(
            "GET /socket/websocket?apikey={token}&vsn=2.0.0 HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut socket = Self { stream };
        let answer = socket.read_until("\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 101"), "the server refused a socket: {answer}");
        socket
    }

    /// Joins a topic with this `config`; waits for the reply and, with changes asked for, until they flow.
    pub(crate) fn join(&mut self, topic: &str, config: &str) {
        let join = format!("[\"1\",\"1\",\"realtime:{topic}\",\"phx_join\",{{\"config\":{config}}}]");
        self.stream.write_all(&frame(join.as_bytes())).expect("a join");
        let last = if config.contains("postgres_changes") {
            "Subscribed to PostgreSQL"
        } else {
            "\"status\":\"ok\""
        };
        self.read_until(last);
    }

    /// Reads until `text` has come; an error told by the server ends everything.
    fn read_until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while memmem::find(&seen, text.as_bytes()).is_none() {
            let read = self.stream.read(&mut buffer).unwrap_or(0);
            seen.extend_from_slice(&buffer[..read]);
            let so_far = String::from_utf8_lossy(&seen);
            assert!(!so_far.contains("\"status\":\"error\""), "the server refused: {so_far}");
            assert!(read > 0 && Instant::now() < deadline, "the server did not send {text}: {so_far}");
        }
        String::from_utf8_lossy(&seen).into_owned()
    }
}

/// A text frame from a client.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut frame = vec![0x81];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(MASKED | length),
        _ => {
            frame.push(MASKED | 126);
            frame.extend(u16::try_from(payload.len()).expect("a short payload").to_be_bytes());
        }
    }
    // A mask of zeros leaves the payload as it is.
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

//! The stream under a socket: whole messages in, frames out.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::protocol::Message;
use crate::protocol::code::CloseCode;
use crate::protocol::frame::{close_frame, pong_frame};
use crate::socket::frame::{Decoder, Event, Violation};

/// How much is read at once.
const READ_BYTES: usize = 4096;

/// How much is written at once, within the time that a write may take: a slow client gets much, if it takes it.
const WRITE_BYTES: usize = 128 * 1024;

/// How long a client may take to close its side once it was told to.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// A text.
    Text(String),
    /// Bytes, which no app takes.
    Binary,
    /// A ping, to be answered with what it holds.
    Ping(Vec<u8>),
    /// A pong, with what its ping held.
    Pong(Vec<u8>),
    /// The client closes the socket.
    Closed,
    /// It is gone without a word.
    Gone,
    /// It does not keep to the protocol.
    Violation(Violation),
}

/// One socket's stream.
pub(super) struct Wire {
    stream: TcpStream,
    decoder: Decoder,
    arrived: VecDeque<Arrived>,
    write_within: Duration,
}

impl Wire {
    /// Takes over a stream behind its handshake, with what was read beyond that.
    pub(super) fn new(
        stream: TcpStream,
        mut read: Vec<u8>,
        message_bytes_max: usize,
        write_within: Duration,
    ) -> Self {
        let decoder = Decoder::new(message_bytes_max);
        let mut wire = Self { stream, decoder, arrived: VecDeque::new(), write_within };
        wire.decode(&mut read);
        wire
    }

    /// What comes next. Nothing is lost if it is not waited for to the end.
    pub(super) async fn read(&mut self) -> Arrived {
        loop {
            if let Some(arrived) = self.arrived.pop_front() {
                return arrived;
            }
            let mut buffer = [0; READ_BYTES];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return Arrived::Gone,
                Ok(count) => self.decode(&mut buffer[..count]),
            }
        }
    }

    fn decode(&mut self, bytes: &mut [u8]) {
        let arrived = &mut self.arrived;
        let decoded = self.decoder.decode(bytes, |event| {
            arrived.push_back(match event {
                Event::Message(Message::Text(text)) => Arrived::Text(text.to_owned()),
                Event::Message(Message::Binary(_)) => Arrived::Binary,
                Event::Ping(payload) => Arrived::Ping(payload.to_owned()),
                Event::Pong(payload) => Arrived::Pong(payload.to_owned()),
                Event::Close(_) => Arrived::Closed,
            });
        });
        if let Err(violation) = decoded {
            arrived.push_back(Arrived::Violation(violation));
        }
    }

    /// Writes whole frames. A client that does not take a part of them in time is given up.
    pub(super) async fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        for part in frames.chunks(WRITE_BYTES) {
            timeout(self.write_within, self.stream.write_all(part)).await??;
        }
        Ok(())
    }

    /// Answers a ping.
    pub(super) async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.write(&pong_frame(payload)).await
    }

    /// Says why the socket is closed, and waits a little for the client to have read it.
    pub(super) async fn close(mut self, close: Option<CloseCode>) {
        let frame = match close {
            Some(CloseCode { code, reason, .. }) => close_frame(Some(code), reason),
            None => close_frame(Some(1000), ""),
        };
        let closing = async {
            self.stream.write_all(&frame).await?;
            self.stream.shutdown().await?;
            // What it has sent meanwhile would else have the system throw away what it has not yet read.
            let mut buffer = [0; READ_BYTES];
            while self.stream.read(&mut buffer).await? > 0 {}
            io::Result::Ok(())
        };
        // One that is gone needs no word.
        let _ = timeout(CLOSE_WITHIN, closing).await;
    }
}

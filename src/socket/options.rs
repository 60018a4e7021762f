//! The bounds of a shard, and the options of its TCP streams.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The bounds of one shard. Each says what happens when it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// The largest message a client may send; a larger one closes its connection with 1009.
    pub message_bytes_max: usize,
    /// A connection that sends no bytes at all for this long is closed with 1000.
    pub idle_timeout: Duration,
    /// How long the close frame, and what was queued before it, may take to reach a client, and the client to
    /// close its side; then the stream is dropped.
    pub close_timeout: Duration,
    /// A connection whose client does not read is closed with 1008 when this many bytes already wait and
    /// another frame comes; one frame, however large, may therefore always wait.
    pub backlog_bytes_max: usize,
    /// The same for the age of the oldest waiting frame.
    pub backlog_age_max: Duration,
    /// When the backlogs of all connections exceed this together, the largest is closed with 1008, or cut off
    /// where it is in the middle of a large frame. Frames are shared, so this counts more bytes than it holds.
    pub backlogs_bytes_max: usize,
    /// How many commands may wait; [`ShardHandle::send`](super::ShardHandle::send) then waits for room and
    /// [`ShardHandle::try_send`](super::ShardHandle::try_send) refuses.
    pub inbox_commands_max: usize,
    /// How often [`Handler::tick`](super::Handler::tick) is called.
    pub tick: Duration,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            message_bytes_max: 5_000_000,
            idle_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            backlog_bytes_max: 16 * 1024 * 1024,
            backlog_age_max: Duration::from_secs(10),
            backlogs_bytes_max: 256 * 1024 * 1024,
            inbox_commands_max: 4096,
            tick: Duration::from_millis(100),
        }
    }
}

impl ShardConfig {
    /// How often timeouts are looked for: an eighth of the shortest, between 10 ms and 1 s.
    pub(super) fn sweep_interval(&self) -> Duration {
        let shortest = self.idle_timeout.min(self.close_timeout).min(self.backlog_age_max);
        (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// How many unsent bytes the kernel takes for one connection before it says "full". Without it the kernel
/// would take up to 4 MiB, old by the time a slow client reads them.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// Sets the options of a stream that a shard takes over.
pub(super) fn set_stream_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket, UNSENT_BYTES_MAX, UNACKNOWLEDGED_MAX);
    Ok(())
}

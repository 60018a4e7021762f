//! What a shard counts. Plain atomics: the shard writes them, the metrics page reads them.

use crate::protocol::code;
use crate::telemetry::code::Code;
use crate::telemetry::metrics as names;
use crate::telemetry::number::Number;
use crate::telemetry::page::Page;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client sent a close frame.
    Client,
    /// The stream ended or failed without one.
    Lost,
    /// The handler closed it.
    Handler,
    /// The client sent nothing for too long: 1000.
    Idle,
    /// The client broke the protocol: 1002.
    Protocol,
    /// The client sent text that is not UTF-8: 1007.
    InvalidUtf8,
    /// The client sent too large a message: 1009.
    TooLarge,
    /// The client did not read fast enough: 1008.
    SlowConsumer,
    /// The largest backlog when all backlogs together were too large: 1008.
    Overload,
    /// A handler panicked: 1011.
    Panic,
    /// The shard drains.
    Drain,
}

impl CloseReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Client,
        Self::Lost,
        Self::Handler,
        Self::Idle,
        Self::Protocol,
        Self::InvalidUtf8,
        Self::TooLarge,
        Self::SlowConsumer,
        Self::Overload,
        Self::Panic,
        Self::Drain,
    ];

    /// Its code in the log; `None` for ends that are nobody's fault, or that whoever asked for them reports.
    pub(super) fn code(self) -> Option<Code> {
        match self {
            Self::Client | Self::Lost | Self::Handler | Self::Drain => None,
            Self::Idle => Some(code::CLOSE_IDLE.name),
            Self::Protocol => Some(code::CLOSE_PROTOCOL.name),
            Self::InvalidUtf8 => Some(code::CLOSE_NOT_TEXT.name),
            Self::TooLarge => Some(code::CLOSE_TOO_LARGE.name),
            Self::SlowConsumer | Self::Overload => Some(code::CLOSE_SLOW.name),
            Self::Panic => Some(code::CLOSE_INTERNAL.name),
        }
    }

    /// The value of its metrics label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::Handler => "handler",
            Self::Idle => "idle",
            Self::Protocol => "protocol",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooLarge => "too_large",
            Self::SlowConsumer => "slow_consumer",
            Self::Overload => "overload",
            Self::Panic => "panic",
            Self::Drain => "drain",
        }
    }
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Connections now: reserved, open or closing.
    pub connections: Number,
    /// Connections opened since the start.
    pub opened: Number,
    /// Messages from clients.
    pub messages_in: Number,
    /// Bytes from clients, headers included.
    pub bytes_in: Number,
    /// Frames written whole, control frames included.
    pub frames_out: Number,
    /// Bytes written, headers included.
    pub bytes_out: Number,
    /// Calls to the kernel that wrote them.
    pub writes: Number,
    /// Bytes that wait now for clients that do not read.
    pub backlog_bytes: Number,
    /// Commands refused because the inbox was full.
    pub commands_refused: Number,
    /// Panics of the handler.
    pub panics: Number,
    closed: [Number; CloseReason::ALL.len()],
}

impl ShardMetrics {
    /// How many connections have ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize].get()
    }

    pub(super) fn count_closed(&self, reason: CloseReason) {
        self.closed[reason as usize].add(1);
    }

    /// Adds all of them to the metrics page.
    pub fn add_to(&self, page: &mut Page) {
        for (metric, number) in [
            (&names::SOCKETS_OPENED, &self.opened),
            (&names::STOCK_SOCKETS, &self.opened),
            (&names::STOCK_SOCKETS_OPEN, &self.connections),
            (&names::MESSAGES_RECEIVED, &self.messages_in),
            (&names::RECEIVED_BYTES, &self.bytes_in),
            (&names::STOCK_INPUT_BYTES, &self.bytes_in),
            (&names::STOCK_GLOBAL_INPUT_BYTES, &self.bytes_in),
            (&names::FRAMES_SENT, &self.frames_out),
            (&names::SENT_BYTES, &self.bytes_out),
            (&names::STOCK_OUTPUT_BYTES, &self.bytes_out),
            (&names::STOCK_GLOBAL_OUTPUT_BYTES, &self.bytes_out),
            (&names::WRITES, &self.writes),
            (&names::BACKLOG_BYTES, &self.backlog_bytes),
            (&names::COMMANDS_REFUSED, &self.commands_refused),
            (&names::PANICS, &self.panics),
        ] {
            page.add(metric, number.get());
        }
        for reason in CloseReason::ALL {
            page.add_to(&names::SOCKETS_CLOSED, reason.label(), self.closed(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_count() {
        let metrics = ShardMetrics::default();
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            metrics.count_closed(reason);
            assert_eq!(metrics.closed(reason), 1, "{}", reason.label());
        }
    }
}

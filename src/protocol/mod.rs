//! Dialects: channel values ↔ frames.

/// A protocol version, chosen by `vsn` when the socket opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `1.0.0`: JSON objects.
    V1,
    /// `2.0.0`: JSON arrays and binary frames.
    V2,
}
pub mod change;

/// A change.
pub fn changes_frame(
    _dialect: Dialect,
    _legacy: bool,
    _topic: &str,
    _ids: &[u32],
    _event: &str,
    _data: &str,
) -> bytes::Bytes {
    bytes::Bytes::new()
}

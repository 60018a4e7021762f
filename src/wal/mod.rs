//! Reads the write-ahead log: a replication connection in, decoded pgoutput messages out.

pub mod lsn;
pub mod pgoutput;
pub mod tuple;

pub use lsn::Lsn;

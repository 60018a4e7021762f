//! Reads the write-ahead log: a replication session in, decoded pgoutput messages out.
//!
//! In: the bytes of one replication session. Out: [`pgoutput::Message`]s in commit order.
//!
//! **Invariant:** this stage never acknowledges by itself. What Postgres may forget is decided by whoever has
//! delivered it, through [`WalSource::acknowledge`].

pub mod lsn;
pub mod pgoutput;
pub mod publication;
pub mod slot;
pub mod sql;
pub mod stream;
pub mod tuple;

pub use lsn::Lsn;
pub use publication::TablePublication;
pub use slot::{Slot, SlotName};
pub use stream::{PgWireSource, StreamConfig, WalSource};

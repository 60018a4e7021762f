//! Rowcast: realtime for any Postgres.
//!
//! A row travels one way, and each stage knows nothing of the stages after it:
//!
//! ```text
//! wal ─▶ change ─▶ policy ─▶ subscription ─▶ channel ─▶ protocol ─▶ hub ─▶ socket
//! Message  Transaction  Permit     Verdict      Effect      frame    Delivery   writes
//! ```
//!
//! The modules below stand in that order, which is also the reading order. `wal`, `postgres`, `socket` and
//! `rest` talk to the world; `change`, `policy`, `subscription`, `channel` and `protocol` are pure: no I/O,
//! no clock, no randomness. `server` builds every stage and joins them with bounded queues.
//!
//! Policies are compiled into programs and judged in memory where that is certain ([`policy::program`]), by a mirror of
//! the tables that they read ([`policy::mirror`]); Postgres is asked the rest.
//!
//! Start with [`policy`] for who may see a row, or with [`hub`] for how it gets there.

pub mod telemetry;

pub mod wal;

pub mod change;

pub mod policy;

pub mod subscription;

pub mod channel;

pub mod protocol;

pub mod auth;

pub mod postgres;

pub mod hub;

pub mod socket;

pub mod rest;

pub mod adapter;

pub mod config;

pub mod server;

pub mod cli;

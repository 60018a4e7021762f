//! Tests against live servers of several major versions.

#![allow(clippy::unwrap_used, reason = "helpers fail a test as tests do, by a panic")]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod connect;
mod dev;
mod feed;
mod filter_oracle;
mod migrate;
mod value_oracle;

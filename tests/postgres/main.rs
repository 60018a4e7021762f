//! Tests against live servers of several major versions.

#![allow(clippy::unwrap_used, reason = "helpers fail a test as tests do, by a panic")]
#![allow(clippy::print_stderr, reason = "what a failed test says besides its panic")]

#[path = "../support/mod.rs"]
mod support;

mod authorization;
mod catch_up;
mod cluster;
mod connect;
mod dev;
mod failures;
mod feed;
mod filter_oracle;
mod function_oracle;
mod messaging;
mod messaging_upkeep;
mod migrate;
mod mirror;
mod policy;
mod policy_oracle;
mod policy_source;
mod realtime_schema;
mod replay;
mod rpc;
mod value_oracle;

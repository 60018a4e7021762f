//! Tests against live servers of several major versions.

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod connect;
mod migrate;
mod value_oracle;

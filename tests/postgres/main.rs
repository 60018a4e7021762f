//! Tests against live servers of several major versions.

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod filter_oracle;

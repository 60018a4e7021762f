//! Tests that need nothing but this checkout.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod connect;
mod echo;
mod frame_oracle;
mod shard;
mod socket;

//! Tests that need nothing but this checkout.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod channel_script;
mod connect;
mod echo;
mod frame_oracle;
mod golden_frames;
mod hub_simulation;
#[path = "../support/key_server.rs"]
mod key_server;
mod key_sources;
mod limits;
mod metrics;
mod patience;
mod private;
mod rest;
mod script;
mod shard;
#[path = "../support/signer.rs"]
mod signer;
mod socket;
mod tokens;
mod withdrawn_key;

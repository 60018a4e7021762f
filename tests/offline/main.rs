//! Tests that need nothing but this checkout.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod channel_script;
mod connect;
mod echo;
mod envelope;
mod frame_oracle;
mod golden_frames;
mod hub_simulation;
mod limits;
mod metrics;
mod patience;
mod people;
mod private;
mod rest;
mod script;
mod shard;
mod socket;
mod token_keys;
mod tokens;
mod withdrawn_key;

#[path = "../support/key_server.rs"]
mod key_server;
#[path = "../support/signer.rs"]
mod signer;

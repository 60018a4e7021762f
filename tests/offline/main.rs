//! Tests that need nothing but this checkout.

mod connect;
mod echo;
mod frame_oracle;
mod shard;
mod socket;

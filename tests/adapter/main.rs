//! Apps with protocols of their own, on a whole server, a live Postgres and the messaging schema: what each request and
//! each frame is answered with.

#![allow(clippy::unwrap_used, reason = "helpers fail a test as tests do, by a panic")]

#[path = "../support/mod.rs"]
mod support;

mod infrastructure;
mod pitchey;
mod requests;
mod stage;
mod tutorconnect;

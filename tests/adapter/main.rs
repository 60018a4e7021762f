//! Apps with an interface of their own, on a whole server, a live Postgres and the messaging schema: what each request
//! and each frame is answered with.
//!
//! Each app is played whole on the real program, too: those with sockets of their own in `tests/e2e/socket_apps/`,
//! those whose clients are stock ones, with these, in `tests/e2e/supabase_apps/`.

#![allow(clippy::unwrap_used, reason = "helpers fail a test as tests do, by a panic")]

#[path = "../support/app_socket.rs"]
mod app_socket;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/writers.rs"]
mod writers;

mod calls;
mod document;
mod infrastructure;
mod pitchey;
mod reload;
mod requests;
mod roles;
mod school;
mod table;
mod times;
mod tutorconnect;
mod whole;

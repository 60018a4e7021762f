//! Apps with an interface of their own, on a whole server, a live Postgres and the messaging schema: what each request
//! and each frame is answered with.
//!
//! Apps whose clients are stock ones are played whole, with those, in `tests/e2e/supabase_apps/`.

#![allow(clippy::unwrap_used, reason = "helpers fail a test as tests do, by a panic")]

#[path = "../support/app_socket.rs"]
mod app_socket;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/writers.rs"]
mod writers;

#[cfg(feature = "e2e-tests")]
#[allow(dead_code, unused_imports, reason = "the stage has more than these tests need")]
#[path = "../e2e/stage/mod.rs"]
mod real;

mod calls;
mod infrastructure;
mod pitchey;
mod reload;
mod requests;
mod roles;
#[cfg(feature = "e2e-tests")]
mod school;
mod times;
mod tutorconnect;
mod whole;

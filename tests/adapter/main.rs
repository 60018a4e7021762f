//! Apps with an interface of their own, on the real program and a live Postgres.
//!
//! Each app has a file about its routes and whom they refuse, and one that plays it whole with unmodified stock clients.

#![allow(clippy::unwrap_used, reason = "helpers fail a test as tests do, by a panic")]
#![allow(dead_code, unused_imports, reason = "the stage has more than these tests need")]

#[path = "../e2e/stage/mod.rs"]
mod stage;
#[path = "../support/mod.rs"]
mod support;

mod app;
mod people;

mod infrastructure;
mod infrastructure_live;
mod tutorconnect;
mod tutorconnect_live;

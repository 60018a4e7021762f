//! Apps with an interface of their own, on a live Postgres with the messaging schema: what each request and each frame
//! is answered with.
//!
//! Sockets are asked for of a server in this process. Apps that stock clients belong to have a file about their routes
//! and whom they refuse, and one that plays them whole with the real program and unmodified stock clients.

#![allow(clippy::unwrap_used, reason = "helpers fail a test as tests do, by a panic")]
#![allow(dead_code, unused_imports, reason = "the stage has more than these tests need")]

#[path = "../support/app_socket.rs"]
mod app_socket;
#[cfg(feature = "e2e-tests")]
#[path = "../e2e/stage/mod.rs"]
mod stage;
#[path = "../support/mod.rs"]
mod support;

mod pitchey;
mod whole;

#[cfg(feature = "e2e-tests")]
mod app;
#[cfg(feature = "e2e-tests")]
mod people;

#[cfg(feature = "e2e-tests")]
mod infrastructure;
#[cfg(feature = "e2e-tests")]
mod infrastructure_live;
#[cfg(feature = "e2e-tests")]
mod tutorconnect;
#[cfg(feature = "e2e-tests")]
mod tutorconnect_live;

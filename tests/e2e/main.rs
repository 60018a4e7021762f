//! The real program and unmodified stock clients, against a live Postgres.
//!
//! A test sets a stage: a database of its own, the server on it, and one process for each stock client. Rust gives
//! the orders, the clients do them with their own code and tell what they saw, and every wait is for an event.
//! `tests/tools/fetch-clients.sh` fetches the clients.

#![allow(clippy::unwrap_used, reason = "helpers fail a test as tests do, by a panic")]

#[path = "../support/app_socket.rs"]
mod app_socket;
#[path = "../support/key_server.rs"]
mod key_server;
#[path = "../support/signer.rs"]
mod signer;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/writers.rs"]
mod writers;

mod stage;

mod bad_input;
mod broadcast;
mod changes;
mod checklist;
mod cli;
mod container;
mod database_broadcast;
mod dev;
mod doctor;
mod examples;
mod explain;
mod gateway;
mod http;
mod join;
mod log;
mod messaging;
mod outage;
mod presence;
mod private;
mod publication;
mod raw_socket;
mod revocation;
mod rpc;
mod shutdown;
mod socket_apps;
mod stock_environment;
mod supabase_apps;
mod token;
mod tokens;
mod visibility;
mod visible;

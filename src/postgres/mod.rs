//! Ordinary SQL: connections, the catalog, migrations, and a private cluster for development and tests.

pub mod catalog;
pub mod cluster;
pub mod connect;
pub mod maintenance;
mod messages;
pub mod messaging;
pub mod migrate;
pub mod opening;
pub mod policies;
mod programs;
pub mod rows;
pub mod rpc;
pub mod snapshot;
mod tls;
pub mod types;

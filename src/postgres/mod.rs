//! Ordinary SQL: connections, the catalog, migrations, and a private cluster for development and tests.

pub mod cluster;
pub mod connect;
pub mod migrate;
mod tls;

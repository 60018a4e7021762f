//! Ordinary SQL: connections, the catalog, migrations, and a private cluster for development and tests.

pub mod cluster;

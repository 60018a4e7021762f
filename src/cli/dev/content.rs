//! What `rowcast dev` starts with: the demo, the messaging schema, or SQL of the reader's own.

use std::net::SocketAddr;
use std::path::Path;

use crate::cli::migrate::Extra;
use crate::cli::{Error, say};
use crate::config::Sources;
use crate::postgres::connect::Database;
use crate::postgres::migrate::{Set, migrate};

use super::demo;
use super::directory::Directory;
use super::greeting::{self, Keys};
use super::schema::Schema;

/// People of the messaging schema.
const PEOPLE: &str = include_str!("../../../sql/demo_messaging.sql");

/// One of them.
pub(super) enum Content {
    Demo,
    Messaging,
    Schema(Schema),
}

impl Content {
    /// Reads what is to be read, before anything is started.
    pub(super) fn choose(with: Option<Extra>, schema: Option<&Path>) -> Result<Self, Error> {
        Ok(match (with, schema) {
            (_, Some(path)) => Self::Schema(Schema::read(path)?),
            (Some(Extra::Messaging), None) => Self::Messaging,
            (None, None) => Self::Demo,
        })
    }

    /// Says what it wants of the server, where nothing else is said.
    pub(super) fn settle(&self, sources: &mut Sources) {
        if matches!(self, Self::Messaging) {
            sources.environment.entry("ROWCAST_ADAPTERS".to_owned()).or_insert_with(|| "all".to_owned());
        }
    }

    /// Migrates, and makes it.
    pub(super) async fn prepare(&self, database: &Database) -> Result<(), Error> {
        let sets: &[Set] = match self {
            Self::Messaging => &[Set::Messaging],
            Self::Demo | Self::Schema(_) => &[],
        };
        let report = migrate(database, sets).await?;
        if !report.applied.is_empty() {
            say(format_args!("applied {} migrations", report.applied.len()));
        }
        report.notices.iter().for_each(|notice| say(format_args!("notice: {notice}")));
        match self {
            Self::Demo => demo::seed(database).await,
            Self::Schema(schema) => schema.run(database).await,
            Self::Messaging => {
                let (client, _session) = database.connect("rowcast_dev").await?;
                client.batch_execute(PEOPLE).await.map_err(|error| Error::failed(&error))
            }
        }
    }

    /// What can be done with it, and the first client's file; of a reader's own tables only the reader knows that.
    pub(super) fn first_client(
        &self,
        directory: &Directory,
        address: SocketAddr,
        keys: &Keys,
    ) -> Result<String, Error> {
        let column = match self {
            Self::Demo => "body",
            Self::Messaging => "content",
            Self::Schema(_) => return Ok(String::new()),
        };
        let client = greeting::client(address, keys, column);
        let path = directory.write_client(&client)?;
        let write = greeting::write(directory.flag().as_deref());
        Ok(greeting::first_client(&client, &path, &write))
    }
}

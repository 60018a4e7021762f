//! SQL of the reader's own, in place of the demo.

use std::path::{Path, PathBuf};

use crate::cli::Error;
use crate::postgres::connect::Database;

/// A file of statements, read before anything is started.
pub(super) struct Schema {
    path: PathBuf,
    sql: String,
}

impl Schema {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let sql = std::fs::read_to_string(path).map_err(|error| {
            let text = format!("could not read {}: {error}", path.display());
            Error::usage(text).help("name a file with SQL, such as examples/ipec-own-tables/schema.sql")
        })?;
        Ok(Self { path: path.to_owned(), sql })
    }

    /// Runs it, as one transaction.
    pub(super) async fn run(&self, database: &Database) -> Result<(), Error> {
        let (client, _session) = database.connect("rowcast_dev").await?;
        client.batch_execute(&self.sql).await.map_err(|error| {
            Error::failed(&error).help(format!("mend {}, and start again", self.path.display()))
        })
    }
}

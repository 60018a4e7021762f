//! The publications: made ready on the session that will stream from them.

use pgwire_replication::client::ReplicationClient;

use super::sql::{identifier, literal};
use super::stream::Error;

/// A publication of the server's own for one table. Where it cannot be had, the stream does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePublication {
    /// Its name.
    pub name: &'static str,
    /// The schema of the table.
    pub schema: &'static str,
    /// The table.
    pub table: &'static str,
}

impl TablePublication {
    /// A statement after which the publication is there, and has its table if that is there. What else somebody has
    /// put into it stays.
    pub fn statement(&self) -> String {
        let publication = identifier(self.name);
        let table = format!("{}.{}", identifier(self.schema), identifier(self.table));
        let (name_value, table_value) = (literal(self.name), literal(&table));
        format!(
            "do $make$ begin
                 if not exists (select from pg_catalog.pg_publication where pubname = {name_value}) then
                     create publication {publication};
                 end if;
                 if pg_catalog.to_regclass({table_value}) is not null and not exists (
                     select from pg_catalog.pg_publication p
                       left join pg_catalog.pg_publication_rel r
                         on r.prpubid = p.oid and r.prrelid = pg_catalog.to_regclass({table_value})
                      where p.pubname = {name_value} and (p.puballtables or r.oid is not null))
                 then
                     alter publication {publication} add table {table};
                 end if;
             end $make$"
        )
    }

    /// Makes it ready as far as that can be done; whether it is there. What is wrong with it is said in the log.
    pub(super) async fn prepare(&self, client: &mut ReplicationClient) -> Result<bool, Error> {
        match client.simple_query(&self.statement()).await.map_err(Error::from) {
            Ok(_) => return Ok(true),
            // Another server may have been faster with the same.
            Err(error) => tracing::warn!(
                error = %error,
                publication = self.name,
                remedy = "grant the role CREATE on the database, or have the owner of the table make the publication",
                "publication could not be made ready: what is written to its table may not arrive"
            ),
        }
        is_there(client, self.name).await
    }
}

async fn is_there(client: &mut ReplicationClient, name: &str) -> Result<bool, Error> {
    let query = format!("select from pg_catalog.pg_publication where pubname = {}", literal(name));
    Ok(!client.simple_query(&query).await?.is_empty())
}

/// Looks for the publications; with `make`, creates those that are missing, empty. Without the right to create
/// them, they must be there.
pub(super) async fn prepare(
    client: &mut ReplicationClient,
    names: &[String],
    make: bool,
) -> Result<(), Error> {
    for name in names {
        if is_there(client, name).await? {
            continue;
        }
        if !make {
            return Err(Error::PublicationMissing { name: name.as_str().into() });
        }
        let create = format!("create publication {}", identifier(name));
        match client.simple_query(&create).await {
            // Somebody else was faster.
            Err(error) if error.to_string().contains("SQLSTATE 42710") => {}
            created => {
                created?;
                tracing::info!(publication = name, "publication created");
            }
        }
    }
    Ok(())
}

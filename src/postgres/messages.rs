//! Reads what inserting a row into `realtime.messages` does.

use tokio_postgres::{Client, Error};

use crate::change::RelationId;
use crate::policy::messages::{Column, Messages, Partitions};
use crate::policy::source::Source;

/// The table of this number, if inserting a row does nothing but put it there.
pub(super) async fn read(
    client: &Client,
    id: Option<u32>,
    source: &Source,
) -> Result<Option<Messages>, Error> {
    let Some(id) = id.map(RelationId) else { return Ok(None) };
    let Some(relation) = source.relations.get(&id) else { return Ok(None) };
    let table = client.query_opt(include_str!("../../sql/queries/authorization_table.sql"), &[]).await?;
    let Some(table) = table else { return Ok(None) };
    if table.try_get::<_, Option<bool>>("plain")? != Some(true) {
        return Ok(None);
    }
    let bounds: Option<Vec<Option<String>>> = table.try_get("bounds")?;
    Ok(Some(Messages {
        id,
        columns: relation.columns.iter().map(|column| Column::named(&column.name)).collect(),
        is_indexed: table.try_get("indexed")?,
        partitions: match &bounds {
            None => Partitions::Always,
            Some(bounds) => Partitions::of(bounds.iter().flatten().map(String::as_str)),
        },
    }))
}

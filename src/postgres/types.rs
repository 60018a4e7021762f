//! Reads the types of a database from its catalog.

use tokio_postgres::{Client, Error, Row};

use crate::change::types::{Oid, Type, TypeKind, Types};

const QUERY: &str = include_str!("../../sql/queries/types.sql");

/// Reads every type that a column of this database may have, as of one moment.
pub async fn load_types(client: &Client) -> Result<Types, Error> {
    client.query(QUERY, &[]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Type, Error> {
    Ok(Type {
        oid: row.try_get("oid")?,
        schema: row.try_get::<_, String>("schema")?.into(),
        name: row.try_get::<_, String>("name")?.into(),
        kind: read_kind(row)?,
        delimiter: row.try_get::<_, i8>("delimiter")?.cast_unsigned(),
        json_cast: row.try_get("json_cast")?,
    })
}

fn read_kind(row: &Row) -> Result<TypeKind, Error> {
    Ok(match row.try_get("kind")? {
        "base" => TypeKind::Base,
        "array" => TypeKind::Array { element: row.try_get("part")? },
        "domain" => TypeKind::Domain { base: row.try_get("part")? },
        "range" => TypeKind::Range { subtype: row.try_get("part")? },
        "enum" => {
            let labels: Vec<String> = row.try_get("labels")?;
            TypeKind::Enum { labels: labels.into_iter().map(Into::into).collect() }
        }
        "composite" => {
            let names: Vec<String> = row.try_get("field_names")?;
            let types: Vec<Oid> = row.try_get("field_types")?;
            TypeKind::Composite { fields: names.into_iter().map(Into::into).zip(types).collect() }
        }
        _ => TypeKind::Other,
    })
}

//! Reads the catalog: published tables, their columns and types, and what roles may see of them.
//!
//! A reading is one repeatable-read transaction, so that its parts fit together. Names in policy conditions and
//! generation expressions come out schema-qualified, because the transaction's `search_path` is empty; they
//! mean the same wherever they are executed later.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::{Client, Error, Row};

use crate::change::{RelationId, ReplicaIdentity, Table, TableColumn};
use crate::policy::catalog::{Access, Catalog, Role};

use super::types::load_types;

/// Reads catalogs over one session.
pub struct CatalogReader {
    client: Client,
    publications: Vec<String>,
}

impl CatalogReader {
    /// A reader of what `publications` publish.
    pub fn new(client: Client, publications: Vec<String>) -> Self {
        Self { client, publications }
    }

    /// Whether the session has ended; a new reader is needed then.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// A text that changes whenever a new reading may differ from the last.
    pub async fn fingerprint(&self) -> Result<String, Error> {
        let row = self
            .client
            .query_one(include_str!("../../sql/queries/fingerprint.sql"), &[&self.publications])
            .await?;
        row.try_get(0)
    }

    /// Reads everything, with the access of `roles`. Roles that do not exist are listed as such. The version is
    /// the caller's to set.
    pub async fn read(&mut self, roles: &BTreeSet<Arc<str>>) -> Result<Catalog, Error> {
        let transaction = self
            .client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        transaction.batch_execute("set local search_path = ''").await?;
        let client = transaction.client();
        let types = load_types(client).await?;
        let tables =
            client.query(include_str!("../../sql/queries/tables.sql"), &[&self.publications]).await?;
        let ids: Vec<u32> = tables.iter().map(|row| row.try_get("oid")).collect::<Result<_, _>>()?;
        let columns = client.query(include_str!("../../sql/queries/columns.sql"), &[&ids]).await?;
        let names: Vec<&str> = roles.iter().map(AsRef::as_ref).collect();
        let access = client.query(include_str!("../../sql/queries/access.sql"), &[&names, &ids]).await?;
        // An empty publication says nothing about roles, so who exists is asked apart.
        let existing = client
            .query("select rolname::text from pg_catalog.pg_roles where rolname = any ($1)", &[&names])
            .await?;
        let existing: BTreeSet<String> =
            existing.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        transaction.commit().await?;

        let mut columns_by_table: HashMap<u32, Vec<TableColumn>> = HashMap::new();
        for row in &columns {
            columns_by_table.entry(row.try_get("relation")?).or_default().push(column(row)?);
        }
        let mut found = HashMap::new();
        let mut partial = HashSet::new();
        for row in &tables {
            let table = table(row, columns_by_table.remove(&row.try_get("oid")?).unwrap_or_default())?;
            if !row.try_get::<_, bool>("every_event")? {
                partial.insert(table.id);
            }
            found.insert(table.id, Arc::new(table));
        }
        let mut access_by_role: HashMap<String, Role> = HashMap::new();
        for row in &access {
            let id = RelationId(row.try_get("relation")?);
            let Some(table) = found.get(&id) else { continue };
            let role = access_by_role.entry(row.try_get("role")?).or_default();
            role.access.insert(id, Arc::new(access_of(row, table)?));
        }
        let roles = roles.iter().map(|name| {
            let role = existing
                .contains(&**name)
                .then(|| Arc::new(access_by_role.remove(&**name).unwrap_or_default()));
            (Arc::clone(name), role)
        });
        let roles = roles.collect();
        Ok(Catalog {
            version: 0,
            types: Arc::new(types),
            tables: found,
            partial,
            roles,
            needed: HashMap::new(),
        })
    }
}

fn table(row: &Row, columns: Vec<TableColumn>) -> Result<Table, Error> {
    let replica_identity = match row.try_get("replica_identity")? {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    Ok(Table {
        id: RelationId(row.try_get("oid")?),
        schema: row.try_get::<_, String>("schema")?.into(),
        name: row.try_get::<_, String>("name")?.into(),
        columns: columns.into(),
        replica_identity,
        row_security: row.try_get("row_security")?,
        row_security_forced: row.try_get("row_security_forced")?,
        owner: row.try_get("owner")?,
    })
}

fn column(row: &Row) -> Result<TableColumn, Error> {
    Ok(TableColumn {
        name: row.try_get::<_, String>("name")?.into(),
        type_id: row.try_get("type_id")?,
        number: row.try_get("number")?,
        primary_key: row.try_get("primary_key")?,
        generated: row.try_get::<_, Option<String>>("generated")?.map(Into::into),
        collation: row.try_get("collation")?,
        deterministic_collation: row.try_get("deterministic_collation")?,
        c_collation: row.try_get("c_collation")?,
    })
}

fn access_of(row: &Row, table: &Table) -> Result<Access, Error> {
    let numbers: Vec<i16> = row.try_get("selectable")?;
    let columns = table.columns.iter().enumerate();
    let selectable = columns.filter(|(_, column)| numbers.contains(&column.number)).map(|(index, _)| index);
    Ok(Access {
        selectable: selectable.collect(),
        row_security: row.try_get("row_security")?,
        condition: row.try_get::<_, String>("condition")?.into(),
        program: None,
    })
}

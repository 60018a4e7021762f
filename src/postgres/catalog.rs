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
use crate::policy::compile::Command;
use crate::policy::messages::Messages;
use crate::policy::program::Program;

use super::messages;
use super::policies::{self, Bodies};
use super::programs::{self, Bound, Programs};
use super::snapshot::Snapshot;
use super::types::load_types;

/// Reads catalogs over one session.
pub struct CatalogReader {
    client: Client,
    publications: Vec<String>,
    bodies: Bodies,
    /// The fingerprint as long as which the bodies hold.
    fingerprint: String,
    /// How often a lock has kept a reading from looking into a function.
    postponed_count: u64,
}

impl CatalogReader {
    /// A reader of what `publications` publish.
    pub fn new(client: Client, publications: Vec<String>) -> Self {
        Self {
            client,
            publications,
            bodies: Bodies::default(),
            fingerprint: String::new(),
            postponed_count: 0,
        }
    }

    /// Whether the session has ended; a new reader is needed then.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// A text that changes whenever a new reading may differ from the last. Where a lock has kept the last from
    /// looking into a function, it changes by itself.
    ///
    /// With it comes what it saw.
    pub async fn fingerprint(&mut self) -> Result<(String, Option<Snapshot>), Error> {
        let row = self.client.query_one(include_str!("../../sql/queries/fingerprint.sql"), &[]).await?;
        let fingerprint: String = row.try_get("fingerprint")?;
        let snapshot = Snapshot::parse(row.try_get("snapshot")?);
        self.postponed_count += u64::from(self.bodies.is_postponed());
        if fingerprint != self.fingerprint || self.bodies.is_postponed() {
            self.bodies = Bodies::default();
            self.fingerprint.clone_from(&fingerprint);
        }
        Ok((format!("{fingerprint} {}", self.postponed_count), snapshot))
    }

    /// Reads everything, with the access of `roles`. Roles that do not exist are listed as such. The version is
    /// the caller's to set.
    pub async fn read(&mut self, roles: &BTreeSet<Arc<str>>) -> Result<Catalog, Error> {
        // Analysing functions makes some, which is undone: nothing is written, but it is not reading either.
        let transaction = self
            .client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .start()
            .await?;
        transaction.batch_execute("set local search_path = ''").await?;
        let client = transaction.client();
        let types = Arc::new(load_types(client).await?);
        let tables =
            client.query(include_str!("../../sql/queries/tables.sql"), &[&self.publications]).await?;
        let ids: Vec<u32> = tables.iter().map(|row| row.try_get("oid")).collect::<Result<_, _>>()?;
        let columns = client.query(include_str!("../../sql/queries/columns.sql"), &[&ids]).await?;
        let names: Vec<&str> = roles.iter().map(AsRef::as_ref).collect();
        let access = client.query(include_str!("../../sql/queries/access.sql"), &[&names, &ids]).await?;
        // An empty publication says nothing about roles, so who exists is asked apart.
        let existing = client
            .query("select rolname::text, oid from pg_catalog.pg_roles where rolname = any ($1)", &[&names])
            .await?;
        let existing: HashMap<String, u32> = existing
            .iter()
            .map(|row| Ok::<_, Error>((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, _>>()?;
        let messages: Option<u32> =
            client.query_opt(MESSAGES, &[]).await?.map(|row| row.try_get(0)).transpose()?;
        let roots: Vec<u32> = ids.iter().copied().chain(messages).collect();
        let source =
            Arc::new(policies::read(client, &names, &roots, Arc::clone(&types), &mut self.bodies).await?);
        let rights =
            client.query(include_str!("../../sql/queries/policy_messages.sql"), &[&names, &messages]).await?;
        let messages = messages::read(client, messages, &source).await?;
        let of_messages = bound_on_messages(&rights, messages.as_ref())?;
        let bound = bound(&access, &existing)?.into_iter().chain(of_messages.iter().copied()).collect();
        let is_ambiguous = client
            .query_one(include_str!("../../sql/queries/ambiguous_names.sql"), &[])
            .await?
            .try_get("is_ambiguous")?;
        let programs = Programs::compile(Arc::clone(&source), bound).await;
        let read = programs.read();
        let ids: Vec<u32> = read.keys().map(|id| id.0).collect();
        let needed_tables =
            client.query(include_str!("../../sql/queries/needed_tables.sql"), &[&ids]).await?;
        let needed_columns = client.query(include_str!("../../sql/queries/columns.sql"), &[&ids]).await?;
        transaction.rollback().await?;

        let needed = tables_of(&needed_tables, &needed_columns)?.into_iter().filter_map(|table| {
            let columns = read.get(&table.id)?;
            Some((table.id, Arc::new(programs::needed(&source, Arc::new(table), columns))))
        });
        let mut partial = HashSet::new();
        for row in &tables {
            if !row.try_get::<_, bool>("every_event")? {
                partial.insert(RelationId(row.try_get("oid")?));
            }
        }
        let found: HashMap<RelationId, Arc<Table>> =
            tables_of(&tables, &columns)?.into_iter().map(|table| (table.id, Arc::new(table))).collect();
        let mut access_by_role: HashMap<String, Role> = HashMap::new();
        for row in &access {
            let id = RelationId(row.try_get("relation")?);
            let Some(table) = found.get(&id) else { continue };
            let name: String = row.try_get("role")?;
            let role_id = existing.get(&name).copied().unwrap_or_default();
            let program = programs.get(&Bound { relation: id, role: role_id, command: Command::Select });
            access_by_role
                .entry(name)
                .or_default()
                .access
                .insert(id, Arc::new(access_of(row, table, program)?));
        }
        let of_messages = |role: u32, command| {
            let messages = messages.as_ref()?;
            let bound = Bound { relation: messages.id, role, command };
            let program = programs.get(of_messages.iter().find(|known| **known == bound)?)?;
            messages.is_judged_by(&program).then_some(program)
        };
        let roles = roles.iter().map(|name| {
            let role = existing.get(&**name).map(|id| {
                let mut role = access_by_role.remove(&**name).unwrap_or_default();
                role.messages.read = of_messages(*id, Command::Select);
                role.messages.write = of_messages(*id, Command::Insert);
                Arc::new(role)
            });
            (Arc::clone(name), role)
        });
        Ok(Catalog {
            version: 0,
            types,
            roles: roles.collect(),
            tables: found,
            partial,
            is_ambiguous,
            needed: needed.collect(),
            messages: messages.clone().map(Arc::new),
            source,
        })
    }
}

/// The number of `realtime.messages`, whatever may be done with it.
const MESSAGES: &str =
    "select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'realtime' and c.relname = 'messages' and c.relkind in ('r', 'p')";

/// Whom row level security binds on published tables.
fn bound(access: &[Row], roles: &HashMap<String, u32>) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for row in access {
        let role = roles.get(row.try_get::<_, &str>("role")?).copied();
        if let Some(role) = role.filter(|_| row.try_get("row_security").unwrap_or(false)) {
            let relation = RelationId(row.try_get("relation")?);
            bound.push(Bound { relation, role, command: Command::Select });
        }
    }
    Ok(bound)
}

/// Whom it binds on `realtime.messages`, as far as they may ask there.
fn bound_on_messages(rights: &[Row], messages: Option<&Messages>) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for row in rights {
        let Some(relation) = messages.map(|messages| messages.id) else { break };
        let (role, is_bound): (u32, bool) = (row.try_get("role")?, row.try_get("row_security")?);
        for (right, command) in [("may_select", Command::Select), ("may_insert", Command::Insert)] {
            if is_bound && row.try_get(right)? {
                bound.push(Bound { relation, role, command });
            }
        }
    }
    Ok(bound)
}

/// Tables with their columns.
fn tables_of(tables: &[Row], columns: &[Row]) -> Result<Vec<Table>, Error> {
    let mut columns_by_table: HashMap<u32, Vec<TableColumn>> = HashMap::new();
    for row in columns {
        columns_by_table.entry(row.try_get("relation")?).or_default().push(column(row)?);
    }
    let table = |row| table(row, columns_by_table.remove(&row.try_get("oid")?).unwrap_or_default());
    tables.iter().map(table).collect()
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

fn access_of(row: &Row, table: &Table, program: Option<Arc<Program>>) -> Result<Access, Error> {
    let numbers: Vec<i16> = row.try_get("selectable")?;
    let columns = table.columns.iter().enumerate();
    let selectable = columns.filter(|(_, column)| numbers.contains(&column.number)).map(|(index, _)| index);
    Ok(Access {
        selectable: selectable.collect(),
        row_security: row.try_get("row_security")?,
        condition: row.try_get::<_, String>("condition")?.into(),
        program,
    })
}

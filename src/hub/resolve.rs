//! From what a client asked for to what it will be sent: bindings against the catalog.
//!
//! The words of refusals are the reference server's. Filter operands are checked and brought to their canonical
//! text by Postgres itself, once for each distinct operand: the answers are kept, up to a bound.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::change::RelationId;
use crate::policy::{Catalog, ColumnSet};
use crate::subscription::{Binding, Cast, Events, Predicate, check, condition_name};

/// How many canonical operands are kept; beyond it all are forgotten and asked again as they come.
const OPERANDS_KEPT_MAX: usize = 20_000;

/// One binding on one published table.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which of the channel's bindings, by position.
    pub binding: usize,
    /// The table.
    pub relation: RelationId,
    /// Which events.
    pub events: Events,
    /// Which rows.
    pub predicate: Arc<Predicate>,
    /// Which columns besides the primary key; all if `None`.
    pub select: Option<ColumnSet>,
}

/// Why bindings cannot be had.
#[derive(Debug)]
pub enum Unresolved {
    /// The client is told these words.
    Refused(String),
    /// Postgres could not be reached.
    SessionLost(tokio_postgres::Error),
}

/// Canonical operands, as Postgres wrote them.
#[derive(Default)]
pub struct Operands {
    /// By query and operand.
    known: RefCell<HashMap<(String, String), String>>,
}

/// Resolves all bindings of a channel; the first that cannot be had refuses them all.
pub async fn resolve(
    client: &Client,
    operands: &Operands,
    catalog: &Catalog,
    role: &str,
    bindings: &[Binding],
) -> Result<Vec<Target>, Unresolved> {
    let mut targets = Vec::new();
    for (position, binding) in bindings.iter().enumerate() {
        if catalog.roles.get(role).is_none_or(Option::is_none) {
            let message = format!("role \"{role}\" does not exist");
            return Err(Unresolved::Refused(binding.exception("42704", condition_name("42704"), &message)));
        }
        let mut covered: Vec<_> =
            catalog.tables.values().filter(|table| binding.covers(&table.schema, &table.name)).collect();
        covered.sort_by_key(|table| table.id);
        if covered.is_empty() {
            return Err(Unresolved::Refused(binding.unable_to_subscribe()));
        }
        for table in covered {
            let access = catalog.access(role, table.id);
            let selectable = |column: usize| access.is_some_and(|access| access.selectable.contains(column));
            let checked = check(binding, table, &catalog.types, &selectable)
                .map_err(|error| Unresolved::Refused(error.message(binding)))?;
            let mut canonical = Vec::with_capacity(checked.casts().len());
            for cast in checked.casts() {
                canonical.push(operands.canonical(client, catalog, binding, cast).await?);
            }
            let select = binding
                .select
                .as_ref()
                .map(|names| names.iter().filter_map(|name| Some(table.column(name)?.0)).collect());
            targets.push(Target {
                binding: position,
                relation: table.id,
                events: binding.event,
                predicate: Arc::new(checked.compile(canonical)),
                select,
            });
        }
    }
    Ok(targets)
}

impl Operands {
    async fn canonical(
        &self,
        client: &Client,
        catalog: &Catalog,
        binding: &Binding,
        cast: &Cast,
    ) -> Result<String, Unresolved> {
        let Some(query) = cast.query(&catalog.types) else {
            return Err(Unresolved::Refused(binding.unable_to_subscribe()));
        };
        let key = (query, cast.text.clone());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let row =
            client.query_one(&key.0, &[&cast.text]).await.map_err(|error| match error.as_db_error() {
                Some(refusal) => {
                    Unresolved::Refused(cast.refusal(binding, refusal.code().code(), refusal.message()))
                }
                None => Unresolved::SessionLost(error),
            })?;
        let canonical: String = row.try_get(0).map_err(Unresolved::SessionLost)?;
        let mut known = self.known.borrow_mut();
        if known.len() >= OPERANDS_KEPT_MAX {
            known.clear();
        }
        known.insert(key, canonical.clone());
        Ok(canonical)
    }
}

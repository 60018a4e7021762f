//! What roles may do with what policies name.

use std::sync::Arc;

use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::{FIRST_OWN_OID, Reading};
use crate::change::{Oid, RelationId};

/// How many pairs of a role and a relation, and of a role and a function, are looked at. The rest counts as forbidden.
const PAIRS_MAX: usize = 100_000;

/// Which schemas each role in $1 may use, those of Postgres itself and of sessions left out; not more pairs than
/// [`PAIRS_MAX`].
const USABLE_SCHEMAS: &str = "select r.oid as role, n.nspname::text as schema
    from pg_catalog.unnest($1::oid[]) as r(oid)
   cross join pg_catalog.pg_namespace n
   where n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
     and pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
   limit 100000";

impl Reading<'_> {
    /// Reads which columns the roles may read, and which functions they may call.
    pub(super) async fn read_rights(&mut self) -> Result<(), Error> {
        let mut roles = self.callers.clone();
        let mut relations: Vec<Oid> = self.source.relations.keys().map(|id| id.0).collect();
        relations.sort_unstable();
        let mut functions: Vec<Oid> =
            self.source.functions.keys().copied().filter(|id| *id >= FIRST_OWN_OID).collect();
        functions.sort_unstable();
        let most = relations.len().max(functions.len()).max(1);
        roles.truncate(PAIRS_MAX / most);
        let (of_relations, of_functions): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 2]) =
            ([&roles, &relations], [&roles, &functions]);
        let schemas: &[&(dyn ToSql + Sync)] = &[&roles];
        let (selectable, callable, usable) = tokio::try_join!(
            self.client.query(include_str!("../../../sql/queries/policy_selectable.sql"), &of_relations),
            self.client.query(include_str!("../../../sql/queries/policy_callable.sql"), &of_functions),
            self.client.query(USABLE_SCHEMAS, schemas),
        )?;
        for row in &usable {
            let schema: String = row.try_get("schema")?;
            self.source.usable_schemas.insert((row.try_get("role")?, schema.into()));
        }
        for row in &selectable {
            let columns: Vec<i16> = row.try_get("columns")?;
            let pair = (row.try_get("role")?, RelationId(row.try_get("relation")?));
            self.source.selectable.insert(pair, Arc::from(columns));
        }
        for row in &callable {
            let (role, function): (Oid, Oid) = (row.try_get("role")?, row.try_get("function")?);
            // A function with its owner's rights means what its owner means.
            let runs_as = match self.source.functions.get(&function) {
                Some(function) if function.security_definer => function.owner,
                _ => role,
            };
            if !self.differing.contains(&(runs_as, function)) {
                self.source.executable.insert((role, function));
            }
        }
        Ok(())
    }
}

//! What roles may do with what policies name.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::{FIRST_OWN_OID, Reading};
use crate::change::{Oid, RelationId};

/// How many pairs of a role and a relation, and of a role and a function, are looked at. The rest counts as forbidden.
const PAIRS_MAX: usize = 100_000;

impl Reading<'_> {
    /// Reads which columns the roles may read, which functions they may call, and which schemas they may use.
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
        let (selectable, callable) = tokio::try_join!(
            self.client.query(include_str!("../../../sql/queries/policy_selectable.sql"), &of_relations),
            self.client.query(include_str!("../../../sql/queries/policy_callable.sql"), &of_functions),
        )?;
        self.read_schemas().await?;
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

    /// Reads which of the schemas that hold what was read the roles may use, those of functions' owners among them.
    async fn read_schemas(&mut self) -> Result<(), Error> {
        let source = &self.source;
        let schemas = source.relations.values().map(|relation| &*relation.schema);
        let schemas = schemas.chain(source.functions.values().map(|function| &*function.schema));
        let schemas = schemas.chain(source.types.iter().map(|r#type| &*r#type.schema));
        let schemas: Vec<&str> = schemas.collect::<BTreeSet<_>>().into_iter().collect();
        let mut roles: Vec<Oid> = source.roles.keys().copied().collect();
        roles.sort_unstable();
        roles.truncate(PAIRS_MAX / schemas.len().max(1));
        let rows = self
            .client
            .query(include_str!("../../../sql/queries/policy_schemas.sql"), &[&roles, &schemas])
            .await?;
        for row in &rows {
            let schema: String = row.try_get("schema")?;
            self.source.usable_schemas.insert((row.try_get("role")?, schema.into()));
        }
        Ok(())
    }
}

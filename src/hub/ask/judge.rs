//! Judges: policies of logged rows as functions, for roles that may not use the schemas which the policies name.
//!
//! A policy that Postgres keeps was analysed when it was made: whoever is bound by it needs no USAGE on the schemas
//! of its functions, tables and types, only the right to call and to read them. Helpers are often kept in a private
//! schema for that reason. The same policy as text is analysed as the role that asks, and refused. A function
//! whose body was analysed when it was made, by the server's own role, is as good as the policy: it runs as its
//! caller.
//!
//! Judges live in the session's temporary schema and in the batch's transaction, which is always rolled back: they
//! leave no trace, and never keep anybody from dropping what they name.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::change::{RelationId, Table, Types};
use crate::postgres::rows::{self, rows_of};
use crate::wal::sql::literal;

use super::SessionLost;

/// The judges of one batch.
#[derive(Default)]
pub(super) struct Judges {
    /// Names of functions, by table and condition; `None` where one could not be made.
    names: HashMap<(RelationId, Arc<str>), Option<String>>,
    /// Whether a condition without one is not to be evaluated at all.
    are_required: bool,
}

impl Judges {
    /// The function that judges rows of this table, if there is one.
    pub(super) fn get(&self, table: &Table, condition: &Arc<str>) -> Option<&str> {
        self.names.get(&(table.id, Arc::clone(condition)))?.as_deref()
    }

    /// Whether rows without one may be judged by the text of their condition.
    pub(super) fn lets_text_be_judged(&self) -> bool {
        !self.are_required
    }

    /// Makes those of the judges that are missing, with a role only if it lacks USAGE on a schema that they need; says
    /// whether there are new ones.
    pub(super) async fn make(
        &mut self,
        client: &Client,
        types: &Types,
        role: Option<&str>,
        mut conditions: Vec<(Arc<Table>, Arc<str>)>,
    ) -> Result<bool, SessionLost> {
        conditions.retain(|(table, condition)| !self.names.contains_key(&(table.id, Arc::clone(condition))));
        self.are_required |= role.is_none();
        let mut created = false;
        for (table, condition) in conditions {
            let name = format!("rowcast_judge_{}", self.names.len());
            let create = rows::judge(&name, &table, types, &condition);
            let is_needed = match (role, &create) {
                (Some(role), Some(create)) => is_hindered(client, role, create).await?,
                (None, _) => true,
                (_, None) => false,
            };
            let name = match create.filter(|_| is_needed) {
                Some(create) => {
                    // Analysed where only built-in names are found without a schema, as it was printed.
                    let create = format!(
                        "set local search_path = ''; {create}; set local search_path to default; savepoint base"
                    );
                    execute(client, &create).await?.then_some(name)
                }
                None => None,
            };
            created |= name.is_some();
            self.names.insert((table.id, condition), name);
        }
        Ok(created)
    }
}

/// Whether the text names a schema that the role may not use.
async fn is_hindered(client: &Client, role: &str, text: &str) -> Result<bool, SessionLost> {
    let (role, text) = (literal(role), literal(text));
    let sql = format!(
        "rollback to savepoint base; select from pg_catalog.pg_namespace n
          where not pg_catalog.has_schema_privilege({role}, n.oid, 'USAGE')
            and (pg_catalog.strpos({text}, pg_catalog.quote_ident(n.nspname) || '.') > 0
                 or pg_catalog.strpos({text}, '\"' || n.nspname || '\".') > 0) limit 1"
    );
    match client.simple_query(&sql).await {
        Ok(messages) => Ok(rows_of(&messages).next().is_some()),
        Err(error) if error.code().is_some() => Ok(false),
        Err(error) => Err(SessionLost(error)),
    }
}

async fn execute(client: &Client, sql: &str) -> Result<bool, SessionLost> {
    match client.batch_execute(&format!("rollback to savepoint base; {sql}")).await {
        Ok(()) => Ok(true),
        Err(error) if error.code().is_some() => Ok(false),
        Err(error) => Err(SessionLost(error)),
    }
}

//! The published tables: what they lack for inserts, updates, deletes and old rows, and who sees nothing of them.

use super::{Report, access};
use crate::change::{ReplicaIdentity, Table};
use crate::hub::explain::shown;
use crate::policy::Catalog;
use crate::postgres::rows::table_name;
use crate::wal::sql::identifier;

/// Looks at each.
pub(super) fn tables(catalog: &Catalog, roles: &[String], publication: &str, report: &mut Report) {
    let mut tables: Vec<&Table> = catalog.tables.values().map(AsRef::as_ref).collect();
    tables.sort_by_key(|table| (&table.schema, &table.name));
    for table in tables {
        let before = report.checks.len();
        let (name, quoted) = (shown(&table.schema, &table.name), table_name(table));
        identity(table, report);
        if catalog.partial.contains(&table.id) {
            let text = format!("{name}: not every insert, update and delete of it is published");
            let fix = format!(
                "alter publication {} set (publish = 'insert, update, delete, truncate')",
                identifier(publication)
            );
            report.warning("table", text, Some(fix));
        }
        if !table.row_security {
            let text =
                format!("{name}: row level security is off, so every role that may select it sees every row");
            let fix = format!(
                "alter table {quoted} enable row level security; -- and make policies: without one nobody sees a row"
            );
            report.warning("table", text, Some(fix));
        }
        let sees = |role: &&String| {
            let access = access(catalog, role).and_then(|role| role.access.get(&table.id));
            access.is_some_and(|access| {
                let mut keys = table.columns.iter().enumerate().filter(|(_, column)| column.primary_key);
                keys.all(|(place, _)| access.selectable.contains(place)) && !access.selectable.is_empty()
            })
        };
        let subscribers: Vec<&str> = roles.iter().filter(sees).map(String::as_str).collect();
        if subscribers.is_empty() {
            let text =
                format!("{name}: none of {} may use its schema and select its primary key", roles.join(", "));
            let fix = format!(
                "grant usage on schema {} to …; grant select on {quoted} to …",
                identifier(&table.schema)
            );
            report.warning("table", text, Some(fix));
        }
        if report.checks.len() == before {
            report.ok("table", format!("{name}: open to {}", subscribers.join(", ")));
        }
    }
}

/// Its primary key, and what it logs of old rows.
fn identity(table: &Table, report: &mut Report) {
    let (name, quoted) = (shown(&table.schema, &table.name), table_name(table));
    let full = || format!("alter table {quoted} replica identity full");
    if !table.has_primary_key() {
        let refused = match table.replica_identity {
            ReplicaIdentity::Default => ", and Postgres refuses updates and deletes of it",
            _ => "",
        };
        let text = format!(
            "{name}: it has no primary key, so inserts and updates are announced as errors, without the row{refused}"
        );
        let fix = match table.column("id") {
            Some(_) => format!("alter table {quoted} add primary key (id)"),
            None => {
                format!("alter table {quoted} add column id bigint generated always as identity primary key")
            }
        };
        report.problem("table", text, fix);
    }
    match table.replica_identity {
        ReplicaIdentity::Nothing => {
            let text = format!(
                "{name}: its replica identity is NOTHING: Postgres refuses updates and deletes of it"
            );
            report.problem("table", text, format!("alter table {quoted} replica identity default"));
        }
        ReplicaIdentity::Default | ReplicaIdentity::Index
            if table.row_security && table.has_primary_key() =>
        {
            let text = format!(
                "{name}: old rows are logged by their key alone, so a delete tells everybody subscribed that the key is gone"
            );
            report.warning("table", text, Some(full()));
        }
        ReplicaIdentity::Default | ReplicaIdentity::Index | ReplicaIdentity::Full => {}
    }
}

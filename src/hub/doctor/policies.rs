//! Policies: which are decided in memory and which are asked, for whom, and the tables that they read.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Client;

use super::{Plan, Report, State, access};
use crate::hub::explain::{Error, shown};
use crate::hub::mirror::{Following, PUBLICATION, followings};
use crate::policy::catalog::Needed;
use crate::policy::{Catalog, Program, Role};
use crate::postgres::rows::table_name;
use crate::wal::sql::identifier;

/// About how many bytes a mirrored row and each of its kept columns take.
const ROW_BYTES: f64 = 24.0;
const COLUMN_BYTES: f64 = 32.0;

/// What was found about a policy, with the roles that it was found for.
type Found = BTreeMap<(String, State, String, Option<String>), Vec<String>>;

/// Looks at each policy of each published table and of `realtime.messages`.
pub(super) fn policies(catalog: &Catalog, roles: &[String], report: &mut Report) {
    let mut found = Found::new();
    for role in roles {
        let Some(known) = access(catalog, role) else { continue };
        for (id, access) in &known.access {
            let Some(table) = catalog.tables.get(id).filter(|_| access.row_security) else { continue };
            let name = shown(&table.schema, &table.name);
            match &access.program {
                Some(program) if program.permissive.is_empty() => {
                    let text = "no permissive policy, so no row is visible".to_owned();
                    note(&mut found, (name, State::Ok, text, None), role);
                }
                Some(program) => rules(&mut found, &name, program, role),
                None => {
                    let text = "its policies were not read: all of them are asked".to_owned();
                    note(&mut found, (name, State::Warning, text, None), role);
                }
            }
        }
        messages(&mut found, known, role);
    }
    closed(catalog, roles, report);
    for ((subject, state, text, fix), roles) in found {
        let text = format!("{subject}: {text} (for {})", roles.join(", "));
        match state {
            State::Ok => report.ok("policy", text),
            State::Warning | State::Problem => report.warning("policy", text, fix),
        }
    }
}

/// Tables with row level security that show nothing to anybody.
fn closed(catalog: &Catalog, roles: &[String], report: &mut Report) {
    for table in catalog.tables.values().filter(|table| table.row_security) {
        let mut bound = roles.iter().filter_map(|role| {
            let access = access(catalog, role)?.access.get(&table.id)?;
            access.row_security.then(|| access.program.as_ref())?
        });
        if bound.all(|program| program.permissive.is_empty()) {
            let text = format!(
                "{}: it has row level security and no permissive policy: nobody whom it binds sees a row",
                shown(&table.schema, &table.name)
            );
            let fix = format!("create policy … on {} for select to … using (…)", table_name(table));
            report.warning("policy", text, Some(fix));
        }
    }
}

fn note(found: &mut Found, about: (String, State, String, Option<String>), role: &str) {
    let roles = found.entry(about).or_default();
    if !roles.iter().any(|known| known == role) {
        roles.push(role.to_owned());
    }
}

/// What policies on private channels come to.
fn messages(found: &mut Found, known: &Role, role: &str) {
    for (action, program) in [("read", &known.messages.read), ("write", &known.messages.write)] {
        if let Some(program) = program {
            rules(found, &format!("realtime.messages ({action})"), program, role);
        }
    }
}

/// Each rule of a program.
fn rules(found: &mut Found, subject: &str, program: &Program, role: &str) {
    for rule in program.permissive.iter().chain(&program.restrictive) {
        let subject = format!("{subject}, policy {}", identifier(&rule.policy));
        let about = match &rule.condition {
            Ok(_) => (subject, State::Ok, "decided in memory".to_owned(), None),
            Err(why) => {
                let advice = why.advice(role);
                let text = format!("asked of Postgres, because {why}");
                let fix = advice.map(|advice| match advice.sql {
                    Some(sql) => format!("{sql}; -- {}", advice.text),
                    None => format!("-- {}", advice.text),
                });
                (subject, State::Warning, text, fix)
            }
        };
        note(found, about, role);
    }
}

/// Looks at the tables that policies read.
pub(super) async fn mirror(
    client: &Client,
    catalog: &Catalog,
    plan: &Plan,
    report: &mut Report,
) -> Result<(), Error> {
    let others = [plan.scope.publication.clone()];
    let followings = followings(client, catalog, &others).await?;
    let mut needed: Vec<&Arc<Needed>> = catalog.needed.values().collect();
    needed.sort_by_key(|needed| (&needed.table.schema, &needed.table.name));
    let mut bytes = 0.0;
    for needed in &needed {
        let table = &needed.table;
        let name = shown(&table.schema, &table.name);
        let rows =
            catalog.source.relations.get(&table.id).map_or(0.0, |relation| relation.row_estimate.max(0.0));
        let columns = u32::try_from(needed.columns.len()).unwrap_or(u32::MAX);
        bytes += rows * (ROW_BYTES + COLUMN_BYTES * f64::from(columns));
        match followings.get(&table.id) {
            Some(Following::Published) => {
                report.ok(
                    "mirror",
                    format!(
                        "{name}: published, and held in memory (about {rows:.0} rows, {columns} columns)"
                    ),
                );
            }
            Some(Following::ToBeAdded(_)) if owns(client, needed).await? => {
                report.ok("mirror", format!("{name}: a server adds it to publication {PUBLICATION} (about {rows:.0} rows, {columns} columns)"));
            }
            Some(Following::ToBeAdded(statement)) => {
                let text = format!(
                    "{name}: it is not published, and another role's: policies that read it are asked"
                );
                report.warning("mirror", text, Some(statement.clone()));
            }
            Some(Following::Hindered(why)) => {
                let text =
                    format!("{name}: it cannot be held in memory: {why}; policies that read it are asked");
                let fix = why
                    .contains("primary key")
                    .then(|| format!("alter table {} replica identity full", table_name(table)));
                report.warning("mirror", text, fix);
            }
            None => {}
        }
    }
    if needed.is_empty() {
        report.ok("mirror", "no compiled policy reads another table");
        return Ok(());
    }
    #[expect(clippy::cast_precision_loss, reason = "a rough figure beside a rough figure")]
    let bound = plan.scope.mirror_bytes_max as f64;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let text = format!(
        "tables that policies read take about {:.1} of {:.0} MiB (policy_mirror_bytes_max)",
        mib(bytes),
        mib(bound)
    );
    if bytes > bound {
        let fix =
            "-- raise policy_mirror_bytes_max; the largest tables are not held until then, and are asked";
        report.warning("mirror", text, Some(fix.to_owned()));
    } else {
        report.ok("mirror", text);
    }
    Ok(())
}

/// Whether the role of the database URL may publish a table.
async fn owns(client: &Client, needed: &Needed) -> Result<bool, Error> {
    const OWNS: &str =
        "select pg_catalog.pg_has_role(relowner, 'USAGE') from pg_catalog.pg_class where oid = $1";
    let row = client.query_opt(OWNS, &[&needed.table.id.0]).await?;
    Ok(match row {
        Some(row) => row.try_get(0)?,
        None => false,
    })
}

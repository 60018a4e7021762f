//! Checks a database for everything that the server needs of it, and says how to mend what it lacks.
//!
//! In: where to look, and the settings that matter. Out: a [`Report`] of [`Check`]s with SQL to paste. Nothing is
//! changed: what is read is read in transactions that are rolled back.

mod database;
mod policies;
mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Client;

use super::explain::{Error, Scope, read_catalog, session};
use crate::auth::Roles;
use crate::policy::Catalog;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where.
    pub scope: Scope,
    /// The name of the slot, if it is durable.
    pub durable_slot: Option<String>,
    /// How often the catalog is compared.
    pub catalog_poll: Duration,
    /// How many sessions of ordinary SQL the server may open.
    pub sessions: usize,
    /// Words about the limits of the server.
    pub limits: String,
    /// Roles to look at besides those that policies name.
    pub roles: Vec<String>,
    /// Those that tokens may have.
    pub token_roles: Roles,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// All checks, in the order in which they were made.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What it belongs to: `server`, `role`, `schema`, `slot`, `publication`, `table`, `policy`, `mirror`, `limits`.
    pub area: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found, in a sentence.
    pub text: String,
    /// What mends it: SQL to paste, or a comment in SQL that says what to do.
    pub fix: Option<String>,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but costs more or shows more or less than it might.
    Warning,
    /// Something does not work.
    Problem,
}

impl Report {
    /// The worst that was found.
    pub fn worst(&self) -> State {
        self.checks.iter().map(|check| check.state).max().unwrap_or(State::Ok)
    }

    /// How many checks stand so.
    pub fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }

    fn ok(&mut self, area: &'static str, text: impl Into<String>) {
        self.checks.push(Check { area, state: State::Ok, text: text.into(), fix: None });
    }

    fn warning(&mut self, area: &'static str, text: impl Into<String>, fix: Option<String>) {
        self.checks.push(Check { area, state: State::Warning, text: text.into(), fix });
    }

    fn problem(&mut self, area: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.checks.push(Check { area, state: State::Problem, text: text.into(), fix: Some(fix.into()) });
    }
}

/// Looks at everything; `progress` is told what comes next.
///
/// # Errors
/// When the database cannot be reached, or its catalog cannot be read.
pub async fn examine(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
    let mut report = Report { checks: Vec::new() };
    progress("looking at the server and the role");
    let client = session(&plan.scope.database, plan.scope.ask_timeout).await?;
    if !database::server(&client, &mut report).await? {
        return Ok(report);
    }
    let roles = roles(&client, &plan.roles).await?;
    database::role(&client, &roles, &plan.roles, &mut report).await?;
    database::token_roles(&client, &roles, &plan.token_roles, &mut report).await?;
    database::schema(&client, plan, &mut report).await?;
    database::slot(&client, plan, &mut report).await?;
    database::publications(&client, plan, &mut report).await?;
    progress("reading the catalog and compiling its policies");
    let names: BTreeSet<Arc<str>> = roles.iter().map(|role| role.as_str().into()).collect();
    let catalog = read_catalog(&plan.scope.database, &plan.scope.publication, &names).await?;
    tables::tables(&catalog, &roles, &plan.scope.publication, &mut report);
    policies::policies(&catalog, &roles, &mut report);
    progress("looking at the tables that policies read");
    policies::mirror(&client, &catalog, plan, &mut report).await?;
    database::sessions(&client, plan, &mut report).await?;
    report.ok("limits", plan.limits.clone());
    Ok(report)
}

/// The roles of Supabase's tokens, those that policies name, and those that were asked for; as far as they exist.
async fn roles(client: &Client, besides: &[String]) -> Result<Vec<String>, Error> {
    const ROLES: &str = "
        select r.rolname::text from pg_catalog.pg_roles r
         where r.rolname in ('anon', 'authenticated', 'service_role') or r.rolname = any ($1)
            or r.oid in (select granted from pg_catalog.pg_policy p, unnest(p.polroles) as granted)
         order by 1 limit 100";
    let rows = client.query(ROLES, &[&besides]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// A role that exists and was read.
fn access<'c>(catalog: &'c Catalog, role: &str) -> Option<&'c Arc<crate::policy::Role>> {
    catalog.roles.get(role).and_then(Option::as_ref)
}

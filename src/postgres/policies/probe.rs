//! Has Postgres analyse bodies of functions that are kept as text.
//!
//! The text becomes the body of a function `pg_temp.name` with the same name, parameters and result, in `BEGIN ATOMIC`:
//! Postgres analyses it when the function is created, and runs nothing of it. What it has understood is read, and all
//! is rolled back.
//!
//! **As whom.** Names mean what the one who calls may see, and reading a constant may run code (the check of a domain).
//! So the function is created by whoever would run the body: a `SECURITY DEFINER` function of that role creates it,
//! in which nobody can become somebody else.
//!
//! **One statement.** A body may hold anything. Its statement is first parsed by itself, by a protocol that takes one
//! statement; what is more than one is refused there, before anything is executed.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{join, join_all};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::change::Oid;
use crate::policy::source::NoBody;
use crate::postgres::rows::rows_of;
use crate::wal::sql::{identifier, literal};

/// How many statements are sent without waiting for replies.
const FLIGHT: usize = 64;

/// How many roles may be taken on for one reading.
const ROLES_MAX: usize = 100;

/// What is set before anything is analysed: nobody's lock is waited for long, and what was analysed is checked.
const SETTINGS: &str = "set local lock_timeout = '250ms'; set local check_function_bodies = on";

/// A question: this function, called by this role, under this search path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) function: Oid,
    pub(super) role: Oid,
    pub(super) path: Arc<str>,
}

/// The analysed bodies of a database, as long as nothing in its catalog changes.
#[derive(Debug, Default)]
pub struct Bodies {
    answers: HashMap<Question, Result<Arc<str>, NoBody>>,
    is_postponed: bool,
}

impl Bodies {
    /// Whether some body could not be analysed because of a lock, so that it should be tried again.
    pub fn is_postponed(&self) -> bool {
        self.is_postponed
    }

    /// What was answered.
    pub(super) fn get(&self, question: &Question) -> Option<&Result<Arc<str>, NoBody>> {
        self.answers.get(question)
    }
}

/// What is needed to make a function again.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: Arc<str>,
    pub(super) parameters: String,
    pub(super) returned: String,
    /// What to put into `BEGIN ATOMIC`.
    pub(super) body: String,
}

impl Signature {
    fn statement(&self) -> String {
        let Self { name, parameters, returned, body } = self;
        let name = identifier(name);
        format!(
            "create function pg_temp.{name}({parameters}) returns {returned} language sql begin atomic {body}\n; end"
        )
    }
}

/// Whether names of `pg_catalog` come first under a search path, as they do unless it says otherwise.
fn is_safe(path: &str) -> bool {
    let mut names = path.split(',').map(|name| name.trim().trim_matches('"'));
    names.next();
    !names.any(|name| name.eq_ignore_ascii_case("pg_catalog"))
}

/// Asks Postgres what has not been answered yet, in the open transaction of `client`, which is as it was afterwards.
pub(super) async fn ask(
    client: &Client,
    bodies: &mut Bodies,
    questions: Vec<Question>,
    signatures: &HashMap<Oid, Signature>,
    role_names: &HashMap<Oid, Arc<str>>,
) -> Result<(), Error> {
    let mut new: Vec<Question> = Vec::new();
    for question in questions {
        if bodies.answers.contains_key(&question) {
            continue;
        }
        if is_safe(&question.path) {
            new.push(question);
        } else {
            bodies.answers.insert(question, Err(NoBody::Refused));
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    client.batch_execute(&format!("savepoint rowcast_bodies; {SETTINGS}")).await?;
    let mut asking = Asking { client, bodies, roles: HashMap::new(), statements: HashMap::new() };
    asking.parse(&new, signatures).await?;
    for question in &new {
        asking.take_on(question.role, role_names).await?;
    }
    client.batch_execute("savepoint rowcast_probe").await?;
    for chunk in new.chunks(FLIGHT) {
        asking.put(chunk, signatures).await?;
    }
    client.batch_execute("rollback to savepoint rowcast_bodies; release savepoint rowcast_bodies").await
}

struct Asking<'a> {
    client: &'a Client,
    bodies: &'a mut Bodies,
    /// Whether each role could be taken on.
    roles: HashMap<Oid, bool>,
    /// The statement of each function, if it is one.
    statements: HashMap<Oid, Option<String>>,
}

impl Asking<'_> {
    /// Finds out which functions' statements are one statement each. Nothing is executed.
    async fn parse(
        &mut self,
        questions: &[Question],
        signatures: &HashMap<Oid, Signature>,
    ) -> Result<(), Error> {
        let mut wanted: Vec<(Oid, String)> = Vec::new();
        for question in questions {
            if let Some(signature) = signatures.get(&question.function)
                && !self.statements.contains_key(&question.function)
            {
                self.statements.insert(question.function, None);
                wanted.push((question.function, signature.statement()));
            }
        }
        self.client.batch_execute("savepoint rowcast_parse").await?;
        for chunk in wanted.chunks(FLIGHT) {
            // One that fails is undone by what the next begins with.
            let parsed = chunk.iter().map(|(_, statement)| {
                join(
                    self.client.batch_execute("rollback to savepoint rowcast_parse"),
                    self.client.prepare(statement),
                )
            });
            for ((function, statement), (undone, parsed)) in chunk.iter().zip(join_all(parsed).await) {
                undone?;
                match parsed {
                    Ok(_) => drop(self.statements.insert(*function, Some(statement.clone()))),
                    Err(error) => drop(self.refusal(error)?),
                }
            }
        }
        self.client.batch_execute("rollback to savepoint rowcast_parse").await
    }

    /// Makes the function by which a role creates functions.
    async fn take_on(&mut self, role: Oid, names: &HashMap<Oid, Arc<str>>) -> Result<(), Error> {
        if self.roles.contains_key(&role) {
            return Ok(());
        }
        let Some(name) = names.get(&role).filter(|_| self.roles.len() < ROLES_MAX) else {
            self.roles.insert(role, false);
            return Ok(());
        };
        let made = self
            .client
            .batch_execute(&format!(
                "savepoint rowcast_role; set local role {}; \
                 create function pg_temp.rowcast_analyse_{role}(text) returns void language plpgsql security definer \
                 as 'begin execute $1; end'; \
                 grant execute on function pg_temp.rowcast_analyse_{role}(text) to public; \
                 set local role to default; release savepoint rowcast_role",
                identifier(name)
            ))
            .await;
        if let Err(error) = made {
            self.refusal(error)?;
            let undo = "rollback to savepoint rowcast_role; release savepoint rowcast_role";
            self.client.batch_execute(undo).await?;
            self.roles.insert(role, false);
        } else {
            self.roles.insert(role, true);
        }
        Ok(())
    }

    /// Puts questions, one after another without waiting.
    async fn put(
        &mut self,
        questions: &[Question],
        signatures: &HashMap<Oid, Signature>,
    ) -> Result<(), Error> {
        let mut put = Vec::new();
        for question in questions {
            let may = self.roles.get(&question.role).copied().unwrap_or_default();
            let statement = self.statements.get(&question.function).and_then(Option::as_ref);
            match (may, statement, signatures.get(&question.function)) {
                (false, _, _) => drop(self.bodies.answers.insert(question.clone(), Err(NoBody::NoProbe))),
                (true, Some(statement), Some(signature)) => {
                    put.push((question, probe(question, &signature.name, statement)));
                }
                (true, _, _) => drop(self.bodies.answers.insert(question.clone(), Err(NoBody::Refused))),
            }
        }
        let replies = put.iter().map(|(_, sql)| self.client.simple_query(sql));
        for ((question, _), reply) in put.iter().zip(join_all(replies).await) {
            let answer = match reply {
                Ok(messages) => {
                    let tree = rows_of(&messages)
                        .filter(|row| row.columns().iter().any(|column| column.name() == "body"));
                    let tree = tree.filter_map(|row| row.get("body")).next();
                    tree.map(Arc::from).ok_or(NoBody::Refused)
                }
                Err(error) => Err(self.refusal(error)?),
            };
            self.bodies.answers.insert((*question).clone(), answer);
        }
        Ok(())
    }

    /// What an error of the database means; `Err` if it is not the database's.
    fn refusal(&mut self, error: Error) -> Result<NoBody, Error> {
        match error.code() {
            None => Err(error),
            Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::QUERY_CANCELED) => {
                self.bodies.is_postponed = true;
                Ok(NoBody::Refused)
            }
            Some(_) => Ok(NoBody::Refused),
        }
    }
}

/// The statements that make a function as a role and under a path, and read what Postgres understood. The path holds
/// for nothing but the making: what is written here could mean something else under it.
fn probe(question: &Question, name: &str, statement: &str) -> String {
    format!(
        "rollback to savepoint rowcast_probe; \
         select pg_catalog.set_config('search_path', {}, true); \
         select pg_temp.rowcast_analyse_{}({}); \
         select pg_catalog.set_config('search_path', '', true); \
         select p.prosqlbody::text as body from pg_catalog.pg_proc p \
         where p.pronamespace = pg_catalog.pg_my_temp_schema() and p.proname = {} and p.prosqlbody is not null",
        literal(&question.path),
        question.role,
        literal(statement),
        literal(name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_puts_others_before_the_built_in_is_not_taken() {
        for path in ["", "\"\"", "public", "\"$user\", public", "pg_catalog, public", "public, pg_temp"] {
            assert!(is_safe(path), "{path}");
        }
        for path in ["public, pg_catalog", "\"a\",\"pg_catalog\"", "a,b,PG_CATALOG"] {
            assert!(!is_safe(path), "{path}");
        }
    }
}

//! Explains a row: the stages that an insert or an update of it goes through, with the row as it is stored now.

use std::fmt::Write;

use bytes::Bytes;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::explanation::{RowExplanation, RowOutcome, RuleOutcome, Ruling, Word};
use super::{CallerSettings, Error, Scope, State, shown};
use crate::change::{Event, Image, ReplicaIdentity, RowChange, Table};
use crate::policy::catalog::Access;
use crate::policy::row::RowValues;
use crate::policy::{Decision, Refusal, Switches, decide};
use crate::postgres::rows::{from_images, rows_of, table_name, text_of};
use crate::wal::sql::{identifier, literal};
use crate::wal::tuple::Datum;

use std::sync::Arc;

/// Explains.
pub(super) async fn explain(
    state: &State,
    scope: &Scope,
    schema: &str,
    name: &str,
    key: &[(String, String)],
) -> Result<RowExplanation, Error> {
    let quoted = format!("{}.{}", identifier(schema), identifier(name));
    let Some(table) = state.catalog.table(schema, name).cloned() else {
        let exists: bool = state.client.query_one(EXISTS, &[&schema, &name]).await?.try_get(0)?;
        return Err(match exists {
            true => Error::NotPublished { table: quoted, publication: scope.publication.clone() },
            false => Error::NoTable { table: quoted },
        });
    };
    let condition = key_condition(&table, key)?;
    let begin = "begin isolation level repeatable read; set local row_security = off; savepoint base";
    state.client.batch_execute(begin).await?;
    let explained = within(state, scope, &table, &condition).await;
    state.client.batch_execute("rollback").await?;
    explained
}

/// The same in a transaction with a savepoint `base`, which is rolled back.
async fn within(
    state: &State,
    scope: &Scope,
    table: &Arc<Table>,
    condition: &str,
) -> Result<RowExplanation, Error> {
    let image = stored(&state.client, table, condition).await?;
    let access = state.catalog.access(&state.claims.role, table.id).cloned();
    let (mut ruling, refusal) = judge(state, table, access.as_deref(), &image);
    let (postgres, error) = ask(state, table, condition).await?;
    // An error in place of the row comes before any policy.
    if refusal.is_none() {
        ask_rules(state, table, &image, &mut ruling).await?;
        ruling.answered(postgres, error);
    } else {
        (ruling.postgres, ruling.error) = (postgres, error);
    }
    let is_bound = access.as_ref().is_some_and(|access| access.row_security);
    let (outcome, because) = match refusal {
        Some(refusal) => (RowOutcome::Refused, refusal),
        None => outcome(&ruling, is_bound),
    };
    let is_visible = |place: usize| access.as_ref().is_some_and(|access| access.selectable.contains(place));
    let columns = |visible: bool| {
        let places = table.columns.iter().enumerate().filter(|(place, _)| is_visible(*place) == visible);
        places.map(|(_, column)| column.name.to_string()).collect()
    };
    let is_cut = state.client.query_one(CUT, &[&scope.publication, &table.id.0]).await?.try_get(0)?;
    Ok(RowExplanation {
        table: shown(&table.schema, &table.name),
        role: state.claims.role.to_string(),
        publication: scope.publication.clone(),
        every_event: !state.catalog.partial.contains(&table.id),
        is_cut,
        primary_key: primary_key(table),
        replica_identity: match table.replica_identity {
            ReplicaIdentity::Default => "default",
            ReplicaIdentity::Full => "full",
            ReplicaIdentity::Index => "index",
            ReplicaIdentity::Nothing => "nothing",
        },
        row_security: table.row_security,
        is_bound,
        columns_visible: columns(true),
        columns_hidden: columns(false),
        outcome,
        because,
        ruling,
    })
}

/// Whether there is a table of that name, whoever may use its schema.
const EXISTS: &str = "
    select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p'))";

/// Whether a publication has a table with a row filter or a column list; those are of PostgreSQL 15.
const CUT: &str = "
    select coalesce(bool_or(pg_catalog.to_jsonb(r) ->> 'prqual' is not null
                         or pg_catalog.to_jsonb(r) ->> 'prattrs' is not null), false)
      from pg_catalog.pg_publication_rel r
      join pg_catalog.pg_publication p on p.oid = r.prpubid
     where p.pubname = $1 and r.prrelid = $2";

fn primary_key(table: &Table) -> Vec<String> {
    let columns = table.columns.iter().filter(|column| column.primary_key);
    columns.map(|column| column.name.to_string()).collect()
}

/// The key as a condition. Its values have no types: Postgres takes those of the columns.
fn key_condition(table: &Table, key: &[(String, String)]) -> Result<String, Error> {
    let mut sql = String::from("true");
    for (column, value) in key {
        if table.column(column).is_none() {
            return Err(Error::NoColumn {
                table: table_name(table),
                column: column.clone(),
                key: primary_key(table),
            });
        }
        let _ = write!(sql, " and {} = {}", identifier(column), literal(value));
    }
    Ok(sql)
}

/// The one row that the condition holds for, as the stream would bring it.
async fn stored(client: &Client, table: &Table, condition: &str) -> Result<Image, Error> {
    let columns: Vec<String> =
        table.columns.iter().map(|column| text_of(&identifier(&column.name))).collect();
    let name = table_name(table);
    let query = format!("select {} from {name} where {condition} limit 2", columns.join(", "));
    let messages = client.simple_query(&query).await.map_err(|error| match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Error::MayNotRead { table: name.clone() },
        // The class of what cannot be read as a value of a type.
        Some(code) if code.code().starts_with("22") => Error::KeyValue { table: name.clone() },
        Some(&SqlState::UNDEFINED_FUNCTION) => Error::KeyValue { table: name.clone() },
        _ => Error::Query(error),
    })?;
    let mut rows = rows_of(&messages);
    let Some(row) = rows.next() else { return Err(Error::NoRow { table: name }) };
    if rows.next().is_some() {
        return Err(Error::SeveralRows { table: name, key: primary_key(table) });
    }
    let datum = |place| match row.get(place) {
        Some(text) => Datum::Text(Bytes::copy_from_slice(text.as_bytes())),
        None => Datum::Null,
    };
    Ok(Image { values: (0..table.columns.len()).map(datum).collect(), rendered: Vec::new() })
}

/// What memory says, or why the subscriber gets an error in place of the row.
fn judge(
    state: &State,
    table: &Arc<Table>,
    access: Option<&Access>,
    image: &Image,
) -> (Ruling, Option<String>) {
    let role = &state.claims.role;
    let Some(access) = access else {
        let refusal = format!("the role {role} may not use the schema {}", table.schema);
        return (Ruling::of(Word::Denies), Some(refusal));
    };
    let change = RowChange {
        table: Arc::clone(table),
        event: Event::Insert,
        new: Some(image.clone()),
        old: None,
        old_is_full: false,
    };
    match decide(Switches::default(), access, &change) {
        Decision::Permit(_) => (Ruling::of(Word::Allows), None),
        Decision::Deny => (Ruling::of(Word::Denies), None),
        Decision::Refuse(Refusal::NoPrimaryKey) => {
            (Ruling::of(Word::Denies), Some("the table has no primary key".to_owned()))
        }
        Decision::Refuse(Refusal::Unauthorized) => {
            let refusal = format!("the role {role} may not select the primary key");
            (Ruling::of(Word::Denies), Some(refusal))
        }
        Decision::Ask(_) => match &access.program {
            Some(program) => {
                let settings = CallerSettings(vec![
                    ("role", role.to_string()),
                    ("request.jwt.claims", state.claims.json.to_string()),
                ]);
                let row = RowValues::decode(image, table, &state.catalog.types, &program.columns);
                (state.rule(program, &settings, &row), None)
            }
            None => {
                let doubt = Some("the policies were not read".to_owned());
                (Ruling { doubt, ..Ruling::of(Word::Asks) }, None)
            }
        },
    }
}

/// What Postgres itself says: whether the caller's own SELECT finds the row.
async fn ask(state: &State, table: &Table, condition: &str) -> Result<(Word, Option<String>), Error> {
    let select = format!("select 'found' from {} where {condition}", table_name(table));
    put(state, &select).await
}

/// Puts a query as the caller; whether it finds anything.
async fn put(state: &State, query: &str) -> Result<(Word, Option<String>), Error> {
    let sql = format!(
        "rollback to savepoint base; set local row_security = on; \
         select pg_catalog.set_config('role', {}, true), pg_catalog.set_config('request.jwt.claims', {}, true); {query}",
        literal(&state.claims.role),
        literal(&state.claims.json)
    );
    let reply = state.client.simple_query(&sql).await;
    let answer = match reply {
        // The settings are a row, too.
        Ok(messages) if rows_of(&messages).count() > 1 => (Word::Allows, None),
        Ok(_) => (Word::Denies, None),
        Err(error) => match error.code() {
            Some(code) => (Word::Fails, Some(code.code().to_owned())),
            None => return Err(Error::Query(error)),
        },
    };
    state.client.batch_execute("rollback to savepoint base").await?;
    Ok(answer)
}

/// Asks Postgres about each of the policies that memory cannot tell, over the row as it was read.
async fn ask_rules(state: &State, table: &Table, image: &Image, ruling: &mut Ruling) -> Result<(), Error> {
    let Some(relation) = state.catalog.source.relations.get(&table.id) else { return Ok(()) };
    for rule in ruling.rules.iter_mut().filter(|rule| rule.outcome == RuleOutcome::Asked) {
        let policy = relation.policies.iter().find(|policy| *policy.name == *rule.policy);
        let Some(using) = policy.and_then(|policy| policy.using.as_ref()) else { continue };
        let Some(source) = from_images(table, &state.catalog.types, &using.text, [(0, image)]) else {
            continue;
        };
        let query = format!("select 'holds' from {source} where {}", using.text);
        rule.outcome = match put(state, &query).await? {
            (Word::Allows, _) => RuleOutcome::AskedTrue,
            (Word::Denies, _) => RuleOutcome::AskedFalse,
            // A role may be bound by a policy whose schemas it may not use; as text it may not be read then.
            (_, Some(code)) if code == SqlState::INSUFFICIENT_PRIVILEGE.code() => RuleOutcome::Asked,
            _ => RuleOutcome::AskedError,
        };
    }
    Ok(())
}

/// What follows, and why.
fn outcome(ruling: &Ruling, is_bound: bool) -> (RowOutcome, String) {
    let names = |wanted: &dyn Fn(&super::RuleExplanation) -> bool| {
        let rules = ruling.rules.iter().filter(|rule| wanted(rule));
        rules.map(|rule| rule.policy.as_str()).collect::<Vec<_>>().join(", ")
    };
    let holds = |outcome| matches!(outcome, RuleOutcome::True | RuleOutcome::AskedTrue);
    let word = if ruling.memory == Word::Asks { ruling.postgres } else { ruling.memory };
    match word {
        Word::Allows if !is_bound => {
            (RowOutcome::Sent, "row level security does not bind the role".to_owned())
        }
        Word::Allows => match names(&|rule| rule.permissive && holds(rule.outcome)) {
            names if names.is_empty() => (RowOutcome::Sent, "Postgres lets it pass".to_owned()),
            names => (RowOutcome::Sent, format!("let through by {names}")),
        },
        Word::Fails => {
            let code = ruling.error.as_deref().unwrap_or_default();
            (RowOutcome::Withheld, format!("a policy raises an error for this caller: SQLSTATE {code}"))
        }
        Word::Denies | Word::Asks => {
            let hiding = names(&|rule| {
                let hides = matches!(
                    rule.outcome,
                    RuleOutcome::False
                        | RuleOutcome::Null
                        | RuleOutcome::AskedFalse
                        | RuleOutcome::AskedError
                );
                !rule.permissive && hides
            });
            let is_permitted = ruling.rules.iter().any(|rule| rule.permissive && holds(rule.outcome));
            let because = if !ruling.rules.iter().any(|rule| rule.permissive) {
                "no permissive policy binds the role".to_owned()
            } else if !hiding.is_empty() {
                format!("hidden by the restrictive {hiding}")
            } else if is_permitted {
                "Postgres hides it".to_owned()
            } else {
                "no permissive policy lets it through".to_owned()
            };
            (RowOutcome::Withheld, because)
        }
    }
}

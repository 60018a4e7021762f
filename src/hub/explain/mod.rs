//! Explains why a caller gets a row, or may use a private channel, or may not: which policies bind it, what each says,
//! what memory makes of them, and what Postgres itself answers.
//!
//! In: verified [`Claims`] and what they ask for. Out: an [`Explanation`], which holds names and verdicts and no value.
//!
//! It judges as the server does, by the same catalog, programs and mirror, but by state of its own: all tables that
//! policies read are loaded for one explanation. The parts are read one after another; where memory and Postgres differ
//! everything is done again, so that a commit in between is not taken for a contradiction.

mod explanation;
mod row;
mod rule;
mod topic;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use super::mirror::{self, Following, fill, followings};
use crate::policy::function::Moment;
use crate::policy::mirror::Unusable;
use crate::policy::program::Settings;
use crate::policy::{Catalog, Claims, Mirror};
use crate::postgres::catalog::CatalogReader;
use crate::postgres::connect::{self, Database};
use crate::wal::sql::identifier;
use crate::wal::stream::SESSION_SETTINGS;

pub use explanation::{
    Explanation, RelationExplanation, RowExplanation, RowOutcome, RuleExplanation, RuleOutcome, Ruling,
    TopicExplanation, TopicQuestion, Word,
};

/// How often everything is done before a contradiction is one.
const ATTEMPTS_MAX: u32 = 3;

/// Where to look, and within which bounds.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The database.
    pub database: Database,
    /// The publication that lists the tables clients may subscribe to.
    pub publication: String,
    /// How many bytes the tables that policies read may have in memory.
    pub mirror_bytes_max: usize,
    /// How long Postgres may take over one question.
    pub ask_timeout: Duration,
}

/// What the caller wants.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A row.
    Row {
        /// The schema of its table, unquoted.
        schema: String,
        /// The table, unquoted.
        table: String,
        /// Columns and their values as text, which tell the row.
        key: Vec<(String, String)>,
    },
    /// A private channel.
    Topic(String),
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No session.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// Something could not be read.
    #[error("could not read what policies are made of")]
    Query(#[from] tokio_postgres::Error),
    /// A table that policies read could not be read.
    #[error("could not read the tables that policies read")]
    Mirror(#[from] mirror::Error),
    /// The role of the caller does not exist.
    #[error("there is no role {role:?}")]
    NoRole {
        /// The role.
        role: String,
    },
    /// There is no such table.
    #[error("there is no table {table}")]
    NoTable {
        /// The table, quoted.
        table: String,
    },
    /// Clients cannot subscribe to it.
    #[error("table {table} is not in the publication {publication}: nobody can subscribe to it")]
    NotPublished {
        /// The table, quoted.
        table: String,
        /// The publication.
        publication: String,
    },
    /// The key names a column that is not there.
    #[error("table {table} has no column {column:?}")]
    NoColumn {
        /// The table, quoted.
        table: String,
        /// The column.
        column: String,
        /// The columns of the primary key.
        key: Vec<String>,
    },
    /// A value of the key cannot be one of its column.
    #[error("a value of the key is not of the type of its column in {table}")]
    KeyValue {
        /// The table, quoted.
        table: String,
    },
    /// No row has that key.
    #[error("table {table} has no row with that key")]
    NoRow {
        /// The table, quoted.
        table: String,
    },
    /// More than one row has it.
    #[error("table {table} has several rows with that key")]
    SeveralRows {
        /// The table, quoted.
        table: String,
        /// The columns of the primary key.
        key: Vec<String>,
    },
    /// The server's role may not read the row.
    #[error("the role of the database URL may not read table {table}")]
    MayNotRead {
        /// The table, quoted.
        table: String,
    },
    /// There are no private channels.
    #[error("there is no table realtime.messages, so nobody can use private channels")]
    NoMessages,
}

impl Error {
    /// What to do about it; `None` where the causes say all.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Connect(error) => error.remedy().to_owned(),
            Self::Query(_) | Self::Mirror(_) => return None,
            Self::NoRole { role } => format!(
                "tokens of it get nothing: create role \"{}\" nologin, or correct the claim `role`",
                role.replace('"', "\"\"")
            ),
            Self::NoTable { .. } => {
                "write schema.table as the catalog has it, without quotes: --table public.messages".to_owned()
            }
            Self::NotPublished { table, publication } => {
                format!("alter publication {publication} add table {table}")
            }
            Self::NoColumn { key, .. } | Self::SeveralRows { key, .. } if key.is_empty() => {
                "the table has no primary key: name as many columns as tell its rows apart".to_owned()
            }
            Self::NoColumn { key, .. } | Self::SeveralRows { key, .. } => {
                let keys: Vec<String> = key.iter().map(|column| format!("--key {column}=…")).collect();
                format!("give the primary key: {}", keys.join(" "))
            }
            Self::KeyValue { .. } => {
                "write the value as SQL prints it, without quotes: --key id=42".to_owned()
            }
            Self::NoRow { .. } => {
                "a row that was deleted can be seen by nobody; look at its key with the rights of its owner"
                    .to_owned()
            }
            Self::MayNotRead { table } => format!(
                "grant it select on {table}; where row level security is enabled it needs BYPASSRLS as well"
            ),
            Self::NoMessages => "rowcast migrate".to_owned(),
        })
    }
}

/// Explains.
///
/// # Errors
/// When there is nothing to explain, or the database cannot be read.
pub async fn explain(
    scope: &Scope,
    claims: &Arc<Claims>,
    wanted: &Wanted,
    mut progress: impl FnMut(&str),
) -> Result<Explanation, Error> {
    let mut attempt = 1;
    loop {
        let state = State::read(scope, claims, &mut progress).await?;
        progress("asking Postgres");
        let explanation = match wanted {
            Wanted::Row { schema, table, key } => {
                let row = row::explain(&state, scope, schema, table, key).await?;
                Explanation::Row(Box::new(row))
            }
            Wanted::Topic(topic) => Explanation::Topic(topic::explain(&state, topic).await?),
        };
        if !explanation.differs() || attempt >= ATTEMPTS_MAX {
            return Ok(explanation);
        }
        progress("memory and Postgres differ: reading everything again");
        attempt += 1;
    }
}

/// What the server would know.
struct State {
    client: Client,
    catalog: Catalog,
    mirror: Mirror,
    claims: Arc<Claims>,
    moment: Moment,
}

impl State {
    async fn read(
        scope: &Scope,
        claims: &Arc<Claims>,
        progress: &mut impl FnMut(&str),
    ) -> Result<Self, Error> {
        progress("reading the catalog");
        let roles = BTreeSet::from([Arc::clone(&claims.role)]);
        let catalog = read_catalog(&scope.database, &scope.publication, &roles).await?;
        if catalog.roles.get(&claims.role).is_none_or(Option::is_none) {
            return Err(Error::NoRole { role: claims.role.to_string() });
        }
        let client = session(&scope.database, scope.ask_timeout).await?;
        if !catalog.needed.is_empty() {
            progress("reading the tables that policies read");
        }
        // Tables are read without the bound of a question.
        client.batch_execute("set statement_timeout = 0").await?;
        let mut mirror = fill(&client, &catalog, scope.mirror_bytes_max).await?;
        // What a server could not follow it does not judge by.
        for (id, following) in followings(&client, &catalog, std::slice::from_ref(&scope.publication)).await?
        {
            if let Following::Hindered(why) = following {
                mirror.give_up(id, Unusable::Hindered(why.into()));
            }
        }
        let restore =
            format!("set statement_timeout = {}; reset row_security", scope.ask_timeout.as_millis());
        client.batch_execute(&restore).await?;
        Ok(Self { client, catalog, mirror, claims: Arc::clone(claims), moment: super::feed::moment() })
    }
}

/// A reading of the catalog with the rights of these roles.
pub(super) async fn read_catalog(
    database: &Database,
    publication: &str,
    roles: &BTreeSet<Arc<str>>,
) -> Result<Catalog, Error> {
    let (client, _) = database.connect("rowcast_explain").await?;
    client.batch_execute("set search_path = ''").await?;
    Ok(CatalogReader::new(client, vec![publication.to_owned()]).read(roles).await?)
}

/// A table's name for people: quoted only where it must be. SQL to paste quotes always, as names may be keywords.
pub(super) fn shown(schema: &str, name: &str) -> String {
    let is_plain = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    match is_plain(schema) && is_plain(name) {
        true => format!("{schema}.{name}"),
        false => format!("{}.{}", identifier(schema), identifier(name)),
    }
}

/// A session with the text settings of the stream.
pub(super) async fn session(database: &Database, timeout: Duration) -> Result<Client, Error> {
    let (client, _) = database.connect("rowcast_explain").await?;
    let settings = format!("{SESSION_SETTINGS}; set statement_timeout = {}", timeout.as_millis());
    client.batch_execute(&settings).await?;
    Ok(client)
}

/// A caller's settings by name, as Postgres is asked with them.
struct CallerSettings(Vec<(&'static str, String)>);

impl std::fmt::Debug for CallerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallerSettings").finish_non_exhaustive()
    }
}

impl Settings for CallerSettings {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }
}

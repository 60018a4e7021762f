//! The functions that can be called and the settings of roles, as they were when they were last read.
//!
//! A schema is read whole when it is first asked for, and again when a name or a signature is missing or a call finds
//! that its function has changed. What is missing has it read at most once in [`PAUSE`], so that no caller can have the
//! database do so as often as it likes. The settings of a role are read when it first calls, and again when a call finds
//! that they have changed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::{Client, Row};

use super::signature::{Parameter, Returns, Signature};
use crate::telemetry::code::Code;
use crate::telemetry::log::chain;
use crate::telemetry::number::Number;
use crate::telemetry::report::report;

const FUNCTIONS: &str = include_str!("../../../sql/queries/functions.sql");

const ROLE_SETTINGS: &str = include_str!("../../../sql/queries/role_settings.sql");

/// For how long what is missing is believed to be missing.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// How many schemas are known at a time; what exceeds that is read for each call. No setting and no adapter names so
/// many.
const SCHEMAS_MAX: usize = 64;

/// How many roles are known at a time; the settings of another one are read for each of its calls.
const ROLES_MAX: usize = 64;

/// The settings of one role, as of one moment.
#[derive(Clone, Debug)]
pub(super) struct RoleSettings {
    /// Another one says that they have changed.
    pub(super) version: String,
    /// Its `statement_timeout`; 0 is none.
    pub(super) timeout_ms: Option<i64>,
    /// All others, as a JSON object.
    pub(super) json: String,
    pub(super) read_at: Instant,
}

/// The functions of one schema, as of one moment.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) functions: HashMap<String, Vec<Arc<Signature>>>,
    pub(super) read_at: Instant,
}

/// All schemas that have been read.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    schemas: RwLock<HashMap<String, Arc<Schema>>>,
    roles: RwLock<HashMap<Arc<str>, Arc<RoleSettings>>>,
    /// Held by who reads, so that others wait for what is found.
    reading: Mutex<()>,
    /// How often one was read.
    pub(super) readings: Number,
}

impl Catalog {
    /// What is known of a schema.
    pub(super) fn known(&self, schema: &str) -> Option<Arc<Schema>> {
        self.schemas.read().unwrap_or_else(PoisonError::into_inner).get(schema).cloned()
    }

    /// The settings of a role as they were at some time after `since`, or at any time. `None` if they cannot be read; then
    /// the session is of no more use.
    pub(super) async fn role(
        &self,
        client: &Client,
        role: &Arc<str>,
        since: Option<Instant>,
    ) -> Option<Arc<RoleSettings>> {
        let known = self.roles.read().unwrap_or_else(PoisonError::into_inner).get(role).cloned();
        if let Some(known) = known.filter(|known| since.is_none_or(|since| known.read_at > since)) {
            return Some(known);
        }
        let read = match read_role(client, role).await {
            Ok(read) => Arc::new(read),
            Err(error) => {
                report!(
                    warn,
                    Code::CheckOidsError,
                    error = chain(&error),
                    "settings of a role could not be read"
                );
                return None;
            }
        };
        let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        if roles.len() < ROLES_MAX || roles.contains_key(role) {
            roles.insert(Arc::clone(role), Arc::clone(&read));
        }
        Some(read)
    }

    /// A schema as it was at some time after `since`, or at any time: read now unless somebody else has done so. `None`
    /// if it cannot be read; then the session is of no more use.
    pub(super) async fn read(
        &self,
        client: &Client,
        schema: &str,
        since: Option<Instant>,
    ) -> Option<Arc<Schema>> {
        let _reading = self.reading.lock().await;
        let is_fresh = |known: &Arc<Schema>| since.is_none_or(|since| known.read_at > since);
        if let Some(known) = self.known(schema).filter(is_fresh) {
            return Some(known);
        }
        let read = match read(client, schema).await {
            Ok(read) => Arc::new(read),
            Err(error) => {
                report!(warn, Code::CheckOidsError, error = chain(&error), "functions could not be listed");
                return None;
            }
        };
        self.readings.add(1);
        let mut schemas = self.schemas.write().unwrap_or_else(PoisonError::into_inner);
        if schemas.len() < SCHEMAS_MAX || schemas.contains_key(schema) {
            schemas.insert(schema.to_owned(), Arc::clone(&read));
        }
        Some(read)
    }
}

async fn read(client: &Client, schema: &str) -> Result<Schema, tokio_postgres::Error> {
    // Before the reading: what changes meanwhile is found by the next one.
    let read_at = Instant::now();
    // Types are named as seen from nowhere.
    client.batch_execute("begin read only; set local search_path = ''").await?;
    let rows = client.query(FUNCTIONS, &[&schema]).await;
    client.batch_execute("rollback").await?;
    let mut functions = HashMap::<String, Vec<Arc<Signature>>>::new();
    for row in rows? {
        let signature = signature(&row, schema)?;
        functions.entry(signature.name.clone()).or_default().push(Arc::new(signature));
    }
    Ok(Schema { functions, read_at })
}

async fn read_role(client: &Client, role: &str) -> Result<RoleSettings, tokio_postgres::Error> {
    let read_at = Instant::now();
    client.batch_execute("begin read only; set local search_path = ''").await?;
    let row = client.query_one(ROLE_SETTINGS, &[&role]).await;
    client.batch_execute("rollback").await?;
    let row = row?;
    Ok(RoleSettings {
        version: row.try_get("version")?,
        timeout_ms: row.try_get("timeout_ms")?,
        json: row.try_get("settings")?,
        read_at,
    })
}

fn signature(row: &Row, schema: &str) -> Result<Signature, tokio_postgres::Error> {
    let names: Vec<String> = row.try_get("argument_names")?;
    let types: Vec<String> = row.try_get("argument_types")?;
    let defaults = usize::try_from(row.try_get::<_, i16>("default_count")?).unwrap_or(0);
    let is_variadic: bool = row.try_get("is_variadic")?;
    let count = names.len();
    let parameters = names.into_iter().zip(types).enumerate().map(|(place, (name, sql_type))| Parameter {
        name,
        sql_type,
        // The last ones have defaults.
        is_required: place + defaults < count,
        is_variadic: is_variadic && place + 1 == count,
    });
    Ok(Signature {
        id: row.try_get("id")?,
        version: row.try_get("version")?,
        row_type_id: row.try_get("row_type_id")?,
        row_type_version: row.try_get("row_type_version")?,
        schema_id: row.try_get("schema_id")?,
        schema: schema.to_owned(),
        name: row.try_get("name")?,
        is_set: row.try_get("is_set")?,
        is_volatile: row.try_get("is_volatile")?,
        returns: match row.try_get("returns")? {
            "void" => Returns::Void,
            "composite" => Returns::Composite,
            _ => Returns::Scalar,
        },
        parameters: parameters.collect(),
        timeout_ms: row.try_get("timeout_ms")?,
    })
}

//! Calls functions of the database for clients: as their role and with their claims, each call in a transaction of its
//! own.
//!
//! In: a [`Caller`], a [`Function`] and its arguments as JSON. Out: what it returned as JSON, or an [`Error`] that knows
//! PostgREST's status and body. Which function is meant is found by its name and the names of the arguments, as
//! PostgREST finds it; Postgres converts the arguments and the result.
//!
//! Sessions are opened when they are first needed and kept. A call costs one round trip, once its statement has been
//! prepared on the session. It goes on when whoever made it has gone, so that a session is never left in the midst of a
//! transaction; Postgres ends what takes longer than the timeout.
//!
//! **Invariants:** no call runs as another role than its caller's, or without a transaction; nothing that a call has set
//! is there for the next one; what Postgres raises is told to the caller alone.

mod catalog;
mod counters;
pub mod error;
mod page;
mod pool;
mod session;
mod signature;
mod similar;
mod statement;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use error::{ANONYMOUS, Error};
pub use page::{Order, Page};

use super::connect::Database;
use crate::policy::Claims;
use crate::telemetry::metrics as names;
use crate::telemetry::page::Page as MetricsPage;
use catalog::{Catalog, PAUSE};
use counters::Counters;
use pool::{Lease, Pool};
use session::{Call, Outcome};
use signature::{Given, Signature, choose};

/// How often a call begins anew because its function has changed.
const ATTEMPTS_MAX: u32 = 3;

/// How much longer than its statements a call may take before its session is given up.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// The longest name of a role that Postgres has.
const ROLE_BYTES_MAX: usize = 63;

/// Where calls go, and how many at a time.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub database: Database,
    /// Sessions, and so calls at a time.
    pub connections: usize,
    /// How many calls may wait for one.
    pub waiting_max: usize,
    /// How long a call may wait for a session, and each of its statements may take.
    pub timeout: Duration,
}

impl Config {
    /// With the defaults of the settings.
    pub fn new(database: Database) -> Self {
        Self { database, connections: 8, waiting_max: 1024, timeout: Duration::from_millis(8000) }
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The verified body of its token.
    pub claims: Arc<Claims>,
    /// What functions read as `request.method`. GET and HEAD change nothing.
    pub method: Method,
    /// What functions read as `request.path`.
    pub path: Arc<str>,
    /// What functions read as `request.headers`: a JSON object.
    pub headers: Arc<str>,
    /// In which time zone times are told; without one in that of the database or the role.
    pub time_zone: Option<&'static str>,
}

impl Caller {
    /// One that is known by its claims alone.
    pub fn new(claims: Arc<Claims>) -> Self {
        Self { claims, method: Method::POST, path: "".into(), headers: "{}".into(), time_zone: None }
    }

    fn is_reader(&self) -> bool {
        [Method::GET, Method::HEAD].contains(&self.method)
    }
}

/// A function, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Where it is.
    pub schema: &'a str,
    /// Its name there.
    pub name: &'a str,
}

impl<'a> Function<'a> {
    /// One of the schema `public`.
    pub const fn public(name: &'a str) -> Self {
        Self { schema: "public", name }
    }
}

/// What a function returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// As JSON: empty for nothing, an array for a set.
    pub json: String,
    /// Which of these it is.
    pub shape: Shape,
    /// How many rows it has.
    pub rows: u64,
    /// How many there would be without limits, if that was asked for.
    pub total: Option<u64>,
    /// What the function set as `response.status`.
    pub status: Option<String>,
    /// What it set as `response.headers`.
    pub headers: Option<String>,
}

/// How much a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Void,
    /// A value or a row.
    Single,
    /// Any number of them.
    Set,
}

impl Shape {
    fn of(signature: &Signature) -> Self {
        match (signature.returns, signature.is_set) {
            (signature::Returns::Void, _) => Self::Void,
            (_, false) => Self::Single,
            (_, true) => Self::Set,
        }
    }
}

/// The arguments of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Their names, each once.
    pub names: Vec<String>,
    /// Their values, as JSON.
    pub json: String,
    /// How they are to be read.
    pub form: Form,
}

/// How the JSON of arguments is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object that holds them by name.
    Json,
    /// The same, or any JSON, which is for a function of one unnamed argument if no other fits.
    Body,
    /// An object that holds an array of texts for each of them: of several the last one counts, or all of them for an
    /// argument that takes any number.
    Texts,
}

impl From<&Map<String, Value>> for Arguments {
    fn from(map: &Map<String, Value>) -> Self {
        let json = serde_json::to_string(map).unwrap_or_default();
        Self { names: map.keys().cloned().collect(), json, form: Form::Json }
    }
}

/// Calls functions. Cheap to clone; all clones share their sessions.
#[derive(Clone)]
pub struct Rpc(Arc<Inner>);

struct Inner {
    pool: Pool,
    catalog: Catalog,
    counters: Arc<Counters>,
    timeout: Duration,
}

impl Rpc {
    /// One that has no session yet.
    pub fn new(config: Config) -> Self {
        let counters = Arc::<Counters>::default();
        Self(Arc::new(Inner {
            timeout: config.timeout,
            pool: Pool::new(config, Arc::clone(&counters)),
            catalog: Catalog::default(),
            counters,
        }))
    }

    /// Adds what has been counted to the metrics.
    pub fn add_to(&self, page: &mut MetricsPage) {
        self.0.counters.add_to(page);
        page.add(&names::RPC_WAITING, self.0.pool.waiting());
        page.add(&names::RPC_CATALOG_READINGS, self.0.catalog.readings.get());
    }

    /// Calls a function with named arguments, in a transaction of its own as the caller's role with its claims.
    pub async fn call(
        &self,
        caller: &Caller,
        function: Function<'_>,
        arguments: &Map<String, Value>,
    ) -> Result<Returned, Error> {
        self.call_page(caller, function, arguments.into(), Page::default()).await
    }

    /// As [`Rpc::call`], with arguments that are JSON already, for a part of what is returned.
    pub async fn call_page(
        &self,
        caller: &Caller,
        function: Function<'_>,
        arguments: Arguments,
        page: Page,
    ) -> Result<Returned, Error> {
        let began = Instant::now();
        let result = self.queue(caller, function, arguments, page).await;
        self.0.counters.count(&result, began.elapsed());
        result
    }

    async fn queue(
        &self,
        caller: &Caller,
        function: Function<'_>,
        arguments: Arguments,
        page: Page,
    ) -> Result<Returned, Error> {
        let role = &caller.claims.role;
        // To become nobody is to become whom the server has logged in as.
        if **role == *"none" || !(1..=ROLE_BYTES_MAX).contains(&role.len()) || role.contains('\0') {
            return Err(Error::denied("22023", format!("role \"{role}\" does not exist"), role));
        }
        let lease = self.0.pool.lease().await?;
        let inner = Arc::clone(&self.0);
        let (caller, schema, name) = (caller.clone(), function.schema.to_owned(), function.name.to_owned());
        let (answer, answered) = oneshot::channel();
        // By itself, so that it comes to its end even if nobody waits for that.
        tokio::spawn(async move {
            let function = Function { schema: &schema, name: &name };
            let request = Request { caller: &caller, function, arguments: &arguments, page: &page };
            let result = inner.attend(lease, request).await;
            // Whoever has asked may have gone.
            let _ = answer.send(result);
        });
        answered.await.unwrap_or(Err(Error::Unavailable))
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("timeout", &self.0.timeout).finish_non_exhaustive()
    }
}

/// All that a caller has said.
#[derive(Clone, Copy)]
struct Request<'a> {
    caller: &'a Caller,
    function: Function<'a>,
    arguments: &'a Arguments,
    page: &'a Page,
}

impl Inner {
    /// Makes a call on a session, and gives it back if it is as it was.
    async fn attend(&self, mut lease: Lease, request: Request<'_>) -> Result<Returned, Error> {
        lease.open().await?;
        // The function's own statement and the end of the transaction each have the timeout.
        let within = self.timeout.saturating_mul(2).saturating_add(SILENCE_MAX);
        match tokio::time::timeout(within, self.attempt(&mut lease, request)).await {
            Ok(Some(result)) => {
                lease.give_back();
                result
            }
            Ok(None) => Err(Error::Unavailable),
            Err(_) => Err(Error::TimedOut),
        }
    }

    /// `None` if the session is of no more use.
    async fn attempt(&self, lease: &mut Lease, request: Request<'_>) -> Option<Result<Returned, Error>> {
        let Request { caller, function, arguments, page } = request;
        let mut since = None;
        let mut attempts = 0;
        loop {
            let session = lease.session()?;
            let signature = match self.find(session.client(), function, arguments, since).await? {
                Ok(signature) => signature,
                Err(error) => return Some(Err(error)),
            };
            let role = self.catalog.role(session.client(), &caller.claims.role, since).await?;
            let call = Call {
                caller,
                signature: &signature,
                role: &role,
                arguments,
                page,
                is_read_only: caller.is_reader() || !signature.is_volatile,
                timeout_ms_max: i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX),
            };
            attempts += 1;
            let begun = Instant::now();
            match session.call(&call).await {
                Outcome::Done(result) => return Some(result),
                Outcome::Stale(error) if attempts == ATTEMPTS_MAX => return Some(Err(error)),
                Outcome::Stale(_) => since = Some(begun),
                Outcome::Lost => return None,
            }
        }
    }

    /// The function that is meant, by a reading of its schema that is no older than `since`, or of any age; `None` if
    /// the session is of no more use.
    async fn find(
        &self,
        client: &tokio_postgres::Client,
        function: Function<'_>,
        arguments: &Arguments,
        since: Option<Instant>,
    ) -> Option<Result<Arc<Signature>, Error>> {
        let names = &arguments.names[..];
        let given = if arguments.form == Form::Body { Given::Body(names) } else { Given::Named(names) };
        let mut schema = self.catalog.known(function.schema);
        if schema.as_ref().is_none_or(|known| since.is_some_and(|since| known.read_at < since)) {
            schema = Some(self.catalog.read(client, function.schema, since).await?);
        }
        loop {
            let known = schema.as_ref()?;
            let overloads = known.functions.get(function.name).map_or(&[][..], Vec::as_slice);
            match choose(overloads, given) {
                Ok(Some(signature)) => return Some(Ok(Arc::clone(signature))),
                Err(error) => return Some(Err(error)),
                Ok(None) if known.read_at.elapsed() < PAUSE => {
                    return Some(Err(similar::not_found(known, function, arguments)));
                }
                Ok(None) => {
                    let since = Some(known.read_at);
                    schema = Some(self.catalog.read(client, function.schema, since).await?);
                }
            }
        }
    }
}

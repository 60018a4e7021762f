//! What is read of the database's catalog to compile policies: plain data, as `postgres` found it in one snapshot.
//!
//! It holds everything that the policies of the subscribed tables and of `realtime.messages` reach, through functions,
//! views and the policies of the tables that they read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::change::{Oid, RelationId, ReplicaIdentity, Types};

/// A reading.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The server's major version.
    pub major: u32,
    /// All types, to read constants and to look beneath domains.
    pub types: Arc<Types>,
    /// Roles: those who subscribe, and the owners of functions and views that run with their owner's rights.
    pub roles: HashMap<Oid, Role>,
    /// Relations.
    pub relations: HashMap<RelationId, Relation>,
    /// Functions, built-in ones included.
    pub functions: HashMap<Oid, Function>,
    /// The function behind each operator that a tree names without it.
    pub operators: HashMap<Oid, Oid>,
    /// Collations that are named, and the database's own as 100.
    pub collations: HashMap<Oid, super::function::Collation>,
    /// The labels' places in the sort order of their enum, by the label's identifier, as constants hold them.
    pub enum_labels: HashMap<Oid, u32>,
    /// Which columns (as `attnum`) a role may SELECT of a relation, by role and relation.
    pub selectable: HashMap<(Oid, RelationId), Arc<[i16]>>,
    /// Which functions that are not built in a role may call: role, function.
    pub executable: BTreeSet<(Oid, Oid)>,
    /// Schemas that a role may use, other than `pg_catalog`: role, schema. The text of a function names its objects anew
    /// at each call, with the rights of whoever it runs as.
    pub usable_schemas: BTreeSet<(Oid, Arc<str>)>,
}

/// A role.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// Its name.
    pub name: Arc<str>,
    /// Whether row level security never binds it: a superuser, or BYPASSRLS.
    pub bypasses: bool,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// The roles whose rights it has: itself, and those that it inherits from.
    pub has_rights_of: BTreeSet<Oid>,
}

/// A relation.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its schema.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `pg_class.relkind`: `r`, `p`, `v`, `m`, `f`.
    pub kind: char,
    /// `pg_class.relpersistence`: `p`, `u`, `t`.
    pub persistence: char,
    /// Its owner.
    pub owner: Oid,
    /// Whether row level security is enabled.
    pub row_security: bool,
    /// Whether it binds the owner.
    pub row_security_forced: bool,
    /// What it logs of old rows.
    pub replica_identity: ReplicaIdentity,
    /// Whether old rows can be told by what it logs: it has a primary key, a chosen index, or logs them whole.
    pub has_identity: bool,
    /// Whether it is a partition or has children, or is a child, by inheritance.
    pub inherits: bool,
    /// Columns that are not dropped, in `attnum` order.
    pub columns: Box<[Column]>,
    /// Its policies.
    pub policies: Vec<Policy>,
    /// The tree of a view's query (`pg_rewrite.ev_action`).
    pub view: Option<Arc<str>>,
    /// Whether a view reads with its caller's rights.
    pub security_invoker: bool,
    /// About how many rows it has, as the planner thinks.
    pub row_estimate: f64,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// `pg_attribute.attnum`
    pub number: i16,
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub type_id: Oid,
    /// Its collation; 0 without one.
    pub collation: Oid,
    /// Whether it is part of what identifies an old row in the log.
    pub in_identity: bool,
    /// Whether it is generated.
    pub generated: bool,
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// `pg_policy.polcmd`: `r`, `a`, `w`, `d`, `*`.
    pub command: char,
    /// Permissive or restrictive.
    pub permissive: bool,
    /// The roles that it is for; 0 is everybody.
    pub roles: Vec<Oid>,
    /// `USING`, as the analysed tree and as SQL.
    pub using: Option<Expression>,
    /// `WITH CHECK`.
    pub check: Option<Expression>,
}

/// An expression of a policy.
#[derive(Clone, Debug)]
pub struct Expression {
    /// The analysed tree, as Postgres prints it.
    pub tree: Arc<str>,
    /// The same as SQL, for people.
    pub text: Arc<str>,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its schema.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its owner.
    pub owner: Oid,
    /// The name of its language; `internal` and `c` among them.
    pub language: Arc<str>,
    /// `pg_proc.provolatile`: `i`, `s`, `v`.
    pub volatility: char,
    /// Whether NULL in any argument makes the result NULL.
    pub strict: bool,
    /// Whether it runs with its owner's rights.
    pub security_definer: bool,
    /// Whether it returns a set.
    pub returns_set: bool,
    /// The types of its arguments.
    pub arguments: Box<[Oid]>,
    /// The names of its arguments; empty where one has none.
    pub argument_names: Box<[Arc<str>]>,
    /// The type of its result.
    pub result: Oid,
    /// `pg_proc.proconfig`: `SET` clauses.
    pub config: Box<[Arc<str>]>,
    /// `pg_proc.prosrc`: the symbol of an internal function, else its text.
    pub source: Arc<str>,
    /// The analysed body of a function in SQL, or of one in PL/pgSQL that returns one expression, as
    /// `pg_proc.prosqlbody` has it; or why there is none.
    pub body: Result<Arc<str>, NoBody>,
}

/// Why the body of a function could not be analysed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// It is built in: there is nothing to analyse.
    BuiltIn,
    /// It is not in SQL or PL/pgSQL.
    Language,
    /// It is in PL/pgSQL and more than `BEGIN RETURN expression; END`.
    Statements,
    /// An argument has the name of a column that the body could mean: PL/pgSQL would raise an error.
    AmbiguousName,
    /// Postgres could not analyse it as it stands.
    Refused,
    /// The server's role may not create temporary functions, or the server is too old.
    NoProbe,
}

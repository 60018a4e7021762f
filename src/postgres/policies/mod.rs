//! Reads what policies are made of: the trees that Postgres keeps of them, and everything that these name.
//!
//! It begins at the policies of some relations and reads what is named, until nothing new is. Bodies of functions that
//! are kept as text are analysed by Postgres itself, see `probe.rs`; a body counts only as far as all who may run it
//! would mean the same by it.
//!
//! Bounds: `RELATIONS_MAX`, `FUNCTIONS_MAX`, `ROUNDS_MAX`, `TREE_BYTES_MAX` and `TREES_BYTES_MAX`, the roles
//! and pairs named below. What lies beyond is missing, and policies that need it are asked of Postgres; a tree that is
//! too large is empty, which no tree is.

mod body;
mod contexts;
mod names;
mod probe;
mod rights;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

use crate::change::{Oid, RelationId, ReplicaIdentity, Types};
use crate::policy::source::{Column, Expression, Function, NoBody, Policy, Relation, Role, Source};

use names::Names;
pub use probe::Bodies;
use probe::{Question, Signature};

/// How many relations are read.
const RELATIONS_MAX: usize = 5_000;

/// How many functions are read, built-in ones included.
const FUNCTIONS_MAX: usize = 2_000;

/// How many steps what policies name is followed.
const ROUNDS_MAX: usize = 32;

/// How long one tree may be.
const TREE_BYTES_MAX: usize = 1 << 20;

/// How long all trees may be.
const TREES_BYTES_MAX: usize = 64 << 20;

/// How many roles are read besides those asked for: owners of functions and views.
const OWNERS_MAX: usize = 200;

/// How many enum labels are read.
const LABELS_MAX: i64 = 50_000;

/// Objects with lower numbers came with Postgres.
const FIRST_OWN_OID: Oid = 16_384;

/// Settings of the session and of whoever opens one like it.
const SESSION: &str = "select pg_catalog.current_setting('server_version_num')::int4 / 10000 as major,
    pg_catalog.current_setting('transaction_read_only')::boolean as is_read_only,
    (select s.reset_val from pg_catalog.pg_settings s where s.name = 'search_path') as path,
    (select pg_catalog.substr(c.setting, 13) from pg_catalog.pg_db_role_setting s
        cross join pg_catalog.unnest(s.setconfig) as c(setting)
        left join pg_catalog.pg_roles r on r.oid = s.setrole
       where (s.setrole = 0 or r.rolname = session_user)
         and (s.setdatabase = 0 or s.setdatabase
              = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()))
         and c.setting like 'search\\_path=%'
       order by s.setrole <> 0 desc, s.setdatabase <> 0 desc limit 1) as configured_path";

/// The labels' places in the order of their enums.
const LABELS: &str =
    "select e.oid, pg_catalog.row_number() over (partition by e.enumtypid order by e.enumsortorder) - 1 as place
    from pg_catalog.pg_enum e limit $1";

/// Reads what the policies on `roots` are made of, and what `roles` may do with it, in the open transaction of
/// `client`: repeatable read, with an empty `search_path`. It is as it was afterwards, but may have got a number.
pub async fn read(
    client: &Client,
    roles: &[&str],
    roots: &[Oid],
    types: Arc<Types>,
    bodies: &mut Bodies,
) -> Result<Source, Error> {
    let session = client.query_one(SESSION, &[]).await?;
    let path: Option<String> = session.try_get("path")?;
    let configured: Option<String> = session.try_get("configured_path")?;
    let mut reading = Reading {
        client,
        source: Source {
            major: session.try_get::<_, i32>("major")?.cast_unsigned(),
            types,
            ..Source::default()
        },
        path: match (path, configured) {
            // Sessions that were opened at other times have other paths.
            (Some(path), Some(configured)) if path != configured => None,
            (path, _) => path.map(Arc::from),
        },
        may_probe: !session.try_get::<_, bool>("is_read_only")?,
        asked: roles,
        owners: BTreeSet::new(),
        callers: Vec::new(),
        signatures: HashMap::new(),
        configured: HashMap::new(),
        probed: HashMap::new(),
        differing: BTreeSet::new(),
        tree_bytes: 0,
        relation_names: HashMap::new(),
        function_names: HashMap::new(),
        collations: BTreeSet::from([100]),
    };
    reading.read_roles().await?;
    reading.close_over(roots, bodies).await?;
    reading.read_roles().await?;
    reading.settle(roots, bodies).await?;
    reading.read_rights().await?;
    reading.read_rest().await?;
    Ok(reading.source)
}

/// A reading under way.
struct Reading<'a> {
    client: &'a Client,
    source: Source,
    /// The search path of a session that asks about policies; `None` if it is not certain.
    path: Option<Arc<str>>,
    may_probe: bool,
    asked: &'a [&'a str],
    /// Of functions and views that run with their owner's rights.
    owners: BTreeSet<Oid>,
    /// Who may run functions that run with their caller's rights.
    callers: Vec<Oid>,
    /// Functions whose bodies are texts.
    signatures: HashMap<Oid, Signature>,
    /// The search path of functions that set one.
    configured: HashMap<Oid, Arc<str>>,
    /// By whom and under which path the body was analysed that counts.
    probed: HashMap<Oid, Question>,
    /// Who means something else by the body of which function, or nothing.
    differing: BTreeSet<(Oid, Oid)>,
    tree_bytes: usize,
    relation_names: HashMap<RelationId, Names>,
    function_names: HashMap<Oid, Names>,
    collations: BTreeSet<Oid>,
}

impl Reading<'_> {
    /// Follows what is named until nothing is new.
    async fn close_over(&mut self, roots: &[Oid], bodies: &mut Bodies) -> Result<(), Error> {
        let mut pending = Names { relations: roots.iter().copied().collect(), ..Names::default() };
        for _ in 0..ROUNDS_MAX {
            let relations = pending.relations.iter().copied();
            let relations = relations.filter(|id| !self.source.relations.contains_key(&RelationId(*id)));
            let room = RELATIONS_MAX.saturating_sub(self.source.relations.len());
            let relations: Vec<Oid> = relations.take(room).collect();
            let functions = pending.functions.iter().copied();
            let functions = functions.filter(|id| !self.source.functions.contains_key(id));
            let room = FUNCTIONS_MAX.saturating_sub(self.source.functions.len());
            let functions: Vec<Oid> = functions.take(room).collect();
            let operators = pending.operators.iter().copied();
            let operators: Vec<Oid> =
                operators.filter(|id| !self.source.operators.contains_key(id)).take(room).collect();
            self.collations.extend(&pending.collations);
            pending = Names::default();
            if relations.is_empty() && functions.is_empty() && operators.is_empty() {
                return Ok(());
            }
            self.read_relations(&relations, &mut pending).await?;
            let new = self.read_functions(&functions, &operators, &mut pending).await?;
            if !self.owners.iter().all(|owner| self.source.roles.contains_key(owner)) {
                self.read_roles().await?;
            }
            self.analyse(&new, bodies, &mut pending).await?;
            // Those that do not exist, or only beyond the bounds, are not looked for again.
            pending.relations.retain(|id| !relations.contains(id));
            pending.functions.retain(|id| !functions.contains(id));
            pending.operators.retain(|id| !operators.contains(id));
        }
        Ok(())
    }

    /// A tree within the bounds, and what it names.
    fn tree(&mut self, tree: String, names: &mut Names) -> Arc<str> {
        if tree.len() > TREE_BYTES_MAX || self.tree_bytes.saturating_add(tree.len()) > TREES_BYTES_MAX {
            return Arc::default();
        }
        self.tree_bytes += tree.len();
        names.add(&tree);
        tree.into()
    }

    async fn read_relations(&mut self, ids: &[Oid], pending: &mut Names) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let parameters: [&(dyn ToSql + Sync); 1] = [&ids];
        let (relations, columns, policies) = tokio::try_join!(
            self.client.query(include_str!("../../../sql/queries/policy_relations.sql"), &parameters),
            self.client.query(include_str!("../../../sql/queries/policy_columns.sql"), &parameters),
            self.client.query(include_str!("../../../sql/queries/policy_policies.sql"), &parameters),
        )?;
        let mut columns_of: HashMap<Oid, Vec<&Row>> = HashMap::new();
        for row in &columns {
            columns_of.entry(row.try_get("relation")?).or_default().push(row);
        }
        let mut policies_of: HashMap<Oid, Vec<&Row>> = HashMap::new();
        for row in &policies {
            policies_of.entry(row.try_get("relation")?).or_default().push(row);
        }
        for row in &relations {
            let id: Oid = row.try_get("oid")?;
            let mut relation = relation(row, columns_of.get(&id).map_or(&[], Vec::as_slice))?;
            let mut names = Names::default();
            let view: Option<String> = row.try_get("view")?;
            relation.view = view.map(|tree| self.tree(tree, &mut names));
            for row in policies_of.remove(&id).unwrap_or_default() {
                relation.policies.push(self.policy(row, &mut names)?);
            }
            for column in &relation.columns {
                names.collations.extend((column.collation != 0).then_some(column.collation));
            }
            if relation.view.is_some() && !relation.security_invoker && self.owners.len() < OWNERS_MAX {
                self.owners.insert(relation.owner);
            }
            pending.extend(&names);
            self.relation_names.insert(RelationId(id), names);
            self.source.relations.insert(RelationId(id), relation);
        }
        Ok(())
    }

    fn policy(&mut self, row: &Row, names: &mut Names) -> Result<Policy, Error> {
        let mut expression = |tree: &str, text: &str| -> Result<Option<Expression>, Error> {
            let tree: Option<String> = row.try_get(tree)?;
            let text: Option<String> = row.try_get(text)?;
            let text = text.unwrap_or_default().into();
            Ok(tree.map(|tree| Expression { tree: self.tree(tree, names), text }))
        };
        Ok(Policy {
            using: expression("using_tree", "using_text")?,
            check: expression("check_tree", "check_text")?,
            name: row.try_get::<_, String>("name")?.into(),
            command: letter(row, "command")?,
            permissive: row.try_get("permissive")?,
            roles: row.try_get("roles")?,
        })
    }

    /// Reads functions, and gives those that were not known.
    async fn read_functions(
        &mut self,
        ids: &[Oid],
        operators: &[Oid],
        pending: &mut Names,
    ) -> Result<Vec<Oid>, Error> {
        if ids.is_empty() && operators.is_empty() {
            return Ok(Vec::new());
        }
        let query = include_str!("../../../sql/queries/policy_functions.sql");
        let rows = self.client.query(query, &[&ids, &operators]).await?;
        let mut new = Vec::new();
        for row in &rows {
            let id: Oid = row.try_get("oid")?;
            for operator in row.try_get::<_, Vec<Oid>>("operators")? {
                self.source.operators.insert(operator, id);
            }
            // What is built in is not asked for rights later.
            if self.source.functions.contains_key(&id) || row.try_get("restricted")? {
                continue;
            }
            let mut names = Names::default();
            let mut function = function(row)?;
            let tree: Option<String> = row.try_get("body")?;
            if let Some(tree) = tree {
                function.body = Ok(self.tree(tree, &mut names));
            } else if let Some(signature) = signature(row, &mut function)? {
                self.signatures.insert(id, signature);
            }
            let path = function.config.iter().find_map(|setting| setting.strip_prefix("search_path="));
            self.configured.extend(path.map(|path| (id, Arc::from(path))));
            if function.security_definer && self.owners.len() < OWNERS_MAX {
                self.owners.insert(function.owner);
            }
            pending.extend(&names);
            self.function_names.insert(id, names);
            self.source.functions.insert(id, function);
            new.push(id);
        }
        Ok(new)
    }

    /// Has the bodies of new functions analysed, each by the first who can.
    async fn analyse(&mut self, new: &[Oid], bodies: &mut Bodies, pending: &mut Names) -> Result<(), Error> {
        /// Beyond these, nobody is tried.
        const CALLERS_TRIED_MAX: usize = 3;
        let mut open: Vec<Oid> = Vec::new();
        for id in new {
            let (Some(_), Some(function)) = (self.signatures.get(id), self.source.functions.get_mut(id))
            else {
                continue;
            };
            if self.may_probe {
                open.push(*id);
            } else {
                function.body = Err(NoBody::NoProbe);
            }
        }
        for attempt in 0..CALLERS_TRIED_MAX {
            let questions: Vec<Question> = open
                .iter()
                .filter_map(|id| {
                    let role = *self.callers_of(*id).get(attempt)?;
                    let path = self.configured.get(id).cloned().or_else(|| self.path.clone())?;
                    Some(Question { function: *id, role, path })
                })
                .collect();
            self.put(questions.clone(), bodies).await?;
            for question in questions {
                let id = question.function;
                let Some(answer) = bodies.get(&question) else { continue };
                let answer = answer.clone().and_then(|tree| self.unambiguous(id, tree));
                let body = answer.map(|tree| {
                    let mut names = Names::default();
                    let tree = self.tree(tree.to_string(), &mut names);
                    pending.extend(&names);
                    self.function_names.insert(id, names);
                    tree
                });
                if body.is_ok() {
                    open.retain(|open| *open != id);
                    self.probed.insert(id, question);
                }
                if let Some(function) = self.source.functions.get_mut(&id) {
                    function.body = body;
                }
            }
        }
        Ok(())
    }

    /// The body, unless PL/pgSQL would find a name in it that could be a column or an argument.
    fn unambiguous(&self, function: Oid, tree: Arc<str>) -> Result<Arc<str>, NoBody> {
        let Some(function) = self.source.functions.get(&function) else { return Ok(tree) };
        if &*function.language != "plpgsql" {
            return Ok(tree);
        }
        let scanned = names::of_scans(&tree);
        let is_ambiguous =
            function.argument_names.iter().any(|name| !name.is_empty() && scanned.contains(&**name));
        if is_ambiguous { Err(NoBody::AmbiguousName) } else { Ok(tree) }
    }

    async fn put(&self, questions: Vec<Question>, bodies: &mut Bodies) -> Result<(), Error> {
        let names = self.source.roles.iter().map(|(id, role)| (*id, Arc::clone(&role.name))).collect();
        probe::ask(self.client, bodies, questions, &self.signatures, &names).await
    }

    /// With whose rights a function may run.
    fn callers_of(&self, function: Oid) -> Vec<Oid> {
        match self.source.functions.get(&function) {
            Some(function) if function.security_definer => vec![function.owner],
            Some(_) => self.callers.clone(),
            None => Vec::new(),
        }
    }

    async fn read_roles(&mut self) -> Result<(), Error> {
        let owners: Vec<Oid> = self.owners.iter().copied().collect();
        let relations = self.source.relations.values();
        let mut named: BTreeSet<Oid> = relations
            .clone()
            .flat_map(|relation| &relation.policies)
            .flat_map(|policy| &policy.roles)
            .copied()
            .collect();
        named.extend(relations.map(|relation| relation.owner));
        let named: Vec<Oid> = named.into_iter().collect();
        let query = include_str!("../../../sql/queries/policy_roles.sql");
        let rows = self.client.query(query, &[&self.asked, &owners, &named]).await?;
        self.callers.clear();
        for row in &rows {
            let id: Oid = row.try_get("oid")?;
            let role = Role {
                name: row.try_get::<_, String>("name")?.into(),
                bypasses: row.try_get("bypasses")?,
                superuser: row.try_get("superuser")?,
                has_rights_of: row.try_get::<_, Vec<Oid>>("has_rights_of")?.into_iter().collect(),
            };
            // Whom no policy binds calls no function in one.
            let is_bound = row.try_get::<_, bool>("is_asked")? && !role.bypasses;
            if is_bound || self.owners.contains(&id) {
                self.callers.push(id);
            }
            self.source.roles.insert(id, role);
        }
        Ok(())
    }

    async fn read_rest(&mut self) -> Result<(), Error> {
        use crate::policy::function::Collation;
        let ids: Vec<Oid> = self.collations.iter().copied().collect();
        let (parameters, bound): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) =
            ([&ids], [&LABELS_MAX]);
        let (collations, labels) = tokio::try_join!(
            self.client.query(include_str!("../../../sql/queries/policy_collations.sql"), &parameters),
            self.client.query(LABELS, &bound),
        )?;
        for row in &collations {
            let is_c = row.try_get::<_, Option<bool>>("is_c")?.unwrap_or_default();
            let collation = match (is_c, row.try_get("deterministic")?) {
                (true, _) => Collation::C,
                (false, true) => Collation::Deterministic,
                (false, false) => Collation::Nondeterministic,
            };
            self.source.collations.insert(row.try_get("oid")?, collation);
        }
        for row in &labels {
            let place = u32::try_from(row.try_get::<_, i64>("place")?).unwrap_or(u32::MAX);
            self.source.enum_labels.insert(row.try_get("oid")?, place);
        }
        Ok(())
    }
}

fn letter(row: &Row, column: &str) -> Result<char, Error> {
    Ok(row.try_get::<_, &str>(column)?.chars().next().unwrap_or(' '))
}

fn relation(row: &Row, columns: &[&Row]) -> Result<Relation, Error> {
    let replica_identity = match row.try_get("replica_identity")? {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    let identity: Option<Vec<i16>> = row.try_get("identity")?;
    let is_full = replica_identity == ReplicaIdentity::Full;
    let columns = columns.iter().map(|row| {
        let number: i16 = row.try_get("number")?;
        Ok(Column {
            number,
            name: row.try_get::<_, String>("name")?.into(),
            type_id: row.try_get("type_id")?,
            collation: row.try_get("collation")?,
            in_identity: is_full || identity.as_ref().is_some_and(|identity| identity.contains(&number)),
            generated: row.try_get("generated")?,
        })
    });
    Ok(Relation {
        schema: row.try_get::<_, String>("schema")?.into(),
        name: row.try_get::<_, String>("name")?.into(),
        kind: letter(row, "kind")?,
        persistence: letter(row, "persistence")?,
        owner: row.try_get("owner")?,
        row_security: row.try_get("row_security")?,
        row_security_forced: row.try_get("row_security_forced")?,
        replica_identity,
        has_identity: is_full || identity.as_ref().is_some_and(|identity| !identity.is_empty()),
        inherits: row.try_get("inherits")?,
        columns: columns.collect::<Result<_, Error>>()?,
        policies: Vec::new(),
        view: None,
        security_invoker: row.try_get("security_invoker")?,
        row_estimate: row.try_get("row_estimate")?,
    })
}

fn function(row: &Row) -> Result<Function, Error> {
    let id: Oid = row.try_get("oid")?;
    let texts = |column: &str| -> Result<Box<[Arc<str>]>, Error> {
        Ok(row.try_get::<_, Vec<String>>(column)?.into_iter().map(Into::into).collect())
    };
    Ok(Function {
        schema: row.try_get::<_, String>("schema")?.into(),
        name: row.try_get::<_, String>("name")?.into(),
        owner: row.try_get("owner")?,
        language: row.try_get::<_, String>("language")?.into(),
        volatility: letter(row, "volatility")?,
        strict: row.try_get("strict")?,
        security_definer: row.try_get("security_definer")?,
        returns_set: row.try_get("returns_set")?,
        arguments: row.try_get::<_, Vec<Oid>>("arguments")?.into(),
        argument_names: texts("argument_names")?,
        result: row.try_get("result")?,
        config: texts("config")?,
        source: row.try_get::<_, String>("source")?.into(),
        body: Err(if id < FIRST_OWN_OID { NoBody::BuiltIn } else { NoBody::Language }),
    })
}

/// What is needed to analyse the body of a function that is kept as text; sets why not, if it cannot be.
fn signature(row: &Row, function: &mut Function) -> Result<Option<Signature>, Error> {
    let is_function: bool = row.try_get("is_function")?;
    let body = match &*function.language {
        "sql" if is_function => body::of_sql(&function.source),
        "plpgsql" if is_function && !function.returns_set && !row.try_get("has_outputs")? => {
            body::of_plpgsql(&function.source)
        }
        "plpgsql" => Err(NoBody::Statements),
        _ => return Ok(None),
    };
    match body {
        Ok(body) if body.len() <= TREE_BYTES_MAX => {
            function.body = Err(NoBody::Refused);
            Ok(Some(Signature {
                name: Arc::clone(&function.name),
                parameters: row.try_get("parameters")?,
                returned: row.try_get::<_, Option<String>>("returned")?.unwrap_or_default(),
                body,
            }))
        }
        Ok(_) => {
            function.body = Err(NoBody::Refused);
            Ok(None)
        }
        Err(none) => {
            function.body = Err(none);
            Ok(None)
        }
    }
}

//! What the catalog says about `realtime.messages`: its policies, its shape, and what roles may do with it.
//!
//! A [`Reading`] is one snapshot. It says for each role and question which condition a row
//! must meet, and whether asking that condition is proven to be the same as inserting the row.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::{Client, Error, Row};

use super::expression::{CURRENT_SETTING, Function, Functions, Needs, Tree, known};

/// How many roles are kept in a reading; it is read anew for further ones.
const ROLES_MAX: usize = 1_000;

/// Topics up to this length fit into any index that a table may have on them.
const INDEXED_TOPIC_BYTES_MAX: usize = 1_000;

/// What a function may not say whose source is to be trusted not to look for the row, nor at how it is asked.
const SUSPECT_WORDS: [&str; 9] = [
    TABLE,
    "messages_2",
    "execute",
    "txid_",
    "pg_current_",
    "current_query",
    "_to_xml",
    "dblink",
    "pg_stat_",
];

/// The schemas in which names are looked up by whoever asks as some role.
const PATH: &str = "select array(select n.oid from pg_catalog.pg_namespace n
  where n.nspname operator(pg_catalog.=) any (pg_catalog.current_schemas(false))
     or n.nspname operator(pg_catalog.=) any (select r.rolname from pg_catalog.pg_roles r))";

/// The table that is asked about; a suspect as a whole word only.
const TABLE: &str = "messages";

/// Built-in functions that can tell a stored row from one that is not, or one session's state from another's.
const SUSPECT_BUILTINS: [&str; 6] =
    ["txid_", "pg_current_", "current_query", "_to_xml", "pg_trigger_depth", "lo_"];

/// One reading.
pub(super) struct Reading {
    /// The columns of the table with their types.
    pub(super) columns: Vec<(String, String)>,
    /// A condition on `inserted_at` that holds where there is a partition.
    pub(super) partition: String,
    /// Whether inserting a row does nothing else.
    plain: bool,
    /// Whether topics are indexed, so that some are too long.
    indexed: bool,
    /// Whether plans are to be made anew for each question: a function of the user's that is declared immutable is
    /// evaluated by the planner, and may look at the caller all the same.
    pub(super) plans_anew: bool,
    policies: Vec<Policy>,
    roles: HashMap<Arc<str>, Option<Arc<Role>>>,
}

struct Policy {
    oid: u32,
    command: String,
    permissive: bool,
    using: Option<Expression>,
    check: Option<Expression>,
}

#[derive(Clone)]
struct Expression {
    text: String,
    /// Whether it gives the same for a row that is not stored.
    is_provable: bool,
    needs: Option<Needs>,
}

/// What one role may do.
#[derive(Debug)]
pub(super) struct Role {
    /// Its name.
    pub(super) name: Arc<str>,
    /// What it may read.
    pub(super) read: Judgement,
    /// What it may write.
    pub(super) write: Judgement,
    /// Whether its conditions name schemas that it may not use, or built-in functions and operators by names which
    /// somebody else has given to his own: as texts, they could mean something else for it than for Postgres.
    pub(super) is_hindered: bool,
    /// What its answers were made of, for reading and writing, if nothing but its subject.
    pub(super) needs: [Option<Needs>; 2],
}

/// How a question of a role is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// By this condition on the row, as SQL.
    Condition(String),
    /// With SQLSTATE 42501: it lacks a right on the table.
    Refused,
    /// By a row that is inserted and rolled back.
    Probe,
}

impl Reading {
    /// Reads everything that concerns these roles; `None` if there is no table.
    pub(super) async fn read(client: &mut Client, roles: HashSet<Arc<str>>) -> Result<Option<Self>, Error> {
        let transaction = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let path: Vec<u32> = transaction.query_one(PATH, &[]).await?.try_get(0)?;
        // Names come out qualified, and mean the same wherever they are executed later.
        transaction.batch_execute("set local search_path = ''").await?;
        let client = transaction.client();
        let table =
            client.query_opt(include_str!("../../../sql/queries/authorization_table.sql"), &[]).await?;
        let Some(table) = table else { return Ok(None) };
        let policies =
            client.query(include_str!("../../../sql/queries/authorization_policies.sql"), &[]).await?;
        let trees = Trees::read(&policies)?;
        let [functions, operators, relations] = trees.named();
        let objects = client
            .query(
                include_str!("../../../sql/queries/authorization_objects.sql"),
                &[&functions, &operators, &relations],
            )
            .await?;
        let objects = Objects::read(&objects, table.try_get("unsteady")?)?;
        let names: Vec<&str> = roles.iter().map(AsRef::as_ref).collect();
        let rights =
            client.query(include_str!("../../../sql/queries/authorization_roles.sql"), &[&names]).await?;
        let is_ambiguous: bool = client
            .query_one(include_str!("../../../sql/queries/authorization_names.sql"), &[&functions, &path])
            .await?
            .try_get(0)?;
        transaction.commit().await?;

        let names: Vec<String> = table.try_get("columns")?;
        let types: Vec<String> = table.try_get("types")?;
        let mut reading = Self {
            columns: names.into_iter().zip(types).collect(),
            partition: table.try_get("partition")?,
            plain: table.try_get::<_, Option<bool>>("plain")?.unwrap_or(false),
            indexed: table.try_get("indexed")?,
            plans_anew: objects.has_own_immutable && trees.0.iter().any(|tree| objects.reaches_own(tree)),
            policies: Vec::new(),
            roles: roles.into_iter().map(|role| (role, None)).collect(),
        };
        reading.policies = policies.iter().map(|row| policy(row, &objects)).collect::<Result<_, _>>()?;
        for row in &rights {
            let name: Arc<str> = row.try_get::<_, String>("role")?.into();
            let mut role = reading.role_of(row, Arc::clone(&name))?;
            role.is_hindered |= is_ambiguous;
            let role = Arc::new(role);
            reading.roles.insert(name, Some(role));
        }
        Ok(Some(reading))
    }

    /// What a role may do: `None` if it was not read, `Some(None)` if there is none of that name.
    pub(super) fn role(&self, name: &str) -> Option<Option<&Arc<Role>>> {
        self.roles.get(name).map(Option::as_ref)
    }

    /// The names of all roles that were read and exist, unless there are too many.
    pub(super) fn role_names(&self) -> HashSet<Arc<str>> {
        let existing = self.roles.iter().filter(|(_, role)| role.is_some()).map(|(name, _)| Arc::clone(name));
        existing.take(ROLES_MAX).collect()
    }

    /// Whether a row with this topic could be inserted.
    pub(super) fn takes_topic(&self, topic: &str) -> bool {
        !self.indexed || topic.len() <= INDEXED_TOPIC_BYTES_MAX
    }

    fn role_of(&self, row: &Row, name: Arc<str>) -> Result<Role, Error> {
        let bound: Vec<u32> = row.try_get("policies")?;
        let row_security: bool = row.try_get("row_security")?;
        let closed: Vec<String> = row.try_get("closed_schemas")?;
        let of = |command: &'static str| {
            let bound = &bound;
            move |policy: &&Policy| {
                bound.contains(&policy.oid) && (policy.command == command || policy.command == "*")
            }
        };
        let readers: Vec<&Policy> = self.policies.iter().filter(of("r")).collect();
        let writers: Vec<&Policy> = self.policies.iter().filter(of("a")).collect();
        let using = |policy: &&Policy| policy.using.clone();
        let check = |policy: &&Policy| policy.check.clone().or_else(|| policy.using.clone());
        let read = Combined::of(&readers, using, row_security, true);
        let write = Combined::of(&writers, check, row_security, false);
        let is_hindered =
            closed.iter().any(|schema| read.text.contains(schema) || write.text.contains(schema));
        let judgement = |combined: &Combined, may: bool, otherwise: Judgement| match may {
            false => otherwise,
            true if self.plain && combined.is_provable => Judgement::Condition(combined.text.clone()),
            true => Judgement::Probe,
        };
        let never = Judgement::Condition("false".to_owned());
        Ok(Role {
            name,
            read: judgement(&read, row.try_get("may_select")?, Judgement::Refused),
            write: judgement(&write, row.try_get("may_insert")?, never),
            is_hindered,
            needs: [read.needs, write.needs],
        })
    }
}

/// The policies of one role and command as one condition.
struct Combined {
    text: String,
    is_provable: bool,
    needs: Option<Needs>,
}

impl Combined {
    /// Joins what policies say as Postgres does: one permissive policy must hold, and all restrictive ones. A policy
    /// that says nothing permits nothing, and forbids nothing.
    fn of(
        policies: &[&Policy],
        expression: impl Fn(&&Policy) -> Option<Expression>,
        row_security: bool,
        restrictive_first: bool,
    ) -> Self {
        if !row_security {
            return Self { text: "true".to_owned(), is_provable: true, needs: Some(Needs::default()) };
        }
        let expressions = |permissive: bool| {
            policies.iter().filter(move |policy| policy.permissive == permissive).filter_map(&expression)
        };
        let permissive: Vec<Expression> = expressions(true).collect();
        // Those by their names; these in the order in which they were read.
        let restrictive: Vec<Expression> = expressions(false).rev().collect();
        if permissive.is_empty() {
            return Self { text: "false".to_owned(), is_provable: true, needs: Some(Needs::default()) };
        }
        let texts = |expressions: &[Expression], word: &str| {
            let texts: Vec<String> = expressions.iter().map(|one| format!("({})", one.text)).collect();
            texts.join(word)
        };
        let allowed = format!("({})", texts(&permissive, " or "));
        let parts = match (restrictive.is_empty(), restrictive_first) {
            (true, _) => vec![allowed],
            (false, true) => vec![texts(&restrictive, " and "), allowed],
            (false, false) => vec![allowed, texts(&restrictive, " and ")],
        };
        let all = || permissive.iter().chain(&restrictive);
        let needs = all().try_fold(Needs::default(), |needs, one| Some(needs.and(one.needs?)));
        Self { text: parts.join(" and "), is_provable: all().all(|one| one.is_provable), needs }
    }
}

fn policy(row: &Row, objects: &Objects) -> Result<Policy, Error> {
    let expression = |text: &str, tree: &str| -> Result<Option<Expression>, Error> {
        let text: Option<String> = row.try_get(text)?;
        let tree: Option<String> = row.try_get(tree)?;
        Ok(text.zip(tree).map(|(text, tree)| objects.expression(text, &Tree::read(&tree))))
    };
    Ok(Policy {
        oid: row.try_get("oid")?,
        command: row.try_get("command")?,
        permissive: row.try_get("permissive")?,
        using: expression("using_text", "using_tree")?,
        check: expression("check_text", "check_tree")?,
    })
}

/// All trees of all policies.
struct Trees(Vec<Tree>);

impl Trees {
    fn read(policies: &[Row]) -> Result<Self, Error> {
        let mut trees = Vec::new();
        for row in policies {
            for column in ["using_tree", "check_tree"] {
                let text: Option<String> = row.try_get(column)?;
                trees.extend(text.as_deref().map(Tree::read));
            }
        }
        Ok(Self(trees))
    }

    /// The functions, operators and relations that they name.
    fn named(&self) -> [Vec<u32>; 3] {
        let all = |of: fn(&Tree) -> &BTreeSet<u32>| {
            self.0.iter().flat_map(of).copied().collect::<BTreeSet<_>>().into_iter().collect()
        };
        [all(|tree| &tree.functions), all(|tree| &tree.operators), all(|tree| &tree.relations)]
    }
}

/// What policies can reach by name.
struct Objects {
    functions: Functions,
    /// The tables that policies name, other than the one that is asked about and its partitions.
    tables: BTreeSet<u32>,
    /// Functions, views and tables with policies: number, name, and what they say, in lower case.
    sources: Vec<(u32, String, String)>,
    /// The columns whose values differ between two questions about one topic.
    unsteady: Vec<i32>,
    /// Whether there is a function of the user's that says of itself that it is immutable. Those of the schema
    /// `realtime` are, and look at nobody.
    has_own_immutable: bool,
}

impl Objects {
    fn read(rows: &[Row], unsteady: Vec<i16>) -> Result<Self, Error> {
        let unsteady = unsteady.into_iter().map(i32::from).collect();
        let mut objects = Self {
            functions: HashMap::new(),
            tables: BTreeSet::new(),
            sources: Vec::new(),
            unsteady,
            has_own_immutable: false,
        };
        for row in rows {
            let (oid, name): (u32, String) = (row.try_get("oid")?, row.try_get("name")?);
            let (schema, language): (String, String) = (row.try_get("schema")?, row.try_get("language")?);
            let source: String =
                row.try_get::<_, Option<String>>("source")?.unwrap_or_default().to_lowercase();
            match row.try_get("kind")? {
                "function" => {
                    let volatility: String = row.try_get("volatility")?;
                    let function = classify(oid, &schema, &name, &language, &volatility, &source);
                    // A language that nobody has read here is as bad as what it could say.
                    let is_readable = matches!(&*language, "sql" | "plpgsql" | "c" | "internal");
                    let source = if is_readable { source } else { SUSPECT_WORDS.concat() };
                    objects.functions.insert(oid, function);
                    if oid >= FIRST_OWN_OID {
                        objects.has_own_immutable |= volatility == "i"
                            && matches!(&*language, "sql" | "plpgsql")
                            && schema != "realtime";
                        objects.sources.push((oid, name.to_lowercase(), source));
                    }
                }
                "relation" => {
                    let is_asked_about = schema == "realtime" && name.starts_with(TABLE);
                    if matches!(&*language, "r" | "p") && !is_asked_about {
                        objects.tables.insert(oid);
                    }
                }
                _ => objects.sources.push((oid, name.to_lowercase(), source)),
            }
        }
        Ok(objects)
    }

    fn expression(&self, text: String, tree: &Tree) -> Expression {
        let needs = tree.needs(&self.functions, &self.unsteady);
        Expression { is_provable: self.is_provable(tree), needs, text }
    }

    /// Whether a policy can reach functions that somebody has made, by themselves or through a table's own policies.
    /// Those of `auth` and `realtime` whose source is known are none of them.
    fn reaches_own(&self, tree: &Tree) -> bool {
        let is_own =
            |oid: &u32| *oid >= FIRST_OWN_OID && !matches!(self.functions.get(oid), Some(Function::Reads(_)));
        !tree.relations.is_empty() || tree.functions.iter().any(is_own)
    }

    /// Whether nothing that a policy can reach looks for the row.
    fn is_provable(&self, tree: &Tree) -> bool {
        let functions = || tree.functions.iter().map(|function| self.functions.get(function));
        tree.is_about_columns()
            && functions().all(|function| function.is_some_and(|function| *function != Function::Unknown))
            && tree.operators.is_empty()
            && tree.relations.is_subset(&self.tables)
            && !self.reaches_suspects(tree.functions.iter().chain(&tree.relations))
    }

    /// Whether one of these, or something whose name occurs in what they say, and so on, says a suspect word.
    fn reaches_suspects<'a>(&self, roots: impl Iterator<Item = &'a u32>) -> bool {
        let roots: HashSet<u32> = roots.copied().collect();
        let mut reached: HashSet<usize> =
            (0..self.sources.len()).filter(|place| roots.contains(&self.sources[*place].0)).collect();
        let mut left: Vec<usize> = reached.iter().copied().collect();
        while let Some(place) = left.pop() {
            let source = &self.sources[place].2;
            if SUSPECT_WORDS
                .iter()
                .any(|word| source.contains(word) && (*word != TABLE || mentions(source, word)))
            {
                return true;
            }
            for (other, (_, name, _)) in self.sources.iter().enumerate() {
                if mentions(source, name) && reached.insert(other) {
                    left.push(other);
                }
            }
        }
        false
    }
}

/// Whether a name occurs in a source as a whole word.
fn mentions(source: &str, name: &str) -> bool {
    let is_part =
        |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'$' || !byte.is_ascii();
    source.match_indices(name).any(|(place, _)| {
        let (before, after) = (&source.as_bytes()[..place], &source.as_bytes()[place + name.len()..]);
        !before.last().is_some_and(is_part) && !after.first().is_some_and(is_part)
    })
}

/// Objects with lower numbers came with Postgres.
const FIRST_OWN_OID: u32 = 16_384;

fn classify(oid: u32, schema: &str, name: &str, language: &str, volatility: &str, source: &str) -> Function {
    if oid >= FIRST_OWN_OID {
        let is_as_known = language == "sql" && volatility != "i";
        return match known(schema, name, source).filter(|_| is_as_known) {
            Some(needs) => Function::Reads(needs),
            None => Function::Indifferent,
        };
    }
    match volatility {
        _ if CURRENT_SETTING.contains(&oid) => Function::CurrentSetting,
        "i" => Function::Immutable,
        "s" if !SUSPECT_BUILTINS.iter().any(|word| name.contains(word)) => Function::Indifferent,
        _ => Function::Unknown,
    }
}

//! Compiles the policies of a reading for those whom they bind, and says what they read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::change::{Oid, RelationId, Table};
use crate::policy::catalog::Needed;
use crate::policy::compile::{Command, compile};
use crate::policy::program::Program;
use crate::policy::source::Source;

/// Objects with lower numbers came with Postgres, and cannot be published.
const FIRST_OWN_OID: Oid = 16_384;

/// Whom row level security binds where, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bound {
    pub(super) relation: RelationId,
    pub(super) role: Oid,
    pub(super) command: Command,
}

/// Programs by whom they bind.
#[derive(Debug, Default)]
pub(super) struct Programs(HashMap<Bound, Arc<Program>>);

impl Programs {
    /// Compiles on a thread of its own, as it may take a while.
    pub(super) async fn compile(source: Arc<Source>, bound: Vec<Bound>) -> Self {
        let compiled = tokio::task::spawn_blocking(move || Self::compile_all(&source, bound)).await;
        match compiled {
            Ok(programs) => programs,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and nobody asks any more.
                Err(_) => Self::default(),
            },
        }
    }

    fn compile_all(source: &Source, bound: Vec<Bound>) -> Self {
        let mut programs = HashMap::new();
        let mut known: HashMap<(RelationId, Command), Vec<Arc<Program>>> = HashMap::new();
        for bound in bound {
            // Without its relation a reading says nothing about its policies.
            if !source.relations.contains_key(&bound.relation) || !source.roles.contains_key(&bound.role) {
                continue;
            }
            let program = compile(source, bound.relation, bound.role, bound.command);
            let equals = known.entry((bound.relation, bound.command)).or_default();
            let shared = equals.iter().find(|known| ***known == program).cloned();
            let program = shared.unwrap_or_else(|| {
                let program = Arc::new(program);
                equals.push(Arc::clone(&program));
                program
            });
            programs.insert(bound, program);
        }
        Self(programs)
    }

    /// The program for somebody.
    pub(super) fn get(&self, bound: &Bound) -> Option<Arc<Program>> {
        self.0.get(bound).cloned()
    }

    /// The relations that programs read, with the columns.
    pub(super) fn read(&self) -> BTreeMap<RelationId, Read> {
        let mut read: BTreeMap<RelationId, Read> = BTreeMap::new();
        for program in self.0.values() {
            for (relation, columns) in &program.relations {
                read.entry(*relation).or_default().columns.extend(columns);
            }
            for (relation, key) in program.keys() {
                read.entry(*relation).or_default().keys.insert(*key);
            }
        }
        read
    }
}

/// Which columns of a relation programs read, as places.
#[derive(Debug, Default)]
pub(super) struct Read {
    columns: BTreeSet<usize>,
    /// Those by which rows are looked up.
    keys: BTreeSet<usize>,
}

/// A relation that programs read.
pub(super) fn needed(source: &Source, table: Arc<Table>, read: &Read) -> Needed {
    let columns: Box<[usize]> = read.columns.iter().copied().collect();
    let hindrance = hindrance(source, &table, &columns).map(Into::into);
    Needed { table, keys: read.keys.iter().copied().collect(), columns, hindrance }
}

/// Why a relation cannot be mirrored.
fn hindrance(source: &Source, table: &Table, columns: &[usize]) -> Option<&'static str> {
    let Some(relation) = source.relations.get(&table.id) else { return Some("it was not read") };
    let is_generated =
        |place: &usize| table.columns.get(*place).is_none_or(|column| column.generated.is_some());
    match relation.kind {
        _ if table.id.0 < FIRST_OWN_OID => Some("it is a table of Postgres itself"),
        'r' | 'p' if relation.inherits => Some("it is a partition, or has partitions or children"),
        'p' => Some("it has no partition"),
        'r' if relation.persistence == 'u' => Some("it is unlogged"),
        'r' if relation.persistence == 't' => Some("it is temporary"),
        'r' if !relation.has_identity => Some("it has neither a primary key nor another replica identity"),
        'r' if columns.iter().any(is_generated) => Some("a generated column of it is read"),
        'r' => None,
        'm' => Some("it is a materialized view"),
        'f' => Some("it is a foreign table"),
        _ => Some("it is not a table"),
    }
}

//! The engine under test, as it is used: programs of the catalog, rows of the stream, relations of the mirror.
//!
//! This is where the harness touches what it judges. A [`Mutation`] bends one of these parts, so that it can be proven
//! that the harness notices.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use rowcast::change::{Event, Image, RelationId, RowChange, Table, Types};
use rowcast::policy::audience::Audience;
use rowcast::policy::catalog::{Access, Catalog};
use rowcast::policy::compile::{Command, compile};
use rowcast::policy::function::{Doubt, Moment};
use rowcast::policy::mirror::{Mirror, State};
use rowcast::policy::program::{
    Caller as AskingCaller, Params, Program, Relations, Settings, Tuple, Verdict,
};
use rowcast::policy::row::RowValues;
use rowcast::policy::source::Source;
use rowcast::policy::value::Value;
use rowcast::policy::{Decision, Switches, decide};
use rowcast::postgres::policies::{self, Bodies};
use tokio_postgres::Client;

use super::callers::Caller;
use super::mutants::rewrite::{self, Rules};

/// What the engine says about one row and one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The caller may see it.
    Shows,
    /// The caller may not.
    Hides,
    /// Postgres is to be asked.
    Asks,
}

/// How the engine is bent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mutation {
    /// What programs are compiled from is rewritten.
    pub(crate) source: Option<fn(&mut Source)>,
    /// The rules of programs are rewritten.
    pub(crate) rules: Option<fn(&mut Rules)>,
    /// Rules are judged one by one, and a doubt about one is taken for a denial.
    pub(crate) doubt_denies_a_rule: bool,
    /// What is unknown is taken for this.
    pub(crate) instead_of_asking: Option<Word>,
    /// The first row of each scan is not there, as if it had been added and nobody had noticed.
    pub(crate) misses_a_row: bool,
    /// The candidates for a row lack the first of them.
    pub(crate) drops_a_candidate: bool,
    /// Row level security is taken for disabled.
    pub(crate) ignores_row_security: bool,
}

/// How many bytes all relations may have.
const MIRROR_BYTES_MAX: usize = 64 << 20;

/// What the programs of these roles are compiled from.
pub(crate) async fn source(client: &Client, types: &Arc<Types>, roles: &[&str], tables: &[u32]) -> Source {
    let begin = "begin isolation level repeatable read; set local search_path = ''";
    client.batch_execute(begin).await.expect("a transaction");
    let source = policies::read(client, roles, tables, Arc::clone(types), &mut Bodies::default())
        .await
        .expect("a reading");
    client.batch_execute("rollback").await.expect("the transaction's end");
    source
}

/// Fills a mirror with all that programs read.
pub(crate) async fn mirror(client: &Client, catalog: &Catalog) -> Mirror {
    rowcast::hub::mirror::fill(client, catalog, MIRROR_BYTES_MAX).await.expect("a mirror")
}

impl Settings for Caller {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "request.jwt.claims" => Some(&self.claims),
            "role" => Some(&self.role),
            _ => None,
        }
    }
}

/// Relations of which each scan lacks its first row.
struct Forgetful<'a>(&'a dyn Relations);

impl Relations for Forgetful<'_> {
    fn scan(
        &self,
        relation: RelationId,
        key: Option<(usize, &Value)>,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt> {
        let mut is_first = true;
        self.0.scan(relation, key, &mut |tuple| {
            if std::mem::take(&mut is_first) { ControlFlow::Continue(()) } else { visit(tuple) }
        })
    }
}

/// What the engine says about the rows of one table.
pub(crate) struct Findings {
    /// By caller, then by row.
    pub(crate) words: Vec<Vec<Word>>,
    /// The candidates of each row, by caller; those of whom no program judges are none.
    pub(crate) candidates: Vec<Vec<Option<bool>>>,
    /// How many groups were judged to find candidates, and how many there were.
    pub(crate) judged: (usize, usize),
}

/// The engine, with a reading of the catalog and all relations.
pub(crate) struct Engine<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) mirror: &'a Mirror,
    pub(crate) moment: Moment,
    pub(crate) mutation: Mutation,
    /// What programs are compiled from, if the mutation rewrites it.
    pub(crate) source: Option<&'a Source>,
}

impl Engine<'_> {
    /// What it says about these rows, and these callers.
    pub(crate) fn find(&self, table: &Arc<Table>, rows: &[Image], callers: &[Caller]) -> Findings {
        let changes: Vec<RowChange> = rows
            .iter()
            .map(|row| RowChange {
                table: Arc::clone(table),
                event: Event::Insert,
                new: Some(row.clone()),
                old: None,
                old_is_full: false,
            })
            .collect();
        let mut words = vec![vec![Word::Asks; rows.len()]; callers.len()];
        let mut candidates = vec![vec![None; rows.len()]; callers.len()];
        let mut judged = (0, 0);
        let mut by_role: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, caller) in callers.iter().enumerate() {
            by_role.entry(&caller.role).or_default().push(number);
        }
        for (role, members) in by_role {
            let Some(access) = self.catalog.access(role, table.id) else {
                members.iter().for_each(|member| words[*member].fill(Word::Hides));
                continue;
            };
            let program = self.program(role, table, access);
            let judge = Judge { engine: self, table, program: program.as_deref() };
            let mut audience = program.clone().map(Audience::new);
            for member in members {
                let params = judge.params(&callers[member]);
                for (place, change) in changes.iter().enumerate() {
                    words[member][place] = judge.word(access, change, &callers[member], params.as_ref());
                }
                if let (Some(audience), Some(params)) = (&mut audience, &params) {
                    audience.insert(params, member);
                    candidates[member].fill(Some(false));
                }
            }
            let Some(audience) = audience else { continue };
            for (place, row) in rows.iter().enumerate() {
                let relations = self.relations();
                let mut is_first = self.mutation.drops_a_candidate;
                let row = RowValues::decode(row, table, &self.catalog.types, &audience.program().columns);
                let count = audience.judge(&row, &*relations, &self.moment, &mut |members, verdict| {
                    assert_ne!(verdict, Verdict::Fails, "no candidate fails");
                    if std::mem::take(&mut is_first) {
                        return;
                    }
                    members.iter().for_each(|member| candidates[*member][place] = Some(true));
                });
                judged.0 += count;
            }
        }
        judged.1 += candidates.iter().flatten().filter(|candidate| candidate.is_some()).count();
        Findings { words, candidates, judged }
    }

    fn program(&self, role: &str, table: &Table, access: &Access) -> Option<Arc<Program>> {
        let program = access.program.as_ref()?;
        if let (Some(rewrite), Some(source)) = (self.mutation.source, self.source) {
            let id = source.roles.iter().find(|(_, known)| &*known.name == role).map(|(id, _)| *id)?;
            let mut source = source.clone();
            rewrite(&mut source);
            return Some(Arc::new(compile(&source, table.id, id, Command::Select)));
        }
        Some(match self.mutation.rules {
            Some(rewrite) => {
                let mut rules = rewrite::rules(program);
                rewrite(&mut rules);
                Arc::new(Program::new(rules.0, rules.1))
            }
            None => Arc::clone(program),
        })
    }

    fn relations(&self) -> Box<dyn Relations + '_> {
        struct Forgetting<'a>(Box<dyn Relations + 'a>);
        impl Relations for Forgetting<'_> {
            fn scan(
                &self,
                relation: RelationId,
                key: Option<(usize, &Value)>,
                visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
            ) -> Result<(), Doubt> {
                Forgetful(&*self.0).scan(relation, key, visit)
            }
        }
        let view = Box::new(self.mirror.view(State::After));
        if self.mutation.misses_a_row { Box::new(Forgetting(view)) } else { view }
    }
}

/// The engine for one role on one table.
struct Judge<'a> {
    engine: &'a Engine<'a>,
    table: &'a Table,
    program: Option<&'a Program>,
}

impl Judge<'_> {
    fn params(&self, caller: &Caller) -> Option<Params> {
        let asking = AskingCaller { settings: caller, moment: self.engine.moment };
        self.program?.params(&asking).ok()
    }

    fn word(&self, access: &Access, change: &RowChange, caller: &Caller, params: Option<&Params>) -> Word {
        match decide(Switches::default(), access, change) {
            Decision::Permit(_) => Word::Shows,
            Decision::Deny | Decision::Refuse(_) => Word::Hides,
            Decision::Ask(_) if self.engine.mutation.ignores_row_security => Word::Shows,
            Decision::Ask(_) => {
                let verdict = self.verdict(change.new.as_ref().expect("an inserted row"), caller, params);
                match (verdict, self.engine.mutation.instead_of_asking) {
                    (Verdict::Passes, _) => Word::Shows,
                    (Verdict::Fails, _) => Word::Hides,
                    (Verdict::Unknown(_), Some(word)) => word,
                    (Verdict::Unknown(_), None) => Word::Asks,
                }
            }
        }
    }

    fn verdict(&self, image: &Image, caller: &Caller, params: Option<&Params>) -> Verdict {
        let (Some(program), Some(params)) = (self.program, params) else {
            return Verdict::Unknown(Doubt::Unknown);
        };
        let relations = self.engine.relations();
        let row = RowValues::decode(image, self.table, &self.engine.catalog.types, &program.columns);
        let judge = |program: &Program, params: &Params| {
            program.judge(params, &row, &*relations, &self.engine.moment)
        };
        if !self.engine.mutation.doubt_denies_a_rule {
            return judge(program, params);
        }
        let mut some = false;
        let (permissive, restrictive) = rewrite::rules(program);
        for rule in permissive {
            let alone = Program::new(vec![rule], restrictive.clone());
            let asking = AskingCaller { settings: caller, moment: self.engine.moment };
            let verdict = alone.params(&asking).map(|params| judge(&alone, &params));
            some |= verdict == Ok(Verdict::Passes);
        }
        if some { Verdict::Passes } else { Verdict::Fails }
    }
}

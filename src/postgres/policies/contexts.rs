//! Under which search paths functions are called, and by whom: a body that is kept as text counts only where all who
//! call it would mean the same.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::Error;

use super::Reading;
use super::names::Names;
use super::probe::{Bodies, Question};
use crate::change::{Oid, RelationId};
use crate::policy::source::NoBody;

/// How many objects are looked at, each once for every path that it is reached under.
const REACHED_MAX: usize = 20_000;

/// How many times bodies are analysed to compare what callers mean. Who is beyond them counts as one who may not call.
const COMPARED_MAX: usize = 2_000;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Object {
    Relation(RelationId),
    Function(Oid),
}

/// A search path; `None` is that of a session, which is not certain.
type Path = Option<Arc<str>>;

impl Reading<'_> {
    /// Compares what everybody who may call a function means by its body; who means something else may not call it, as
    /// far as is noted. A function whose body means different things on different ways to it has none.
    pub(super) async fn settle(&mut self, roots: &[Oid], bodies: &mut Bodies) -> Result<(), Error> {
        let contexts = self.contexts(roots);
        let mut questions = Vec::new();
        let mut of_function: HashMap<Oid, Vec<Question>> = HashMap::new();
        for id in self.probed.keys() {
            let paths = contexts.as_ref().and_then(|contexts| contexts.get(id));
            // One that nothing reaches is called under no path.
            let paths: Vec<&Path> = paths.into_iter().flatten().collect();
            for role in self.callers_of(*id) {
                for path in &paths {
                    let Some(path) = path else { continue };
                    let question = Question { function: *id, role, path: Arc::clone(path) };
                    if questions.len() < COMPARED_MAX {
                        questions.push(question.clone());
                    }
                    of_function.entry(*id).or_default().push(question);
                }
            }
        }
        self.put(questions, bodies).await?;
        for (id, counted) in &self.probed {
            let is_uncertain = contexts.as_ref().is_none_or(|contexts| {
                contexts.get(id).is_some_and(|paths| paths.iter().any(Option::is_none))
            });
            let tree = bodies.get(counted).and_then(|answer| answer.as_ref().ok());
            let mut differing: BTreeSet<Oid> = BTreeSet::new();
            for question in of_function.get(id).into_iter().flatten() {
                if bodies.get(question).and_then(|answer| answer.as_ref().ok()) != tree {
                    differing.insert(question.role);
                }
            }
            if (is_uncertain || tree.is_none())
                && let Some(function) = self.source.functions.get_mut(id)
            {
                function.body = Err(NoBody::Refused);
            }
            self.differing.extend(differing.into_iter().map(|role| (role, *id)));
        }
        Ok(())
    }

    /// Under which paths each function is called, beginning at the policies of some relations; `None` if there are too
    /// many ways.
    fn contexts(&self, roots: &[Oid]) -> Option<HashMap<Oid, HashSet<Path>>> {
        let mut contexts: HashMap<Oid, HashSet<Path>> = HashMap::new();
        let mut reached: HashSet<(Object, Path)> = HashSet::new();
        let mut left: Vec<(Object, Path)> =
            roots.iter().map(|id| (Object::Relation(RelationId(*id)), self.path.clone())).collect();
        while let Some((object, path)) = left.pop() {
            let (names, path): (Option<&Names>, Path) = match object {
                Object::Relation(id) => (self.relation_names.get(&id), path),
                Object::Function(id) => {
                    // Its own path holds for what it calls, too.
                    let path = self.configured.get(&id).cloned().map(Some).unwrap_or(path);
                    contexts.entry(id).or_default().insert(path.clone());
                    (self.function_names.get(&id), path)
                }
            };
            if !reached.insert((object, path.clone())) {
                continue;
            }
            if reached.len() > REACHED_MAX {
                return None;
            }
            let Some(names) = names else { continue };
            let operators = names.operators.iter().filter_map(|id| self.source.operators.get(id));
            // Built-in functions look up nothing.
            let functions = names.functions.iter().chain(operators).filter(|id| **id >= super::FIRST_OWN_OID);
            left.extend(functions.map(|id| (Object::Function(*id), path.clone())));
            left.extend(names.relations.iter().map(|id| (Object::Relation(RelationId(*id)), path.clone())));
        }
        Some(contexts)
    }
}

//! The callers that a program judges for, so grouped and indexed that a row finds those who may see it.
//!
//! Callers whom the program cannot tell apart are one group. From a row follows a list of candidates, a superset of the
//! groups that may see it; each of them is judged by the whole program.

use std::hash::Hash;
use std::sync::Arc;

use super::function::Moment;
use super::program::{Params, Program, Relations, Tuple, Verdict};

/// Groups of members `K`.
#[derive(Debug)]
pub struct Audience<K> {
    program: Arc<Program>,
    groups: Vec<(Params, Vec<K>)>,
}

impl<K: Copy + Eq + Hash> Audience<K> {
    /// Nobody yet.
    pub fn new(program: Arc<Program>) -> Self {
        Self { program, groups: Vec::new() }
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Adds a member to the group of its parameters.
    pub fn insert(&mut self, params: &Params, member: K) {
        match self.groups.iter_mut().find(|(known, _)| known == params) {
            Some((_, members)) => members.push(member),
            None => self.groups.push((params.clone(), vec![member])),
        }
    }

    /// Removes a member.
    pub fn remove(&mut self, params: &Params, member: K) {
        for (_, members) in self.groups.iter_mut().filter(|(known, _)| known == params) {
            members.retain(|known| *known != member);
        }
        self.groups.retain(|(_, members)| !members.is_empty());
    }

    /// Calls `visit` with the members of each group to which the row is visible, or of which that is unknown. Says how
    /// many groups were judged.
    pub fn judge(
        &self,
        row: &dyn Tuple,
        relations: &dyn Relations,
        moment: &Moment,
        visit: &mut dyn FnMut(&[K], Verdict),
    ) -> usize {
        for (params, members) in &self.groups {
            let verdict = self.program.judge(params, row, relations, moment);
            if verdict != Verdict::Fails {
                visit(members, verdict);
            }
        }
        self.groups.len()
    }
}

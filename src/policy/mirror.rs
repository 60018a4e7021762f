//! The relations that policies read, held in memory as of the last commit that was taken in.
//!
//! In: whole relations, as they were loaded, and row changes of one transaction after another. Out: their rows, as of
//! after that transaction, or as of before it.

use std::ops::ControlFlow;

use super::function::Doubt;
use super::program::{Relations, Tuple};
use super::value::Value;
use crate::change::RelationId;

/// All mirrored relations.
#[derive(Debug, Default)]
pub struct Mirror {}

/// Which state of the relations: a transaction is taken in as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As of after the last transaction.
    After,
    /// As of before it.
    Before,
}

/// The relations in one state.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    mirror: &'a Mirror,
    state: State,
}

impl Mirror {
    /// The relations in this state.
    pub fn view(&self, state: State) -> View<'_> {
        View { mirror: self, state }
    }
}

impl Relations for View<'_> {
    fn scan(
        &self,
        relation: RelationId,
        key: Option<(usize, &Value)>,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt> {
        let _ = (relation, key, visit, self.mirror, self.state);
        Err(Doubt::NotMirrored)
    }
}

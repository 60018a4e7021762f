//! Decisions made in memory that are put to Postgres as well, to be compared.

use std::rc::Rc;
use std::sync::Arc;

use crate::change::{RowChange, Types};
use crate::hub::ask::{Item, Later};
use crate::hub::engine::Knowledge;
use crate::policy::function::Moment;
use crate::policy::mirror::State;
use crate::policy::program::Params;
use crate::policy::row::RowDecoder;
use crate::policy::{Access, Claims, Program, Verdict};

use super::row::Row;

/// How many of them wait to be taken; more are dropped.
pub(super) const SAMPLES_MAX: usize = 64;

/// Whether a caller may see a new row, as a program decided.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The caller.
    pub claims: Arc<Claims>,
    /// The rights of its role.
    pub access: Arc<Access>,
    /// The program.
    pub program: Arc<Program>,
    /// What it makes of the claims.
    pub params: Rc<Params>,
    /// The change.
    pub change: Arc<RowChange>,
    /// Its transaction, without the epoch.
    pub xid: u32,
    /// What was decided.
    pub is_permitted: bool,
}

impl Sample {
    /// What the program decides by now; `None` if it is not certain.
    pub fn judge(&self, knowledge: &Knowledge, types: &Types, moment: Moment) -> Option<bool> {
        let decoder = RowDecoder::new(&self.change.table, types);
        let row = Row::new(&self.change, &decoder, &self.program).filter(|_| knowledge.is_current)?;
        match self.program.judge(&self.params, &row, &knowledge.mirror.view(State::After), &moment) {
            Verdict::Passes => Some(true),
            Verdict::Fails => Some(false),
            Verdict::Unknown(_) => None,
        }
    }

    /// The question to Postgres.
    pub fn item(&self) -> Item {
        Item {
            entry: 0,
            change: Arc::clone(&self.change),
            xid: self.xid,
            condition: Arc::clone(&self.access.condition),
            new: true,
            old: false,
            later: Later::Nothing,
            filters: Vec::new(),
        }
    }
}

/// Draws decisions at random.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    /// How many of a million.
    pub(super) per_million: u32,
}

impl Sampler {
    /// Whether the next decision is drawn.
    pub(super) fn draws(self) -> bool {
        self.per_million > 0 && rand::random::<u32>() % 1_000_000 < self.per_million
    }

    /// Any number.
    pub(super) fn number() -> usize {
        rand::random::<u32>() as usize
    }
}

//! The feed's questions: handed to askers, and answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

use crate::change::RowChange;

use super::Feed;
use crate::hub::Sink;
use crate::hub::ask::{Batch, Outcome};
use crate::hub::fanout::Fanout;
use crate::hub::profile::ProfileId;
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// How many claims one batch of questions holds at most.
const BATCH_GROUPS_MAX: usize = 64;

impl<S: Sink> Feed<S> {
    pub(super) fn dispatch_questions(&mut self) {
        let mut askable = self.lanes.askable_count();
        while askable > 0
            && let Some(asker) = self.idle_askers.pop()
        {
            let share = askable.div_ceil(self.idle_askers.len() + 1).min(BATCH_GROUPS_MAX);
            let groups = self.lanes.take_questions(share);
            askable -= groups.len();
            let batch = Batch {
                types: Arc::clone(&self.catalog.types),
                is_ambiguous: self.catalog.is_ambiguous,
                groups,
                after: None,
            };
            // An idle asker's queue is empty, so there is room.
            if self.askers[asker].try_send(batch).is_err() {
                tracing::error!(asker, "asker has ended");
            }
        }
    }

    pub(super) fn answered(&mut self, outcomes: Vec<Outcome>) {
        let lanes: BTreeSet<usize> = outcomes.iter().map(|outcome| outcome.lane).collect();
        for outcome in outcomes {
            self.lanes.answer(outcome.lane, outcome.entry, outcome.result);
        }
        for lane in lanes {
            for ready in self.lanes.take_ready(lane) {
                self.progress.answered(ready.payload.sequence());
                if let Some((profile, change, code)) = Fanout::settle(&mut self.out, ready) {
                    self.tell_unjudged(profile, &change, &code);
                }
            }
        }
    }

    /// Tells subscribers, once a table, that Postgres could not judge what they may see of it.
    pub(super) fn tell_unjudged(&mut self, id: ProfileId, change: &RowChange, code: &SqlState) {
        let Some(profile) = self.profiles.get_mut(id) else { return };
        let table = &change.table;
        if profile.told.contains(&table.id) {
            return;
        }
        profile.told.push(table.id);
        let condition = crate::subscription::condition_name(code.code());
        report!(
            warn,
            Code::RlsPolicyError,
            schema = &*table.schema,
            table = &*table.name,
            role = &*profile.claims.role,
            sqlstate = code.code(),
            "row level security could not be evaluated for a subscriber"
        );
        let message: Arc<str> = format!(
            "Unable to check row level security of {}.{} for this subscription: ERROR {} ({condition}). \
             Changes that cannot be checked are not delivered",
            table.schema,
            table.name,
            code.code()
        )
        .into();
        for member in profile.members.iter() {
            self.out.system(member.channel, false, &message);
        }
    }
}

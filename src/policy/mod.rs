//! Decides who may see a change.
//!
//! In: one [`RowChange`] and what a role may see of its table ([`Access`]).
//! Out: a [`Decision`]: a [`Permit`] with the visible columns, a denial, a refusal that the subscriber is told
//! of, or a [`Question`] that only Postgres can answer.
//!
//! Privileges, BYPASSRLS and tables without row level security are decided here; where row level security
//! applies, there is a question, which a compiled [`Program`] answers where it is certain, and else Postgres.
//! The answer comes back through [`Question::answered`], so that every permit is made in this module.
//!
//! **Invariant:** no I/O and no clock, so equal inputs give equal answers.

pub mod affected;
pub mod audience;
pub mod catalog;
pub mod claims;
pub mod columns;
pub mod compile;
pub mod elements;
pub mod evaluate;
pub mod expression;
#[cfg(test)]
mod fixture;
pub mod function;
pub mod hoist;
#[cfg(test)]
mod logic;
pub mod messages;
pub mod mirror;
pub mod normal;
#[cfg(test)]
mod oracle;
pub(crate) mod pattern;
pub mod permit;
pub mod plan;
pub mod program;
pub mod reach;
pub mod row;
pub mod source;
pub mod split;
pub mod switches;
pub mod tree;
pub(crate) mod types;
pub mod uncompiled;
pub mod value;
pub mod walk;

pub use catalog::{Access, Catalog, Role};
pub use claims::Claims;
pub use columns::ColumnSet;
pub use mirror::Mirror;
pub use permit::{OldValues, Permit};
pub use program::{Program, Verdict};
pub use switches::Switches;

use crate::change::{Event, RowChange};

/// What policy says about one change and one role.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be shown.
    Permit(Permit),
    /// It may not, and nobody is told.
    Deny,
    /// It may not, and the subscriber is told why in place of the row.
    Refuse(Refusal),
    /// The policies of the table decide.
    Ask(Question),
}

/// Why a subscriber gets an error in place of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The table has no primary key.
    NoPrimaryKey,
    /// The role may not read the primary key.
    Unauthorized,
}

/// What policies have to judge, as the subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whether the row as it is now is to be judged; if not, the old row decides.
    pub new: bool,
    /// Whether the old row is to be judged.
    pub old: bool,
    permit: ColumnSet,
    shown: Shown,
}

/// What an answer lets be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// What was logged of the old row, whoever could see it.
    Logged,
    /// The same, to those who could see the old row; to others its key.
    Judged,
    /// The key of the old row.
    Key,
    /// The same, to those who could see the old row and cannot see the new one.
    MovedOut,
}

/// Whether each row that was asked about passes the policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The row as it is now.
    pub new: bool,
    /// The old row.
    pub old: bool,
}

/// Decides whether a role with this access may see this change.
pub fn decide(switches: Switches, access: &Access, change: &RowChange) -> Decision {
    let table = &change.table;
    let columns = &access.selectable;
    match change.event {
        Event::Insert | Event::Update => {
            if !table.has_primary_key() {
                return Decision::Refuse(Refusal::NoPrimaryKey);
            }
            if !may_read_key(access, change) {
                return Decision::Refuse(Refusal::Unauthorized);
            }
            if !access.row_security {
                // Where nothing hides rows from anybody, old rows need no check of their own.
                return Decision::Permit(Permit::new(columns.clone(), OldValues::Logged));
            }
            let shown = if switches.strict_old_record { Shown::Judged } else { Shown::Logged };
            let old = change.event == Event::Update && change.old_is_full && shown == Shown::Judged;
            Decision::Ask(Question { new: true, old, permit: columns.clone(), shown })
        }
        // There is nothing to show to a role that may read no column.
        Event::Delete if columns.is_empty() => Decision::Deny,
        Event::Delete => {
            if access.row_security && change.old_is_full && switches.strict_delete {
                return Decision::Ask(Question {
                    new: false,
                    old: true,
                    permit: columns.clone(),
                    shown: Shown::Key,
                });
            }
            // Row level security on the table reduces a deleted row to its key for every role, so that a
            // subscriber's view does not depend on how its role came to see it.
            let old = match (table.row_security, access.row_security) {
                (false, _) => OldValues::Logged,
                (true, false) => OldValues::Seen,
                (true, true) => OldValues::Key,
            };
            Decision::Permit(Permit::new(columns.clone(), old))
        }
    }
}

/// What to ask about an update that may have taken a row out of the sight of a role with this access, and is then told
/// as a delete. `None` if it cannot have, or if that cannot be known.
pub fn moved_out(access: &Access, update: &RowChange) -> Option<Question> {
    let is_known = update.event == Event::Update && update.old_is_full && update.table.has_primary_key();
    let may_be = is_known && access.row_security && may_read_key(access, update);
    may_be.then(|| Question {
        new: true,
        old: true,
        permit: access.selectable.clone(),
        shown: Shown::MovedOut,
    })
}

fn may_read_key(access: &Access, change: &RowChange) -> bool {
    let mut keys = change.table.columns.iter().enumerate().filter(|(_, column)| column.primary_key);
    keys.all(|(index, _)| access.selectable.contains(index))
}

impl Question {
    /// Whether it is for those alone who can no longer see the row.
    pub fn is_moved_out(&self) -> bool {
        self.shown == Shown::MovedOut
    }

    /// Turns an answer into a decision.
    pub fn answered(self, answer: Answer) -> Decision {
        let is_shown = match self.shown {
            Shown::MovedOut => answer.old && !answer.new,
            _ if self.new => answer.new,
            _ => answer.old,
        };
        if !is_shown {
            return Decision::Deny;
        }
        let old = match self.shown {
            Shown::Logged => OldValues::Logged,
            // The old row shows itself whole only to those who could see it.
            Shown::Judged if self.old && answer.old => OldValues::Logged,
            Shown::Key => OldValues::Seen,
            Shown::Judged | Shown::MovedOut => OldValues::Key,
        };
        Decision::Permit(Permit::new(self.permit, old))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::change::{Image, RelationId, ReplicaIdentity, Table, TableColumn};
    use crate::wal::tuple::Datum;

    fn table(primary_key: bool, row_security: bool) -> Arc<Table> {
        let column = |name: &str, number, primary_key| TableColumn {
            name: name.into(),
            type_id: 23,
            number,
            primary_key,
            generated: None,
            collation: 0,
            deterministic_collation: true,
            c_collation: true,
        };
        Arc::new(Table {
            id: RelationId(1),
            schema: "public".into(),
            name: "t".into(),
            columns: [column("id", 1, primary_key), column("body", 2, false)].into(),
            replica_identity: ReplicaIdentity::Full,
            row_security,
            row_security_forced: false,
            owner: 10,
        })
    }

    fn change(event: Event, table: &Arc<Table>, old_is_full: bool) -> RowChange {
        let image = || Image { values: vec![Datum::Null; 2].into(), rendered: Vec::new() };
        RowChange {
            table: Arc::clone(table),
            event,
            new: (event != Event::Delete).then(image),
            old: (event != Event::Insert).then(image),
            old_is_full,
        }
    }

    fn access(columns: &[usize], row_security: bool) -> Access {
        Access {
            selectable: columns.iter().copied().collect(),
            row_security,
            condition: "true".into(),
            program: None,
        }
    }

    fn permit(columns: &[usize], old: OldValues) -> Decision {
        Decision::Permit(Permit::new(columns.iter().copied().collect(), old))
    }

    #[test]
    fn without_row_security_grants_decide() {
        let table = table(true, false);
        for event in [Event::Insert, Event::Update] {
            let change = change(event, &table, false);
            assert_eq!(
                decide(Switches::default(), &access(&[0, 1], false), &change),
                permit(&[0, 1], OldValues::Logged)
            );
            assert_eq!(
                decide(Switches::default(), &access(&[0], false), &change),
                permit(&[0], OldValues::Logged)
            );
            assert_eq!(
                decide(Switches::default(), &access(&[1], false), &change),
                Decision::Refuse(Refusal::Unauthorized)
            );
        }
        let delete = change(Event::Delete, &table, false);
        assert_eq!(
            decide(Switches::default(), &access(&[0, 1], false), &delete),
            permit(&[0, 1], OldValues::Logged)
        );
        assert_eq!(decide(Switches::default(), &access(&[], false), &delete), Decision::Deny);
    }

    #[test]
    fn without_a_primary_key_the_subscriber_is_told() {
        let insert = change(Event::Insert, &table(false, false), false);
        assert_eq!(
            decide(Switches::default(), &access(&[0, 1], false), &insert),
            Decision::Refuse(Refusal::NoPrimaryKey)
        );
    }

    #[test]
    fn under_row_security_only_postgres_can_tell() {
        let table = table(true, true);
        let bound = access(&[0, 1], true);
        let Decision::Ask(question) =
            decide(Switches::default(), &bound, &change(Event::Insert, &table, false))
        else {
            panic!("not asked")
        };
        assert!(question.new && !question.old);
        assert_eq!(question.answered(Answer { new: false, old: true }), Decision::Deny);
        let Decision::Ask(question) =
            decide(Switches::default(), &bound, &change(Event::Insert, &table, false))
        else {
            panic!("not asked")
        };
        assert_eq!(question.answered(Answer { new: true, old: false }), permit(&[0, 1], OldValues::Key));
        let bypassing = access(&[0, 1], false);
        let insert = change(Event::Insert, &table, false);
        assert_eq!(decide(Switches::default(), &bypassing, &insert), permit(&[0, 1], OldValues::Logged));
    }

    #[test]
    fn an_old_row_shows_only_to_those_who_could_see_it() {
        let table = table(true, true);
        for (old, expected) in [(true, OldValues::Logged), (false, OldValues::Key)] {
            let Decision::Ask(question) =
                decide(Switches::default(), &access(&[0, 1], true), &change(Event::Update, &table, true))
            else {
                panic!("not asked")
            };
            assert!(question.new && question.old);
            assert_eq!(question.answered(Answer { new: true, old }), permit(&[0, 1], expected));
        }
    }

    #[test]
    fn a_deleted_row_is_judged_where_it_is_known_and_a_key_where_not() {
        let table = table(true, true);
        let bound = access(&[0, 1], true);
        assert_eq!(
            decide(Switches::default(), &bound, &change(Event::Delete, &table, false)),
            permit(&[0, 1], OldValues::Key)
        );
        for (old, expected) in [(true, permit(&[0, 1], OldValues::Seen)), (false, Decision::Deny)] {
            let Decision::Ask(question) =
                decide(Switches::default(), &bound, &change(Event::Delete, &table, true))
            else {
                panic!("not asked")
            };
            assert_eq!(question.answered(Answer { new: false, old }), expected);
        }
        let unbound =
            decide(Switches::default(), &access(&[0, 1], false), &change(Event::Delete, &table, true));
        assert_eq!(unbound, permit(&[0, 1], OldValues::Seen), "nothing is hidden from it");
    }

    #[test]
    fn old_values_and_deletes_are_shown_as_the_reference_does_if_told_to() {
        let table = table(true, true);
        let bound = access(&[0, 1], true);
        let lenient = Switches { strict_delete: false, strict_old_record: false, moved_out: false };
        let Decision::Ask(question) = decide(lenient, &bound, &change(Event::Update, &table, true)) else {
            panic!("not asked")
        };
        assert!(question.new && !question.old);
        let (yes, no) = (Answer { new: true, old: false }, Answer { new: false, old: true });
        assert_eq!(question.clone().answered(yes), permit(&[0, 1], OldValues::Logged));
        assert_eq!(question.answered(no), Decision::Deny);
        // A delete shows the key to all, but never more.
        let delete = change(Event::Delete, &table, true);
        assert_eq!(decide(lenient, &bound, &delete), permit(&[0, 1], OldValues::Key));
        assert_eq!(decide(lenient, &access(&[], true), &delete), Decision::Deny);
    }

    #[test]
    fn only_those_who_lost_a_row_from_sight_are_told_that_it_moved() {
        let table = table(true, true);
        let update = change(Event::Update, &table, true);
        for (answer, expected) in [
            (Answer { new: false, old: true }, permit(&[0, 1], OldValues::Key)),
            (Answer { new: true, old: true }, Decision::Deny),
            (Answer { new: false, old: false }, Decision::Deny),
            (Answer { new: true, old: false }, Decision::Deny),
        ] {
            let question = moved_out(&access(&[0, 1], true), &update).expect("a question");
            assert!(question.new && question.old && question.is_moved_out());
            assert_eq!(question.answered(answer), expected);
        }
        // Nothing is hidden, the old row is not known, the key is not theirs to read, nothing moved.
        assert_eq!(moved_out(&access(&[0, 1], false), &update), None);
        assert_eq!(moved_out(&access(&[0, 1], true), &change(Event::Update, &table, false)), None);
        assert_eq!(moved_out(&access(&[1], true), &update), None);
        assert_eq!(moved_out(&access(&[0, 1], true), &change(Event::Delete, &table, true)), None);
    }
}

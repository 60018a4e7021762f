//! Decides who may see a change.
//!
//! In: one [`RowChange`] and what a role may see of its table ([`Access`]).
//! Out: a [`Decision`]: a [`Permit`] with the visible columns, a denial, a refusal that the subscriber is told
//! of, or a [`Question`] that only Postgres can answer.
//!
//! Privileges, BYPASSRLS and tables without row level security are decided here; where row level security
//! applies, Postgres is asked. Its answer comes back through [`Question::answered`], so that every permit is
//! made in this module.
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
    /// Only Postgres can tell.
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

/// What Postgres has to judge, as the subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whether the row as it is now is to be judged; if not, the old row decides.
    pub new: bool,
    /// Whether the old row is to be judged.
    pub old: bool,
    permit: ColumnSet,
    old_logged: OldValues,
}

/// What Postgres answered: whether each row that was asked about passes the policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The row as it is now.
    pub new: bool,
    /// The old row.
    pub old: bool,
}

/// Decides whether a role with this access may see this change.
pub fn decide(access: &Access, change: &RowChange) -> Decision {
    let table = &change.table;
    let columns = &access.selectable;
    match change.event {
        Event::Insert | Event::Update => {
            if !table.has_primary_key() {
                return Decision::Refuse(Refusal::NoPrimaryKey);
            }
            let mut keys = table.columns.iter().enumerate().filter(|(_, column)| column.primary_key);
            if !keys.all(|(index, _)| columns.contains(index)) {
                return Decision::Refuse(Refusal::Unauthorized);
            }
            if !access.row_security {
                // Where nothing hides rows from anybody, old rows need no check of their own.
                return Decision::Permit(Permit::new(columns.clone(), OldValues::Logged));
            }
            let old = change.event == Event::Update && change.old_is_full;
            Decision::Ask(Question { new: true, old, permit: columns.clone(), old_logged: OldValues::Logged })
        }
        // There is nothing to show to a role that may read no column.
        Event::Delete if columns.is_empty() => Decision::Deny,
        Event::Delete => {
            // Row level security on the table reduces a deleted row to its key for every role, so that a
            // subscriber's view does not depend on how its role came to see it.
            let old = if table.row_security { OldValues::Key } else { OldValues::Logged };
            if access.row_security && change.old_is_full {
                return Decision::Ask(Question {
                    new: false,
                    old: true,
                    permit: columns.clone(),
                    old_logged: old,
                });
            }
            Decision::Permit(Permit::new(columns.clone(), old))
        }
    }
}

impl Question {
    /// Turns Postgres's answer into a decision.
    pub fn answered(self, answer: Answer) -> Decision {
        let decisive = if self.new { answer.new } else { answer.old };
        if !decisive {
            return Decision::Deny;
        }
        let old = match self.old_logged {
            // The old row shows itself whole only to those who could see it.
            OldValues::Logged if self.old && answer.old => OldValues::Logged,
            OldValues::Logged | OldValues::Key => OldValues::Key,
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
            assert_eq!(decide(&access(&[0, 1], false), &change), permit(&[0, 1], OldValues::Logged));
            assert_eq!(decide(&access(&[0], false), &change), permit(&[0], OldValues::Logged));
            assert_eq!(decide(&access(&[1], false), &change), Decision::Refuse(Refusal::Unauthorized));
        }
        let delete = change(Event::Delete, &table, false);
        assert_eq!(decide(&access(&[0, 1], false), &delete), permit(&[0, 1], OldValues::Logged));
        assert_eq!(decide(&access(&[], false), &delete), Decision::Deny);
    }

    #[test]
    fn without_a_primary_key_the_subscriber_is_told() {
        let insert = change(Event::Insert, &table(false, false), false);
        assert_eq!(decide(&access(&[0, 1], false), &insert), Decision::Refuse(Refusal::NoPrimaryKey));
    }

    #[test]
    fn under_row_security_only_postgres_can_tell() {
        let table = table(true, true);
        let bound = access(&[0, 1], true);
        let Decision::Ask(question) = decide(&bound, &change(Event::Insert, &table, false)) else {
            panic!("not asked")
        };
        assert!(question.new && !question.old);
        assert_eq!(question.answered(Answer { new: false, old: true }), Decision::Deny);
        let Decision::Ask(question) = decide(&bound, &change(Event::Insert, &table, false)) else {
            panic!("not asked")
        };
        assert_eq!(question.answered(Answer { new: true, old: false }), permit(&[0, 1], OldValues::Key));
        let bypassing = access(&[0, 1], false);
        let insert = change(Event::Insert, &table, false);
        assert_eq!(decide(&bypassing, &insert), permit(&[0, 1], OldValues::Logged));
    }

    #[test]
    fn an_old_row_shows_only_to_those_who_could_see_it() {
        let table = table(true, true);
        for (old, expected) in [(true, OldValues::Logged), (false, OldValues::Key)] {
            let Decision::Ask(question) =
                decide(&access(&[0, 1], true), &change(Event::Update, &table, true))
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
        assert_eq!(decide(&bound, &change(Event::Delete, &table, false)), permit(&[0, 1], OldValues::Key));
        for (old, expected) in [(true, permit(&[0, 1], OldValues::Key)), (false, Decision::Deny)] {
            let Decision::Ask(question) = decide(&bound, &change(Event::Delete, &table, true)) else {
                panic!("not asked")
            };
            assert_eq!(question.answered(Answer { new: false, old }), expected);
        }
    }
}

//! Updates that only say that somebody is still there: with many people connected they would be most of what there is
//! to tell, and they are no news to anybody.
//!
//! The messaging schema stamps `updated_at` with every other change of presence, and once a minute, never earlier than
//! `last_seen_at`; so the row alone says which it is.

use crate::change::{Event, RowChange};

/// The columns by which the messaging schema's table is known: somebody else's of that name lacks one of them.
const OWN_COLUMNS: [&str; 3] = ["active_at", "expires_at", "is_automatic"];

/// Whether a change is the renewal of somebody's presence, which is told to nobody.
pub(super) fn is_renewal(change: &RowChange) -> bool {
    let table = &*change.table;
    if change.event != Event::Update || &*table.name != "user_presence" || &*table.schema != "public" {
        return false;
    }
    let time = |column| {
        let (place, _) = table.column(column)?;
        change.new.as_ref()?.values.get(place)?.text()
    };
    // In UTC and as ISO 8601, as the stream has them, the later time is the greater text.
    OWN_COLUMNS.iter().all(|column| table.column(column).is_some())
        && time("last_seen_at").zip(time("updated_at")).is_some_and(|(seen, updated)| seen > updated)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::change::{Datum, Image, RelationId, ReplicaIdentity, Table, TableColumn};

    const SEEN: &str = "2026-11-22 12:00:05.25+00";
    const BEFORE: &str = "2026-11-22 12:00:05+00";
    const COLUMNS: [&str; 5] = ["last_seen_at", "updated_at", "active_at", "expires_at", "is_automatic"];

    fn change(schema: &str, name: &str, columns: &[&str], event: Event, updated_at: &str) -> RowChange {
        let column = |name: &&str| TableColumn {
            name: (*name).into(),
            type_id: 1184,
            number: 1,
            primary_key: false,
            generated: None,
            collation: 0,
            deterministic_collation: true,
            c_collation: false,
        };
        let table = Table {
            id: RelationId(1),
            schema: schema.into(),
            name: name.into(),
            columns: columns.iter().map(column).collect(),
            replica_identity: ReplicaIdentity::Default,
            row_security: true,
            row_security_forced: false,
            owner: 10,
        };
        let value = |name: &&str| match *name {
            "last_seen_at" => Datum::Text(SEEN.to_owned().into()),
            "updated_at" => Datum::Text(updated_at.to_owned().into()),
            _ => Datum::Null,
        };
        let values = columns.iter().map(value).collect();
        RowChange {
            table: Arc::new(table),
            event,
            new: Some(Image { values, rendered: Vec::new() }),
            old: None,
            old_is_full: false,
        }
    }

    #[test]
    fn what_was_seen_later_than_updated_is_a_renewal() {
        let is =
            |updated_at| is_renewal(&change("public", "user_presence", &COLUMNS, Event::Update, updated_at));
        assert!(is(BEFORE));
        assert!(is("2026-11-22 12:00:05.249999+00"));
        for news in [SEEN, "2026-11-22 12:00:05.250001+00", "2026-11-22 12:00:06+00", "infinity"] {
            assert!(!is(news), "{news}");
        }
    }

    #[test]
    fn nothing_else_is_a_renewal() {
        for (schema, name, columns, event) in [
            ("public", "user_presence", &COLUMNS[..], Event::Insert),
            ("public", "users", &COLUMNS[..], Event::Update),
            ("private", "user_presence", &COLUMNS[..], Event::Update),
            ("public", "user_presence", &COLUMNS[..4], Event::Update),
            ("public", "user_presence", &COLUMNS[1..], Event::Update),
        ] {
            assert!(!is_renewal(&change(schema, name, columns, event, BEFORE)), "{schema}.{name} {event:?}");
        }
    }
}

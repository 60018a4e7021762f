//! Messages that are on their way to somebody: what a delivery carries beside its frame, so that the shard that queues
//! the frame can note for whom.
//!
//! Only an insert into the messaging schema's table of messages carries anything, and only where messaging is on.

use std::sync::Arc;

use uuid::Uuid;

use crate::change::{Event, RowChange};
use crate::postgres::messaging::Person;

/// A message and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message_id: Uuid,
    /// Its sender, to whom it is not delivered.
    pub sender: Option<Person>,
}

impl Sent {
    /// What a change says of a message; `None` if it is not the insert of one.
    pub fn of(change: &RowChange) -> Option<Arc<Self>> {
        let table = &*change.table;
        if change.event != Event::Insert || &*table.name != "messages" || &*table.schema != "public" {
            return None;
        }
        let row = change.new.as_ref()?;
        // Somebody else's table of that name lacks one of the columns.
        let column = |name| table.column(name).map(|(place, _)| place);
        let id = |column: usize| row.values.get(column)?.text().and_then(|text| Uuid::try_parse(text).ok());
        let (user, customer) = (column("sender_id")?, column("sender_customer_id")?);
        let sender = id(user).map(Person::User).or_else(|| id(customer).map(Person::Customer));
        Some(Arc::new(Self { message_id: id(column("id")?)?, sender }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Datum, Image, RelationId, ReplicaIdentity, Table, TableColumn};

    const ID: &str = "5d5c9f8e-2f5c-4b0e-8a43-6f2c0f1d7a11";
    const SENDER: &str = "c3c1d9f0-7e1b-4d2f-9b1a-1f2e3d4c5b6a";

    fn change(schema: &str, event: Event, row: &[(&str, Option<&str>)]) -> RowChange {
        let column = |(name, _): &(&str, Option<&str>)| TableColumn {
            name: (*name).into(),
            type_id: 2950,
            number: 1,
            primary_key: *name == "id",
            generated: None,
            collation: 0,
            deterministic_collation: true,
            c_collation: false,
        };
        let table = Table {
            id: RelationId(1),
            schema: schema.into(),
            name: "messages".into(),
            columns: row.iter().map(column).collect(),
            replica_identity: ReplicaIdentity::Full,
            row_security: true,
            row_security_forced: false,
            owner: 10,
        };
        let value = |(_, value): &(&str, Option<&str>)| {
            value.map_or(Datum::Null, |value| Datum::Text(value.to_owned().into()))
        };
        let values = row.iter().map(value).collect();
        RowChange {
            table: Arc::new(table),
            event,
            new: Some(Image { values, rendered: Vec::new() }),
            old: None,
            old_is_full: false,
        }
    }

    fn uuid(text: &str) -> Uuid {
        Uuid::try_parse(text).unwrap()
    }

    #[test]
    fn the_insert_of_a_message_says_which_and_by_whom() {
        for (user, customer, sender) in [
            (Some(SENDER), None, Some(Person::User(uuid(SENDER)))),
            (None, Some(SENDER), Some(Person::Customer(uuid(SENDER)))),
            (None, None, None),
        ] {
            let row = [("id", Some(ID)), ("sender_id", user), ("sender_customer_id", customer)];
            let sent = Sent::of(&change("public", Event::Insert, &row)).unwrap();
            assert_eq!(*sent, Sent { message_id: uuid(ID), sender });
        }
    }

    #[test]
    fn nothing_else_is_a_message() {
        let row = [("id", Some(ID)), ("sender_id", Some(SENDER)), ("sender_customer_id", None)];
        for (schema, event, row) in [
            ("public", Event::Update, &row[..]),
            ("private", Event::Insert, &row[..]),
            ("public", Event::Insert, &row[..2]),
            ("public", Event::Insert, &[("id", Some("1")), row[1], row[2]]),
        ] {
            assert_eq!(Sent::of(&change(schema, event, row)), None);
        }
    }
}

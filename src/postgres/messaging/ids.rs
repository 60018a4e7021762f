//! People and messages as parameters of statements.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::Person;

/// A value of type `uuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub(super) Uuid);

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

/// People as two arrays of one length; in each place one of the two is null.
pub(super) struct Ids {
    pub(super) users: Vec<Option<Id>>,
    pub(super) customers: Vec<Option<Id>>,
}

impl Ids {
    pub(super) fn of(people: impl Iterator<Item = Person> + Clone) -> Self {
        Self {
            users: people.clone().map(|person| person.user_id().map(Id)).collect(),
            customers: people.map(|person| person.customer_id().map(Id)).collect(),
        }
    }
}

//! What is kept of a relation, and how its rows are told apart.

use std::sync::Arc;

use super::status::Unusable;
use crate::change::{Oid, Relation, Table, Tuple, Type, TypeKind, Types};
use crate::policy::catalog::Needed;
use crate::policy::value::{Decoder, Value};
use crate::wal::tuple::Datum;

/// How the row that an update or a delete concerns is told by what the log has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// By these columns, as places among [`Table::columns`], ascending: a primary key, or those of a chosen index.
    Columns(Box<[usize]>),
    /// By all of it. There may be equal rows.
    Whole,
}

/// What is kept of a relation.
#[derive(Clone, Debug)]
pub struct Layout {
    table: Arc<Table>,
    identity: Identity,
    columns: Box<[Kept]>,
    /// The types of the columns and what those are made of: values are read by them.
    types: Box<[Type]>,
}

/// A column that is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Its place among the relation's columns.
    pub(super) place: usize,
    /// Whether rows are looked up by it.
    pub(super) is_key: bool,
    /// Whether it is part of the identity.
    pub(super) in_identity: bool,
    decoder: Decoder,
}

/// What the log has of a row: a value for each kept column, nothing where it lacks one.
pub(super) type Known = Box<[Option<Value>]>;

/// Where the stream has the kept columns.
pub(super) type Places = Box<[usize]>;

impl Layout {
    /// For a relation that is told apart in this way; fails if a column's type is not known here.
    pub fn new(needed: &Needed, identity: Identity, types: &Types) -> Result<Self, Unusable> {
        let table = &needed.table;
        let (mut columns, mut read_by) = (Vec::new(), Vec::new());
        for (place, column) in table.columns.iter().enumerate() {
            // A whole row that the log has is told by those of its columns that are kept: rows that are equal in them
            // are the same to every policy.
            let in_identity = match &identity {
                Identity::Columns(places) => places.contains(&place),
                Identity::Whole => needed.columns.contains(&place),
            };
            if !in_identity && !needed.columns.contains(&place) {
                continue;
            }
            let Some(decoder) = Decoder::new(column.type_id, types) else {
                return Err(Unusable::Type { column: (&*column.name).into() });
            };
            add_types(column.type_id, types, &mut read_by);
            columns.push(Kept { place, is_key: needed.keys.contains(&place), in_identity, decoder });
        }
        Ok(Self { table: Arc::clone(table), identity, columns: columns.into(), types: read_by.into() })
    }

    /// The relation.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// How rows are told apart.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The columns that are kept, as places among the relation's, ascending.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|column| column.place)
    }

    pub(super) fn columns(&self) -> &[Kept] {
        &self.columns
    }

    /// Whether all that is needed is kept, and read as it is to be read now.
    pub fn covers(&self, needed: &Needed, types: &Types) -> bool {
        let kept = |place: &usize| self.columns.iter().any(|column| column.place == *place);
        let key = |place: &usize| self.columns.iter().any(|column| column.place == *place && column.is_key);
        self.table.columns == needed.table.columns
            && self.types.iter().all(|known| types.get(known.oid) == Some(known))
            && needed.columns.iter().all(kept)
            && needed.keys.iter().all(key)
    }

    /// Where a stream that describes the relation so has the kept columns.
    pub(super) fn find_in(&self, relation: &Relation) -> Result<Places, Unusable> {
        let find = |kept: &Kept| {
            let column = &self.table.columns[kept.place];
            let is_it = |streamed: &crate::change::Column| {
                streamed.number == column.number && streamed.type_id == column.type_id
            };
            relation.columns.iter().position(is_it).ok_or(Unusable::Redescribed)
        };
        self.columns.iter().map(find).collect()
    }

    /// The kept columns of a row in the stream.
    pub(super) fn read(&self, tuple: &Tuple, places: &Places) -> Result<Known, Unusable> {
        let value = |(kept, place): (&Kept, &usize)| match tuple.values.get(*place) {
            None | Some(Datum::Absent) => Ok(None),
            Some(Datum::Null) => Ok(Some(Value::Null)),
            Some(text) => {
                let value = text.text().and_then(|text| kept.decoder.decode(text));
                value.map(Some).ok_or_else(|| self.undecodable(kept))
            }
        };
        self.columns.iter().zip(places).map(value).collect()
    }

    /// A row that was read from the table: the texts of the kept columns, `None` for NULL.
    pub(super) fn read_texts<'a>(
        &self,
        texts: impl IntoIterator<Item = Option<&'a str>>,
    ) -> Result<Box<[Value]>, Unusable> {
        let mut texts = texts.into_iter();
        let value = |kept: &Kept| match texts.next() {
            None => Err(Unusable::Absent),
            Some(None) => Ok(Value::Null),
            Some(Some(text)) => kept.decoder.decode(text).ok_or_else(|| self.undecodable(kept)),
        };
        self.columns.iter().map(value).collect()
    }

    fn undecodable(&self, kept: &Kept) -> Unusable {
        Unusable::Undecodable { column: (&*self.table.columns[kept.place].name).into() }
    }
}

/// How many types a column's type may be made of: a table's rows in rows of another have no end otherwise.
const TYPES_MAX: usize = 256;

/// Adds a type and those that it is made of.
fn add_types(type_id: Oid, types: &Types, found: &mut Vec<Type>) {
    let Some(found_type) = types.get(type_id) else { return };
    if found.len() >= TYPES_MAX || found.iter().any(|known| known.oid == type_id) {
        return;
    }
    found.push(found_type.clone());
    match &found_type.kind {
        TypeKind::Array { element: part }
        | TypeKind::Domain { base: part }
        | TypeKind::Range { subtype: part } => {
            add_types(*part, types, found);
        }
        TypeKind::Composite { fields } => {
            fields.iter().for_each(|(_, field)| add_types(*field, types, found));
        }
        TypeKind::Base | TypeKind::Enum { .. } | TypeKind::Other => {}
    }
}

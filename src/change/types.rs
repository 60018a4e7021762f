//! Postgres types as the catalog describes them: what values and filters need to know of a type.

use std::collections::HashMap;

use crate::wal::sql::identifier;

/// An object identifier: the catalog's name for a type, relation or role.
pub type Oid = u32;

/// One row of `pg_type`, reduced to what decoding values needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// `pg_type.oid`.
    pub oid: Oid,
    /// The schema it lives in.
    pub schema: Box<str>,
    /// `pg_type.typname`, as clients switch on it: `int8`, `bpchar`, `_text`.
    pub name: Box<str>,
    /// What it is made of.
    pub kind: TypeKind,
    /// Separates the elements in the text form of an array *of* this type: a comma, but a semicolon for `box`.
    pub delimiter: u8,
    /// Whether a cast to `json` by a function exists, as `hstore` and PostGIS have; `to_jsonb` then uses that
    /// function, which only Postgres can run.
    pub json_cast: bool,
}

impl Type {
    /// Its name in SQL, with the schema. Quoted names take no default modifier: `"pg_catalog"."bpchar"` and
    /// `"pg_catalog"."bit"` mean any length.
    pub fn sql_name(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

/// What a type is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// A base type: the text form is the whole story.
    Base,
    /// An array of `element`.
    Array {
        /// The element type.
        element: Oid,
    },
    /// A domain over `base`, which may be a domain itself.
    Domain {
        /// The type underneath.
        base: Oid,
    },
    /// An enum; the labels stand in their sort order.
    Enum {
        /// All labels, in sort order.
        labels: Box<[Box<str>]>,
    },
    /// A composite type; dropped attributes are left out, as they are in its text form.
    Composite {
        /// Name and type of each attribute, in order.
        fields: Box<[(Box<str>, Oid)]>,
    },
    /// A range or multirange over `subtype`.
    Range {
        /// The type of the bounds.
        subtype: Oid,
    },
    /// A pseudo-type, or one this server does not know: no column can be decoded by it.
    Other,
}

/// The types of one database, by identifier.
#[derive(Clone, Debug, Default)]
pub struct Types {
    by_oid: HashMap<Oid, Type>,
}

impl Types {
    /// The type with this identifier, if the catalog had it when it was read.
    pub fn get(&self, oid: Oid) -> Option<&Type> {
        self.by_oid.get(&oid)
    }

    /// The type beneath all domains.
    pub fn base(&self, mut oid: Oid) -> Option<&Type> {
        // A chain of domains cannot be circular, but a torn read of the catalog might look so.
        for _ in 0..32 {
            match self.get(oid)?.kind {
                TypeKind::Domain { base } => oid = base,
                _ => return self.get(oid),
            }
        }
        None
    }

    /// All types, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Type> {
        self.by_oid.values()
    }

    /// How many types are known.
    pub fn len(&self) -> usize {
        self.by_oid.len()
    }

    /// Whether no type is known.
    pub fn is_empty(&self) -> bool {
        self.by_oid.is_empty()
    }
}

impl FromIterator<Type> for Types {
    fn from_iter<I: IntoIterator<Item = Type>>(types: I) -> Self {
        Self { by_oid: types.into_iter().map(|r#type| (r#type.oid, r#type)).collect() }
    }
}

//! Identifiers of types that Postgres fixes for all time, and how their values are read and stored.

use crate::change::{Oid, TypeKind, Types};

pub(crate) const BOOL: Oid = 16;
pub(crate) const BYTEA: Oid = 17;
pub(crate) const CHAR: Oid = 18;
pub(crate) const NAME: Oid = 19;
pub(crate) const INT8: Oid = 20;
pub(crate) const INT2: Oid = 21;
pub(crate) const INT4: Oid = 23;
pub(crate) const TEXT: Oid = 25;
pub(crate) const OID: Oid = 26;
pub(crate) const JSON: Oid = 114;
pub(crate) const FLOAT4: Oid = 700;
pub(crate) const FLOAT8: Oid = 701;
pub(crate) const BPCHAR: Oid = 1042;
pub(crate) const VARCHAR: Oid = 1043;
pub(crate) const DATE: Oid = 1082;
pub(crate) const TIME: Oid = 1083;
pub(crate) const TIMESTAMP: Oid = 1114;
pub(crate) const TIMESTAMPTZ: Oid = 1184;
pub(crate) const INTERVAL: Oid = 1186;
pub(crate) const NUMERIC: Oid = 1700;
pub(crate) const UUID: Oid = 2950;
pub(crate) const JSONB: Oid = 3802;
pub(crate) const ANYELEMENT: Oid = 2283;
pub(crate) const ANYARRAY: Oid = 2277;
pub(crate) const ANYENUM: Oid = 3500;
pub(crate) const ANYCOMPATIBLE: Oid = 5077;
pub(crate) const ANYCOMPATIBLEARRAY: Oid = 5078;

/// The first identifier that is not Postgres's own.
pub(crate) const FIRST_OF_USERS: Oid = 16_384;

/// A type whose values are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scalar {
    Bool,
    Bytes,
    Char,
    Name,
    Int8,
    Int2,
    Int4,
    Oid,
    /// `text` and `varchar`.
    Text,
    Bpchar,
    Json,
    Jsonb,
    Float4,
    Float8,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Numeric,
    Uuid,
}

impl Scalar {
    /// The built-in type with this identifier.
    pub(crate) fn of(oid: Oid) -> Option<Self> {
        Some(match oid {
            BOOL => Self::Bool,
            BYTEA => Self::Bytes,
            CHAR => Self::Char,
            NAME => Self::Name,
            INT8 => Self::Int8,
            INT2 => Self::Int2,
            INT4 => Self::Int4,
            OID => Self::Oid,
            TEXT | VARCHAR => Self::Text,
            BPCHAR => Self::Bpchar,
            JSON => Self::Json,
            JSONB => Self::Jsonb,
            FLOAT4 => Self::Float4,
            FLOAT8 => Self::Float8,
            DATE => Self::Date,
            TIME => Self::Time,
            TIMESTAMP => Self::Timestamp,
            TIMESTAMPTZ => Self::TimestampTz,
            INTERVAL => Self::Interval,
            NUMERIC => Self::Numeric,
            UUID => Self::Uuid,
            _ => return None,
        })
    }
}

/// The element types of built-in arrays, by the type of the array.
pub(crate) fn element_of(array: Oid) -> Option<Oid> {
    Some(match array {
        1000 => BOOL,
        1001 => BYTEA,
        1002 => CHAR,
        1003 => NAME,
        1005 => INT2,
        1007 => INT4,
        1009 => TEXT,
        1014 => BPCHAR,
        1015 => VARCHAR,
        1016 => INT8,
        1021 => FLOAT4,
        1022 => FLOAT8,
        1028 => OID,
        199 => JSON,
        3807 => JSONB,
        1115 => TIMESTAMP,
        1182 => DATE,
        1183 => TIME,
        1185 => TIMESTAMPTZ,
        1187 => INTERVAL,
        1231 => NUMERIC,
        2951 => UUID,
        _ => return None,
    })
}

/// Whether values of a type are equal to Postgres exactly if they are the same here.
pub(crate) fn equal_if_same(oid: Oid) -> bool {
    Scalar::of(oid).is_some_and(|scalar| {
        !matches!(scalar, Scalar::Bpchar | Scalar::Json | Scalar::Jsonb | Scalar::Interval)
    })
}

/// What a type is beneath its domains.
pub(crate) enum Form<'t> {
    Scalar(Scalar),
    /// An enum with these labels.
    Enum(&'t [Box<str>]),
    /// An array of this type, and what separates its elements.
    Array(Oid, u8),
}

impl<'t> Form<'t> {
    /// `None` for a type whose values are not known here.
    pub(crate) fn of(oid: Oid, types: &'t Types) -> Option<Self> {
        if let Some(scalar) = Scalar::of(oid) {
            return Some(Self::Scalar(scalar));
        }
        if let Some(element) = element_of(oid) {
            return Some(Self::Array(element, b','));
        }
        let base = types.base(oid)?;
        if base.oid != oid {
            return Self::of(base.oid, types);
        }
        match &base.kind {
            TypeKind::Enum { labels } => Some(Self::Enum(labels)),
            // Only types of users: `int2vector` and its kin look like arrays, but are written otherwise.
            TypeKind::Array { element } if oid >= FIRST_OF_USERS => {
                // Functions of arrays know nothing of such types but that their elements compare as they are.
                let same = match Self::of(*element, types)? {
                    Self::Enum(_) => true,
                    Self::Scalar(_) => equal_if_same(types.base(*element).map_or(*element, |base| base.oid)),
                    Self::Array(..) => false,
                };
                if !same {
                    return None;
                }
                Some(Self::Array(*element, types.get(*element)?.delimiter))
            }
            _ => None,
        }
    }
}

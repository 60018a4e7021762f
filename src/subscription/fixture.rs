//! What the tests of this module share: one table with a column of each kind, and filters on it.

use serde_json::{Map, Value};

use crate::change::{Datum, Oid, RelationId, ReplicaIdentity, Table, TableColumn, Type, TypeKind, Types};

use super::binding::Binding;
use super::check::{Checked, SubscribeError, check};
use super::predicate::Predicate;

/// Name, schema, type name, kind; the type's number is its place plus one.
fn type_list() -> Vec<(&'static str, &'static str, TypeKind)> {
    let labels = ["sad", "ok", "happy"].map(Box::from).into();
    vec![
        ("pg_catalog", "int4", TypeKind::Base),
        ("pg_catalog", "text", TypeKind::Base),
        ("pg_catalog", "bool", TypeKind::Base),
        ("pg_catalog", "uuid", TypeKind::Base),
        ("pg_catalog", "timestamptz", TypeKind::Base),
        ("pg_catalog", "numeric", TypeKind::Base),
        ("rec", "mood", TypeKind::Enum { labels }),
        ("rec", "short", TypeKind::Domain { base: 2 }),
        ("pg_catalog", "_int4", TypeKind::Array { element: 1 }),
        ("pg_catalog", "json", TypeKind::Base),
        ("pg_catalog", "bytea", TypeKind::Base),
        ("extensions", "citext", TypeKind::Base),
        ("pg_catalog", "bpchar", TypeKind::Base),
        ("pg_catalog", "varchar", TypeKind::Base),
    ]
}

pub(super) fn types() -> Types {
    (1..)
        .zip(type_list())
        .map(|(oid, (schema, name, kind))| Type {
            oid,
            schema: schema.into(),
            name: name.into(),
            kind,
            delimiter: b',',
            json_cast: false,
        })
        .collect()
}

/// `rec.plain`, with one column a type, named after it; `name` is under a collation of its own, `ci` under a
/// nondeterministic one, `missing` of a type that is not known, `secret` not selectable.
pub(super) fn table() -> Table {
    let mut columns: Vec<(&str, Oid, Oid, bool)> =
        (1..).zip(type_list()).map(|(oid, (_, name, _))| (name, oid, 100, true)).collect();
    columns.push(("name", 2, 4242, true));
    columns.push(("ci", 2, 4243, false));
    columns.push(("missing", 999, 0, true));
    columns.push(("secret", 1, 0, true));
    Table {
        id: RelationId(1),
        schema: "rec".into(),
        name: "plain".into(),
        columns: columns
            .into_iter()
            .zip(1..)
            .map(|((name, type_id, collation, deterministic_collation), number)| TableColumn {
                name: name.into(),
                type_id,
                number,
                primary_key: number == 1,
                generated: None,
                collation,
                deterministic_collation,
                c_collation: false,
            })
            .collect(),
        replica_identity: ReplicaIdentity::Default,
        row_security: false,
        row_security_forced: false,
        owner: 10,
    }
}

pub(super) fn binding(filter: &str) -> Binding {
    let mut element: Map<String, Value> = Binding::legacy("rec:plain");
    element.insert("filter".to_owned(), filter.into());
    Binding::parse(&element).unwrap_or_else(|error| panic!("{filter}: {error}"))
}

pub(super) fn checked(binding: &Binding) -> Result<Checked, SubscribeError> {
    let table = table();
    check(binding, &table, &types(), &|index| &*table.columns[index].name != "secret")
}

/// Compiled, with each operand in its canonical form already.
pub(super) fn predicate(filter: &str) -> Predicate {
    let checked = checked(&binding(filter)).unwrap_or_else(|error| panic!("{filter}: {error}"));
    let canonical = checked.casts().iter().map(|cast| cast.text.clone()).collect();
    checked.compile(canonical)
}

/// A row image in which only the named column is present.
pub(super) fn row(column: &str, value: Option<&str>) -> Vec<Datum> {
    let datum = || value.map_or(Datum::Null, |text| Datum::Text(text.to_owned().into()));
    table().columns.iter().map(|known| if &*known.name == column { datum() } else { Datum::Absent }).collect()
}

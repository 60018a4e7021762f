//! What a tree names, so that the catalog can be read for it.

use std::collections::BTreeSet;

use super::{Error, Node, Tree, read};
use crate::change::{Oid, RelationId};

/// The objects that a tree names; zeros, which stand for none, are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Relations in range tables.
    pub relations: BTreeSet<RelationId>,
    /// Functions, also those behind operators.
    pub functions: BTreeSet<Oid>,
    /// Operators.
    pub operators: BTreeSet<Oid>,
    /// Collations.
    pub collations: BTreeSet<Oid>,
    /// Types.
    pub types: BTreeSet<Oid>,
}

/// All that a tree names.
pub fn references(text: &str) -> Result<References, Error> {
    let mut found = References::default();
    found.visit(&read(text)?);
    Ok(found)
}

/// Fields that hold a function.
const FUNCTIONS: [&str; 7] =
    ["funcid", "opfuncid", "hashfuncid", "negfuncid", "aggfnoid", "winfnoid", "elemfuncid"];

/// Fields that hold an operator.
const OPERATORS: [&str; 3] = ["opno", "eqop", "sortop"];

/// Fields that hold a type and do not end in `type`.
const TYPES: [&str; 5] = ["typeId", "array_typeid", "element_typeid", "row_typeid", "type"];

impl References {
    fn visit(&mut self, tree: &Tree<'_>) {
        match tree {
            Tree::List(items) => items.iter().for_each(|item| self.visit(item)),
            Tree::Node(node) => {
                self.visit_fields(node);
                node.fields().for_each(|(_, value)| self.visit(value));
            }
            Tree::Null | Tree::Word(_) | Tree::Text(_) | Tree::Datum(_) | Tree::Numbers(_) => {}
        }
    }

    fn visit_fields(&mut self, node: &Node<'_>) {
        // An alias names what it likes; nothing else that is no identifier has the form of one under these names.
        if node.tag == "ALIAS" {
            return;
        }
        for (name, value) in node.fields() {
            match value {
                Tree::Word(word) => {
                    if let Some(oid) = word.parse::<Oid>().ok().filter(|oid| *oid != 0) {
                        self.insert(node.tag, name, oid);
                    }
                }
                Tree::Numbers(numbers) => {
                    for oid in numbers.iter().filter_map(|number| Oid::try_from(*number).ok()) {
                        self.insert_listed(name, oid);
                    }
                }
                _ => {}
            }
        }
    }

    fn insert(&mut self, tag: &str, name: &str, oid: Oid) {
        if FUNCTIONS.contains(&name) {
            self.functions.insert(oid);
        } else if OPERATORS.contains(&name) {
            self.operators.insert(oid);
        } else if name == "relid" {
            self.relations.insert(RelationId(oid));
        } else if name == "collOid" || name == "collation" || name.ends_with("collid") {
            self.collations.insert(oid);
        } else if TYPES.contains(&name) || is_type(tag, name) {
            self.types.insert(oid);
        }
    }

    fn insert_listed(&mut self, name: &str, oid: Oid) {
        match name {
            _ if oid == 0 => {}
            "opnos" => _ = self.operators.insert(oid),
            "inputcollids" | "colcollations" | "funccolcollations" => _ = self.collations.insert(oid),
            "coltypes" | "funccoltypes" => _ = self.types.insert(oid),
            _ => {}
        }
    }
}

/// `vartype`, `funcresulttype` and their like are types; `nulltesttype` and `jointype` are not.
fn is_type(tag: &str, name: &str) -> bool {
    name.ends_with("type")
        && !matches!(tag, "JOINEXPR" | "NULLTEST" | "BOOLEANTEST" | "RANGETBLENTRY" | "SUBLINK")
        && !matches!(name, "varreturningtype" | "subLinkType" | "cmptype" | "rctype")
}

//! Postgres's node trees: what it keeps of an expression or a query once names, operators, coercions and collations are
//! resolved (`pg_policy.polqual`, `pg_proc.prosqlbody`, `pg_rewrite.ev_action`).
//!
//! Fields are found by name and unknown ones are passed over, since every major version adds some. What a node means is
//! not decided here: whoever reads a tree names the nodes that it understands and refuses all others.

use std::borrow::Cow;

use crate::change::Oid;

mod reader;
mod references;
#[cfg(test)]
mod tests;

pub use reader::{DEPTH_MAX, Error, NODES_MAX, SIZE_MAX, read};
pub use references::{References, references};

/// The major versions whose trees are known.
pub const MAJORS: std::ops::RangeInclusive<u32> = 14..=18;

/// The value of a field, or an element of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree<'a> {
    /// `<>`: nothing.
    Null,
    /// A number, a truth value, or a name.
    Word(Cow<'a, str>),
    /// A string in quotes, an element of a list of strings.
    Text(Cow<'a, str>),
    /// The bytes of a constant; those of what is passed by value are the whole word of eight that holds it.
    Datum(Box<[u8]>),
    /// A list of integers or of object identifiers, or a set of integers.
    Numbers(Box<[i64]>),
    /// A list.
    List(Box<[Self]>),
    /// A node.
    Node(Box<Node<'a>>),
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'a> {
    /// What it is, as PostgreSQL 15 and later call it: `OPEXPR`.
    pub tag: &'a str,
    fields: Vec<(&'a str, Tree<'a>)>,
}

/// The field's value where a field is missing.
const NULL: &Tree<'static> = &Tree::Null;

impl<'a> Tree<'a> {
    /// Itself, if it is a node.
    pub fn node(&self) -> Option<&Node<'a>> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The elements of a list; none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// Whether it is nothing, or a list of nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::List(items) => items.is_empty(),
            Self::Numbers(numbers) => numbers.is_empty(),
            _ => false,
        }
    }
}

impl<'a> Node<'a> {
    /// A field; [`Tree::Null`] if the node lacks it.
    pub fn get(&self, name: &str) -> &Tree<'a> {
        self.fields.iter().find(|(known, _)| *known == name).map_or(NULL, |(_, value)| value)
    }

    /// The fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &Tree<'a>)> {
        self.fields.iter().map(|(name, value)| (*name, value))
    }

    /// A word.
    pub fn word(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Tree::Word(word) => Some(word),
            _ => None,
        }
    }

    /// An integer.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.word(name)?.parse().ok()
    }

    /// An object identifier; zero stands for none.
    pub fn oid(&self, name: &str) -> Option<Oid> {
        self.word(name)?.parse().ok()
    }

    /// A truth value.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.word(name)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

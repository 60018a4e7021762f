//! The table of functions: what is known of each besides what it computes.

use super::{Call, Collation, Function};
use super::{array, cast, compare, json, number, text, time};
use crate::change::Oid;
use crate::policy::types::{self, element_of, equal_if_same};

/// A function of Postgres that is known here.
#[derive(Debug)]
pub struct Known {
    /// The symbol that it is found by.
    pub symbol: &'static str,
    /// What it is called towards people, different for different functions.
    pub(super) name: &'static str,
    /// The types of its arguments, as `pg_proc` has them.
    pub arguments: &'static [Oid],
    /// The type of its result, as `pg_proc` has it.
    pub result: Oid,
    /// Whether NULL in any argument makes the result NULL without a call.
    pub strict: bool,
    /// Whether it raises an error for some arguments.
    pub raises: bool,
    /// Whether it is an equality that can be looked up by hash.
    pub is_hash_equality: bool,
    needs: Needs,
    call: Call,
}

/// What a function needs to know of a collation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Equal text has equal bytes.
    Deterministic,
    /// Text is ordered by its bytes.
    Bytewise,
}

impl Known {
    pub(super) const fn new(
        symbol: &'static str,
        arguments: &'static [Oid],
        result: Oid,
        call: Call,
    ) -> Self {
        Self {
            symbol,
            name: symbol,
            arguments,
            result,
            strict: true,
            raises: false,
            is_hash_equality: false,
            needs: Needs::Nothing,
            call,
        }
    }

    /// One that raises an error for some arguments.
    pub(super) const fn raises(mut self) -> Self {
        self.raises = true;
        self
    }

    /// An equality that holds exactly for equal values.
    pub(super) const fn by_hash(mut self) -> Self {
        self.is_hash_equality = true;
        self
    }

    /// One that is called with NULL too.
    pub(super) const fn takes_null(mut self) -> Self {
        self.strict = false;
        self
    }

    /// One that compares text for equality.
    pub(super) const fn equates_text(mut self) -> Self {
        self.needs = Needs::Deterministic;
        self
    }

    /// One that orders text.
    pub(super) const fn orders_text(mut self) -> Self {
        self.needs = Needs::Bytewise;
        self
    }

    /// Under another name than the symbol.
    pub(super) const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// What evaluates it.
    pub fn function(&self) -> Function {
        Function {
            symbol: self.name,
            strict: self.strict,
            raises: self.raises,
            reads_clock: false,
            is_hash_equality: self.is_hash_equality,
            call: self.call,
        }
    }

    pub(super) fn is_for(&self, symbol: &str, arguments: &[Oid], result: Oid, collation: Collation) -> bool {
        self.symbol == symbol
            && self.arguments.len() == arguments.len()
            && self.arguments.iter().zip(arguments).all(|(known, asked)| fits(*known, *asked))
            && fits(self.result, result)
            && self.is_known_under(arguments, collation)
    }

    fn is_known_under(&self, arguments: &[Oid], collation: Collation) -> bool {
        let polymorphic = |oid: &Oid| matches!(*oid, types::ANYARRAY | types::ANYCOMPATIBLEARRAY);
        let needs = match arguments.first().filter(|_| self.arguments.first().is_some_and(polymorphic)) {
            // Whether elements have a collation is not seen of a type of users; `None` is what those without have.
            Some(array) if *array >= types::FIRST_OF_USERS && collation == Collation::None => Needs::Nothing,
            Some(array) if *array >= types::FIRST_OF_USERS => Needs::Deterministic,
            Some(array) => match element_of(*array) {
                Some(types::TEXT | types::VARCHAR | types::NAME) => Needs::Deterministic,
                _ => Needs::Nothing,
            },
            None => self.needs,
        };
        match needs {
            Needs::Nothing => true,
            Needs::Deterministic => matches!(collation, Collation::C | Collation::Deterministic),
            Needs::Bytewise => collation == Collation::C,
        }
    }
}

/// Whether an argument of this type may stand for a declared one.
fn fits(known: Oid, asked: Oid) -> bool {
    match known {
        types::ANYENUM => asked >= types::FIRST_OF_USERS,
        types::ANYARRAY | types::ANYCOMPATIBLEARRAY => {
            asked >= types::FIRST_OF_USERS || element_of(asked).is_some_and(equal_if_same)
        }
        types::ANYELEMENT | types::ANYCOMPATIBLE => asked >= types::FIRST_OF_USERS || equal_if_same(asked),
        types::TEXT => asked == types::TEXT || asked == types::VARCHAR,
        _ => asked == known,
    }
}

/// All functions that are known here.
pub fn known() -> impl Iterator<Item = &'static Known> {
    [compare::KNOWN, text::KNOWN, number::KNOWN, time::KNOWN, json::KNOWN, array::KNOWN, cast::KNOWN]
        .into_iter()
        .flat_map(|family| family.iter().copied().flatten())
}

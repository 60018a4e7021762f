//! The built-in functions that policies may call, by the identity that Postgres gives them.
//!
//! An operator or a function is known by the symbol of its C function (`pg_proc.prosrc` of a function in the language
//! `internal`) and its argument types, never by its name: names mean what a search path makes of them.

mod array;
mod cast;
mod compare;
mod json;
mod known;
mod number;
mod text;
mod time;

use super::value::Value;
use crate::change::Oid;

pub use known::{Known, known};

/// What a call may depend on besides its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// What `now()` answers: microseconds since 2000-01-01 (UTC).
    pub now_micros: i64,
}

/// Why an evaluation came to nothing. Postgres is asked then, whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Postgres would raise an error here, or might.
    Raises,
    /// The log does not carry a value that is needed.
    Absent,
    /// A table that is needed is not mirrored, or not yet.
    NotMirrored,
    /// What Postgres would answer depends on something that is not known here, such as a collation.
    Unknown,
    /// It would take too long.
    TooLong,
}

/// Evaluates a call. Arguments of a strict function are never NULL here.
pub type Call = fn(&Moment, &[Value]) -> Result<Value, Doubt>;

/// A built-in function.
#[derive(Clone, Copy)]
pub struct Function {
    /// The symbol of its C function, for words to people: `uuid_eq`.
    pub symbol: &'static str,
    /// Whether NULL in any argument makes the result NULL without a call.
    pub strict: bool,
    /// Whether it raises an error for some arguments.
    pub raises: bool,
    /// Whether its answer depends on the moment.
    pub reads_clock: bool,
    /// Whether it is an equality under which values are equal exactly if they are equal as [`Value`]s, so that it can be
    /// looked up in an index by hash.
    pub is_hash_equality: bool,
    /// What it does.
    pub call: Call,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.symbol)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.symbol == other.symbol
    }
}

/// What is known of a collation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collation {
    /// The arguments have none.
    None,
    /// Ordered by bytes.
    C,
    /// Equal text has equal bytes; its order is not known here.
    Deterministic,
    /// Nothing can be said.
    Nondeterministic,
}

/// The function with this symbol for these argument and result types under this collation; `None` if it is not known
/// here, or not for these.
///
/// Types are those of the expressions: where `pg_proc` has `anyarray`, the array's own. Two symbols are no functions of
/// Postgres: `coerce_via_io` (`CoerceViaIO`), and `array_coerce` (`ArrayCoerceExpr` whose element expression is at most one
/// such coercion, without a length).
pub fn find(symbol: &str, arguments: &[Oid], result: Oid, collation: Collation) -> Option<Function> {
    known().find(|known| known.is_for(symbol, arguments, result, collation)).map(Known::function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::types;

    #[test]
    fn functions_are_found_by_symbol_and_types() {
        let text = [types::TEXT, types::TEXT];
        assert!(
            find("texteq", &text, types::BOOL, Collation::Deterministic)
                .is_some_and(|it| it.is_hash_equality)
        );
        assert!(find("texteq", &text, types::BOOL, Collation::Nondeterministic).is_none());
        assert!(find("texteq", &[types::TEXT, 16_400], types::BOOL, Collation::C).is_none());
        assert!(find("text_lt", &text, types::BOOL, Collation::Deterministic).is_none());
        assert!(find("text_lt", &text, types::BOOL, Collation::C).is_some());
        assert!(find("citext_eq", &[16_400, 16_400], types::BOOL, Collation::C).is_none());
        assert!(find("enum_eq", &[16_400, 16_400], types::BOOL, Collation::None).is_some());
        let texts = [1009, 1009];
        assert!(find("arraycontains", &texts, types::BOOL, Collation::Deterministic).is_some());
        assert!(find("arraycontains", &texts, types::BOOL, Collation::Nondeterministic).is_none());
        assert!(find("arraycontains", &[1014, 1014], types::BOOL, Collation::Deterministic).is_none());
    }

    #[test]
    fn arguments_of_other_kinds_are_a_doubt() {
        let moment = Moment { now_micros: 0 };
        for known in known() {
            let function = known.function();
            for value in [Value::Null, Value::Bool(true), Value::text("x"), Value::Enum(1)] {
                for count in 0..4 {
                    let _ = (function.call)(&moment, &vec![value.clone(); count]);
                }
            }
        }
    }

    #[test]
    fn equalities_by_hash_are_strict_and_never_raise() {
        for known in known().filter(|known| known.is_hash_equality) {
            assert!(known.strict && !known.raises && known.result == types::BOOL, "{}", known.symbol);
        }
    }
}

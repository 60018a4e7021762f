//! The built-in functions that policies may call, by the identity that Postgres gives them.
//!
//! An operator or a function is known by the symbol of its C function (`pg_proc.prosrc` of a function in the language
//! `internal`) and its argument types, never by its name: names mean what a search path makes of them.

use super::value::Value;
use crate::change::Oid;

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
pub fn find(symbol: &str, arguments: &[Oid], result: Oid, collation: Collation) -> Option<Function> {
    let _ = (symbol, arguments, result, collation);
    None
}

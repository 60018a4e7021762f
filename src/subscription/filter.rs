//! Filter text: `id=eq.6,name=not.in.(a,"b,c")` → conditions. Syntax only; columns and values come later.
//!
//! Conditions are separated by commas outside parentheses and quotes, and hold together (AND). A condition
//! is `column=operator.value` or `column=not.operator.value`. A value may stand in double quotes, where a
//! backslash takes the next character as it is; a quote that never closes, or closes early, is an ordinary
//! character. The value of `in` is a list in parentheses, whose elements follow the rules of array literals.

use std::fmt;
use std::str::FromStr;

use super::inspect::inspect_strings;

/// The longest filter text, in bytes. A longer one is [`FilterError::TooLong`].
pub const FILTER_BYTES_MAX: usize = 32 * 1024;

/// The most conditions in one filter. More are [`FilterError::TooManyConditions`].
pub const CONDITION_COUNT_MAX: usize = 64;

/// What a row must satisfy: every condition. Without conditions every row does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// In the order the client wrote them.
    pub conditions: Vec<Condition>,
}

/// One comparison of a column with an operand.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The column's name, unquoted.
    pub column: String,
    /// The comparison.
    pub operator: Operator,
    /// Whether the comparison must be false. A comparison that is NULL satisfies neither.
    pub negated: bool,
    /// What to compare with: text of the column's type, an array literal `{…}` for [`Operator::In`], a pattern
    /// for [`Operator::Like`] and its kin, a keyword for [`Operator::Is`].
    pub operand: String,
}

/// An operand may be a row value, which never reaches a log.
impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("column", &self.column)
            .field("operator", &self.operator)
            .field("negated", &self.negated)
            .finish_non_exhaustive()
    }
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `=`
    Eq,
    /// `<>`
    Neq,
    /// `<`
    Lt,
    /// `<=`
    Lte,
    /// `>`
    Gt,
    /// `>=`
    Gte,
    /// `= any (…)`
    In,
    /// `like`
    Like,
    /// `ilike`
    Ilike,
    /// `is null`, `is true`, `is false` or `is unknown`
    Is,
    /// `~`
    Match,
    /// `~*`
    Imatch,
    /// `is distinct from`
    IsDistinct,
}

impl Operator {
    /// All operators with their names.
    const NAMES: [(&str, Self); 13] = [
        ("eq", Self::Eq),
        ("neq", Self::Neq),
        ("lt", Self::Lt),
        ("lte", Self::Lte),
        ("gt", Self::Gt),
        ("gte", Self::Gte),
        ("in", Self::In),
        ("like", Self::Like),
        ("ilike", Self::Ilike),
        ("is", Self::Is),
        ("match", Self::Match),
        ("imatch", Self::Imatch),
        ("isdistinct", Self::IsDistinct),
    ];

    /// The name in filter text.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, operator)| *operator == self).map_or("", |(name, _)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator)
    }
}

/// Why a text is no filter. Displays the words that follow ``Error parsing `filter` params: ``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A condition without `=`, without `.`, or with an unknown operator; the parts it was split into.
    #[error("{}", inspect_strings(.0))]
    Malformed(Vec<String>),
    /// The list of `in` stands in no parentheses.
    #[error("`in` filter value must be wrapped by parentheses")]
    UnwrappedList,
    /// Nothing but blanks between two commas, or before the first or after the last.
    #[error("filter must not contain empty segments (check for extra commas)")]
    EmptySegment,
    /// More than [`FILTER_BYTES_MAX`].
    #[error("filter must not be longer than {FILTER_BYTES_MAX} bytes")]
    TooLong,
    /// More than [`CONDITION_COUNT_MAX`].
    #[error("filter must not have more than {CONDITION_COUNT_MAX} conditions")]
    TooManyConditions,
}

impl Filter {
    /// Parses filter text. Blank text is a filter without conditions.
    ///
    /// # Errors
    /// The first condition that is not well formed, or a bound that is exceeded.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(FilterError::TooLong);
        }
        let text = text.trim();
        let mut conditions = Vec::new();
        if text.is_empty() {
            return Ok(Self { conditions });
        }
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (segment, tail) = split_segment(text);
            if conditions.len() == CONDITION_COUNT_MAX {
                return Err(FilterError::TooManyConditions);
            }
            conditions.push(Condition::parse(segment.trim())?);
            rest = tail;
        }
        Ok(Self { conditions })
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Splits at the first comma outside parentheses and quotes; no tail means there is none.
fn split_segment(text: &str) -> (&str, Option<&str>) {
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut previous = 0;
    // All characters with a meaning are ASCII, so bytes are enough and every cut is at a boundary.
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if quoted => {
                bytes.next();
            }
            b'"' if quoted => quoted = false,
            _ if quoted => {}
            b'"' if matches!(previous, b'.' | b'(' | b',') => quoted = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
        previous = byte;
    }
    (text, None)
}

impl Condition {
    fn parse(segment: &str) -> Result<Self, FilterError> {
        if segment.is_empty() {
            return Err(FilterError::EmptySegment);
        }
        let malformed = |parts: &[&str]| {
            Err(FilterError::Malformed(parts.iter().map(|part| (*part).to_owned()).collect()))
        };
        let Some((column, comparison)) = segment.split_once('=') else {
            return malformed(&[segment]);
        };
        let (negated, comparison) = match comparison.strip_prefix("not.") {
            Some(comparison) => (true, comparison),
            None => (false, comparison),
        };
        let Some((name, value)) = comparison.split_once('.') else {
            return malformed(&[comparison]);
        };
        let Some(operator) = Operator::from_name(name) else {
            return malformed(&[name, value]);
        };
        let operand = if operator == Operator::In {
            let list = value.strip_prefix('(').and_then(|value| value.strip_suffix(')'));
            format!("{{{}}}", list.ok_or(FilterError::UnwrappedList)?)
        } else {
            unquote(value).unwrap_or_else(|| value.to_owned())
        };
        Ok(Self { column: column.to_owned(), operator, negated, operand })
    }
}

/// The text inside double quotes; `None` if the quotes do not enclose the whole value.
fn unquote(value: &str) -> Option<String> {
    let mut inside = value.strip_prefix('"')?.chars();
    let mut text = String::with_capacity(value.len());
    loop {
        match inside.next()? {
            '"' => return inside.as_str().is_empty().then_some(text),
            // A backslash at the very end has nothing to escape, and leaves the quotes open anyway.
            '\\' => text.push(inside.next()?),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[(&str, Operator, &str, bool)]) {
        let found = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let found: Vec<_> = found
            .conditions
            .iter()
            .map(|condition| (&*condition.column, condition.operator, &*condition.operand, condition.negated))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    fn refuse(text: &str, words: &str) {
        assert_eq!(Filter::parse(text).unwrap_err().to_string(), words, "{text}");
    }

    #[test]
    fn conditions_are_column_operator_and_value() {
        use Operator::{Eq, Gt, In, Is, IsDistinct, Like, Lt};
        check("", &[]);
        check(" \t\u{2003}", &[]);
        check("id=eq.1", &[("id", Eq, "1", false)]);
        check(" id=eq.1 ", &[("id", Eq, "1", false)]);
        check("id=not.eq.1", &[("id", Eq, "1", true)]);
        check("id=eq.", &[("id", Eq, "", false)]);
        check("id=eq.a=b.c", &[("id", Eq, "a=b.c", false)]);
        check("id=eq.not.eq.1", &[("id", Eq, "not.eq.1", false)]);
        check("name=like.hey%", &[("name", Like, "hey%", false)]);
        check("at=not.is.null", &[("at", Is, "null", true)]);
        check("at=isdistinct.x", &[("at", IsDistinct, "x", false)]);
        check("id=gt.0,id=lt.100", &[("id", Gt, "0", false), ("id", Lt, "100", false)]);
        check("id=gt.0 , id=lt.100", &[("id", Gt, "0", false), ("id", Lt, "100", false)]);
        check("id=in.()", &[("id", In, "{}", false)]);
        check("id=in.(1,2),b=eq.x", &[("id", In, "{1,2}", false), ("b", Eq, "x", false)]);
        check(r#"n=in.("a,b","c\"d")"#, &[("n", In, r#"{"a,b","c\"d"}"#, false)]);
        check("Größe=eq.ü", &[("Größe", Eq, "ü", false)]);
        for (name, operator) in Operator::NAMES {
            let value = if operator == In { "(x)" } else { "x" };
            let operand = if operator == In { "{x}" } else { "x" };
            check(&format!("c={name}.{value}"), &[("c", operator, operand, false)]);
            check(&format!("c=not.{name}.{value}"), &[("c", operator, operand, true)]);
            assert_eq!(operator.name(), name);
        }
    }

    #[test]
    fn quotes_protect_what_has_a_meaning() {
        use Operator::Eq;
        check(r#"n=eq."a,b""#, &[("n", Eq, "a,b", false)]);
        check(r#"n=eq."a\"b\\c""#, &[("n", Eq, r#"a"b\c"#, false)]);
        check(r#"n=eq."é\é",m=eq.1"#, &[("n", Eq, "éé", false), ("m", Eq, "1", false)]);
        check(r#"n=eq."a)b(",m=eq.1"#, &[("n", Eq, "a)b(", false), ("m", Eq, "1", false)]);
        check(r#"n=eq."""#, &[("n", Eq, "", false)]);
        // Quotes that do not enclose the whole value are ordinary characters.
        check(r#"n=eq."a"b"#, &[("n", Eq, r#""a"b"#, false)]);
        check(r#"n=eq."a"#, &[("n", Eq, r#""a"#, false)]);
        check(r#"n=eq."a\"#, &[("n", Eq, r#""a\"#, false)]);
        check(r#"n=eq."a,m=eq.1"#, &[("n", Eq, r#""a,m=eq.1"#, false)]);
        check(r#"n=eq.a"b,m=eq.c"d"#, &[("n", Eq, r#"a"b"#, false), ("m", Eq, r#"c"d"#, false)]);
        // Parentheses protect commas anywhere.
        check("n=eq.f(a,b),m=eq.1", &[("n", Eq, "f(a,b)", false), ("m", Eq, "1", false)]);
        check("n=eq.a),m=eq.1", &[("n", Eq, "a)", false), ("m", Eq, "1", false)]);
    }

    #[test]
    fn malformed_text_is_named_as_clients_know_it() {
        refuse("nonsense", r#"["nonsense"]"#);
        refuse("undefined", r#"["undefined"]"#);
        refuse("id=foo.1", r#"["foo", "1"]"#);
        refuse("id=foo.1.2", r#"["foo", "1.2"]"#);
        refuse("id=not.foo.1", r#"["foo", "1"]"#);
        refuse("id=eq", r#"["eq"]"#);
        refuse("id=not.eq", r#"["eq"]"#);
        refuse("id=EQ.1", r#"["EQ", "1"]"#);
        refuse(r#"id=a"b.1"#, r#"["a\"b", "1"]"#);
        refuse("id=in.1", "`in` filter value must be wrapped by parentheses");
        refuse("id=in.(", "`in` filter value must be wrapped by parentheses");
        refuse("id=in.1,2", "`in` filter value must be wrapped by parentheses");
        for text in [",", "id=eq.1,", ",id=eq.1", "id=eq.1,,id=eq.2", "id=eq.1, ,id=eq.2"] {
            refuse(text, "filter must not contain empty segments (check for extra commas)");
        }
    }

    #[test]
    fn length_and_count_are_bounded() {
        let long = format!("id=eq.{}", "x".repeat(FILTER_BYTES_MAX - 6));
        assert!(Filter::parse(&long).is_ok());
        refuse(&format!("{long}x"), "filter must not be longer than 32768 bytes");
        let many = vec!["id=eq.1"; CONDITION_COUNT_MAX].join(",");
        assert_eq!(Filter::parse(&many).unwrap().conditions.len(), CONDITION_COUNT_MAX);
        refuse(&format!("{many},id=eq.1"), "filter must not have more than 64 conditions");
    }

    #[test]
    fn operands_are_not_printed_for_logs() {
        let filter = Filter::parse("owner=eq.secret").unwrap();
        assert!(!format!("{filter:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in any::<String>()) {
            let _ = Filter::parse(&text);
        }

        #[test]
        fn any_text_of_meaningful_characters_parses_or_is_refused(text in r#"[a=.,()"\\ {}énotqin]{0,60}"#) {
            if let Ok(filter) = Filter::parse(&text) {
                prop_assert_eq!(Filter::parse(&format!(" {text} ")), Ok(filter));
            }
        }

        /// Quoted as the stock clients quote, every value arrives as it was.
        #[test]
        fn quoted_values_arrive_as_they_were(values in prop::collection::vec(any::<String>(), 1..4)) {
            let quoted = |value: &String| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let text: Vec<_> = values.iter().map(|value| format!("c=eq.{}", quoted(value))).collect();
            let filter = Filter::parse(&text.join(",")).unwrap();
            let found: Vec<_> = filter.conditions.into_iter().map(|condition| condition.operand).collect();
            prop_assert_eq!(found, values);
        }
    }
}

//! A compiled filter: a decision about a row image that costs no I/O, or the question for Postgres.
//!
//! Comparisons follow the column's type and collation. Patterns (`like`, `ilike`, `match`, `imatch`) follow the
//! database's default collation, as not every collation has patterns.
//!
//! **Invariant:** a verdict other than [`Verdict::Ask`] is the one Postgres would give.

use std::cmp::Ordering;

use crate::change::{Datum, Oid, Type, TypeKind, Types};
use crate::wal::sql::{identifier, literal};

use super::compare::{Key, Kind};
use super::filter::Operator;
use crate::policy::pattern::Pattern;

/// What a row image is to a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The subscriber asked for it.
    Matches,
    /// The subscriber did not ask for it, or it lacks a column that the filter needs.
    Differs,
    /// Only Postgres can tell: see [`Predicate::sql`].
    Ask,
}

/// A filter on the columns of one table, ready to decide.
///
/// Holds for the table as it was checked: after a change of its columns or their types it must be made anew.
#[derive(Clone)]
pub struct Predicate {
    pub(super) conditions: Box<[CompiledCondition]>,
    pub(super) equality: Option<(usize, Box<[Box<str>]>)>,
}

/// Operands may be row values, which never reach a log.
impl std::fmt::Debug for Predicate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns: Vec<_> = self.conditions.iter().map(|it| (it.column, it.operator)).collect();
        f.debug_struct("Predicate").field("conditions", &columns).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub(super) struct CompiledCondition {
    pub(super) column: usize,
    pub(super) negated: bool,
    pub(super) operator: Operator,
    pub(super) test: Test,
    pub(super) operand: Box<str>,
    pub(super) base: Oid,
    pub(super) collated: Option<Box<ColumnPath>>,
}

/// A column by its names.
#[derive(Clone, Debug)]
pub(super) struct ColumnPath {
    pub(super) schema: Box<str>,
    pub(super) table: Box<str>,
    pub(super) column: Box<str>,
}

/// A condition before negation.
#[derive(Clone)]
pub(super) enum Test {
    Null,
    /// `is null` of a composite, which may hold for a value, and so may neither it nor its contrary.
    NullRow,
    /// `is true`, `is false`, or `is unknown` for `None`.
    Boolean(Option<bool>),
    Equal(Kind, Key<'static>),
    Distinct(Kind, Key<'static>),
    Order(Kind, Operator, Key<'static>),
    /// The keys are sorted.
    List {
        kind: Kind,
        keys: Box<[Key<'static>]>,
        has_null: bool,
    },
    Labels {
        holds: Box<[Box<str>]>,
        fails: Box<[Box<str>]>,
    },
    Like(Pattern),
    Ask,
}

/// SQL's truth values, and not knowing which.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Truth {
    True,
    False,
    Null,
    Ask,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Predicate {
    /// Tests a row image; `value` gives the value of each of [`crate::change::Table::columns`] by its place there.
    pub fn test<'a>(&self, value: impl Fn(usize) -> &'a Datum) -> Verdict {
        let mut verdict = Verdict::Matches;
        for condition in &self.conditions {
            match condition.test(value(condition.column)) {
                Verdict::Matches => {}
                // Nothing that Postgres could say about another condition would change this.
                Verdict::Differs => return Verdict::Differs,
                Verdict::Ask => verdict = Verdict::Ask,
            }
        }
        verdict
    }

    /// The predicate as an SQL condition that is true where it matches, and false elsewhere; never NULL.
    ///
    /// `column` gives the SQL of a column's value in its text form, under the default collation and NULL for
    /// NULL: a parameter, or a column of such. All must be present, as a row image that lacks one needs no
    /// question. Parsed with any `search_path`, it means the same.
    pub fn sql(&self, column: &dyn Fn(usize) -> String, types: &Types) -> String {
        let conditions: Vec<_> = self
            .conditions
            .iter()
            // A type that is gone has no values that could match.
            .map(|condition| condition.sql(column, types).unwrap_or_else(|| "false".to_owned()))
            .collect();
        if conditions.is_empty() { "true".to_owned() } else { format!("({})", conditions.join(" and ")) }
    }

    /// A column, by its place in [`crate::change::Table::columns`], and the texts of which its value must have one for a row
    /// to match. `None` if the filter is not of that kind.
    pub fn equality(&self) -> Option<(usize, &[Box<str>])> {
        self.equality.as_ref().map(|(column, texts)| (*column, &**texts))
    }

    /// The columns it needs, by their place in [`crate::change::Table::columns`].
    pub fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.conditions.iter().map(|condition| condition.column)
    }
}

impl CompiledCondition {
    fn test(&self, datum: &Datum) -> Verdict {
        let truth = match datum {
            // An absent value may be any; the reference does not deliver, whatever the operator.
            Datum::Absent => return Verdict::Differs,
            Datum::Null => self.test_null(),
            Datum::Text(_) => match datum.text() {
                Some(text) => self.test.holds(text),
                None => Truth::Ask,
            },
        };
        match truth {
            Truth::Ask => Verdict::Ask,
            Truth::Null => Verdict::Differs,
            // `neq` is `eq`, negated: NULL satisfies neither.
            truth => {
                let negated = self.negated != (self.operator == Operator::Neq);
                if (truth == Truth::True) == negated { Verdict::Differs } else { Verdict::Matches }
            }
        }
    }

    /// Whether it holds for NULL, on which all comparisons but two are strict.
    fn test_null(&self) -> Truth {
        match (&self.test, self.operator) {
            (Test::Null | Test::NullRow | Test::Boolean(None), _) | (_, Operator::IsDistinct) => Truth::True,
            (Test::Boolean(Some(_)), _) => Truth::False,
            // Nothing is in an empty list, not even possibly.
            (Test::List { keys, has_null: false, .. }, _) if keys.is_empty() => Truth::False,
            (Test::Ask, Operator::In) => Truth::Ask,
            _ => Truth::Null,
        }
    }

    fn sql(&self, column: &dyn Fn(usize) -> String, types: &Types) -> Option<String> {
        let base = types.get(self.base)?;
        let value = format!("{}::text::{}", column(self.column), base.sql_name());
        let value = match &self.collated {
            None => value,
            // The collation of a column reference outranks the default one of the value.
            Some(path) => format!(
                "coalesce((null::{}.{}).{}, {value})",
                identifier(&path.schema),
                identifier(&path.table),
                identifier(&path.column)
            ),
        };
        let symbol = symbol(self.operator, base);
        let operand = literal(&self.operand);
        let comparison = match self.operator {
            // `is not null` is more than the negation of `is null`, where there are composites.
            Operator::Is => {
                let not = if self.negated { "not " } else { "" };
                let keyword = match &self.test {
                    Test::Boolean(Some(true)) => "true",
                    Test::Boolean(Some(false)) => "false",
                    Test::Boolean(None) => "unknown",
                    _ => "null",
                };
                return Some(format!("({value} is {not}{keyword})"));
            }
            Operator::In => format!("{value} {symbol} any ({operand}::{})", list_name(base)),
            Operator::Like if is_builtin(base, &["bytea"]) => {
                format!("{value} {symbol} {operand}::{}", base.sql_name())
            }
            Operator::Like | Operator::Ilike | Operator::Match | Operator::Imatch => {
                format!("{value} {symbol} {operand}::text")
            }
            Operator::IsDistinct => format!("({value} {symbol} {operand}::{}) is not true", base.sql_name()),
            _ => format!("{value} {symbol} {operand}::{}", base.sql_name()),
        };
        let not = if self.negated { "not " } else { "" };
        Some(format!("coalesce({not}({comparison}), false)"))
    }
}

impl Test {
    /// Whether it holds for a value that is not NULL.
    fn holds(&self, text: &str) -> Truth {
        match self {
            Self::Null => Truth::False,
            Self::Boolean(expected) => match (expected, text) {
                (None, _) => Truth::False,
                (Some(expected), "t") => (*expected).into(),
                (Some(expected), "f") => (!expected).into(),
                _ => Truth::Ask,
            },
            Self::Equal(kind, operand) => kind.key(text).map_or(Truth::Ask, |key| (key == *operand).into()),
            Self::Distinct(kind, operand) => {
                kind.key(text).map_or(Truth::Ask, |key| (key != *operand).into())
            }
            Self::Order(kind, operator, operand) => {
                kind.key(text).map_or(Truth::Ask, |key| order_holds(*operator, key.cmp(operand)).into())
            }
            Self::List { kind, keys, has_null } => match kind.key(text) {
                None => Truth::Ask,
                Some(key) if keys.binary_search(&key).is_ok() => Truth::True,
                // The value might equal the unknown one.
                Some(_) if *has_null => Truth::Null,
                Some(_) => Truth::False,
            },
            Self::Labels { holds, fails } => {
                let among = |labels: &[Box<str>]| labels.iter().any(|label| &**label == text);
                match (among(holds), among(fails)) {
                    (true, _) => Truth::True,
                    (_, true) => Truth::False,
                    _ => Truth::Ask,
                }
            }
            Self::Like(pattern) => pattern.matches(text).map_or(Truth::Ask, Truth::from),
            Self::NullRow | Self::Ask => Truth::Ask,
        }
    }
}

pub(super) fn order_holds(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Lt => order.is_lt(),
        Operator::Lte => order.is_le(),
        Operator::Gt => order.is_gt(),
        Operator::Gte => order.is_ge(),
        _ => order.is_eq(),
    }
}

pub(super) fn is_builtin(base: &Type, names: &[&str]) -> bool {
    base.kind == TypeKind::Base && &*base.schema == "pg_catalog" && names.contains(&&*base.name)
}

/// The operator between value and operand, found whatever the `search_path`. Those of an extension's type are
/// in the schema of the type; enums, arrays, ranges and composites share Postgres's own.
pub(super) fn symbol(operator: Operator, base: &Type) -> String {
    let schema = if base.kind == TypeKind::Base { &*base.schema } else { "pg_catalog" };
    let symbol = match operator {
        Operator::Eq | Operator::In | Operator::Is | Operator::IsDistinct => "=",
        // Not the negation of `=`: a point has the one and not the other.
        Operator::Neq => "<>",
        Operator::Lt => "<",
        Operator::Lte => "<=",
        Operator::Gt => ">",
        Operator::Gte => ">=",
        Operator::Like => "~~",
        Operator::Ilike => "~~*",
        Operator::Match => "~",
        Operator::Imatch => "~*",
    };
    format!("operator({}.{symbol})", identifier(schema))
}

/// The type of lists of values. A list of arrays is an array itself.
pub(super) fn list_name(element: &Type) -> String {
    match element.kind {
        TypeKind::Array { .. } => element.sql_name(),
        _ => format!("{}[]", element.sql_name()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{binding, checked, predicate, row, table, types};
    use super::*;

    fn verdict(filter: &str, column: &str, value: Option<&str>) -> Verdict {
        let row = row(column, value);
        predicate(filter).test(|index| &row[index])
    }

    #[test]
    fn null_satisfies_a_comparison_neither_plain_nor_negated() {
        use Verdict::{Differs, Matches};
        for (filter, expected) in [
            ("int4=eq.1", Differs),
            ("int4=not.eq.1", Differs),
            ("int4=neq.1", Differs),
            ("int4=not.neq.1", Differs),
            ("int4=gt.1", Differs),
            ("int4=not.gt.1", Differs),
            ("int4=in.(1)", Differs),
            ("int4=not.in.(1)", Differs),
            ("int4=in.()", Differs),
            ("int4=not.in.()", Matches),
            ("int4=is.null", Matches),
            ("int4=not.is.null", Differs),
            ("int4=isdistinct.1", Matches),
            ("int4=not.isdistinct.1", Differs),
        ] {
            assert_eq!(verdict(filter, "int4", None), expected, "{filter}");
        }
        for (filter, expected) in [
            ("bool=is.true", Differs),
            ("bool=not.is.true", Matches),
            ("bool=is.false", Differs),
            ("bool=is.unknown", Matches),
            ("bool=not.is.unknown", Differs),
        ] {
            assert_eq!(verdict(filter, "bool", None), expected, "{filter}");
        }
    }

    #[test]
    fn values_are_compared_as_their_type() {
        use Verdict::{Ask, Differs, Matches};
        for (filter, column, value, expected) in [
            ("", "int4", "5", Matches),
            ("int4=eq.5", "int4", "5", Matches),
            ("int4=eq.5", "int4", "50", Differs),
            ("int4=lt.10", "int4", "9", Matches),
            ("int4=gte.10", "int4", "9", Differs),
            ("int4=gt.0,int4=lt.10", "int4", "5", Matches),
            ("int4=gt.0,int4=lt.10", "int4", "15", Differs),
            ("int4=in.(1,5)", "int4", "5", Matches),
            ("int4=not.in.(1,5)", "int4", "6", Matches),
            ("int4=not.in.(1,null)", "int4", "6", Differs),
            ("int4=is.null", "int4", "6", Differs),
            ("int4=isdistinct.6", "int4", "6", Differs),
            ("int4=not.isdistinct.6", "int4", "6", Matches),
            ("numeric=eq.1.50", "numeric", "1.5", Matches),
            ("bool=eq.true", "bool", "t", Matches),
            ("bool=is.false", "bool", "f", Matches),
            ("bool=is.false", "bool", "t", Differs),
            (
                "uuid=eq.A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                "uuid",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                Matches,
            ),
            ("mood=lt.happy", "mood", "ok", Matches),
            ("mood=lt.ok", "mood", "ok", Differs),
            ("mood=lt.ok", "mood", "newer", Ask),
            ("mood=lt.newer", "mood", "ok", Ask),
            ("mood=eq.ok", "mood", "newer", Differs),
            ("text=eq.a", "text", "a", Matches),
            ("text=like.a%", "text", "abc", Matches),
            ("text=not.like.a%", "text", "abc", Differs),
            (r"text=like.a\", "text", "a", Ask),
            ("text=ilike.a%", "text", "abc", Ask),
            ("text=match.a", "text", "abc", Ask),
            // Order needs the collation; equality only that it be deterministic.
            ("text=lt.b", "text", "a", Ask),
            ("ci=eq.a", "ci", "a", Ask),
            ("json=eq.1", "json", "1", Ask),
            ("_int4=eq.{1}", "_int4", "{1}", Ask),
            // The moment is read anew each time.
            ("timestamptz=gt.now", "timestamptz", "2024-01-01 00:00:00+00", Ask),
            ("timestamptz=gt.2024-01-01 00:00:00+00", "timestamptz", "2024-01-02 00:00:00+00", Matches),
            // What is known to differ needs no question.
            ("text=ilike.a%,text=eq.b", "text", "abc", Differs),
            ("text=ilike.a%,text=eq.abc", "text", "abc", Ask),
        ] {
            assert_eq!(verdict(filter, column, Some(value)), expected, "{filter} on {value}");
        }
    }

    #[test]
    fn a_row_without_a_filtered_column_differs() {
        for filter in ["text=eq.a", "text=not.eq.a", "text=is.null", "text=ilike.a", "text=not.in.()"] {
            assert_eq!(verdict(filter, "int4", Some("1")), Verdict::Differs, "{filter}");
        }
        assert_eq!(verdict("", "int4", Some("1")), Verdict::Matches);
    }

    #[test]
    fn without_canonical_texts_postgres_is_asked() {
        let checked = checked(&binding("int4=eq. 5,text=eq.a")).unwrap();
        let predicate = checked.compile(Vec::new());
        let mut row = row("int4", Some("5"));
        row[1] = Datum::Text("a".into());
        assert_eq!(predicate.test(|index| &row[index]), Verdict::Ask);
    }

    fn sql(filter: &str, expected: &str) {
        assert_eq!(predicate(filter).sql(&|column| format!("r.c{column}"), &types()), expected, "{filter}");
    }

    #[test]
    fn questions_mean_the_same_under_every_setting() {
        sql("", "true");
        sql(
            "int4=eq.5",
            r#"(coalesce((r.c0::text::"pg_catalog"."int4" operator("pg_catalog".=) '5'::"pg_catalog"."int4"), false))"#,
        );
        sql(
            "text=not.ilike.it's,bool=is.unknown",
            r#"(coalesce(not (r.c1::text::"pg_catalog"."text" operator("pg_catalog".~~*) 'it''s'::text), false) and (r.c2::text::"pg_catalog"."bool" is unknown))"#,
        );
        sql(
            r"short=neq.\",
            r#"(coalesce((r.c7::text::"pg_catalog"."text" operator("pg_catalog".<>)  E'\\'::"pg_catalog"."text"), false))"#,
        );
        sql(
            "name=isdistinct.x",
            r#"(coalesce(((coalesce((null::"rec"."plain")."name", r.c14::text::"pg_catalog"."text") operator("pg_catalog".=) 'x'::"pg_catalog"."text") is not true), false))"#,
        );
        sql(
            "citext=in.(a,b)",
            r#"(coalesce((r.c11::text::"extensions"."citext" operator("extensions".=) any ('{a,b}'::"extensions"."citext"[])), false))"#,
        );
    }

    fn equality(filter: &str, expected: Option<(&str, &[&str])>) {
        let predicate = predicate(filter);
        let table = table();
        let found = predicate.equality().map(|(column, texts)| {
            (&*table.columns[column].name, texts.iter().map(|text| &**text).collect::<Vec<_>>())
        });
        assert_eq!(found, expected.map(|(column, texts)| (column, texts.to_vec())), "{filter}");
    }

    #[test]
    fn demanded_values_are_those_of_equality() {
        equality("int4=eq.5", Some(("int4", &["5"])));
        equality("int4=in.(5,4,5,null)", Some(("int4", &["4", "5"])));
        equality("int4=in.()", Some(("int4", &[])));
        equality("int4=in.(1,2,3),text=eq.a", Some(("text", &["a"])));
        equality("int4=gt.5,bool=eq.true", Some(("bool", &["t"])));
        equality(
            "uuid=eq.A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            Some(("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"])),
        );
        equality("mood=eq.ok", Some(("mood", &["ok"])));
        for filter in [
            "",
            "int4=not.eq.5",
            "int4=neq.5",
            "int4=not.neq.5",
            "int4=gt.5",
            "numeric=eq.5",
            "bpchar=eq.a",
            "ci=eq.a",
            "citext=eq.a",
            "timestamptz=eq.now",
        ] {
            equality(filter, None);
        }
    }

    #[test]
    fn operands_are_not_printed_for_logs() {
        assert!(!format!("{:?}", predicate("text=eq.secret,text=in.(secret)")).contains("secret"));
    }
}

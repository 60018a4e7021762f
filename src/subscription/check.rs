//! A binding's filter against one table: checked, then compiled.
//!
//! [`check`] does what the catalog alone allows and leaves a list of [`Cast`]s: operands that Postgres itself
//! must read. Their canonical texts make a [`Predicate`]. Operands in an obvious form, such as a plain integer
//! or a UUID, need no cast, so that most subscriptions cost the database nothing.

use crate::change::{Oid, Table, TableColumn, Type, TypeKind, Types};
use crate::wal::sql::identifier;

use super::array::Array;
use super::binding::{Binding, condition_name};
use super::compare::{Key, Kind};
use super::filter::{Condition, Operator};
use super::predicate::{
    ColumnPath, CompiledCondition, Predicate, Test, is_builtin, list_name, order_holds, symbol,
};
use crate::policy::pattern::Pattern;

/// The most values in the list of `in`. More are [`SubscribeError::TooManyValues`].
pub const IN_VALUE_COUNT_MAX: usize = 100;

/// `pg_collation.oid` of the database's default collation.
const DEFAULT_COLLATION: Oid = 100;

/// Words in dates and times that mean another moment each time they are read.
const MOVING_WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// Why a table cannot be subscribed to as asked. Displays the words of the reference's database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// A filter on a column that does not exist or that the role may not select.
    #[error("invalid column for filter {0}")]
    FilterColumn(String),
    /// A selected column that does not exist or that the role may not select.
    #[error("invalid column for select {0}")]
    SelectColumn(String),
    /// The catalog has no usable type for the column.
    #[error("failed to lookup type for column {0}")]
    ColumnType(String),
    /// More than [`IN_VALUE_COUNT_MAX`].
    #[error("too many values for `in` filter. Maximum {IN_VALUE_COUNT_MAX}")]
    TooManyValues,
    /// `is` with another word.
    #[error("invalid value for is filter: must be null, true, false, or unknown")]
    Keyword,
    /// `is true`, `is false` or `is unknown` on a column that is not boolean.
    #[error("is {keyword} filter requires a boolean column, got {type_name}")]
    NotBoolean {
        /// The word.
        keyword: String,
        /// The column's type, as SQL prints it.
        type_name: String,
    },
    /// A pattern operator on a column that has none.
    #[error("operator {operator} requires a text-compatible column type, got {type_name}")]
    NotText {
        /// The operator's name in filter text.
        operator: &'static str,
        /// The column's type, as SQL prints it.
        type_name: String,
    },
}

impl SubscribeError {
    /// The `system` message that the client gets.
    pub fn message(&self, binding: &Binding) -> String {
        binding.exception("P0001", condition_name("P0001"), &self.to_string())
    }
}

/// An operand that Postgres must check and bring into its canonical form.
#[derive(Clone, PartialEq, Eq)]
pub struct Cast {
    /// The column's type.
    pub type_id: Oid,
    /// The operand as the client wrote it: the query's only parameter.
    pub text: String,
    operator: Operator,
    form: Form,
}

/// An operand may be a row value, which never reaches a log.
impl std::fmt::Debug for Cast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cast")
            .field("type_id", &self.type_id)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// What the text of a [`Cast`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A value of the column's type.
    Value,
    /// An array of values of the column's type.
    List,
    /// A `LIKE` pattern.
    Text,
    /// A regular expression.
    Expression,
}

impl Cast {
    /// The query that checks the operand: parameter `$1` is [`Cast::text`], as text; the first column of its
    /// only row is the canonical text. It also fails when the type has no such operator, so that no later
    /// comparison can.
    ///
    /// To be run with the text settings of the replication stream: `DateStyle` ISO, `IntervalStyle` postgres,
    /// `TimeZone` UTC, `bytea_output` hex. `None` if the type is no longer known.
    pub fn query(&self, types: &Types) -> Option<String> {
        let declared = types.get(self.type_id)?;
        let base = types.base(self.type_id)?;
        let symbol = symbol(self.operator, base);
        Some(match self.form {
            Form::Value => format!(
                "select pg_catalog.format('%s', x), x {symbol} x from (select $1::text::{} as x) as v",
                declared.sql_name()
            ),
            Form::List => format!(
                "select pg_catalog.format('%s', x), null::{} {symbol} any (x) from (select $1::text::{} as x) as v",
                base.sql_name(),
                list_name(declared)
            ),
            Form::Text => "select $1::text".to_owned(),
            Form::Expression => "select $1::text, '' operator(pg_catalog.~) $1::text".to_owned(),
        })
    }

    /// The `system` message that the client gets when the query failed.
    pub fn refusal(&self, binding: &Binding, sqlstate: &str, message: &str) -> String {
        match self.form {
            Form::Expression => {
                let operator = self.operator.name();
                let message = format!("invalid regular expression for {operator} filter: {message}");
                binding.exception("P0001", condition_name("P0001"), &message)
            }
            Form::Value | Form::List | Form::Text => {
                binding.exception(sqlstate, condition_name(sqlstate), message)
            }
        }
    }
}

/// A filter whose columns and operators suit a table; its operands are not yet checked.
#[derive(Clone, Debug)]
pub struct Checked {
    conditions: Vec<CheckedCondition>,
    casts: Vec<Cast>,
}

/// One condition of a [`Checked`] filter.
#[derive(Clone, Debug)]
struct CheckedCondition {
    column: usize,
    operator: Operator,
    negated: bool,
    operand: Operand,
    kind: Kind,
    base: Oid,
    delimiter: u8,
    /// Whose collation to compare by, if it is not the default one.
    collated: Option<Box<ColumnPath>>,
    /// All labels of an enum in their order, where the operator asks for order.
    labels: Box<[Box<str>]>,
}

#[derive(Clone)]
enum Operand {
    /// As it is.
    Canonical(String),
    /// The result of the cast with this number.
    Cast(usize),
    /// Checked by a cast, but to be read anew for each row.
    Moving(String),
}

impl std::fmt::Debug for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Canonical(_) => "Canonical",
            Self::Cast(_) => "Cast",
            Self::Moving(_) => "Moving",
        })
    }
}

/// Checks a binding against a table that it covers. `selectable` says which of [`Table::columns`] the
/// subscriber's role may select.
///
/// # Errors
/// The first thing that makes the subscription impossible, in the order in which the reference looks.
pub fn check(
    binding: &Binding,
    table: &Table,
    types: &Types,
    selectable: &dyn Fn(usize) -> bool,
) -> Result<Checked, SubscribeError> {
    let mut checked = Checked { conditions: Vec::new(), casts: Vec::new() };
    let find = |name: &str| table.column(name).filter(|(index, _)| selectable(*index));
    for condition in &binding.filter.conditions {
        let (index, column) =
            find(&condition.column).ok_or_else(|| SubscribeError::FilterColumn(condition.column.clone()))?;
        checked.push(condition, index, column, table, types)?;
    }
    for name in binding.select.iter().flatten() {
        if find(name).is_none() {
            return Err(SubscribeError::SelectColumn(name.clone()));
        }
    }
    Ok(checked)
}

impl Checked {
    fn push(
        &mut self,
        condition: &Condition,
        index: usize,
        column: &TableColumn,
        table: &Table,
        types: &Types,
    ) -> Result<(), SubscribeError> {
        let unknown = || SubscribeError::ColumnType(condition.column.clone());
        let declared = types.get(column.type_id).ok_or_else(unknown)?;
        let base = types.base(column.type_id).ok_or_else(unknown)?;
        let kind = Kind::of(base, column);
        let operator = condition.operator;
        let mut cast = |form| {
            let text = condition.operand.clone();
            self.casts.push(Cast { type_id: column.type_id, text, operator, form });
            Operand::Cast(self.casts.len() - 1)
        };
        let as_it_is = || Operand::Canonical(condition.operand.clone());
        let not_text = || SubscribeError::NotText {
            operator: operator.name(),
            type_name: printed_name(declared, types),
        };

        let operand = match operator {
            Operator::Is => {
                check_keyword(&condition.operand, base, || printed_name(declared, types))?;
                as_it_is()
            }
            Operator::Like if is_builtin(base, &["bytea"]) => cast(Form::Value),
            Operator::Like | Operator::Ilike => {
                if !is_text(base) {
                    return Err(not_text());
                }
                // Patterns have no form to check, but Postgres has no text with this character.
                if condition.operand.contains('\0') { cast(Form::Text) } else { as_it_is() }
            }
            Operator::Match | Operator::Imatch => {
                if !is_text(base) {
                    return Err(not_text());
                }
                cast(Form::Expression)
            }
            Operator::In => {
                let list = Array::parse(&condition.operand, declared.delimiter);
                if list.as_ref().is_some_and(|list| list.length > IN_VALUE_COUNT_MAX) {
                    return Err(SubscribeError::TooManyValues);
                }
                // Whether a type has equality at all is no less a question for an empty list.
                let plain = !matches!(kind, Kind::Row | Kind::Opaque)
                    && list.is_some_and(|list| {
                        !list.nested
                            && list.elements.iter().flatten().all(|text| is_plain(kind, declared, text))
                    });
                if plain { as_it_is() } else { cast(Form::List) }
            }
            _ if is_plain(kind, declared, &condition.operand) => as_it_is(),
            _ => cast(Form::Value),
        };
        let operand = match operand {
            Operand::Cast(_) if kind.has_moving_words() && has_moving_word(&condition.operand) => {
                Operand::Moving(condition.operand.clone())
            }
            operand => operand,
        };
        let ordering = matches!(operator, Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte);
        let labels = match &base.kind {
            TypeKind::Enum { labels } if ordering => labels.clone(),
            _ => Box::default(),
        };
        let compares = ordering
            || matches!(operator, Operator::Eq | Operator::Neq | Operator::In | Operator::IsDistinct);
        // The collation of a `name` is the one it has anyway.
        let collated = compares
            && column.collation != 0
            && column.collation != DEFAULT_COLLATION
            && !matches!(kind, Kind::Name { ordered: true });
        self.conditions.push(CheckedCondition {
            column: index,
            operator,
            negated: condition.negated,
            operand,
            kind,
            base: base.oid,
            delimiter: declared.delimiter,
            collated: collated.then(|| {
                Box::new(ColumnPath {
                    schema: table.schema.clone(),
                    table: table.name.clone(),
                    column: column.name.clone(),
                })
            }),
            labels,
        });
        Ok(())
    }

    /// The operands that Postgres must check; each by [`Cast::query`].
    pub fn casts(&self) -> &[Cast] {
        &self.casts
    }

    /// The filter with its operands: the canonical text of each cast, in the order of [`Checked::casts`].
    ///
    /// With too few texts the conditions that lack theirs ask Postgres about every row.
    pub fn compile(self, canonical: Vec<String>) -> Predicate {
        let mut conditions = Vec::with_capacity(self.conditions.len());
        let mut equality: Option<(usize, Box<[Box<str>]>)> = None;
        for checked in self.conditions {
            let (operand, decidable) = match &checked.operand {
                Operand::Canonical(text) => (text.clone(), true),
                Operand::Moving(text) => (text.clone(), false),
                Operand::Cast(number) => match canonical.get(*number) {
                    Some(text) => (text.clone(), true),
                    None => {
                        (self.casts.get(*number).map(|cast| cast.text.clone()).unwrap_or_default(), false)
                    }
                },
            };
            let test = if decidable { checked.test(&operand) } else { Test::Ask };
            let texts = checked.texts(&test, &operand);
            if let Some(texts) = texts
                && equality.as_ref().is_none_or(|(_, best)| texts.len() < best.len())
            {
                equality = Some((checked.column, texts));
            }
            conditions.push(CompiledCondition {
                column: checked.column,
                negated: checked.negated,
                operator: checked.operator,
                test,
                operand: operand.into(),
                base: checked.base,
                collated: checked.collated,
            });
        }
        Predicate { conditions: conditions.into(), equality }
    }
}

impl CheckedCondition {
    fn test(&self, operand: &str) -> Test {
        let key = || self.kind.key(operand).map(Key::into_owned);
        match self.operator {
            Operator::Is => match operand {
                "null" if self.kind == Kind::Row => Test::NullRow,
                "null" => Test::Null,
                "true" => Test::Boolean(Some(true)),
                "false" => Test::Boolean(Some(false)),
                _ => Test::Boolean(None),
            },
            Operator::Eq | Operator::Neq => key().map_or(Test::Ask, |key| Test::Equal(self.kind, key)),
            Operator::IsDistinct => key().map_or(Test::Ask, |key| Test::Distinct(self.kind, key)),
            Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte if self.kind == Kind::Label => {
                self.labels_test(operand)
            }
            Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte => match key() {
                Some(key) if self.kind.is_ordered() => Test::Order(self.kind, self.operator, key),
                _ => Test::Ask,
            },
            Operator::In => self.list_test(operand).unwrap_or(Test::Ask),
            Operator::Like => match self.kind {
                Kind::Text { .. } | Kind::Name { .. } | Kind::Padded { .. } => {
                    Pattern::parse(operand).map_or(Test::Ask, Test::Like)
                }
                _ => Test::Ask,
            },
            Operator::Ilike | Operator::Match | Operator::Imatch => Test::Ask,
        }
    }

    fn labels_test(&self, operand: &str) -> Test {
        let place = |text: &str| self.labels.iter().position(|label| &**label == text);
        let Some(operand) = place(operand) else {
            // A label that is newer than what is known of the type.
            return Test::Ask;
        };
        let (mut holds, mut fails) = (Vec::new(), Vec::new());
        for (place, label) in self.labels.iter().enumerate() {
            let side = if order_holds(self.operator, place.cmp(&operand)) { &mut holds } else { &mut fails };
            side.push(label.clone());
        }
        Test::Labels { holds: holds.into(), fails: fails.into() }
    }

    fn list_test(&self, operand: &str) -> Option<Test> {
        let list = Array::parse(operand, self.delimiter)?;
        let mut keys = Vec::with_capacity(list.elements.len());
        for text in list.elements.iter().flatten() {
            keys.push(self.kind.key(text)?.into_owned());
        }
        keys.sort_unstable();
        keys.dedup();
        let has_null = list.elements.iter().any(Option::is_none);
        Some(Test::List { kind: self.kind, keys: keys.into(), has_null })
    }

    /// The texts of which the column must have one, if that can be said.
    fn texts(&self, test: &Test, operand: &str) -> Option<Box<[Box<str>]>> {
        if self.negated || !self.kind.is_equal_by_text() {
            return None;
        }
        // Some ways to ask for a boolean's text give the word, but the stream has the letter.
        let text = |text: &str| match (self.kind, text) {
            (Kind::Boolean, "true") => "t".into(),
            (Kind::Boolean, "false") => "f".into(),
            // A UUID that needed no cast may have been in upper case.
            (Kind::Uuid, text) => text.to_ascii_lowercase().into(),
            (_, text) => text.into(),
        };
        match (self.operator, test) {
            (Operator::Eq, Test::Equal(..)) => Some(Box::new([text(operand)])),
            (Operator::In, Test::List { .. }) => {
                let list = Array::parse(operand, self.delimiter)?;
                let mut texts: Vec<Box<str>> =
                    list.elements.iter().flatten().map(|element| text(element)).collect();
                texts.sort_unstable();
                texts.dedup();
                Some(texts.into())
            }
            _ => None,
        }
    }
}

/// Whether a text is certainly a value of the type, in the stream's form.
fn is_plain(kind: Kind, declared: &Type, text: &str) -> bool {
    match &declared.kind {
        // Domains have constraints, which only Postgres can check.
        TypeKind::Domain { .. } => false,
        TypeKind::Enum { labels } => labels.iter().any(|label| &**label == text),
        _ => kind.is_plain(text),
    }
}

fn check_keyword(keyword: &str, base: &Type, type_name: impl Fn() -> String) -> Result<(), SubscribeError> {
    match keyword {
        "null" => Ok(()),
        "true" | "false" | "unknown" if is_builtin(base, &["bool"]) => Ok(()),
        "true" | "false" | "unknown" => {
            Err(SubscribeError::NotBoolean { keyword: keyword.to_owned(), type_name: type_name() })
        }
        _ => Err(SubscribeError::Keyword),
    }
}

fn has_moving_word(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    MOVING_WORDS.iter().any(|word| text.contains(word))
}

/// Whether a type has pattern operators for text. The reference knows fewer; nobody can rely on a refusal.
fn is_text(base: &Type) -> bool {
    is_builtin(base, &["text", "varchar", "bpchar", "name"])
        || (base.kind == TypeKind::Base && &*base.name == "citext")
}

/// A type's name as Postgres prints it for people.
fn printed_name(r#type: &Type, types: &Types) -> String {
    if let TypeKind::Array { element } = r#type.kind
        && let Some(element) = types.get(element)
    {
        return format!("{}[]", printed_name(element, types));
    }
    let builtin = &*r#type.schema == "pg_catalog";
    match &*r#type.name {
        "int2" if builtin => "smallint".to_owned(),
        "int4" if builtin => "integer".to_owned(),
        "int8" if builtin => "bigint".to_owned(),
        "float4" if builtin => "real".to_owned(),
        "float8" if builtin => "double precision".to_owned(),
        "bool" if builtin => "boolean".to_owned(),
        "varchar" if builtin => "character varying".to_owned(),
        "bpchar" if builtin => "character".to_owned(),
        "time" if builtin => "time without time zone".to_owned(),
        "timetz" if builtin => "time with time zone".to_owned(),
        "timestamp" if builtin => "timestamp without time zone".to_owned(),
        "timestamptz" if builtin => "timestamp with time zone".to_owned(),
        "varbit" if builtin => "bit varying".to_owned(),
        name => {
            let quoted = |name: &str| {
                let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
                    && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
                    && name != "char";
                if plain { name.to_owned() } else { identifier(name) }
            };
            match &*r#type.schema {
                "pg_catalog" | "public" => quoted(name),
                schema => format!("{}.{}", quoted(schema), quoted(name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{binding, checked, types};
    use super::*;

    fn refuse(filter: &str, words: &str) {
        assert_eq!(checked(&binding(filter)).unwrap_err().to_string(), words, "{filter}");
    }

    #[test]
    fn what_the_catalog_refuses_is_said_as_the_reference_says_it() {
        refuse("nope=eq.1", "invalid column for filter nope");
        refuse("secret=eq.1", "invalid column for filter secret");
        refuse("int4 =eq.1", "invalid column for filter int4 ");
        refuse("missing=eq.1", "failed to lookup type for column missing");
        refuse("int4=is.Null", "invalid value for is filter: must be null, true, false, or unknown");
        refuse("text=is.true", "is true filter requires a boolean column, got text");
        refuse("int4=is.unknown", "is unknown filter requires a boolean column, got integer");
        refuse("int4=like.1%", "operator like requires a text-compatible column type, got integer");
        refuse(
            "timestamptz=ilike.1%",
            "operator ilike requires a text-compatible column type, got timestamp with time zone",
        );
        refuse("mood=match.s", "operator match requires a text-compatible column type, got rec.mood");
        refuse("_int4=imatch.1", "operator imatch requires a text-compatible column type, got integer[]");
        refuse("bytea=ilike.a", "operator ilike requires a text-compatible column type, got bytea");
        let list = |count: usize| vec!["1"; count].join(",");
        refuse(&format!("int4=in.({})", list(101)), "too many values for `in` filter. Maximum 100");
        assert!(checked(&binding(&format!("int4=in.({})", list(100)))).is_ok());
        // The first that is wrong is named.
        refuse("nope=eq.1,text=is.true", "invalid column for filter nope");
        refuse("text=is.true,nope=eq.1", "is true filter requires a boolean column, got text");
    }

    #[test]
    fn pattern_operators_are_refused_on_no_text_column() {
        for column in ["text", "varchar", "bpchar", "citext", "short"] {
            for operator in ["like", "ilike", "match", "imatch"] {
                assert!(checked(&binding(&format!("{column}={operator}.a"))).is_ok(), "{column} {operator}");
            }
        }
        assert!(checked(&binding("bytea=like.a")).is_ok());
        assert!(checked(&binding("bool=is.unknown,text=is.null")).is_ok());
    }

    #[test]
    fn selected_columns_must_be_selectable() {
        let mut binding = binding("");
        binding.select = Some(vec!["text".to_owned(), "nope".to_owned()]);
        let error = checked(&binding).unwrap_err();
        assert_eq!(error.to_string(), "invalid column for select nope");
        assert_eq!(
            error.message(&binding),
            "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: *, schema: rec, table: plain, filters: [], select: [\"text\", \"nope\"]]. Exception: ERROR P0001 (raise_exception) invalid column for select nope"
        );
        binding.select = Some(vec!["secret".to_owned()]);
        assert_eq!(checked(&binding).unwrap_err(), SubscribeError::SelectColumn("secret".to_owned()));
        // A filter may use a column that is not selected.
        let mut binding = super::super::fixture::binding("text=eq.a");
        binding.select = Some(vec!["int4".to_owned()]);
        assert!(checked(&binding).is_ok());
    }

    fn casts(filter: &str, expected: &[&str]) {
        let checked = checked(&binding(filter)).unwrap();
        let found: Vec<_> =
            checked.casts().iter().map(|cast| cast.query(&types()).expect("a known type")).collect();
        assert_eq!(found, expected, "{filter}");
    }

    #[test]
    fn postgres_is_asked_about_operands_that_are_not_plain() {
        casts("int4=eq.5,text=eq.x,text=like.%,mood=gt.sad,int4=in.(1,2,null),bool=is.true", &[]);
        let value = |type_name: &str, symbol: &str| {
            format!(
                "select pg_catalog.format('%s', x), x {symbol} x from (select $1::text::{type_name} as x) as v"
            )
        };
        casts("int4=eq.abc", &[&value(r#""pg_catalog"."int4""#, r#"operator("pg_catalog".=)"#)]);
        casts("mood=lte.angry", &[&value(r#""rec"."mood""#, r#"operator("pg_catalog".<=)"#)]);
        casts("short=eq.x", &[&value(r#""rec"."short""#, r#"operator("pg_catalog".=)"#)]);
        casts("citext=neq.x", &[&value(r#""extensions"."citext""#, r#"operator("extensions".<>)"#)]);
        casts(
            "int4=in.(1,x),int4=not.in.({1,2},{3,4})",
            &[r#"select pg_catalog.format('%s', x), null::"pg_catalog"."int4" operator("pg_catalog".=) any (x) from (select $1::text::"pg_catalog"."int4"[] as x) as v"#;
                2],
        );
        casts("text=match.(", &["select $1::text, '' operator(pg_catalog.~) $1::text"]);
        casts("text=like.\0", &["select $1::text"]);
    }

    #[test]
    fn what_postgres_refuses_is_said_as_the_reference_says_it() {
        let binding = binding("int4=eq.abc,text=match.(");
        let checked = checked(&binding).unwrap();
        let [value, expression] = checked.casts() else { panic!("two casts") };
        let refusal = value.refusal(&binding, "22P02", "invalid input syntax for type integer: \"abc\"");
        assert!(refusal.ends_with("Exception: ERROR 22P02 (invalid_text_representation) invalid input syntax for type integer: \"abc\""), "{refusal}");
        let refusal =
            expression.refusal(&binding, "2201B", "invalid regular expression: parentheses () not balanced");
        assert!(refusal.ends_with("Exception: ERROR P0001 (raise_exception) invalid regular expression for match filter: invalid regular expression: parentheses () not balanced"), "{refusal}");
    }

    #[test]
    fn operands_are_not_printed_for_logs() {
        let checked = checked(&binding("int4=eq.secret,text=eq.secret")).unwrap();
        assert!(!format!("{checked:?}").contains("secret"));
    }
}

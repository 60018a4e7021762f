//! One binding: an element of a join's `postgres_changes`, and what a client reads when it cannot be had.

use serde_json::{Map, Value};

use crate::change::Event;

use super::filter::{Filter, FilterError};
use super::inspect::{inspect_map, inspect_str, inspect_strings};

/// The most columns in `select`: as many as a table can have.
pub const SELECT_COUNT_MAX: usize = 1600;

/// Matches every schema or every table.
const ANY: &str = "*";

/// Which events a binding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Events {
    /// `*`
    All,
    /// One kind.
    Only(Event),
}

impl Events {
    /// Whether it is about this event.
    pub fn contains(self, event: Event) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == event,
        }
    }

    /// `*` or the name of the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => ANY,
            Self::Only(event) => event.name(),
        }
    }

    /// Upper and lower case are the same; what is no event means all of them.
    fn parse(value: Option<&Value>) -> Self {
        let name = value.and_then(Value::as_str).unwrap_or(ANY);
        [Event::Insert, Event::Update, Event::Delete]
            .into_iter()
            .find(|event| event.name().eq_ignore_ascii_case(name))
            .map_or(Self::All, Self::Only)
    }
}

/// A subscriber's interest in changes: some events of some tables, some rows of them, some columns of those.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Which events.
    pub event: Events,
    /// The schema, unquoted; `*` for all.
    pub schema: String,
    /// The table, unquoted; `*` for all of the schema.
    pub table: String,
    /// Which rows.
    pub filter: Filter,
    /// Which columns, besides the primary key; `None` for all. Never empty.
    pub select: Option<Vec<String>>,
}

/// Why an element of `postgres_changes` is no binding. Displays the `system` message that the client gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The filter is malformed.
    #[error("Error parsing `filter` params: {0}")]
    Filter(#[from] FilterError),
    /// `select` is a string.
    #[error(
        "Error parsing `select` params: expected a list of column name strings, e.g. select: [\"col1\", \"col2\"]"
    )]
    Select,
    /// `select` has more than [`SELECT_COUNT_MAX`] columns.
    #[error("Error parsing `select` params: expected at most {SELECT_COUNT_MAX} columns")]
    SelectTooLong,
    /// `select` without one table to take the columns from.
    #[error(
        "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name."
    )]
    SelectOnWildcard,
    /// No usable combination of `schema`, `table` and `filter`; the element as printed.
    #[error(
        "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: {0}"
    )]
    NoParams(String),
}

impl Binding {
    /// Reads one element of a join's `postgres_changes`, as the client sent it.
    ///
    /// # Errors
    /// When the element does not say what to subscribe to, or its filter or `select` is malformed.
    pub fn parse(element: &Map<String, Value>) -> Result<Self, BindingError> {
        let select = parse_select(element.get("select"))?;
        let (schema, table, filter) =
            match (element.get("schema"), element.get("table"), element.get("filter")) {
                (Some(Value::String(schema)), Some(Value::String(table)), Some(Value::String(filter))) => {
                    (&**schema, &**table, Filter::parse(filter)?)
                }
                (Some(Value::String(schema)), Some(Value::String(table)), None) => {
                    (&**schema, &**table, Filter::default())
                }
                (Some(Value::String(schema)), None, None) => (&**schema, ANY, Filter::default()),
                (None, Some(Value::String(table)), None) => ("public", &**table, Filter::default()),
                _ => {
                    // A token in a misplaced element must not travel further.
                    let secret = ["user_token", "auth_token"].iter().any(|key| element.contains_key(*key));
                    let shown = if secret { "<redacted>".to_owned() } else { inspect_map(element) };
                    return Err(BindingError::NoParams(shown));
                }
            };
        if select.is_some() && (schema == ANY || table == ANY) {
            return Err(BindingError::SelectOnWildcard);
        }
        let event = Events::parse(element.get("event"));
        Ok(Self { event, schema: schema.to_owned(), table: table.to_owned(), filter, select })
    }

    /// The element that a join without `config` stands for: its topic without `realtime:` is
    /// `schema[:table[:filter]]`.
    pub fn legacy(sub_topic: &str) -> Map<String, Value> {
        ["schema", "table", "filter"]
            .into_iter()
            .zip(sub_topic.splitn(3, ':'))
            .map(|(key, value)| (key.to_owned(), Value::from(value)))
            .collect()
    }

    /// Whether it is about this published table. Names are exact: `_` and `%` mean themselves.
    pub fn covers(&self, schema: &str, table: &str) -> bool {
        (self.schema == ANY || self.schema == schema) && (self.table == ANY || self.table == table)
    }

    /// `[event: *, schema: public, table: todos, filters: [{"id", "eq", "1", false}], select: nil]`
    pub fn describe(&self) -> String {
        let filters: Vec<_> = self
            .filter
            .conditions
            .iter()
            .map(|condition| {
                format!(
                    "{{{}, {}, {}, {}}}",
                    inspect_str(&condition.column),
                    inspect_str(condition.operator.name()),
                    inspect_str(&condition.operand),
                    condition.negated
                )
            })
            .collect();
        format!(
            "[event: {}, schema: {}, table: {}, filters: [{}], select: {}]",
            self.event.name(),
            self.schema,
            self.table,
            filters.join(", "),
            self.select.as_deref().map_or_else(|| "nil".to_owned(), inspect_strings)
        )
    }

    /// The `system` message when no published table is covered.
    pub fn unable_to_subscribe(&self) -> String {
        format!(
            "Unable to subscribe to changes with given parameters. \
             Please check Realtime is enabled for the given connect parameters: {}",
            self.describe()
        )
    }

    /// The `system` message when the database refused the binding: with an SQLSTATE, the name of that
    /// condition (see [`condition_name`]) and its words.
    pub fn exception(&self, sqlstate: &str, condition: &str, message: &str) -> String {
        format!(
            "Unable to subscribe to changes with given parameters. \
             An exception happened so please check your connect parameters: {}. \
             Exception: ERROR {sqlstate} ({condition}) {message}",
            self.describe()
        )
    }
}

fn parse_select(value: Option<&Value>) -> Result<Option<Vec<String>>, BindingError> {
    match value {
        Some(Value::String(_)) => Err(BindingError::Select),
        Some(Value::Array(columns)) => {
            let columns: Vec<_> = columns.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            if columns.len() > SELECT_COUNT_MAX {
                return Err(BindingError::SelectTooLong);
            }
            Ok((!columns.is_empty()).then_some(columns))
        }
        _ => Ok(None),
    }
}

/// What Postgres calls a condition, for those that checking a binding may raise; `unknown` for others.
pub fn condition_name(sqlstate: &str) -> &'static str {
    match sqlstate {
        "0A000" => "feature_not_supported",
        "22000" => "data_exception",
        "22001" => "string_data_right_truncation",
        "22003" => "numeric_value_out_of_range",
        "22007" => "invalid_datetime_format",
        "22008" => "datetime_field_overflow",
        "22009" => "invalid_time_zone_displacement_value",
        "22015" => "interval_field_overflow",
        "22021" => "character_not_in_repertoire",
        "22023" => "invalid_parameter_value",
        "22025" => "invalid_escape_sequence",
        "22026" => "string_data_length_mismatch",
        "2201B" => "invalid_regular_expression",
        "2202E" => "array_subscript_error",
        "22P02" => "invalid_text_representation",
        "22P03" => "invalid_binary_representation",
        "2200L" => "not_an_xml_document",
        "2200M" => "invalid_xml_document",
        "2200N" => "invalid_xml_content",
        "22032" => "invalid_json_text",
        "23502" => "not_null_violation",
        "23514" => "check_violation",
        "3F000" => "invalid_schema_name",
        "42501" => "insufficient_privilege",
        "42601" => "syntax_error",
        "42602" => "invalid_name",
        "42703" => "undefined_column",
        "42704" => "undefined_object",
        "42725" => "ambiguous_function",
        "42804" => "datatype_mismatch",
        "42846" => "cannot_coerce",
        "42883" => "undefined_function",
        "42P01" => "undefined_table",
        "42P22" => "indeterminate_collation",
        "54000" => "program_limit_exceeded",
        "54001" => "statement_too_complex",
        "57014" => "query_canceled",
        "P0001" => "raise_exception",
        "XX000" => "internal_error",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn element(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    fn parse(value: Value) -> Result<Binding, BindingError> {
        Binding::parse(&element(value))
    }

    fn describe(value: Value) -> String {
        parse(value).unwrap().describe()
    }

    fn refuse(value: Value, words: &str) {
        assert_eq!(parse(value).unwrap_err().to_string(), words);
    }

    #[test]
    fn elements_name_schema_table_and_filter() {
        for (value, expected) in [
            (
                json!({"event": "INSERT", "schema": "rec", "table": "plain", "filter": "nope=eq.1"}),
                r#"[event: INSERT, schema: rec, table: plain, filters: [{"nope", "eq", "1", false}], select: nil]"#,
            ),
            (
                json!({"event": "INSERT", "schema": "rec", "table": "missing"}),
                "[event: INSERT, schema: rec, table: missing, filters: [], select: nil]",
            ),
            (
                json!({"event": "INSERT", "schema": "rec", "table": "plain", "select": ["nope"]}),
                r#"[event: INSERT, schema: rec, table: plain, filters: [], select: ["nope"]]"#,
            ),
            (json!({"schema": "rec"}), "[event: *, schema: rec, table: *, filters: [], select: nil]"),
            (json!({"table": "t"}), "[event: *, schema: public, table: t, filters: [], select: nil]"),
            (
                json!({"schema": "s", "table": "t", "filter": "a=not.in.(1,2), b=is.null"}),
                r#"[event: *, schema: s, table: t, filters: [{"a", "in", "{1,2}", true}, {"b", "is", "null", false}], select: nil]"#,
            ),
            (
                json!({"schema": "s", "table": "t", "filter": " "}),
                "[event: *, schema: s, table: t, filters: [], select: nil]",
            ),
            (
                json!({"schema": "*", "table": "*", "filter": "id=eq.1"}),
                r#"[event: *, schema: *, table: *, filters: [{"id", "eq", "1", false}], select: nil]"#,
            ),
            (
                json!({"schema": "s", "table": "t", "select": [1, "a", null, "b"]}),
                r#"[event: *, schema: s, table: t, filters: [], select: ["a", "b"]]"#,
            ),
            (
                json!({"schema": "s", "table": "t", "select": [1]}),
                "[event: *, schema: s, table: t, filters: [], select: nil]",
            ),
            (
                json!({"schema": "s", "table": "*", "select": []}),
                "[event: *, schema: s, table: *, filters: [], select: nil]",
            ),
            (
                json!({"schema": "s", "table": "t", "select": {"a": 1}}),
                "[event: *, schema: s, table: t, filters: [], select: nil]",
            ),
        ] {
            assert_eq!(describe(value), expected);
        }
    }

    #[test]
    fn events_are_read_in_any_case_and_default_to_all() {
        for (event, expected) in [
            (json!("INSERT"), Events::Only(Event::Insert)),
            (json!("insert"), Events::Only(Event::Insert)),
            (json!("Update"), Events::Only(Event::Update)),
            (json!("DELETE"), Events::Only(Event::Delete)),
            (json!("*"), Events::All),
            (json!("TRUNCATE"), Events::All),
            (json!(null), Events::All),
            (json!(1), Events::All),
        ] {
            assert_eq!(parse(json!({"event": event, "table": "t"})).unwrap().event, expected);
        }
        assert_eq!(parse(json!({"table": "t"})).unwrap().event, Events::All);
        assert!(Events::All.contains(Event::Delete));
        assert!(Events::Only(Event::Delete).contains(Event::Delete));
        assert!(!Events::Only(Event::Delete).contains(Event::Insert));
    }

    #[test]
    fn elements_without_a_subject_are_refused() {
        let words = |shown: &str| {
            format!(
                "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: {shown}"
            )
        };
        for (value, shown) in [
            (
                json!({"event": "INSERT", "filter": "id=eq.1"}),
                r#"%{"event" => "INSERT", "filter" => "id=eq.1"}"#,
            ),
            (json!({}), "%{}"),
            (json!({"schema": "s", "table": null}), r#"%{"schema" => "s", "table" => nil}"#),
            (json!({"schema": "s", "filter": "id=eq.1"}), r#"%{"filter" => "id=eq.1", "schema" => "s"}"#),
            (
                json!({"schema": "s", "table": "t", "filter": null}),
                r#"%{"filter" => nil, "schema" => "s", "table" => "t"}"#,
            ),
            (json!({"schema": 1}), r#"%{"schema" => 1}"#),
            (json!({"user_token": "x"}), "<redacted>"),
            (json!({"auth_token": "x", "schema": 1}), "<redacted>"),
        ] {
            refuse(value, &words(shown));
        }
    }

    #[test]
    fn malformed_filters_and_selections_are_refused() {
        let on = |filter: &str| json!({"schema": "s", "table": "t", "filter": filter});
        refuse(on("nonsense"), r#"Error parsing `filter` params: ["nonsense"]"#);
        refuse(on("id=foo.1"), r#"Error parsing `filter` params: ["foo", "1"]"#);
        refuse(
            on("id=in.1"),
            "Error parsing `filter` params: `in` filter value must be wrapped by parentheses",
        );
        refuse(
            on("id=eq.1,"),
            "Error parsing `filter` params: filter must not contain empty segments (check for extra commas)",
        );
        let expected = "Error parsing `select` params: expected a list of column name strings, e.g. select: [\"col1\", \"col2\"]";
        refuse(json!({"schema": "s", "table": "t", "select": "a"}), expected);
        // The selection is looked at first.
        refuse(json!({"select": "a"}), expected);
        let expected = "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.";
        refuse(json!({"schema": "s", "select": ["a"]}), expected);
        refuse(json!({"schema": "s", "table": "*", "select": ["a"]}), expected);
        refuse(json!({"schema": "*", "table": "t", "select": ["a"]}), expected);
        assert!(parse(json!({"table": "t", "select": ["a"]})).is_ok());
        let many = vec!["a"; SELECT_COUNT_MAX + 1];
        refuse(
            json!({"table": "t", "select": many}),
            "Error parsing `select` params: expected at most 1600 columns",
        );
    }

    #[test]
    fn a_topic_without_config_stands_for_an_element() {
        for (topic, expected) in [
            ("*", json!({"schema": "*"})),
            ("room", json!({"schema": "room"})),
            ("public:todos", json!({"schema": "public", "table": "todos"})),
            ("public:todos:id=eq.1", json!({"schema": "public", "table": "todos", "filter": "id=eq.1"})),
            ("s:t:a=eq.b:c", json!({"schema": "s", "table": "t", "filter": "a=eq.b:c"})),
            ("s:", json!({"schema": "s", "table": ""})),
        ] {
            assert_eq!(Value::Object(Binding::legacy(topic)), expected);
        }
    }

    #[test]
    fn names_cover_exactly_and_a_star_covers_all() {
        for (schema, table, covered) in [
            ("public", "user_data", true),
            ("public", "*", true),
            ("*", "user_data", true),
            ("*", "*", true),
            ("public", "userxdata", false),
            ("other", "user_data", false),
            ("public", "%", false),
            ("public", "user%", false),
            ("Public", "user_data", false),
        ] {
            let binding = parse(json!({"schema": schema, "table": table})).unwrap();
            assert_eq!(binding.covers("public", "user_data"), covered, "{schema}.{table}");
        }
        let binding = parse(json!({"schema": "public", "table": "user_data"})).unwrap();
        assert!(!binding.covers("public", "userxdata"));
    }

    #[test]
    fn refusals_use_the_words_that_clients_know() {
        let binding = parse(json!({"event": "INSERT", "schema": "rec", "table": "missing"})).unwrap();
        assert_eq!(
            binding.unable_to_subscribe(),
            "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: [event: INSERT, schema: rec, table: missing, filters: [], select: nil]"
        );
        let binding =
            parse(json!({"event": "INSERT", "schema": "rec", "table": "plain", "filter": "id=eq.abc"}))
                .unwrap();
        assert_eq!(
            binding.exception(
                "22P02",
                condition_name("22P02"),
                "invalid input syntax for type integer: \"abc\""
            ),
            "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: INSERT, schema: rec, table: plain, filters: [{\"id\", \"eq\", \"abc\", false}], select: nil]. Exception: ERROR 22P02 (invalid_text_representation) invalid input syntax for type integer: \"abc\""
        );
    }
}

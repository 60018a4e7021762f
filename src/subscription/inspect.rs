//! Prints values as Elixir's `inspect` does: the form in which stock clients' users know error messages.
//!
//! Always on one line and whole: neither wrapped at 80 columns nor cut after 50 elements.

use std::fmt::Write;

use serde_json::{Map, Value};

/// `["a", "b"]`
pub(super) fn inspect_strings<S: AsRef<str>>(strings: &[S]) -> String {
    let inner: Vec<_> = strings.iter().map(|string| inspect_str(string.as_ref())).collect();
    format!("[{}]", inner.join(", "))
}

/// `"a"`, or `<<97, 0>>` when a character in it cannot be printed.
pub(super) fn inspect_str(text: &str) -> String {
    if !text.chars().all(printable) {
        let bytes: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
        return format!("<<{}>>", bytes.join(", "));
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '#' if characters.peek() == Some(&'{') => out.push_str("\\#"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{7f}' => out.push_str("\\d"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn printable(character: char) -> bool {
    matches!(character,
        '\u{7}'..='\r' | '\u{1b}' | ' '..='\u{7f}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// `%{"event" => "INSERT"}`, keys in their order.
pub(super) fn inspect_map(map: &Map<String, Value>) -> String {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    let inner: Vec<_> =
        entries.iter().map(|(key, value)| format!("{} => {}", inspect_str(key), inspect(value))).collect();
    format!("%{{{}}}", inner.join(", "))
}

fn inspect(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => inspect_float(value),
            _ => number.to_string(),
        },
        Value::String(text) => inspect_str(text),
        Value::Array(values) => {
            let inner: Vec<_> = values.iter().map(inspect).collect();
            format!("[{}]", inner.join(", "))
        }
        Value::Object(map) => inspect_map(map),
    }
}

/// A fraction is always written, also before an exponent.
fn inspect_float(value: f64) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{value:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_elixir_prints_them() {
        for (value, expected) in [
            (json!({}), "%{}"),
            (json!({"schema": 1, "a": null}), r#"%{"a" => nil, "schema" => 1}"#),
            (json!([1, -2, 1.5, 1e20, true, []]), "[1, -2, 1.5, 1.0e20, true, []]"),
            (json!({"x": {"y": ["z"]}}), r#"%{"x" => %{"y" => ["z"]}}"#),
            (json!("q\" b\\ n\n t\t #{} #x ü 🙂"), r##""q\" b\\ n\n t\t \#{} #x ü 🙂""##),
            (json!("a\u{1}"), "<<97, 1>>"),
            (json!(9_007_199_254_740_993_i64), "9007199254740993"),
        ] {
            assert_eq!(inspect(&value), expected);
        }
    }
}

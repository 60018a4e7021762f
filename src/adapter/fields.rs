//! Fields of requests beyond ids and texts: switches, numbers, lists within bounds, and what a message is made of.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::Error;
use super::request::optional_text;

/// What a message may be.
pub(super) const MESSAGE_TYPES: [&str; 4] = ["text", "image", "file", "system"];

/// What a message says; a file needs no words.
pub(super) fn content(fields: &Map<String, Value>, has_attachments: bool) -> Result<&str, Error> {
    match optional_text(fields, "content")? {
        None if has_attachments => Ok(""),
        None => Err(Error::missing("content")),
        Some("") if !has_attachments => Err(Error::invalid("content")),
        Some(content) => Ok(content),
    }
}

/// What a message is, or nothing.
pub(super) fn optional_message_type<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, Error> {
    match optional_text(fields, name)? {
        Some(other) if !MESSAGE_TYPES.contains(&other) => Err(Error::invalid(name)),
        known => Ok(known),
    }
}

/// A switch that must be there.
pub(super) fn flag(fields: &Map<String, Value>, name: &'static str) -> Result<bool, Error> {
    optional_flag(fields, name)?.ok_or(Error::missing(name))
}

/// A switch that may be missing or `null`.
pub(super) fn optional_flag(fields: &Map<String, Value>, name: &'static str) -> Result<Option<bool>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Error::invalid(name)),
    }
}

/// A whole number that Postgres's `integer` holds, or nothing.
pub(super) fn optional_integer(
    fields: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<i32>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
            number.map(Some).ok_or(Error::invalid(name))
        }
    }
}

/// The elements of an array of at most `max`, or nothing.
pub(super) fn optional_list<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
    max: usize,
) -> Result<Option<&'a [Value]>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) if values.len() <= max => Ok(Some(values)),
        Some(_) => Err(Error::invalid(name)),
    }
}

/// Ids, one at least and `max` at most, or nothing.
pub(super) fn optional_ids(
    fields: &Map<String, Value>,
    name: &'static str,
    max: usize,
) -> Result<Option<Vec<Uuid>>, Error> {
    let Some(values) = optional_list(fields, name, max)? else { return Ok(None) };
    let ids = values.iter().map(|value| Uuid::try_parse(value.as_str()?).ok()).collect::<Option<Vec<_>>>();
    ids.filter(|ids| !ids.is_empty()).map(Some).ok_or(Error::invalid(name))
}

/// Texts of at most `bytes_max` bytes each, `max` at most, or nothing.
pub(super) fn optional_texts(
    fields: &Map<String, Value>,
    name: &'static str,
    max: usize,
    bytes_max: usize,
) -> Result<Option<Vec<String>>, Error> {
    let Some(values) = optional_list(fields, name, max)? else { return Ok(None) };
    let fitting = |value: &Value| value.as_str().filter(|text| text.len() <= bytes_max).map(str::to_owned);
    values.iter().map(fitting).collect::<Option<Vec<_>>>().map(Some).ok_or(Error::invalid(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "6f1d0c1e-0000-4000-8000-00000000000a";

    fn fields(value: Value) -> Map<String, Value> {
        json!({ "a": value }).as_object().unwrap().clone()
    }

    #[test]
    fn null_is_as_good_as_missing() {
        for fields in [Map::new(), fields(Value::Null)] {
            assert_eq!(flag(&fields, "a"), Err(Error::missing("a")));
            assert_eq!(optional_flag(&fields, "a"), Ok(None));
            assert_eq!(optional_integer(&fields, "a"), Ok(None));
            assert_eq!(optional_list(&fields, "a", 1), Ok(None));
            assert_eq!(optional_ids(&fields, "a", 1), Ok(None));
            assert_eq!(optional_texts(&fields, "a", 1, 1), Ok(None));
        }
    }

    #[test]
    fn switches_and_numbers_are_of_their_type() {
        assert_eq!(flag(&fields(json!(false)), "a"), Ok(false));
        for value in [json!(0), json!("true"), json!([])] {
            assert_eq!(flag(&fields(value.clone()), "a"), Err(Error::invalid("a")), "{value}");
        }
        assert_eq!(optional_integer(&fields(json!(-5)), "a"), Ok(Some(-5)));
        for value in [json!(1.5), json!("5"), json!(2_147_483_648_i64), json!(true)] {
            assert_eq!(optional_integer(&fields(value.clone()), "a"), Err(Error::invalid("a")), "{value}");
        }
    }

    #[test]
    fn a_message_says_something_or_has_a_file() {
        let content_of = |value: Value, has_file| {
            let fields = json!({ "content": value }).as_object().unwrap().clone();
            content(&fields, has_file).map(str::to_owned)
        };
        for has_file in [true, false] {
            assert_eq!(content_of(json!("a"), has_file), Ok("a".to_owned()));
            assert_eq!(content_of(json!(7), has_file), Err(Error::invalid("content")));
        }
        assert_eq!(content_of(Value::Null, true), Ok(String::new()));
        assert_eq!(content_of(json!(""), true), Ok(String::new()));
        assert_eq!(content_of(Value::Null, false), Err(Error::missing("content")));
        assert_eq!(content_of(json!(""), false), Err(Error::invalid("content")));
    }

    #[test]
    fn types_of_messages_are_known() {
        for kind in MESSAGE_TYPES {
            assert_eq!(optional_message_type(&fields(json!(kind)), "a"), Ok(Some(kind)));
        }
        assert_eq!(optional_message_type(&Map::new(), "a"), Ok(None));
        for value in [json!("voice"), json!(""), json!("Text"), json!(1)] {
            assert_eq!(
                optional_message_type(&fields(value.clone()), "a"),
                Err(Error::invalid("a")),
                "{value}"
            );
        }
    }

    #[test]
    fn lists_are_bounded() {
        let ids = |value: Value| optional_ids(&fields(value), "a", 2).map(|ids| ids.map(|ids| ids.len()));
        assert_eq!(ids(json!([ID, ID])), Ok(Some(2)));
        for value in [json!([ID, ID, ID]), json!([]), json!(["x"]), json!(ID), json!([7])] {
            assert_eq!(ids(value.clone()), Err(Error::invalid("a")), "{value}");
        }
        let texts = |value: Value| optional_texts(&fields(value), "a", 2, 3);
        assert_eq!(texts(json!(["abc", ""])), Ok(Some(vec!["abc".to_owned(), String::new()])));
        for value in [json!(["abcd"]), json!(["a", "b", "c"]), json!([1]), json!("a")] {
            assert_eq!(texts(value.clone()), Err(Error::invalid("a")), "{value}");
        }
    }
}

//! Fields of the JSON object that an app sent: which are there, and whether they are what they should be.
//!
//! What is wrong is said by the field's name and never by its value, so that it may be logged and answered alike.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::protocol::is_shallow;

/// How deeply objects and arrays may be nested.
const DEPTH_MAX: usize = 32;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// No JSON, or nested too deeply.
    #[error("the body is not valid JSON")]
    NotJson,
    /// JSON, but of another type.
    #[error("the body must be a JSON object")]
    NotObject,
    /// A field that must be there is missing or null.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field is something else.
    #[error("{field} must be {expected}")]
    Wrong {
        /// Its name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

/// An object's fields. `null` counts as missing, and what nobody asks for is passed over.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let text = std::str::from_utf8(body).map_err(|_| Invalid::NotJson)?;
        if !is_shallow(text, DEPTH_MAX) {
            return Err(Invalid::NotJson);
        }
        match serde_json::from_str(text).map_err(|_| Invalid::NotJson)? {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Invalid::NotObject),
        }
    }

    /// Reads a body that may be left out.
    pub(super) fn read_optional(body: &[u8]) -> Result<Self, Invalid> {
        if body.is_empty() { Ok(Self(Map::new())) } else { Self::read(body) }
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field).filter(|value| !value.is_null())
    }

    /// An id that must be there.
    pub(super) fn id(&mut self, field: &'static str) -> Result<Uuid, Invalid> {
        self.optional_id(field)?.ok_or(Invalid::Missing(field))
    }

    /// An id.
    pub(super) fn optional_id(&mut self, field: &'static str) -> Result<Option<Uuid>, Invalid> {
        self.take(field).map(|value| id(field, &value)).transpose()
    }

    /// Some ids, one at least and `max` at most.
    pub(super) fn optional_ids(
        &mut self,
        field: &'static str,
        max: usize,
    ) -> Result<Option<Vec<Uuid>>, Invalid> {
        let Some(value) = self.take(field) else { return Ok(None) };
        match value {
            Value::Array(values) if (1..=max).contains(&values.len()) => {
                values.iter().map(|value| id(field, value)).collect::<Result<_, _>>().map(Some)
            }
            _ => Err(Invalid::Wrong { field, expected: "an array of UUIDs, neither empty nor too long" }),
        }
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, field: &'static str) -> Result<String, Invalid> {
        self.optional_text(field)?.ok_or(Invalid::Missing(field))
    }

    /// A text.
    pub(super) fn optional_text(&mut self, field: &'static str) -> Result<Option<String>, Invalid> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Invalid::Wrong { field, expected: "a text" }),
        }
    }

    /// Some texts of at most `bytes_max` bytes, `max` of them at most.
    pub(super) fn optional_texts(
        &mut self,
        field: &'static str,
        max: usize,
        bytes_max: usize,
    ) -> Result<Option<Vec<String>>, Invalid> {
        let wrong = Invalid::Wrong { field, expected: "an array of texts, neither many nor long" };
        let Some(value) = self.take(field) else { return Ok(None) };
        let Value::Array(values) = value else { return Err(wrong) };
        if values.len() > max {
            return Err(wrong);
        }
        let text = |value| match value {
            Value::String(text) if text.len() <= bytes_max => Ok(text),
            _ => Err(wrong),
        };
        values.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// A switch that must be there.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, Invalid> {
        self.optional_flag(field)?.ok_or(Invalid::Missing(field))
    }

    /// A switch.
    pub(super) fn optional_flag(&mut self, field: &'static str) -> Result<Option<bool>, Invalid> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Invalid::Wrong { field, expected: "true or false" }),
        }
    }

    /// A whole number within the bounds of Postgres's `integer`; further ones are the database's to judge.
    pub(super) fn optional_integer(&mut self, field: &'static str) -> Result<Option<i32>, Invalid> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let integer = value.as_i64().and_then(|number| i32::try_from(number).ok());
        integer.map(Some).ok_or(Invalid::Wrong { field, expected: "a whole number" })
    }

    /// Some objects, `max` of them at most.
    pub(super) fn optional_objects(
        &mut self,
        field: &'static str,
        max: usize,
    ) -> Result<Option<Vec<Fields>>, Invalid> {
        let wrong = Invalid::Wrong { field, expected: "an array of objects, and not too long" };
        let Some(value) = self.take(field) else { return Ok(None) };
        let Value::Array(values) = value else { return Err(wrong) };
        if values.len() > max {
            return Err(wrong);
        }
        let object = |value| match value {
            Value::Object(fields) => Ok(Fields(fields)),
            _ => Err(wrong),
        };
        values.into_iter().map(object).collect::<Result<_, _>>().map(Some)
    }
}

/// Only as clients of Postgres write it: other spellings of the same id would not be found in filters.
fn id(field: &'static str, value: &Value) -> Result<Uuid, Invalid> {
    let wrong = Invalid::Wrong { field, expected: "a UUID" };
    value.as_str().and_then(parse_id).ok_or(wrong)
}

/// A UUID with its hyphens.
pub(super) fn parse_id(text: &str) -> Option<Uuid> {
    const HYPHENATED: usize = 36;
    if text.len() == HYPHENATED { Uuid::try_parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1d0c1e-0000-4000-8000-00000000000a";

    fn fields(json: &str) -> Fields {
        Fields::read(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_body_is_an_object() {
        for (body, expected) in [
            (&b""[..], Invalid::NotJson),
            (b"{", Invalid::NotJson),
            (b"{\"a\":\"\xff\"}", Invalid::NotJson),
            (b"{} {}", Invalid::NotJson),
            (b"[]", Invalid::NotObject),
            (b"null", Invalid::NotObject),
            (b"\"text\"", Invalid::NotObject),
        ] {
            assert_eq!(Fields::read(body).unwrap_err(), expected, "{body:?}");
        }
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(Fields::read(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert_eq!(Fields::read(nested(DEPTH_MAX).as_bytes()).unwrap_err(), Invalid::NotJson);
        assert!(Fields::read_optional(b"").unwrap().0.is_empty());
        assert_eq!(Fields::read_optional(b" ").unwrap_err(), Invalid::NotJson);
    }

    #[test]
    fn ids_are_uuids_with_hyphens() {
        assert_eq!(fields(&format!(r#"{{"a":"{ID}"}}"#)).id("a").unwrap().to_string(), ID);
        let upper = format!(r#"{{"a":"{}"}}"#, ID.to_uppercase());
        assert_eq!(fields(&upper).id("a").unwrap().to_string(), ID);
        let wrong = Err(Invalid::Wrong { field: "a", expected: "a UUID" });
        for value in [r#""7""#, "7", "{}", "[]", "true", r#""6f1d0c1e000040008000000000000000a""#] {
            assert_eq!(fields(&format!(r#"{{"a":{value}}}"#)).id("a"), wrong, "{value}");
        }
        let braced = format!(r#"{{"a":"{{{ID}}}"}}"#);
        assert_eq!(fields(&braced).id("a"), wrong);
        for missing in ["{}", r#"{"a":null}"#] {
            assert_eq!(fields(missing).id("a"), Err(Invalid::Missing("a")), "{missing}");
        }
    }

    #[test]
    fn lists_of_ids_are_bounded_and_not_empty() {
        let list = |count: usize| format!(r#"{{"a":[{}]}}"#, vec![format!("\"{ID}\""); count].join(","));
        assert_eq!(fields(&list(2)).optional_ids("a", 2).unwrap().unwrap().len(), 2);
        for refused in [list(3), list(0), r#"{"a":["x"]}"#.to_owned(), format!(r#"{{"a":"{ID}"}}"#)] {
            assert!(fields(&refused).optional_ids("a", 2).is_err(), "{refused}");
        }
        assert_eq!(fields("{}").optional_ids("a", 2), Ok(None));
    }

    #[test]
    fn texts_switches_and_numbers_are_taken_as_they_are() {
        assert_eq!(fields(r#"{"a":" x "}"#).text("a"), Ok(" x ".to_owned()));
        assert_eq!(fields(r#"{"a":""}"#).text("a"), Ok(String::new()));
        assert!(fields(r#"{"a":1}"#).text("a").is_err());
        assert_eq!(fields(r#"{"a":false}"#).flag("a"), Ok(false));
        for value in ["0", "\"true\"", "[]"] {
            assert!(fields(&format!(r#"{{"a":{value}}}"#)).flag("a").is_err(), "{value}");
        }
        assert_eq!(fields(r#"{"a":-5}"#).optional_integer("a"), Ok(Some(-5)));
        for value in ["1.5", "\"5\"", "2147483648", "1e3"] {
            assert!(fields(&format!(r#"{{"a":{value}}}"#)).optional_integer("a").is_err(), "{value}");
        }
    }

    #[test]
    fn lists_of_texts_and_objects_are_bounded() {
        let texts = |json: &str| fields(json).optional_texts("a", 2, 3);
        assert_eq!(texts(r#"{"a":["abc",""]}"#), Ok(Some(vec!["abc".to_owned(), String::new()])));
        for refused in [r#"{"a":["abcd"]}"#, r#"{"a":["a","b","c"]}"#, r#"{"a":[1]}"#, r#"{"a":"a"}"#] {
            assert!(texts(refused).is_err(), "{refused}");
        }
        let objects =
            |json: &str| fields(json).optional_objects("a", 1).map(|found| found.map(|all| all.len()));
        assert_eq!(objects(r#"{"a":[{}]}"#), Ok(Some(1)));
        for refused in [r#"{"a":[{},{}]}"#, r#"{"a":[1]}"#, r#"{"a":{}}"#] {
            assert!(objects(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_is_wrong_never_holds_a_value() {
        let error = fields(r#"{"chatId":"hunter2"}"#).id("chatId").unwrap_err();
        assert_eq!(error.to_string(), "chatId must be a UUID");
    }
}

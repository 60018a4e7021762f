//! Fields of a JSON object that somebody sent: which are there, and whether they are what they should be.
//!
//! Nothing is built of what is not asked for, so that a body costs little more than its bytes.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::Error;

/// A required field is missing, `null`, or a text of white space.
pub(super) const BLANK: &str = "can't be blank";
/// A field is of another type.
pub(super) const INVALID: &str = "is invalid";
/// A text has more bytes than it may have.
pub(super) const TOO_LONG: &str = "is too long";
/// Objects and arrays within each other, more than there may be.
pub(super) const TOO_DEEP: &str = "is nested too deeply";
/// A payload has more bytes than it may have.
pub(super) const TOO_LARGE: &str = "Payload size exceeds tenant limit";

/// Everything that can be wrong with a field of a broadcast.
#[cfg(test)]
pub(super) const FIELD_ERRORS: &[&str] = &[BLANK, INVALID, TOO_LONG, TOO_DEEP, TOO_LARGE];

/// The values of these fields in an object, of repeated ones the last; `None` for what is no object. `null` counts
/// as missing.
pub(super) fn fields<'a, const N: usize>(
    json: &'a RawValue,
    names: &'static [&'static str; N],
) -> Result<Option<[Option<&'a RawValue>; N]>, Error> {
    if !json.get().starts_with('{') {
        return Ok(None);
    }
    let mut reader = serde_json::Deserializer::from_str(json.get());
    let found = reader.deserialize_map(Fields(names)).map_err(|_| Error::NotJson)?;
    Ok(Some(found.map(|value| value.filter(|value| value.get() != "null"))))
}

struct Fields<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Fields<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(Name(name)) = map.next_key()? {
            match self.0.iter().position(|known| **known == *name) {
                Some(index) => found[index] = Some(map.next_value()?),
                None => {
                    let IgnoredAny = map.next_value()?;
                }
            }
        }
        Ok(found)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The elements of an array; `None` for what is no array, or has more than `max`.
pub(super) fn elements(json: &RawValue, max: usize) -> Option<Vec<&RawValue>> {
    serde_json::Deserializer::from_str(json.get()).deserialize_seq(Elements(max)).ok()
}

struct Elements(usize);

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {} elements", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            if elements.len() == self.0 {
                return Err(serde::de::Error::invalid_length(self.0, &self));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

/// A text with something in it.
pub(super) fn text(value: Option<&RawValue>, bytes_max: usize) -> Result<String, &'static str> {
    let Some(value) = value else { return Err(BLANK) };
    let text: String = serde_json::from_str(value.get()).map_err(|_| INVALID)?;
    match text {
        text if text.trim().is_empty() => Err(BLANK),
        text if text.len() > bytes_max => Err(TOO_LONG),
        text => Ok(text),
    }
}

/// A switch that is off unless somebody turns it on. The words for its states are understood as well.
pub(super) fn switch(value: Option<&RawValue>) -> Result<bool, &'static str> {
    match value.map(RawValue::get) {
        None | Some("false" | "\"false\"" | "\"0\"" | "\"\"") => Ok(false),
        Some("true" | "\"true\"" | "\"1\"") => Ok(true),
        Some(_) => Err(INVALID),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn read(json: &str) -> Result<Option<[Option<&str>; 2]>, Error> {
        let found = fields(raw(json), &["a", "b"])?;
        Ok(found.map(|found| found.map(|value| value.map(RawValue::get))))
    }

    #[test]
    fn of_repeated_fields_the_last_counts_and_null_is_missing() {
        assert_eq!(read(r#"{"a":1,"x":{"a":9},"a":[ 2 ]}"#), Ok(Some([Some("[ 2 ]"), None])));
        assert_eq!(read(r#"{"a":1,"a":null,"\u0062":"b"}"#), Ok(Some([None, Some(r#""b""#)])));
        assert_eq!(read("[]"), Ok(None));
        assert_eq!(read("7"), Ok(None));
        assert_eq!(read(r#"{"\ud800":1}"#), Err(Error::NotJson));
    }

    #[test]
    fn elements_are_counted_while_they_are_read() {
        let count = |json, max| elements(raw(json), max).map(|elements| elements.len());
        assert_eq!(count("[1,[2],{}]", 3), Some(3));
        assert_eq!(count("[1,2,3,4]", 3), None);
        assert_eq!(count("{}", 3), None);
    }

    #[test]
    fn texts_are_bounded_and_not_blank() {
        let read = |json| text(Some(raw(json)), 3);
        assert_eq!(read(r#""abc""#), Ok("abc".to_owned()));
        assert_eq!(read(r#""äb""#), Ok("äb".to_owned()));
        assert_eq!(read(r#""äbc""#), Err(TOO_LONG));
        assert_eq!(read(r#"" \t""#), Err(BLANK));
        for json in ["1", "[]", "{}", "true", r#""\udead""#] {
            assert_eq!(read(json), Err(INVALID), "{json}");
        }
        assert_eq!(text(None, 3), Err(BLANK));
    }

    #[test]
    fn a_switch_is_off_unless_it_is_turned_on() {
        for (json, expected) in [
            ("true", Ok(true)),
            (r#""true""#, Ok(true)),
            ("false", Ok(false)),
            ("1", Err(INVALID)),
            ("{}", Err(INVALID)),
        ] {
            assert_eq!(switch(Some(raw(json))), expected, "{json}");
        }
        assert_eq!(switch(None), Ok(false));
    }
}

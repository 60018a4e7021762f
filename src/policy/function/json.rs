//! `jsonb` and `json`.

use std::borrow::Cow;

use super::{Doubt, Known};
use crate::policy::types::{BOOL, INT2, INT4, INT8, JSON, JSONB, NUMERIC, TEXT};
use crate::policy::value::json::{self, Kind, Unread};
use crate::policy::value::{Array, Numeric, Value};

/// `text[]`
const TEXTS: u32 = 1009;

/// How many bytes a question about several keys may look at.
const BYTES_MAX: usize = 1 << 22;

impl From<Unread> for Doubt {
    fn from(_: Unread) -> Self {
        Self::Raises
    }
}

pub(super) static KNOWN: &[&[Known]] = &[
    &[
        Known::new("jsonb_object_field", &[JSONB, TEXT], JSONB, |_, it| jsonb(field(it)?)),
        Known::new("jsonb_object_field_text", &[JSONB, TEXT], TEXT, |_, it| text(field(it)?)),
        Known::new("jsonb_array_element", &[JSONB, INT4], JSONB, |_, it| jsonb(element(it)?)),
        Known::new("jsonb_array_element_text", &[JSONB, INT4], TEXT, |_, it| text(element(it)?)),
        Known::new("jsonb_extract_path", &[JSONB, TEXTS], JSONB, |_, it| jsonb(path(it)?)),
        Known::new("jsonb_extract_path_text", &[JSONB, TEXTS], TEXT, |_, it| text(path(it)?)),
        Known::new("json_object_field", &[JSON, TEXT], JSON, |_, it| part(field(it)?)).raises(),
        Known::new("json_object_field_text", &[JSON, TEXT], TEXT, |_, it| text(field(it)?)).raises(),
        Known::new("json_array_element", &[JSON, INT4], JSON, |_, it| part(element(it)?)).raises(),
        Known::new("json_array_element_text", &[JSON, INT4], TEXT, |_, it| text(element(it)?)).raises(),
        Known::new("json_extract_path", &[JSON, TEXTS], JSON, |_, it| part(path(it)?)).raises(),
        Known::new("json_extract_path_text", &[JSON, TEXTS], TEXT, |_, it| text(path(it)?)).raises(),
    ],
    &[
        Known::new("jsonb_exists", &[JSONB, TEXT], BOOL, |_, it| match it {
            [Value::Json(document), Value::Text(key)] => Ok(Value::Bool(json::exists(document, key)?)),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("jsonb_exists_any", &[JSONB, TEXTS], BOOL, |_, it| exist(it, false)),
        Known::new("jsonb_exists_all", &[JSONB, TEXTS], BOOL, |_, it| exist(it, true)),
        Known::new("jsonb_contains", &[JSONB, JSONB], BOOL, |_, it| match it {
            [Value::Json(left), Value::Json(right)] => Ok(Value::Bool(json::contains(left, right)?)),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("jsonb_contained", &[JSONB, JSONB], BOOL, |_, it| match it {
            [Value::Json(left), Value::Json(right)] => Ok(Value::Bool(json::contains(right, left)?)),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("jsonb_eq", &[JSONB, JSONB], BOOL, |_, it| match it {
            [Value::Json(left), Value::Json(right)] => Ok(Value::Bool(json::equal(left, right)?)),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("jsonb_ne", &[JSONB, JSONB], BOOL, |_, it| match it {
            [Value::Json(left), Value::Json(right)] => Ok(Value::Bool(!json::equal(left, right)?)),
            _ => Err(Doubt::Unknown),
        }),
    ],
    &[
        Known::new("jsonb_typeof", &[JSONB], TEXT, |_, it| type_of(it)),
        Known::new("json_typeof", &[JSON], TEXT, |_, it| type_of(it)),
        Known::new("jsonb_array_length", &[JSONB], INT4, |_, it| length(it)).raises(),
        Known::new("json_array_length", &[JSON], INT4, |_, it| length(it)).raises(),
        Known::new("jsonb_bool", &[JSONB], BOOL, |_, it| match it {
            [Value::Json(document)] => match &**document {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(Doubt::Raises),
            },
            _ => Err(Doubt::Unknown),
        })
        .raises(),
        Known::new("jsonb_numeric", &[JSONB], NUMERIC, |_, it| Ok(Value::numeric(number(it)?))).raises(),
        Known::new("jsonb_int2", &[JSONB], INT2, |_, it| integer::<i16>(it)).raises(),
        Known::new("jsonb_int4", &[JSONB], INT4, |_, it| integer::<i32>(it)).raises(),
        Known::new("jsonb_int8", &[JSONB], INT8, |_, it| integer::<i64>(it)).raises(),
    ],
];

/// The text of a document, and whether it is a `jsonb`.
fn document(value: &Value) -> Result<(&str, bool), Doubt> {
    match value {
        Value::Json(text) => Ok((text, true)),
        // Postgres reads all strings of a `json` to find one part.
        Value::Text(text) if json::has_text(text) => Ok((text, false)),
        Value::Text(_) => Err(Doubt::Raises),
        _ => Err(Doubt::Unknown),
    }
}

fn field(values: &[Value]) -> Result<Option<&str>, Doubt> {
    match values {
        [value, Value::Text(key)] => Ok(json::field(document(value)?.0, key)?),
        _ => Err(Doubt::Unknown),
    }
}

fn element(values: &[Value]) -> Result<Option<&str>, Doubt> {
    match values {
        [value, Value::Int(place)] => match document(value)? {
            // A plain value is stored as an array of one.
            (text, true) if !matches!(Kind::of(text), Some(Kind::Array | Kind::Object)) => {
                Ok(matches!(place, 0 | -1).then_some(text))
            }
            (text, _) => Ok(json::element(text, *place)?),
        },
        _ => Err(Doubt::Unknown),
    }
}

/// A part that a path of keys and places leads to. NULL in the path leads nowhere.
fn path(values: &[Value]) -> Result<Option<&str>, Doubt> {
    let [value, Value::Array(steps)] = values else { return Err(Doubt::Unknown) };
    let (mut text, is_binary) = document(value)?;
    if steps.elements().iter().any(Value::is_null) {
        return Ok(None);
    }
    if steps.elements().is_empty() && !is_binary {
        return Err(Doubt::Unknown);
    }
    for step in steps.elements() {
        let Value::Text(step) = step else { return Err(Doubt::Unknown) };
        let next = match Kind::of(text) {
            Some(Kind::Object) => json::field(text, step)?,
            Some(Kind::Array) => match place(step)? {
                Some(place) => json::element(text, place)?,
                None => None,
            },
            _ => None,
        };
        match next {
            Some(next) => text = next,
            None => return Ok(None),
        }
    }
    Ok(Some(text))
}

/// A place in an array as a step of a path has it.
fn place(step: &str) -> Result<Option<i64>, Doubt> {
    let digits = step.strip_prefix('-').unwrap_or(step);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // Blanks and signs in front are read by a C library.
        let plain =
            !step.starts_with(|first: char| first.is_whitespace() || first.is_control() || first == '+');
        return if plain { Ok(None) } else { Err(Doubt::Unknown) };
    }
    // The least number stands for none in Postgres.
    Ok(step.parse::<i32>().ok().filter(|place| *place > i32::MIN).map(i64::from))
}

fn jsonb(part: Option<&str>) -> Result<Value, Doubt> {
    Ok(part.map_or(Value::Null, |part| Value::Json(part.into())))
}

/// A part of a `json`, as it is written there.
fn part(part: Option<&str>) -> Result<Value, Doubt> {
    Ok(part.map_or(Value::Null, Value::text))
}

fn text(part: Option<&str>) -> Result<Value, Doubt> {
    let text: Option<Cow<'_, str>> = part.map(json::as_text).transpose()?.flatten();
    Ok(text.map_or(Value::Null, |text| Value::text(&text)))
}

fn exist(values: &[Value], all: bool) -> Result<Value, Doubt> {
    let [Value::Json(document), Value::Array(keys)] = values else { return Err(Doubt::Unknown) };
    check_work(document, keys)?;
    for key in keys.elements() {
        match key {
            Value::Null => {}
            Value::Text(key) if json::exists(document, key)? != all => return Ok(Value::Bool(!all)),
            Value::Text(_) => {}
            _ => return Err(Doubt::Unknown),
        }
    }
    Ok(Value::Bool(all))
}

/// The document is read once for each key.
fn check_work(document: &str, keys: &Array) -> Result<(), Doubt> {
    match document.len().saturating_mul(keys.elements().len()) <= BYTES_MAX {
        true => Ok(()),
        false => Err(Doubt::TooLong),
    }
}

fn kind(values: &[Value]) -> Result<Kind, Doubt> {
    match values {
        [Value::Json(text) | Value::Text(text)] => Kind::of(text).ok_or(Doubt::Raises),
        _ => Err(Doubt::Unknown),
    }
}

fn type_of(values: &[Value]) -> Result<Value, Doubt> {
    Ok(Value::text(kind(values)?.name()))
}

fn length(values: &[Value]) -> Result<Value, Doubt> {
    match (kind(values)?, values) {
        (Kind::Array, [Value::Json(text) | Value::Text(text)]) => {
            i64::try_from(json::length(text)).map(Value::Int).map_err(|_| Doubt::TooLong)
        }
        _ => Err(Doubt::Raises),
    }
}

fn number(values: &[Value]) -> Result<Numeric, Doubt> {
    match (kind(values)?, values) {
        (Kind::Number, [Value::Json(text)]) => Numeric::parse(text).ok_or(Doubt::Raises),
        _ => Err(Doubt::Raises),
    }
}

fn integer<T: TryFrom<i64>>(values: &[Value]) -> Result<Value, Doubt> {
    let number = number(values)?.to_integer().ok_or(Doubt::Raises)?;
    T::try_from(number).map_err(|_| Doubt::Raises)?;
    Ok(Value::Int(number))
}

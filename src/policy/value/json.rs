//! JSON as text: parts of it, the form that `jsonb` prints, equality and containment.
//!
//! A `jsonb` is kept as the text that Postgres prints of it, so that numbers stay exact and a look at one key builds
//! nothing.

use std::borrow::Cow;
use std::collections::HashMap;

use super::json_read::{Walk, elements, fields, unescape};
use super::numeric::Numeric;
use crate::change::json::write_string;

/// How deep a document may nest to be read here.
pub(super) const DEPTH_MAX: usize = 100;

/// How many comparisons one question of containment may take.
const STEPS_MAX: usize = 1 << 16;

/// The largest exponent of a number that is written without one here.
const EXPONENT_MAX: i64 = 400;

/// What a value of JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`, `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// What the text is.
    pub fn of(text: &str) -> Option<Self> {
        Some(match Walk::new(text).peek()? {
            b'n' => Self::Null,
            b't' | b'f' => Self::Boolean,
            b'"' => Self::String,
            b'[' => Self::Array,
            b'{' => Self::Object,
            b'-' | b'0'..=b'9' => Self::Number,
            _ => return None,
        })
    }

    /// As `jsonb_typeof` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// The text could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread;

/// The value of a key of an object, of which the last counts; `None` if there is none.
pub fn field<'a>(text: &'a str, key: &str) -> Result<Option<&'a str>, Unread> {
    let mut found = None;
    for field in fields(text) {
        let (name, value) = field.ok_or(Unread)?;
        if name == key || (name.contains('\\') && unescape(name).ok_or(Unread)? == key) {
            found = Some(value);
        }
    }
    Ok(found)
}

/// An element of an array; negative places count from its end. `None` if there is none.
pub fn element(text: &str, place: i64) -> Result<Option<&str>, Unread> {
    let place = match usize::try_from(place) {
        Ok(place) => place,
        Err(_) => {
            let from_end = usize::try_from(place.unsigned_abs()).map_err(|_| Unread)?;
            let Some(place) = elements(text).count().checked_sub(from_end) else { return Ok(None) };
            place
        }
    };
    elements(text).nth(place).map(|element| element.ok_or(Unread)).transpose()
}

/// How many elements an array has.
pub fn length(text: &str) -> usize {
    elements(text).count()
}

/// Whether all strings of a document can be text: none has `\u0000` or half a pair of surrogates.
pub fn has_text(text: &str) -> bool {
    // Outside of strings there are no escapes.
    unescape(text).is_some()
}

/// What `->>` gives of a value: NULL for `null`, the text of a string, else the value as it is written.
pub fn as_text(value: &str) -> Result<Option<Cow<'_, str>>, Unread> {
    match Kind::of(value).ok_or(Unread)? {
        Kind::Null => Ok(None),
        Kind::String => {
            let quoted = Walk::new(value).string().ok_or(Unread)?;
            unescape(quoted).map(Some).ok_or(Unread)
        }
        _ => Ok(Some(Cow::Borrowed(value))),
    }
}

/// Whether a string is a key of the object, an element of the array, or the string itself: the operator `?`.
pub fn exists(text: &str, key: &str) -> Result<bool, Unread> {
    let is_key =
        |value: &str| Ok(Kind::of(value) == Some(Kind::String) && as_text(value)?.as_deref() == Some(key));
    match Kind::of(text).ok_or(Unread)? {
        Kind::Object => Ok(field(text, key)?.is_some()),
        Kind::Array => {
            for element in elements(text) {
                if is_key(element.ok_or(Unread)?)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => is_key(text),
    }
}

/// A document, read whole.
enum Node<'a> {
    Null,
    Boolean(bool),
    /// As `numeric` prints it.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Self>),
    /// In the order of `jsonb`, each key once.
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// Reads a document strictly. `None` if it is none, or Postgres might not take it as `jsonb`.
fn parse(text: &str) -> Option<Node<'_>> {
    let mut walk = Walk::new(text);
    let node = parse_value(&mut walk, 0)?;
    walk.is_done().then_some(node)
}

fn parse_value<'a>(walk: &mut Walk<'a>, depth: usize) -> Option<Node<'a>> {
    if depth > DEPTH_MAX {
        return None;
    }
    match walk.peek()? {
        b'"' => parse_string(walk).map(Node::String),
        b'[' => {
            walk.take(b'[')?;
            let mut elements = Vec::new();
            if walk.take(b']').is_some() {
                return Some(Node::Array(elements));
            }
            loop {
                elements.push(parse_value(walk, depth + 1)?);
                if walk.take(b',').is_none() {
                    walk.take(b']')?;
                    return Some(Node::Array(elements));
                }
            }
        }
        b'{' => {
            walk.take(b'{')?;
            let mut fields = Vec::new();
            if walk.take(b'}').is_some() {
                return Some(Node::Object(fields));
            }
            loop {
                walk.peek().filter(|byte| *byte == b'"')?;
                let key = parse_string(walk)?;
                walk.take(b':')?;
                fields.push((key, parse_value(walk, depth + 1)?));
                if walk.take(b',').is_none() {
                    walk.take(b'}')?;
                    return Some(Node::Object(in_order(fields)));
                }
            }
        }
        _ => match walk.value()? {
            "null" => Some(Node::Null),
            "true" => Some(Node::Boolean(true)),
            "false" => Some(Node::Boolean(false)),
            number => canonical_number(number).map(Node::Number),
        },
    }
}

/// A string without control characters.
fn parse_string<'a>(walk: &mut Walk<'a>) -> Option<Cow<'a, str>> {
    let quoted = walk.string()?;
    let plain = !quoted.bytes().any(|byte| byte < 0x20);
    plain.then(|| unescape(quoted))?
}

/// Short keys before long ones, and each once: the last counts.
fn in_order<'a>(mut fields: Vec<(Cow<'a, str>, Node<'a>)>) -> Vec<(Cow<'a, str>, Node<'a>)> {
    fields.reverse();
    fields.sort_by(|(left, _), (right, _)| left.len().cmp(&right.len()).then_with(|| left.cmp(right)));
    fields.dedup_by(|(later, _), (kept, _)| later == kept);
    fields
}

/// A number as `numeric` prints it. `None` if it is none in JSON, or too large to be written here.
fn canonical_number(text: &str) -> Option<Cow<'_, str>> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let valid = (1..=4).contains(&digits.len()) && is_digits(digits);
            (mantissa, valid.then(|| exponent.parse::<i64>().ok())??)
        }
        None => (text, 0),
    };
    let magnitude = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (integer, fraction) = match magnitude.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (magnitude, ""),
    };
    let leading_zero = integer.len() > 1 && integer.starts_with('0');
    let valid = !integer.is_empty() && is_digits(integer) && is_digits(fraction) && !leading_zero;
    if !valid || text.len() > super::numeric::TEXT_BYTES_MAX || exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let zero = magnitude.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if exponent == 0 && mantissa.len() == text.len() {
        return Some(Cow::Borrowed(if zero { magnitude } else { mantissa }));
    }
    Some(Cow::Owned(written_out(integer, fraction, exponent, !zero && mantissa.starts_with('-'))))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number without its exponent.
fn written_out(integer: &str, fraction: &str, exponent: i64, negative: bool) -> String {
    let shift = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    let (mut whole, mut rest) = (integer.to_owned(), fraction.to_owned());
    if exponent >= 0 {
        let taken = shift.min(rest.len());
        whole.extend(rest.drain(..taken));
        whole.extend(std::iter::repeat_n('0', shift - taken));
    } else {
        let taken = shift.min(whole.len());
        let moved = whole.split_off(whole.len() - taken);
        rest = format!("{}{moved}{rest}", "0".repeat(shift - taken));
    }
    let whole = whole.trim_start_matches('0');
    let sign = if negative { "-" } else { "" };
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{rest}", if whole.is_empty() { "0" } else { whole })
}

impl Node<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(true) => out.push_str("true"),
            Self::Boolean(false) => out.push_str("false"),
            Self::Number(number) => out.push_str(number),
            Self::String(string) => write_string(string, out),
            Self::Array(elements) => {
                out.push('[');
                for (place, element) in elements.iter().enumerate() {
                    out.push_str(if place > 0 { ", " } else { "" });
                    element.write(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (place, (key, value)) in fields.iter().enumerate() {
                    out.push_str(if place > 0 { ", " } else { "" });
                    write_string(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// The text that `jsonb` prints of a document. `None` if Postgres would raise an error, or might.
pub fn canonical(text: &str) -> Option<String> {
    let node = parse(text)?;
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    node.write(&mut out);
    Some(out)
}

/// Whether a text is a document that certainly is one to the type `json` too.
pub fn is_valid(text: &str) -> bool {
    parse(text).is_some()
}

/// Whether two values of `jsonb` are equal: numbers by what they count.
pub fn equal(left: &str, right: &str) -> Result<bool, Unread> {
    if left == right {
        return Ok(true);
    }
    let (left, right) = (parse(left).ok_or(Unread)?, parse(right).ok_or(Unread)?);
    nodes_equal(&left, &right)
}

fn nodes_equal(left: &Node<'_>, right: &Node<'_>) -> Result<bool, Unread> {
    Ok(match (left, right) {
        (Node::Null, Node::Null) => true,
        (Node::Boolean(left), Node::Boolean(right)) => left == right,
        (Node::String(left), Node::String(right)) => left == right,
        (Node::Number(left), Node::Number(right)) => {
            Numeric::parse(left).ok_or(Unread)? == Numeric::parse(right).ok_or(Unread)?
        }
        (Node::Array(left), Node::Array(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right) {
                if !nodes_equal(left, right)? {
                    return Ok(false);
                }
            }
            true
        }
        (Node::Object(left), Node::Object(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for ((left_key, left), (right_key, right)) in left.iter().zip(right) {
                if left_key != right_key || !nodes_equal(left, right)? {
                    return Ok(false);
                }
            }
            true
        }
        _ => false,
    })
}

/// Whether one value of `jsonb` contains another: the operator `@>`.
pub fn contains(left: &str, right: &str) -> Result<bool, Unread> {
    let (left, right) = (parse(left).ok_or(Unread)?, parse(right).ok_or(Unread)?);
    let mut steps = STEPS_MAX;
    match (&left, &right) {
        // At the outermost level an array contains a plain value too.
        (Node::Array(elements), scalar) if !scalar.is_container() => has_scalar(elements, scalar, &mut steps),
        (left, right) if left.is_container() && right.is_container() => {
            node_contains(left, right, &mut steps)
        }
        (left, right) => Ok(!left.is_container() && !right.is_container() && nodes_equal(left, right)?),
    }
}

impl Node<'_> {
    fn is_container(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Object(_))
    }
}

fn has_scalar(elements: &[Node<'_>], scalar: &Node<'_>, steps: &mut usize) -> Result<bool, Unread> {
    for element in elements {
        *steps = steps.checked_sub(1).ok_or(Unread)?;
        if !element.is_container() && nodes_equal(element, scalar)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn node_contains(left: &Node<'_>, right: &Node<'_>, steps: &mut usize) -> Result<bool, Unread> {
    *steps = steps.checked_sub(1).ok_or(Unread)?;
    match (left, right) {
        (Node::Object(left), Node::Object(right)) => {
            let known: HashMap<&str, &Node<'_>> = left.iter().map(|(key, node)| (&**key, node)).collect();
            for (key, wanted) in right {
                let Some(node) = known.get(&**key) else { return Ok(false) };
                let found = match wanted.is_container() {
                    true => node_contains(node, wanted, steps)?,
                    false => nodes_equal(node, wanted)?,
                };
                if !found {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Node::Array(left), Node::Array(right)) => {
            for wanted in right {
                let found = match wanted.is_container() {
                    false => has_scalar(left, wanted, steps)?,
                    true => {
                        let mut found = false;
                        for node in left {
                            *steps = steps.checked_sub(1).ok_or(Unread)?;
                            found = found || node_contains(node, wanted, steps)?;
                        }
                        found
                    }
                };
                if !found {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_written_as_jsonb_prints_them() {
        for (text, expected) in [
            (r#" {"b":1 , "aa":2,"a":[ ],"b":{"x":1e2}} "#, r#"{"a": [], "b": {"x": 100}, "aa": 2}"#),
            ("[1.50,1.5e1,15e-3,-0,-0.0,1e0]", "[1.50, 15, 0.015, 0, 0.0, 1]"),
            (r#""\u00e9\ud83d\ude00\/\u0001""#, "\"é😀/\\u0001\""),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "nul",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "1 2",
            "\"\n\"",
            "[1]]",
            "\"\\x\"",
            "1e",
            "NaN",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
        let deep = "[".repeat(200_000);
        assert_eq!(canonical(&deep), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]{}:",\\ au0-9.-]{0,40}"#, key in "[a\"]{0,2}") {
            let _ = (canonical(&text), field(&text, &key), element(&text, -1), exists(&text, &key), as_text(&text));
            if let Some(written) = canonical(&text) {
                prop_assert_eq!(canonical(&written), Some(written.clone()));
                prop_assert_eq!(equal(&text, &written), Ok(true));
                prop_assert_eq!(contains(&written, &text), Ok(true));
            }
        }
    }
}

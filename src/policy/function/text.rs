//! Text. Where an answer depends on more than bytes, it is given for ASCII only.

use std::sync::Arc;

use super::{Doubt, Known};
use crate::policy::pattern::Pattern;
use crate::policy::types::{BOOL, BPCHAR, INT4, NAME, TEXT, VARCHAR};
use crate::policy::value::Value;
use crate::policy::value::array::{Array, ELEMENTS_MAX};

/// The longest text that is made here, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// How many bytes may be compared where lengths multiply.
const STEPS_MAX: usize = 1 << 20;

/// A `name` is shorter than this many bytes.
const NAME_BYTES: usize = 64;

/// `text[]`
const TEXTS: u32 = 1009;

/// What a type modifier counts besides the length.
const HEADER: i64 = 4;

/// A function of one text.
macro_rules! text1 {
    ($symbol:literal, $from:expr, $to:expr, $of:expr) => {
        Known::new($symbol, &[$from], $to, |_, it| match it {
            [Value::Text(text)] => {
                let of: fn(&Arc<str>) -> Result<Value, Doubt> = $of;
                of(text)
            }
            _ => Err(Doubt::Unknown),
        })
    };
}

/// A function of two texts.
macro_rules! text2 {
    ($symbol:literal, $left:expr, $to:expr, $of:expr) => {
        Known::new($symbol, &[$left, TEXT], $to, |_, it| match it {
            [Value::Text(left), Value::Text(right)] => {
                let of: fn(&str, &str) -> Result<Value, Doubt> = $of;
                of(left, right)
            }
            _ => Err(Doubt::Unknown),
        })
    };
}

pub(super) static KNOWN: &[&[Known]] = &[
    &[
        text2!("textlike", TEXT, BOOL, |text, pattern| like(text, pattern, true)).equates_text().raises(),
        text2!("textnlike", TEXT, BOOL, |text, pattern| like(text, pattern, false)).equates_text().raises(),
        text2!("textlike", BPCHAR, BOOL, |text, pattern| like(text, pattern, true)).equates_text().raises(),
        text2!("textnlike", BPCHAR, BOOL, |text, pattern| like(text, pattern, false)).equates_text().raises(),
        text2!("texticlike", TEXT, BOOL, |text, pattern| folded_like(text, pattern, true))
            .equates_text()
            .raises(),
        text2!("texticnlike", TEXT, BOOL, |text, pattern| folded_like(text, pattern, false))
            .equates_text()
            .raises(),
        text2!("textregexeq", TEXT, BOOL, |text, pattern| expression(text, pattern).map(Value::Bool))
            .equates_text()
            .raises(),
        text2!("textregexne", TEXT, BOOL, |text, pattern| expression(text, pattern)
            .map(|it| Value::Bool(!it)))
        .equates_text()
        .raises(),
        text2!("text_starts_with", TEXT, BOOL, |text, start| Ok(Value::Bool(text.starts_with(start))))
            .equates_text(),
    ],
    &[
        text2!("textcat", TEXT, TEXT, |left, right| made(left.len() + right.len(), || [left, right]
            .concat())),
        text2!("btrim", TEXT, TEXT, |text, set| trim(text, set, true, true)),
        text2!("ltrim", TEXT, TEXT, |text, set| trim(text, set, true, false)),
        text2!("rtrim", TEXT, TEXT, |text, set| trim(text, set, false, true)),
        text1!("btrim1", TEXT, TEXT, |text| Ok(Value::text(text.trim_matches(' ')))),
        text1!("ltrim1", TEXT, TEXT, |text| Ok(Value::text(text.trim_start_matches(' ')))),
        text1!("rtrim1", TEXT, TEXT, |text| Ok(Value::text(text.trim_end_matches(' ')))),
        text1!("rtrim1", BPCHAR, TEXT, |text| Ok(Value::text(text.trim_end_matches(' ')))),
        text1!("lower", TEXT, TEXT, |text| Ok(Value::text(&lower(text)?))),
        text1!("upper", TEXT, TEXT, |text| {
            // Some languages have a capital of their own for this letter.
            let plain = text.is_ascii() && !text.contains('i');
            if plain { Ok(Value::text(&text.to_ascii_uppercase())) } else { Err(Doubt::Unknown) }
        }),
        text1!("textlen", TEXT, INT4, |text| count(text.chars().count())),
        text1!("textoctetlen", TEXT, INT4, |text| count(text.len())),
        text1!("name_text", NAME, TEXT, |text| Ok(Value::Text(Arc::clone(text)))),
        text1!("text_name", TEXT, NAME, |text| Ok(Value::text(clipped(text)))),
    ],
    &[
        Known::new("text_left", &[TEXT, INT4], TEXT, |_, it| match it {
            [Value::Text(text), Value::Int(number)] => Ok(Value::text(split_at_character(text, *number).0)),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("text_right", &[TEXT, INT4], TEXT, |_, it| match it {
            [Value::Text(_), Value::Int(0)] => Ok(Value::text("")),
            // Its contrary is no `integer`.
            [Value::Text(_), Value::Int(number)] if *number <= i64::from(i32::MIN) => Err(Doubt::Unknown),
            [Value::Text(text), Value::Int(number)] => Ok(Value::text(split_at_character(text, -number).1)),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("text_substr", &[TEXT, INT4, INT4], TEXT, |_, it| match it {
            [Value::Text(_), Value::Int(_), Value::Int(..0)] => Err(Doubt::Raises),
            [Value::Text(text), Value::Int(start), Value::Int(length)] => {
                Ok(Value::text(characters(text, *start, start.saturating_add(*length))))
            }
            _ => Err(Doubt::Unknown),
        })
        .raises(),
        Known::new("text_substr_no_len", &[TEXT, INT4], TEXT, |_, it| match it {
            [Value::Text(text), Value::Int(start)] => Ok(Value::text(characters(text, *start, i64::MAX))),
            _ => Err(Doubt::Unknown),
        }),
        text2!("textpos", TEXT, INT4, |text, part| match text.find(part) {
            Some(at) => count(text[..at].chars().count() + 1),
            None => Ok(Value::Int(0)),
        })
        .equates_text(),
        Known::new("split_part", &[TEXT, TEXT, INT4], TEXT, |_, it| match it {
            [Value::Text(text), Value::Text(separator), Value::Int(number)] => {
                split_part(text, separator, *number)
            }
            _ => Err(Doubt::Unknown),
        })
        .equates_text()
        .raises(),
        Known::new("replace_text", &[TEXT, TEXT, TEXT], TEXT, |_, it| match it {
            [Value::Text(text), Value::Text(from), Value::Text(to)] => replace(text, from, to),
            _ => Err(Doubt::Unknown),
        })
        .equates_text(),
        Known::new("text_to_array", &[TEXT, TEXT], TEXTS, |_, it| match it {
            [Value::Null, _] => Ok(Value::Null),
            [Value::Text(text), Value::Text(separator)] => split(text, separator),
            _ => Err(Doubt::Unknown),
        })
        .takes_null()
        .equates_text(),
    ],
    &[
        Known::new("varchar", &[VARCHAR, INT4, BOOL], VARCHAR, |_, it| match it {
            [Value::Text(text), Value::Int(modifier), Value::Bool(explicit)] => {
                Ok(match fitted(text, *modifier, *explicit)? {
                    Some((fitted, _)) => Value::text(fitted),
                    None => Value::Text(Arc::clone(text)),
                })
            }
            _ => Err(Doubt::Unknown),
        })
        .raises(),
        Known::new("bpchar", &[BPCHAR, INT4, BOOL], BPCHAR, |_, it| match it {
            [Value::Text(text), Value::Int(modifier), Value::Bool(explicit)] => {
                match fitted(text, *modifier, *explicit)? {
                    Some((fitted, missing)) => made(fitted.len().saturating_add(missing), || {
                        format!("{fitted}{}", " ".repeat(missing))
                    }),
                    None => Ok(Value::Text(Arc::clone(text))),
                }
            }
            _ => Err(Doubt::Unknown),
        })
        .raises(),
    ],
];

fn count(count: usize) -> Result<Value, Doubt> {
    i64::try_from(count).map(Value::Int).map_err(|_| Doubt::TooLong)
}

/// A text that is made only if it is not too long.
fn made(length: usize, make: impl FnOnce() -> String) -> Result<Value, Doubt> {
    if length <= BYTES_MAX { Ok(Value::Text(make().into())) } else { Err(Doubt::TooLong) }
}

fn like(text: &str, pattern: &str, wanted: bool) -> Result<Value, Doubt> {
    let pattern = Pattern::parse(pattern).ok_or(Doubt::Raises)?;
    let matches = pattern.matches(text).map_err(|_| Doubt::TooLong)?;
    Ok(Value::Bool(matches == wanted))
}

fn folded_like(text: &str, pattern: &str, wanted: bool) -> Result<Value, Doubt> {
    like(&lower(text)?, &lower(pattern)?, wanted)
}

/// Some languages have a small letter of their own for `I`.
fn lower(text: &str) -> Result<String, Doubt> {
    let plain = text.is_ascii() && !text.contains('I');
    if plain { Ok(text.to_ascii_lowercase()) } else { Err(Doubt::Unknown) }
}

/// Whether a regular expression matches, if it is plain text or several of it with `|` between, each perhaps bound to
/// the start or the end.
fn expression(text: &str, expression: &str) -> Result<bool, Doubt> {
    let mut found = false;
    for branch in expression.split('|') {
        let (branch, from_start) = branch.strip_prefix('^').map_or((branch, false), |rest| (rest, true));
        let (branch, to_end) = branch.strip_suffix('$').map_or((branch, false), |rest| (rest, true));
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b' ' | b'@' | b'-' | b'/');
        if branch.is_empty() || !branch.bytes().all(plain) {
            return Err(Doubt::Unknown);
        }
        found |= match (from_start, to_end) {
            (true, true) => text == branch,
            (true, false) => text.starts_with(branch),
            (false, true) => text.ends_with(branch),
            (false, false) => memchr::memmem::find(text.as_bytes(), branch.as_bytes()).is_some(),
        };
    }
    Ok(found)
}

fn trim(text: &str, set: &str, start: bool, end: bool) -> Result<Value, Doubt> {
    if text.len().saturating_mul(set.len()) > STEPS_MAX {
        return Err(Doubt::TooLong);
    }
    let in_set = |character: char| set.contains(character);
    let text = if start { text.trim_start_matches(in_set) } else { text };
    Ok(Value::text(if end { text.trim_end_matches(in_set) } else { text }))
}

/// What a `name` keeps of a text: whole characters.
fn clipped(text: &str) -> &str {
    let mut end = text.len().min(NAME_BYTES - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Cuts behind this many characters; a negative number counts from the end.
fn split_at_character(text: &str, number: i64) -> (&str, &str) {
    let distance = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
    let at = match number {
        0.. => text.char_indices().nth(distance).map_or(text.len(), |(at, _)| at),
        _ => text.char_indices().nth_back(distance - 1).map_or(0, |(at, _)| at),
    };
    text.split_at(at)
}

/// The characters from one place, counted from 1, to before another.
fn characters(text: &str, start: i64, end: i64) -> &str {
    let start = start.max(1);
    let length = end.saturating_sub(start).max(0);
    let skipped = split_at_character(text, start - 1).1;
    split_at_character(skipped, length).0
}

fn split_part(text: &str, separator: &str, number: i64) -> Result<Value, Doubt> {
    let place =
        usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX).checked_sub(1).ok_or(Doubt::Raises)?;
    if separator.is_empty() || text.is_empty() {
        return Ok(Value::text(if place == 0 { text } else { "" }));
    }
    let part = match number {
        0.. => text.split(separator).nth(place),
        _ => {
            // From the start too, so that separators that overlap are found where Postgres finds them.
            let count = text.split(separator).count();
            count.checked_sub(place + 1).and_then(|place| text.split(separator).nth(place))
        }
    };
    Ok(Value::text(part.unwrap_or("")))
}

fn replace(text: &str, from: &str, to: &str) -> Result<Value, Doubt> {
    if from.is_empty() {
        return Ok(Value::text(text));
    }
    let found = text.matches(from).count();
    let length = text.len() - found * from.len() + found.saturating_mul(to.len());
    made(length, || text.replace(from, to))
}

fn split(text: &str, separator: &str) -> Result<Value, Doubt> {
    let parts: Vec<Value> = match (text, separator) {
        ("", _) => Vec::new(),
        (text, "") => vec![Value::text(text)],
        _ => text.split(separator).take(ELEMENTS_MAX + 1).map(Value::text).collect(),
    };
    if parts.len() > ELEMENTS_MAX {
        return Err(Doubt::TooLong);
    }
    Ok(Value::Array(Arc::new(Array::of(parts))))
}

/// A text within the length of a type modifier, and how many characters it lacks. `None` if there is no such length.
/// Only an explicit cast cuts off more than blanks.
fn fitted(text: &str, modifier: i64, explicit: bool) -> Result<Option<(&str, usize)>, Doubt> {
    let Ok(length) = usize::try_from(modifier - HEADER) else { return Ok(None) };
    let (fitted, rest) = split_at_character(text, modifier - HEADER);
    if !explicit && rest.bytes().any(|byte| byte != b' ') {
        return Err(Doubt::Raises);
    }
    Ok(Some((fitted, length - fitted.chars().count())))
}

//! Values without structure: numbers, truth, time, bytes, and JSON itself.

use serde::de::IgnoredAny;

use super::Error;
use crate::change::json;

/// The longest exponent that is written out: more than `double precision` reaches (`5e-324`), and a bound on what
/// a few bytes may grow to.
const EXPONENT_MAX: usize = 1000;

/// `smallint`, `integer`, `bigint`: every digit, unquoted.
pub(super) fn write_integer(text: &str, out: &mut String) -> Result<(), Error> {
    if !is_whole(text.strip_prefix('-').unwrap_or(text)) {
        return Err(Error::Malformed);
    }
    out.push_str(text);
    Ok(())
}

/// An `oid`: a string to `to_jsonb`.
pub(super) fn write_quoted_integer(text: &str, out: &mut String) -> Result<(), Error> {
    out.push('"');
    write_integer(text, out)?;
    out.push('"');
    Ok(())
}

/// `real`, `double precision`, `numeric`: every digit, with the exponent expanded; what is no number is a string.
pub(super) fn write_decimal(text: &str, out: &mut String) -> Result<(), Error> {
    match text {
        "NaN" | "Infinity" | "-Infinity" => {
            json::write_string(text, out);
            return Ok(());
        }
        // numeric, through which to_jsonb sends every number, has no negative zero.
        "-0" => {
            out.push('0');
            return Ok(());
        }
        _ => {}
    }
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    let Some((mantissa, exponent)) = magnitude.split_once('e') else {
        split_point(magnitude)?;
        out.push_str(text);
        return Ok(());
    };
    if magnitude.len() < text.len() {
        out.push('-');
    }
    write_expanded(mantissa, exponent, out)
}

/// Writes `1.5` and `-07` as `0.00000015`.
fn write_expanded(mantissa: &str, exponent: &str, out: &mut String) -> Result<(), Error> {
    let (whole, fraction) = split_point(mantissa)?;
    // The text form is normalized; a zero before the point would become a leading zero.
    if whole == "0" {
        return Err(Error::Malformed);
    }
    let exponent: i32 = exponent.parse().map_err(|_| Error::Malformed)?;
    let shift = usize::try_from(exponent.unsigned_abs()).map_err(|_| Error::Malformed)?;
    if shift > EXPONENT_MAX {
        return Err(Error::Malformed);
    }
    if exponent >= 0 {
        out.push_str(whole);
        let (moved, left) = fraction.split_at(shift.min(fraction.len()));
        out.push_str(moved);
        push_zeros(shift - moved.len(), out);
        if !left.is_empty() {
            out.push('.');
            out.push_str(left);
        }
    } else {
        let (left, moved) = whole.split_at(whole.len().saturating_sub(shift));
        out.push_str(if left.is_empty() { "0" } else { left });
        out.push('.');
        push_zeros(shift - moved.len(), out);
        out.push_str(moved);
        out.push_str(fraction);
    }
    Ok(())
}

/// The digits before and after the point of a number without sign and exponent. Both are ASCII.
fn split_point(number: &str) -> Result<(&str, &str), Error> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(Error::Malformed),
        Some(parts) => parts,
        None => (number, ""),
    };
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if is_whole(whole) && digits { Ok((whole, fraction)) } else { Err(Error::Malformed) }
}

/// Whether these are digits as JSON wants them: at least one, and no leading zero.
fn is_whole(digits: &str) -> bool {
    let zeros_lead = digits.len() > 1 && digits.starts_with('0');
    !digits.is_empty() && !zeros_lead && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn push_zeros(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n('0', count));
}

/// `boolean`: a word for its letter.
pub(super) fn write_boolean(text: &str, out: &mut String) -> Result<(), Error> {
    out.push_str(match text {
        "t" => "true",
        "f" => "false",
        _ => return Err(Error::Malformed),
    });
    Ok(())
}

/// `timestamp`: with `T` between date and time.
pub(super) fn write_timestamp(text: &str, out: &mut String) -> Result<(), Error> {
    let Some((date, time)) = split_timestamp(text)? else { return write_infinity(text, out) };
    push_all(&["\"", date, "T", time, "\""], out);
    Ok(())
}

/// `timestamptz`: with `T`, and minutes in the offset, which the text form leaves out when they are zero.
pub(super) fn write_timestamptz(text: &str, out: &mut String) -> Result<(), Error> {
    let Some((date, time)) = split_timestamp(text)? else { return write_infinity(text, out) };
    let sign = time.find(['+', '-']).ok_or(Error::Malformed)?;
    let era = time.find(' ').unwrap_or(time.len());
    let offset = time.get(sign..era).ok_or(Error::Malformed)?;
    let minutes = if offset.contains(':') { "" } else { ":00" };
    push_all(&["\"", date, "T", &time[..era], minutes, &time[era..], "\""], out);
    Ok(())
}

/// Date and the rest; `None` for text that has no parts, as infinity has none. Neither part needs escapes.
fn split_timestamp(text: &str) -> Result<Option<(&str, &str)>, Error> {
    let Some(parts) = text.split_once(' ') else { return Ok(None) };
    let expected = |byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'.' | b'+' | b' ' | b'B' | b'C');
    if text.bytes().all(expected) { Ok(Some(parts)) } else { Err(Error::Malformed) }
}

fn write_infinity(text: &str, out: &mut String) -> Result<(), Error> {
    match text {
        "infinity" | "-infinity" => {
            json::write_string(text, out);
            Ok(())
        }
        _ => Err(Error::Malformed),
    }
}

/// A `bytea` column: hex digits without their prefix.
pub(super) fn write_bytea(text: &str, out: &mut String) -> Result<(), Error> {
    let hex = text.strip_prefix("\\x").ok_or(Error::Malformed)?;
    if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::Malformed);
    }
    push_all(&["\"", hex, "\""], out);
    Ok(())
}

/// `json` and `jsonb`: the document as it is, on one line.
pub(super) fn write_embedded(text: &str, out: &mut String) -> Result<(), Error> {
    // A document that is none would break the frame around it, for every recipient. The check neither builds
    // anything nor recurses, however deep the document is.
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| Error::Malformed)?;
    let mut rest = text;
    // Inside a string a line break is escaped, so each one found is white space.
    while let Some(place) = memchr::memchr2(b'\n', b'\r', rest.as_bytes()) {
        push_all(&[&rest[..place], " "], out);
        rest = &rest[place + 1..];
    }
    out.push_str(rest);
    Ok(())
}

fn push_all(parts: &[&str], out: &mut String) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.push_str(part);
    }
}

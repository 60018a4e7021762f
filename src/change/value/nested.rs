//! Values with structure: arrays, composites, and the two vectors of the system catalogs.

use super::{Error, write_value};
use crate::change::json;
use crate::change::types::{Oid, Types};

/// How many dimensions an array of Postgres can have.
const DIMENSIONS_MAX: usize = 6;

/// `{1,NULL,"a \"b\""}` → `[1,null,"a \"b\""]`; one JSON array a dimension. Lower bounds are dropped.
pub(super) fn write_array(
    types: &Types,
    element: Oid,
    delimiter: u8,
    text: &str,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    let mut reader = Reader { text, at: bounds_length(text)? };
    let mut scratch = String::new();
    let mut open = 0_usize;
    // All elements lie equally deep.
    let mut dimensions = None;
    loop {
        if reader.peek() == Some(b'{') {
            reader.at += 1;
            open += 1;
            if open > DIMENSIONS_MAX {
                return Err(Error::Malformed);
            }
            out.push('[');
            if reader.peek() != Some(b'}') {
                continue;
            }
        } else {
            if open == 0 || *dimensions.get_or_insert(open) != open {
                return Err(Error::Malformed);
            }
            match reader.array_element(delimiter, &mut scratch)? {
                Some(value) => write_value(types, element, value, depth + 1, out)?,
                None => out.push_str("null"),
            }
        }
        // Behind an element or an empty array: what it closes, up to the next one.
        loop {
            match reader.next() {
                Some(byte) if byte == delimiter => {
                    out.push(',');
                    break;
                }
                Some(b'}') => {
                    out.push(']');
                    open -= 1;
                    if open == 0 {
                        return reader.end();
                    }
                }
                _ => return Err(Error::Malformed),
            }
        }
    }
}

/// The length of the explicit bounds `[2:3][-1:0]=` before an array whose indexes do not start at one.
fn bounds_length(text: &str) -> Result<usize, Error> {
    if !text.starts_with('[') {
        return Ok(0);
    }
    let length = text.find('=').ok_or(Error::Malformed)?;
    let expected = |byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'[' | b']');
    if text.bytes().take(length).all(expected) { Ok(length + 1) } else { Err(Error::Malformed) }
}

/// `(1,"a ""b""",)` → `{"id":1,"name":"a \"b\"","rest":null}`.
pub(super) fn write_composite(
    types: &Types,
    fields: &[(Box<str>, Oid)],
    text: &str,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    let mut reader = Reader { text, at: 0 };
    let mut scratch = String::new();
    if reader.next() != Some(b'(') {
        return Err(Error::Malformed);
    }
    out.push('{');
    for (index, (name, field)) in fields.iter().enumerate() {
        if index > 0 {
            match reader.next() {
                Some(b',') => out.push(','),
                // Fewer fields than the type has here: it was altered since.
                Some(b')') => return reader.end().and(Err(Error::AskPostgres)),
                _ => return Err(Error::Malformed),
            }
        }
        json::write_string(name, out);
        out.push(':');
        match reader.composite_field(&mut scratch)? {
            Some(value) => write_value(types, *field, value, depth + 1, out)?,
            None => out.push_str("null"),
        }
    }
    out.push('}');
    match reader.next() {
        Some(b')') => reader.end(),
        // More fields than the type has here, likewise.
        Some(b',') => Err(Error::AskPostgres),
        _ => Err(Error::Malformed),
    }
}

/// `1 2 3`, as `int2vector` and `oidvector` are written → `[1,2,3]`.
pub(super) fn write_vector(
    text: &str,
    write_element: fn(&str, &mut String) -> Result<(), Error>,
    out: &mut String,
) -> Result<(), Error> {
    out.push('[');
    if !text.is_empty() {
        for (index, element) in text.split(' ').enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_element(element, out)?;
        }
    }
    out.push(']');
    Ok(())
}

/// A place in the text form of an array or composite.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn end(&self) -> Result<(), Error> {
        if self.at == self.text.len() { Ok(()) } else { Err(Error::Malformed) }
    }

    /// An element, up to the delimiter or brace behind it; `None` is NULL.
    fn array_element<'s>(&mut self, delimiter: u8, scratch: &'s mut String) -> Result<Option<&'s str>, Error>
    where
        'a: 's,
    {
        if self.peek() == Some(b'"') {
            return self.quoted(false, scratch).map(Some);
        }
        let element = self.bare(delimiter, b'}')?;
        if element.contains('{') {
            return Err(Error::Malformed);
        }
        // A text that spells NULL would stand in quotes.
        Ok((!element.eq_ignore_ascii_case("null")).then_some(element))
    }

    /// A field, up to the comma or parenthesis behind it; `None` is NULL.
    fn composite_field<'s>(&mut self, scratch: &'s mut String) -> Result<Option<&'s str>, Error>
    where
        'a: 's,
    {
        match self.peek() {
            Some(b'"') => self.quoted(true, scratch).map(Some),
            // An empty text would stand in quotes.
            Some(b',' | b')') => Ok(None),
            _ => self.bare(b',', b')').map(Some),
        }
    }

    /// What stands without quotes before either byte; never empty.
    fn bare(&mut self, separator: u8, close: u8) -> Result<&'a str, Error> {
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).ok_or(Error::Malformed)?;
        let length = memchr::memchr2(separator, close, rest).ok_or(Error::Malformed)?;
        self.at += length;
        // A separator may be any byte, even one inside a character.
        let bare = self.text.get(start..self.at).ok_or(Error::Malformed)?;
        let plain = memchr::memchr2(b'"', b'\\', bare.as_bytes()).is_none();
        if plain && !bare.is_empty() { Ok(bare) } else { Err(Error::Malformed) }
    }

    /// What stands in quotes, without them and without its escapes. `doubled`: two quotes stand for one.
    fn quoted<'s>(&mut self, doubled: bool, scratch: &'s mut String) -> Result<&'s str, Error>
    where
        'a: 's,
    {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let start = self.at + 1;
        scratch.clear();
        // All before `copied` is in the scratch buffer; all before `search` has been looked at.
        let (mut copied, mut search) = (start, start);
        loop {
            let rest = bytes.get(search..).ok_or(Error::Malformed)?;
            let place = search + memchr::memchr2(b'"', b'\\', rest).ok_or(Error::Malformed)?;
            let next = bytes.get(place + 1);
            if bytes[place] == b'\\' {
                // What follows stands for itself, be it one byte or the first of several.
                next.ok_or(Error::Malformed)?;
                scratch.push_str(&text[copied..place]);
                copied = place + 1;
            } else if doubled && next == Some(&b'"') {
                scratch.push_str(&text[copied..=place]);
                copied = place + 2;
            } else {
                self.at = place + 1;
                if copied == start {
                    return Ok(&text[start..place]);
                }
                scratch.push_str(&text[copied..place]);
                return Ok(scratch);
            }
            search = place + 2;
        }
    }
}

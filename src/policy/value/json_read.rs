//! Walks JSON text without building anything.
//!
//! The text is one that Postgres took, so it is read loosely: text that is no JSON gives some answer or none, but never
//! a panic.

use std::borrow::Cow;

/// A place in a text.
pub(super) struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no white space, which stays.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let blanks = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
        self.at += blanks;
        rest.get(blanks).copied()
    }

    /// Takes this byte, behind white space.
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// A string, between its quotes and with its escapes.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        self.skip_string()?;
        self.text.get(start..self.at - 1)
    }

    /// Goes behind the quote that ends a string.
    fn skip_string(&mut self) -> Option<()> {
        loop {
            let found = memchr::memchr2(b'"', b'\\', self.text.as_bytes().get(self.at..)?)?;
            let byte = self.text.as_bytes()[self.at + found];
            self.at += found + 1;
            if byte == b'"' {
                return Some(());
            }
            self.at += 1;
        }
    }

    /// A whole value.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.at += 1;
                self.skip_string()?;
            }
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    let byte = *self.text.as_bytes().get(self.at)?;
                    self.at += 1;
                    match byte {
                        b'"' => self.skip_string()?,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth = depth.checked_sub(1)?,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => self.scalar()?,
        }
        self.text.get(start..self.at)
    }

    /// Goes behind a number or a word.
    fn scalar(&mut self) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r' | b':');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then_some(())
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }
}

/// The key and value of each field of an object; `None` in place of one that cannot be read.
pub(super) fn fields(text: &str) -> impl Iterator<Item = Option<(&str, &str)>> {
    let mut walk = Walk::new(text);
    let mut open = walk.take(b'{').is_some() && walk.peek() != Some(b'}');
    std::iter::from_fn(move || {
        if !open {
            return None;
        }
        let mut field = || {
            let key = walk.string()?;
            walk.take(b':')?;
            let value = walk.value()?;
            open = walk.take(b',').is_some();
            Some((key, value))
        };
        let field = field();
        open &= field.is_some();
        Some(field)
    })
}

/// Each element of an array; `None` in place of one that cannot be read.
pub(super) fn elements(text: &str) -> impl Iterator<Item = Option<&str>> {
    let mut walk = Walk::new(text);
    let mut open = walk.take(b'[').is_some() && walk.peek() != Some(b']');
    std::iter::from_fn(move || {
        if !open {
            return None;
        }
        let value = walk.value();
        open = value.is_some() && walk.take(b',').is_some();
        Some(value)
    })
}

/// What stands between quotes without its escapes. `None` if it cannot be text: `\u0000`, half a pair of surrogates, or
/// an escape that is none.
pub(super) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        plain.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        let mut length = 2;
        plain.push(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                length = 6;
                let high = hex(rest.get(at + 2..at + 6)?)?;
                let code = match high {
                    0xD800..0xDC00 => {
                        let low = hex(rest.get(at + 6..at + 12)?.strip_prefix("\\u")?)?;
                        length = 12;
                        0x1_0000
                            + ((high - 0xD800) << 10)
                            + low.checked_sub(0xDC00).filter(|low| *low < 0x400)?
                    }
                    _ => high,
                };
                char::from_u32(code).filter(|character| *character != '\0')?
            }
            _ => return None,
        });
        rest = rest.get(at + length..)?;
    }
    plain.push_str(rest);
    Some(Cow::Owned(plain))
}

fn hex(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
}

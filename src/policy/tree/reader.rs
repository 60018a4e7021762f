//! Text to tree.
//!
//! A node is `{TAG :name value :name value}`. Names and values alternate strictly, so that a value which begins with a
//! colon, as an alias may, is not taken for a name.

use std::borrow::Cow;

use super::{Node, Tree};

/// The longest text that is read, in bytes.
pub const SIZE_MAX: usize = 4 << 20;

/// How deep lists and nodes may be nested: an operator costs two levels, its node and its list of arguments.
pub const DEPTH_MAX: usize = 500;

/// The most values that are read: about a hundred times what a policy has.
pub const NODES_MAX: usize = 500_000;

/// Why a text was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not a tree. Counts bytes.
    #[error("malformed at byte {0}")]
    Malformed(usize),
    /// It is longer than [`SIZE_MAX`], deeper than [`DEPTH_MAX`] or has more values than [`NODES_MAX`].
    #[error("too large")]
    TooLarge,
}

/// Reads a tree.
pub fn read(text: &str) -> Result<Tree<'_>, Error> {
    if text.len() > SIZE_MAX {
        return Err(Error::TooLarge);
    }
    let mut reader = Reader { text, at: 0, count: 0 };
    let first = reader.expect_token()?;
    let tree = reader.value(first, 0)?;
    match reader.token() {
        None => Ok(tree),
        Some(_) => Err(reader.malformed()),
    }
}

/// What PostgreSQL 14 calls some nodes differently.
const FORMER_TAGS: [(&str, &str); 5] = [
    ("RTE", "RANGETBLENTRY"),
    ("CASE", "CASEEXPR"),
    ("WHEN", "CASEWHEN"),
    ("ARRAY", "ARRAYEXPR"),
    ("COALESCE", "COALESCEEXPR"),
];

struct Reader<'a> {
    text: &'a str,
    at: usize,
    count: usize,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t')
}

fn is_bracket(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'{' | b'}')
}

impl<'a> Reader<'a> {
    fn malformed(&self) -> Error {
        Error::Malformed(self.at)
    }

    /// The next token as it is written, its backslashes included.
    fn token(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|byte| is_blank(*byte)) {
            self.at += 1;
        }
        let start = self.at;
        match bytes.get(self.at) {
            None => return None,
            Some(byte) if is_bracket(*byte) => self.at += 1,
            Some(_) => {
                while let Some(byte) = bytes.get(self.at) {
                    if is_blank(*byte) || is_bracket(*byte) {
                        break;
                    }
                    // What follows a backslash is part of the token whatever it is. Bytes of longer characters are
                    // never taken for brackets, so a cut always falls between characters.
                    self.at += if *byte == b'\\' { 2 } else { 1 };
                }
                self.at = self.at.min(bytes.len());
            }
        }
        self.text.get(start..self.at)
    }

    fn expect_token(&mut self) -> Result<&'a str, Error> {
        self.token().ok_or(Error::Malformed(self.at))
    }

    /// The next token without taking it.
    fn peek(&mut self) -> Option<&'a str> {
        let at = self.at;
        let token = self.token();
        self.at = at;
        token
    }

    /// The value that begins with this token.
    fn value(&mut self, token: &'a str, depth: usize) -> Result<Tree<'a>, Error> {
        self.count += 1;
        if depth > DEPTH_MAX || self.count > NODES_MAX {
            return Err(Error::TooLarge);
        }
        match token {
            "{" => self.node(depth),
            "(" => self.list(depth),
            "}" | ")" => Err(self.malformed()),
            "<>" => Ok(Tree::Null),
            _ => {
                let quoted = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                Ok(match quoted {
                    Some(inner) => Tree::Text(unescape(inner)),
                    None => Tree::Word(unescape(token)),
                })
            }
        }
    }

    fn node(&mut self, depth: usize) -> Result<Tree<'a>, Error> {
        let tag = self.expect_token()?;
        if tag.bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'_') {
            return Err(self.malformed());
        }
        let tag = FORMER_TAGS.iter().find(|(former, _)| *former == tag).map_or(tag, |(_, tag)| *tag);
        let mut fields = Vec::new();
        loop {
            let token = self.expect_token()?;
            if token == "}" {
                return Ok(Tree::Node(Box::new(Node { tag, fields })));
            }
            let name = token.strip_prefix(':').ok_or_else(|| self.malformed())?;
            let first = self.expect_token()?;
            let value = self.value(first, depth + 1)?;
            let is_datum = matches!(value, Tree::Word(_)) && self.peek() == Some("[");
            fields.push((name, if is_datum { self.datum(&value)? } else { value }));
        }
    }

    /// `len [ byte byte … ]`, after its length was read. What is passed by value is printed with all eight bytes of the
    /// machine's word.
    fn datum(&mut self, length: &Tree<'_>) -> Result<Tree<'a>, Error> {
        let Tree::Word(length) = length else { return Err(self.malformed()) };
        let length: usize = length.parse().map_err(|_| self.malformed())?;
        self.expect_token()?;
        let mut bytes = Vec::new();
        loop {
            let token = self.expect_token()?;
            if token == "]" {
                break;
            }
            // Bytes are printed signed or unsigned, as the machine's characters are.
            let number: i16 = token.parse().map_err(|_| self.malformed())?;
            if !(-128..=255).contains(&number) {
                return Err(self.malformed());
            }
            bytes.push(number.to_le_bytes()[0]);
        }
        if bytes.len() < length || (bytes.len() != length && bytes.len() != 8) {
            return Err(self.malformed());
        }
        Ok(Tree::Datum(bytes.into()))
    }

    fn list(&mut self, depth: usize) -> Result<Tree<'a>, Error> {
        if matches!(self.peek(), Some("i" | "o" | "x" | "b")) {
            self.expect_token()?;
            return self.numbers();
        }
        let mut items = Vec::new();
        loop {
            let token = self.expect_token()?;
            if token == ")" {
                return Ok(Tree::List(items.into()));
            }
            items.push(self.value(token, depth + 1)?);
        }
    }

    fn numbers(&mut self) -> Result<Tree<'a>, Error> {
        let mut numbers = Vec::new();
        loop {
            let token = self.expect_token()?;
            if token == ")" {
                return Ok(Tree::Numbers(numbers.into()));
            }
            numbers.push(token.parse().map_err(|_| self.malformed())?);
        }
    }
}

/// Without the backslashes that protect characters.
fn unescape(token: &str) -> Cow<'_, str> {
    if !token.contains('\\') {
        return Cow::Borrowed(token);
    }
    let mut text = String::with_capacity(token.len());
    let mut characters = token.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            _ => text.push(character),
        }
    }
    Cow::Owned(text)
}

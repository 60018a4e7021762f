//! Array literals: `{1,NULL,"a,b"}` → elements, as Postgres reads and writes them.

/// How deep array literals nest: as deep as Postgres allows.
const DEPTH_MAX: usize = 6;

/// The elements of an array literal, flattened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Array {
    /// All elements in order; `None` for NULL.
    pub(super) elements: Vec<Option<String>>,
    /// How many elements the outermost level has.
    pub(super) length: usize,
    /// Whether it has more than one dimension.
    pub(super) nested: bool,
}

impl Array {
    /// Parses a literal. `None` for what Postgres might read otherwise or not at all.
    pub(super) fn parse(text: &str, delimiter: u8) -> Option<Self> {
        let mut parser =
            Parser { text, at: 0, delimiter, array: Self { elements: Vec::new(), length: 0, nested: false } };
        parser.skip_blanks();
        parser.array.length = parser.level(1)?;
        parser.skip_blanks();
        (parser.at == text.len()).then_some(parser.array)
    }
}

/// What Postgres skips around elements.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    delimiter: u8,
    array: Array,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// One pair of braces and what is inside; how many elements that are.
    fn level(&mut self, depth: usize) -> Option<usize> {
        if depth > DEPTH_MAX || self.peek()? != b'{' {
            return None;
        }
        self.at += 1;
        self.skip_blanks();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(0);
        }
        let mut length = 0;
        loop {
            self.skip_blanks();
            match self.peek()? {
                b'{' => {
                    self.array.nested = true;
                    // An empty array inside another is read differently from version to version.
                    if self.level(depth + 1)? == 0 {
                        return None;
                    }
                }
                b'"' => self.quoted()?,
                _ => self.bare()?,
            }
            length += 1;
            self.skip_blanks();
            match self.peek()? {
                b'}' => {
                    self.at += 1;
                    return Some(length);
                }
                byte if byte == self.delimiter => self.at += 1,
                _ => return None,
            }
        }
    }

    fn quoted(&mut self) -> Option<()> {
        let mut element = String::new();
        let mut characters = self.text.get(self.at + 1..)?.char_indices();
        loop {
            match characters.next()? {
                (at, '"') => {
                    self.at += 1 + at + 1;
                    self.array.elements.push(Some(element));
                    return Some(());
                }
                (_, '\\') => element.push(characters.next()?.1),
                (_, other) => element.push(other),
            }
        }
    }

    /// Up to the delimiter or the closing brace, without the blanks before it.
    fn bare(&mut self) -> Option<()> {
        let mut element = String::new();
        // How much of the element blanks at the end may not be cut from.
        let mut kept = 0;
        let mut escaped = false;
        let mut characters = self.text.get(self.at..)?.char_indices();
        loop {
            let (at, character) = characters.next()?;
            match character {
                '}' => {
                    self.at += at;
                    break;
                }
                _ if u32::from(character) == u32::from(self.delimiter) => {
                    self.at += at;
                    break;
                }
                '{' | '"' => return None,
                '\\' => {
                    element.push(characters.next()?.1);
                    escaped = true;
                    kept = element.len();
                }
                other => {
                    element.push(other);
                    if !u8::try_from(other).is_ok_and(is_blank) {
                        kept = element.len();
                    }
                }
            }
        }
        element.truncate(kept);
        if element.is_empty() {
            return None;
        }
        let null = !escaped && element.eq_ignore_ascii_case("null");
        self.array.elements.push((!null).then_some(element));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[Option<&str>]) {
        let array = Array::parse(text, b',').unwrap_or_else(|| panic!("{text}"));
        let found: Vec<_> = array.elements.iter().map(Option::as_deref).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn elements_are_read_as_postgres_reads_them() {
        check("{}", &[]);
        check(" { } ", &[]);
        check("{1}", &[Some("1")]);
        check("{ 1 , 2 }", &[Some("1"), Some("2")]);
        check("{a b ,c}", &[Some("a b"), Some("c")]);
        check(r"{a\ ,\NULL}", &[Some("a "), Some("NULL")]);
        check(r#"{"a,b","c\"d\\e",""}"#, &[Some("a,b"), Some(r#"c"d\e"#), Some("")]);
        check(r#"{NULL,null,"NULL"}"#, &[None, None, Some("NULL")]);
        check("{{1,2},{3,4}}", &[Some("1"), Some("2"), Some("3"), Some("4")]);
        check("{ü,🙂}", &[Some("ü"), Some("🙂")]);
        let nested = Array::parse("{{1,2},{3,4},{5,6}}", b',').unwrap();
        assert_eq!((nested.length, nested.nested), (3, true));
        let boxes = Array::parse("{(1,1),(0,0);(2,2),(1,1)}", b';').unwrap();
        assert_eq!(boxes.length, 2);
    }

    #[test]
    fn doubtful_literals_are_left_to_postgres() {
        for text in [
            "", "1", "{", "}", "{1", "{,}", "{1,}", "{,1}", "{a\"b\"}", "{\"a\"b}", "{\"a", "{1}x", "{a{b}",
            "{{}}", "{\\",
        ] {
            assert_eq!(Array::parse(text, b','), None, "{text}");
        }
        let deep = format!("{}1{}", "{".repeat(7), "}".repeat(7));
        assert_eq!(Array::parse(&deep, b','), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[{}",\\ aü]{0,40}"#) {
            let _ = Array::parse(&text, b',');
        }
    }
}

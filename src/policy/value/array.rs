//! Arrays: elements in row-major order, with the length and lower bound of each dimension.

use smallvec::SmallVec;

use super::Value;

/// How many dimensions an array of Postgres can have.
pub(super) const DIMENSIONS_MAX: usize = 6;

/// The most elements that are read of an array; of a larger one Postgres is asked.
pub const ELEMENTS_MAX: usize = 1 << 16;

/// An array. One without elements has no dimensions.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Array {
    dimensions: SmallVec<[Dimension; 1]>,
    elements: Box<[Value]>,
}

/// One dimension.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dimension {
    /// How many elements.
    pub length: i32,
    /// The index of the first one.
    pub lower: i32,
}

/// Elements never reach a log.
impl std::fmt::Debug for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Array")
    }
}

impl Array {
    /// An array of one dimension, from index 1 on; of none without elements.
    pub fn of(elements: Vec<Value>) -> Self {
        let length = i32::try_from(elements.len()).unwrap_or(i32::MAX);
        let dimensions = (length > 0).then_some(Dimension { length, lower: 1 });
        Self { dimensions: dimensions.into_iter().collect(), elements: elements.into() }
    }

    /// An array of these dimensions. `None` unless they hold exactly the elements.
    pub fn new(dimensions: &[Dimension], elements: Vec<Value>) -> Option<Self> {
        if elements.is_empty() {
            return dimensions.is_empty().then(|| Self::of(elements));
        }
        let mut count = 1_usize;
        for dimension in dimensions {
            let length = usize::try_from(dimension.length).ok()?;
            dimension.lower.checked_add(dimension.length)?;
            count = count.checked_mul(length)?;
        }
        let fits = count == elements.len() && (1..=DIMENSIONS_MAX).contains(&dimensions.len());
        fits.then(|| Self { dimensions: dimensions.into(), elements: elements.into() })
    }

    /// The dimensions.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// The elements, in row-major order.
    pub fn elements(&self) -> &[Value] {
        &self.elements
    }

    /// Reads the text form of an array. `None` if it is not what the output function writes, or an element is not read.
    pub fn parse(text: &str, delimiter: u8, decode: &dyn Fn(&str) -> Option<Value>) -> Option<Self> {
        let (lowers, body) = bounds(text)?;
        let mut reader = Reader {
            text: body,
            at: 0,
            delimiter,
            decode,
            lengths: SmallVec::new(),
            deepest: None,
            elements: Vec::new(),
        };
        reader.level(0)?;
        if reader.at != body.len() {
            return None;
        }
        let Reader { lengths, elements, .. } = reader;
        if elements.is_empty() {
            return (lengths.len() == 1 && lowers.is_empty()).then(|| Self::of(elements));
        }
        if !lowers.is_empty() && lowers.len() != lengths.len() {
            return None;
        }
        let mut dimensions: SmallVec<[Dimension; DIMENSIONS_MAX]> = SmallVec::new();
        for (place, length) in lengths.iter().enumerate() {
            let lower = lowers.get(place).copied().unwrap_or(1);
            dimensions.push(Dimension { length: i32::try_from(*length).ok()?, lower });
        }
        Self::new(&dimensions, elements)
    }
}

/// The explicit lower bounds `[2:3][-1:0]=` in front of an array whose indexes do not start at one, and what follows.
fn bounds(text: &str) -> Option<(SmallVec<[i32; DIMENSIONS_MAX]>, &str)> {
    let mut lowers = SmallVec::new();
    if !text.starts_with('[') {
        return Some((lowers, text));
    }
    let (bounds, body) = text.split_once('=')?;
    let mut rest = bounds;
    while let Some(inner) = rest.strip_prefix('[') {
        let (range, after) = inner.split_once(']')?;
        lowers.push(range.split_once(':')?.0.parse().ok()?);
        rest = after;
    }
    (rest.is_empty() && lowers.len() <= DIMENSIONS_MAX).then_some((lowers, body))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    delimiter: u8,
    decode: &'a dyn Fn(&str) -> Option<Value>,
    /// The length of each dimension, as its first part had it.
    lengths: SmallVec<[usize; DIMENSIONS_MAX]>,
    /// At which depth elements stand.
    deepest: Option<usize>,
    elements: Vec<Value>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// One pair of braces and what is inside; `depth` pairs are around it.
    fn level(&mut self, depth: usize) -> Option<()> {
        if depth >= DIMENSIONS_MAX || self.peek()? != b'{' {
            return None;
        }
        self.at += 1;
        let first = depth == self.lengths.len();
        if first {
            self.lengths.push(0);
        }
        let mut length = 0;
        if self.peek()? == b'}' {
            // Only the empty array has empty braces.
            self.at += 1;
            return (depth == 0).then_some(());
        }
        loop {
            if self.peek()? == b'{' {
                self.level(depth + 1)?;
            } else {
                if *self.deepest.get_or_insert(depth) != depth || self.elements.len() >= ELEMENTS_MAX {
                    return None;
                }
                let element = self.element()?;
                self.elements.push(element);
            }
            length += 1;
            let next = self.peek()?;
            self.at += 1;
            if next == b'}' {
                break;
            }
            if next != self.delimiter {
                return None;
            }
        }
        let known = self.lengths.get_mut(depth)?;
        if *known == 0 {
            *known = length;
        }
        (*known == length).then_some(())
    }

    fn element(&mut self) -> Option<Value> {
        let rest = self.text.get(self.at..)?;
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = memchr::memchr2(b'"', b'\\', quoted.as_bytes())?;
            if quoted.as_bytes()[end] == b'"' {
                self.at += end + 2;
                return (self.decode)(quoted.get(..end)?);
            }
            let mut plain = String::new();
            let mut characters = quoted.char_indices();
            loop {
                match characters.next()? {
                    (at, '"') => {
                        self.at += at + 2;
                        return (self.decode)(&plain);
                    }
                    (_, '\\') => plain.push(characters.next()?.1),
                    (_, other) => plain.push(other),
                }
            }
        }
        let end = rest.bytes().position(|byte| byte == b'}' || byte == self.delimiter)?;
        let bare = rest.get(..end)?;
        if bare.is_empty() || bare.contains(['"', '\\', '{']) {
            return None;
        }
        self.at += end;
        if bare == "NULL" { Some(Value::Null) } else { (self.decode)(bare) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Option<Array> {
        Array::parse(text, b',', &|element| Some(Value::text(element)))
    }

    #[test]
    fn bounds_and_nulls_are_kept() {
        let array = texts(r#"[2:3][-1:-1]={{NULL},{"a\"b\\"}}"#).unwrap();
        assert_eq!(
            array.dimensions().iter().map(|it| (it.length, it.lower)).collect::<Vec<_>>(),
            [(2, 2), (1, -1)]
        );
        assert!(array.elements()[0].is_null());
        assert!(array.elements()[1] == Value::text("a\"b\\"));
        assert!(texts("{}").unwrap().dimensions().is_empty());
        assert!(texts("{a,b}") == texts(r#"{"a","b"}"#));
        assert!(texts("{a,b}") != texts("[0:1]={a,b}"));
    }

    #[test]
    fn what_is_no_array_is_not_read() {
        for text in
            ["", "{", "{a", "a", "{{a},b}", "{{a,b},{c}}", "{,}", "{a}x", "[1:2]={}", "{{}}", "{a,{b}}"]
        {
            assert!(texts(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]:={}",\\ aü1-]{0,40}"#) {
            let _ = texts(&text);
        }
    }
}

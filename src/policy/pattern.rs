//! `LIKE` patterns, matched as Postgres matches UTF-8 text under a deterministic collation.

use memchr::memmem;

/// How many steps one match may take where wildcards multiply; beyond it Postgres is asked, in whose
/// process a long match delays nobody else.
const STEPS_MAX: usize = 1 << 16;

/// A pattern: pieces with `%` between them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pieces: Box<[Piece]>,
}

/// What stands between two `%`.
#[derive(Clone, PartialEq, Eq)]
struct Piece {
    parts: Box<[Part]>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    /// This text, and not empty.
    Literal(Box<str>),
    /// This many characters, and at least one: `_`.
    Any(usize),
}

/// The match took more than [`STEPS_MAX`] steps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManySteps;

impl Pattern {
    /// Reads a pattern. `None` if it ends in an escape character without anything to escape: whether that is
    /// an error depends on the text.
    pub(crate) fn parse(pattern: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut parts: Vec<Part> = Vec::new();
        let mut literal = String::new();
        let mut characters = pattern.chars();
        let flush = |literal: &mut String, parts: &mut Vec<Part>| {
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(literal).into()));
            }
        };
        while let Some(character) = characters.next() {
            match character {
                '%' => {
                    flush(&mut literal, &mut parts);
                    pieces.push(Piece { parts: std::mem::take(&mut parts).into() });
                }
                '_' => {
                    flush(&mut literal, &mut parts);
                    match parts.last_mut() {
                        Some(Part::Any(count)) => *count += 1,
                        _ => parts.push(Part::Any(1)),
                    }
                }
                '\\' => literal.push(characters.next()?),
                other => literal.push(other),
            }
        }
        flush(&mut literal, &mut parts);
        pieces.push(Piece { parts: parts.into() });
        Some(Self { pieces: pieces.into() })
    }

    /// Whether the whole text matches.
    ///
    /// The first piece is bound to the start and the last to the end; each one between takes the first place
    /// where it fits, which leaves the most room for those after it.
    pub(crate) fn matches(&self, text: &str) -> Result<bool, TooManySteps> {
        let mut steps = STEPS_MAX;
        let (first, rest) = match &*self.pieces {
            [] => return Ok(text.is_empty()),
            [only] => return Ok(only.strip_prefix(text, &mut steps)?.is_some_and(str::is_empty)),
            [first, rest @ ..] => (first, rest),
        };
        let Some(mut text) = first.strip_prefix(text, &mut steps)? else {
            return Ok(false);
        };
        let Some((last, middle)) = rest.split_last() else {
            return Ok(true);
        };
        for piece in middle {
            match piece.strip_first(text, &mut steps)? {
                Some(rest) => text = rest,
                None => return Ok(false),
            }
        }
        Ok(last.is_suffix(text))
    }
}

impl Piece {
    /// What follows the piece at the start of the text; `None` if it is not there.
    fn strip_prefix<'t>(&self, text: &'t str, steps: &mut usize) -> Result<Option<&'t str>, TooManySteps> {
        let mut rest = text;
        for part in &self.parts {
            *steps = steps.checked_sub(1).ok_or(TooManySteps)?;
            let stripped = match part {
                Part::Literal(literal) => rest.strip_prefix(&**literal),
                Part::Any(count) => {
                    *steps = steps.checked_sub(*count).ok_or(TooManySteps)?;
                    let mut characters = rest.chars();
                    characters.nth(*count - 1).map(|_| characters.as_str())
                }
            };
            match stripped {
                Some(stripped) => rest = stripped,
                None => return Ok(None),
            }
        }
        Ok(Some(rest))
    }

    /// What follows the first place where the piece fits; `None` if there is none.
    fn strip_first<'t>(&self, text: &'t str, steps: &mut usize) -> Result<Option<&'t str>, TooManySteps> {
        match &*self.parts {
            [] => Ok(Some(text)),
            [Part::Literal(literal)] => Ok(memmem::find(text.as_bytes(), literal.as_bytes())
                .and_then(|at| text.get(at + literal.len()..))),
            _ => {
                let mut start = text;
                loop {
                    if let Some(rest) = self.strip_prefix(start, steps)? {
                        return Ok(Some(rest));
                    }
                    let mut characters = start.chars();
                    if characters.next().is_none() {
                        return Ok(None);
                    }
                    start = characters.as_str();
                }
            }
        }
    }

    /// Whether the text ends in the piece.
    fn is_suffix(&self, text: &str) -> bool {
        let mut rest = text;
        for part in self.parts.iter().rev() {
            let stripped = match part {
                Part::Literal(literal) => rest.strip_suffix(&**literal),
                Part::Any(count) => {
                    let mut characters = rest.chars();
                    characters.nth_back(*count - 1).map(|_| characters.as_str())
                }
            };
            match stripped {
                Some(stripped) => rest = stripped,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let parsed = Pattern::parse(pattern).unwrap();
        for text in matching {
            assert_eq!(parsed.matches(text), Ok(true), "{text:?} like {pattern:?}");
        }
        for text in other {
            assert_eq!(parsed.matches(text), Ok(false), "{text:?} like {pattern:?}");
        }
    }

    #[test]
    fn percent_is_any_text_and_underscore_any_character() {
        check("", &[""], &["a"]);
        check("a", &["a"], &["", "A", "ab", "ba"]);
        check("%", &["", "a", "ab"], &[]);
        check("%%", &["", "a", "ab"], &[]);
        check("a%", &["a", "ab"], &["", "ba"]);
        check("%a", &["a", "ba"], &["", "ab"]);
        check("%a%", &["a", "bab"], &["", "b"]);
        check("a%a", &["aa", "aba"], &["a", "ab"]);
        check("_", &["a", "é", "🙂"], &["", "ab"]);
        check("a_c", &["abc", "aéc"], &["ac", "abbc"]);
        check("%_%", &["a", "ab"], &[""]);
        check("_%_", &["ab", "éé", "abc"], &["", "a"]);
        check("%a_c%a_d", &["abcaxd", "xabcyaxd"], &["abcd", "axd"]);
        check("%ab%ab", &["abab", "ab ab"], &["ab", "aab"]);
        check("%é%", &["é", "aéb"], &["e"]);
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        check(r"\%", &["%"], &["", "a"]);
        check(r"\_\\", &[r"_\"], &[r"a\"]);
        check(r"\a\é", &["aé"], &[r"\a\é"]);
        assert!(Pattern::parse("a\\").is_none());
        assert!(Pattern::parse(r"a\\").is_some());
    }

    #[test]
    fn wildcards_that_multiply_are_left_to_postgres() {
        let pattern = Pattern::parse(&format!("%{}b%", "a_".repeat(100))).unwrap();
        assert_eq!(pattern.matches(&"a".repeat(100_000)), Err(TooManySteps));
    }

    /// The definition, word for word.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            ['_', rest @ ..] => !text.is_empty() && slow(rest, &text[1..]),
            ['\\', literal, rest @ ..] | [literal, rest @ ..] => {
                text.first() == Some(literal) && slow(rest, &text[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in r"([abé%_]|\\[abé%_\\]){0,8}", text in r"[abé%_\\]{0,10}") {
            let expected = slow(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(Pattern::parse(&pattern).unwrap().matches(&text), Ok(expected));
        }
    }
}

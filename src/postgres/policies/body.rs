//! The bodies of functions as text: what may be given to Postgres to be analysed, and in which form.
//!
//! A body is split into tokens as Postgres's scanner does it, as far as is needed to tell its words from its strings
//! and comments. What is not understood is refused.

use crate::policy::source::NoBody;

/// A token, with where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A word without quotes.
    Word,
    /// A name in double quotes.
    Name,
    /// A string, its quotes included.
    Text,
    /// Anything else, one character at a time; numbers, too.
    Other,
}

/// Words that a string may not have, as some types read them as a moment: it would be the moment of the analysis.
const MOMENTS: [&str; 5] = ["now", "today", "tomorrow", "yesterday", "allballs"];

/// The body of a function in SQL, as statements for `BEGIN ATOMIC`.
pub(super) fn of_sql(source: &str) -> Result<String, NoBody> {
    let tokens = tokens(source).ok_or(NoBody::Refused)?;
    // It would be understood where the analysis takes place, but not where the function is called.
    let is_foreign = tokens.iter().any(|token| token.is_word("return"));
    if is_foreign || has_moment(&tokens) {
        return Err(NoBody::Refused);
    }
    Ok(source.to_owned())
}

/// The same of a function in PL/pgSQL that does nothing but return an expression.
pub(super) fn of_plpgsql(source: &str) -> Result<String, NoBody> {
    let tokens = tokens(source).ok_or(NoBody::Statements)?;
    let [begin, rest @ ..] = &*tokens else { return Err(NoBody::Statements) };
    let [r#return, rest @ ..] = rest else { return Err(NoBody::Statements) };
    let end = rest.iter().position(|token| token.is(";")).ok_or(NoBody::Statements)?;
    let (expression, rest) = (&rest[..end], &rest[end + 1..]);
    let ends = match rest {
        [end] => end.is_word("end"),
        [end, semicolon] => end.is_word("end") && semicolon.is(";"),
        _ => false,
    };
    if !begin.is_word("begin") || !r#return.is_word("return") || !ends || !is_expression(expression) {
        return Err(NoBody::Statements);
    }
    if has_moment(expression) {
        return Err(NoBody::Refused);
    }
    let (Some(first), Some(last)) = (expression.first(), expression.last()) else {
        return Err(NoBody::Statements);
    };
    Ok(format!("select (\n{}\n)", &source[first.start..last.start + last.text.len()]))
}

/// Whether these tokens, between parentheses, can be nothing but the one expression that PL/pgSQL would evaluate: it
/// takes what follows RETURN as a select list with anything behind it.
fn is_expression(tokens: &[Token<'_>]) -> bool {
    const OTHER_STATEMENTS: [&str; 6] = ["next", "query", "select", "values", "with", "table"];
    let Some(first) = tokens.first() else { return false };
    if OTHER_STATEMENTS.iter().any(|word| first.is_word(word)) {
        return false;
    }
    let mut depth = 0_u32;
    for token in tokens {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            "," if depth == 0 => return false,
            // PL/pgSQL has a variable of this name.
            text if token.kind == Kind::Name && text == "\"found\"" => return false,
            _ if token.is_word("found") => return false,
            _ => {}
        }
    }
    depth == 0
}

/// Whether some string is read as a moment, or might be: strings that follow each other are one, and `UESCAPE` lets any
/// letter begin an escape.
fn has_moment(tokens: &[Token<'_>]) -> bool {
    let are_joined = |pair: &[Token<'_>]| pair.iter().all(|token| token.kind == Kind::Text);
    tokens.iter().any(|token| token.is_moment() || token.is_word("uescape"))
        || tokens.windows(2).any(are_joined)
}

impl Token<'_> {
    fn is(&self, text: &str) -> bool {
        self.kind == Kind::Other && self.text == text
    }

    fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is a string that some type may read as a moment. Escapes could hide one.
    fn is_moment(&self) -> bool {
        let has_word = || {
            let text = self.text.to_ascii_lowercase();
            let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
            words.any(|word| MOMENTS.contains(&word))
        };
        self.kind == Kind::Text && (self.text.contains('\\') || has_word())
    }
}

/// The tokens of a text; `None` if something in it does not end.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut found: Vec<Token<'_>> = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_ascii_whitespace() || first == '\u{b}' {
            at += 1;
            continue;
        }
        if rest.starts_with("--") {
            at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with("/*") {
            at += comment(rest)?;
            continue;
        }
        let (kind, length) = if first == '\'' {
            // `E'…'` has escapes by backslashes: the word stands right before.
            let has_escapes =
                found.last().is_some_and(|last| last.is_word("e") && last.start + last.text.len() == at);
            (Kind::Text, quoted(rest, '\'', has_escapes)?)
        } else if first == '"' {
            (Kind::Name, quoted(rest, '"', false)?)
        } else if is_letter(first) {
            let end =
                rest.find(|letter: char| !(is_letter(letter) || letter.is_ascii_digit() || letter == '$'));
            (Kind::Word, end.unwrap_or(rest.len()))
        } else if let Some(tag) = dollar_tag(rest) {
            let end = rest[tag.len()..].find(tag)?;
            (Kind::Text, tag.len() + end + tag.len())
        } else {
            (Kind::Other, first.len_utf8())
        };
        found.push(Token { kind, text: &rest[..length], start: at });
        at += length;
    }
    Some(found)
}

fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii()
}

/// The length of the comment that begins here; they nest.
fn comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_u32, 0);
    loop {
        match bytes.get(at..at + 2)? {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" if depth == 1 => return Some(at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
}

/// The length of the quoted text that begins here.
fn quoted(text: &str, quote: char, has_escapes: bool) -> Option<usize> {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if has_escapes && letter == '\\' {
            letters.next()?;
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + quote.len_utf8());
        }
    }
    None
}

/// The opening `$tag$` that stands here.
fn dollar_tag(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('$')?;
    let end = rest.find('$')?;
    let tag = &rest[..end];
    let is_tag = !tag.starts_with(|letter: char| letter.is_ascii_digit())
        && tag.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit());
    is_tag.then(|| &text[..end + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_found_in_plpgsql() {
        for (source, expected) in [
            ("begin return true; end", "true"),
            (
                "\nBEGIN -- why\n RETURN EXISTS (SELECT 1, ';' FROM t); /* so /* it */ is */ END;\n",
                "EXISTS (SELECT 1, ';' FROM t)",
            ),
            ("begin return array[a, b] @> c; end", "array[a, b] @> c"),
            ("begin return $q$ end; $q$ = x; end", "$q$ end; $q$ = x"),
            ("begin return a -- ;\n = b; end", "a -- ;\n = b"),
        ] {
            assert_eq!(of_plpgsql(source), Ok(format!("select (\n{expected}\n)")), "{source}");
        }
    }

    #[test]
    fn more_than_an_expression_is_refused() {
        for source in [
            "",
            "begin end",
            "begin return; end",
            "begin return true; end; drop table t",
            "begin return true; return false; end",
            "begin perform f(); return true; end",
            "declare x int; begin return x; end",
            "<<l>> begin return true; end",
            "begin return true; exception when others then return true; end",
            "#variable_conflict use_column\nbegin return true; end",
            "begin return a) from t where (b; end",
            "begin return a, b; end",
            "begin return select true; end",
            "begin return query select 1; end",
            "begin return found; end",
            "begin return \"found\"; end",
            "begin return 'x; end",
            "begin return \"x; end",
            "begin return /* x; end",
            "begin return $a$ x; end",
            "begin return (a]; end ]",
            "begin return e'\\'; end; drop table t; --'; end",
            "begin return true end",
        ] {
            let refused = of_plpgsql(source);
            // A string that only looks closed is one with an escape.
            assert!(matches!(refused, Err(NoBody::Statements | NoBody::Refused)), "{source}: {refused:?}");
        }
    }

    #[test]
    fn sql_that_means_something_else_elsewhere_is_refused() {
        for source in [
            "return true",
            "select 1; return 2",
            "select x > 'now'::timestamptz",
            "select x > ' Today '",
            "select x > $$tomorrow$$",
            "select x > e'n\\x6fw'",
            "select x > 'no'\n'w'::timestamptz",
            "select x > U&'n!006fw' UESCAPE '!'",
            "select 'x",
        ] {
            assert_eq!(of_sql(source), Err(NoBody::Refused), "{source}");
        }
        for source in [
            "select now() > x",
            "select 'known'",
            "select \"return\"",
            "select 1 -- return",
            "select 'return'",
        ] {
            assert_eq!(of_sql(source), Ok(source.to_owned()));
        }
    }
}

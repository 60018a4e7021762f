//! Names and values as SQL text, for statements whose shape depends on the catalog or on settings.

/// An identifier, quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant, quoted. It means the same under every `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        // The blank keeps the prefix apart from a word before it.
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_cannot_break_out() {
        assert_eq!(super::identifier(r#"a"; drop"#), r#""a""; drop""#);
        assert_eq!(super::literal("a'; drop"), "'a''; drop'");
        assert_eq!(super::literal(r"a'; drop \"), r" E'a''; drop \\'");
    }
}

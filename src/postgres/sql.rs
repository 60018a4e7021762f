//! Names and values as SQL text, for statements whose shape depends on the catalog.

/// An identifier, quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant, quoted. Needs `standard_conforming_strings = on`, which every session of ours sets.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_cannot_break_out() {
        assert_eq!(super::identifier(r#"a"; drop"#), r#""a""; drop""#);
        assert_eq!(super::literal(r"a'; drop \"), r"'a''; drop \'");
    }
}

//! The embedded `default.toml`: each setting's comment and default.

use std::sync::LazyLock;

/// The file itself.
pub const TEXT: &str = include_str!("default.toml");

/// One setting as `default.toml` describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The setting's name.
    pub name: &'static str,
    /// The group its section names.
    pub group: &'static str,
    /// The comment above it, as one line.
    pub comment: String,
    /// The default, as the file writes it: strings in quotes, digits in groups.
    pub default: &'static str,
}

impl Entry {
    /// The default as text: without quotes and digit groups. Empty means that there is none.
    pub fn default_text(&self) -> String {
        match self.default.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(text) => text.to_owned(),
            None => self.default.replace('_', ""),
        }
    }
}

/// Every entry, in order. The file is ours and one `key = value` a line, so lines are all there is to read;
/// a test holds it against a real TOML parser.
pub static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut entries = Vec::new();
    let (mut group, mut comment) = ("", Vec::new());
    for line in TEXT.lines() {
        if let Some(name) = line.strip_prefix("# --- ") {
            group = name.trim();
        } else if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some((name, default)) = line.split_once(" = ") {
            entries.push(Entry { name, group, comment: comment.join(" "), default });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    entries
});

/// The entry of that name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES, TEXT};
    use crate::config::setting::SETTINGS;

    #[test]
    fn reference_has_every_setting_and_no_other() {
        let listed: Vec<_> = SETTINGS.iter().map(|setting| (setting.name, setting.group)).collect();
        let described: Vec<_> = ENTRIES.iter().map(|entry| (entry.name, entry.group)).collect();
        assert_eq!(described, listed);
    }

    #[test]
    fn reference_reads_as_toml_reads_it() {
        let table: toml::Table = TEXT.parse().unwrap();
        assert_eq!(table.len(), ENTRIES.len());
        for entry in ENTRIES.iter() {
            let value = &table[entry.name];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(text, entry.default_text(), "{}", entry.name);
        }
    }

    #[test]
    fn every_setting_has_a_comment_that_is_a_sentence() {
        for entry in ENTRIES.iter() {
            assert!(entry.comment.ends_with('.'), "{}: {:?}", entry.name, entry.comment);
            assert!(entry.comment.starts_with(char::is_uppercase), "{}: {:?}", entry.name, entry.comment);
        }
    }
}
